//! The policy's rules for SEV-SNP guests.

use bulla_tee::SnpIdentity;
use bulla_tee::snp::{platform, policy};

use crate::AmdPlatform;
use crate::error::Rule;
use crate::policy::{FIXED, Refusal, SnpRules};

/// The first rule that a guest breaks.
pub(crate) fn snp_rules(
    rules: Option<&SnpRules>,
    guest: &SnpIdentity,
    machine: &AmdPlatform,
) -> Result<(), Refusal> {
    let allows = |bits: u64| guest.policy & bits != 0;
    if allows(policy::DEBUG) {
        let found = "the guest's policy lets the host debug it, and so look inside";
        return Err(Refusal::new(Rule::Debug, FIXED, found, "a guest without debug", "start it without"));
    }
    let reserved = guest.policy & !policy::KNOWN | !guest.policy & policy::RESERVED_ONE;
    if reserved != 0 {
        let found = format!("the guest's policy has the bits {reserved:#x} wrong");
        let (wanted, remedy) = ("their fixed value in all bits that have no meaning", "start it without");
        return Err(Refusal::new(Rule::ReservedAttributes, FIXED, found, wanted, remedy));
    }
    let reserved = guest.platform_info & !platform::KNOWN;
    if reserved != 0 {
        let found = format!("the machine has the PLATFORM_INFO bits {reserved:#x}");
        let (wanted, remedy) =
            ("zero in all bits that have no meaning here", "update this verifier if they have one");
        return Err(Refusal::new(Rule::ReservedAttributes, FIXED, found, wanted, remedy));
    }
    if allows(policy::MIGRATE_MA) {
        let found = "the guest can be moved to another machine by a migration agent";
        return Err(Refusal::new(
            Rule::Migratable,
            FIXED,
            found,
            "a guest that stays",
            "start it without MIGRATE_MA",
        ));
    }
    let Some(rules) = rules else {
        let found = "the policy has no rules for SEV-SNP guests";
        let (wanted, remedy) = ("a floor, because AMD publishes none", "add [snp] to the policy");
        return Err(Refusal::new(Rule::SnpFloor, "snp", found, wanted, remedy));
    };
    options(rules, guest, machine)?;
    floor(rules, guest, machine)
}

