//! Answers `ENCLU` where the processor does not, in this process.
//!
//! Outside an enclave `ENCLU` is #UD on a processor without SGX and #GP on one with it; they arrive as SIGILL and
//! SIGSEGV. A handler for both looks whether the faulting instruction is `ENCLU` and the thread has [`enter`]ed
//! a simulated enclave; if so it does what the leaf would do and steps over it, if not the signal goes where it would
//! have gone. So the shipped backend runs with its own instruction and no test double in between.
//!
//! The signal is synchronous: the thread stands at an `ENCLU` of ours, not inside an allocator or under a lock, so
//! ordinary code may run in the handler. A panic in it aborts, as in any `extern "C"` function.
#![allow(unsafe_code, reason = "a signal handler and the registers of an instruction")]

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use libc::{c_int, c_void, siginfo_t, ucontext_t};

use crate::cpu::Fault;
use crate::enclu::{Core, ENCLU, Operands, Registers};

const RAX: usize = libc::REG_RAX as usize;
const RBX: usize = libc::REG_RBX as usize;
const RCX: usize = libc::REG_RCX as usize;
const RDX: usize = libc::REG_RDX as usize;
const RIP: usize = libc::REG_RIP as usize;
const EFL: usize = libc::REG_EFL as usize;

thread_local! {
    static ENTERED: Cell<*const Core> = const { Cell::new(ptr::null()) };
}

/// Runs `work` in the enclave of `core`, on this thread. It nests, and a panic leaves the enclave too.
pub(crate) fn enter<T>(core: &Core, work: impl FnOnce() -> T) -> T {
    struct Leave(*const Core);
    impl Drop for Leave {
        fn drop(&mut self) {
            ENTERED.set(self.0);
        }
    }
    let _leave = Leave(ENTERED.replace(core));
    work()
}

static PREVIOUS: OnceLock<[Option<libc::sigaction>; 2]> = OnceLock::new();
const SIGNALS: [c_int; 2] = [libc::SIGILL, libc::SIGSEGV];

/// Installs the handler, once for the process.
pub(crate) fn install() -> Result<(), io::Error> {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    // The handler may be needed the moment it is there, so what it passes other signals on to is known before.
    PREVIOUS.get_or_init(|| SIGNALS.map(action));
    match INSTALLED.get_or_init(|| SIGNALS.into_iter().all(handle)) {
        true => Ok(()),
        false => Err(io::Error::other("the signal handler of the simulated processor cannot be installed")),
    }
}

fn action(signal: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: with no new action, sigaction(2) only writes the present one to `action`.
    let failed = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0;
    // SAFETY: it succeeded, so it has written `action`.
    (!failed).then(|| unsafe { action.assume_init() })
}

fn handle(signal: c_int) -> bool {
    // SAFETY: an all-zero sigaction is a valid one: the default handler, an empty mask, no flags.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = on_signal as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
    // Not on an alternate stack, which is too small for arithmetic.
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: `action` is complete, and `on_signal` has the signature that SA_SIGINFO asks for.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) == 0 }
}

extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a ucontext_t that is ours until the handler returns.
    let registers = unsafe { &mut (*context.cast::<ucontext_t>()).uc_mcontext.gregs };
    let core = ENTERED.get();
    // SAFETY: the instruction at RIP is the one that the processor has just fetched.
    if core.is_null() || !unsafe { is_enclu(registers[RIP]) } {
        return pass_on(signal, info, context);
    }
    // SAFETY: `enter` keeps what the pointer was made of borrowed for as long as the pointer is there.
    let core = unsafe { &*core };
    let mut operands = Registers {
        rax: registers[RAX] as u64,
        rbx: registers[RBX] as u64,
        rcx: registers[RCX] as u64,
        rdx: registers[RDX] as u64,
        rflags: registers[EFL] as u64,
    };
    // SAFETY: whoever executes an ENCLU vouches for its operands; what is not mapped faults, as it would there.
    match core.execute(&mut operands, &unsafe { Here::vouched_for() }) {
        Ok(()) => {
            registers[RAX] = operands.rax as i64;
            registers[EFL] = operands.rflags as i64;
            registers[RIP] += ENCLU.len() as i64;
        }
        // Both arrive as SIGSEGV from a real processor, and nobody has a handler that could mend them.
        Err(Fault::GeneralProtection | Fault::PageFault) => end_by(libc::SIGSEGV),
    }
}

/// Whether the instruction at `rip` is `ENCLU`.
///
/// # Safety
/// There is an instruction at `rip`.
unsafe fn is_enclu(rip: i64) -> bool {
    let code = ptr::with_exposed_provenance::<u8>(rip as usize);
    // SAFETY: a byte is read only if those before it are of ENCLU, so not beyond the instruction's end. After a jump to
    // nowhere this faults as the jump has.
    ENCLU.iter().enumerate().all(|(at, byte)| unsafe { code.wrapping_add(at).read_volatile() } == *byte)
}

/// The memory of this process.
struct Here(());

impl Here {
    /// # Safety
    /// Whatever is read or written is mapped, is bytes, and nobody else's; or the process is meant to end there.
    const unsafe fn vouched_for() -> Self {
        Self(())
    }
}

impl Operands for Here {
    fn read<const N: usize>(&self, address: u64) -> Result<[u8; N], Fault> {
        // SAFETY: whoever made this vouches for the bytes.
        Ok(unsafe { ptr::with_exposed_provenance::<[u8; N]>(address as usize).read_unaligned() })
    }

    fn write<const N: usize>(&self, address: u64, bytes: &[u8; N]) -> Result<(), Fault> {
        // SAFETY: whoever made this vouches for the bytes.
        unsafe { ptr::with_exposed_provenance_mut::<[u8; N]>(address as usize).write_unaligned(*bytes) };
        Ok(())
    }
}

/// What would have happened to the signal without us.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS.get().and_then(|previous| {
        SIGNALS
            .iter()
            .zip(previous)
            .find(|(each, _)| **each == signal)
            .and_then(|(_, action)| action.as_ref())
    });
    match previous {
        Some(action) if ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction) => {
            if action.sa_flags & libc::SA_SIGINFO != 0 {
                type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
                // SAFETY: it was installed with SA_SIGINFO, so it is a function of this signature.
                let handler: Handler = unsafe { std::mem::transmute(action.sa_sigaction) };
                handler(signal, info, context);
            } else {
                // SAFETY: it was installed without SA_SIGINFO, so it is a function of this signature.
                let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(action.sa_sigaction) };
                handler(signal);
            }
        }
        // Ignoring a fault would only repeat it; the kernel ends the process then, too.
        _ => end_by(signal),
    }
}

/// Ends the process by `signal`, here and now.
fn end_by(signal: c_int) {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `set` is initialised before it is used; the default action and raising a signal touch no memory of ours.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        // The kernel blocks a signal while its handler runs.
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
        libc::raise(signal);
    }
}

#[cfg(test)]
mod tests;
