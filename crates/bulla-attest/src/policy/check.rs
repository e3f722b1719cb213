//! What the author of a policy may not have meant.

use std::collections::BTreeSet;

use super::exception::Advisories;
use super::registers::{Kind, Number, Register};
use super::{Platforms, Policy};
use crate::TcbStatus;

/// An exception should be looked at again after a year.
const FAR: u64 = 366 * 24 * 3600;

/// Something that the author of a policy may not have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// A stable name for this kind of warning.
    pub code: &'static str,
    /// What it is, and what to do.
    pub text: String,
}

pub(super) fn warnings(policy: &Policy, now: u64) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |code, text: String| warnings.push(Warning { code, text });
    if policy.simulated {
        let text = "simulated machines are accepted, which protect nothing: leave allow_simulated to tests";
        warn("simulated", text.into());
    }
    if policy.min_tcb_evaluation_data_number == 0 {
        let text = "there is no min_tcb_evaluation_data_number, so whoever delivers the collateral picks the kinder of \
                    two sets that are valid at once: name the current number";
        warn("evaluation_number.none", text.into());
    }
    exceptions(policy, now, &mut warn);
    platforms(policy, &mut warn);
    if policy.tdx.performance_counters {
        let text = "guests may use performance counters, through which secrets can leak";
        warn("tdx.performance_counters", text.into());
    }
    if policy.tdx.min_module_svn.as_ref().is_some_and(|floors| floors.is_empty()) {
        warn("tdx.min_module_svn.empty", "tdx.min_module_svn is empty, so no TDX guest is accepted".into());
    }
    let pins = [&policy.tdx.mrconfigid, &policy.tdx.mrowner, &policy.tdx.mrownerconfig];
    if pins.into_iter().flatten().any(BTreeSet::is_empty) {
        let text = "MRCONFIGID, MROWNER or MROWNERCONFIG has an empty list, so no TDX guest is accepted";
        warn("tdx.pin.empty", text.into());
    }
    registers(policy, &mut warn);
    snp(policy, &mut warn);
    warnings
}

fn exceptions(policy: &Policy, now: u64, warn: &mut impl FnMut(&'static str, String)) {
    let mut accepted = BTreeSet::new();
    for exception in &policy.exceptions {
        let (status, reason) = (exception.status, &exception.reason);
        if !exception.is_live(now) {
            let text = format!("the exception for {status} ({reason}) has expired: remove it");
            warn("exception.expired", text);
            continue;
        }
        accepted.insert(status);
        if exception.until - now > FAR {
            let text =
                format!("the exception for {status} ({reason}) ends in more than a year: let it end sooner");
            warn("exception.far", text);
        }
        if exception.advisories == Advisories::Any {
            let text = format!(
                "the exception for {status} ({reason}) covers every advisory, also those to come: list advisories"
            );
            warn("exception.any_advisory", text);
        }
    }
    if TcbStatus::ALL.into_iter().filter(|status| accepted.contains(status)).count()
        == TcbStatus::ALL.len() - 1
    {
        let text = "every status but Revoked is accepted, so nothing is refused for known holes: use such a policy to \
                    look at evidence, not to release keys";
        warn("exception.everything", text.into());
    }
}

fn platforms(policy: &Policy, warn: &mut impl FnMut(&'static str, String)) {
    let Some(Platforms { ppid, chip_id }) = &policy.platforms else { return };
    if ppid.is_empty() && chip_id.is_empty() {
        warn("platforms.empty", "the list of machines is empty, so no evidence is accepted".into());
    } else if policy.snp.is_some() && chip_id.is_empty() {
        let text = "platforms.chip_id is empty, so no SEV-SNP guest is accepted in spite of [snp]";
        warn("platforms.no_chip_id", text.into());
    }
}

fn registers(policy: &Policy, warn: &mut impl FnMut(&'static str, String)) {
    if policy.registers.is_empty() {
        let text = "no registers are named, so any program on a good machine is accepted: name some, or be sure that \
                    keys are bound to what the evidence shows";
        warn("registers.none", text.into());
    }
    for (name, alias) in &policy.registers {
        for (register, accepted) in &alias.values {
            if accepted.is_empty() {
                let text = format!("registers.{name}.{} is empty, so nothing is accepted", register.name());
                warn("registers.empty", text);
            }
        }
        if alias.values.contains_key(&Register::MrSigner) && !alias.numbers.contains_key(&Number::MinIsvSvn) {
            let text = format!(
                "registers.{name} accepts every version of the signer's product, also those with known holes: add \
                 min_isv_svn"
            );
            warn("registers.no_min_isv_svn", text);
        }
    }
    let named = |register| policy.registers.values().any(|alias| alias.values.contains_key(&register));
    if policy.registers.values().any(|alias| alias.kind == Kind::Sgx)
        && !named(Register::MrEnclave)
        && !named(Register::MrSigner)
    {
        let text = "neither mrenclave nor mrsigner is named, so any enclave can claim the rest";
        warn("registers.no_enclave", text.into());
    }
    if policy.registers.values().any(|alias| alias.kind == Kind::Tdx) {
        if !named(Register::MrTd) {
            let text = "mrtd is not named, so other firmware can extend the RTMRs as it likes: name it too";
            warn("registers.no_mrtd", text.into());
        }
        if !named(Register::Rtmr3) && policy.tdx.mrconfigid.is_none() {
            let text = "neither rtmr3 nor MRCONFIGID is named, where guests commonly measure the application: two \
                        applications on one image may look the same (R26)";
            warn("registers.no_app", text.into());
        }
    }
    if policy.registers.values().any(|alias| alias.kind == Kind::Snp)
        && !named(Register::Measurement)
        && !named(Register::IdKeyDigest)
    {
        let text = "neither measurement nor id_key_digest is named, so any guest can claim the rest";
        warn("registers.no_measurement", text.into());
    }
}

fn snp(policy: &Policy, warn: &mut impl FnMut(&'static str, String)) {
    let Some(rules) = &policy.snp else { return };
    if rules.min_tcb.is_empty() {
        warn("snp.min_tcb.empty", "snp.min_tcb is empty, so no SEV-SNP guest is accepted".into());
    }
    if rules.provider_keys {
        let text =
            "reports may be signed with a key of the machine's provider, so the evidence names no machine";
        warn("snp.provider_keys", text.into());
    }
    if rules.unknown_revocation {
        let text =
            "SEV-SNP reports are accepted without a revocation list: fetch it with the certificates instead";
        warn("snp.unknown_revocation", text.into());
    }
}
