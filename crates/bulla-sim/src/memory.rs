//! The memory of another process.

use std::io::{IoSlice, IoSliceMut};

use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

use crate::pseudo::Errno;

/// The memory of a process, as far as it may be read and written by itself.
pub(crate) struct Memory {
    process: Pid,
}

impl Memory {
    /// That of a process, by the number of any of its threads.
    pub(crate) const fn of(process: i32) -> Self {
        Self { process: Pid::from_raw(process) }
    }

    /// Reads `N` bytes at an address.
    pub(crate) fn read<const N: usize>(&self, address: u64) -> Result<[u8; N], Errno> {
        let mut bytes = [0; N];
        let there = [there(address, N)?];
        match process_vm_readv(self.process, &mut [IoSliceMut::new(&mut bytes)], &there) {
            Ok(read) if read == N => Ok(bytes),
            _ => Err(Errno::EFAULT),
        }
    }

    /// Writes to an address.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let there = [there(address, bytes.len())?];
        match process_vm_writev(self.process, &[IoSlice::new(bytes)], &there) {
            Ok(written) if written == bytes.len() => Ok(()),
            _ => Err(Errno::EFAULT),
        }
    }
}

fn there(address: u64, len: usize) -> Result<RemoteIoVec, Errno> {
    Ok(RemoteIoVec { base: usize::try_from(address).map_err(|_| Errno::EFAULT)?, len })
}
