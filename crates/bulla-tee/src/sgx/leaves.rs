//! The leaves of `ENCLU` that an enclave needs, by whichever way it has to them.

use super::arch::{Keyrequest, Report, ReportMac, Targetinfo};
use super::enclu::{self, Status};
use crate::Error;

/// Why there is no key.
pub(crate) enum NoKey {
    /// EGETKEY said so.
    Status(Status),
    /// The way to it did.
    Way(Error),
}

pub(crate) trait Leaves: Send + Sync {
    /// EREPORT.
    fn ereport(&self, target: &Targetinfo, report_data: &[u8; 64]) -> Result<Report, Error>;

    /// EGETKEY.
    fn egetkey(&self, request: &Keyrequest, key: &mut [u8; 16]) -> Result<(), NoKey>;

    /// Whether there is a way to EVERIFYREPORT2.
    fn verifies_reports(&self) -> bool;

    /// EVERIFYREPORT2.
    fn everifyreport2(&self, report: &ReportMac) -> Result<(), Status>;
}

/// The instruction itself.
pub(crate) struct Instruction {
    /// Whether it has EVERIFYREPORT2.
    pub(crate) verifies_reports: bool,
}

impl Leaves for Instruction {
    fn ereport(&self, target: &Targetinfo, report_data: &[u8; 64]) -> Result<Report, Error> {
        Ok(enclu::ereport(target, report_data))
    }

    fn egetkey(&self, request: &Keyrequest, key: &mut [u8; 16]) -> Result<(), NoKey> {
        enclu::egetkey(request, key).map_err(NoKey::Status)
    }

    fn verifies_reports(&self) -> bool {
        self.verifies_reports
    }

    fn everifyreport2(&self, report: &ReportMac) -> Result<(), Status> {
        enclu::everifyreport2(report)
    }
}