fn options(rules: &SnpRules, guest: &SnpIdentity, machine: &AmdPlatform) -> Result<(), Refusal> {
    if guest.vmpl > rules.max_vmpl {
        let found = format!("the report was asked for from VMPL {}", guest.vmpl);
        let wanted = format!("{} or a more privileged level", rules.max_vmpl);
        let remedy = "let what is more privileged in the guest ask";
        return Err(Refusal::new(Rule::Vmpl, "snp.max_vmpl", found, wanted, remedy));
    }
    let (has, runs) = (|bits: u64| guest.policy & bits != 0, |bits: u64| guest.platform_info & bits != 0);
    let clauses = [
        (
            machine.csp_id.is_some() && !rules.provider_keys,
            Rule::ProviderKey,
            "snp.allow_provider_keys",
            (
                "the report is signed by a key of the cloud provider, which many machines have",
                "the chip's own key",
            ),
            "let the machine use its VCEK",
        ),
        (
            !machine.revocation_checked && !rules.unknown_revocation,
            Rule::Revocation,
            "snp.allow_unknown_revocation",
            ("nobody knows what AMD has revoked", "collateral with the revocation list"),
            "fetch the revocation list",
        ),
        (
            has(policy::SMT) && !rules.smt,
            Rule::Smt,
            "snp.allow_smt",
            ("the guest may share cores with others (SMT)", "a guest that has cores of its own"),
            "switch SMT off in the guest's policy",
        ),
        (
            has(policy::CXL_ALLOW) && !rules.cxl,
            Rule::Cxl,
            "snp.allow_cxl",
            ("the guest's memory may be on CXL devices", "a guest without CXL"),
            "switch CXL off in the guest's policy",
        ),
        (
            !has(policy::SINGLE_SOCKET) && rules.single_socket,
            Rule::SingleSocket,
            "snp.require_single_socket",
            ("the guest is not confined to one socket", "one that is"),
            "switch SINGLE_SOCKET on in the guest's policy",
        ),
        (
            !has(policy::MEM_AES_256_XTS) && rules.aes_256_xts,
            Rule::Aes256Xts,
            "snp.require_aes_256_xts",
            ("the guest does not insist on AES-256-XTS", "one that does"),
            "switch MEM_AES_256_XTS on in the guest's policy",
        ),
        (
            !has(policy::RAPL_DISABLED) && rules.rapl_disabled,
            Rule::Rapl,
            "snp.require_rapl_disabled",
            ("the host may measure the energy that the guest uses", "a guest that forbids it"),
            "switch RAPL_DIS on in the guest's policy",
        ),
        (
            !has(policy::CIPHERTEXT_HIDING) && rules.ciphertext_hiding,
            Rule::CiphertextHiding,
            "snp.require_ciphertext_hiding",
            ("the host may read the guest's ciphertext", "a guest that forbids it"),
            "switch CIPHERTEXT_HIDING on in the guest's policy",
        ),
        (
            !has(policy::PAGE_SWAP_DISABLED) && rules.page_swap_disabled,
            Rule::PageSwap,
            "snp.require_page_swap_disabled",
            ("the host may move the guest's pages", "a guest that forbids it"),
            "switch PAGE_SWAP_DISABLE on in the guest's policy",
        ),
        (
            !runs(platform::ALIAS_CHECK_COMPLETE) && rules.alias_check,
            Rule::AliasCheck,
            "snp.require_alias_check",
            ("the machine has not checked its memory for aliases", "one that has"),
            "update the machine's firmware",
        ),
    ];
    let broken = clauses.into_iter().find(|(is_broken, ..)| *is_broken);
    broken.map_or(Ok(()), |(_, rule, clause, (found, wanted), remedy)| {
        Err(Refusal::new(rule, clause, found, wanted, remedy))
    })
}

/// Every TCB that the report names, each part on its own: what signed, what runs, what the machine can go back to, and
/// what ran when the guest was launched.
fn floor(rules: &SnpRules, guest: &SnpIdentity, machine: &AmdPlatform) -> Result<(), Refusal> {
    let product = machine.product.as_str();
    let clause = format!("snp.min_tcb.{product}");
    let Some(floor) = rules.min_tcb.get(&machine.product) else {
        let found = format!("the machine is a {product}, and the policy has no floor for it");
        let remedy = "add a floor for it, or use another machine";
        return Err(Refusal::new(Rule::SnpFloor, clause, found, "a product that has one", remedy));
    };
    let found = [
        ("reported", guest.reported_tcb),
        ("current", guest.current_tcb),
        ("committed", guest.committed_tcb),
        ("launch", guest.launch_tcb),
    ];
    for (whose, found) in found {
        for (part, found, wanted) in [
            ("fmc", found.fmc, floor.fmc),
            ("bootloader", found.bootloader, floor.bootloader),
            ("tee", found.tee, floor.tee),
            ("snp", found.snp, floor.snp),
            ("microcode", found.microcode, floor.microcode),
        ] {
            if found < wanted {
                let remedy = match (whose, part) {
                    ("launch", _) => "launch the guest again",
                    ("committed", _) => "commit the firmware that runs",
                    ("reported", _) => "update the machine and let it report its TCB",
                    (_, "microcode") => "update the microcode",
                    _ => "update the firmware",
                };
                let found = format!("the {whose} TCB of the {product} machine has {part} {found}");
                return Err(Refusal::new(
                    Rule::SnpFloor,
                    clause,
                    found,
                    format!("{wanted} or above"),
                    remedy,
                ));
            }
        }
    }
    Ok(())
}
