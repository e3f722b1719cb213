//! Why evidence was refused.

use std::fmt;
use std::sync::Arc;

use bulla_crypto::Class;

use crate::tpm::TpmFault;
use crate::{EventLogFault, RaTlsFault, Reason, Shortfall, Tcb};

/// Why evidence was refused. The crate's documentation has the table of codes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a quote of a supported kind (R31-R34).
    #[error("the quote is malformed: {detail}")]
    Parse {
        /// Which rule is broken.
        fault: ParseFault,
        /// Where, wanted and found.
        detail: String,
    },

    /// The quote names its platform otherwise than by a PCK certificate chain (R34).
    #[error(
        "the quote has certification data of type {0} and no PCK certificate chain (type 5): let the machine's quote \
         provider library fetch its PCK certificate, then quote again"
    )]
    NoChain(u16),

    /// An item of the collateral, or the PCK chain in the quote, is not what it should be.
    #[error("{item}: {detail}")]
    Item {
        /// Which item.
        item: Item,
        /// What is wrong with it.
        fault: ItemFault,
        /// Wanted and found.
        detail: String,
    },

    /// A certificate of the path is on a revocation list (R28).
    #[error("{0} is revoked by its issuer: this machine must not be trusted any more")]
    Revoked(&'static str),

    /// The quoting enclave's report is not signed by the PCK key.
    #[error(
        "the quoting enclave's report is not signed by the platform's PCK key: the quote was changed or assembled"
    )]
    QeReportSignature,

    /// The attestation key is not the one that the quoting enclave vouches for.
    #[error(
        "the quoting enclave does not vouch for the attestation key of the quote: the quote was changed or assembled"
    )]
    QeReportBinding,

    /// Header and body are not signed by the attestation key.
    #[error("the signature over the quote's header and report is wrong: the quote was changed")]
    QuoteSignature,

    /// The verification library refused what our checks could not name.
    #[error("the quote does not verify: {0}")]
    Unverified(String),

    /// The platform is below every level that the vendor lists.
    #[error(
        "the platform's TCB is below every level in the TCB info{}: its microcode, firmware or TDX module must be updated",
        listed(.0)
    )]
    NoMatchingLevel(Vec<Shortfall>),

    /// The vendor revoked the platform's TCB level (R22).
    #[error("the vendor revoked this platform's TCB level ({}): no policy accepts it", .0.status)]
    TcbRevoked(Box<Tcb>),

    /// The TDX module is not the vendor's (R21).
    #[error("the TDX module is not the one that the TCB info names: {0}")]
    TdxModule(&'static str),

    /// What runs is genuine, but the policy does not accept it.
    #[error("{reason}")]
    Policy {
        /// Which rule refused.
        rule: Rule,
        /// Wanted and found, and what to do.
        reason: Box<Reason>,
        /// What was found about the platform.
        tcb: Box<Tcb>,
    },

    /// Two pieces of evidence are not from one machine, or not provably (R36).
    #[error("not the same machine: {0}")]
    OtherMachine(&'static str),

    /// The bytes are not a local report of this machine (R35).
    #[error("the local report is not accepted: {detail}")]
    Report {
        /// Which rule is broken.
        fault: ReportFault,
        /// Wanted and found.
        detail: String,
    },

    /// This machine cannot check local reports, or not now (R35).
    #[error("this machine cannot check local reports: {0}; quotes can be verified anywhere")]
    LocalVerifier(#[source] bulla_tee::Error),

    /// The report data is not what the verifier asked for.
    #[error("the report data is not the expected one: this quote was made for something else, or replayed")]
    ReportData,

    /// The set of collateral lacks an item (R17).
    #[error("the collateral lacks {0:?}: fetch the whole set again")]
    CollateralIncomplete(&'static str),

    /// The set of collateral is above 1 MiB (R31).
    #[error("the collateral is {0} bytes long, and the limit is {limit}", limit = crate::Collateral::LIMIT)]
    CollateralTooLarge(usize),

    /// The collateral is of another vendor than the evidence.
    #[error("the collateral is for {found} and the evidence is {wanted}: fetch the right one")]
    CollateralKind {
        /// What the evidence is.
        wanted: &'static str,
        /// What the collateral is for.
        found: &'static str,
    },

    /// The set of collateral is not in the known layout.
    #[error("the collateral cannot be read: {0}")]
    CollateralParse(String),

    /// A source of collateral could not deliver. Sources return this.
    #[error("no collateral for this platform: {0}")]
    CollateralUnavailable(String),

    /// An event log is malformed, or is not what was measured (R26).
    #[error("event log: {detail}")]
    EventLog {
        /// Which rule is broken.
        fault: EventLogFault,
        /// Where, wanted and found, and what to do.
        detail: String,
    },

    /// A TPM's quote, or the certificate of its endorsement key, is malformed, changed, or not accepted.
    #[error("TPM evidence: {detail}")]
    Tpm {
        /// Which rule is broken.
        fault: TpmFault,
        /// Wanted and found.
        detail: String,
    },

    /// A certificate carries no evidence that can be used, or evidence for something else (R42).
    #[error("RA-TLS: {detail}")]
    RaTls {
        /// Which rule is broken.
        fault: RaTlsFault,
        /// Wanted and found, and what to do.
        detail: String,
    },

    /// An item is older than what was seen before, or than what is set (R29).
    #[error(
        "{item} is {found}, and {wanted}: an older set was delivered; fetch from the vendor's own service"
    )]
    CollateralRollback {
        /// Which item, by its name in a store.
        item: String,
        /// The floor.
        wanted: String,
        /// The item's edition.
        found: String,
    },

    /// A service of collateral did not deliver.
    #[error("{detail}")]
    Service {
        /// In which way.
        fault: ServiceFault,
        /// Who was asked for what, and what came of it.
        detail: String,
        /// After how many seconds it wants to be asked again, if it said so.
        retry_after: Option<u64>,
    },

    /// A fetch failed for somebody else, who asked for the same at the same time or not long ago.
    #[error("{0}")]
    Remembered(Arc<Self>),

    /// A bundle of collateral cannot be taken.
    #[error("the bundle {detail}")]
    Bundle {
        /// Why not.
        fault: BundleFault,
        /// What is wrong with it.
        detail: String,
    },

    /// The clock is behind a time that a signature proves, or that is set (R30).
    #[error("the clock says {now} (Unix time), and it is at least {floor}: set the clock")]
    ClockBelowFloor {
        /// What the clock says.
        now: u64,
        /// The lowest acceptable time.
        floor: u64,
    },

    /// What was remembered about collateral cannot be read.
    #[error(
        "the remembered floor cannot be read: {0}; it is never taken for empty: restore it, or remove it by hand"
    )]
    FloorDamaged(String),

    /// A floor was remembered under another root.
    #[error("the remembered floor belongs to another trust anchor: give each anchor a store of its own")]
    FloorOtherRoot,

    /// A file of a store is not one that only this user can have written.
    #[error("{path} {why}: it is not used")]
    StoreUnsafe {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// A file of a store cannot be read or written.
    #[error("{0}")]
    Store(String),

    /// A setting of a client or a store is wrong.
    #[error("{0}")]
    Setting(String),

    /// A trust anchor is not a certificate.
    #[error("the trust anchor is not one DER certificate")]
    Anchor,

    /// A TCB status that does not exist.
    #[error("{0:?} is no TCB status; known are {known}", known = known_statuses())]
    UnknownStatus(String),

    /// A policy file that is not one.
    #[error("the policy file cannot be used: {0}")]
    PolicyFile(String),
}

