//! What is acceptable of evidence that is genuine.

use std::collections::BTreeSet;

use bulla_tee::sgx::arch::flags;
use bulla_tee::tdx::attributes;
use bulla_tee::{Identity, SgxIdentity, TdxIdentity};

use crate::error::Rule;
use crate::{Error, Tcb, TcbStatus};

/// ATTRIBUTES flags that an enclave may have: INIT, DEBUG, MODE64BIT, PROVISION_KEY, EINITTOKEN_KEY, CET, KSS and
/// AEXNOTIFY; all others are reserved (Intel SDM vol. 3D, ATTRIBUTES).
const SGX_FLAGS: u64 = 0x4F7;

/// TD ATTRIBUTES that a guest may have: ICSSD, SERVTD_EXT, LASS, SEPT_VE_DISABLE, MIGRATABLE, PKS, KL and PERFMON, and
/// the TUD group that has a rule of its own; all others must be zero (Intel TDX Module ABI, ATTRIBUTES).
const TD_ATTRIBUTES: u64 = attributes::TUD
    | 0b11 << 16
    | 1 << 27
    | attributes::SEPT_VE_DISABLE
    | attributes::MIGRATABLE
    | 0b11 << 30
    | 1 << 63;

/// A service TD is bound and can be exchanged.
const SERVTD_EXT: u64 = 1 << 17;

/// What is acceptable of evidence that is genuine: the appraisal policy.
///
/// A policy can only be loosened by name, and three things cannot be loosened at all: debug (R23), the status `Revoked`
/// and statuses that are not known (R22).
///
/// ```
/// use bulla_attest::{Policy, TcbStatus};
///
/// let policy = Policy::strict()
///     .allow_statuses(&[TcbStatus::SwHardeningNeeded])
///     .min_tcb_evaluation_data_number(18);
/// assert_ne!(policy, Policy::default());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Policy {
    statuses: BTreeSet<TcbStatus>,
    every_status: bool,
    perfmon: bool,
    simulated: bool,
    min_tcb_evaluation_data_number: u32,
}

impl Policy {
    /// The default: exactly `UpToDate` without advisories; no debug or profiling, no PERFMON, no migration, no service TD,
    /// SEPT_VE_DISABLE set, reserved attributes zero (R22-R24); no simulated machine.
    pub const fn strict() -> Self {
        Self {
            statuses: BTreeSet::new(),
            every_status: false,
            perfmon: false,
            simulated: false,
            min_tcb_evaluation_data_number: 0,
        }
    }

    /// Accepts these statuses too, each with whatever advisories come with it: who lists `OutOfDate` accepts known holes.
    ///
    /// `UpToDate` without advisories is always accepted, and listing `UpToDate` does not make one with advisories
    /// acceptable. Listing `Revoked` has no effect.
    pub fn allow_statuses(mut self, statuses: &[TcbStatus]) -> Self {
        self.statuses.extend(statuses.iter().filter(|status| **status != TcbStatus::UpToDate));
        self
    }

    /// Accepts every status but `Revoked`, with any advisories. For looking at evidence, not for releasing keys.
    pub const fn allow_every_status(mut self) -> Self {
        self.every_status = true;
        self
    }

    /// Accepts guests that use performance counters, through which a guest's secrets may be inferred.
    pub const fn allow_perfmon(mut self) -> Self {
        self.perfmon = true;
        self
    }

    /// Accepts evidence of simulated machines, which protect nothing (R15, R110).
    pub const fn allow_simulated(mut self) -> Self {
        self.simulated = true;
        self
    }

    /// Refuses collateral that knows less TCB recoveries than this (R29): two sets can be valid in the same second and
    /// disagree, and without a minimum whoever delivers them picks the kinder one.
    pub const fn min_tcb_evaluation_data_number(mut self, minimum: u32) -> Self {
        self.min_tcb_evaluation_data_number = minimum;
        self
    }

