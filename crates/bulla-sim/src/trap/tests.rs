use std::arch::asm;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use bulla_crypto::{Role, RoleHash, Secret, SystemRandom};
use bulla_tee::sgx::arch::{Attributes, KEYNAME_SEAL, Keyrequest, ReportMac, Targetinfo};
use bulla_tee::sgx::{Enclave, Processor};
use bulla_tee::{EvidenceKind, LocalVerifier, Policy, Tee};
use zerocopy::{FromZeros, IntoBytes};

use super::*;
use crate::EnclaveIdentity;
use crate::cpu::Cpu;
use crate::enclu::{EGETKEY, EREPORT, EVERIFYREPORT2};

fn core() -> Core {
    let svn =
        |first| [[first, 1, 2, 3, 4, 5, 6, 7], bulla_tee::SIMULATED_MARKER].concat().try_into().unwrap();
    let cpu = Cpu {
        seal_fuses: Secret::new([1; 32]),
        report_key_seed: Secret::new([2; 32]),
        tdx_report_key: Secret::new([3; 32]),
        owner_epoch: [4; 16],
        cpusvn: svn(5),
        tee_tcb_svn: svn(6),
        mrseam: [7; 48],
        mrsignerseam: [0; 48],
        seam_attributes: [0; 8],
    };
    Core { cpu: Arc::new(cpu), enclave: EnclaveIdentity::new([8; 32], [9; 32], 10, 11) }
}

/// R15: a backend for real processors refuses this one by the marker in its CPUSVN, whatever it is asked, and a backend for
/// simulated ones refuses a processor without it.
#[test]
fn a_backend_for_real_processors_does_not_work_here() {
    install().unwrap();
    let enclave = |processor| Enclave::new(processor, Box::new(SystemRandom), None);
    let found = |error: bulla_tee::Error| match error {
        bulla_tee::Error::WrongBackend { found, .. } => found,
        error => panic!("{error}"),
    };
    let simulated = core();
    let (request, _) =
        enter(&simulated, || enclave(Processor::Simulated).bind(&Policy::measurement())).unwrap();
    enter(&simulated, || {
        let enclave = enclave(Processor::Real);
        let data = RoleHash::new(Role::ProviderKey, &[]);
        assert_eq!(found(enclave.identity().unwrap_err()), "simulated");
        assert_eq!(found(enclave.bind(&Policy::measurement()).err().unwrap()), "simulated");
        assert_eq!(found(enclave.derive(&request).err().unwrap()), "simulated");
        let target = Targetinfo::new_zeroed();
        assert_eq!(found(enclave.attest(&data, EvidenceKind::Report(&target)).unwrap_err()), "simulated");
        assert_eq!(found(enclave.verify_report(&ReportMac::new_zeroed()).unwrap_err()), "simulated");
    });
    let mut cpu = Arc::try_unwrap(core().cpu).ok().unwrap();
    cpu.cpusvn = [5; 16];
    let unmarked = Core { cpu: Arc::new(cpu), ..core() };
    enter(&unmarked, || assert_eq!(found(enclave(Processor::Simulated).identity().unwrap_err()), "real"));
}

#[repr(C, align(512))]
struct Operands {
    request: [u8; 512],
    key: [u8; 16],
}

impl Operands {
    fn new(request: &Keyrequest) -> Self {
        Self { request: request.as_bytes().try_into().unwrap(), key: [0xAA; 16] }
    }

    fn egetkey(&mut self) -> (u64, u64) {
        enclu(EGETKEY, (&raw const self.request).addr(), (&raw mut self.key).expose_provenance())
    }
}

fn request() -> Keyrequest {
    Keyrequest {
        keyname: KEYNAME_SEAL,
        keypolicy: 1,
        attribute_mask: Attributes { flags: 3, xfrm: 0 },
        ..Keyrequest::new_zeroed()
    }
}

