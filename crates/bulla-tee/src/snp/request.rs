//! The recorded request of a SEV-SNP guest's key.

use minicbor::{Decode, Encode};
use zerocopy::FromZeros;

use super::arch::{KeyReq, field};
use super::identity::TcbLayout;
use crate::policy::is_label;
use crate::sgx::arch::{KEYPOLICY_MRENCLAVE, KEYPOLICY_MRSIGNER};
use crate::{Error, Mismatch, Policy, SignerPolicy, SnpIdentity, SnpTcb};

/// The chip's own key (VCEK), also where a provider's is loaded (VLEK): that one is the same on all of the provider's
/// machines, and another one whenever it is loaded for a new TCB.
const VCEK: u32 = 1 << 1;
/// What enters every key: the guest's policy, and DEBUG with it (R3), and the TCB that is recorded (R5).
const ALWAYS: u64 = field::POLICY | field::TCB_VERSION;
/// Which releases of a signer a key is for.
const RELEASES: u64 = field::FAMILY_ID | field::GUEST_SVN;
const MACHINE: &str = "a SEV-SNP guest";

/// Every selector of a SEV-SNP guest's sealing key, and the identity it was made for (R1).
///
/// Fields 0 to 4 are the architectural MSG_KEY_REQ. The rest is what the guest was when sealing, recorded so that a refusal
/// can say what differs; the firmware mixes HOST_DATA and the signer's digest into every key. The encoding is a CBOR array
/// of these 13 fields, always all of them:
///
/// | field | CBOR | value |
/// |---|---|---|
/// | 0 | uint | ROOT_KEY_SELECT: 2, the chip's own key (VCEK) |
/// | 1 | uint | GUEST_FIELD_SELECT: bits 0 POLICY and 5 TCB_VERSION, and 3 MEASUREMENT or 2 FAMILY_ID with 4 GUEST_SVN or all three; no other |
/// | 2 | uint | VMPL of the sealer, 0 to 3 |
/// | 3 | uint | GUEST_SVN, the lowest that opens; 0 unless selected |
/// | 4 | bytes, 8 | TCB_VERSION: the committed TCB when sealing |
/// | 5 | bytes, 32 | KEYID: random, not zero |
/// | 6 | bytes, 48 | MEASUREMENT of the sealer, not zero |
/// | 7 | uint | POLICY of the sealer |
/// | 8 | bytes, 16 | FAMILY_ID of the sealer: a 16-bit number, little-endian; zero unless selected |
/// | 9 | bytes, 32 | HOST_DATA of the sealer |
/// | 10 | bytes, 48 | the signer: digest of the author key, or else of the ID key; zero without an ID block, and not zero with FAMILY_ID |
/// | 11 | text | label: 1 to 64 characters `!` to `~` without `,` with FAMILY_ID, else empty |
/// | 12 | bytes, 16 | machine tag: the first half of the key with fields 0, 2 and 4, and of the fields only POLICY and TCB_VERSION selected |
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SnpRequest {
    /// ROOT_KEY_SELECT.
    #[n(0)]
    pub root_key_select: u32,
    /// GUEST_FIELD_SELECT; see [`field`].
    #[n(1)]
    pub guest_field_select: u64,
    /// The privilege level that the key is for.
    #[n(2)]
    pub vmpl: u32,
    /// The lowest GUEST_SVN that opens, if it is selected.
    #[n(3)]
    pub guest_svn: u32,
    /// The committed TCB when sealing, as it was reported.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub tcb_version: [u8; 8],
    /// 32 fresh random bytes (R2). The firmware has no input for it: it stands behind the firmware's key.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub keyid: [u8; 32],
    /// The measurement of the guest that sealed.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub measurement: [u8; 48],
    /// The policy of the guest that sealed; see [`super::policy`].
    #[n(7)]
    pub policy: u64,
    /// FAMILY_ID of the guest that sealed, if it is selected: the product, as a number.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub family_id: [u8; 16],
    /// HOST_DATA of the guest that sealed.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub host_data: [u8; 32],
    /// Who signed the guest that sealed.
    #[cbor(n(10), with = "minicbor::bytes")]
    pub signer: [u8; 48],
    /// For which application or tenant, if FAMILY_ID is selected (R7).
    #[n(11)]
    pub label: String,
    /// Tells this machine from another: half of a key that any guest on it with the same policy, host data and signer
    /// can ask for, so it is no secret, and without the machine it is random.
    #[cbor(n(12), with = "minicbor::bytes")]
    pub machine_tag: [u8; 16],
}

