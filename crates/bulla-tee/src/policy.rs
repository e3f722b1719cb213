//! What a key is bound to.

/// What a new key is bound to. There is no way to write a policy that selects no identity register (R14).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// Exactly this program: MRENCLAVE, or the bound registers of a TDX guest (R8).
    #[default]
    Measurement,
}
