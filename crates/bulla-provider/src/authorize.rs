//! Step `authorize`: which key this evidence asks for, and whether its guest may have it.

use bulla_attest::Claims;
use bulla_crypto::{HpkePublicKey, Kem};
use bulla_protocol::Code;
use bulla_protocol::v1::Request;
use bulla_tee::{Identity, TdxIdentity};

use crate::refusal::Refusal;

/// The guest of a v1 request: its evidence was made for exactly this request (R38, B19).
pub(crate) fn guest<'a>(claims: &'a Claims, request: &Request) -> Result<&'a TdxIdentity, Refusal> {
    if claims.report_data != *request.report_data().as_bytes() {
        return Err(Refusal::new(Code::BindingMismatch, "binding.report_data"));
    }
    tdx(claims)
}

/// The guest of a legacy request. The formula leaves out three registers that the host chooses, so they must be zero:
/// otherwise guests that differ in them would share a key (R25).
pub(crate) fn legacy_guest(claims: &Claims) -> Result<&TdxIdentity, Refusal> {
    let guest = tdx(claims)?;
    for (register, cause) in [
        (&guest.mrconfigid, "legacy.mrconfigid"),
        (&guest.mrowner, "legacy.mrowner"),
        (&guest.mrownerconfig, "legacy.mrownerconfig"),
    ] {
        if register != &[0; 48] {
            return Err(Refusal::new(Code::PolicyDenied, cause));
        }
    }
    Ok(guest)
}

/// The public key of a legacy request: the first half of the guest's report data. The other half is the client's affair.
pub(crate) fn legacy_key(claims: &Claims) -> Result<HpkePublicKey, Refusal> {
    public_key(*claims.report_data.first_chunk().expect("report data is 64 bytes"))
}

/// A public key to which something can be encrypted (R41, B20).
pub(crate) fn public_key(bytes: [u8; 32]) -> Result<HpkePublicKey, Refusal> {
    HpkePublicKey::from_bytes(Kem::X25519, &bytes)
        .map_err(|_| Refusal::new(Code::BadPublicKey, "public_key.bad"))
}

fn tdx(claims: &Claims) -> Result<&TdxIdentity, Refusal> {
    match &claims.identity {
        Identity::Tdx(guest) => Ok(guest),
        _ => Err(Refusal::new(Code::Unsupported, "evidence.not_tdx")),
    }
}
