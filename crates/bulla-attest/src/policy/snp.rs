//! The rules for SEV-SNP guests.

use std::collections::BTreeMap;

use bulla_tee::SnpTcb;

use crate::AmdProduct;

/// The rules for SEV-SNP guests that a policy can set. Debug and migration agents are never accepted, whatever it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SnpRules {
    /// The lowest TCB of each product, each part compared on its own; a product that is not listed is refused.
    pub(crate) min_tcb: BTreeMap<AmdProduct, SnpTcb>,
    /// The least privileged level (0 to 3) that a report may be asked from.
    pub(crate) max_vmpl: u32,
    /// Whether reports may be signed with a key of the machine's provider, which names no machine.
    pub(crate) provider_keys: bool,
    /// Whether collateral may lack the revocation list.
    pub(crate) unknown_revocation: bool,
    /// Whether the guest may run beside others on one core (policy bit 16).
    pub(crate) smt: bool,
    /// Whether CXL devices may be attached to the machine (policy bit 21).
    pub(crate) cxl: bool,
    /// Whether the guest must be confined to one socket (policy bit 20).
    pub(crate) single_socket: bool,
    /// Whether memory must be encrypted with AES-256-XTS (policy bit 22).
    pub(crate) aes_256_xts: bool,
    /// Whether power readings must be off (policy bit 23).
    pub(crate) rapl_disabled: bool,
    /// Whether the host must not see ciphertext (policy bit 24).
    pub(crate) ciphertext_hiding: bool,
    /// Whether the host must not move the guest's pages (policy bit 25).
    pub(crate) page_swap_disabled: bool,
    /// Whether the machine must have checked its memory for aliases (PLATFORM_INFO bit 5).
    pub(crate) alias_check: bool,
}
