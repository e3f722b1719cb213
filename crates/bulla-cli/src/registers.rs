//! The registers that a TDX guest is known by, as a TOML file.

use std::path::Path;

use bulla_tee::GuestRegisters;
use toml::{Table, Value};

use crate::failure::Failure;
use crate::files;

const LIMIT: u64 = 64 * 1024;

/// Reads all nine, and nothing else: one that is left out has no value that could be meant (R26).
pub(crate) fn read(path: &Path) -> Result<GuestRegisters, Failure> {
    let text = String::from_utf8(files::read(path, LIMIT)?)
        .map_err(|_| Failure::usage("it is not a text file").about(path))?;
    parse(&text).map_err(|reason| Failure::usage(reason).about(path))
}

/// The lines of such a file.
pub(crate) fn lines(registers: &GuestRegisters) -> impl Iterator<Item = String> {
    registers
        .named()
        .map(|(name, value)| format!("{} = \"{}\"", name.to_lowercase(), hex::encode(value)))
        .into_iter()
}

fn parse(text: &str) -> Result<GuestRegisters, String> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let mut take = |name: &str| match table.remove(name) {
        None => Err(format!("{name} is missing: a guest is let in by all nine registers")),
        Some(value) => digits(&value).ok_or_else(|| format!("{name} is not 96 hexadecimal digits")),
    };
    let registers = GuestRegisters {
        mrtd: take("mrtd")?,
        rtmr0: take("rtmr0")?,
        rtmr1: take("rtmr1")?,
        rtmr2: take("rtmr2")?,
        rtmr3: take("rtmr3")?,
        mrconfigid: take("mrconfigid")?,
        mrowner: take("mrowner")?,
        mrownerconfig: take("mrownerconfig")?,
        mrservicetd: take("mrservicetd")?,
    };
    match table.keys().next() {
        None => Ok(registers),
        Some(name) => Err(format!("{} is no register that a guest is let in by", name.escape_debug())),
    }
}

fn digits(value: &Value) -> Option<[u8; 48]> {
    let mut bytes = [0; 48];
    hex::decode_to_slice(value.as_str()?, &mut bytes).ok()?;
    Some(bytes)
}
