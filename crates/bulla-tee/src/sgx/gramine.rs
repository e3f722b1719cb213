//! Gramine's pseudo-files in `/dev/attestation` (Gramine documentation, "Attestation and Secret Provisioning").
//!
//! What is written to `user_report_data` is state of the whole process, and opening `quote` makes a quote over whatever
//! stands there: its content is that of the moment of opening. So writing, opening and reading are one step here, under a
//! lock of the process, and what was read is compared with what was asked for, since code that is not ours may use the
//! same files (R54).
//!
//! Gramine also gives reports, and a sealing key of its own; those are for programs that cannot execute ENCLU themselves.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bulla_crypto::Secret;
use zerocopy::{FromBytes, IntoBytes};

use super::arch::{Keyrequest, Report, ReportMac, Targetinfo};
use super::enclave::QuoteSource;
use super::enclu::Status;
use super::leaves::{Leaves, NoKey};
use super::own;
use crate::{Error, ReportData};

/// No quote is larger: Gramine's own bound.
const QUOTE_MAX: u64 = 8192;
/// How often a quote is asked for while somebody else writes between.
const ATTEMPTS: usize = 3;
const MACHINE: &str = "source of SGX quotes";
const REPORT_DATA: &str = "user_report_data";
const KEY: &str = "keys/_sgx_mrenclave";

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
        self.folder.join(REPORT_DATA).exists()
    }

    /// The sealing key under MRENCLAVE, of the versions that run.
    pub(super) fn key(&self) -> Result<Secret<16>, Error> {
        let no_key = |reason: String| Error::Unavailable { machine: "key file of Gramine", reason };
        let mut read = Ok(0);
        // One more than there is, so that a longer key is no key.
        let key = Secret::<17>::fill_with(|key| {
            read = File::open(self.folder.join(KEY)).and_then(|mut file| file.read(key));
        });
        match (read, key.expose().first_chunk()) {
            (Ok(16), Some(key)) => Ok(Secret::fill_with(|to| *to = *key)),
            (Ok(0), _) => Err(no_key("it is empty: this enclave has no sealing keys".into())),
            (Ok(_), _) => Err(no_key("it does not hold 16 bytes".into())),
            (Err(error), _) => Err(no_key(format!("/dev/attestation/{KEY}: {error}"))),
        }
    }

    /// One write, since each replaces the whole value.
    fn write(&self, name: &str, value: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.folder.join(name))?;
        if file.write(value)? != value.len() {
            return Err(ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(self.folder.join(name))?.take(QUOTE_MAX + 1).read_to_end(&mut content)?;
        Ok(content)
    }

    fn report(&self, target: &Targetinfo, data: &[u8; 64]) -> io::Result<Vec<u8>> {
        self.write("target_info", target.as_bytes())?;
        self.write(REPORT_DATA, data)?;
        self.read("report")
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
            let quote = self.write(REPORT_DATA, data.as_bytes()).and_then(|()| self.read("quote"));
            let quote = quote.map_err(|error| self.failed(&error))?;
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

/// What there is of ENCLU in the files.
impl Leaves for Gramine {
    fn ereport(&self, target: &Targetinfo, report_data: &[u8; 64]) -> Result<Report, Error> {
        let _exclusive = EXCLUSIVE.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ATTEMPTS {
            let report = self.report(target, report_data).map_err(|error| {
                let reason = format!("Gramine makes no report of this enclave ({error})");
                Error::Unavailable { machine: "SGX enclave", reason }
            })?;
            let report = Report::read_from_bytes(&report);
            let report = report.map_err(|_| Error::SelfEvidence("its report is not 432 bytes long"))?;
            if report.body.report_data == *report_data {
                return Ok(report);
            }
        }
        Err(Error::SelfEvidence("its report carries the report data of another call"))
    }

    /// The file's key is not one of a request.
    fn egetkey(&self, _: &Keyrequest, _: &mut [u8; 16]) -> Result<(), NoKey> {
        let what = "give the key of a request";
        Err(NoKey::Way(Error::Unsupported { machine: "Gramine's key file", what }))
    }

    fn verifies_reports(&self) -> bool {
        false
    }

    fn everifyreport2(&self, _: &ReportMac) -> Result<(), Status> {
        Err(Status::INVALID_LEAF)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use bulla_crypto::Role;
    use zerocopy::FromZeros;

    use super::*;

    /// R31: files without an end are read as far as there may be bytes, and refused.
    #[test]
    fn endless_files_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let gramine = Gramine::at(root.path());
        std::fs::create_dir_all(gramine.folder.join("keys")).unwrap();
        for name in [REPORT_DATA, "target_info"] {
            std::fs::write(gramine.folder.join(name), []).unwrap();
        }
        for name in ["quote", "report", KEY] {
            symlink("/dev/zero", gramine.folder.join(name)).unwrap();
        }
        let data = ReportData::new(Role::ProviderKey, &[]);
        let report = |target: &Targetinfo| gramine.ereport(target, data.as_bytes());
        let error = gramine.quote(&data, &report).unwrap_err();
        assert!(error.to_string().contains("larger than any quote"), "{error}");
        assert!(report(&Targetinfo::new_zeroed()).err().unwrap().to_string().contains("432 bytes"));
        assert!(gramine.key().err().unwrap().to_string().contains("16 bytes"));
    }
    /// R31: the bound is Gramine's own, so its longest quote is one.
    #[test]
    fn the_longest_quote_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let gramine = Gramine::at(root.path());
        std::fs::create_dir_all(&gramine.folder).unwrap();
        let data = ReportData::new(Role::ProviderKey, &[]);
        let mut quote = vec![0; 8192];
        quote[0] = 3;
        quote[48 + 320..][..64].copy_from_slice(data.as_bytes());
        for (name, content) in [(REPORT_DATA, &[][..]), ("quote", &quote)] {
            std::fs::write(gramine.folder.join(name), content).unwrap();
        }
        let report = |_: &Targetinfo| Ok(Report::new_zeroed());
        assert_eq!(gramine.quote(&data, &report).unwrap(), quote);
    }
}
