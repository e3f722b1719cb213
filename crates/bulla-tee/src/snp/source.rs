//! Where a guest's reports and keys come from: the driver's device, or for reports alone its side of configfs, where a
//! container has no device. And what each refusal means, and wants.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bulla_crypto::Secret;
use rustix::io::Errno;
use zerocopy::FromBytes;

use super::arch::{KeyReq, Report, status};
use super::device::{Device, Refusal};
use crate::Error;
use crate::tsm::{SEV_GUEST, Tsm};

const MACHINE: &str = "SEV-SNP guest";
const DEVICE: &str = "the security processor, through /dev/sev-guest,";
const LOWEST_VMPL: u32 = 3;

/// The pseudo-files of a guest.
pub(super) struct Source {
    root: PathBuf,
    /// Our own privilege level: the highest that the firmware answers to us.
    vmpl: OnceLock<u32>,
}

impl Source {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), vmpl: OnceLock::new() }
    }

    /// A report, over whatever it says.
    pub(super) fn report(&self, data: &[u8; 64]) -> Result<Report, Error> {
        match self.device() {
            Ok(device) => self.at_own_level(|vmpl| device.report(data, vmpl)),
            Err(missing) => Ok(self.by_configfs(data, missing)?.0),
        }
    }

    /// A report, and the certificates that the host has for it; none where it has none.
    pub(super) fn report_with_certificates(&self, data: &[u8; 64]) -> Result<(Report, Vec<u8>), Error> {
        match self.device() {
            Ok(device) => self.at_own_level(|vmpl| device.extended_report(data, vmpl)),
            Err(missing) => self.by_configfs(data, missing),
        }
    }

    pub(super) fn derived_key(&self, request: &KeyReq) -> Result<Secret<32>, Error> {
        self.device().map_err(unavailable)?.derived_key(request).map_err(no_key)
    }

    fn device(&self) -> io::Result<Device> {
        Device::open(&self.root)
    }

    /// Where a container shows the one and not the other.
    fn by_configfs(&self, data: &[u8; 64], missing: io::Error) -> Result<(Report, Vec<u8>), Error> {
        let tsm = Tsm::new(&self.root, &SEV_GUEST);
        if missing.kind() != io::ErrorKind::NotFound || !tsm.is_here() {
            return Err(unavailable(missing));
        }
        let (report, certificates) = tsm.report_with_auxiliary(data)?;
        let report = Report::read_from_bytes(&report)
            .map_err(|_| device(format!("gave {} bytes by configfs, which are no report", report.len())))?;
        Ok((report, certificates))
    }

    /// Asks at the highest level that the firmware takes from us: above our own, it says that the request is not valid.
    fn at_own_level<T>(&self, ask: impl Fn(u32) -> Result<T, Refusal>) -> Result<T, Error> {
        if let Some(vmpl) = self.vmpl.get() {
            return ask(*vmpl).map_err(no_report);
        }
        for vmpl in 0..=LOWEST_VMPL {
            match ask(vmpl) {
                Err(Refusal::Status(status::INVALID_PARAM)) if vmpl < LOWEST_VMPL => {}
                answer => {
                    let answer = answer.map_err(no_report)?;
                    self.vmpl.get_or_init(|| vmpl);
                    return Ok(answer);
                }
            }
        }
        Err(no_report(Refusal::Status(status::INVALID_PARAM)))
    }
}

fn unavailable(error: io::Error) -> Error {
    absent(match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no /dev/sev-guest; start this in a SEV-SNP guest, with a kernel from 5.19 on that has \
             CONFIG_SEV_GUEST"
                .into()
        }
        io::ErrorKind::PermissionDenied => {
            "/dev/sev-guest may not be opened: run this as root, or give it the device".into()
        }
        _ => format!("/dev/sev-guest cannot be opened: {error}"),
    })
}

fn no_report(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Status(status::INVALID_KEY) => absent(
            "the firmware has no key to sign a report with: the host must load its provider's key (VLEK), or start the \
             guest with the right to the chip's (VCEK)"
                .into(),
        ),
        Refusal::Status(status::INVALID_PARAM) => {
            device("takes no request for a report at any privilege level".into())
        }
        Refusal::Status(status) => device(format!("refused to make a report, with status {status:#x}")),
        refusal => channel(refusal),
    }
}

fn no_key(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Status(status::INVALID_KEY) => absent(
            "the firmware derives no keys from the chip's own (VCEK): the host hides it (MASK_CHIP_KEY), or has started \
             this guest without the right to it"
                .into(),
        ),
        Refusal::Status(status::INVALID_PARAM) => absent(
            "the firmware does not take a request for a key of the chip's own (VCEK): it is from before there were providers' \
             keys (VLEK), so update it"
                .into(),
        ),
        Refusal::Status(status) => device(format!("refused to derive a key, with status {status:#x}")),
        refusal => channel(refusal),
    }
}

/// Refusals on the way to the firmware and back.
fn channel(refusal: Refusal) -> Error {
    const BUSY: u32 = 2;
    match refusal {
        Refusal::Kernel(Errno::NOTTY) => absent(
            "what is behind /dev/sev-guest takes no such request: it is another driver, or its channel to the firmware \
             (VMPCK) is shut after an earlier failure; then restart the guest"
                .into(),
        ),
        Refusal::Kernel(Errno::TIMEDOUT) | Refusal::Host(BUSY) => absent(
            "the host let it ask for a minute and did not answer: it is busy or throttles its guests; if the driver has shut \
             its channel (VMPCK) meanwhile, restart the guest"
                .into(),
        ),
        Refusal::Kernel(Errno::ACCESS | Errno::PERM) => {
            absent("the kernel does not let this process ask: run it as root".into())
        }
        Refusal::Kernel(Errno::BADMSG) => device(
            "gave an answer that its driver could not decrypt, and has shut its channel (VMPCK): restart the guest; if that \
             goes on, the host interferes"
                .into(),
        ),
        Refusal::Kernel(errno) => device(format!("could not be asked: {errno}")),
        Refusal::Host(code) => device(format!("was not reached: the host refused with {code:#x}")),
        Refusal::Certificates(bytes) => {
            device(format!("has {bytes} bytes of certificates, and its driver passes on 16 KiB: shorten them on the host"))
        }
        Refusal::Interface(code) => device(format!(
            "refused the message with {code:#x}, and its driver has shut the channel (VMPCK): restart the guest"
        )),
        Refusal::Status(status) => device(format!("answered with status {status:#x}")),
        Refusal::Size(size) => device(format!("gave a report of {size} bytes, and one has 1184")),
    }
}

fn absent(reason: String) -> Error {
    Error::Unavailable { machine: MACHINE, reason }
}

fn device(fault: String) -> Error {
    Error::Device { device: DEVICE, fault }
}
