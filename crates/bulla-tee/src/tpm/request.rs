//! A key that a TPM sealed, as a slot records it.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::{Authority, BRANCHES_MAX, NAMES, PcrPolicy, PcrSet, TpmIdentity};
use crate::{Error, Mismatch, Policy};

/// How much is read of a sealed object's part; the parts of ours are about half as long.
const PART_MAX: usize = 512;

/// A random key that a TPM sealed, and the states of the registers that it opens in.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct TpmRequest {
    /// The SHA-256 Name of the storage key that it is sealed under.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub parent: [u8; 32],
    /// The sealed object's public area (TPM 2.0 Library, part 2, TPMT_PUBLIC).
    #[cbor(n(1), with = "minicbor::bytes")]
    pub public: Vec<u8>,
    /// The sealed object's private area, which only this TPM can decrypt (TPM2B_PRIVATE without its size).
    #[cbor(n(2), with = "minicbor::bytes")]
    pub private: Vec<u8>,
    /// Which registers of the SHA-256 bank decide, by a bit for each.
    #[n(3)]
    pub pcrs: u32,
    /// Their values, ascending by register, 32 bytes each: when sealing, then in each planned state.
    #[n(4)]
    pub states: Vec<ByteVec>,
    /// Who may approve of other states.
    #[n(5)]
    pub authority: Option<Authority>,
}

impl TpmRequest {
    /// The states that `policy` names on a machine with these registers: the present one first.
    ///
    /// # Errors
    /// [`Error::UnderBoundPolicy`] where none of the registers was ever extended (R13, R14), [`Error::InvalidPolicy`] for a
    /// state that is named twice, [`Error::Unsupported`] for a policy that names what a TPM does not have.
    pub fn states(policy: &Policy, identity: &TpmIdentity) -> Result<(PcrPolicy, Vec<Vec<u8>>), Error> {
        policy.check()?;
        let policy = if *policy == Policy::measurement() {
            PcrPolicy::present(PcrSet::MEASUREMENT)
        } else {
            let what = "bind to registers or owners that are not its own: name its registers, as in pcr:4+7";
            policy.pcr_policy().cloned().ok_or(Error::Unsupported { machine: "a TPM", what })?
        };
        let mut states: Vec<Vec<u8>> = Vec::with_capacity(BRANCHES_MAX);
        let present = Default::default();
        for planned in std::iter::once(&present).chain(&policy.alternatives) {
            let here =
                identity.pcrs.iter().enumerate().filter(|(register, _)| policy.pcrs.contains(*register));
            let state: Vec<u8> =
                here.flat_map(|(register, value)| *planned.get(&register).unwrap_or(value)).collect();
            if is_unmeasured(&state) {
                return Err(Error::UnderBoundPolicy(
                    "nothing was measured into its registers, so anyone could open",
                ));
            }
            if states.contains(&state) {
                return Err(Error::InvalidPolicy("one of its states is there twice".into()));
            }
            states.push(state);
        }
        Ok((policy, states))
    }

    /// The registers that decide.
    pub fn selection(&self) -> PcrSet {
        PcrSet::new(self.pcrs).expect("checked when it was read or made")
    }

