//! A guest as a file shows it: a quote, a manifest, or a list of registers.

use std::collections::BTreeMap;
use std::path::Path;

use bulla_attest::Outline;
use bulla_protocol::{Manifest, QUOTE_MAX};
use bulla_tee::{GuestRegisters, Identity, TdxIdentity};

use crate::command::signing::Document;
use crate::failure::Failure;
use crate::{files, registers};

/// What is known of a guest. Nothing of it is verified.
pub(super) struct Guest {
    /// By name as in [`GuestRegisters::NAMES`]; what a manifest excepts is not here.
    pub(super) registers: BTreeMap<&'static str, [u8; 48]>,
    /// All of it, where a quote shows it.
    pub(super) quoted: Option<Box<TdxIdentity>>,
}

impl Guest {
    /// Reads any of the three.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = files::beginning(path, QUOTE_MAX as u64 + 1)?;
        // The header of a quote has zero bytes, and no text has any.
        if bytes.contains(&0) {
            let quoted = tdx(path, &bytes)?;
            return Ok(Self { registers: all(&GuestRegisters::from(quoted.as_ref())), quoted: Some(quoted) });
        }
        let registers = match Document::read(path)? {
            Document::Plain(text) if !text.contains("[image]") => all(&registers::read(path)?),
            document => {
                let manifest = Manifest::from_toml(document.text());
                let manifest = manifest.map_err(|error| Failure::from(error).about(path))?;
                manifest.image().map(|(name, value)| (name, *value)).collect()
            }
        };
        Ok(Self { registers, quoted: None })
    }
}

/// The registers that a quote claims.
pub(super) fn of_quote(path: &Path) -> Result<GuestRegisters, Failure> {
    let bytes = files::beginning(path, QUOTE_MAX as u64 + 1)?;
    Ok(GuestRegisters::from(tdx(path, &bytes)?.as_ref()))
}

fn tdx(path: &Path, quote: &[u8]) -> Result<Box<TdxIdentity>, Failure> {
    let outline = Outline::of(quote, None).map_err(|error| Failure::from(error).about(path))?;
    match outline.identity {
        Some(Identity::Tdx(guest)) => Ok(guest),
        _ => Err(Failure::usage(format!("it is the {} of no TDX guest", outline.kind)).about(path)),
    }
}

fn all(registers: &GuestRegisters) -> BTreeMap<&'static str, [u8; 48]> {
    registers.named().into_iter().map(|(name, value)| (name, *value)).collect()
}