/// Executes ENCLU with every status flag set before it, and returns RAX and RFLAGS after it.
fn enclu_of_three(leaf: u32, rbx: usize, rcx: usize, rdx: usize) -> (u64, u64) {
    let (rax, flags): (u64, u64);
    // SAFETY: the operands of the tests are what they are meant to be, or the process is meant to end here.
    unsafe {
        asm!(
            "xchg {rbx}, rbx",
            "pushfq",
            "or qword ptr [rsp], 0x8D5",
            "popfq",
            "enclu",
            "pushfq",
            "pop {flags}",
            "xchg {rbx}, rbx",
            rbx = inout(reg) rbx => _,
            flags = out(reg) flags,
            inout("rax") u64::from(leaf) => rax,
            inout("rcx") rcx => _,
            inout("rdx") rdx => _,
        );
    }
    (rax, flags & 0x8D5)
}

fn enclu(leaf: u32, rbx: usize, rcx: usize) -> (u64, u64) {
    enclu_of_three(leaf, rbx, rcx, 0)
}

#[test]
fn the_instruction_is_answered_and_sets_its_flags() {
    install().unwrap();
    let core = core();
    let mut operands = Operands::new(&request());
    assert_eq!(enter(&core, || operands.egetkey()), (0, 0));
    assert_eq!(operands.key, *core.cpu.egetkey(&core.enclave, &request()).unwrap().expose());
}

/// A refusal is a status with ZF, and the output is as it was.
#[test]
fn a_status_leaves_the_output_alone() {
    install().unwrap();
    let zf = 1 << 6;
    let cases =
        [(Keyrequest { isvsvn: 12, ..request() }, 64), (Keyrequest { cpusvn: [1; 16], ..request() }, 32)];
    for (request, status) in cases {
        let mut operands = Operands::new(&request);
        assert_eq!(enter(&core(), || operands.egetkey()), (status, zf));
        assert_eq!(operands.key, [0xAA; 16]);
    }
}

#[test]
fn entering_nests_and_a_panic_leaves() {
    install().unwrap();
    let (outer, inner) = (core(), Core { enclave: EnclaveIdentity::new([0; 32], [0; 32], 0, 0), ..core() });
    let key = || {
        let mut operands = Operands::new(&request());
        operands.egetkey();
        operands.key
    };
    enter(&outer, || {
        let own = key();
        assert_ne!(enter(&inner, key), own);
        assert_eq!(key(), own);
        let panicked = std::panic::catch_unwind(|| enter(&inner, || std::panic::resume_unwind(Box::new(()))));
        assert!(panicked.is_err());
        assert_eq!(key(), own);
    });
    assert!(ENTERED.get().is_null());
}

const CHILD: &str = "BULLA_SIM_TRAP_TEST_CHILD";

/// Runs `fatal` in a process of its own, by running the test `name` again there, and returns how that ended.
fn end_of(name: &str, fatal: impl FnOnce()) -> ExitStatus {
    end_of_case(name, 0, fatal)
}

/// The same for one of several cases of a test.
fn end_of_case(name: &str, case: usize, fatal: impl FnOnce()) -> ExitStatus {
    if let Ok(wanted) = std::env::var(CHILD) {
        if wanted == case.to_string() {
            fatal();
            std::process::exit(0);
        }
        return ExitStatus::from_raw(libc::SIGSEGV);
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("trap::tests::{name}"), "--nocapture"])
        .env(CHILD, case.to_string())
        .output()
        .unwrap();
    child.status
}

/// What a processor does with ENCLU outside an enclave: SIGILL, or SIGSEGV where it has SGX.
fn is_of_no_enclave(status: ExitStatus) -> bool {
    matches!(status.signal(), Some(libc::SIGILL | libc::SIGSEGV))
}

#[test]
fn without_a_machine_the_process_dies() {
    let status = end_of("without_a_machine_the_process_dies", || {
        Operands::new(&request()).egetkey();
    });
    assert!(is_of_no_enclave(status), "{status}");
}

#[test]
fn outside_the_enclave_the_process_dies() {
    let status = end_of("outside_the_enclave_the_process_dies", || {
        install().unwrap();
        enter(&core(), || Operands::new(&request()).egetkey());
        Operands::new(&request()).egetkey();
    });
    assert!(is_of_no_enclave(status), "{status}");
}

