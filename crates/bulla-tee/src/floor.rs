//! Floors: what is too old to be accepted.

use std::collections::BTreeSet;

use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::request::{from_cbor, to_cbor};
use crate::{Error, KeyRequest, Policy, Tee};

/// The lowest versions that are accepted. It only rises (R6, R83).
///
/// Whoever keeps one seals it: a floor that the host can write is none.
///
/// ```
/// use bulla_tee::Floor;
///
/// let floor = Floor { isvsvn: 2, ..Floor::default() };
/// let higher = floor.raise(&Floor { isvsvn: 3, ..Floor::default() })?;
/// assert_eq!(higher.raise(&floor).unwrap_err().code(), "floor.lowered");
/// assert_eq!(Floor::decode(&higher.encode())?, higher);
/// # Ok::<(), bulla_tee::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// The lowest ISVSVN that a key may be for.
    pub isvsvn: u16,
    /// The CPUSVNs that a key may be for; empty for no floor. CPUSVN is opaque (R5), so a floor lists what it
    /// accepts instead of comparing.
    pub cpusvn: BTreeSet<[u8; 16]>,
    /// The lowest epoch.
    pub epoch: u64,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct FloorCbor {
    #[n(0)]
    isvsvn: u16,
    #[n(1)]
    cpusvn: Vec<ByteArray<16>>,
    #[n(2)]
    epoch: u64,
}

impl Floor {
    /// The floor `to`, if it is nowhere lower than this one. CPUSVNs may be added where there was no floor, and taken from
    /// the list afterwards; [`admit_present`](Self::admit_present) adds one later.
    ///
    /// # Errors
    /// [`Error::LoweredFloor`].
    pub fn raise(&self, to: &Self) -> Result<Self, Error> {
        let lowered = |register, from, to| Err(Error::LoweredFloor { register, from, to });
        if to.isvsvn < self.isvsvn {
            return lowered("ISVSVN", self.isvsvn.to_string(), to.isvsvn.to_string());
        }
        if to.epoch < self.epoch {
            return lowered("epoch", self.epoch.to_string(), to.epoch.to_string());
        }
        let narrower = !to.cpusvn.is_empty() && to.cpusvn.is_subset(&self.cpusvn);
        if !self.cpusvn.is_empty() && !narrower {
            return lowered("CPUSVN", listed(&self.cpusvn), listed(&to.cpusvn));
        }
        Ok(to.clone())
    }

    /// The same floor with the present CPUSVN of the enclave among the accepted ones, as is needed after an update of the
    /// microcode. The processor shows that it is at or above every accepted one by giving a key for each (R5).
    ///
    /// # Errors
    /// [`Error::TcbTooOld`] where the processor is below an accepted one, [`Error::Unsupported`] where the machine has no
    /// CPUSVN, and those of [`Tee::bind`].
    pub fn admit_present(&self, enclave: &dyn Tee) -> Result<Self, Error> {
        let mut floor = self.clone();
        if self.cpusvn.is_empty() {
            return Ok(floor);
        }
        let (mut request, _) = enclave.bind(&Policy::measurement())?;
        let Some(present) = request.cpusvn().copied() else {
            return Err(Error::Unsupported { machine: request.kind(), what: "show its CPUSVN" });
        };
        for accepted in &self.cpusvn {
            request.set_cpusvn(*accepted);
            enclave.derive(&request)?;
        }
        floor.cpusvn.insert(present);
        Ok(floor)
    }

    /// Refuses a request for a key of a version below the floor. A request to a key provider holds none: the provider has its
    /// own.
    ///
    /// # Errors
    /// [`Error::BelowFloor`].
    pub fn check(&self, request: &KeyRequest) -> Result<(), Error> {
        self.check_versions(request.isvsvn(), request.cpusvn())
    }