/// A rule for the bytes of a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseFault {
    /// Above 32 KiB.
    TooLarge,
    /// Ends before a declared length.
    Truncated,
    /// Version 3 (SGX), 4 or 5 (TDX).
    Version,
    /// ECDSA over P-256.
    AttKeyType,
    /// SGX in versions 3 to 5, TDX in versions 4 and 5.
    TeeType,
    /// Intel's quoting enclave (R33).
    QeVendor,
    /// SGX report, TD report 1.0 or 1.5.
    BodyType,
    /// The size that belongs to the type.
    BodySize,
    /// Type 6 around type 5 (R34).
    CertType,
    /// A container is longer than what it contains.
    Slack,
    /// Something other than zero padding after the end.
    TrailingBytes,
}

/// A rule for a local report (R35).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReportFault {
    /// A TDREPORT has 1024 bytes.
    Size,
    /// Type 0x81, subtype 0, version 0 or 1.
    Type,
    /// Bytes that must be zero, or fields that its version does not have.
    Reserved,
    /// What it says is not what its MAC covers.
    Binding,
    /// The MAC is not this machine's.
    Mac,
    /// Made at another CPUSVN than this machine's own quote.
    Cpusvn,
}

/// A signed or dated item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// The TCB info.
    TcbInfo,
    /// The quoting enclave's identity.
    QeIdentity,
    /// The CRL of the PCK CA.
    PckCrl,
    /// The CRL of the root CA.
    RootCrl,
    /// The PCK certificate chain in the quote.
    Pck,
    /// A SEV-SNP report.
    SnpReport,
    /// The certificates of the key that signed a SEV-SNP report.
    SnpChain,
    /// The CRL of AMD's root.
    SnpCrl,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TcbInfo => "TCB info",
            Self::QeIdentity => "QE identity",
            Self::PckCrl => "PCK CRL",
            Self::RootCrl => "root CA CRL",
            Self::Pck => "PCK certificate chain",
            Self::SnpReport => "SEV-SNP report",
            Self::SnpChain => "SEV-SNP certificate chain",
            Self::SnpCrl => "SEV-SNP CRL",
        })
    }
}