#[test]
fn on_another_thread_the_process_dies() {
    let status = end_of("on_another_thread_the_process_dies", || {
        install().unwrap();
        let _ = enter(&core(), || std::thread::spawn(|| Operands::new(&request()).egetkey()).join());
    });
    assert!(is_of_no_enclave(status), "{status}");
}

#[test]
fn other_illegal_instructions_stay_illegal() {
    let status = end_of("other_illegal_instructions_stay_illegal", || {
        install().unwrap();
        // SAFETY: it ends the process, as is meant.
        enter(&core(), || unsafe { asm!("ud2") });
    });
    assert_eq!(status.signal(), Some(libc::SIGILL), "{status}");
}

#[test]
fn a_reserved_bit_ends_by_sigsegv() {
    let status = end_of("a_reserved_bit_ends_by_sigsegv", || {
        install().unwrap();
        let mut reserved2 = [0; 434];
        reserved2.fill(1);
        enter(&core(), || Operands::new(&Keyrequest { reserved2, ..request() }).egetkey());
    });
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{status}");
}

/// Every operand of every leaf has its alignment.
#[test]
fn misalignment_ends_by_sigsegv() {
    // Leaf, and by how much RBX, RCX and RDX are off.
    let cases = [
        (EGETKEY, [256, 0, 0]),
        (EGETKEY, [0, 8, 0]),
        (EREPORT, [256, 0, 0]),
        (EREPORT, [0, 64, 0]),
        (EREPORT, [0, 0, 256]),
        (EVERIFYREPORT2, [128, 0, 0]),
    ];
    for (number, (leaf, off)) in cases.into_iter().enumerate() {
        let status = end_of_case("misalignment_ends_by_sigsegv", number, || {
            install().unwrap();
            #[repr(C, align(512))]
            struct Pages([[u8; 2048]; 3]);
            let mut pages = Pages([[0; 2048]; 3]);
            let start = (&raw mut pages.0).expose_provenance();
            let [rbx, rcx, rdx] = [start + off[0], start + 2048 + off[1], start + 4096 + off[2]];
            enter(&core(), || enclu_of_three(leaf, rbx, rcx, rdx));
        });
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "{leaf} {off:?}: {status}");
    }
}

#[test]
fn an_operand_that_is_not_there_ends_by_sigsegv() {
    let status = end_of("an_operand_that_is_not_there_ends_by_sigsegv", || {
        install().unwrap();
        enter(&core(), || enclu(EGETKEY, 0, 0));
    });
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{status}");
}

#[test]
fn an_unknown_leaf_ends_by_sigsegv() {
    let status = end_of("an_unknown_leaf_ends_by_sigsegv", || {
        install().unwrap();
        let operands = Operands::new(&request());
        enter(&core(), || enclu(2, (&raw const operands.request).addr(), 0));
    });
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{status}");
}

extern "C" fn leave_with_42(signal: c_int) {
    // SAFETY: ends the process without touching anything.
    unsafe { libc::_exit(if signal == libc::SIGILL { 42 } else { 43 }) }
}

extern "C" fn leave_with_44(_: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: as above.
    unsafe { libc::_exit(if info.is_null() || context.is_null() { 45 } else { 44 }) }
}

/// Whoever handled SIGILL before still does.
#[test]
fn earlier_handlers_are_called() {
    let status = end_of("earlier_handlers_are_called", || {
        // SAFETY: a handler of the right signature.
        unsafe { libc::signal(libc::SIGILL, leave_with_42 as extern "C" fn(c_int) as usize) };
        install().unwrap();
        // SAFETY: it ends the process, as is meant.
        enter(&core(), || unsafe { asm!("ud2") });
    });
    assert_eq!(status.code(), Some(42), "{status}");
}

#[test]
fn earlier_handlers_with_details_are_called() {
    let status = end_of("earlier_handlers_with_details_are_called", || {
        // SAFETY: a complete action, with a handler of the signature that SA_SIGINFO asks for.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_flags = libc::SA_SIGINFO;
            action.sa_sigaction = leave_with_44 as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
            libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut());
        }
        install().unwrap();
        // SAFETY: it ends the process, as is meant.
        unsafe { ptr::null_mut::<u8>().write_volatile(0) };
    });
    assert_eq!(status.code(), Some(44), "{status}");
}
