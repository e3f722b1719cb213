//! `bulla key`: rings of data keys; and what `bulla exec` does with them.

use std::path::Path;

use bulla::journal::Journal;
use bulla::luks::Volume;
use bulla::{Freshness, Ring, RingKey, Sealer};
use serde_json::{Value, json};

use crate::args::{Exec, Key, KeyEnsure, KeyNew, KeyRetire, KeyRotate, KeyShow, NamedRing, Prune};
use crate::command::exec::{self, Handover};
use crate::command::request;
use crate::command::seal::is_for_machines_only;
use crate::failure::Failure;
use crate::openers::{self, Openers};
use crate::{files, machine, say};

/// Runs a subcommand.
pub(crate) fn run(machine: Option<&str>, subcommand: &Key) -> Result<(), Failure> {
    match subcommand {
        Key::New(options) => new(machine, options),
        Key::Show(options) => show(machine, options),
        Key::Rotate(options) => rotate(machine, options),
        Key::Retire(options) => retire(machine, options),
        Key::Ensure(options) => ensure(machine, options),
    }
}

/// Runs a command with keys.
pub(crate) fn exec(machine: Option<&str>, options: &Exec) -> Result<(), Failure> {
    let mut handovers = Vec::new();
    if !options.key.is_empty() {
        let openers = Openers::of(machine, &options.guest, &options.private_key, &options.demands)?;
        for key in &options.key {
            let context = context(&key.ring, options.name.as_deref(), &options.role)?;
            let ring = Ring::open(&key.ring, openers.unsealer(&context));
            let ring = ring.map_err(|error| Failure::from(error).about(&key.ring))?;
            handovers.push(Handover::key(key.written(&ring)?));
        }
    }
    let requested = request::for_command(machine, options)?;
    for (option, key) in options.request.iter().zip(requested) {
        handovers.push(Handover::key(option.form.render(&[(1, key.expose())])?));
    }
    for volume in &options.luks {
        let judged = Volume::read(files::input(Some(volume))?);
        handovers.push(Handover::volume(&judged.map_err(|error| Failure::from(error).about(volume))?));
    }
    match exec::run(handovers, &options.command)? {}
}

fn new(machine: Option<&str>, options: &KeyNew) -> Result<(), Failure> {
    let openers = Openers::load(machine, &options.openers)?;
    let context = options.ring.context()?;
    let sealer = openers::seal_to(sealer(&context, &openers), openers.tee(), &options.new)?;
    let ring = Ring::create(&options.ring.ring, sealer, openers.unsealer(&context))?;
    told(&ring);
    warn_if_for_machines_only(&ring);
    Ok(())
}

fn ensure(machine: Option<&str>, options: &KeyEnsure) -> Result<(), Failure> {
    let openers = Openers::load(machine, &options.openers)?;
    let context = options.ring.context()?;
    let sealer = openers::seal_to(sealer(&context, &openers), openers.tee(), &options.new)?;
    let ring = Ring::ensure(&options.ring.ring, &options.data, sealer, openers.unsealer(&context))?;
    told(&ring);
    warn_if_for_machines_only(&ring);
    Ok(())
}

fn sealer<'a>(context: &str, openers: &'a Openers) -> Sealer<'a> {
    let sealer = Sealer::new(context).created(machine::now());
    match openers.floor() {
        Some(floor) => sealer.floor(floor),
        None => sealer,
    }
}

fn rotate(machine: Option<&str>, options: &KeyRotate) -> Result<(), Failure> {
    let openers = Openers::load(machine, &options.openers)?;
    let mut ring = options.ring.open(&openers)?;
    let next = ring.current().generation().saturating_add(1);
    if !ring.rotate(options.to.unwrap_or(next), Some(machine::now()))? {
        say::note("that generation is there already: nothing was changed");
    }
    told(&ring);
    prune(&options.ring.ring, &options.prune)?;
    say::note("data is still under the generations before: re-encrypt it, then retire them");
    Ok(())
}

fn retire(machine: Option<&str>, options: &KeyRetire) -> Result<(), Failure> {
    let openers = Openers::load(machine, &options.openers)?;
    let mut ring = options.ring.open(&openers)?;
    if !ring.retire(options.generation)? {
        say::note("that generation is retired already: nothing was changed");
    }
    told(&ring);
    prune(&options.ring.ring, &options.prune)?;
    say::note(if options.prune.prune {
        "this erases nothing: snapshots and backups of the ring still hold the key"
    } else {
        "older copies of the ring still hold the key, the one kept beside it among them: --prune removes that one"
    });
    Ok(())
}

/// Removes the kept generations of the file, if that was asked for, once the present one is certain to last.
fn prune(ring: &Path, options: &Prune) -> Result<(), Failure> {
    if options.prune {
        Journal::at(ring)?.retire()?;
    }
    Ok(())
}

fn show(machine: Option<&str>, options: &KeyShow) -> Result<(), Failure> {
    let openers = Openers::load(machine, &options.openers)?;
    let ring = options.ring.open(&openers)?;
    if options.json {
        say::result(json!({
            "name": ring.name(),
            "role": ring.role(),
            "id": hex::encode(ring.id()),
            "epoch": ring.opened().header.epoch(),
            "freshness": freshness(&ring),
            "generations": ring.generations().iter().map(row).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    say::field("name", &ring.name().into());
    say::field("role", &ring.role().into());
    say::field("ring", &hex::encode(ring.id()).into());
    say::field("epoch", &ring.opened().header.epoch().into());
    say::field("freshness", &freshness(&ring).into());
    for key in ring.generations() {
        let name = format!("generation {}", key.generation());
        say::field(&name, &format!("{} {}", hex::encode(key.id()), state(key)).into());
    }
    Ok(())
}

fn row(key: &RingKey) -> Value {
    json!({
        "generation": key.generation(),
        "id": hex::encode(key.id()),
        "created": key.created(),
        "state": state(key),
    })
}

fn state(key: &RingKey) -> &'static str {
    if key.is_retired() { "retired" } else { "active" }
}

fn freshness(ring: &Ring<'_>) -> &'static str {
    match ring.opened().freshness {
        Freshness::None => "none: an older copy opens as well",
        Freshness::Unauthenticated => "unauthenticated",
        Freshness::Anchored => "anchored",
    }
}

fn told(ring: &Ring<'_>) {
    let key = ring.current();
    say::note(format_args!(
        "{}/{}: generation {} encrypts, its id is {}",
        ring.name(),
        ring.role(),
        key.generation(),
        hex::encode(key.id())
    ));
}

fn warn_if_for_machines_only(ring: &Ring<'_>) {
    if is_for_machines_only(&ring.opened().header) {
        say::note(
            "sealed to this machine only: with its keys the data is lost, so keep another way to it (--recovery)",
        );
    }
}

impl NamedRing {
    fn context(&self) -> Result<String, Failure> {
        context(&self.ring, self.name.as_deref(), &self.role)
    }

    fn open<'a>(&self, openers: &'a Openers) -> Result<Ring<'a>, Failure> {
        Ok(Ring::open(&self.ring, openers.unsealer(&self.context()?))?)
    }
}

/// The context of a ring, by the command line and the name of its file, never by what is in it (R90).
fn context(path: &Path, name: Option<&str>, role: &str) -> Result<String, Failure> {
    let stem = || path.file_stem().and_then(|stem| stem.to_str());
    let name = name.or_else(stem).ok_or_else(|| Failure::usage("say what the ring is for: --name"))?;
    Ok(Ring::context(name, role)?)
}
