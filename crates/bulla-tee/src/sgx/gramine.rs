//! Gramine's pseudo-files in `/dev/attestation` (Gramine documentation, "Attestation and Secret Provisioning").
//!
//! What is written to `user_report_data` is state of the whole process, and opening `quote` makes a quote over whatever
//! stands there: its content is that of the moment of opening. So writing, opening and reading are one step here, under a
//! lock of the process, and what was read is compared with what was asked for, since code that is not ours may use the
//! same files (R54).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::arch::{Report, Targetinfo};
use super::enclave::QuoteSource;
use super::own;
use crate::{Error, ReportData};

/// No quote is larger: Gramine's own bound.
const QUOTE_MAX: u64 = 8192;
/// How often a quote is asked for while somebody else writes between.
const ATTEMPTS: usize = 3;
const MACHINE: &str = "source of SGX quotes";

static EXCLUSIVE: Mutex<()> = Mutex::new(());

/// Quotes of an enclave that runs in Gramine.
#[derive(Clone, Debug)]
pub struct Gramine {
    folder: PathBuf,
}

impl Gramine {
    /// The pseudo-files under a root folder, which is `/` but in tests.
    pub fn at(root: &Path) -> Self {
        Self { folder: root.join("dev/attestation") }
    }

    /// Whether this process runs in Gramine: nothing else has these files.
    pub fn is_here(&self) -> bool {
        self.folder.join("user_report_data").exists()
    }

    /// One write, since each replaces the whole value.
    fn write(&self, data: &ReportData) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.folder.join("user_report_data"))?;
        match file.write(data.as_bytes())? {
            64 => Ok(()),
            _ => Err(ErrorKind::WriteZero.into()),
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut quote = Vec::new();
        File::open(self.folder.join("quote"))?.take(QUOTE_MAX + 1).read_to_end(&mut quote)?;
        Ok(quote)
    }

    fn failed(&self, error: &io::Error) -> Error {
        let reason = match error.kind() {
            ErrorKind::NotFound => "Gramine has no quote file: set sgx.remote_attestation = \"dcap\" in the \
                                    manifest and sign it again"
                .into(),
            ErrorKind::PermissionDenied => {
                "Gramine could not get a quote (EACCES): see that the host's aesmd runs and can quote, then \
                 restart this process, since Gramine 1.7 and older never recover by themselves"
                    .into()
            }
            _ => format!("{}: {error}; try again", self.folder.display()),
        };
        Error::Unavailable { machine: MACHINE, reason }
    }
}

impl QuoteSource for Gramine {
    fn quote(
        &self,
        data: &ReportData,
        _report: &dyn Fn(&Targetinfo) -> Result<Report, Error>,
    ) -> Result<Vec<u8>, Error> {
        let _exclusive = EXCLUSIVE.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ATTEMPTS {
            let quote = self.write(data).and_then(|()| self.read()).map_err(|error| self.failed(&error))?;
            if quote.len() as u64 > QUOTE_MAX {
                return Err(Error::SelfEvidence("it is larger than any quote"));
            }
            let body = own::body(&quote).ok_or(Error::SelfEvidence("it is not an SGX quote"))?;
            if body.last_chunk() == Some(data.as_bytes()) {
                return Ok(quote);
            }
        }
        Err(Error::SelfEvidence("it carries the report data of another call"))
    }
}
