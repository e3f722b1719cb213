//! Reports through configfs (Linux 6.7, Documentation/ABI/testing/configfs-tsm-report).
//!
//! A folder of our own is made for each request, and its counter of writes is read before and after, so that a report is
//! never taken that somebody else's write has asked for.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use crate::Error;

const FOLDER: &str = "sys/kernel/config/tsm/report";
const MACHINE: &str = "source of reports in configfs";
pub(crate) const DEVICE: &str = "the kernel's configfs-tsm";
/// The largest report (R31).
const LIMIT: u64 = 64 * 1024;
/// How often a request is made again when somebody else wrote to its folder.
const TRIES: usize = 3;

/// Which of the kernel's drivers makes the reports, and what its failures want.
pub(crate) struct Provider {
    name: &'static str,
    /// ETIMEDOUT.
    timeout: &'static str,
    /// EIO.
    refusal: &'static str,
}

/// That of a TDX guest, which has quotes made by its host.
pub(crate) const TDX_GUEST: Provider = Provider {
    name: "tdx_guest",
    timeout: "the host has not answered in 30 seconds; see that its quote generation service runs, and try again",
    refusal: "the host refused; see that its quote generation service runs and reaches its platform",
};

/// That of a SEV-SNP guest, which has reports made by its firmware.
pub(crate) const SEV_GUEST: Provider = Provider {
    name: "sev_guest",
    timeout: "the host let it ask for a minute and did not answer: it is busy or throttles its guests; if the driver has shut \
              its channel (VMPCK) meanwhile, restart the guest",
    refusal: "host or firmware refused; if the driver has shut its channel (VMPCK) for that, restart the guest",
};

/// The reports of one of the kernel's providers.
pub(crate) struct Tsm {
    folder: PathBuf,
    provider: &'static Provider,
}

impl Tsm {
    pub(crate) fn new(root: &Path, provider: &'static Provider) -> Self {
        Self { folder: root.join(FOLDER), provider }
    }

    /// Whether the kernel shows it.
    pub(crate) fn is_here(&self) -> bool {
        self.folder.is_dir()
    }

    /// A report over `data`.
    pub(crate) fn report(&self, data: &[u8; 64]) -> Result<Vec<u8>, Error> {
        self.ask(data, |request| request.blob("outblob"))
    }

    /// A report over `data` at the highest privilege level that the provider takes, and what comes with it: certificates.
    pub(crate) fn report_with_auxiliary(&self, data: &[u8; 64]) -> Result<(Vec<u8>, Vec<u8>), Error> {
        self.ask(data, |request| Ok((request.blob("outblob")?, request.blob("auxblob")?)))
    }

    /// What `read` reads of a request over `data`, if nobody wrote to it meanwhile.
    fn ask<T>(&self, data: &[u8; 64], read: impl Fn(&Request) -> Result<T, Error>) -> Result<T, Error> {
        let request = self.request()?;
        let found = request.text("provider")?;
        let wanted = self.provider.name;
        if found != wanted {
            return Err(fault(format_args!("is that of {found}, and {wanted} was expected")));
        }
        request.take_privilege()?;
        for _ in 0..TRIES {
            let before = request.generation()?;
            request.write("inblob", data)?;
            let report = read(&request)?;
            if request.generation()? == before.wrapping_add(1) {
                return Ok(report);
            }
        }
        Err(fault("was written to by somebody else each time a report was asked for"))
    }

    fn request(&self) -> Result<Request, Error> {
        if !self.is_here() {
            let reason = "there is no /sys/kernel/config/tsm/report: mount configfs, and use Linux 6.7 or later with \
                          CONFIG_TSM_REPORTS";
            return Err(Error::Unavailable { machine: MACHINE, reason: reason.into() });
        }
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let folder = self.folder.join(format!("bulla-{}-{number}", process::id()));
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(Request { folder, provider: self.provider }),
                // Left behind by a process that had this number before and was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.provider.refused("mkdir", &error)),
            }
        }
    }
}

/// A folder below `report`, which goes with this.
struct Request {
    folder: PathBuf,
    provider: &'static Provider,
}

impl Drop for Request {
    fn drop(&mut self) {
        // An empty folder stays behind if this fails, and harms nobody.
        let _ = fs::remove_dir(&self.folder);
    }
}

impl Request {
    /// Asks at the highest level, where there are levels and the highest is not what is asked for anyway.
    fn take_privilege(&self) -> Result<(), Error> {
        const FLOOR: &str = "privlevel_floor";
        if !self.folder.join(FLOOR).exists() {
            return Ok(());
        }
        match self.text(FLOOR)?.as_str() {
            "0" => Ok(()),
            floor => self.write("privlevel", floor.as_bytes()),
        }
    }

    /// One write, and the close that lets the kernel take it.
    fn write(&self, name: &'static str, data: &[u8]) -> Result<(), Error> {
        let written = OpenOptions::new()
            .write(true)
            .open(self.folder.join(name))
            .and_then(|mut file| file.write_all(data));
        written.map_err(|error| self.provider.refused(name, &error))
    }

    fn generation(&self) -> Result<u64, Error> {
        let text = self.text("generation")?;
        text.parse().map_err(|_| fault(format_args!("has `{text}` for its generation")))
    }

    fn text(&self, name: &'static str) -> Result<String, Error> {
        let bytes = self.blob(name)?;
        let text = String::from_utf8(bytes).map_err(|_| fault(format_args!("has no text in {name}")))?;
        Ok(text.trim_end().to_owned())
    }

    fn blob(&self, name: &'static str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        File::open(self.folder.join(name))
            .and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes))
            .map_err(|error| self.provider.refused(name, &error))?;
        if bytes.len() as u64 > LIMIT {
            return Err(fault(format_args!("gave more than {LIMIT} bytes for {name}")));
        }
        Ok(bytes)
    }
}

/// What no kernel should do.
fn fault(fault: impl Display) -> Error {
    Error::Device { device: DEVICE, fault: fault.to_string() }
}

impl Provider {
    fn refused(&self, what: &'static str, error: &io::Error) -> Error {
        let unavailable =
            |reason: &str| Error::Unavailable { machine: MACHINE, reason: format!("{what}: {reason}") };
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NXIO) => unavailable("the kernel has nothing that makes reports; is this a guest?"),
            Some(Errno::ACCESS | Errno::PERM) => unavailable("only root may ask for reports here"),
            Some(Errno::BUSY) => unavailable("an earlier request is still on its way; try again"),
            Some(Errno::TIMEDOUT) => unavailable(self.timeout),
            Some(Errno::IO) => unavailable(self.refusal),
            Some(Errno::NOTTY) => unavailable(
                "the driver's channel to the firmware (VMPCK) is shut after an earlier failure: restart the guest",
            ),
            _ => fault(format_args!("refused {what}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R31: a report without an end is read as far as one may have bytes, and refused.
    #[test]
    fn an_endless_report_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("outblob")).unwrap();
        let request = Request { folder: folder.path().to_owned(), provider: &SEV_GUEST };
        let error = request.blob("outblob").unwrap_err();
        assert_eq!(error.code(), "machine.device");
        assert!(error.to_string().contains("more than 65536 bytes"), "{error}");
    }
}
