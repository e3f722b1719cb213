//! What a peer is told when it is refused.

use std::fmt;

use bulla_crypto::Class;
use serde::{Deserialize, Serialize};

/// The coarse reason that a peer is told (R55). The operator's log has the precise one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Code {
    /// The bytes are not a request.
    Malformed,
    /// A version, suite, algorithm, binding or kind of evidence that this provider does not know.
    Unsupported,
    /// Above a limit of size.
    TooLarge,
    /// No such resource.
    NotFound,
    /// The provider has no room now; come back later.
    Busy,
    /// The peer took too long.
    Timeout,
    /// The challenge was used, has expired, or was given to another connection.
    StaleChallenge,
    /// The evidence does not cover this request.
    BindingMismatch,
    /// The evidence does not verify.
    BadEvidence,
    /// The evidence verifies, and the policy does not allow what it shows.
    PolicyDenied,
    /// The platform's security version is too old for the policy.
    TcbTooOld,
    /// The evidence was made on another machine.
    WrongPlatform,
    /// The public key in the evidence is of low order or not canonical.
    BadPublicKey,
    /// The root that the request names is not one that this provider has.
    UnknownRoot,
    /// The guest is acceptable, and no rule of the policy gives it a key with this path, purpose, algorithm, length or binding.
    UsageDenied,
    /// The manifest entitles the guest to a lower SVN than the one that it asks for.
    SvnTooHigh,
    /// There is no manifest, its signatures are wrong, or it is for another owner, product or image.
    ManifestInvalid,
    /// The attested session is over: its time or number of keys, or what it was judged by has changed.
    SessionEnded,
    /// The guest or its peer has had what it may have for now.
    Quota,
    /// The provider has started and cannot give keys yet, or is about to end.
    NotReady,
    /// What is needed to judge the evidence cannot be had now.
    CollateralUnavailable,
    /// The provider cannot prove its own identity now.
    SelfEvidenceInvalid,
    /// A failure inside the provider.
    Internal,
}

