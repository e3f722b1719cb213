//! The appraisal: one rule after the other; the first that is broken refuses, with its reason.

use std::collections::BTreeSet;

use bulla_tee::sgx::arch::flags;
use bulla_tee::tdx::attributes;
use bulla_tee::{Identity, SgxIdentity, TdxIdentity};

use super::form::module_name;
use super::registers::{Alias, Kind, Number, Register};
use super::{Pin, Platforms, Policy};
use crate::error::Rule;
use crate::snp::appraise::snp_rules;
use crate::status::remedies;
use crate::{Claims, Error, Platform, Reason, Tcb, TcbStatus};

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

/// What a rule says of what it does not accept.
pub(crate) struct Refusal {
    rule: Rule,
    clause: String,
    wanted: String,
    found: String,
    remedy: String,
}

impl Refusal {
    pub(crate) fn new(
        rule: Rule,
        clause: impl Into<String>,
        found: impl Into<String>,
        wanted: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (clause, wanted, found, remedy) = (clause.into(), wanted.into(), found.into(), remedy.into());
        Self { rule, clause, wanted, found, remedy }
    }

    pub(crate) fn into_error(self, tcb: &Tcb) -> Error {
        let Self { rule, clause, wanted, found, remedy } = self;
        let reason = Box::new(Reason { code: rule.code(), clause, wanted, found, remedy });
        Error::Policy { rule, reason, tcb: Box::new(tcb.clone()) }
    }
}

impl Policy {
    /// The whole appraisal: what runs, how the platform stands, which machine, which registers.
    pub(crate) fn appraise(&self, claims: &Claims, now: u64) -> Result<(), Error> {
        let (identity, tcb) = (&claims.identity, &claims.tcb);
        self.appraise_kind(identity, claims.simulated, tcb)?;
        let stands = match (identity, &claims.platform) {
            (Identity::Snp(guest), Platform::Amd(machine)) => snp_rules(self.snp(), guest, machine),
            _ => self.appraise_tcb(tcb, now),
        };
        stands
            .and_then(|()| self.appraise_module(identity, tcb))
            .and_then(|()| self.appraise_platform(&claims.platform))
            .and_then(|()| self.appraise_pins(identity))
            .and_then(|()| self.appraise_registers(identity))
            .map_err(|refusal| refusal.into_error(tcb))
    }

    /// The rules that the verification library has too: whether the machine is simulated, and its attributes.
    pub(crate) fn appraise_kind(&self, identity: &Identity, simulated: bool, tcb: &Tcb) -> Result<(), Error> {
        let verdict = if simulated && !self.simulated {
            let found = "the machine is simulated and protects nothing";
            Err(Refusal::new(Rule::Simulated, "allow_simulated", found, "a real one", "use a real machine"))
        } else {
            match identity {
                Identity::Sgx(enclave) => sgx_attributes(enclave),
                Identity::Tdx(guest) => self.tdx_attributes(guest),
                // With its other rules, which need the machine.
                Identity::Snp(_) => Ok(()),
                _ => Err(Refusal::new(
                    Rule::ReservedAttributes,
                    FIXED,
                    "nothing is known of this kind of machine",
                    "an SGX enclave, a TDX guest or a SEV-SNP guest",
                    "use one of these",
                )),
            }
        };
        verdict.map_err(|refusal| refusal.into_error(tcb))
    }

