//! Bounds that the process sets on itself before anything else, so that no environment variable has to.
#![allow(unsafe_code, reason = "two calls of the C library that have no safe wrapper")]

use std::panic;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::say;

/// Arenas of the allocator. Each beyond the first reserves 64 MiB of address space, and an enclave may have 256 in all; with
/// one alone, threads that verify wait for each other half of the time.
const ARENAS: libc::c_int = 2;

/// Few arenas, whatever the number of processors.
/// No core dumps, and no other process of the same user looks inside (R101). A defect says where it is and nothing of what
/// was at hand, whatever the environment asks for (R98, R99).
pub(crate) fn apply() {
    // SAFETY: it takes two integers, and no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
    // The TPM software stack prints on its own what it returns as well, unless its variable says otherwise.
    #[cfg(feature = "tpm")]
    if std::env::var_os("TSS2_LOG").is_none() {
        // SAFETY: no other thread runs yet, so none reads the environment.
        unsafe { std::env::set_var("TSS2_LOG", "all+none") };
    }
    // Best effort: some library operating systems do not have the call, and an enclave has no core dumps anyway.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or("an unknown place".into(), ToString::to_string);
        say::note(format_args!("internal error at {place}: this is a defect of bulla, please report it"));
    }));
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    /// R98, R99, B45: a panic says where it was, and neither its message nor a trace, whatever the environment asks for. The test
    /// runs itself once more, as the program that panics.
    #[test]
    fn r99_a_panic_prints_nothing_of_what_was_at_hand() {
        const SIGN: &str = "BULLA_TEST_PANICS";
        if env::var_os(SIGN).is_some() {
            super::apply();
            let canary = String::from("a canary ") + "at hand";
            panic!("{canary}");
        }
        let name = "limits::tests::r99_a_panic_prints_nothing_of_what_was_at_hand";
        let mut itself = Command::new(env::current_exe().unwrap());
        itself.args(["--exact", "--nocapture", name]).env(SIGN, "").env("RUST_BACKTRACE", "full");
        let ran = itself.output().unwrap();
        let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        assert!(!ran.status.success() && said.contains("internal error at "), "{said}");
        assert!(
            said.contains("limits.rs:") && !said.contains("canary at") && !said.contains("canary "),
            "{said}"
        );
        assert!(!said.contains("stack backtrace"), "{said}");
    }
}
