//! `bulla successor`: envelopes handed over to the next identity.

use std::io::Write;
use std::path::Path;

use bulla::successor::{self, Adopt, Request, Upgrade};
use bulla::{Opener, Rewrap};
use bulla_attest::{Claims, Collateral, CollateralId, Policy, TrustAnchor, Verifier};
use bulla_tee::{KeyRequest, PlatformState, Tee};

use crate::args::{Successor, SuccessorAdmit, SuccessorAdopt, SuccessorRequest};
use crate::command::attest::statuses;
use crate::command::change::{each, told};
use crate::command::floor;
use crate::failure::Failure;
use crate::machine::Judge;
use crate::openers::Openers;
use crate::{files, machine, say};

/// Runs a subcommand.
pub(crate) fn run(machine: Option<&str>, subcommand: &Successor) -> Result<(), Failure> {
    match subcommand {
        Successor::Request(options) => request(machine, options),
        Successor::Admit(options) => admit(machine, options),
        Successor::Adopt(options) => adopt(machine, options),
    }
}

/// The next identity asks.
fn request(machine: Option<&str>, options: &SuccessorRequest) -> Result<(), Failure> {
    let tee = machine::open(machine)?.tee;
    let (request, secret) = Request::new(tee.as_ref())?;
    // First what cannot be made again.
    files::create(&options.secret, &secret)?;
    files::output(Some(&options.output), |output| output.write_all(&request.encode()))?;
    say::note(format_args!(
        "bring {} to the present identity, for `bulla successor admit`",
        options.output.display()
    ));
    Ok(())
}

/// The present identity lets in whom the upgrade is for.
fn admit(machine: Option<&str>, options: &SuccessorAdmit) -> Result<(), Failure> {
    let upgrade = upgrade(options)?;
    let request = Request::decode(&files::beginning(&options.request, Request::LIMIT as u64 + 1)?)?;
    let judge =
        machine.map(|machine| machine::open(Some(machine))).transpose()?.and_then(|machine| machine.judge);
    let claims = verified(request.quote(), judge.as_ref(), options)?;
    let recipient = request.accept(&claims.identity, &claims.report_data, &upgrade)?;
    if claims.simulated {
        say::note("the successor runs on a SIMULATED machine, which protects nothing");
    }
    let openers = Openers::load(machine, &options.openers)?;
    let mut rewrap = Rewrap::new().successor(recipient);
    if let Some(floor) = openers.floor() {
        rewrap = rewrap.floor(floor);
    }
    let unsealer = openers.unsealer(&options.context);
    let paths: Vec<_> = options.files.iter().map(AsRef::as_ref).collect();
    each(&paths, |path| {
        told(path, &rewrap.file(&unsealer, path)?);
        Ok(())
    })
}

fn upgrade(options: &SuccessorAdmit) -> Result<Upgrade, Failure> {
    match (&options.measurement, &options.signer, options.product, options.min_svn) {
        (Some(measurement), ..) => Ok(Upgrade::Measurement(digits("--measurement", measurement)?)),
        (None, Some(signer), Some(product), Some(min_svn)) => {
            Ok(Upgrade::Signer { signer: digits("--signer", signer)?, product, min_svn })
        }
        _ => {
            Err(Failure::usage("say whom to let in: --measurement, or --signer with --product and --min-svn"))
        }
    }
}

fn digits(option: &str, text: &str) -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| Failure::usage(format!("{option} takes 64 hexadecimal digits")))?;
    Ok(bytes)
}

/// What the quote says, verified under the machine's own root, or Intel's.
fn verified(quote: &[u8], judge: Option<&Judge>, options: &SuccessorAdmit) -> Result<Claims, Failure> {
    let collateral = match (&options.collateral, judge) {
        (Some(path), _) => Collateral::from_json(&files::beginning(path, Collateral::LIMIT as u64 + 1)?)?,
        (None, Some(judge)) => judge.collateral.collateral(&CollateralId::of_quote(quote)?)?,
        (None, None) => {
            return Err(Failure::usage("--collateral is needed to judge the successor's quote with"));
        }
    };
    let (anchor, policy) = match judge {
        Some(judge) => (judge.anchor.clone(), judge.policy.clone()),
        None => (TrustAnchor::intel(), Policy::strict()),
    };
    let policy = policy.allow_statuses(&statuses(&options.tcb)?);
    Ok(Verifier::new(anchor).verify(quote, &collateral, machine::now(), &policy)?)
}

/// The next identity makes itself at home.
fn adopt(machine: Option<&str>, options: &SuccessorAdopt) -> Result<(), Failure> {
    let tee = machine::open(machine)?.tee;
    let tee = tee.as_ref();
    let floor = options.floor.as_ref().map(|path| floor::load(path, Some(tee))).transpose()?;
    let secret = files::read(&options.secret, Request::LIMIT as u64)?;
    let key = successor::key(tee, &secret).map_err(|error| Failure::from(error).about(&options.secret))?;
    let mut adopt = Adopt::new(&options.context, tee, &key).policy(options.policy.parse()?);
    if let Some(floor) = &floor {
        adopt = adopt.floor(floor);
    }
    if options.vouch {
        adopt = adopt.vouch();
    }
    let paths: Vec<_> = options.files.iter().map(AsRef::as_ref).collect();
    each(&paths, |path| {
        let changed = adopt.file(path)?;
        told(path, &changed);
        tell_who_else(tee, path, &changed.value)
    })?;
    say::note(format_args!("{} has done its work: remove it", options.secret.display()));
    Ok(())
}

/// Names the machine slots that are not for this identity.
fn tell_who_else(tee: &dyn Tee, path: &Path, header: &bulla::Header) -> Result<(), Failure> {
    let identity = tee.identity()?;
    let is_other = |request: &KeyRequest| {
        request.opens_under(&identity, &PlatformState::here(&identity)).into_result().is_err()
    };
    for (index, slot) in header.slots().iter().enumerate() {
        if matches!(slot.opener(), Opener::Machine(request) if is_other(request)) {
            let path = path.display();
            say::note(format_args!(
                "{path}: slot {index} still opens for another identity; once that is retired: bulla rewrap --drop {index} \
                 {path} (dropping is not revocation: that identity still opens older copies)"
            ));
        }
    }
    Ok(())
}
