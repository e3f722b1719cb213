//! `bulla provider init`, `handover`, `recover` and `drill`.

use std::io::Write;
use std::path::Path;

use bulla_provider::{Candidate, Holder, Provider, Purpose, Settings};
use serde_json::json;

use super::admin;
use crate::args::{Adopt, Ask, AskForBackup, Asked, Drill, Grant, Handover, Init, Recover, Recovered, Share};
use crate::failure::Failure;
use crate::{files, machine, openers, say};

/// Bytes of a document that travels, or of a backup.
const LIMIT: u64 = 8 << 20;

/// Makes the roots of a new provider, or a new memory for one that lost it.
pub(super) fn init(options: &Init) -> Result<(), Failure> {
    let settings = Settings::load(&options.config)?;
    let tee = machine::open(Some(&settings.machine))?.tee;
    if options.lost_memory {
        Provider::begin_new_memory(tee, &settings)?;
        say::note("a new memory was begun: it knows nothing but the floors of the policy");
        return Ok(());
    }
    tell(&Provider::init(tee, &settings)?, options.json);
    Ok(())
}

pub(super) fn handover(subcommand: &Handover) -> Result<(), Failure> {
    match subcommand {
        Handover::Request(options) => ask(options, Purpose::Handover, None),
        Handover::Grant(options) => grant(options),
        Handover::Adopt(options) => adopt(options),
    }
}

pub(super) fn recover(subcommand: &Recover) -> Result<(), Failure> {
    match subcommand {
        Recover::Request(options) => ask_for_backup(options, Purpose::Recovery),
        Recover::Share(options) => share(options, Purpose::Recovery),
        Recover::Adopt(options) => {
            let given = Given::read(options)?;
            let asked = &given.asked;
            let epochs =
                asked.candidate.recover(&asked.request, &asked.secret, &given.backup, &given.shares)?;
            tell(&epochs, options.asked.json);
            Ok(())
        }
    }
}

pub(super) fn drill(subcommand: &Drill) -> Result<(), Failure> {
    match subcommand {
        Drill::Request(options) => ask_for_backup(options, Purpose::Drill),
        Drill::Share(options) => share(options, Purpose::Drill),
        Drill::Run(options) => {
            let given = Given::read(options)?;
            let asked = &given.asked;
            let drilled =
                asked.candidate.drill(&asked.request, &asked.secret, &options.backup, &given.shares)?;
            tell(&drilled.epochs, options.asked.json);
            say::note("the backup opens: compare these roots with those of the provider");
            Ok(())
        }
    }
}

fn ask_for_backup(options: &AskForBackup, purpose: Purpose) -> Result<(), Failure> {
    let backup = files::read(&options.backup, LIMIT)?;
    ask(&options.ask, purpose, Some(&backup))
}

fn ask(options: &Ask, purpose: Purpose, backup: Option<&[u8]>) -> Result<(), Failure> {
    let (request, secret) = candidate(&options.config)?.ask(purpose, backup)?;
    // First what cannot be made again.
    files::create(&options.secret, &secret)?;
    write(&options.output, &request)
}

/// Gives the roots away: has the provider do it that serves, and does it itself where none does.
fn grant(options: &Grant) -> Result<(), Failure> {
    let settings = Settings::load(&options.config)?;
    let socket = settings.admin_socket();
    if admin::answers(&socket) {
        let request = files::read(&options.request, LIMIT)?;
        let answer = admin::ask_at(&socket, "POST", "/handover", &request)?;
        answer.accepted()?;
        return write(&options.output, answer.body.as_bytes());
    }
    let machine = machine::open(Some(&settings.machine))?;
    let judge = machine::judge(machine.judge);
    let provider = Provider::start(machine.tee, judge.collateral, judge.anchor, &settings)?;
    let grant = provider.hand_over(&files::read(&options.request, LIMIT)?)?;
    write(&options.output, &grant)
}

fn adopt(options: &Adopt) -> Result<(), Failure> {
    let AskedFor { candidate, request, secret } = AskedFor::read(&options.asked)?;
    let epochs = candidate.adopt(&request, &secret, &files::read(&options.grant, LIMIT)?)?;
    tell(&epochs, options.asked.json);
    say::note("the roots are here: start this provider, and end the one before it once guests are served");
    Ok(())
}

/// Needs no machine: it judges the one that asks.
fn share(options: &Share, purpose: Purpose) -> Result<(), Failure> {
    let settings = Settings::load(&options.config)?;
    let mut authority = [0; 32];
    hex::decode_to_slice(&options.authority, &mut authority)
        .map_err(|_| Failure::usage("--authority takes 64 hexadecimal digits"))?;
    let judge = machine::judge_of(&settings.machine)?;
    let holder = Holder::new(&authority, judge.collateral, judge.anchor, &settings)?;
    let (request, backup) = (files::read(&options.request, LIMIT)?, files::read(&options.backup, LIMIT)?);
    let share = holder.share(purpose, &request, &backup, &openers::key(&options.key)?)?;
    write(&options.output, &share)
}

/// A provider without roots, with what it asked for and kept.
struct AskedFor {
    candidate: Candidate,
    request: Vec<u8>,
    secret: Vec<u8>,
}

impl AskedFor {
    fn read(options: &Asked) -> Result<Self, Failure> {
        Ok(Self {
            candidate: candidate(&options.config)?,
            request: files::read(&options.request, LIMIT)?,
            secret: files::read(&options.secret, LIMIT)?,
        })
    }
}

/// The same with what the holders gave.
struct Given {
    asked: AskedFor,
    backup: Vec<u8>,
    shares: Vec<Vec<u8>>,
}

impl Given {
    fn read(options: &Recovered) -> Result<Self, Failure> {
        Ok(Self {
            asked: AskedFor::read(&options.asked)?,
            backup: files::read(&options.backup, LIMIT)?,
            shares: options.share.iter().map(|path| files::read(path, LIMIT)).collect::<Result<_, _>>()?,
        })
    }
}

fn candidate(config: &Path) -> Result<Candidate, Failure> {
    let settings = Settings::load(config)?;
    let machine = machine::open(Some(&settings.machine))?;
    let judge = machine::judge(machine.judge);
    if judge.simulated {
        say::note("SIMULATED machine: the roots of this provider protect nothing");
    }
    Ok(Candidate::new(machine.tee, judge.collateral, judge.anchor, &settings)?)
}

fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    files::output(Some(path), |output| output.write_all(content))
}

fn tell(epochs: &[(u32, [u8; 16])], json: bool) {
    if json {
        let epochs = epochs.iter().map(|(epoch, id)| json!({ "epoch": epoch, "root": hex::encode(id) }));
        say::result(json!({ "epochs": epochs.collect::<Vec<_>>() }));
        return;
    }
    for (epoch, id) in epochs {
        say::result(format_args!("epoch {epoch}: root {}", hex::encode(id)));
    }
}