    /// Refuses what no sealing writes.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let no = |what| Err(Error::InvalidRequest(what));
        let Ok(pcrs) = PcrSet::new(self.pcrs) else { return no("its registers bind to too little") };
        if self.parent == [0; 32] {
            return no("the name of the TPM's storage key is zero");
        }
        if ![&self.public, &self.private].iter().all(|part| (1..=PART_MAX).contains(&part.len())) {
            return no("a sealed object has two parts of at most 512 bytes");
        }
        let branches = self.states.len() + usize::from(self.authority.is_some());
        if self.states.is_empty() || branches > BRANCHES_MAX {
            return no("a TPM takes 1 to 8 states");
        }
        let length = 32 * pcrs.iter().count();
        if !self.states.iter().all(|state| state.len() == length && !is_unmeasured(state)) {
            return no("a state has a value for each register, and not only zeros");
        }
        match Policy::pcrs(self.policy()).check() {
            Ok(()) => Ok(()),
            Err(_) => no("its policy is none"),
        }
    }

    /// The policy that it was sealed under.
    pub(crate) fn policy(&self) -> PcrPolicy {
        let pcrs = self.selection();
        let mut states = self.states.iter().map(|state| state.as_chunks::<32>().0);
        let sealed = states.next().unwrap_or_default();
        let planned = states.map(|state| {
            let pairs = pcrs.iter().zip(state.iter().zip(sealed));
            pairs.filter(|(_, (then, now))| then != now).map(|(pcr, (then, _))| (pcr, *then)).collect()
        });
        PcrPolicy { pcrs, alternatives: planned.collect(), authority: self.authority.clone() }
    }

    /// The number of the state that the machine is in; none where it is in no recorded one.
    pub fn state_of(&self, identity: &TpmIdentity) -> Option<usize> {
        self.states.iter().position(|state| differing(self.selection(), state, identity).next().is_none())
    }

    /// Whether only an approval of the authority can make it open: the machine is in no recorded state.
    pub(crate) fn is_for_the_authority_to_say(&self, identity: &TpmIdentity) -> bool {
        self.authority.is_some() && self.state_of(identity).is_none()
    }

    /// [`Error::OtherMachine`] for another TPM, [`Error::OtherIdentity`] with the first register that differs from the
    /// closest recorded state.
    pub(crate) fn fits(&self, identity: &TpmIdentity) -> Result<(), Error> {
        if self.parent != identity.parent {
            return Err(Error::OtherMachine);
        }
        if self.is_for_the_authority_to_say(identity) {
            return Ok(());
        }
        self.in_a_recorded_state(identity)
    }

    /// [`Error::OtherIdentity`] with the first register that differs from the closest recorded state.
    ///
    /// # Errors
    /// As it says.
    pub fn in_a_recorded_state(&self, identity: &TpmIdentity) -> Result<(), Error> {
        let closest =
            self.states.iter().min_by_key(|state| differing(self.selection(), state, identity).count());
        match closest.and_then(|state| differing(self.selection(), state, identity).next()) {
            None => Ok(()),
            Some((register, claimed, found)) => Mismatch::check(register, claimed, found),
        }
    }
}

/// Whether nothing was ever measured into these registers.
fn is_unmeasured(state: &[u8]) -> bool {
    state.iter().all(|byte| *byte == 0) || state.iter().all(|byte| *byte == 0xFF)
}

