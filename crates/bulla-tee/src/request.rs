//! How to get a key again: every selector that went into it, recorded when sealing (R1).

use std::fmt;

use minicbor::{Decode, Encode};

use crate::sgx::SgxRequest;
use crate::{Error, Identity, ProviderRequest};

/// How to get a key again, on the machine that gave it.
///
/// Every variant and its encoding is always compiled, so that any machine can read for whom a key is; only code that
/// touches a device is behind a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRequest {
    /// EGETKEY in an SGX enclave.
    Sgx(Box<SgxRequest>),
    /// A TDX guest asks its key provider.
    TdxProvider(Box<ProviderRequest>),
    /// Any of the others, of a simulated machine. It never nests.
    Simulated(Box<Self>),
}

impl KeyRequest {
    /// The name of the kind, as it stands in an envelope.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sgx(_) => "sgx",
            Self::TdxProvider(_) => "tdx-provider",
            Self::Simulated(_) => "sim",
        }
    }

    /// The encoding: deterministic CBOR, an array whose layout depends on [`kind`](Self::kind).
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Sgx(request) => to_cbor(request.as_ref()),
            Self::TdxProvider(request) => to_cbor(request.as_ref()),
            Self::Simulated(request) => {
                to_cbor(SimulatedCbor { kind: request.kind(), body: &request.encode() })
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else: the bytes are encoded again and compared.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for an unknown kind, any other encoding, or values that no sealing writes: a zero KEYID
    /// (R2), masks without INIT or DEBUG (R3), no identity register (R14).
    pub fn decode(kind: &str, bytes: &[u8]) -> Result<Self, Error> {
        let request = match kind {
            "sgx" => Self::Sgx(Box::new(from_cbor(bytes)?)),
            "tdx-provider" => Self::TdxProvider(Box::new(from_cbor(bytes)?)),
            "sim" => {
                let inner: SimulatedCbor<'_> = from_cbor(bytes)?;
                if inner.kind == "sim" {
                    return Err(Error::InvalidRequest("a simulated request inside a simulated request"));
                }
                Self::Simulated(Box::new(Self::decode(inner.kind, inner.body)?))
            }
            _ => return Err(Error::InvalidRequest("unknown kind of machine")),
        };
        if request.encode() != bytes {
            return Err(Error::InvalidRequest("not in its canonical encoding"));
        }
        match &request {
            Self::Sgx(request) => request.check()?,
            Self::TdxProvider(request) => request.check()?,
            Self::Simulated(_) => {}
        }
        Ok(request)
    }

    /// Whether the request would give its key to `identity`, as far as registers decide. Pure, so it answers "will it
    /// open after this change?" as well as "why did it not open?".
    ///
    /// CPUSVN is opaque (R5) and the machine's own secret is not a register: those two only the machine can judge.
    ///
    /// # Errors
    /// [`Error::OtherIdentity`] with the first register that differs, [`Error::TcbTooOld`] for a security version above
    /// the current one, [`Error::WrongBackend`] for another kind of machine.
    pub fn opens_under(&self, identity: &Identity) -> Result<(), Error> {
        match (self, identity) {
            (Self::Sgx(request), Identity::Sgx(identity)) => request.opens_under(identity),
            (Self::TdxProvider(request), Identity::Tdx(identity)) => request.opens_under(identity),
            (Self::Simulated(request), identity) => request.opens_under(identity),
            (Self::Sgx(_), Identity::Tdx(_)) => Err(Error::WrongBackend { wanted: "sgx", found: "tdx" }),
            (Self::TdxProvider(_), Identity::Sgx(_)) => {
                Err(Error::WrongBackend { wanted: "tdx-provider", found: "sgx" })
            }
        }
    }
}

/// Names a register that differs, what the request claims for it and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The register.
    pub register: &'static str,
    /// Its value in the request, which is a claim until the envelope has authenticated.
    pub claimed: String,
    /// Its value here.
    pub found: String,
}

