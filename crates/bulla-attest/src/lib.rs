//! Evidence in, claims or a reason out.
//!
//! [`Verifier::verify`] takes a quote or a SEV-SNP report, a set of [`Collateral`], a time, a [`TrustAnchor`] and a [`Policy`], and
//! returns [`Claims`] or an [`Error`] with a stable code. It reads no clock, opens no file and no connection. What it remembers of
//! platforms spares work and changes no verdict.
//!
//! Verifying is the work of [`dcap_qvl`], which walks the whole path; this crate adds what that library leaves open:
//!
//! - **Strict bytes** (R31-R34). The library reads leniently: it ignores bytes behind the end and inside containers, and the
//!   type of the outer certification data. Here every byte of a quote is accounted for; only zero padding after the
//!   declared end, which guests commonly hand over, is stripped. SGX quotes have version 3, 4 or 5, TDX quotes 4 or 5 with
//!   a TD 1.0 or 1.5 report; everything else is refused by name.
//! - **A pinned root** (R27). Intel's root is known by its hash, and its certificate is taken from the chains at hand.
//! - **Complete and current collateral** (R17, R28). All items, their issuers and both revocation lists are required, and
//!   none may be issued after the given time or be past its next update. A set that is not there is never "nothing revoked".
//! - **Policy** (R22-R26, R44). The library accepts `OutOfDate`; [`Policy::strict`] accepts `UpToDate` without advisories
//!   alone. A file ([`Policy::from_toml`]) names registers and machines, and loosens what can be loosened.
//! - **Reasons.** The library has one sentence for a refusal. Before it runs, the same signatures and links are checked one
//!   by one, by the same algorithm, so that a refusal has a code. These checks refuse; only the walk accepts.
//!   [`Error::reason`] tells an operator what to do, [`Error::remote`] tells a peer no more than it should know.
//! - **SGX quotes of versions 4 and 5.** The library does not walk them. Their path is walked here by the same path builder, and
//!   their levels are judged by the rules that judge local reports, which the tests hold against the library's.
//!
//! Which machine a quote is from is in [`Platform`], read from a PCK certificate that verified, and compared by
//! [`Platform::same_machine`] (R36). The QE ID in a quote's header is the host's choice and decides nothing.
//!
//! # Codes
//!
//! Every refusal has one stable code; codes of one family share a prefix.
//!
//! | code | what | class |
//! |---|---|---|
//! | `parse.*` | the quote's bytes are not a quote of a supported kind | damaged |
//! | `pck.no_chain` | the quote names its platform otherwise than by a PCK chain | refused |
//! | `quote.signature`, `qe_report.signature`, `qe_report.binding`, `quote.unverified` | the quote was changed | damaged |
//! | `tcb_info.*`, `qe_identity.*`, `pck_crl.*`, `root_crl.*`, `pck.*` with `parse`, `chain`, `chain_signature`, `signature` | an item was changed or is of another kind | damaged |
//! | … with `untrusted_root`, `wrong_issuer`, `wrong_id`, `unsupported_version`, `fmspc_mismatch`, `pceid_mismatch`, `mismatch`, `not_yet_valid` | an item is genuine or well made, but not the right one | refused |
//! | … with `expired`, `cert_expired`, `no_matching_level` | an item's or a certificate's time is over (`cert_expired` also: has not come) | too old |
//! | `collateral.*` | incomplete, too large, not JSON of the known layout | damaged |
//! | `collateral.unavailable` | nobody could get it | peer |
//! | `revoked`, `tcb.revoked`, `tdx_module.mismatch` | the vendor took trust back, or never gave it | refused |
//! | `tcb.no_matching_level` | below every level that the vendor lists | too old |
//! | `policy.tcb_status`, `policy.advisories`, `policy.tcb_evaluation_number`, `policy.tdx_module`, `policy.snp_floor` | the TCB is below what the policy asks | too old |
//! | other `policy.*`, `platform.mismatch`, `binding.report_data` | what runs, or where, is not what was asked for | refused |
//! | `report.size`, `report.type`, `report.reserved`, `report.binding` | the bytes are not a local report, or it was changed | damaged |
//! | `report.mac`, `report.cpusvn` | the local report is of another machine, or of another state of this one | refused |
//! | `report.unverifiable` | this machine cannot check local reports | that of the machine's error |
//! | `snp.parse`, `snp.signature`, and `snp_chain.*` and `snp_crl.*` with `parse`, `chain`, `chain_signature`, `signature` | a report, its certificates or its revocation list was changed or is of another kind | damaged |
//! | `snp.unsupported_version`, `snp.signer_mismatch`, `snp.tcb_mismatch`, `snp.chip_mismatch`, `snp_chain.untrusted_root`, `snp_crl.wrong_issuer`, `snp_crl.not_yet_valid`, `collateral.wrong_kind` | it is genuine or well made, but not the right one | refused |
//! | `snp_chain.cert_expired`, `snp_crl.expired` | its time is over | too old |
//! | `tpm_quote.parse`, `tpm_quote.signature`, `tpm_quote.registers` | a TPM's quote was changed | damaged |
//! | `tpm_quote.attestation_key`, `tpm_quote.state` | it is by a key that is not pinned, or in a state that is not accepted | refused |
//! | `tpm_endorsement.certificate` | the certificate of an endorsement key does not lead to a given root | refused |
//! | `tpm_quote.policy` | the policy would accept any state | usage |
//! | `event_log.too_large`, `event_log.parse`, `event_log.digest` | the log is malformed, or an event's digest is not of its content | damaged |
//! | `event_log.not_tdx`, `event_log.rtmr_mismatch`, `event_log.no_boundary`, `event_log.boundary_twice`, `event_log.boundary_register`, `event_log.unnamed_event`, `event_log.extended` | the log is not this guest's, or the boundary is not as it is asked for | refused |
//! | `ra_tls.too_large`, `ra_tls.certificate`, `ra_tls.duplicate`, `ra_tls.parse` | the certificate or its extension is malformed | damaged |
//! | `ra_tls.no_evidence`, `ra_tls.unsupported` | no evidence, or in a format that is not read | refused |
//! | `binding.ra_tls_claims`, `binding.ra_tls_key`, `binding.ra_tls_nonce`, `binding.tls_exporter` | made for other claims, another key, nonce or connection | refused |
//! | `collateral.rollback` | older than what was seen or is set (R29) | too old |
//! | `clock.below_floor` | the clock is behind what is proved or set (R30) | unavailable |
//! | `collateral.service.unreachable`, `…redirect`, `…too_large`, `…malformed`, `…denied`, `…unknown_platform`, `…busy`, `…failed` | a service did not deliver | peer |
//! | `collateral.service.retired` | the vendor has no more of that evaluation number | too old |
//! | `bundle.parse`, `bundle.too_large`, `bundle.version`, `bundle.empty`, `bundle.incomplete`, `floor.damaged` | a file is not as it was written | damaged |
//! | `store.unsafe`, `store.io` | a file is not only ours; cannot be read or written | refused, other |
//! | `floor.other_root` | a floor of another trust anchor | usage |
//! | `usage.*` | an argument is wrong | usage |