    fn tdx_attributes(&self, guest: &TdxIdentity) -> Result<(), Refusal> {
        let has = |bits: u64| guest.attributes & bits != 0;
        let reserved = guest.attributes & !TD_ATTRIBUTES;
        if has(attributes::TUD) {
            let found = "the guest was started for debugging or profiling, so its host can look inside";
            let wanted = "a guest with none of the attribute bits 0 to 7";
            return Err(Refusal::new(Rule::Debug, FIXED, found, wanted, "start it without"));
        }
        if reserved != 0 {
            let found = format!("the guest has attribute bits {reserved:#x}");
            let (wanted, remedy) = ("zero in all bits that have no meaning", "start it without");
            return Err(Refusal::new(Rule::ReservedAttributes, FIXED, found, wanted, remedy));
        }
        if has(attributes::MIGRATABLE) {
            let found = "the guest can be moved to another machine";
            let (wanted, remedy) = ("a guest that stays", "start it without MIGRATABLE");
            return Err(Refusal::new(Rule::Migratable, FIXED, found, wanted, remedy));
        }
        if has(SERVTD_EXT) {
            let found = "the guest is bound to a service TD that can be exchanged (SERVTD_EXT)";
            let wanted = "none, or one that its host cannot exchange";
            return Err(Refusal::new(Rule::ServiceTd, FIXED, found, wanted, "start it without SERVTD_EXT"));
        }
        if guest.mrservicetd != [0; 48] && !self.tdx.service_tds.contains(&guest.mrservicetd) {
            let found = format!("the guest is bound to the service TD {}", hex::encode(guest.mrservicetd));
            let listed = if self.tdx.service_tds.is_empty() { "" } else { ", or one that the policy lists" };
            let wanted = format!("none (MRSERVICETD zero){listed}");
            let remedy = "start it without, or list exactly this hash";
            return Err(Refusal::new(Rule::ServiceTd, "tdx.allow_service_tds", found, wanted, remedy));
        }
        if !has(attributes::SEPT_VE_DISABLE) {
            let found = "the guest runs without SEPT_VE_DISABLE, so its host can take pages away unnoticed";
            let (wanted, remedy) = ("a guest with it", "start it with sept-ve-disable=on");
            return Err(Refusal::new(Rule::SeptVeDisable, FIXED, found, wanted, remedy));
        }
        if has(attributes::PERFMON) && !self.tdx.performance_counters {
            let found = "the guest may use performance counters (PERFMON)";
            let (wanted, remedy) = ("a guest without", "start it without");
            return Err(Refusal::new(Rule::Perfmon, "tdx.allow_performance_counters", found, wanted, remedy));
        }
        Ok(())
    }

    /// The rules for how the platform stands by its vendor's levels.
    fn appraise_tcb(&self, tcb: &Tcb, now: u64) -> Result<(), Refusal> {
        let (minimum, found) = (self.min_tcb_evaluation_data_number, tcb.evaluation_data_number);
        if found < minimum {
            let found = format!("the collateral has TCB evaluation data number {found}");
            let (wanted, remedy) = (format!("{minimum} or above"), "fetch newer collateral");
            let clause = "min_tcb_evaluation_data_number";
            return Err(Refusal::new(Rule::TcbEvaluationNumber, clause, found, wanted, remedy));
        }
        // The QE's statuses that converging ignores: see `Tcb::qe_status`.
        let ignored = [TcbStatus::ConfigurationNeeded, TcbStatus::OutOfDateConfigurationNeeded];
        let qe = ignored.contains(&tcb.qe_status).then_some(("the quoting enclave", tcb.qe_status));
        for (whose, status) in [("the platform", tcb.status)].into_iter().chain(qe) {
            if !self.accepts_status(status, now) {
                let found = format!("{whose} is {status}{}", bracketed(&tcb.advisory_ids));
                let wanted = self.accepted_statuses(now);
                let remedy = remedy(status, tcb);
                return Err(Refusal::new(Rule::TcbStatus, "exceptions", found, wanted, remedy));
            }
        }
        let covered = |id: &String| self.accepts_advisory(tcb.status, id, now);
        let open: Vec<_> = tcb.advisory_ids.iter().filter(|id| !covered(id)).cloned().collect();
        if open.is_empty() {
            return Ok(());
        }
        let found = format!("the platform is {} with open advisories{}", tcb.status, bracketed(&open));
        let wanted = format!("no open advisory that has no exception for {}", tcb.status);
        Err(Refusal::new(Rule::Advisories, "exceptions", found, wanted, remedy(tcb.status, tcb)))
    }

    /// `Revoked` has no exception, whatever was listed (R22).
    fn accepts_status(&self, status: TcbStatus, now: u64) -> bool {
        status == TcbStatus::UpToDate
            || self.exceptions.iter().any(|exception| exception.status == status && exception.is_live(now))
    }

