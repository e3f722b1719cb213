//! `bulla floor`: what is too old to be accepted, sealed so that the host cannot lower it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use bulla::journal::Journal;
use bulla::{Error, Opener, Policy, Sealer, Unsealer};
use bulla_tee::{Identity, Tee};
use serde_json::json;

use crate::args::{Floor, FloorRaise, FloorShow};
use crate::failure::Failure;
use crate::{openers, say};

const CONTEXT: &str = "bulla/floor";
/// Bytes of a sealed floor.
const LIMIT: u64 = 1 << 20;

/// Runs a subcommand.
pub(crate) fn run(machine: Option<&str>, subcommand: &Floor) -> Result<(), Failure> {
    match subcommand {
        Floor::Show(options) => show(machine, options),
        Floor::Raise(options) => raise(machine, options),
    }
}

/// The floor in a file, opened by the machine that it was sealed to.
pub(crate) fn load(path: &Path, tee: Option<&dyn Tee>) -> Result<bulla::Floor, Failure> {
    let tee = tee.ok_or_else(|| Failure::usage("--floor needs a machine: a floor is sealed to one"))?;
    let read = || -> Result<bulla::Floor, Error> {
        let mut sealed = bulla::file::open_sealed(path, LIMIT)?;
        open(tee, &mut sealed).map(|(floor, _)| floor)
    };
    read().map_err(|error| Failure::from(error).about(path))
}

/// A floor, and the policy that it is sealed under. Only the machine may have written it.
fn open(tee: &dyn Tee, sealed: &mut File) -> Result<(bulla::Floor, Policy), Error> {
    let mut envelope = Vec::new();
    let reading = |source| Error::Io { what: "reading the floor".into(), source };
    sealed.take(LIMIT).read_to_end(&mut envelope).map_err(reading)?;
    let (encoded, opened) = Unsealer::new(CONTEXT).machine(tee).require_origin().unseal(&envelope)?;
    let policy = match opened.header.slots().get(opened.slot).map(bulla::Slot::opener) {
        Some(Opener::Machine(request)) => request.policy(),
        _ => Policy::default(),
    };
    Ok((bulla::Floor::decode(encoded.expose())?, policy))
}

fn show(machine: Option<&str>, options: &FloorShow) -> Result<(), Failure> {
    let tee = openers::tee(machine, &options.guest)?;
    print(&load(&options.file, Some(tee.as_ref()))?, options.json);
    Ok(())
}

/// Raises the floor through its journal, or makes it where there never was one (R83, R95).
fn raise(machine: Option<&str>, options: &FloorRaise) -> Result<(), Failure> {
    let tee = openers::tee(machine, &options.guest)?;
    let tee = tee.as_ref();
    let journal = Journal::at(&options.file)?.largest(LIMIT);
    let verify = |file: &mut File, wanted: &bulla::Floor| match open(tee, file)? {
        (floor, _) if floor == *wanted => Ok(()),
        _ => Err(Error::NotAsWritten),
    };
    let changed = journal.change(
        |old, new| {
            let (floor, policy) = open(tee, old)?;
            write(tee, policy, raised(&floor, tee, options)?, new)
        },
        verify,
    );
    let floor = match changed {
        Ok(changed) => changed.value,
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            let floor = raised(&bulla::Floor::default(), tee, options)?;
            journal.create(|new| write(tee, Policy::default(), floor, new), verify)?
        }
        Err(error) => return Err(Failure::from(error).about(&options.file)),
    };
    print(&floor, false);
    Ok(())
}

fn raised(floor: &bulla::Floor, tee: &dyn Tee, options: &FloorRaise) -> Result<bulla::Floor, Error> {
    let present = if options.admit_present { floor.admit_present(tee)? } else { floor.clone() };
    let mut to = present.clone();
    to.isvsvn = options.isvsvn.unwrap_or(to.isvsvn);
    to.epoch = options.epoch.unwrap_or(to.epoch);
    if options.cpusvn.is_some() {
        to.cpusvn = BTreeSet::from([cpusvn(tee)?]);
    }
    Ok(present.raise(&to)?)
}

/// The present CPUSVN of an enclave.
fn cpusvn(tee: &dyn Tee) -> Result<[u8; 16], Error> {
    match tee.identity()? {
        Identity::Sgx(identity) => Ok(identity.cpusvn),
        _ => Err(bulla_tee::Error::Unsupported { machine: "a TDX guest", what: "show its CPUSVN" }.into()),
    }
}

fn write(tee: &dyn Tee, policy: Policy, floor: bulla::Floor, new: &mut File) -> Result<bulla::Floor, Error> {
    let encoded = floor.encode();
    Sealer::new(CONTEXT).machine(tee, policy).prove_origin().seal_stream(encoded.as_slice(), new)?;
    Ok(floor)
}

fn print(floor: &bulla::Floor, json: bool) {
    let cpusvn: Vec<_> = floor.cpusvn.iter().map(hex::encode).collect();
    if json {
        say::result(json!({ "isvsvn": floor.isvsvn, "epoch": floor.epoch, "cpusvn": cpusvn }));
        return;
    }
    say::field("isvsvn", &floor.isvsvn.into());
    say::field("epoch", &floor.epoch.into());
    let any = "any".to_owned();
    say::field("cpusvn", &if cpusvn.is_empty() { any } else { cpusvn.join(" or ") }.into());
}