mod anchor;
mod check;
mod claims;
pub mod collateral;
mod crypto;
mod der;
mod document;
mod endorsement;
mod error;
mod event_log;
mod explain;
mod levels;
mod memory;
mod outline;
#[cfg(feature = "pcs")]
pub mod pcs;
mod pki;
mod policy;
mod quote;
mod ra_tls;
mod reason;
mod report;
#[cfg(test)]
mod samples;
mod shortfall;
mod snp;
mod status;
pub mod tpm;
mod verify;
mod walk;

pub use anchor::TrustAnchor;
pub use claims::{AmdPlatform, AmdProduct, Basis, Claims, IntelPlatform, Platform};
pub use collateral::{Collateral, CollateralId, CollateralSource, IntelCollateralId, PckCa, TeeKind};
pub use crypto::{forget_signatures, signatures_verified};
pub use error::{BundleFault, Error, Item, ItemFault, ParseFault, ReportFault, Rule, ServiceFault};
pub use event_log::{AtBoundary, Boundary, Event, EventLog, EventLogFault, MatchedLog};
pub use memory::Remembered;
pub use outline::{Outline, Signer};
pub use policy::{Policy, Warning};
pub use ra_tls::{CertificateClaims, RA_TLS_OID, RaTls, RaTlsFault, RaTlsFormat, TlsSide};
pub use reason::{Reason, Remote};
pub use report::ThisMachine;
pub use snp::{AmdCollateralId, SnpSigner};
pub use status::{Shortfall, Tcb, TcbStatus};
pub use verify::Verifier;
