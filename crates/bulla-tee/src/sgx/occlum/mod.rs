//! SGX in Occlum: keys, reports and quotes by the commands of its `/dev/sgx`.
//!
//! Every refusal of the device is EINVAL. Where more can be known, it is found out: a key that is refused for a recorded
//! CPUSVN and given for the current one was recorded on newer microcode.

use std::io;
use std::path::Path;

use bulla_crypto::Secret;
use zerocopy::FromZeros;

use super::arch::{Keyrequest, Report, ReportMac, Targetinfo};
use super::enclave::QuoteSource;
use super::enclu::Status;
use super::leaves::{Leaves, NoKey};
use crate::{Error, ReportData};
use device::Device;

mod device;

/// No quote is larger; Occlum's own quotes are below 5 KiB.
const QUOTE_MAX: usize = 64 << 10;

/// Occlum's device, opened once.
pub(crate) struct Occlum(Device);

impl Occlum {
    /// The device under a root folder, which is `/` but in tests.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let device =
            Device::open(root).map_err(|error| unavailable("its /dev/sgx cannot be opened", &error))?;
        device
            .self_target()
            .map_err(|error| unavailable("/dev/sgx is not that of Occlum: is this process in it?", &error))?;
        Ok(Self(device))
    }
}

fn unavailable(what: &str, error: &io::Error) -> Error {
    Error::Unavailable { machine: "Occlum", reason: format!("{what} ({error})") }
}

impl Leaves for Occlum {
    fn ereport(&self, target: &Targetinfo, report_data: &[u8; 64]) -> Result<Report, Error> {
        self.0
            .create_report(target, report_data)
            .map_err(|error| unavailable("it does not make a report of this enclave", &error))
    }

    fn egetkey(&self, request: &Keyrequest, key: &mut [u8; 16]) -> Result<(), NoKey> {
        let Err(error) = self.0.key(request, key) else { return Ok(()) };
        let own = self.ereport(&Targetinfo::new_zeroed(), &[0; 64]).map_err(NoKey::Way)?.body;
        let current = Keyrequest { cpusvn: own.cpusvn, ..*request };
        let mut has_current = false;
        drop(Secret::<16>::fill_with(|key| has_current = self.0.key(&current, key).is_ok()));
        if has_current {
            return Err(NoKey::Status(Status::INVALID_CPUSVN));
        }
        let what = "it gives no sealing key; it can since version 0.29.4, and does not say what it refuses";
        Err(NoKey::Way(unavailable(what, &error)))
    }

    /// The device has no command for it.
    fn verifies_reports(&self) -> bool {
        false
    }

    fn everifyreport2(&self, _: &ReportMac) -> Result<(), Status> {
        Err(Status::INVALID_LEAF)
    }
}

impl QuoteSource for Occlum {
    fn quote(
        &self,
        data: &ReportData,
        _report: &dyn Fn(&Targetinfo) -> Result<Report, Error>,
    ) -> Result<Vec<u8>, Error> {
        let no_quotes =
            |error| unavailable("it does not quote: see that the host's aesmd runs and can", &error);
        let size = self.0.quote_size().map_err(no_quotes)? as usize;
        if !(1..=QUOTE_MAX).contains(&size) {
            return Err(Error::SelfEvidence("its size is not that of a quote"));
        }
        let mut quote = vec![0; size];
        let written = self.0.quote(data.as_bytes(), &mut quote).map_err(no_quotes)?;
        if written > size {
            return Err(Error::SelfEvidence("its size is not that of a quote"));
        }
        quote.truncate(written);
        Ok(quote)
    }
}