impl SnpRequest {
    /// The request of a new key for `identity` under `policy`, current in everything that the policy does not set; the
    /// machine tag is still empty.
    pub(crate) fn new(
        policy: &Policy,
        identity: &SnpIdentity,
        tcb_version: [u8; 8],
        keyid: [u8; 32],
    ) -> Result<Self, Error> {
        policy.check()?;
        let keypolicy = policy.keypolicy();
        if keypolicy == 0 || keypolicy & !(KEYPOLICY_MRENCLAVE | KEYPOLICY_MRSIGNER) != 0 {
            let what = "bind to registers of other machines or to an owner; its host data enter every key";
            return Err(Error::Unsupported { machine: MACHINE, what });
        }
        let mut select = ALWAYS;
        if keypolicy & KEYPOLICY_MRENCLAVE != 0 {
            select |= field::MEASUREMENT;
        }
        let (mut guest_svn, mut family_id, mut label) = (0, [0; 16], String::new());
        if let Some(terms) = policy.signer_policy() {
            require_met(terms, identity)?;
            select |= RELEASES;
            (guest_svn, family_id, label) = (terms.min_svn.into(), identity.family_id, terms.label.clone());
        }
        Ok(Self {
            root_key_select: VCEK,
            guest_field_select: select,
            vmpl: identity.vmpl,
            guest_svn,
            tcb_version,
            keyid,
            measurement: identity.measurement,
            policy: identity.policy,
            family_id,
            host_data: identity.host_data,
            signer: *signer(identity),
            label,
            machine_tag: [0; 16],
        })
    }

    /// The policy that it was made under.
    pub(crate) fn policy(&self) -> Policy {
        let of = |field, keypolicy| if self.selects(field) { keypolicy } else { 0 };
        let keypolicy = of(field::MEASUREMENT, KEYPOLICY_MRENCLAVE) | of(RELEASES, KEYPOLICY_MRSIGNER);
        let [low, high, ..] = self.family_id;
        let terms = SignerPolicy {
            product: u16::from_le_bytes([low, high]),
            min_svn: self.guest_svn.try_into().unwrap_or(u16::MAX),
            label: self.label.clone(),
        };
        Policy::of_keypolicy(keypolicy, terms)
    }

