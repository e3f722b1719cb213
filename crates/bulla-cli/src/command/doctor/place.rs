//! The files of a machine, under a root folder: this one's, or a copy of another's.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::{Finding, State};

/// More than any of these files needs; /proc/cpuinfo repeats itself for each core.
const TEXT_MAX: u64 = 1 << 20;

pub(super) struct Place<'a> {
    root: &'a Path,
    /// The flags of the first core, with a blank before and after each.
    flags: String,
}

/// A file or device that may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Opens,
    Denied,
    Missing,
}

impl<'a> Place<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        let mut place = Self { root, flags: String::new() };
        place.flags = format!(" {} ", place.cpu("flags").unwrap_or_default());
        place
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Whether it can be opened for reading.
    pub(super) fn access(&self, path: &str) -> Access {
        match File::open(self.root.join(path)) {
            Ok(_) => Access::Opens,
            Err(error) if error.kind() == ErrorKind::NotFound => Access::Missing,
            Err(_) => Access::Denied,
        }
    }

    /// A small text, without the blanks around it.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        File::open(self.root.join(path)).ok()?.take(TEXT_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The names in a folder, sorted.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// A field of /proc/cpuinfo, for the first core.
    pub(super) fn cpu(&self, field: &str) -> Option<String> {
        let text = self.text("proc/cpuinfo")?;
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.trim() == field).map(|(_, value)| value.trim().to_owned())
    }

    /// Whether the processor has a feature, as the kernel names it.
    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.contains(&format!(" {flag} "))
    }

    /// A device that this process should be able to open.
    pub(super) fn device(&self, check: &'static str, path: &str, group: &str, missing: &str) -> Finding {
        match self.access(path) {
            Access::Opens => Finding::new(check, State::Ok, format!("/{path} opens"), ""),
            Access::Denied => {
                let todo = format!("let this user open it, usually by the group {group}");
                Finding::new(check, State::Attention, format!("/{path} is there and does not open"), todo)
            }
            Access::Missing => Finding::new(check, State::Absent, format!("no /{path}"), missing),
        }
    }
}