/// The registers whose values in `state` are not those of `identity`: name, recorded, found.
fn differing<'a>(
    pcrs: PcrSet,
    state: &'a [u8],
    identity: &'a TpmIdentity,
) -> impl Iterator<Item = (&'static str, &'a [u8; 32], &'a [u8; 32])> {
    let registers = NAMES.into_iter().zip(&identity.pcrs).enumerate();
    let selected = registers.filter(move |(register, _)| pcrs.contains(*register));
    let pairs =
        selected.zip(state.as_chunks::<32>().0).map(|((_, (name, found)), claimed)| (name, claimed, found));
    pairs.filter(|(_, claimed, found)| claimed != found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{tpm, tpm_identity};
    use crate::{Doubt, Identity, KeyRequest, Outlook, PlatformState};

    const KEY: [u8; 64] = [0xCD; 64];

    fn request(policy: &str) -> TpmRequest {
        tpm(&policy.parse().unwrap())
    }

    fn outlook(request: &TpmRequest, identity: &TpmIdentity) -> Outlook {
        let identity = Identity::Tpm(Box::new(identity.clone()));
        KeyRequest::Tpm(Box::new(request.clone()))
            .opens_under(&identity, &PlatformState::here(&identity).confirmed())
    }

    /// R12, R16: the encoding is frozen. The bytes were written by hand from the table of the specification of envelopes.
    #[test]
    fn the_encoding_equals_its_vectors() {
        let hex = |byte: &str, count: usize| format!("58{count:02x}{}", byte.repeat(count));
        let start = format!("{}43a1a2a342b1b2190890", hex("01", 32)); // registers 4, 7 and 11
        let sealed = format!("5860{}{}{}", "04".repeat(32), "07".repeat(32), "0b".repeat(32));
        let planned = format!("5860{}{}{}", "04".repeat(32), "ee".repeat(32), "0b".repeat(32));
        let plan = format!("pcr:4+7+11,or=7:{}", "ee".repeat(32));
        let vectors = [
            ("pcr:4+7+11".to_owned(), format!("85{start}81{sealed}")),
            (plan.clone(), format!("85{start}82{sealed}{planned}")),
            (
                format!("{plan},authority={},label=acme", hex::encode(KEY)),
                format!("86{start}82{sealed}{planned}82{}6461636d65", hex("cd", 64)),
            ),
        ];
        for (policy, bytes) in vectors {
            let request = KeyRequest::Tpm(Box::new(request(&policy)));
            assert_eq!(hex::encode(request.encode()), bytes, "{policy}");
            assert_eq!(KeyRequest::decode("tpm", &hex::decode(&bytes).unwrap()).unwrap(), request);
            assert_eq!(request.policy().to_string(), policy);
        }
    }

    /// R13, R14, R32: what no sealing writes.
    #[test]
    fn a_request_that_binds_to_too_little_is_refused() {
        type Change = fn(&mut TpmRequest);
        let changes: [Change; 12] = [
            |r| r.parent = [0; 32],
            |r| r.pcrs = 0,
            |r| r.pcrs = 1 << 23 | 1 << 4 | 1 << 7,
            |r| r.pcrs |= 1,
            |r| r.public.clear(),
            |r| r.private = vec![1; 513],
            |r| r.states.clear(),
            |r| r.states = vec![vec![0; 96].into()],
            |r| r.states = vec![vec![0xFF; 96].into()],
            |r| r.states = vec![vec![1; 95].into()],
            |r| r.states = (1..10).map(|byte| vec![byte; 96].into()).collect(),
            |r| r.authority = Some(Authority { key: [0; 64], label: "x".into() }),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut request = request("pcr:4+7+11");
            change(&mut request);
            let error = KeyRequest::decode("tpm", &crate::request::to_cbor(&request)).unwrap_err();
            assert!(matches!(error, Error::InvalidRequest(_)), "{number}");
        }
    }

    /// R13, R14: registers that nothing was measured into are the same everywhere.
    #[test]
    fn registers_without_a_measurement_do_not_bind() {
        let mut identity = tpm_identity();
        identity.pcrs[7] = [0; 32];
        let states = |policy: &str| TpmRequest::states(&policy.parse().unwrap(), &identity);
        assert_eq!(states("pcr:7").unwrap_err().code(), "policy.under_bound");
        states("pcr:4+7").unwrap();
        identity.pcrs[7] = [0xFF; 32];
        assert_eq!(
            TpmRequest::states(&"pcr:7".parse().unwrap(), &identity).unwrap_err().code(),
            "policy.under_bound"
        );
        let twice = format!("pcr:4,or=4:{}", "04".repeat(32));
        assert_eq!(
            TpmRequest::states(&twice.parse().unwrap(), &identity).unwrap_err().code(),
            "policy.invalid"
        );
        for of_others in [
            "signer:product=1,svn=1,label=x",
            "owner:0101010101010101010101010101010101010101010101010101010101010101,product=a,svn=1",
        ] {
            let error = TpmRequest::states(&of_others.parse().unwrap(), &identity).unwrap_err();
            assert_eq!(error.code(), "machine.unsupported");
        }
        let (policy, _) = TpmRequest::states(&Policy::measurement(), &identity).unwrap();
        assert_eq!(policy.to_string(), "pcr:0+2+4+7+8+9+11+14");
    }

    /// Each register that is selected decides, and is named; no other does.
    #[test]
    fn the_selected_registers_decide() {
        let request = request("pcr:4+7+11");
        for register in 0..super::super::PCRS {
            let mut other = tpm_identity();
            other.pcrs[register][31] ^= 1;
            let wanted = [4, 7, 11].contains(&register).then(|| format!("PCR{register}"));
            assert_eq!(outlook(&request, &other).field().map(str::to_owned), wanted, "{register}");
        }
        let elsewhere = TpmIdentity { parent: [9; 32], ..tpm_identity() };
        assert!(matches!(outlook(&request, &elsewhere), Outlook::DoesNot(Error::OtherMachine)));
    }

    /// A planned state opens as well as that of the sealing; the reason is that of the closest one.
    #[test]
    fn planned_states_open_and_the_authority_may_know_others() {
        let plan = format!("pcr:4+7+11,or=7:{0}+11:{0}", "ee".repeat(32));
        let planned = request(&plan);
        let mut then = tpm_identity();
        then.pcrs[7] = [0xEE; 32];
        assert_eq!(outlook(&planned, &then).field(), Some("PCR7"), "closer to that of the sealing");
        then.pcrs[11] = [0xEE; 32];
        assert!(matches!(outlook(&planned, &then), Outlook::Opens));
        assert_eq!(planned.state_of(&then), Some(1));
        then.pcrs[4] = [0; 32];
        assert_eq!(outlook(&planned, &then).field(), Some("PCR4"));
        let approved = request(&format!("{plan},authority={},label=x", hex::encode(KEY)));
        assert!(matches!(outlook(&approved, &then), Outlook::MayNot(Doubt::Approval)));
        assert!(matches!(outlook(&approved, &tpm_identity()), Outlook::Opens));
    }
}
