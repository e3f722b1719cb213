//! How to get a key again: every selector that went into it, recorded when sealing (R1).

use std::fmt;

use minicbor::{Decode, Encode};

use crate::outlook::Version;
use crate::sgx::{KeyFileRequest, SgxRequest};
use crate::snp::SnpRequest;
use crate::tdx::NativeRequest;
use crate::tpm::PcrSet;
use crate::{Doubt, Error, Identity, Outlook, PcrPolicy, PlatformState, Policy, ProviderRequest, TpmRequest};

/// How to get a key again, on the machine that gave it.
///
/// Every variant and its encoding is always compiled, so that any machine can read for whom a key is; only code that
/// touches a device is behind a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRequest {
    /// EGETKEY in an SGX enclave.
    Sgx(Box<SgxRequest>),
    /// The file that Gramine has a sealing key of its own in.
    SgxKeyFile(Box<KeyFileRequest>),
    /// A TDX guest asks its key provider.
    TdxProvider(Box<ProviderRequest>),
    /// The security processor of a SEV-SNP guest derives a key.
    Snp(Box<SnpRequest>),
    /// TDG.MR.KEY.GET in a TDX guest.
    TdxNative(Box<NativeRequest>),
    /// A TPM unseals a key.
    Tpm(Box<TpmRequest>),
    /// Any of the others, of a simulated machine. It never nests.
    Simulated(Box<Self>),
}

impl KeyRequest {
    /// [`kind`](Self::kind) of [`KeyRequest::SgxKeyFile`].
    pub(crate) const KEY_FILE: &'static str = "sgx-key-file";

    /// [`kind`](Self::kind) of [`KeyRequest::TdxNative`].
    pub(crate) const NATIVE: &'static str = "tdx-native";

