//! The measurement registers as files (Linux 6.16, Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest).

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::Error;

const FOLDER: &str = "sys/devices/virtual/misc/tdx_guest/measurements";
const SIZE: usize = 48;
const MACHINE: &str = "run-time measurement register of this guest";

/// A register that the guest's programs extend. RTMR0 and RTMR1 are the firmware's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeRegister {
    /// The operating system's.
    Rtmr2,
    /// The applications'.
    Rtmr3,
}

impl RuntimeRegister {
    fn path(self, root: &Path) -> PathBuf {
        let file = match self {
            Self::Rtmr2 => "rtmr2:sha384",
            Self::Rtmr3 => "rtmr3:sha384",
        };
        root.join(FOLDER).join(file)
    }
}

pub(super) fn read(root: &Path, register: RuntimeRegister) -> Result<[u8; 48], Error> {
    let path = register.path(root);
    let mut bytes = Vec::with_capacity(SIZE + 1);
    File::open(&path)
        .and_then(|file| file.take(SIZE as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| unavailable(&path, &error))?;
    bytes.try_into().map_err(|_| Error::Device {
        device: "the kernel's measurement register",
        fault: "it is not 48 bytes long".into(),
    })
}

/// Extends: the register becomes the SHA-384 of what it was and `digest`.
pub(super) fn extend(root: &Path, register: RuntimeRegister, digest: &[u8; 48]) -> Result<(), Error> {
    let before = read(root, register)?;
    let path = register.path(root);
    // One write of all 48 bytes: the kernel takes no parts.
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write(digest))
        .map_err(|error| unavailable(&path, &error))?;
    if read(root, register)? == before {
        let fault = "it is as it was after it was extended".into();
        return Err(Error::Device { device: "the kernel's measurement register", fault });
    }
    Ok(())
}

fn unavailable(path: &Path, error: &std::io::Error) -> Error {
    let reason = format!("{}: {error}; it takes Linux 6.16, and root to extend", path.display());
    Error::Unavailable { machine: MACHINE, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R31: a register without an end is read as far as one has bytes.
    #[test]
    fn an_endless_register_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join(FOLDER)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", RuntimeRegister::Rtmr3.path(root.path())).unwrap();
        let error = read(root.path(), RuntimeRegister::Rtmr3).unwrap_err();
        assert!(error.to_string().contains("not 48 bytes"), "{error}");
    }
}
