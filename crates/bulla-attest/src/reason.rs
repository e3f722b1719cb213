//! Reasons, in two renderings: precise for operators, coarse for peers.

use std::fmt;

use crate::error::{BundleFault, Error, Item, ItemFault, ParseFault, ReportFault, Rule, ServiceFault};
use crate::status::remedies;
use crate::tpm::TpmFault;
use crate::{EventLogFault, RaTlsFault};

/// Why evidence was refused, precisely: for the operator of the machine and for the author of the policy. A peer is told
/// [`Error::remote`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reason {
    /// As [`Error::code`].
    pub code: &'static str,
    /// Where the rule stands: a key of the policy, or the part of the evidence or of the collateral that has the rule.
    pub clause: String,
    /// What the rule asks for.
    pub wanted: String,
    /// What is there instead.
    pub found: String,
    /// What to do.
    pub remedy: String,
}

/// One sentence.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, and wanted is {}: {}", self.found, self.wanted, self.remedy)
    }
}

/// Why evidence was refused, coarsely: all that a peer is told, so that it learns nothing of the policy or of other
/// machines by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remote {
    /// Not evidence of any known kind.
    Malformed,
    /// Above the size limit.
    TooLarge,
    /// A version or kind that is not judged here.
    Unsupported,
    /// It does not verify.
    BadEvidence,
    /// The platform is below the required security version.
    TcbTooOld,
    /// It verifies, and the policy does not allow what it shows.
    PolicyDenied,
    /// It is of another machine.
    WrongPlatform,
    /// It was made for something else.
    BindingMismatch,
    /// There is no current collateral to judge it with.
    CollateralUnavailable,
    /// The verifier was asked wrongly.
    Internal,
}