/// What is wrong with an [`Item`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ItemFault {
    /// Not in its format, or looser than its format.
    Parse,
    /// Its certificates do not make a chain of the right shape.
    Chain,
    /// A certificate is not signed by the next one.
    ChainSignature,
    /// The chain ends at another root than the trust anchor (R27).
    UntrustedRoot,
    /// A certificate is outside its validity.
    CertExpired,
    /// Not signed by its issuer.
    Signature,
    /// A CRL of another issuer.
    WrongIssuer,
    /// A version that is not judged here.
    UnsupportedVersion,
    /// Of the other TEE.
    WrongId,
    /// For another processor family.
    FmspcMismatch,
    /// For another provisioning enclave.
    PceidMismatch,
    /// The quoting enclave is not the one described.
    Mismatch,
    /// The quoting enclave is below every listed level.
    NoMatchingLevel,
    /// The report's key is another one than the certificate's, or none.
    SignerMismatch,
    /// The report and the certificate are for different TCBs.
    TcbMismatch,
    /// The report and the certificate are for different chips.
    ChipMismatch,
    /// Issued after the time given.
    NotYetValid,
    /// Its next update is before the time given.
    Expired,
}

/// In which way a service of collateral did not deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceFault {
    /// No connection, no trusted TLS, or nothing in time.
    Unreachable,
    /// It sends elsewhere, where nobody follows.
    Redirect,
    /// It answers with more than such an answer can be (R31).
    TooLarge,
    /// It answers with something else than was asked for.
    Malformed,
    /// It wants other credentials.
    Denied,
    /// It does not know the platform.
    Unknown,
    /// It has retired the TCB evaluation number that was asked for.
    Retired,
    /// It is busy for longer than anybody waits here.
    Busy,
    /// It failed, or understood the question differently.
    Failed,
}