    fn accepts_advisory(&self, status: TcbStatus, advisory: &str, now: u64) -> bool {
        self.exceptions.iter().any(|exception| {
            exception.status == status && exception.is_live(now) && exception.covers(advisory)
        })
    }

    fn accepted_statuses(&self, now: u64) -> String {
        let live = self.exceptions.iter().filter(|exception| exception.is_live(now));
        let statuses: BTreeSet<_> =
            [TcbStatus::UpToDate].into_iter().chain(live.map(|exception| exception.status)).collect();
        statuses.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(" or ")
    }

    /// The floor of the TDX module that started the guest (R21).
    fn appraise_module(&self, identity: &Identity, tcb: &Tcb) -> Result<(), Refusal> {
        let (Identity::Tdx(guest), Some(floors)) = (identity, &self.tdx.min_module_svn) else {
            return Ok(());
        };
        let [svn, number, ..] = guest.tee_tcb_svn;
        let name = module_name(number);
        let relaunch = [TcbStatus::TdRelaunchAdvised, TcbStatus::TdRelaunchAdvisedConfigurationNeeded]
            .contains(&tcb.status);
        let (found, wanted, remedy) = match floors.get(&number) {
            Some(&floor) if svn >= floor => return Ok(()),
            Some(floor) => (
                format!("TDX module SVN is {svn} ({name})"),
                format!("{floor} or above"),
                if relaunch { RELAUNCH } else { "update the TDX module, then start the guest again" },
            ),
            None => (
                format!("the TDX module is {name}"),
                format!(
                    "one of {}",
                    floors.keys().map(|number| module_name(*number)).collect::<Vec<_>>().join(" ")
                ),
                "load a TDX module that the policy lists",
            ),
        };
        Err(Refusal::new(Rule::TdxModule, "tdx.min_module_svn", found, wanted, remedy))
    }

    /// The list of machines (R44).
    fn appraise_platform(&self, platform: &Platform) -> Result<(), Refusal> {
        let Some(Platforms { ppid, chip_id }) = &self.platforms else {
            return Ok(());
        };
        let id = platform.id();
        let (what, accepted) = match platform {
            Platform::Intel(_) => ("PPID", id.is_some_and(|id| ppid.iter().any(|known| known == id))),
            Platform::Amd(_) => ("CHIP_ID", id.is_some_and(|id| chip_id.iter().any(|known| known == id))),
        };
        if accepted {
            return Ok(());
        }
        let found = match id {
            Some(id) => format!("the machine has {what} {}", hex::encode(id)),
            None => format!("the machine has no {what}"),
        };
        let wanted = format!("a {what} that the policy lists");
        let remedy = "run on a listed machine, or list this one";
        Err(Refusal::new(Rule::Platform, "platforms", found, wanted, remedy))
    }

    /// The registers that the host chooses (R25).
    fn appraise_pins(&self, identity: &Identity) -> Result<(), Refusal> {
        let Identity::Tdx(guest) = identity else {
            return Ok(());
        };
        let pins: [(_, &Pin, _); 3] = [
            ("tdx.mrconfigid", &self.tdx.mrconfigid, &guest.mrconfigid),
            ("tdx.mrowner", &self.tdx.mrowner, &guest.mrowner),
            ("tdx.mrownerconfig", &self.tdx.mrownerconfig, &guest.mrownerconfig),
        ];
        for (clause, pin, found) in pins {
            let Some(accepted) = pin.as_ref().filter(|accepted| !accepted.contains(found)) else { continue };
            let name = clause.trim_start_matches("tdx.").to_ascii_uppercase();
            let found = format!("{name} is {}", hex::encode(found));
            let wanted = any_of(accepted.iter().map(hex::encode));
            let remedy = format!("start the guest with an accepted {name}");
            return Err(Refusal::new(Rule::ConfigRegister, clause, found, wanted, remedy));
        }
        Ok(())
    }