impl Remote {
    /// A stable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::Unsupported => "unsupported",
            Self::BadEvidence => "bad-evidence",
            Self::TcbTooOld => "tcb-too-old",
            Self::PolicyDenied => "policy-denied",
            Self::WrongPlatform => "wrong-platform",
            Self::BindingMismatch => "binding-mismatch",
            Self::CollateralUnavailable => "collateral-unavailable",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Error {
    /// Why, for a peer.
    pub fn remote(&self) -> Remote {
        match self {
            Self::Parse { fault, .. } => match fault {
                ParseFault::TooLarge => Remote::TooLarge,
                ParseFault::Version
                | ParseFault::AttKeyType
                | ParseFault::TeeType
                | ParseFault::QeVendor
                | ParseFault::BodyType => Remote::Unsupported,
                ParseFault::Truncated
                | ParseFault::BodySize
                | ParseFault::CertType
                | ParseFault::Slack
                | ParseFault::TrailingBytes => Remote::Malformed,
            },
            Self::NoChain(_) => Remote::Unsupported,
            Self::Item { item: Item::QeIdentity, fault: ItemFault::NoMatchingLevel, .. }
            | Self::NoMatchingLevel(_)
            | Self::TcbRevoked(_) => Remote::TcbTooOld,
            Self::Item { item: Item::QeIdentity, fault: ItemFault::Mismatch, .. }
            | Self::Item { item: Item::Pck | Item::SnpReport, .. }
            | Self::Revoked(_)
            | Self::QeReportSignature
            | Self::QeReportBinding
            | Self::QuoteSignature
            | Self::TdxModule(_)
            | Self::Unverified(_) => Remote::BadEvidence,
            Self::Item { .. }
            | Self::CollateralIncomplete(_)
            | Self::CollateralTooLarge(_)
            | Self::CollateralParse(_)
            | Self::CollateralKind { .. }
            | Self::CollateralUnavailable(_)
            | Self::CollateralRollback { .. }
            | Self::Service { .. }
            | Self::Bundle { .. }
            | Self::ClockBelowFloor { .. }
            | Self::FloorDamaged(_)
            | Self::FloorOtherRoot
            | Self::StoreUnsafe { .. }
            | Self::Store(_) => Remote::CollateralUnavailable,
            Self::Remembered(error) => error.remote(),
            Self::Policy { rule, .. } => match rule {
                Rule::TcbStatus
                | Rule::Advisories
                | Rule::TcbEvaluationNumber
                | Rule::TdxModule
                | Rule::SnpFloor => Remote::TcbTooOld,
                Rule::Simulated
                | Rule::Debug
                | Rule::ReservedAttributes
                | Rule::Migratable
                | Rule::ServiceTd
                | Rule::SeptVeDisable
                | Rule::Perfmon
                | Rule::Platform
                | Rule::ConfigRegister
                | Rule::Registers
                | Rule::Vmpl
                | Rule::ProviderKey
                | Rule::Revocation
                | Rule::Smt
                | Rule::Cxl
                | Rule::SingleSocket
                | Rule::Aes256Xts
                | Rule::Rapl
                | Rule::CiphertextHiding
                | Rule::PageSwap
                | Rule::AliasCheck => Remote::PolicyDenied,
            },
            Self::OtherMachine(_) => Remote::WrongPlatform,
            Self::ReportData => Remote::BindingMismatch,
            Self::Report { fault, .. } => match fault {
                ReportFault::Size => Remote::Malformed,
                ReportFault::Type => Remote::Unsupported,
                ReportFault::Reserved | ReportFault::Binding => Remote::BadEvidence,
                ReportFault::Mac => Remote::WrongPlatform,
                // The verifier's own quote is out of step with its machine.
                ReportFault::Cpusvn => Remote::Internal,
            },
            Self::Tpm { fault, .. } => match fault {
                TpmFault::Parse => Remote::Malformed,
                TpmFault::Signature
                | TpmFault::Registers
                | TpmFault::AttestationKey
                | TpmFault::Endorsement => Remote::BadEvidence,
                TpmFault::State | TpmFault::Policy => Remote::PolicyDenied,
            },
            Self::EventLog { fault, .. } => match fault {
                EventLogFault::TooLarge => Remote::TooLarge,
                EventLogFault::Parse => Remote::Malformed,
                EventLogFault::NotTdx => Remote::Unsupported,
                EventLogFault::Digest | EventLogFault::RtmrMismatch => Remote::BadEvidence,
                EventLogFault::NoBoundary
                | EventLogFault::BoundaryTwice
                | EventLogFault::BoundaryRegister
                | EventLogFault::UnnamedEvent
                | EventLogFault::Extended => Remote::PolicyDenied,
            },
            Self::RaTls { fault, .. } => match fault {
                RaTlsFault::TooLarge => Remote::TooLarge,
                RaTlsFault::Certificate
                | RaTlsFault::NoEvidence
                | RaTlsFault::Duplicate
                | RaTlsFault::Parse => Remote::Malformed,
                RaTlsFault::Unsupported => Remote::Unsupported,
                RaTlsFault::OtherClaims
                | RaTlsFault::OtherKey
                | RaTlsFault::OtherNonce
                | RaTlsFault::OtherConnection => Remote::BindingMismatch,
            },
            Self::LocalVerifier(_) => Remote::Internal,
            Self::Anchor | Self::UnknownStatus(_) | Self::PolicyFile(_) | Self::Setting(_) => {
                Remote::Internal
            }
        }
    }

    /// Why, for an operator: the clause, wanted and found, and what to do.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Policy { reason, .. } => return reason.as_ref().clone(),
            Self::Remembered(error) => return error.reason(),
            _ => {}
        }
        let (clause, wanted, remedy) = self.parts();
        let found = match self {
            Self::Parse { detail, .. }
            | Self::Item { detail, .. }
            | Self::Report { detail, .. }
            | Self::EventLog { detail, .. }
            | Self::Tpm { detail, .. }
            | Self::RaTls { detail, .. } => detail.clone(),
            Self::NoMatchingLevel(shortfalls) if !shortfalls.is_empty() => remedies::listed(shortfalls),
            _ => self.to_string(),
        };
        let remedy = match self {
            Self::NoMatchingLevel(shortfalls) if !shortfalls.is_empty() => remedies::of(shortfalls),
            Self::TcbRevoked(tcb) if !tcb.shortfalls.is_empty() => remedies::each(&tcb.shortfalls),
            _ => remedy.into(),
        };
        Reason { code: self.code(), clause: clause.into(), wanted: wanted.into(), found, remedy }
    }

    /// Clause, wanted, remedy.
    fn parts(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Parse { fault, .. } => parse_parts(*fault),
            Self::NoChain(_) => (
                "PCK certification data",
                "a PCK certificate chain (type 5)",
                "let the machine's quote provider library fetch its PCK certificate, then quote again",
            ),
            Self::Item { item, fault, .. } => item_parts(*item, *fault),
            Self::Revoked(_) => (
                "revocation lists",
                "no certificate of the path on them",
                "take the machine out of service: its vendor trusts its keys no more",
            ),
            Self::QeReportSignature => {
                ("QE report", "the signature of the platform's PCK key", "hand over the quote as it was made")
            }
            Self::QeReportBinding => {
                ("QE report", "the hash of the attestation key", "hand over the quote as it was made")
            }
            Self::QuoteSignature => (
                "quote signature",
                "the signature of the attestation key over header and report",
                "hand over the quote as it was made",
            ),
            Self::Unverified(_) => (
                "verification library",
                "a quote that verifies",
                "hand over the quote as it was made, with collateral for its machine",
            ),
            Self::NoMatchingLevel(_) => (
                "TCB info, levels",
                "at least the lowest level that the vendor lists",
                "update microcode, firmware and TDX module, then fetch a new PCK certificate for the machine",
            ),
            Self::TcbRevoked(_) => (
                "TCB info, levels",
                "a level that the vendor has not revoked",
                "update microcode, firmware and TDX module, then fetch a new PCK certificate for the machine",
            ),
            Self::TdxModule(_) => (
                "TCB info, TDX module",
                "a TDX module that the vendor lists",
                "load a TDX module that Intel released; if it is newer than the collateral, fetch newer collateral",
            ),
            Self::Policy { .. } => ("policy", "what the policy accepts", "see the policy"),
            Self::OtherMachine(_) => (
                "machine",
                "evidence of one machine",
                "run both on the same machine, and make both quotes anew",
            ),
            Self::ReportData => (
                "report data",
                "the hash that the verifier asked for",
                "make a new quote for this very request",
            ),
            Self::CollateralIncomplete(_) => {
                ("collateral", "every item of the set", "fetch the whole set again")
            }
            Self::CollateralTooLarge(_) => {
                ("collateral", "at most 1 MiB", "fetch the set from another service: real ones have 24 KiB")
            }
            Self::CollateralKind { .. } => (
                "collateral",
                "collateral of the evidence's vendor",
                "fetch the collateral for this evidence",
            ),
            Self::Report { fault, .. } => report_parts(*fault),
            Self::LocalVerifier(_) => (
                "local report",
                "a machine that checks local reports",
                "run the verifier in an enclave on the guest's machine, or use quotes",
            ),
            Self::EventLog { fault, .. } => event_log_parts(*fault),
            Self::Tpm { fault, .. } => tpm_parts(*fault),
            Self::RaTls { fault, .. } => ra_tls_parts(*fault),
            Self::CollateralParse(_) => {
                ("collateral", "JSON of the known layout", "fetch the whole set again")
            }
            Self::CollateralUnavailable(_) => (
                "collateral",
                "a current set for the machine",
                "look at the collateral service's address and state, then try again",
            ),
            Self::CollateralRollback { .. } => (
                "collateral, floor",
                "nothing older than what was seen or is set",
                "fetch from the vendor's own service; a cache that serves older sets must be refreshed",
            ),
            Self::Service { fault, .. } => service_parts(*fault),
            Self::Remembered(error) => error.parts(),
            Self::Bundle { fault, .. } => bundle_parts(*fault),
            Self::ClockBelowFloor { .. } => {
                ("clock", "a time that is no earlier than what signatures prove", "set the machine's clock")
            }
            Self::FloorDamaged(_) => (
                "remembered floor",
                "the floor as it was saved",
                "restore it; to begin anew, remove it by hand, and older collateral will be accepted once more",
            ),
            Self::FloorOtherRoot => (
                "remembered floor",
                "the floor of this trust anchor",
                "give each trust anchor a store of its own",
            ),
            Self::StoreUnsafe { .. } => (
                "store of collateral",
                "regular files that only this user can write, each with one name",
                "find out who put it there, then remove it",
            ),
            Self::Store(_) => {
                ("store of collateral", "files that can be read and written", "see the message")
            }
            Self::Setting(_) => ("settings", "a setting that can be used", "see the message"),
            Self::Anchor => ("trust anchor", "one DER certificate", "name the file of the root certificate"),
            Self::UnknownStatus(_) => {
                ("TCB status", "the name of a TCB status", "use one of the names listed")
            }
            Self::PolicyFile(_) => ("policy file", "a policy in TOML, version 1", "correct the file"),
        }
    }
}

