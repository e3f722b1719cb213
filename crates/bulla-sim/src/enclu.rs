//! What `ENCLU` does with registers and memory, wherever the program is that executes it (Intel SDM vol. 3D).

use std::sync::Arc;

use bulla_tee::sgx::arch::{Keyrequest, ReportMac, Targetinfo};
use zerocopy::FromBytes;

use crate::EnclaveIdentity;
use crate::cpu::{Cpu, Fault, Refusal, operand_fault};

/// The instruction.
pub(crate) const ENCLU: [u8; 3] = [0x0F, 0x01, 0xD7];
pub(crate) const EREPORT: u32 = 0;
pub(crate) const EGETKEY: u32 = 1;
pub(crate) const EVERIFYREPORT2: u32 = 8;

/// Bits 0, 2, 4, 6, 7 and 11 of RFLAGS: CF, PF, AF, ZF, SF, OF.
const STATUS_FLAGS: u64 = 0x8D5;
const ZERO_FLAG: u64 = 1 << 6;

/// A simulated processor in enclave mode.
pub(crate) struct Core {
    pub(crate) cpu: Arc<Cpu>,
    pub(crate) enclave: EnclaveIdentity,
}

/// The registers that it reads and writes.
#[derive(Clone, Copy)]
pub(crate) struct Registers {
    pub(crate) rax: u64,
    pub(crate) rbx: u64,
    pub(crate) rcx: u64,
    pub(crate) rdx: u64,
    pub(crate) rflags: u64,
}

impl Registers {
    /// What a leaf leaves behind: the status in RAX, and of the flags only ZF, which says whether there is one.
    pub(crate) fn end_with(&mut self, status: u32) {
        self.rax = u64::from(status);
        self.rflags &= !STATUS_FLAGS;
        if status != 0 {
            self.rflags |= ZERO_FLAG;
        }
    }
}

/// The memory of the program. Addresses are aligned and canonical.
pub(crate) trait Operands {
    /// Reads an operand.
    fn read<const N: usize>(&self, address: u64) -> Result<[u8; N], Fault>;

    /// Writes a result.
    fn write<const N: usize>(&self, address: u64, bytes: &[u8; N]) -> Result<(), Fault>;
}

impl Core {
    /// Does what the leaf in EAX does.
    pub(crate) fn execute(&self, registers: &mut Registers, memory: &impl Operands) -> Result<(), Fault> {
        let Self { cpu, enclave } = self;
        let Registers { rax, rbx, rcx, rdx, .. } = *registers;
        let outcome = match rax as u32 {
            EREPORT => {
                let target: Targetinfo = read::<512, _>(memory, rbx, 512)?;
                let data: [u8; 64] = read::<64, _>(memory, rcx, 128)?;
                check(rdx, 512)?;
                let report: [u8; 432] = zerocopy::transmute!(cpu.ereport(enclave, &target, &data)?);
                return memory.write(rdx, &report);
            }
            EGETKEY => {
                let request: Keyrequest = read::<512, _>(memory, rbx, 512)?;
                check(rcx, 16)?;
                match cpu.egetkey(enclave, &request) {
                    Ok(key) => memory.write(rcx, key.expose()).map_err(Refusal::Fault),
                    Err(refusal) => Err(refusal),
                }
            }
            EVERIFYREPORT2 => cpu.everifyreport2(&read::<256, ReportMac>(memory, rbx, 256)?),
            _ => return Err(Fault::GeneralProtection),
        };
        match outcome {
            Ok(()) => registers.end_with(0),
            Err(Refusal::Status(status)) => registers.end_with(status),
            Err(Refusal::Fault(fault)) => return Err(fault),
        }
        Ok(())
    }
}

fn check(address: u64, alignment: u64) -> Result<(), Fault> {
    operand_fault(address, alignment).map_or(Ok(()), Err)
}

fn read<const N: usize, T: FromBytes>(
    memory: &impl Operands,
    address: u64,
    alignment: u64,
) -> Result<T, Fault> {
    check(address, alignment)?;
    let bytes: [u8; N] = memory.read(address)?;
    T::read_from_bytes(&bytes).map_err(|_| Fault::GeneralProtection)
}