    /// The whole appraisal: what runs first, then how the platform stands.
    pub(crate) fn appraise(&self, identity: &Identity, simulated: bool, tcb: &Tcb) -> Result<(), Error> {
        self.appraise_identity(identity, simulated, tcb)?;
        self.appraise_tcb(tcb)
    }

    /// The rules for what runs.
    pub(crate) fn appraise_identity(
        &self,
        identity: &Identity,
        simulated: bool,
        tcb: &Tcb,
    ) -> Result<(), Error> {
        let broken = if simulated && !self.simulated {
            Some((
                Rule::Simulated,
                "the machine is simulated and protects nothing: use a real one".to_owned(),
            ))
        } else {
            match identity {
                Identity::Sgx(enclave) => sgx_rule(enclave),
                Identity::Tdx(guest) => self.tdx_rule(guest),
                _ => {
                    Some((Rule::ReservedAttributes, "no rules are known for this kind of machine".to_owned()))
                }
            }
        };
        broken.map_or(Ok(()), |(rule, detail)| Err(refusal(rule, detail, tcb)))
    }

    fn tdx_rule(&self, guest: &TdxIdentity) -> Option<(Rule, String)> {
        let has = |bits: u64| guest.attributes & bits != 0;
        let reserved = guest.attributes & !TD_ATTRIBUTES;
        if has(attributes::TUD) {
            let detail = "the guest was started for debugging or profiling, so its host can look inside";
            Some((Rule::Debug, format!("{detail}: start it without")))
        } else if reserved != 0 {
            Some((
                Rule::ReservedAttributes,
                format!("the guest has attribute bits {reserved:#x}, which must be zero"),
            ))
        } else if has(attributes::MIGRATABLE) {
            Some((
                Rule::Migratable,
                "the guest can be moved to another machine: start it without MIGRATABLE".to_owned(),
            ))
        } else if guest.mrservicetd != [0; 48] || has(SERVTD_EXT) {
            let detail = "the guest is bound to a service TD (MRSERVICETD is not zero)";
            Some((Rule::ServiceTd, format!("{detail}: start it without")))
        } else if !has(attributes::SEPT_VE_DISABLE) {
            let detail = "the guest runs without SEPT_VE_DISABLE, so its host can take pages away unnoticed";
            Some((Rule::SeptVeDisable, format!("{detail}: start it with sept-ve-disable=on")))
        } else if has(attributes::PERFMON) && !self.perfmon {
            let detail =
                "the guest may use performance counters (PERFMON), and the policy does not allow that";
            Some((Rule::Perfmon, detail.to_owned()))
        } else {
            None
        }
    }

    /// The rules for how the platform stands.
    fn appraise_tcb(&self, tcb: &Tcb) -> Result<(), Error> {
        let (minimum, found) = (self.min_tcb_evaluation_data_number, tcb.evaluation_data_number);
        if found < minimum {
            let detail = format!(
                "the collateral has TCB evaluation data number {found} and the policy wants {minimum}: fetch newer collateral"
            );
            return Err(refusal(Rule::TcbEvaluationNumber, detail, tcb));
        }
        // The QE's statuses that converging ignores: see `Tcb::qe_status`.
        let ignored = [TcbStatus::ConfigurationNeeded, TcbStatus::OutOfDateConfigurationNeeded];
        let qe = ignored.contains(&tcb.qe_status).then_some(("the quoting enclave", tcb.qe_status));
        for (whose, status) in [("the platform", tcb.status)].into_iter().chain(qe) {
            let listed =
                status == TcbStatus::UpToDate || self.every_status || self.statuses.contains(&status);
            if !listed || status == TcbStatus::Revoked {
                let advisories = tcb.advisory_ids.join(" ");
                let detail = format!(
                    "{whose} is {status} [{advisories}], which the policy does not allow: update microcode, firmware \
                     and TDX module, or allow {} by name",
                    status.as_kebab()
                );
                return Err(refusal(Rule::TcbStatus, detail, tcb));
            }
        }
        if tcb.status == TcbStatus::UpToDate && !tcb.advisory_ids.is_empty() && !self.every_status {
            let detail = format!(
                "the platform is UpToDate with open advisories [{}], which the policy does not allow",
                tcb.advisory_ids.join(" ")
            );
            return Err(refusal(Rule::Advisories, detail, tcb));
        }
        Ok(())
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::strict()
    }
}