/// Why a bundle of collateral cannot be taken. Its sets are judged one by one, with reasons of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleFault {
    /// Not in the known layout.
    Parse,
    /// Above 16 MiB (R31).
    TooLarge,
    /// Of a version that is not known here.
    Version,
    /// There is nothing in it.
    Empty,
    /// An item lacks others that it needs.
    Incomplete,
}

/// A rule of a [`Policy`](crate::Policy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// Evidence of a simulated machine.
    Simulated,
    /// A debugger or profiler may look inside.
    Debug,
    /// Attribute bits that must be zero.
    ReservedAttributes,
    /// May be moved to another machine.
    Migratable,
    /// Bound to a service TD.
    ServiceTd,
    /// The host can take pages away unnoticed.
    SeptVeDisable,
    /// Performance counters are on.
    Perfmon,
    /// The collateral knows less recoveries than asked for.
    TcbEvaluationNumber,
    /// The TCB status is not accepted.
    TcbStatus,
    /// Advisories are open.
    Advisories,
    /// A SEV-SNP machine is below the policy's floor, or the policy has none for it.
    SnpFloor,
    /// A SEV-SNP report that was asked for from too little privilege, or by the host.
    Vmpl,
    /// Signed by a key of the cloud provider.
    ProviderKey,
    /// There is no revocation list.
    Revocation,
    /// Cores may be shared.
    Smt,
    /// Memory may be on CXL devices.
    Cxl,
    /// Not confined to one socket.
    SingleSocket,
    /// Memory encryption may be weaker.
    Aes256Xts,
    /// The host can measure energy.
    Rapl,
    /// The host can read ciphertext.
    CiphertextHiding,
    /// The host can move pages.
    PageSwap,
    /// Memory was not checked for aliases.
    AliasCheck,
    /// The TDX module is below the policy's floor.
    TdxModule,
    /// The machine is not on the policy's list.
    Platform,
    /// MRCONFIGID, MROWNER or MROWNERCONFIG is not what the policy asks for (R25).
    ConfigRegister,
    /// A register is not what the policy asks for (R26).
    Registers,
}