    /// The name of the kind, as it stands in an envelope.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sgx(_) => "sgx",
            Self::SgxKeyFile(_) => Self::KEY_FILE,
            Self::TdxProvider(_) => "tdx-provider",
            Self::Snp(_) => "snp",
            Self::TdxNative(_) => Self::NATIVE,
            Self::Tpm(_) => "tpm",
            Self::Simulated(_) => "sim",
        }
    }

    /// The encoding: deterministic CBOR, an array whose layout depends on [`kind`](Self::kind).
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Sgx(request) => to_cbor(request.as_ref()),
            Self::SgxKeyFile(request) => to_cbor(request.as_ref()),
            Self::TdxProvider(request) => to_cbor(request.as_ref()),
            Self::Snp(request) => to_cbor(request.as_ref()),
            Self::TdxNative(request) => to_cbor(request.as_ref()),
            Self::Tpm(request) => to_cbor(request.as_ref()),
            Self::Simulated(request) => {
                to_cbor(SimulatedCbor { kind: request.kind(), body: &request.encode() })
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else: the bytes are encoded again and compared.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for an unknown kind, any other encoding, or values that no sealing writes: a zero KEYID
    /// (R2), masks without INIT or DEBUG (R3), a signer without a label (R7), no identity register (R14).
    pub fn decode(kind: &str, bytes: &[u8]) -> Result<Self, Error> {
        let no_cbor = || Error::InvalidRequest("not the CBOR of its kind");
        let request = match kind {
            "sgx" => Self::Sgx(Box::new(from_cbor(bytes).ok_or_else(no_cbor)?)),
            Self::KEY_FILE => Self::SgxKeyFile(Box::new(from_cbor(bytes).ok_or_else(no_cbor)?)),
            "tdx-provider" => Self::TdxProvider(Box::new(from_cbor(bytes).ok_or_else(no_cbor)?)),
            "snp" => Self::Snp(Box::new(from_cbor(bytes).ok_or_else(no_cbor)?)),
            Self::NATIVE => Self::TdxNative(Box::new(from_cbor(bytes).ok_or_else(no_cbor)?)),
            "tpm" => Self::Tpm(Box::new(from_cbor(bytes).ok_or_else(no_cbor)?)),
            "sim" => {
                let inner: SimulatedCbor<'_> = from_cbor(bytes).ok_or_else(no_cbor)?;
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
            Self::SgxKeyFile(request) => request.check()?,
            Self::TdxProvider(request) => request.check()?,
            Self::Snp(request) => request.check()?,
            Self::TdxNative(request) => request.check()?,
            Self::Tpm(request) => request.check()?,
            Self::Simulated(_) => {}
        }
        Ok(request)
    }

    /// The policy that the key was bound under.
    pub fn policy(&self) -> Policy {
        match self {
            Self::Sgx(request) => request.policy(),
            Self::SgxKeyFile(_) | Self::TdxNative(_) => Policy::measurement(),
            Self::TdxProvider(request) => Policy::guest(request.binding.clone()),
            Self::Snp(request) => request.policy(),
            Self::Tpm(request) => match request.policy() {
                policy if policy == PcrPolicy::present(PcrSet::MEASUREMENT) => Policy::measurement(),
                policy => Policy::pcrs(policy),
            },
            Self::Simulated(request) => request.policy(),
        }
    }

    /// Whether the request would give its key to `identity` on a machine of which `platform` is known. Pure, so it answers
    /// "will it open after this change?" as well as "why did it not open?".
    ///
    /// A refusal gives the first reason found: [`Error::OtherIdentity`] with the first register that differs, [`Error::TcbTooOld`] for a security
    /// version above the current one, [`Error::OtherMachine`], or [`Error::WrongBackend`] for another kind of machine.
    pub fn opens_under(&self, identity: &Identity, platform: &PlatformState) -> Outlook {
        match self.fits(identity) {
            Ok(()) => match platform.outlook(self.version(identity), self.is_at_any_later_cpusvn()) {
                Outlook::Opens => self.doubt(identity).map_or(Outlook::Opens, Outlook::MayNot),
                outlook => outlook,
            },
            Err(error) => Outlook::DoesNot(error),
        }
    }

    /// What is in doubt of `identity`, whose registers fit, on the right machine.
    fn doubt(&self, identity: &Identity) -> Option<Doubt> {
        let doubt = |is: bool, doubt| is.then_some(doubt);
        match (self, identity) {
            (Self::Simulated(request), identity) => request.doubt(identity),
            (Self::Tpm(request), Identity::Tpm(tpm)) => {
                doubt(request.is_for_the_authority_to_say(tpm), Doubt::Approval)
            }
            (Self::TdxProvider(request), Identity::Tdx(guest)) => {
                doubt(request.is_for_the_provider_to_say(guest), Doubt::Entitlement)
            }
            (Self::TdxNative(request), Identity::Tdx(guest)) => {
                doubt(request.is_of_another_module(guest), Doubt::TdxModule)
            }
            (Self::SgxKeyFile(request), Identity::Sgx(enclave)) => {
                doubt(request.is_for_the_manifest_to_say(enclave), Doubt::Attributes)
            }
            _ => None,
        }
    }

    /// Whether the registers fit. Simulated requests are for simulated machines, and nothing else is (R15).
    fn fits(&self, identity: &Identity) -> Result<(), Error> {
        let request = match (self, identity.is_simulated()) {
            (Self::Simulated(request), true) => request,
            (request, false) => request,
            (request, true) => return Err(Error::WrongBackend { wanted: request.kind(), found: "sim" }),
        };
        match (request, identity) {
            (Self::Sgx(request), Identity::Sgx(identity)) => request.fits(identity),
            (Self::SgxKeyFile(request), Identity::Sgx(identity)) => request.fits(identity),
            (Self::TdxProvider(request), Identity::Tdx(identity)) => request.fits(identity),
            (Self::Snp(request), Identity::Snp(identity)) => request.fits(identity),
            (Self::TdxNative(request), Identity::Tdx(identity)) => request.fits(identity),
            (Self::Tpm(request), Identity::Tpm(identity)) => request.fits(identity),
            (request, identity) => {
                Err(Error::WrongBackend { wanted: request.kind(), found: identity.kind() })
            }
        }
    }

    /// The ISVSVN that the key is for, where the request names it.
    pub(crate) fn isvsvn(&self) -> Option<u16> {
        match self {
            Self::Sgx(request) => Some(request.isvsvn),
            Self::SgxKeyFile(request) => Some(request.isvsvn),
            Self::TdxProvider(_) | Self::TdxNative(_) | Self::Snp(_) | Self::Tpm(_) => None,
            Self::Simulated(request) => request.isvsvn(),
        }
    }

    /// The security version of the machine that the key is for, where the request names it.
    fn version(&self, identity: &Identity) -> Option<Version> {
        match (self, identity) {
            (Self::Snp(request), Identity::Snp(identity)) => request.tcb(identity).map(Version::Tcb),
            (Self::Simulated(request), identity) => request.version(identity),
            (request, _) => request.cpusvn().copied().map(Version::Cpusvn),
        }
    }

    /// The CPUSVN that the key is for, where the request names it.
    pub fn cpusvn(&self) -> Option<&[u8; 16]> {
        match self {
            Self::Sgx(request) => Some(&request.cpusvn),
            Self::SgxKeyFile(request) => Some(&request.cpusvn),
            Self::TdxNative(request) => Some(&request.cpusvn),
            Self::TdxProvider(_) | Self::Snp(_) | Self::Tpm(_) => None,
            Self::Simulated(request) => request.cpusvn(),
        }
    }

    /// Whether a machine at a later CPUSVN has the key as well, by asking for it (R5).
    fn is_at_any_later_cpusvn(&self) -> bool {
        match self {
            Self::Sgx(_) | Self::TdxProvider(_) | Self::TdxNative(_) | Self::Snp(_) | Self::Tpm(_) => true,
            Self::SgxKeyFile(_) => false,
            Self::Simulated(request) => request.is_at_any_later_cpusvn(),
        }
    }

    /// The same request for the key of another CPUSVN.
    pub(crate) fn set_cpusvn(&mut self, cpusvn: [u8; 16]) {
        match self {
            Self::Sgx(request) => request.cpusvn = cpusvn,
            Self::SgxKeyFile(request) => request.cpusvn = cpusvn,
            Self::TdxNative(request) => request.cpusvn = cpusvn,
            Self::TdxProvider(_) | Self::Snp(_) | Self::Tpm(_) => {}
            Self::Simulated(request) => request.set_cpusvn(cpusvn),
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

pub(crate) fn to_cbor(value: impl Encode<()>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    minicbor::encode(value, &mut bytes).expect("writing to memory does not fail");
    bytes
}

pub(crate) fn from_cbor<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Option<T> {
    minicbor::decode(bytes).ok()
}

#[cfg(test)]
mod tests;
