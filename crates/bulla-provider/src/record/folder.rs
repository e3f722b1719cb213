//! The files of the log: `audit.log`, which is written, and `audit.000001.log` and so on, which are full.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use bulla_crypto::sha256;
use bulla_protocol::v1::Statement;

use super::FILE;

/// A file before it has its name. A crash leaves it behind, empty.
const NEXT: &str = "audit.log.new";
/// Where statements are kept.
const STATEMENTS: &str = "statements";

/// Where the log lies.
#[derive(Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.into())
    }

    /// The file that is written; made where there is none.
    pub(super) fn current(&self) -> io::Result<File> {
        open(&self.0.join(FILE), OpenOptions::new().create(true))
    }

    /// The number of the newest full file; 0 where there is none.
    pub(super) fn full(&self) -> io::Result<u32> {
        let mut newest = 0;
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            newest = newest.max(name.to_str().and_then(number).unwrap_or(0));
        }
        Ok(newest)
    }

    /// A full file.
    pub(super) fn numbered(&self, number: u32) -> io::Result<File> {
        open(&self.0.join(name(number)), &mut OpenOptions::new())
    }

    /// Gives the present file the next number, and returns it with a fresh one that takes its place.
    pub(super) fn rotate(&self) -> io::Result<(u32, File)> {
        let number = self.full()?.checked_add(1).ok_or(ErrorKind::QuotaExceeded)?;
        let (current, next) = (self.0.join(FILE), self.0.join(NEXT));
        match fs::remove_file(&next) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = open(&next, OpenOptions::new().create_new(true))?;
        let full = self.0.join(name(number));
        fs::rename(&current, &full)?;
        if let Err(error) = fs::rename(&next, &current) {
            // Back to where it was; otherwise the next start goes on behind the full one.
            let _ = fs::rename(&full, &current);
            return Err(error);
        }
        File::open(&self.0)?.sync_all()?;
        Ok((number, file))
    }

    /// Keeps a statement with its quote, which is too long for a line, and returns its hash, hexadecimal. It is public,
    /// and the log is as good without it: only what the quote proves cannot be looked up later.
    pub(super) fn keep(&self, statement: &Statement) -> String {
        let text = serde_json::to_vec(statement).expect("texts and numbers are JSON");
        let hash = hex::encode(sha256(&[&text]));
        let folder = self.0.join(STATEMENTS);
        let keeping = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let path = folder.join(format!("{hash}.json"));
            if path.exists() {
                return Ok(());
            }
            let unfinished = folder.join("new");
            fs::write(&unfinished, &text)?;
            fs::rename(unfinished, path)
        };
        if let Err(error) = keeping() {
            tracing::warn!(error = %error.kind(), "the statement of the audit log cannot be kept");
        }
        hash
    }
}

/// Opens a file of the log, and nothing else that has its name (B33).
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).expect("flags are small");
    let file = options.read(true).append(true).mode(0o600).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "no regular file"));
    }
    Ok(file)
}

fn name(number: u32) -> String {
    format!("audit.{number:06}.log")
}

fn number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("audit.")?.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    (self::name(number) == name).then_some(number)
}
