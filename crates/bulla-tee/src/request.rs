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