const fn service_parts(fault: ServiceFault) -> (&'static str, &'static str, &'static str) {
    const CLAUSE: &str = "collateral service";
    match fault {
        ServiceFault::Unreachable => (
            CLAUSE,
            "an answer in time over a connection that is trusted",
            "look at its address, its state and its certificate's authority",
        ),
        ServiceFault::Redirect => (CLAUSE, "an answer of its own", "configure the address that it sends to"),
        ServiceFault::TooLarge => (CLAUSE, "an answer of the usual size", "use another service"),
        ServiceFault::Malformed => {
            (CLAUSE, "what was asked for, in the form of the API", "use another service, or update it")
        }
        ServiceFault::Denied => (CLAUSE, "accepted credentials", "check the subscription key"),
        ServiceFault::Unknown => {
            (CLAUSE, "a platform that it knows", "ask the vendor's own service, or register the platform")
        }
        ServiceFault::Retired => (
            CLAUSE,
            "a TCB evaluation number that is not retired",
            "raise the minimum of the policy, and ask for a higher number or follow a channel",
        ),
        ServiceFault::Busy => {
            (CLAUSE, "an answer in time", "try again later, or put a caching service before it")
        }
        ServiceFault::Failed => (CLAUSE, "an answer", "look at its state, then try again"),
    }
}