fn sgx_rule(enclave: &SgxIdentity) -> Option<(Rule, String)> {
    let found = enclave.attributes.flags;
    let reserved = found & !SGX_FLAGS;
    if found & flags::DEBUG != 0 {
        let detail = "the enclave runs in debug mode, so its host can look inside";
        return Some((Rule::Debug, format!("{detail}: build and launch it without debug")));
    }
    (reserved != 0).then(|| {
        let detail = format!("the enclave has attribute flags {reserved:#x}, which must be zero");
        (Rule::ReservedAttributes, detail)
    })
}

fn refusal(rule: Rule, detail: String, tcb: &Tcb) -> Error {
    Error::Policy { rule, detail, tcb: Box::new(tcb.clone()) }
}

#[cfg(test)]
mod tests {
    use bulla_tee::sgx::arch::Attributes;

    use super::*;

    fn tcb(status: TcbStatus, advisories: &[&str]) -> Tcb {
        Tcb {
            status,
            advisory_ids: advisories.iter().map(|&id| id.to_owned()).collect(),
            evaluation_data_number: 17,
            qe_status: TcbStatus::UpToDate,
        }
    }

    fn enclave(flags: u64) -> Identity {
        Identity::Sgx(Box::new(SgxIdentity {
            mrenclave: [1; 32],
            mrsigner: [2; 32],
            isv_prod_id: 0,
            isv_svn: 0,
            cpusvn: [0; 16],
            attributes: Attributes { flags, xfrm: 3 },
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
            isv_family_id: [0; 16],
            isv_ext_prod_id: [0; 16],
        }))
    }

    fn guest(attributes: u64, mrservicetd: [u8; 48]) -> Identity {
        Identity::Tdx(Box::new(TdxIdentity {
            mrtd: [1; 48],
            rtmr: [[0; 48]; 4],
            mrconfigid: [0; 48],
            mrowner: [0; 48],
            mrownerconfig: [0; 48],
            mrservicetd,
            attributes,
            xfam: 3,
            tee_tcb_svn: [0; 16],
            mrseam: [0; 48],
        }))
    }

