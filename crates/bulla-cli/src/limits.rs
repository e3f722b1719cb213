//! Bounds that the process sets on itself before anything else, so that no environment variable has to.
#![allow(unsafe_code, reason = "one call of the C library that has no safe wrapper")]

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// One arena for the allocator: each further one would reserve 64 MiB of address space, which an enclave does not have.
/// No core dumps, and no other process of the same user looks inside (R101).
pub(crate) fn apply() {
    // SAFETY: it takes two integers, and no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    // Best effort: some library operating systems do not have the call, and an enclave has no core dumps anyway.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