const fn bundle_parts(fault: BundleFault) -> (&'static str, &'static str, &'static str) {
    const CLAUSE: &str = "bundle of collateral";
    const AGAIN: &str = "export it again";
    match fault {
        BundleFault::Parse => (CLAUSE, "JSON of the known layout, each item once", AGAIN),
        BundleFault::TooLarge => (CLAUSE, "at most 16 MiB", AGAIN),
        BundleFault::Version => (CLAUSE, "version 1", "export it with this release, or update this one"),
        BundleFault::Empty => (CLAUSE, "at least one set", "export it where there is collateral"),
        BundleFault::Incomplete => (CLAUSE, "every item of each set", AGAIN),
    }
}

const fn parse_parts(fault: ParseFault) -> (&'static str, &'static str, &'static str) {
    const AS_MADE: &str = "hand over the quote as the machine's quoting enclave made it";
    match fault {
        ParseFault::TooLarge => ("quote size", "at most 32 KiB", "hand over the quote alone"),
        ParseFault::Truncated => {
            ("quote lengths", "as many bytes as its lengths announce", "hand over the whole quote")
        }
        ParseFault::Version => {
            ("quote header", "a known version of quotes", "make the quote with Intel's quoting enclave")
        }
        ParseFault::AttKeyType => (
            "quote header",
            "attestation key type 2 (ECDSA over P-256)",
            "have the quoting library make an ECDSA quote",
        ),
        ParseFault::TeeType => {
            ("quote header", "TEE type 0 (SGX) or 0x81 (TDX) in a version that has it", AS_MADE)
        }
        ParseFault::QeVendor => {
            ("quote header", "Intel's quoting enclave", "quote with Intel's quoting enclave")
        }
        ParseFault::BodyType => {
            ("quote body", "a known type of report", "make the quote with Intel's quoting enclave")
        }
        ParseFault::BodySize => ("quote body", "the size that belongs to its type", AS_MADE),
        ParseFault::CertType => ("certification data", "type 6 around type 5", AS_MADE),
        ParseFault::Slack => ("quote lengths", "containers that are full", AS_MADE),
        ParseFault::TrailingBytes => {
            ("quote end", "nothing but zeros after the end", "hand over the quote alone")
        }
    }
}