impl Mismatch {
    /// An error unless the two values are equal.
    pub(crate) fn check(register: &'static str, claimed: &[u8], found: &[u8]) -> Result<(), Error> {
        if claimed == found {
            return Ok(());
        }
        let (claimed, found) = (hex::encode(claimed), hex::encode(found));
        Err(Error::OtherIdentity(Self { register, claimed, found }))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the header claims {} {}, and here it is {}", self.register, self.claimed, self.found)
    }
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct SimulatedCbor<'a> {
    #[b(0)]
    kind: &'a str,
    #[cbor(b(1), with = "minicbor::bytes")]
    body: &'a [u8],
}

fn to_cbor(value: impl Encode<()>) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to memory does not fail")
}

fn from_cbor<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, Error> {
    minicbor::decode(bytes).map_err(|_| Error::InvalidRequest("not the CBOR of its kind"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sgx::arch::{Attributes, flags};
    use crate::{GuestRegisters, SgxIdentity, TdxIdentity};

    fn enclave() -> SgxIdentity {
        SgxIdentity {
            mrenclave: [1; 32],
            mrsigner: [2; 32],
            isv_prod_id: 3,
            isv_svn: 4,
            cpusvn: [5; 16],
            attributes: Attributes { flags: flags::INIT | flags::MODE64BIT, xfrm: 0xE7 },
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
            isv_family_id: [0; 16],
            isv_ext_prod_id: [0; 16],
        }
    }

    fn sgx() -> SgxRequest {
        SgxRequest::for_measurement(&enclave(), [6; 32])
    }

    fn guest() -> TdxIdentity {
        TdxIdentity {
            mrtd: [1; 48],
            rtmr: [[2; 48], [3; 48], [4; 48], [5; 48]],
            mrconfigid: [6; 48],
            mrowner: [7; 48],
            mrownerconfig: [8; 48],
            mrservicetd: [9; 48],
            attributes: 0,
            xfam: 0,
            tee_tcb_svn: [0; 16],
            mrseam: [0; 48],
        }
    }

    fn provider() -> ProviderRequest {
        ProviderRequest {
            root_id: [1; 16],
            provider: [2; 32],
            authority: [3; 32],
            path: "path".into(),
            purpose: "sealing".into(),
            guest: GuestRegisters::from(&guest()),
        }
    }

    #[test]
    fn every_kind_comes_back_from_its_encoding() {
        let sgx = KeyRequest::Sgx(Box::new(sgx()));
        let provider = KeyRequest::TdxProvider(Box::new(provider()));
        let simulated =
            [sgx.clone(), provider.clone()].map(|request| KeyRequest::Simulated(Box::new(request)));
        for request in [sgx, provider].into_iter().chain(simulated) {
            assert_eq!(KeyRequest::decode(request.kind(), &request.encode()).unwrap(), request);
        }
    }

    /// R1: every selector of the architectural request is in the encoding.
    #[test]
    fn every_selector_is_recorded() {
        type Edit = fn(&mut SgxRequest);
        let edits: [Edit; 9] = [
            |r| r.isvsvn += 1,
            |r| r.cpusvn[0] += 1,
            |r| r.configsvn += 1,
            |r| r.flags_mask ^= 1 << 40,
            |r| r.xfrm_mask ^= 4,
            |r| r.misc_mask ^= 1,
            |r| r.cet_mask ^= 1,
            |r| r.keyid[0] ^= 1,
            |r| r.keypolicy ^= 2,
        ];
        let original = KeyRequest::Sgx(Box::new(sgx()));
        for edit in edits {
            let mut edited = sgx();
            edit(&mut edited);
            assert!(edited.keyrequest() != sgx().keyrequest());
            assert_ne!(KeyRequest::Sgx(Box::new(edited)).encode(), original.encode());
        }
    }

    /// B27, R2, R3, R14: what no sealing writes is no request, however well it is encoded.
    #[test]
    fn invalid_requests_are_refused() {
        type Edit = fn(&mut SgxRequest);
        let edits: [Edit; 7] = [
            |r| r.cet_mask = 1,
            |r| r.keyid = [0; 32],
            |r| r.flags_mask &= !flags::DEBUG,
            |r| r.flags_mask &= !flags::INIT,
            |r| r.keypolicy = 0,
            |r| r.keypolicy = 2,
            |r| r.keypolicy |= 1 << 9,
        ];
        for edit in edits {
            let mut edited = sgx();
            edit(&mut edited);
            let bytes = KeyRequest::Sgx(Box::new(edited)).encode();
            assert!(matches!(KeyRequest::decode("sgx", &bytes), Err(Error::InvalidRequest(_))));
        }
        let mut zero = provider();
        zero.guest.mrtd = [0; 48];
        let bytes = KeyRequest::TdxProvider(Box::new(zero)).encode();
        assert!(matches!(KeyRequest::decode("tdx-provider", &bytes), Err(Error::InvalidRequest(_))));
    }

    /// R32: any other encoding, kind, nesting or cut is refused.
    #[test]
    fn only_the_canonical_encoding_is_read() {
        let request = KeyRequest::Sgx(Box::new(sgx()));
        let bytes = request.encode();
        for length in 0..bytes.len() {
            assert!(KeyRequest::decode("sgx", &bytes[..length]).is_err());
        }
        let trailing = [&bytes[..], &[0]].concat();
        let indefinite = [&[0x9F][..], &bytes[1..], &[0xFF]].concat();
        for bytes in [&trailing, &indefinite] {
            assert!(KeyRequest::decode("sgx", bytes).is_err());
        }
        assert!(KeyRequest::decode("tdx-provider", &bytes).is_err());
        assert!(KeyRequest::decode("sgy", &bytes).is_err());
        let nested = KeyRequest::Simulated(Box::new(KeyRequest::Simulated(Box::new(request))));
        assert!(KeyRequest::decode("sim", &nested.encode()).is_err());
    }

    /// Each register that decides is named, with what is claimed and what is there.
    #[test]
    fn a_mismatch_names_the_register() {
        let request = KeyRequest::Sgx(Box::new(sgx()));
        let named = |identity: SgxIdentity| match request.opens_under(&Identity::Sgx(Box::new(identity))) {
            Ok(()) => "",
            Err(Error::OtherIdentity(mismatch)) => mismatch.register,
            Err(Error::TcbTooOld { register, .. }) => register,
            Err(error) => error.code(),
        };
        assert_eq!(named(enclave()), "");
        assert_eq!(named(SgxIdentity { mrenclave: [9; 32], ..enclave() }), "MRENCLAVE");
        assert_eq!(named(SgxIdentity { isv_prod_id: 9, ..enclave() }), "ISVPRODID");
        assert_eq!(named(SgxIdentity { isv_svn: 3, ..enclave() }), "ISVSVN");
        assert_eq!(named(SgxIdentity { isv_svn: 5, mrsigner: [9; 32], ..enclave() }), "");
        let debug = Attributes { flags: enclave().attributes.flags | flags::DEBUG, xfrm: 0 };
        assert_eq!(named(SgxIdentity { attributes: debug, ..enclave() }), "ATTRIBUTES");
        let wider = Attributes { xfrm: 0x600E7, ..enclave().attributes };
        assert_eq!(named(SgxIdentity { attributes: wider, ..enclave() }), "", "R4: XFRM does not decide");
        let mut simulated = enclave();
        simulated.cpusvn[8..].copy_from_slice(&crate::SIMULATED_MARKER);
        assert_eq!(named(simulated), "machine.wrong_backend", "R15");
        assert!(request.opens_under(&Identity::Tdx(Box::new(guest()))).is_err());

        let request = KeyRequest::TdxProvider(Box::new(provider()));
        assert!(request.opens_under(&Identity::Tdx(Box::new(guest()))).is_ok());
        let mut other = guest();
        other.rtmr[3] = [0; 48];
        let error = request.opens_under(&Identity::Tdx(Box::new(other))).unwrap_err();
        assert!(error.to_string().contains("the header claims RTMR3 0505"), "{error}");
    }
}
