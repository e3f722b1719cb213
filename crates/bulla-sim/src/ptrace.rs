//! ptrace(2), as far as a processor needs it that answers for a whole program: nix knows no signal above 31, and no group-stops.
#![allow(unsafe_code, reason = "ptrace(2) and fork(2) have no safe wrapper that is enough")]

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use libc::{c_int, c_uint, c_void, siginfo_t, user_regs_struct};
use rustix::process::{WaitOptions, wait as wait_for};

/// Every thread and child of it is traced, too, and all of them end with us.
const OPTIONS: c_int = libc::PTRACE_O_EXITKILL
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACEEXEC;

/// The exit code of a shell for a program that is not there.
const NOT_STARTED: c_int = 127;

/// A thread that this one traces. What is asked of it fails with ESRCH where it does not stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tracee(pub(crate) i32);

/// Why a thread stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It has ended, with this code.
    Exited(i32),
    /// It was ended by this signal.
    Killed(c_int),
    /// It is about to get this signal.
    Signal(c_int),
    /// It was stopped by this signal, with its whole process.
    Group(c_int),
    /// It runs another program from now on.
    Exec,
    /// It has come to be, or made another.
    Other,
}

/// Starts a process that does `work` and nothing else: it ends at once, and finishes nothing that this one has begun.
///
/// # Errors
/// Of fork(2); and if there is another thread, which the new process would miss.
pub(crate) fn fork(work: impl FnOnce()) -> io::Result<i32> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("this process has other threads"));
    }
    // SAFETY: no other thread holds a lock that the new process would wait for.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            work();
            // SAFETY: it takes an integer and does not return.
            unsafe { libc::_exit(NOT_STARTED) }
        }
        process => Ok(process),
    }
}

/// Waits until something happens to a tracee.
pub(crate) fn wait() -> io::Result<(Tracee, Stop)> {
    const GROUP_STOPS: [c_int; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    let options = WaitOptions::from_bits_retain(libc::__WALL as u32);
    let (thread, status) =
        rustix::io::retry_on_intr(|| wait_for(options))?.ok_or(io::ErrorKind::WouldBlock)?;
    let signal = status.stopping_signal().unwrap_or_default();
    let stop = match (status.exit_status(), status.terminating_signal(), status.as_raw() >> 16) {
        (Some(code), ..) => Stop::Exited(code),
        (_, Some(signal), _) => Stop::Killed(signal),
        (.., 0) => Stop::Signal(signal),
        (.., libc::PTRACE_EVENT_STOP) if GROUP_STOPS.contains(&signal) => Stop::Group(signal),
        (.., libc::PTRACE_EVENT_EXEC) => Stop::Exec,
        _ => Stop::Other,
    };
    Ok((Tracee(thread.as_raw_nonzero().get()), stop))
}

impl Tracee {
    /// Traces a process without stopping it.
    pub(crate) fn seize(process: i32) -> io::Result<Self> {
        let tracee = Self(process);
        // SAFETY: it takes a number.
        unsafe { tracee.ask(libc::PTRACE_SEIZE, OPTIONS as usize as *mut c_void) }?;
        Ok(tracee)
    }

    pub(crate) fn registers(self) -> io::Result<user_regs_struct> {
        let mut registers = MaybeUninit::<user_regs_struct>::uninit();
        // SAFETY: it writes as many bytes as there are.
        unsafe { self.ask(libc::PTRACE_GETREGS, registers.as_mut_ptr().cast()) }?;
        // SAFETY: it succeeded, so it has written all of them.
        Ok(unsafe { registers.assume_init() })
    }

    pub(crate) fn set_registers(self, mut registers: user_regs_struct) -> io::Result<()> {
        // SAFETY: it reads as many bytes as there are.
        unsafe { self.ask(libc::PTRACE_SETREGS, (&raw mut registers).cast()) }
    }

    /// What is known of the signal that it is about to get.
    pub(crate) fn signal(self) -> io::Result<siginfo_t> {
        let mut signal = MaybeUninit::<siginfo_t>::zeroed();
        // SAFETY: it writes at most as many bytes as there are.
        unsafe { self.ask(libc::PTRACE_GETSIGINFO, signal.as_mut_ptr().cast()) }?;
        // SAFETY: all of it was zero, which is a signal, too, and it may have written more.
        Ok(unsafe { signal.assume_init() })
    }

    pub(crate) fn set_signal(self, mut signal: siginfo_t) -> io::Result<()> {
        // SAFETY: it reads as many bytes as there are.
        unsafe { self.ask(libc::PTRACE_SETSIGINFO, (&raw mut signal).cast()) }
    }

    /// Lets it go on, with a signal or with none (0).
    pub(crate) fn go_on(self, signal: c_int) -> io::Result<()> {
        // SAFETY: it takes a number.
        unsafe { self.ask(libc::PTRACE_CONT, signal as usize as *mut c_void) }
    }

    /// Leaves it stopped until somebody sends SIGCONT.
    pub(crate) fn stay(self) -> io::Result<()> {
        // SAFETY: it takes nothing.
        unsafe { self.ask(libc::PTRACE_LISTEN, ptr::null_mut()) }
    }

    /// Sends a signal to its process.
    pub(crate) fn send(self, signal: c_int) -> io::Result<()> {
        // SAFETY: it takes two integers.
        if unsafe { libc::kill(self.0, signal) } == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// # Safety
    /// `data` is what the request takes: a number, or a pointer to what it reads or writes.
    unsafe fn ask(self, request: c_uint, data: *mut c_void) -> io::Result<()> {
        // SAFETY: the caller vouches for `data`, and the kernel checks the rest.
        let result = unsafe { libc::ptrace(request, self.0, ptr::null_mut::<c_void>(), data) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
