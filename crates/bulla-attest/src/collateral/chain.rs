//! Whose collateral a PCK chain asks for, read once for chains that come again: all quotes of a machine carry the same one.
//!
//! It is a function of the bytes and nothing else, so what is remembered is what would be read.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bulla_crypto::sha256;

use super::{PckCa, pck_leaf};
use crate::Error;
use crate::error::{Item, ItemFault};
use crate::pki::{Certificate, decode_pem};

/// How many chains are remembered; then all are forgotten.
const REMEMBERED: usize = 64;

/// The processor family that the first certificate of a PEM chain names, and who issued it.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) fmspc: [u8; 6],
    pub(super) ca: PckCa,
}

static READ: Mutex<BTreeMap<[u8; 32], Asked>> = Mutex::new(BTreeMap::new());

/// What a chain asks for.
///
/// # Errors
/// `pck.chain` if it is not PEM, or its first certificate is not a PCK certificate.
pub(super) fn asks(chain: &[u8]) -> Result<Asked, Error> {
    let hash = sha256(&[chain]);
    let read = || READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(asked) = read().get(&hash) {
        return Ok(*asked);
    }
    let asked = parse(chain)?;
    let mut read = read();
    if read.len() >= REMEMBERED {
        read.clear();
    }
    read.insert(hash, asked);
    Ok(asked)
}

fn parse(chain: &[u8]) -> Result<Asked, Error> {
    let chain = decode_pem(Item::Pck, chain)?;
    let not_pck =
        || Error::item(Item::Pck, ItemFault::Chain, "the first certificate is not a PCK certificate");
    let leaf = chain.first().and_then(|der| Certificate::parse(der)).ok_or_else(not_pck)?;
    let (extension, ca) = pck_leaf(&leaf).ok_or_else(not_pck)?;
    Ok(Asked { fmspc: extension.fmspc, ca })
}

#[cfg(test)]
mod tests {
    use bulla_sim::{Machine, TdDescription};

    use super::*;
    use crate::quote::Quote;

    /// R31: a host can write one chain in many ways (PEM has line breaks), and none of them makes the memory larger.
    #[test]
    fn chains_are_read_alike_however_often_and_the_memory_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::create(folder.path().join("machine")).unwrap();
        let quote = machine.td_quote(&TdDescription::default_guest(), &[0; 64]).unwrap();
        let mut chain = Quote::parse(&quote).unwrap().pck_chain.to_vec();
        let first = asks(&chain).unwrap();
        for _ in 0..2 * REMEMBERED {
            chain.push(b'\n');
            let again = asks(&chain).unwrap();
            assert_eq!((again.fmspc, again.ca), (first.fmspc, first.ca));
            assert!(READ.lock().unwrap().len() <= REMEMBERED);
        }
        chain.push(b'x');
        assert_eq!(asks(&chain).err().map(|error| error.code()), Some("pck.chain"));
    }
}