const fn item_parts(item: Item, fault: ItemFault) -> (&'static str, &'static str, &'static str) {
    let clause = match item {
        Item::TcbInfo => "TCB info",
        Item::QeIdentity => "QE identity",
        Item::PckCrl => "PCK CRL",
        Item::RootCrl => "root CA CRL",
        Item::Pck => "PCK certificate chain",
        Item::SnpReport => "SEV-SNP report",
        Item::SnpChain => "SEV-SNP certificate chain",
        Item::SnpCrl => "SEV-SNP CRL",
    };
    let again = match item {
        Item::SnpReport => {
            "hand over the report as the machine made it, with the certificate for its chip and TCB"
        }
        Item::Pck => "have the machine fetch its PCK certificate again, then quote again",
        _ => "fetch the collateral again, from the vendor or a service that you trust to be current",
    };
    let (wanted, remedy) = match fault {
        ItemFault::Parse => ("its own format, strictly", again),
        ItemFault::Chain => ("certificates that make a chain of the known shape", again),
        ItemFault::ChainSignature => ("certificates that are each signed by the next", again),
        ItemFault::UntrustedRoot => (
            "a chain that ends at the trust anchor",
            "use evidence and collateral of the vendor, or name the root of the simulated machine",
        ),
        ItemFault::CertExpired => ("certificates that are valid now", again),
        ItemFault::Signature => ("the signature of its issuer", again),
        ItemFault::WrongIssuer => ("the issuer of the certificates that it is about", again),
        ItemFault::UnsupportedVersion => {
            ("a version that is judged here", "fetch it from version 4 of the service")
        }
        ItemFault::WrongId => ("the TEE that the quote is of", "fetch the one for the quote's TEE"),
        ItemFault::FmspcMismatch => ("the quote's FMSPC", "fetch the one for the quote's FMSPC"),
        ItemFault::PceidMismatch => ("the quote's PCEID", "fetch the one for the quote's machine"),
        ItemFault::Mismatch => (
            "the quoting enclave that the vendor describes",
            "install Intel's quoting enclave and quote again",
        ),
        ItemFault::NoMatchingLevel => (
            "at least the lowest level that the vendor lists",
            "update the quoting enclave (Intel's DCAP packages)",
        ),
        ItemFault::SignerMismatch => {
            ("the certificate of the key that signed", "fetch the certificate for this report's key")
        }
        ItemFault::TcbMismatch => {
            ("the certificate for the report's TCB", "fetch the certificate for this report's TCB")
        }
        ItemFault::ChipMismatch => {
            ("the certificate for the report's chip", "fetch the certificate for this report's chip")
        }
        ItemFault::NotYetValid => (
            "an issue before the time of verification",
            "set the clock right; if it is, fetch the collateral again",
        ),
        ItemFault::Expired => (
            "a next update after the time of verification",
            "fetch current collateral; if it is, set the clock right",
        ),
    };
    (clause, wanted, remedy)
}

