//! `bulla successor`: envelopes handed over to the next identity.

use std::io::Write;
use std::path::Path;

use bulla::successor::{self, Adopt, Request, Upgrade};
use bulla::{Opener, Rewrap};
use bulla_attest::{Claims, Collateral, CollateralId, Policy, TrustAnchor, Verifier};
use bulla_tee::{GuestRegisters, Identity, KeyRequest, PlatformState, Tee};
use serde_json::json;

use crate::args::{Judging, Successor, SuccessorAdmit, SuccessorAdopt, SuccessorRequest, SuccessorShow};
use crate::command::attest;
use crate::command::change::{each, told};
use crate::command::floor;
use crate::failure::Failure;
use crate::openers::Openers;
use crate::{files, machine, openers, registers, say};

/// Runs a subcommand.
pub(crate) fn run(machine: Option<&str>, subcommand: &Successor) -> Result<(), Failure> {
    match subcommand {
        Successor::Request(options) => request(machine, options),
        Successor::Show(options) => show(machine, options),
        Successor::Admit(options) => admit(machine, options),
        Successor::Adopt(options) => adopt(machine, options),
    }
}

/// The next identity asks.
fn request(machine: Option<&str>, options: &SuccessorRequest) -> Result<(), Failure> {
    let tee = openers::tee(machine, &options.guest)?;
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

/// Whom a request is from. What does not verify says nothing, so nothing of it is shown.
fn show(machine: Option<&str>, options: &SuccessorShow) -> Result<(), Failure> {
    let request = read(&options.request)?;
    let verdict = verified(machine, &request, &options.judging);
    match &verdict {
        Ok(claims) if options.json => say::result(attest::claims_json(claims)),
        Ok(claims) => tell(claims)?,
        Err(failure) if options.json => {
            let message = failure.to_string();
            say::result(json!({ "verified": false, "code": failure.code, "message": message }));
        }
        Err(_) => {}
    }
    verdict.map(drop)
}

fn tell(claims: &Claims) -> Result<(), Failure> {
    let (what, option) = match &claims.identity {
        Identity::Sgx(shown) => {
            say::result(format_args!("measurement = \"{}\"", hex::encode(shown.mrenclave)));
            say::result(format_args!("signer = \"{}\"", hex::encode(shown.mrsigner)));
            say::result(format_args!("product = {}", shown.isv_prod_id));
            say::result(format_args!("svn = {}", shown.isv_svn));
            ("an SGX enclave", "--measurement or --signer")
        }
        Identity::Tdx(shown) => {
            let registers = GuestRegisters::from(shown.as_ref());
            registers::lines(&registers).for_each(say::result);
            ("a TDX guest", "--guest")
        }
        _ => {
            return Err(Failure::other(
                "the quote verifies, and is of a machine that this program does not know",
            ));
        }
    };
    tell_if_simulated(claims);
    say::note(format_args!(
        "the quote verifies, and is for the key in the request: {what}, TCB {}. Compare it with what the next build says \
         before you give it to {option}",
        claims.tcb.status
    ));
    Ok(())
}

fn tell_if_simulated(claims: &Claims) {
    if claims.simulated {
        say::note("the successor runs on a SIMULATED machine, which protects nothing");
    }
}

/// The present identity lets in whom the upgrade is for.
fn admit(machine: Option<&str>, options: &SuccessorAdmit) -> Result<(), Failure> {
    let upgrade = upgrade(options)?;
    let request = read(&options.request)?;
    let claims = verified(machine, &request, &options.judging)?;
    let recipient = request.accept(&claims.identity, &claims.report_data, &upgrade)?;
    tell_if_simulated(&claims);
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

fn read(path: &Path) -> Result<Request, Failure> {
    Ok(Request::decode(&files::beginning(path, Request::LIMIT as u64 + 1)?)?)
}

fn upgrade(options: &SuccessorAdmit) -> Result<Upgrade, Failure> {
    match (&options.guest, &options.measurement, &options.signer, options.product, options.min_svn) {
        (Some(guest), ..) => Ok(Upgrade::Guest(Box::new(registers::read(guest)?))),
        (None, Some(measurement), ..) => Ok(Upgrade::Measurement(digits("--measurement", measurement)?)),
        (None, None, Some(signer), Some(product), Some(min_svn)) => {
            Ok(Upgrade::Signer { signer: digits("--signer", signer)?, product, min_svn })
        }
        _ => Err(Failure::usage(
            "say whom to let in: --guest, --measurement, or --signer with --product and --min-svn",
        )),
    }
}

fn digits(option: &str, text: &str) -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| Failure::usage(format!("{option} takes 64 hexadecimal digits")))?;
    Ok(bytes)
}

/// What the quote says, verified under the machine's own root, or Intel's, and made for the key in the request.
fn verified(machine: Option<&str>, request: &Request, judging: &Judging) -> Result<Claims, Failure> {
    let judge =
        machine.map(|machine| machine::open(Some(machine))).transpose()?.and_then(|machine| machine.judge);
    let quote = request.quote();
    let collateral = match (&judging.collateral, &judge) {
        (Some(path), _) => Collateral::from_json(&files::beginning(path, Collateral::LIMIT as u64 + 1)?)?,
        (None, Some(judge)) => judge.collateral.collateral(&CollateralId::of_quote(quote)?)?,
        (None, None) => {
            return Err(Failure::usage("--collateral is needed to judge the successor's quote with"));
        }
    };
    let (anchor, policy) = match judge {
        Some(judge) => (judge.anchor, judge.policy),
        None => (TrustAnchor::intel(), Policy::strict()),
    };
    let policy = policy.allow_statuses(&attest::statuses(&judging.tcb)?);
    let claims = Verifier::new(anchor).verify(quote, &collateral, machine::now(), &policy)?;
    request.require_report_data(&claims.report_data)?;
    Ok(claims)
}

/// The next identity makes itself at home.
fn adopt(machine: Option<&str>, options: &SuccessorAdopt) -> Result<(), Failure> {
    let tee = openers::tee(machine, &options.guest)?;
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
