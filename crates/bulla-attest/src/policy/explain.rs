//! A policy in plain sentences.

use std::collections::BTreeSet;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::exception::{Advisories, Exception};
use super::form::module_name;
use super::registers::Alias;
use super::{Pin, Platforms, Policy, SnpRules, TdxRules};

pub(super) fn sentences(policy: &Policy) -> Vec<String> {
    let mut lines = vec![
        "Debug and profiling, reserved attribute bits, guests that can move to another machine or that run without \
         SEPT_VE_DISABLE, and the status Revoked are refused; no policy can allow them."
            .to_owned(),
    ];
    lines.push(if policy.simulated {
        "Simulated machines are accepted too. They protect nothing: anyone can make their evidence.".into()
    } else {
        "Evidence of simulated machines is refused.".into()
    });
    lines.push(match policy.min_tcb_evaluation_data_number {
        0 => "Collateral of any TCB evaluation data number is accepted: whoever delivers it can pick an older set that \
              does not know the latest holes."
            .into(),
        number => format!("Collateral must have TCB evaluation data number {number} or above."),
    });
    lines.push("The TCB status must be UpToDate without open advisories.".into());
    lines.extend(policy.exceptions.iter().map(exception));
    lines.push(platforms(policy.platforms.as_ref()));
    lines.extend(tdx(&policy.tdx));
    if policy.registers.is_empty() {
        lines.push(
            "No registers are named: any program is accepted, and keys must be bound to what the evidence shows.".into(),
        );
    }
    lines.extend(policy.registers.iter().map(|(name, alias)| registers(name, alias)));
    match &policy.snp {
        None => lines.push(
            "SEV-SNP guests are refused: their vendor publishes no levels and the policy no floor.".into(),
        ),
        Some(rules) => lines.extend(snp(rules)),
    }
    lines
}

fn exception(exception: &Exception) -> String {
    let Exception { status, advisories, until, reason } = exception;
    let advisories = match advisories {
        Advisories::Any => "with any advisory, also one that nobody has heard of yet".to_owned(),
        Advisories::Listed(ids) if ids.is_empty() => "without open advisories".into(),
        Advisories::Listed(ids) => format!("with {}", joined(ids.iter().cloned(), " or ")),
    };
    let end = i64::try_from(*until).ok().and_then(|until| OffsetDateTime::from_unix_timestamp(until).ok());
    let end = end.and_then(|end| end.format(&Rfc3339).ok()).unwrap_or_default();
    format!(
        "Until {end}, {status} is accepted {advisories}: its known holes are open until then. Reason: {reason}."
    )
}

fn platforms(platforms: Option<&Platforms>) -> String {
    match platforms {
        None => "Any machine that its vendor certified is accepted.".into(),
        Some(list) => format!(
            "Only listed machines are accepted: {} by PPID and {} by CHIP_ID.",
            list.ppid.len(),
            list.chip_id.len()
        ),
    }
}

fn tdx(rules: &TdxRules) -> Vec<String> {
    let mut lines = Vec::new();
    if rules.performance_counters {
        lines.push(
            "TDX guests may use performance counters (PERFMON). They tell how the guest runs, and with it perhaps what \
             it computes."
                .into(),
        );
    } else {
        lines.push("TDX guests with performance counters (PERFMON) are refused.".into());
    }
    lines.push(if rules.service_tds.is_empty() {
        "TDX guests that are bound to a service TD are refused.".into()
    } else {
        format!(
            "TDX guests may be bound to the service TDs with MRSERVICETD {}. Such a service TD can read and change what \
             its rights allow: it must be as good as the guest.",
            joined(rules.service_tds.iter().map(hex::encode), " or ")
        )
    });
    lines.push(match &rules.min_module_svn {
        None => "Any TDX module that its vendor lists as up to date is accepted.".into(),
        Some(floors) if floors.is_empty() => "No TDX module is accepted.".into(),
        Some(floors) => {
            let each = floors
                .iter()
                .map(|(number, svn)| format!("{} with SVN {svn} or above", module_name(*number)));
            format!("The TDX module must be {}.", joined(each, " or "))
        }
    });
    let pins = [
        ("MRCONFIGID", &rules.mrconfigid),
        ("MROWNER", &rules.mrowner),
        ("MROWNERCONFIG", &rules.mrownerconfig),
    ];
    lines.extend(pins.map(|(name, pin)| pinned(name, pin)));
    lines
}

fn pinned(name: &str, pin: &Pin) -> String {
    match pin {
        None => format!("{name} may have any value, which its host chooses: keys must be bound to it."),
        Some(values) if values.is_empty() => {
            format!("{name} has no accepted value: every TDX guest is refused.")
        }
        Some(values) if values.iter().eq([&[0; 48]]) => format!("{name} must be zero."),
        Some(values) => format!("{name} must be {}.", joined(values.iter().map(hex::encode), " or ")),
    }
}

fn registers(name: &str, alias: &Alias) -> String {
    let values = alias.values.iter().map(|(register, accepted): (_, &BTreeSet<Vec<u8>>)| {
        if accepted.is_empty() {
            return format!("{} has no accepted value", register.name());
        }
        format!("{} must be {}", register.name(), joined(accepted.iter().map(hex::encode), " or "))
    });
    let numbers = alias.numbers.iter().map(|(number, wanted)| {
        let above = if number.is_minimum() { " or above" } else { "" };
        format!("{} must be {wanted}{above}", number.name().trim_start_matches("min_"))
    });
    format!("For {} to be {name}, {}.", alias.kind, joined(values.chain(numbers), ", and "))
}

fn snp(rules: &SnpRules) -> Vec<String> {
    let mut lines = Vec::new();
    for (product, floor) in &rules.min_tcb {
        lines.push(format!("SEV-SNP guests on {} are accepted from TCB {floor} on.", product.as_str()));
    }
    lines.push("SEV-SNP guests on other products are refused.".into());
    lines.push(format!(
        "SEV-SNP reports may come from privilege level {} (VMPL) or a higher one.",
        rules.max_vmpl
    ));
    if rules.provider_keys {
        lines.push(
            "SEV-SNP reports may be signed with a key of the machine's provider (VLEK): they name no machine, and the \
             provider's key is in all of its machines."
                .into(),
        );
    }
    let switches = [
        (
            rules.unknown_revocation,
            "SEV-SNP reports are accepted without a revocation list: what AMD has revoked is accepted too.",
        ),
        (rules.smt, "SEV-SNP guests may share a core with others (SMT), whose side channels reach them."),
        (rules.cxl, "SEV-SNP guests may run beside CXL devices."),
        (rules.single_socket, "SEV-SNP guests must be confined to one socket."),
        (rules.aes_256_xts, "SEV-SNP guests must have their memory encrypted with AES-256-XTS."),
        (rules.rapl_disabled, "SEV-SNP guests must have power readings (RAPL) off."),
        (rules.ciphertext_hiding, "SEV-SNP guests must have their ciphertext hidden from the host."),
        (rules.page_swap_disabled, "SEV-SNP guests must have page swapping off."),
        (rules.alias_check, "SEV-SNP machines must have checked their memory for aliases."),
    ];
    lines.extend(switches.into_iter().filter(|(on, _)| *on).map(|(_, line)| line.to_owned()));
    lines
}

fn joined(items: impl Iterator<Item = String>, between: &str) -> String {
    items.collect::<Vec<_>>().join(between)
}