impl Error {
    /// A stable name for this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Parse { fault, .. } => fault.code(),
            Self::NoChain(_) => "pck.no_chain",
            Self::Item { item, fault, .. } => item_code(*item, *fault),
            Self::Revoked(_) => "revoked",
            Self::QeReportSignature => "qe_report.signature",
            Self::QeReportBinding => "qe_report.binding",
            Self::QuoteSignature => "quote.signature",
            Self::Unverified(_) => "quote.unverified",
            Self::NoMatchingLevel(_) => "tcb.no_matching_level",
            Self::TcbRevoked(_) => "tcb.revoked",
            Self::TdxModule(_) => "tdx_module.mismatch",
            Self::Policy { rule, .. } => rule.code(),
            Self::OtherMachine(_) => "platform.mismatch",
            Self::Report { fault, .. } => fault.code(),
            Self::LocalVerifier(_) => "report.unverifiable",
            Self::ReportData => "binding.report_data",
            Self::CollateralIncomplete(_) => "collateral.incomplete",
            Self::CollateralTooLarge(_) => "collateral.too_large",
            Self::CollateralParse(_) => "collateral.parse",
            Self::CollateralKind { .. } => "collateral.wrong_kind",
            Self::CollateralUnavailable(_) => "collateral.unavailable",
            Self::EventLog { fault, .. } => fault.code(),
            Self::Tpm { fault, .. } => fault.code(),
            Self::RaTls { fault, .. } => fault.code(),
            Self::CollateralRollback { .. } => "collateral.rollback",
            Self::Service { fault, .. } => fault.code(),
            Self::Remembered(error) => error.code(),
            Self::Bundle { fault, .. } => fault.code(),
            Self::ClockBelowFloor { .. } => "clock.below_floor",
            Self::FloorDamaged(_) => "floor.damaged",
            Self::FloorOtherRoot => "floor.other_root",
            Self::StoreUnsafe { .. } => "store.unsafe",
            Self::Store(_) => "store.io",
            Self::Setting(_) => "usage.collateral",
            Self::Anchor => "usage.trust_anchor",
            Self::UnknownStatus(_) => "usage.tcb_status",
            Self::PolicyFile(_) => "usage.policy",
        }
    }

    /// The class of this failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Parse { .. }
            | Self::QeReportSignature
            | Self::QeReportBinding
            | Self::QuoteSignature
            | Self::Unverified(_)
            | Self::CollateralIncomplete(_)
            | Self::CollateralTooLarge(_)
            | Self::CollateralParse(_) => Class::Damaged,
            Self::Item { fault, .. } => fault.class(),
            Self::EventLog { fault, .. } => fault.class(),
            Self::Tpm { fault, .. } => fault.class(),
            Self::RaTls { fault, .. } => fault.class(),
            Self::Policy { rule, .. } => rule.class(),
            Self::Report { fault, .. } => fault.class(),
            Self::LocalVerifier(error) => error.class(),
            Self::NoMatchingLevel(_) => Class::TooOld,
            Self::NoChain(_)
            | Self::Revoked(_)
            | Self::TcbRevoked(_)
            | Self::TdxModule(_)
            | Self::OtherMachine(_)
            | Self::CollateralKind { .. }
            | Self::ReportData => Class::Refused,
            Self::CollateralUnavailable(_) => Class::Peer,
            Self::CollateralRollback { .. } => Class::TooOld,
            Self::Service { fault, .. } => fault.class(),
            Self::Remembered(error) => error.class(),
            Self::Bundle { .. } | Self::FloorDamaged(_) => Class::Damaged,
            Self::ClockBelowFloor { .. } => Class::Unavailable,
            Self::StoreUnsafe { .. } => Class::Refused,
            Self::Store(_) => Class::Other,
            Self::FloorOtherRoot | Self::Setting(_) => Class::Usage,
            Self::Anchor | Self::UnknownStatus(_) | Self::PolicyFile(_) => Class::Usage,
        }
    }

    /// What was found about the platform, where the evidence verified so far that it was found.
    pub fn tcb(&self) -> Option<&Tcb> {
        match self {
            Self::Policy { tcb, .. } | Self::TcbRevoked(tcb) => Some(tcb),
            _ => None,
        }
    }

    pub(crate) fn parse(fault: ParseFault, detail: impl Into<String>) -> Self {
        Self::Parse { fault, detail: plain(detail) }
    }

    pub(crate) fn report(fault: ReportFault, detail: impl Into<String>) -> Self {
        Self::Report { fault, detail: plain(detail) }
    }

    pub(crate) fn tpm(fault: TpmFault, detail: impl Into<String>) -> Self {
        Self::Tpm { fault, detail: plain(detail) }
    }

    pub(crate) fn event_log(fault: EventLogFault, detail: impl Into<String>) -> Self {
        Self::EventLog { fault, detail: plain(detail) }
    }

    pub(crate) fn ra_tls(fault: RaTlsFault, detail: impl Into<String>) -> Self {
        Self::RaTls { fault, detail: plain(detail) }
    }

    /// What failed, whoever it failed for: itself, or the error in [`Error::Remembered`].
    pub fn first(&self) -> &Self {
        match self {
            Self::Remembered(error) => error.first(),
            error => error,
        }
    }

    pub(crate) fn rollback(item: crate::collateral::ItemId, wanted: String, found: String) -> Self {
        Self::CollateralRollback { item: item.to_string(), wanted, found }
    }

    pub(crate) fn item(item: Item, fault: ItemFault, detail: impl Into<String>) -> Self {
        Self::Item { item, fault, detail: plain(detail) }
    }

    pub(crate) fn collateral_parse(detail: impl Into<String>) -> Self {
        Self::CollateralParse(plain(detail))
    }
}

