//! Step `authorize`: which keys this evidence asks for, and whether its guest may have them.

use bulla_attest::Claims;
use bulla_crypto::{HpkePublicKey, Kem};
use bulla_protocol::v1::{Binding, FutureKey, Request, Selector, Transcript};
use bulla_protocol::{Code, Manifest, NotEntitled, Signed};
use bulla_tee::{GuestRegisters, Identity, TdxIdentity};

use crate::derive::{Bound, BoundTo};
use crate::policy::Policy;
use crate::policy::usage::{self, Use, Way};
use crate::refusal::Refusal;
use crate::registers::RegisterPolicy;

/// The guest of a v1 request: its evidence was made for exactly this request (R38, B19).
pub(crate) fn guest<'a>(claims: &'a Claims, order: &Transcript) -> Result<&'a TdxIdentity, Refusal> {
    if claims.report_data != *order.request.as_bytes() {
        return Err(Refusal::new(Code::BindingMismatch, "binding.report_data"));
    }
    tdx(claims)
}

/// What the keys of a guest are bound to. What the guest shows decides: whoever carries manifest and log between can have it
/// refused, and nothing else.
pub(crate) fn bound<'a>(
    policy: &'a Policy,
    binding: &'a Binding,
    guest: &TdxIdentity,
    manifest: Option<&Signed>,
    log: Option<&[u8]>,
) -> Result<Bound<'a>, Refusal> {
    bound_if(policy, binding, guest, log, |owner, product, svn| {
        entitled(guest, manifest, owner, product, svn)
    })
}

/// The same again for a guest whose manifest has granted it this very binding.
pub(crate) fn bound_again<'a>(
    policy: &'a Policy,
    binding: &'a Binding,
    guest: &TdxIdentity,
) -> Result<Bound<'a>, Refusal> {
    bound_if(policy, binding, guest, None, |_, _, _| Ok(()))
}

fn bound_if<'a>(
    policy: &'a Policy,
    binding: &'a Binding,
    guest: &TdxIdentity,
    log: Option<&[u8]>,
    granted: impl FnOnce(&[u8; 32], &str, u32) -> Result<(), Refusal>,
) -> Result<Bound<'a>, Refusal> {
    let to = match registers(policy, binding)? {
        Some(policy) => {
            BoundTo::Registers { kind: binding.kind(), policy, values: policy.values(guest, log)? }
        }
        None => owner(binding, granted)?,
    };
    Ok(Bound { to, attributes: guest.attributes, xfam: guest.xfam })
}

/// What the keys of a described guest are bound to. Only public halves of keys go to whoever describes one, so nobody has
/// to prove anything; and who describes no guest that exists gets keys that nobody can ask for.
pub(crate) fn described<'a>(policy: &'a Policy, wanted: &'a FutureKey) -> Result<Bound<'a>, Refusal> {
    let described = wanted.registers.iter();
    let to = match registers(policy, &wanted.binding)? {
        Some(policy) => {
            if !described.map(|register| register.name.as_str()).eq(policy.bind.iter().copied()) {
                return Err(Refusal::new(Code::Malformed, "described.registers"));
            }
            let values =
                policy.bind.iter().copied().zip(wanted.registers.iter().map(|register| register.value));
            BoundTo::Registers { kind: wanted.binding.kind(), policy, values: values.collect() }
        }
        None if wanted.registers.is_empty() => owner(&wanted.binding, |_, _, _| Ok(()))?,
        None => return Err(Refusal::new(Code::Malformed, "described.registers")),
    };
    Ok(Bound { to, attributes: u64::from_be_bytes(wanted.attributes), xfam: 0 })
}

/// The register policy that a binding names; `None` for an owner's, which has none.
fn registers<'a>(policy: &'a Policy, binding: &Binding) -> Result<Option<&'a RegisterPolicy>, Refusal> {
    match binding {
        Binding::Measurement => Ok(Some(&policy.measurement)),
        Binding::Registers { name, version } => {
            let mut known = policy.registers.iter();
            let found = known.find(|known| known.name == *name && known.version == *version);
            found.map(Some).ok_or(Refusal::new(Code::UsageDenied, "registers.unknown"))
        }
        Binding::Owner { .. } => Ok(None),
    }
}

fn owner(
    binding: &Binding,
    granted: impl FnOnce(&[u8; 32], &str, u32) -> Result<(), Refusal>,
) -> Result<BoundTo<'_>, Refusal> {
    let Binding::Owner { owner, product, svn } = binding else {
        return Err(Refusal::new(Code::Unsupported, "binding.unknown"));
    };
    granted(owner, product, *svn)?;
    Ok(BoundTo::Owner { owner, product, svn: *svn })
}

