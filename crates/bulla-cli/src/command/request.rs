//! `bulla request`: a TDX guest asks its key provider for a key.

use std::io::Write;

use bulla_client::{Client, Judge, Pin};

use crate::args::{OptionalPin, Request};
use crate::failure::Failure;
use crate::machine::{self, Machine};
use crate::{files, say};

/// Asks, and writes the key.
pub(crate) fn run(machine: Option<&str>, options: &Request) -> Result<(), Failure> {
    let client = client(machine::open(machine)?, &options.provider, &options.pin)?;
    let (root, key) = client.request_with_root(&options.path, &options.purpose, options.length)?;
    say::note(format_args!("{} bytes from root {}", options.length, hex::encode(root)));
    files::output(options.output.as_deref(), |output| output.write_all(key.expose()))
}

/// A client of the provider at `url`, for the guest that the machine is.
pub(crate) fn client(machine: Machine, url: &str, pin: &OptionalPin) -> Result<Client, Failure> {
    let Some(judge) = machine.judge else {
        return Err(Failure::usage("only a TDX guest asks a provider: an enclave derives its own keys"));
    };
    let pin = Pin {
        measurement: parse("--provider-id", pin.provider_id.as_deref())?,
        authority: match &pin.authority {
            // Every simulated machine has this one. A real machine's has to be named.
            None if judge.simulated => bulla_provider::DEVELOPMENT_AUTHORITY,
            authority => parse("--authority", authority.as_deref())?,
        },
        root_id: None,
    };
    let judge = Judge::new(judge.anchor, judge.collateral, judge.policy, machine::now);
    Ok(Client::new(machine.tee, url, pin, judge)?)
}

fn parse(option: &str, hex: Option<&str>) -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    let digits =
        hex.ok_or_else(|| Failure::usage(format!("{option} is needed: a client without a pin stops")))?;
    hex::decode_to_slice(digits, &mut bytes)
        .map_err(|_| Failure::usage(format!("{option} takes 64 hexadecimal digits")))?;
    Ok(bytes)
}
