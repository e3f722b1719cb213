//! Why a machine did not do what was asked.

use bulla_crypto::{Class, EntropyFailure};

use crate::Mismatch;

/// Why a machine did not do what was asked. Each variant says who is at fault and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine is not there.
    #[error("no {machine} here: {reason}")]
    Unavailable {
        /// Which machine was asked for.
        machine: &'static str,
        /// What is missing, and what to do.
        reason: String,
    },

    /// The request is bound to another identity than the one that runs.
    #[error("not sealed to this identity: {0}")]
    OtherIdentity(Mismatch),

    /// The identity is right, but the processor's keys are not those of the sealing.
    #[error(
        "sealed on another machine, or before this one got new keys (a firmware update, an owner epoch reset or a new \
         processor can do that): open it where it was sealed, or by another slot"
    )]
    OtherMachine,

    /// The request names a security version above the current one (R5).
    #[error("the {register} is too old: sealed at {sealed}, now {current}; bring it back up to open")]
    TcbTooOld {
        /// Which security version.
        register: &'static str,
        /// Its value in the request, in hexadecimal for CPUSVN.
        sealed: String,
        /// Its value now.
        current: String,
    },

    /// The request is for another kind of machine, or a simulated one where a real one is needed or the reverse (R15).
    #[error("this needs a {wanted} machine, and the one at hand is {found}")]
    WrongBackend {
        /// The kind that the request names.
        wanted: &'static str,
        /// The kind that was asked.
        found: &'static str,
    },

    /// A recorded request holds what no sealing writes (R2, R3, B27).
    #[error("the recorded key request is invalid: {0}")]
    InvalidRequest(&'static str),

    /// The policy binds a key to too little (R7, R14).
    #[error("the policy binds too little: {0}")]
    UnderBoundPolicy(&'static str),

    /// The policy is not one.
    #[error("not a policy: {0}")]
    InvalidPolicy(String),

    /// The policy is not for the program that seals: it could not open what it seals.
    #[error(
        "the policy is for {register} {wanted}, and here it is {found}: seal under a policy that this program meets"
    )]
    OutsidePolicy {
        /// Which register.
        register: &'static str,
        /// What the policy wants of it.
        wanted: String,
        /// Its value here.
        found: String,
    },

    /// The floor is above what was recorded (R6).
    #[error(
        "sealed at {register} {sealed}, and the floor is {floor}: seal it again at the present {register}"
    )]
    BelowFloor {
        /// Which version.
        register: &'static str,
        /// Its value when sealing.
        sealed: String,
        /// The lowest that is accepted; for CPUSVN, all that are.
        floor: String,
    },

    /// Somebody wants a floor lower than it was (R83).
    #[error("a floor only rises: {register} is at {from}, and {to} would lower it")]
    LoweredFloor {
        /// Which version.
        register: &'static str,
        /// Where the floor is.
        from: String,
        /// Where it was wanted.
        to: String,
    },

    /// A recorded floor is not what was written.
    #[error("the recorded floor is invalid: {0}")]
    InvalidFloor(&'static str),

    /// The machine cannot do this.
    #[error("{machine} cannot {what}")]
    Unsupported {
        /// Which machine.
        machine: &'static str,
        /// What was asked of it.
        what: &'static str,
    },

    /// The machine returned an all-zero key or measurement (R13).
    #[error("the machine returned an all-zero {0}: do not use it, its firmware or microcode is broken")]
    Zero(&'static str),

    /// A local report was not made on this machine, or was changed (R35, B17).
    #[error("the local report was not made on this machine or was changed")]
    BadReport,

    /// Evidence about this program itself is not what the machine says of it (R37, R54).
    #[error(
        "the quote that came back is not this program's own: {0}; the host's quoting service is at fault, try again"
    )]
    SelfEvidence(&'static str),

    /// The processor refused an instruction with a status that no other variant stands for.
    #[error(
        "{leaf} failed with status {status}: this is a defect here or of the processor, please report it"
    )]
    Instruction {
        /// The leaf.
        leaf: &'static str,
        /// EAX.
        status: u32,
    },

    /// A device or the kernel before it failed, or gave what it never gives.
    #[error("{device} {fault}")]
    Device {
        /// The device.
        device: &'static str,
        /// What it did.
        fault: String,
    },

    /// There is no good randomness (R61).
    #[error(transparent)]
    Entropy(#[from] EntropyFailure),

    /// Another party that the machine relies on refused or failed, for example a key provider.
    #[error(transparent)]
    Delegate(Box<Delegate>),
}

/// The failure of another party that a machine relies on, with its own code and class.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct Delegate {
    /// The other party's code.
    pub code: &'static str,
    /// The other party's class.
    pub class: Class,
    /// The other party's error.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    /// A stable name for this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "machine.unavailable",
            Self::OtherIdentity(_) => "machine.other_identity",
            Self::OtherMachine => "machine.other_machine",
            Self::TcbTooOld { .. } => "machine.tcb_too_old",
            Self::WrongBackend { .. } => "machine.wrong_backend",
            Self::InvalidRequest(_) => "request.invalid",
            Self::UnderBoundPolicy(_) => "policy.under_bound",
            Self::InvalidPolicy(_) => "policy.invalid",
            Self::OutsidePolicy { .. } => "policy.outside",
            Self::BelowFloor { .. } => "machine.below_floor",
            Self::LoweredFloor { .. } => "floor.lowered",
            Self::InvalidFloor(_) => "floor.invalid",
            Self::Unsupported { .. } => "machine.unsupported",
            Self::Zero(_) => "machine.zero",
            Self::BadReport => "report.bad",
            Self::SelfEvidence(_) => "evidence.self",
            Self::Instruction { .. } => "machine.instruction",
            Self::Device { .. } => "machine.device",
            Self::Entropy(_) => "entropy.failure",
            Self::Delegate(delegate) => delegate.code,
        }
    }

    /// The class of this failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Unavailable { .. } | Self::SelfEvidence(_) => Class::Unavailable,
            Self::OtherIdentity(_)
            | Self::OtherMachine
            | Self::WrongBackend { .. }
            | Self::BadReport
            | Self::OutsidePolicy { .. }
            | Self::LoweredFloor { .. } => Class::Refused,
            Self::TcbTooOld { .. } | Self::BelowFloor { .. } => Class::TooOld,
            Self::InvalidRequest(_) | Self::InvalidFloor(_) => Class::Damaged,
            Self::Unsupported { .. } | Self::UnderBoundPolicy(_) | Self::InvalidPolicy(_) => Class::Usage,
            Self::Zero(_) | Self::Instruction { .. } | Self::Device { .. } | Self::Entropy(_) => Class::Other,
            Self::Delegate(delegate) => delegate.class,
        }
    }
}