/// An owner's key goes to a guest whose image the owner has entitled to this product and to this SVN or a higher one.
fn entitled(
    guest: &TdxIdentity,
    manifest: Option<&Signed>,
    owner: &[u8; 32],
    product: &str,
    svn: u32,
) -> Result<(), Refusal> {
    let invalid = |cause| Refusal::new(Code::ManifestInvalid, cause);
    let signed = manifest.ok_or(invalid("manifest.missing"))?;
    let manifest = Manifest::verify(signed).map_err(|error| invalid(error.code()))?;
    manifest.entitles(guest, owner, product, svn).map_err(|reason| match reason {
        NotEntitled::Owner => invalid("manifest.owner"),
        NotEntitled::Product => invalid("manifest.product"),
        NotEntitled::Svn => Refusal::new(Code::SvnTooHigh, "manifest.svn"),
        _ => invalid("manifest.image"),
    })
}

/// Whether the policy has a rule for each of the keys that a guest asks for.
pub(crate) fn usage(
    policy: &Policy,
    binding: &Binding,
    keys: &[Selector],
    guest: &TdxIdentity,
    way: Way,
    now: u64,
) -> Result<(), Refusal> {
    let registers = GuestRegisters::from(guest);
    let registers = &registers.named().map(|(name, value)| (name, *value));
    allowed(policy, &Use { binding, registers, way, now }, keys)
}

/// Whether the policy has a rule for the key of a described guest. What the description leaves open is not asked about.
pub(crate) fn usage_described(
    policy: &Policy,
    wanted: &FutureKey,
    bound: &Bound<'_>,
    now: u64,
) -> Result<(), Refusal> {
    let registers: &[_] = match &bound.to {
        BoundTo::Registers { values, .. } => values,
        BoundTo::Owner { .. } => &[],
    };
    let wish = Use { binding: &wanted.binding, registers, way: Way::Described, now };
    allowed(policy, &wish, std::slice::from_ref(&wanted.key))
}

fn allowed(policy: &Policy, wanted: &Use<'_>, keys: &[Selector]) -> Result<(), Refusal> {
    usage::allows(&policy.usage, wanted, keys).map_err(|cause| Refusal::new(Code::UsageDenied, cause))
}

/// The guest of a legacy request. The formula leaves out three registers that the host chooses, so they must be zero or
/// listed: otherwise guests that differ in them would share a key (R25).
pub(crate) fn legacy_guest<'a>(policy: &Policy, claims: &'a Claims) -> Result<&'a TdxIdentity, Refusal> {
    let denied = |cause| Refusal::new(Code::PolicyDenied, cause);
    let legacy = policy.legacy.as_ref().ok_or(denied("legacy.disabled"))?;
    let guest = tdx(claims)?;
    legacy.check(guest).map_err(denied)?;
    Ok(guest)
}

/// The public key of a legacy request: the first half of the guest's report data. The other half is the client's affair.
pub(crate) fn legacy_key(claims: &Claims) -> Result<HpkePublicKey, Refusal> {
    let bytes: &[u8; 32] = claims.report_data.first_chunk().expect("report data is 64 bytes");
    public_key(Kem::X25519, bytes)
}

/// The public key of a v1 request, of a suite that the policy allows.
pub(crate) fn recipient(policy: &Policy, request: &Request) -> Result<HpkePublicKey, Refusal> {
    match request.kem() {
        None => Err(Refusal::new(Code::Unsupported, "suite.unknown")),
        Some(Kem::X25519) if !policy.classical => Err(Refusal::new(Code::PolicyDenied, "policy.classical")),
        Some(kem) => public_key(kem, &request.public_key),
    }
}

/// A public key to which something can be encrypted (R41, B20).
fn public_key(kem: Kem, bytes: &[u8]) -> Result<HpkePublicKey, Refusal> {
    HpkePublicKey::from_bytes(kem, bytes).map_err(|_| Refusal::new(Code::BadPublicKey, "public_key.bad"))
}

fn tdx(claims: &Claims) -> Result<&TdxIdentity, Refusal> {
    match &claims.identity {
        Identity::Tdx(guest) => Ok(guest),
        _ => Err(Refusal::new(Code::Unsupported, "evidence.not_tdx")),
    }
}
