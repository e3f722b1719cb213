//! Why one request got no key.

use bulla_protocol::Code;

/// Why one request got no key: a coarse code for the peer, and the precise cause for the operator (R55).
///
/// The cause is a fixed name and never carries a value, so it can be logged and counted as it is (R97).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) cause: &'static str,
    /// After how many seconds coming back helps, where that is known better than by the code.
    pub(crate) retry_after: Option<u32>,
}

impl Refusal {
    pub(crate) const fn new(code: Code, cause: &'static str) -> Self {
        Self { code, cause, retry_after: None }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::new(code, code.as_str())
    }
}