    /// Every set of registers of this kind of machine (R26). A policy that names registers names some of every kind that
    /// it accepts: otherwise any program of the other kinds would do.
    fn appraise_registers(&self, identity: &Identity) -> Result<(), Refusal> {
        let mut fitting =
            self.registers.iter().filter(|(_, alias)| Kind::of(identity) == Some(alias.kind)).peekable();
        if fitting.peek().is_none() && !self.registers.is_empty() {
            let kind =
                Kind::of(identity).map_or_else(|| "an unknown machine".into(), |kind| kind.to_string());
            let found = format!("this is {kind}, and the policy names registers of other machines only");
            let remedy = "add a set of its registers to the policy";
            return Err(Refusal::new(Rule::Registers, "registers", found, "one of these machines", remedy));
        }
        fitting.try_for_each(|(name, alias)| alias.appraise(name, identity))
    }
}

impl Alias {
    fn appraise(&self, name: &str, identity: &Identity) -> Result<(), Refusal> {
        let refusal = |key: &str, found: Option<String>, wanted: String| {
            let found = found.unwrap_or_else(|| "not there".into());
            let found = format!("{} is {found}", key.trim_start_matches("min_"));
            let remedy = "run what the policy names, or add this value if it is known and good";
            Refusal::new(Rule::Registers, format!("registers.{name}.{key}"), found, wanted, remedy)
        };
        for (register, accepted) in &self.values {
            let found = Register::read(*register, identity);
            if !found.is_some_and(|found| accepted.contains(found)) {
                let wanted = any_of(accepted.iter().map(hex::encode));
                return Err(refusal(register.name(), found.map(hex::encode), wanted));
            }
        }
        for (number, wanted) in &self.numbers {
            let found = Number::read(*number, identity);
            if !found.is_some_and(|found| number.accepts(*wanted, found)) {
                let above = if number.is_minimum() { " or above" } else { "" };
                let found = found.map(|found| found.to_string());
                return Err(refusal(number.name(), found, format!("{wanted}{above}")));
            }
        }
        Ok(())
    }
}

/// The clause of a rule that no policy can loosen.
pub(crate) const FIXED: &str = "every policy";

const RELAUNCH: &str = "start the guest again: its TDX module was updated after it was started";

fn sgx_attributes(enclave: &SgxIdentity) -> Result<(), Refusal> {
    let found = enclave.attributes.flags;
    let reserved = found & !SGX_FLAGS;
    if found & flags::DEBUG != 0 {
        let found = "the enclave runs in debug mode, so its host can look inside";
        let (wanted, remedy) = ("an enclave without", "build and launch it without debug");
        return Err(Refusal::new(Rule::Debug, FIXED, found, wanted, remedy));
    }
    if reserved != 0 {
        let found = format!("the enclave has attribute flags {reserved:#x}");
        let (wanted, remedy) = ("zero in all flags that have no meaning", "launch it without");
        return Err(Refusal::new(Rule::ReservedAttributes, FIXED, found, wanted, remedy));
    }
    Ok(())
}

/// What an operator can do about a status.
fn remedy(status: TcbStatus, tcb: &Tcb) -> String {
    use TcbStatus::{
        ConfigurationAndSwHardeningNeeded, ConfigurationNeeded, TdRelaunchAdvised,
        TdRelaunchAdvisedConfigurationNeeded,
    };
    if [TdRelaunchAdvised, TdRelaunchAdvisedConfigurationNeeded].contains(&status) {
        return RELAUNCH.into();
    }
    if !tcb.shortfalls.is_empty() {
        return remedies::each(&tcb.shortfalls);
    }
    if [ConfigurationNeeded, ConfigurationAndSwHardeningNeeded].contains(&status) {
        return "configure the machine as the advisories say".into();
    }
    "the machine meets the best level that the vendor lists, so look up the advisories; if what runs mitigates them \
     itself, add an exception with an end"
        .into()
}

fn bracketed(advisories: &[String]) -> String {
    if advisories.is_empty() { String::new() } else { format!(" [{}]", advisories.join(" ")) }
}

fn any_of(values: impl ExactSizeIterator<Item = String>) -> String {
    let (length, mut first) = (values.len(), values);
    match (length, first.next()) {
        (1, Some(only)) => only,
        (_, None) => "nothing, because the policy's list is empty".into(),
        (length, Some(_)) => format!("one of the {length} values that the policy lists"),
    }
}