const fn report_parts(fault: ReportFault) -> (&'static str, &'static str, &'static str) {
    const AS_MADE: &str = "hand over the TDREPORT as the guest's TDX module made it";
    match fault {
        ReportFault::Size => ("local report", "1024 bytes", AS_MADE),
        ReportFault::Type => ("local report", "a known type of TDREPORT", AS_MADE),
        ReportFault::Reserved => ("local report", "zero in what has no meaning", AS_MADE),
        ReportFault::Binding => ("local report", "what its MAC covers", AS_MADE),
        ReportFault::Mac => {
            ("local report", "the MAC of this machine", "run the guest on the verifier's machine")
        }
        ReportFault::Cpusvn => {
            ("local report", "the CPUSVN of the machine's own quote", "have the verifier quote itself again")
        }
    }
}

const fn tpm_parts(fault: TpmFault) -> (&'static str, &'static str, &'static str) {
    const ANEW: &str = "quote again, and let nobody change the bytes on the way";
    match fault {
        TpmFault::Parse => ("TPM quote", "a quote over the SHA-256 bank, in its own format, strictly", ANEW),
        TpmFault::Signature => ("TPM quote", "the signature of its attestation key", ANEW),
        TpmFault::Registers => ("TPM quote", "the values that were signed", ANEW),
        TpmFault::AttestationKey => (
            "TPM attestation key",
            "a pinned one",
            "show whose it is by activating a credential, then pin its name",
        ),
        TpmFault::State => (
            "TPM registers",
            "an accepted state",
            "start the accepted software, or accept this state as well",
        ),
        TpmFault::Policy => {
            ("TPM policy", "states, each with registers", "name the values that are accepted")
        }
        TpmFault::Endorsement => (
            "TPM endorsement key",
            "a certificate of its vendor, under a given root",
            "give the root of the TPM's vendor, or pin the endorsement key by its name",
        ),
    }
}

const fn event_log_parts(fault: EventLogFault) -> (&'static str, &'static str, &'static str) {
    const WHOLE: &str = "hand over the whole event log of this boot";
    const LAUNCH: &str =
        "have the guest's agent measure the application before it announces the boundary, and nothing after";
    match fault {
        EventLogFault::TooLarge => ("event log", "at most 1 MiB", WHOLE),
        EventLogFault::Parse => ("event log", "its own format, strictly", WHOLE),
        EventLogFault::Digest => ("event log", "the digest of the event's name and content", WHOLE),
        EventLogFault::NotTdx => ("event log", "evidence of a TDX guest", "judge it without a log"),
        EventLogFault::RtmrMismatch => ("event log", "a log that replays to the evidence's registers", WHOLE),
        EventLogFault::NoBoundary => ("event log boundary", "the boundary event", LAUNCH),
        EventLogFault::BoundaryTwice => ("event log boundary", "the boundary event once", LAUNCH),
        EventLogFault::BoundaryRegister => {
            ("event log boundary", "the boundary event in its register", LAUNCH)
        }
        EventLogFault::UnnamedEvent => {
            ("event log boundary", "events whose names their digests prove", LAUNCH)
        }
        EventLogFault::Extended => ("event log boundary", "nothing after the boundary event", LAUNCH),
    }
}