/// One line of a bounded length: whoever sends evidence does not write the reader's log. Errors of libraries repeat what was sent.
fn plain(detail: impl Into<String>) -> String {
    const LIMIT: usize = 1000;
    let mut detail = detail.into();
    if detail.len() > LIMIT {
        detail = detail.chars().take(LIMIT / 4).chain("…".chars()).collect();
    }
    if detail.contains(char::is_control) {
        detail = detail.escape_debug().collect();
    }
    detail
}

impl ParseFault {
    const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "parse.too_large",
            Self::Truncated => "parse.truncated",
            Self::Version => "parse.version",
            Self::AttKeyType => "parse.att_key_type",
            Self::TeeType => "parse.tee_type",
            Self::QeVendor => "parse.qe_vendor",
            Self::BodyType => "parse.body_type",
            Self::BodySize => "parse.body_size",
            Self::CertType => "parse.cert_type",
            Self::Slack => "parse.slack",
            Self::TrailingBytes => "parse.trailing_bytes",
        }
    }
}

impl ReportFault {
    const fn code(self) -> &'static str {
        match self {
            Self::Size => "report.size",
            Self::Type => "report.type",
            Self::Reserved => "report.reserved",
            Self::Binding => "report.binding",
            Self::Mac => "report.mac",
            Self::Cpusvn => "report.cpusvn",
        }
    }

    const fn class(self) -> Class {
        match self {
            Self::Size | Self::Type | Self::Reserved | Self::Binding => Class::Damaged,
            Self::Mac | Self::Cpusvn => Class::Refused,
        }
    }
}

const fn item_code(item: Item, fault: ItemFault) -> &'static str {
    macro_rules! code {
        ($item:literal) => {
            match fault {
                ItemFault::Parse => concat!($item, ".parse"),
                ItemFault::Chain => concat!($item, ".chain"),
                ItemFault::ChainSignature => concat!($item, ".chain_signature"),
                ItemFault::UntrustedRoot => concat!($item, ".untrusted_root"),
                ItemFault::CertExpired => concat!($item, ".cert_expired"),
                ItemFault::Signature => concat!($item, ".signature"),
                ItemFault::WrongIssuer => concat!($item, ".wrong_issuer"),
                ItemFault::UnsupportedVersion => concat!($item, ".unsupported_version"),
                ItemFault::WrongId => concat!($item, ".wrong_id"),
                ItemFault::FmspcMismatch => concat!($item, ".fmspc_mismatch"),
                ItemFault::PceidMismatch => concat!($item, ".pceid_mismatch"),
                ItemFault::Mismatch => concat!($item, ".mismatch"),
                ItemFault::NoMatchingLevel => concat!($item, ".no_matching_level"),
                ItemFault::SignerMismatch => concat!($item, ".signer_mismatch"),
                ItemFault::TcbMismatch => concat!($item, ".tcb_mismatch"),
                ItemFault::ChipMismatch => concat!($item, ".chip_mismatch"),
                ItemFault::NotYetValid => concat!($item, ".not_yet_valid"),
                ItemFault::Expired => concat!($item, ".expired"),
            }
        };
    }
    match item {
        Item::TcbInfo => code!("tcb_info"),
        Item::QeIdentity => code!("qe_identity"),
        Item::PckCrl => code!("pck_crl"),
        Item::RootCrl => code!("root_crl"),
        Item::Pck => code!("pck"),
        Item::SnpReport => code!("snp"),
        Item::SnpChain => code!("snp_chain"),
        Item::SnpCrl => code!("snp_crl"),
    }
}

impl ItemFault {
    const fn class(self) -> Class {
        match self {
            Self::Parse | Self::Chain | Self::ChainSignature | Self::Signature => Class::Damaged,
            Self::CertExpired | Self::Expired | Self::NoMatchingLevel => Class::TooOld,
            Self::UntrustedRoot
            | Self::WrongIssuer
            | Self::UnsupportedVersion
            | Self::WrongId
            | Self::FmspcMismatch
            | Self::PceidMismatch
            | Self::Mismatch
            | Self::SignerMismatch
            | Self::TcbMismatch
            | Self::ChipMismatch
            | Self::NotYetValid => Class::Refused,
        }
    }
}

