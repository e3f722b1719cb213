//! The processor of a program that runs on a simulated machine: what stops it is answered here, or passed on.

use std::collections::VecDeque;
use std::fs;

use libc::c_int;

use crate::cpu::Fault;
use crate::enclu::{Core, ENCLU, EREPORT, Operands, Registers};
use crate::memory::Memory;
use crate::mishap::EncluFault;
use crate::ptrace::{Stop, Tracee};
use crate::{EnclaveIdentity, Error, Guise, Machine, Mishap};

/// The code segment of 64-bit programs.
const CODE_64: u64 = 0x33;

/// Answers for all threads and processes of a program.
pub(crate) struct Tracer<'a> {
    machine: &'a Machine,
    /// None in a guest, where `ENCLU` is no instruction.
    core: Option<Core>,
    faults: VecDeque<EncluFault>,
}

impl<'a> Tracer<'a> {
    pub(crate) fn new(
        machine: &'a Machine,
        enclave: EnclaveIdentity,
        guise: &Guise,
        mishaps: &[Mishap],
    ) -> Self {
        let (cpu, _) = machine.parts();
        let core = guise.is_enclave().then_some(Core { cpu, enclave });
        Self { machine, core, faults: mishaps.iter().filter_map(|mishap| mishap.enclu).collect() }
    }

    /// Lets a thread that stands still go on as it would have, and answers it if it stands at an `ENCLU`.
    ///
    /// # Errors
    /// If the microcode is to change and the machine's directory cannot be written.
    pub(crate) fn attend(&mut self, tracee: Tracee, stop: Stop) -> Result<(), Error> {
        // Whoever was killed meanwhile stands still no more; that is heard of later.
        let _ = match stop {
            Stop::Exited(_) | Stop::Killed(_) => Ok(()),
            Stop::Group(_) => tracee.stay(),
            Stop::Exec | Stop::Other => tracee.go_on(0),
            Stop::Signal(signal) => {
                let signal = self.answer(tracee, signal)?;
                tracee.go_on(signal)
            }
        };
        Ok(())
    }

    /// The signal that the thread gets; 0 if none.
    fn answer(&mut self, tracee: Tracee, signal: c_int) -> Result<c_int, Error> {
        let Some((mut registers, core)) = at_enclu(tracee, signal).zip(self.core.as_mut()) else {
            return Ok(signal);
        };
        let memory = Memory::of(tracee.0);
        let mut operands = Registers {
            rax: registers.rax,
            rbx: registers.rbx,
            rcx: registers.rcx,
            rdx: registers.rdx,
            rflags: registers.eflags,
        };
        // EREPORT has no status to end with.
        let has_status = operands.rax as u32 != EREPORT;
        let fault = match self.faults.front() {
            Some(EncluFault::Status(_)) if !has_status => None,
            _ => self.faults.pop_front(),
        };
        let done = match fault {
            Some(EncluFault::Status(status)) => {
                operands.end_with(status);
                Ok(())
            }
            Some(EncluFault::Exception) => Err(libc::SIGSEGV),
            Some(EncluFault::EpcLost) => Err(libc::SIGBUS),
            Some(EncluFault::Microcode(_)) | None => {
                // Both arrive as SIGSEGV from a real processor.
                core.execute(&mut operands, &memory).map_err(|_: Fault| libc::SIGSEGV)
            }
        };
        if let Some(EncluFault::Microcode(step)) = fault {
            self.machine.microcode(step)?;
            (core.cpu, _) = Machine::open(self.machine.dir())?.parts();
        }
        if let Err(signal) = done {
            return Ok(raise(tracee, signal));
        }
        registers.rax = operands.rax;
        registers.eflags = operands.rflags;
        registers.rip += ENCLU.len() as u64;
        let _ = tracee.set_registers(registers);
        Ok(0)
    }
}

impl Operands for Memory {
    fn read<const N: usize>(&self, address: u64) -> Result<[u8; N], Fault> {
        Self::read(self, address).map_err(|_| Fault::PageFault)
    }

    fn write<const N: usize>(&self, address: u64, bytes: &[u8; N]) -> Result<(), Fault> {
        Self::write(self, address, bytes).map_err(|_| Fault::PageFault)
    }
}

/// The registers of a thread, if it stands at an `ENCLU` that raised the signal: #UD without SGX, #GP with it.
fn at_enclu(tracee: Tracee, signal: c_int) -> Option<libc::user_regs_struct> {
    if ![libc::SIGILL, libc::SIGSEGV].contains(&signal) || tracee.signal().ok()?.si_code <= 0 {
        return None;
    }
    let registers = tracee.registers().ok()?;
    let is_enclu = Memory::of(tracee.0).read(registers.rip) == Ok(ENCLU);
    (registers.cs == CODE_64 && is_enclu).then_some(registers)
}

/// Makes the signal that the thread is about to get one that an exception raises.
fn raise(tracee: Tracee, signal: c_int) -> c_int {
    // The kernel ends who has shut its ears to an exception.
    if is_deaf(tracee, signal) {
        return libc::SIGKILL;
    }
    if let Ok(mut info) = tracee.signal() {
        info.si_signo = signal;
        info.si_code = if signal == libc::SIGBUS { libc::BUS_ADRERR } else { libc::SI_KERNEL };
        let _ = tracee.set_signal(info);
    }
    signal
}

/// Whether a thread blocks or ignores a signal.
fn is_deaf(tracee: Tracee, signal: c_int) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", tracee.0)).unwrap_or_default();
    let masks = status.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigBlk:").or_else(|| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    masks.fold(0, |all, mask| all | mask) >> (signal - 1) & 1 != 0
}