impl Code {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Malformed,
        Self::Unsupported,
        Self::TooLarge,
        Self::NotFound,
        Self::Busy,
        Self::Timeout,
        Self::StaleChallenge,
        Self::BindingMismatch,
        Self::BadEvidence,
        Self::PolicyDenied,
        Self::TcbTooOld,
        Self::WrongPlatform,
        Self::BadPublicKey,
        Self::UnknownRoot,
        Self::UsageDenied,
        Self::SvnTooHigh,
        Self::ManifestInvalid,
        Self::SessionEnded,
        Self::Quota,
        Self::NotReady,
        Self::CollateralUnavailable,
        Self::SelfEvidenceInvalid,
        Self::Internal,
    ];

    /// The code as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::TooLarge => "too-large",
            Self::NotFound => "not-found",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::StaleChallenge => "stale-challenge",
            Self::BindingMismatch => "binding-mismatch",
            Self::BadEvidence => "bad-evidence",
            Self::PolicyDenied => "policy-denied",
            Self::TcbTooOld => "tcb-too-old",
            Self::WrongPlatform => "wrong-platform",
            Self::BadPublicKey => "bad-public-key",
            Self::UnknownRoot => "unknown-root",
            Self::UsageDenied => "usage-denied",
            Self::SvnTooHigh => "svn-too-high",
            Self::ManifestInvalid => "manifest-invalid",
            Self::SessionEnded => "session-ended",
            Self::Quota => "quota",
            Self::NotReady => "not-ready",
            Self::CollateralUnavailable => "collateral-unavailable",
            Self::SelfEvidenceInvalid => "self-evidence-invalid",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status that goes with the code.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Malformed | Self::Unsupported | Self::BadPublicKey => 400,
            Self::StaleChallenge | Self::BindingMismatch | Self::BadEvidence | Self::SessionEnded => 401,
            Self::PolicyDenied | Self::TcbTooOld | Self::WrongPlatform => 403,
            Self::UsageDenied | Self::SvnTooHigh | Self::ManifestInvalid => 403,
            Self::NotFound | Self::UnknownRoot => 404,
            Self::Timeout => 408,
            Self::TooLarge => 413,
            Self::Quota => 429,
            Self::Internal => 500,
            Self::Busy | Self::NotReady | Self::CollateralUnavailable | Self::SelfEvidenceInvalid => 503,
        }
    }

    /// After how many seconds the same request may well succeed; `None` where coming back does not help. It is in the header
    /// `Retry-After` of a refusal.
    pub const fn retry_after(self) -> Option<u32> {
        match self {
            Self::Busy => Some(1),
            Self::NotReady | Self::SelfEvidenceInvalid => Some(5),
            Self::CollateralUnavailable | Self::Quota => Some(30),
            _ => None,
        }
    }

    /// One sentence for a person, without a full stop.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "the request is malformed",
            Self::Unsupported => "the request needs something that this provider does not support",
            Self::TooLarge => "the request is too large",
            Self::NotFound => "there is no such resource",
            Self::Busy => "the provider is busy: try again later",
            Self::Timeout => "the request took too long to arrive",
            Self::StaleChallenge => {
                "the challenge is used up, expired or of another connection: take a new one"
            }
            Self::BindingMismatch => "the evidence does not cover this request",
            Self::BadEvidence => "the evidence does not verify",
            Self::PolicyDenied => "the provider's policy does not allow this guest",
            Self::TcbTooOld => "the platform's security version is too old: its owner has to update it",
            Self::WrongPlatform => "the guest runs on another machine than the provider",
            Self::BadPublicKey => "the public key in the evidence is of low order or not canonical",
            Self::UnknownRoot => "the provider does not have the root that this key came from",
            Self::UsageDenied => "the provider's policy does not give this guest a key of this kind",
            Self::SvnTooHigh => "the guest's manifest does not entitle it to so high an SVN",
            Self::ManifestInvalid => "there is no manifest that entitles this guest to keys of this owner",
            Self::SessionEnded => "the session is over: begin a new one",
            Self::Quota => "this guest or its peer has had what it may have for now: try again later",
            Self::NotReady => "the provider is not ready: try again later",
            Self::CollateralUnavailable => "the provider has no fresh collateral to judge the evidence with",
            Self::SelfEvidenceInvalid => "the provider cannot prove its own identity now",
            Self::Internal => "the provider failed: its log says why",
        }
    }

    /// The class of the refusal, as its receiver sees it.
    pub const fn class(self) -> Class {
        match self {
            Self::Malformed | Self::Unsupported | Self::TooLarge | Self::NotFound => Class::Peer,
            Self::Busy | Self::Timeout | Self::StaleChallenge => Class::Peer,
            Self::SessionEnded | Self::Quota | Self::NotReady => Class::Peer,
            Self::CollateralUnavailable | Self::SelfEvidenceInvalid | Self::Internal => Class::Peer,
            Self::BindingMismatch | Self::BadEvidence | Self::PolicyDenied | Self::WrongPlatform => {
                Class::Refused
            }
            Self::BadPublicKey | Self::UnknownRoot | Self::UsageDenied => Class::Refused,
            Self::SvnTooHigh | Self::ManifestInvalid => Class::Refused,
            Self::TcbTooOld => Class::TooOld,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// A problem document (RFC 9457), media type `application/problem+json`.
///
/// ```
/// use bulla_protocol::{Code, Problem};
///
/// let problem = Problem::from(Code::WrongPlatform);
/// assert_eq!((problem.status, problem.r#type.as_str()), (403, "urn:bulla:problem:wrong-platform"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:bulla:problem:` and the code.
    pub r#type: String,
    /// One sentence for a person.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The code; the one field to decide by.
    pub code: Code,
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self {
            r#type: format!("urn:bulla:problem:{}", code.as_str()),
            title: code.title().into(),
            status: code.http_status(),
            code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_on_the_wire_is_its_name() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
