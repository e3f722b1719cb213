//! What kind of failure an error is.

/// The class of a failure, shared by the errors of every bulla crate.
///
/// Each crate's error maps itself to one class with `class()`; the command maps the class to its exit code in one
/// exhaustive match, which is why this enum is not `#[non_exhaustive]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The caller asked for something that cannot be: an argument, a setting or a combination is wrong.
    Usage,
    /// An identity or a policy does not allow it.
    Refused,
    /// The data is damaged or was tampered with.
    Damaged,
    /// The platform or the data is older than what is required: a TCB, an SVN, an epoch.
    TooOld,
    /// The machine, or a part of it that is needed, is not available.
    Unavailable,
    /// A peer or the network between failed or misbehaved.
    Peer,
    /// Anything else, for example an input or output error of the local system.
    Other,
}