const fn ra_tls_parts(fault: RaTlsFault) -> (&'static str, &'static str, &'static str) {
    const ANEW: &str = "make the certificate anew, with evidence for exactly this key and connection";
    match fault {
        RaTlsFault::TooLarge => ("RA-TLS certificate", "at most 64 KiB", ANEW),
        RaTlsFault::Certificate => ("RA-TLS certificate", "one certificate", ANEW),
        RaTlsFault::NoEvidence => ("RA-TLS certificate", "evidence in it", ANEW),
        RaTlsFault::Duplicate => ("RA-TLS certificate", "evidence of one kind once", ANEW),
        RaTlsFault::Unsupported => ("RA-TLS certificate", "evidence in a known format", ANEW),
        RaTlsFault::Parse => ("RA-TLS certificate", "its own format, strictly", ANEW),
        RaTlsFault::OtherClaims => ("RA-TLS binding", "evidence for these claims", ANEW),
        RaTlsFault::OtherKey => ("RA-TLS binding", "evidence for this key", ANEW),
        RaTlsFault::OtherNonce => ("RA-TLS binding", "evidence for this nonce", ANEW),
        RaTlsFault::OtherConnection => ("RA-TLS binding", "evidence for this side of this connection", ANEW),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Shortfall, Tcb};

    const PARSE: [ParseFault; 11] = [
        ParseFault::TooLarge,
        ParseFault::Truncated,
        ParseFault::Version,
        ParseFault::AttKeyType,
        ParseFault::TeeType,
        ParseFault::QeVendor,
        ParseFault::BodyType,
        ParseFault::BodySize,
        ParseFault::CertType,
        ParseFault::Slack,
        ParseFault::TrailingBytes,
    ];
    const ITEMS: [Item; 8] = [
        Item::TcbInfo,
        Item::QeIdentity,
        Item::PckCrl,
        Item::RootCrl,
        Item::Pck,
        Item::SnpReport,
        Item::SnpChain,
        Item::SnpCrl,
    ];
    const FAULTS: [ItemFault; 18] = [
        ItemFault::Parse,
        ItemFault::Chain,
        ItemFault::ChainSignature,
        ItemFault::UntrustedRoot,
        ItemFault::CertExpired,
        ItemFault::Signature,
        ItemFault::WrongIssuer,
        ItemFault::UnsupportedVersion,
        ItemFault::WrongId,
        ItemFault::FmspcMismatch,
        ItemFault::PceidMismatch,
        ItemFault::Mismatch,
        ItemFault::NoMatchingLevel,
        ItemFault::SignerMismatch,
        ItemFault::TcbMismatch,
        ItemFault::ChipMismatch,
        ItemFault::NotYetValid,
        ItemFault::Expired,
    ];
    const REPORTS: [ReportFault; 6] = [
        ReportFault::Size,
        ReportFault::Type,
        ReportFault::Reserved,
        ReportFault::Binding,
        ReportFault::Mac,
        ReportFault::Cpusvn,
    ];
    const LOGS: [EventLogFault; 9] = [
        EventLogFault::TooLarge,
        EventLogFault::Parse,
        EventLogFault::Digest,
        EventLogFault::RtmrMismatch,
        EventLogFault::NoBoundary,
        EventLogFault::BoundaryTwice,
        EventLogFault::BoundaryRegister,
        EventLogFault::UnnamedEvent,
        EventLogFault::Extended,
    ];
    const TPM: [TpmFault; 7] = [
        TpmFault::Parse,
        TpmFault::Signature,
        TpmFault::Registers,
        TpmFault::AttestationKey,
        TpmFault::State,
        TpmFault::Policy,
        TpmFault::Endorsement,
    ];
    const RA_TLS: [RaTlsFault; 10] = [
        RaTlsFault::TooLarge,
        RaTlsFault::Certificate,
        RaTlsFault::NoEvidence,
        RaTlsFault::Duplicate,
        RaTlsFault::Unsupported,
        RaTlsFault::Parse,
        RaTlsFault::OtherClaims,
        RaTlsFault::OtherKey,
        RaTlsFault::OtherNonce,
        RaTlsFault::OtherConnection,
    ];

    fn short() -> Shortfall {
        Shortfall {
            component: "TDX module SVN".into(),
            found: 6,
            wanted: 11,
            remedy: "update the TDX module",
            certified: false,
        }
    }

    /// One of each; refusals by policy have reasons of their own, which the policy's tests compare.
    fn errors() -> Vec<Error> {
        let mut errors = vec![
            Error::NoChain(3),
            Error::Revoked("the platform's PCK certificate"),
            Error::QeReportSignature,
            Error::QeReportBinding,
            Error::QuoteSignature,
            Error::Unverified("x".into()),
            Error::NoMatchingLevel(vec![short()]),
            Error::TcbRevoked(Box::new(Tcb::UNLISTED)),
            Error::TdxModule("its signer differs"),
            Error::OtherMachine("x"),
            Error::LocalVerifier(bulla_tee::Error::BadReport),
            Error::ReportData,
            Error::CollateralIncomplete("tcb_info"),
            Error::CollateralTooLarge(1 << 30),
            Error::CollateralKind { wanted: "x", found: "y" },
            Error::CollateralParse("x".into()),
            Error::CollateralUnavailable("x".into()),
            Error::Anchor,
            Error::UnknownStatus("x".into()),
            Error::PolicyFile("x".into()),
        ];
        errors.extend(PARSE.map(|fault| Error::parse(fault, "found")));
        errors.extend(REPORTS.map(|fault| Error::report(fault, "found")));
        errors.extend(TPM.map(|fault| Error::tpm(fault, "found")));
        errors.extend(LOGS.map(|fault| Error::event_log(fault, "found")));
        errors.extend(RA_TLS.map(|fault| Error::ra_tls(fault, "found")));
        for item in ITEMS {
            errors.extend(FAULTS.map(|fault| Error::item(item, fault, "found")));
        }
        errors
    }

    #[test]
    fn every_code_has_a_reason_and_a_remedy() {
        let mut codes = BTreeSet::new();
        for error in errors() {
            let reason = error.reason();
            assert!(codes.insert(error.code()), "{} is there twice", error.code());
            assert_eq!(reason.code, error.code());
            for part in [&reason.clause, &reason.wanted, &reason.found, &reason.remedy] {
                assert!(!part.trim().is_empty() && !part.ends_with('.'), "{reason:?}");
            }
        }
    }

    #[test]
    fn what_falls_short_of_every_level_is_named() {
        let error = Error::NoMatchingLevel(vec![short()]);
        let reason = error.reason();
        assert_eq!(
            reason.to_string(),
            "TDX module SVN is 6, needs 11, and wanted is at least the lowest level that the vendor lists: update the TDX \
             module"
        );
        assert!(error.to_string().contains("(TDX module SVN is 6, needs 11)"), "{error}");
        assert!(!Error::NoMatchingLevel(Vec::new()).reason().found.is_empty());
    }

    /// R55: the words of the protocol, and none of the policy's.
    #[test]
    fn r55_peers_are_told_one_of_ten_words() {
        let words = [
            "malformed",
            "too-large",
            "unsupported",
            "bad-evidence",
            "tcb-too-old",
            "policy-denied",
            "wrong-platform",
            "binding-mismatch",
            "collateral-unavailable",
            "internal",
        ];
        for error in errors() {
            assert!(words.contains(&error.remote().code()), "{}", error.code());
        }
        let rows = [
            (Error::parse(ParseFault::TooLarge, ""), Remote::TooLarge),
            (Error::parse(ParseFault::Slack, ""), Remote::Malformed),
            (Error::parse(ParseFault::Version, ""), Remote::Unsupported),
            (Error::NoChain(3), Remote::Unsupported),
            (Error::QuoteSignature, Remote::BadEvidence),
            (Error::item(Item::Pck, ItemFault::Chain, ""), Remote::BadEvidence),
            (Error::item(Item::QeIdentity, ItemFault::Mismatch, ""), Remote::BadEvidence),
            (Error::item(Item::QeIdentity, ItemFault::NoMatchingLevel, ""), Remote::TcbTooOld),
            (Error::item(Item::QeIdentity, ItemFault::Expired, ""), Remote::CollateralUnavailable),
            (Error::item(Item::TcbInfo, ItemFault::Signature, ""), Remote::CollateralUnavailable),
            (Error::NoMatchingLevel(Vec::new()), Remote::TcbTooOld),
            (Error::OtherMachine("x"), Remote::WrongPlatform),
            (Error::ReportData, Remote::BindingMismatch),
            (Error::Anchor, Remote::Internal),
        ];
        for (error, wanted) in rows {
            assert_eq!(error.remote(), wanted, "{}", error.code());
        }
    }
}