    fn code(policy: &Policy, identity: &Identity, tcb: &Tcb) -> &'static str {
        policy.appraise(identity, false, tcb).map_or_else(|error| error.code(), |()| "ok")
    }

    /// The loosest policy that can be written.
    fn loosest() -> Policy {
        Policy::strict()
            .allow_every_status()
            .allow_statuses(&TcbStatus::ALL)
            .allow_perfmon()
            .allow_simulated()
    }

    #[test]
    fn r22_every_status_under_every_policy() {
        let good = guest(attributes::SEPT_VE_DISABLE, [0; 48]);
        for status in TcbStatus::ALL {
            for advisories in [&[][..], &["INTEL-SA-00001"]] {
                let tcb = tcb(status, advisories);
                let clean = status == TcbStatus::UpToDate && advisories.is_empty();
                let revoked = status == TcbStatus::Revoked;
                let refused =
                    if status == TcbStatus::UpToDate { "policy.advisories" } else { "policy.tcb_status" };
                let verdict = |accepted: bool| if accepted { "ok" } else { refused };
                assert_eq!(code(&Policy::strict(), &good, &tcb), verdict(clean), "{status} {advisories:?}");
                assert_eq!(
                    code(&Policy::strict().allow_every_status(), &good, &tcb),
                    verdict(!revoked),
                    "{status}"
                );
                let listed = Policy::strict().allow_statuses(&[status]);
                let up_to_date = status == TcbStatus::UpToDate;
                assert_eq!(
                    code(&listed, &good, &tcb),
                    verdict(clean || (!up_to_date && !revoked)),
                    "{status}"
                );
                for other in TcbStatus::ALL.into_iter().filter(|other| *other != status) {
                    let policy = Policy::strict().allow_statuses(&[other]);
                    assert_eq!(code(&policy, &good, &tcb), verdict(clean), "{status} under {other}");
                }
            }
        }
    }

    #[test]
    fn a_qe_status_that_converging_ignores_is_judged() {
        let good = enclave(flags::INIT | flags::MODE64BIT);
        let mut tcb = tcb(TcbStatus::UpToDate, &[]);
        tcb.qe_status = TcbStatus::ConfigurationNeeded;
        assert_eq!(code(&Policy::strict(), &good, &tcb), "policy.tcb_status");
        assert_eq!(
            code(&Policy::strict().allow_statuses(&[TcbStatus::ConfigurationNeeded]), &good, &tcb),
            "ok"
        );
    }

    #[test]
    fn r29_the_minimum_of_the_evaluation_number_holds_for_the_loosest_policy() {
        let good = enclave(flags::INIT | flags::MODE64BIT);
        let tcb = tcb(TcbStatus::UpToDate, &[]);
        for (minimum, wanted) in [(0, "ok"), (17, "ok"), (18, "policy.tcb_evaluation_number")] {
            assert_eq!(code(&loosest().min_tcb_evaluation_data_number(minimum), &good, &tcb), wanted);
        }
    }

    #[test]
    fn r23_r24_every_td_attribute_bit() {
        let up_to_date = tcb(TcbStatus::UpToDate, &[]);
        for bit in 0..64 {
            let identity = guest(attributes::SEPT_VE_DISABLE ^ (1 << bit), [0; 48]);
            let wanted = match bit {
                0..=7 => "policy.debug",
                16 | 27 | 30 | 31 => "ok",
                17 => "policy.service_td",
                28 => "policy.sept_ve_disable_not_set",
                29 => "policy.migratable",
                63 => "policy.perfmon",
                _ => "policy.reserved_attributes",
            };
            assert_eq!(code(&Policy::strict(), &identity, &up_to_date), wanted, "bit {bit}");
            let wanted = if bit == 63 { "ok" } else { wanted };
            assert_eq!(code(&loosest(), &identity, &up_to_date), wanted, "bit {bit}");
        }
        let bound = guest(attributes::SEPT_VE_DISABLE, [1; 48]);
        assert_eq!(code(&loosest(), &bound, &up_to_date), "policy.service_td");
    }

    #[test]
    fn r23_every_sgx_attribute_flag() {
        let up_to_date = tcb(TcbStatus::UpToDate, &[]);
        for bit in (0..64).filter(|bit| ![0, 2].contains(bit)) {
            let identity = enclave(flags::INIT | flags::MODE64BIT | 1 << bit);
            let wanted = match bit {
                1 => "policy.debug",
                4..=7 | 10 => "ok",
                _ => "policy.reserved_attributes",
            };
            assert_eq!(code(&loosest(), &identity, &up_to_date), wanted, "bit {bit}");
        }
    }

    #[test]
    fn r15_simulated_evidence_needs_a_name_and_the_refusal_says_what_was_found() {
        let good = enclave(flags::INIT | flags::MODE64BIT);
        let tcb = tcb(TcbStatus::OutOfDate, &["INTEL-SA-00001"]);
        let error = Policy::strict().appraise(&good, true, &tcb).unwrap_err();
        assert_eq!((error.code(), error.tcb()), ("policy.simulated", Some(&tcb)));
        assert!(loosest().appraise(&good, true, &tcb).is_ok());
    }
}