impl ServiceFault {
    const fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "collateral.service.unreachable",
            Self::Redirect => "collateral.service.redirect",
            Self::TooLarge => "collateral.service.too_large",
            Self::Malformed => "collateral.service.malformed",
            Self::Denied => "collateral.service.denied",
            Self::Unknown => "collateral.service.unknown_platform",
            Self::Retired => "collateral.service.retired",
            Self::Busy => "collateral.service.busy",
            Self::Failed => "collateral.service.failed",
        }
    }

    const fn class(self) -> Class {
        match self {
            Self::Retired => Class::TooOld,
            Self::Unreachable
            | Self::Redirect
            | Self::TooLarge
            | Self::Malformed
            | Self::Denied
            | Self::Unknown
            | Self::Busy
            | Self::Failed => Class::Peer,
        }
    }
}

impl BundleFault {
    const fn code(self) -> &'static str {
        match self {
            Self::Parse => "bundle.parse",
            Self::TooLarge => "bundle.too_large",
            Self::Version => "bundle.version",
            Self::Empty => "bundle.empty",
            Self::Incomplete => "bundle.incomplete",
        }
    }
}

impl Rule {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Simulated => "policy.simulated",
            Self::Debug => "policy.debug",
            Self::ReservedAttributes => "policy.reserved_attributes",
            Self::Migratable => "policy.migratable",
            Self::ServiceTd => "policy.service_td",
            Self::SeptVeDisable => "policy.sept_ve_disable_not_set",
            Self::Perfmon => "policy.perfmon",
            Self::TcbEvaluationNumber => "policy.tcb_evaluation_number",
            Self::TcbStatus => "policy.tcb_status",
            Self::Advisories => "policy.advisories",
            Self::SnpFloor => "policy.snp_floor",
            Self::Vmpl => "policy.vmpl",
            Self::ProviderKey => "policy.provider_key",
            Self::Revocation => "policy.revocation",
            Self::Smt => "policy.smt",
            Self::Cxl => "policy.cxl",
            Self::SingleSocket => "policy.single_socket",
            Self::Aes256Xts => "policy.aes_256_xts",
            Self::Rapl => "policy.rapl",
            Self::CiphertextHiding => "policy.ciphertext_hiding",
            Self::PageSwap => "policy.page_swap",
            Self::AliasCheck => "policy.alias_check",
            Self::TdxModule => "policy.tdx_module",
            Self::Platform => "policy.platform",
            Self::ConfigRegister => "policy.config_register",
            Self::Registers => "policy.registers",
        }
    }

    const fn class(self) -> Class {
        match self {
            Self::TcbEvaluationNumber
            | Self::TcbStatus
            | Self::Advisories
            | Self::SnpFloor
            | Self::TdxModule => Class::TooOld,
            Self::Simulated
            | Self::Debug
            | Self::ReservedAttributes
            | Self::Migratable
            | Self::ServiceTd
            | Self::SeptVeDisable
            | Self::Perfmon
            | Self::Vmpl
            | Self::ProviderKey
            | Self::Revocation
            | Self::Smt
            | Self::Cxl
            | Self::SingleSocket
            | Self::Aes256Xts
            | Self::Rapl
            | Self::CiphertextHiding
            | Self::PageSwap
            | Self::AliasCheck
            | Self::Platform
            | Self::ConfigRegister
            | Self::Registers => Class::Refused,
        }
    }
}

fn listed(shortfalls: &[Shortfall]) -> String {
    if shortfalls.is_empty() {
        String::new()
    } else {
        format!(" ({})", crate::status::remedies::listed(shortfalls))
    }
}

fn known_statuses() -> String {
    crate::TcbStatus::ALL.map(crate::TcbStatus::as_kebab).join(", ")
}