    /// Refuses what no sealing writes: no identity (R14), a signer without a label (R7), no POLICY and so no DEBUG (R3), a
    /// zero KEYID (R2), values of fields that are not selected.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let releases = self.guest_field_select & RELEASES;
        let label_fits = if releases == 0 { self.label.is_empty() } else { is_label(&self.label) };
        let faults = [
            (self.root_key_select != VCEK, "the key's root is not the chip's own key"),
            (self.guest_field_select & ALWAYS != ALWAYS, "the key leaves out the guest's policy or the TCB"),
            (
                !self.selects(field::MEASUREMENT) && releases == 0,
                "the key selects no identity, so anyone could have it",
            ),
            (
                self.guest_field_select & !(ALWAYS | RELEASES | field::MEASUREMENT) != 0
                    || ![0, RELEASES].contains(&releases),
                "the key selects what this version does not write",
            ),
            (self.vmpl > 3, "there is no such privilege level"),
            (self.keyid == [0; 32], "the KEYID is zero"),
            (self.measurement == [0; 48], "MEASUREMENT is zero"),
            (releases != 0 && self.signer == [0; 48], "the guest's signer is nobody"),
            (!is_product(&self.family_id), "FAMILY_ID is not a product's number"),
            (self.guest_svn > u16::MAX.into(), "GUEST_SVN is not one that this version writes"),
            (!label_fits, "a label goes with FAMILY_ID, and only with it"),
            (
                releases == 0 && (self.guest_svn != 0 || self.family_id != [0; 16]),
                "it holds a field that the key does not select",
            ),
        ];
        match faults.into_iter().find(|(fault, _)| *fault) {
            Some((_, what)) => Err(Error::InvalidRequest(what)),
            None => Ok(()),
        }
    }

    /// Whether everything of `identity` that enters the key is as recorded, and no recorded version is above it.
    pub(crate) fn fits(&self, identity: &SnpIdentity) -> Result<(), Error> {
        let same = |field, register, claimed: &[u8], found: &[u8]| {
            if !self.selects(field) {
                return Ok(());
            }
            Mismatch::check(register, claimed, found)
        };
        same(field::MEASUREMENT, "MEASUREMENT", &self.measurement, &identity.measurement)?;
        let register = if has_author(identity) { "AUTHOR_KEY_DIGEST" } else { "ID_KEY_DIGEST" };
        Mismatch::check(register, &self.signer, signer(identity))?;
        same(field::FAMILY_ID, "FAMILY_ID", &self.family_id, &identity.family_id)?;
        Mismatch::check("POLICY", &self.policy.to_be_bytes(), &identity.policy.to_be_bytes())?;
        Mismatch::check("HOST_DATA", &self.host_data, &identity.host_data)?;
        if self.vmpl < identity.vmpl {
            Mismatch::check("VMPL", &self.vmpl.to_be_bytes(), &identity.vmpl.to_be_bytes())?;
        }
        if self.guest_svn > identity.guest_svn {
            return Err(Error::TcbTooOld {
                register: "GUEST_SVN",
                sealed: self.guest_svn.to_string(),
                current: identity.guest_svn.to_string(),
            });
        }
        // A TCB of another family's layout is another machine's.
        let sealed = self.tcb(identity).ok_or(Error::OtherMachine)?;
        if !identity.committed_tcb.reaches(&sealed) {
            return Err(Error::TcbTooOld {
                register: "TCB",
                sealed: sealed.to_string(),
                current: identity.committed_tcb.to_string(),
            });
        }
        Ok(())
    }

    /// The TCB when sealing, read as on the processor of `identity`.
    pub(crate) fn tcb(&self, identity: &SnpIdentity) -> Option<SnpTcb> {
        TcbLayout::of(identity.cpuid).read(self.tcb_version)
    }

    /// What the firmware is asked for.
    pub(crate) fn keyreq(&self) -> KeyReq {
        KeyReq {
            root_key_select: self.root_key_select.into(),
            guest_field_select: self.guest_field_select.into(),
            vmpl: self.vmpl.into(),
            guest_svn: self.guest_svn.into(),
            tcb_version: self.tcb_version,
            ..KeyReq::new_zeroed()
        }
    }

    /// What it is asked for to have [`machine_tag`](Self::machine_tag).
    pub(crate) fn tag_keyreq(&self) -> KeyReq {
        KeyReq { guest_field_select: ALWAYS.into(), guest_svn: 0.into(), ..self.keyreq() }
    }

    fn selects(&self, fields: u64) -> bool {
        self.guest_field_select & fields == fields
    }
}

/// R7: who seals under a signer policy can open it, and only the signer says what the product is.
fn require_met(terms: &SignerPolicy, identity: &SnpIdentity) -> Result<(), Error> {
    let outside = |register, wanted: String, found: String| Error::OutsidePolicy { register, wanted, found };
    if *signer(identity) == [0; 48] {
        return Err(Error::UnderBoundPolicy(
            "this guest has no signer: it was launched without an ID block, so the host says of which product it is",
        ));
    }
    let mut product = [0; 16];
    product.iter_mut().zip(terms.product.to_le_bytes()).for_each(|(to, from)| *to = from);
    if product != identity.family_id {
        return Err(outside("FAMILY_ID", hex::encode(product), hex::encode(identity.family_id)));
    }
    if u32::from(terms.min_svn) > identity.guest_svn {
        let wanted = format!("{} and above", terms.min_svn);
        return Err(outside("GUEST_SVN", wanted, identity.guest_svn.to_string()));
    }
    Ok(())
}

/// The digest that the firmware mixes into keys.
fn signer(identity: &SnpIdentity) -> &[u8; 48] {
    if has_author(identity) { &identity.author_key_digest } else { &identity.id_key_digest }
}

fn has_author(identity: &SnpIdentity) -> bool {
    identity.author_key_digest != [0; 48]
}

fn is_product(family_id: &[u8; 16]) -> bool {
    let [_, _, rest @ ..] = family_id;
    rest == &[0; 14]
}

#[cfg(test)]
mod tests;
