//! `bulla seal` and `bulla unseal`.

use std::sync::Arc;

use bulla_tee::Tee;

use crate::args::Seal;
use crate::command::request;
use crate::failure::Failure;
use crate::{files, machine, say};

/// Seals the input.
pub(crate) fn seal(machine: Option<&str>, options: &Seal) -> Result<(), Failure> {
    let tee = tee(machine, options)?;
    let input = files::input(options.input.as_deref())?;
    let created = Some(machine::now());
    files::output(options.output.as_deref(), |output| {
        bulla::seal_stream(tee.as_ref(), &options.context, created, input, output)
    })?;
    say::note(
        "sealed to this machine only: it is lost with the machine's keys, so keep another way to the data",
    );
    Ok(())
}

/// Opens the input.
pub(crate) fn unseal(machine: Option<&str>, options: &Seal) -> Result<(), Failure> {
    let tee = tee(machine, options)?;
    let input = files::input(options.input.as_deref())?;
    files::output(options.output.as_deref(), |output| {
        bulla::unseal_stream(tee.as_ref(), &options.context, input, output)
    })
}

/// The machine itself, or the guest and its provider as one machine.
fn tee(machine: Option<&str>, options: &Seal) -> Result<Arc<dyn Tee>, Failure> {
    let machine = machine::open(machine)?;
    match &options.provider {
        None => Ok(machine.tee),
        Some(url) => {
            Ok(Arc::new(bulla_client::ProviderTee::new(request::client(machine, url, &options.pin)?)))
        }
    }
}