    /// Refuses versions of an enclave and its processor below the floor; what a machine does not have is not below it.
    ///
    /// # Errors
    /// [`Error::BelowFloor`].
    pub fn check_versions(&self, isvsvn: Option<u16>, cpusvn: Option<&[u8; 16]>) -> Result<(), Error> {
        if let Some(isvsvn) = isvsvn
            && isvsvn < self.isvsvn
        {
            return below("ISVSVN", isvsvn.to_string(), self.isvsvn.to_string());
        }
        if let Some(cpusvn) = cpusvn
            && !self.cpusvn.is_empty()
            && !self.cpusvn.contains(cpusvn)
        {
            return below("CPUSVN", hex::encode(cpusvn), listed(&self.cpusvn));
        }
        Ok(())
    }

    /// Refuses an epoch below the floor. What has none is of epoch 0.
    ///
    /// # Errors
    /// [`Error::BelowFloor`].
    pub fn check_epoch(&self, epoch: u64) -> Result<(), Error> {
        if epoch < self.epoch {
            return below("epoch", epoch.to_string(), self.epoch.to_string());
        }
        Ok(())
    }

    /// The encoding: deterministic CBOR, the array `[isvsvn, [cpusvn…], epoch]` with the 16-byte CPUSVNs in ascending order.
    pub fn encode(&self) -> Vec<u8> {
        let cpusvn = self.cpusvn.iter().copied().map(ByteArray::from).collect();
        to_cbor(FloorCbor { isvsvn: self.isvsvn, cpusvn, epoch: self.epoch })
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// [`Error::InvalidFloor`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let cbor: FloorCbor = from_cbor(bytes).ok_or(Error::InvalidFloor("not its CBOR"))?;
        let cpusvn = cbor.cpusvn.into_iter().map(<[u8; 16]>::from).collect();
        let floor = Self { isvsvn: cbor.isvsvn, cpusvn, epoch: cbor.epoch };
        if floor.encode() != bytes {
            return Err(Error::InvalidFloor("not in its canonical encoding"));
        }
        Ok(floor)
    }
}

fn below(register: &'static str, sealed: String, floor: String) -> Result<(), Error> {
    Err(Error::BelowFloor { register, sealed, floor })
}

fn listed(cpusvn: &BTreeSet<[u8; 16]>) -> String {
    if cpusvn.is_empty() {
        return "none".into();
    }
    cpusvn.iter().map(hex::encode).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{key_file, native, provider, release, sgx};

    const NEW: [u8; 16] = [5; 16];
    const OLD: [u8; 16] = [4; 16];

    fn floor(isvsvn: u16, cpusvn: &[[u8; 16]], epoch: u64) -> Floor {
        Floor { isvsvn, cpusvn: cpusvn.iter().copied().collect(), epoch }
    }

    /// R83.
    #[test]
    fn floors_only_rise() {
        let start = floor(2, &[OLD, NEW], 7);
        for higher in [start.clone(), floor(3, &[OLD, NEW], 7), floor(2, &[NEW], 7), floor(2, &[OLD, NEW], 8)]
        {
            assert_eq!(start.raise(&higher).unwrap(), higher);
        }
        let lower = [
            (floor(1, &[OLD, NEW], 7), "ISVSVN"),
            (floor(2, &[OLD, NEW], 6), "epoch"),
            (floor(9, &[NEW], 0), "epoch"),
            (floor(2, &[], 7), "CPUSVN"),
            (floor(2, &[OLD, NEW, [3; 16]], 7), "CPUSVN"),
            (floor(2, &[[6; 16]], 7), "CPUSVN"),
            (Floor::default(), "ISVSVN"),
        ];
        for (lower, name) in lower {
            let error = start.raise(&lower).unwrap_err();
            assert!(matches!(&error, Error::LoweredFloor { register, .. } if *register == name), "{error}");
        }
        // Where there is no floor on CPUSVN, any is higher.
        assert_eq!(Floor::default().raise(&start).unwrap(), start);
    }

    /// R6: what was recorded is at or above the floor, also where the program that runs is.
    #[test]
    fn requests_below_the_floor_are_refused() {
        let real = KeyRequest::Sgx(Box::new(sgx(&Policy::default())));
        let signer = KeyRequest::Sgx(Box::new(sgx(&Policy::signer(release()))));
        let below = |request: &KeyRequest, floor: &Floor| {
            let tagged = KeyRequest::Simulated(Box::new(request.clone()));
            assert_eq!(floor.check(request).is_ok(), floor.check(&tagged).is_ok());
            match floor.check(request) {
                Ok(()) => "",
                Err(Error::BelowFloor { register, .. }) => register,
                Err(error) => error.code(),
            }
        };
        assert_eq!(below(&real, &Floor::default()), "");
        assert_eq!(below(&real, &floor(4, &[OLD, NEW], 99)), "");
        assert_eq!(below(&real, &floor(5, &[], 0)), "ISVSVN");
        assert_eq!(below(&signer, &floor(2, &[], 0)), "");
        assert_eq!(below(&signer, &floor(3, &[], 0)), "ISVSVN", "the sealer is at 4, its policy opens at 2");
        assert_eq!(below(&real, &floor(0, &[OLD], 0)), "CPUSVN");
        let guest = KeyRequest::TdxProvider(Box::new(provider()));
        assert_eq!(below(&guest, &floor(9, &[OLD], 9)), "");
        // Those that cannot be asked for an older version have one all the same, and a guest's own has a CPUSVN.
        let file = KeyRequest::SgxKeyFile(Box::new(key_file()));
        assert_eq!(below(&file, &floor(4, &[NEW], 0)), "");
        assert_eq!(below(&file, &floor(5, &[NEW], 0)), "ISVSVN");
        assert_eq!(below(&file, &floor(4, &[OLD], 0)), "CPUSVN");
        let native = KeyRequest::TdxNative(Box::new(native()));
        assert_eq!(below(&native, &floor(9, &[NEW], 0)), "");
        assert_eq!(below(&native, &floor(0, &[OLD], 0)), "CPUSVN");

        let error = floor(5, &[], 0).check(&real).unwrap_err();
        assert_eq!((error.code(), error.class()), ("machine.below_floor", bulla_crypto::Class::TooOld));
        assert!(floor(0, &[], 7).check_epoch(7).is_ok());
        let error = floor(0, &[], 7).check_epoch(6).unwrap_err();
        assert!(matches!(error, Error::BelowFloor { register: "epoch", .. }), "{error}");
    }

    #[test]
    fn floors_have_one_encoding() {
        let full = floor(300, &[NEW, OLD], 1 << 40);
        let golden = ["8319012c", "82", "50", &"04".repeat(16), "50", &"05".repeat(16), "1b0000010000000000"];
        assert_eq!(hex::encode(full.encode()), golden.concat());
        assert_eq!(hex::encode(Floor::default().encode()), "83008000");
        for floor in [&full, &Floor::default()] {
            assert_eq!(Floor::decode(&floor.encode()).unwrap(), *floor);
        }

        let bytes = full.encode();
        let svn = |byte: &str| ["50", &byte.repeat(16)].concat();
        let bad = [
            "83008000 00".to_owned(),
            "84008000 00".to_owned(),
            "820080".to_owned(),
            "9f008000ff".to_owned(),
            "8318008000".to_owned(),
            "831a000100008000".to_owned(),
            "83009fff00".to_owned(),
            ["830082", &svn("05"), &svn("04"), "00"].concat(),
            ["830082", &svn("04"), &svn("04"), "00"].concat(),
            ["830081", "4f", &"04".repeat(15), "00"].concat(),
            // Claims more than there is, which must cost nothing.
            "83009bffffffffffffffff".to_owned(),
        ];
        for text in bad {
            let error = Floor::decode(&hex::decode(text.replace(' ', "")).unwrap()).unwrap_err();
            assert_eq!(
                (error.code(), error.class()),
                ("floor.invalid", bulla_crypto::Class::Damaged),
                "{text}"
            );
        }
        for length in 0..bytes.len() {
            assert!(Floor::decode(&bytes[..length]).is_err());
        }
    }
}
