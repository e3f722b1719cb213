//! What a start would refuse, found without starting.

use std::fmt::Display;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpListener;

use super::Settings;
use crate::Error;
use crate::admin::own_folder;
use crate::admit::unix::is_left_over;
use crate::custody::State;
use crate::policy::Policy;

/// Something that a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// The setting that leads to it.
    pub key: String,
    /// What it is and what to do.
    pub text: String,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weight {
    /// A start would be refused.
    Refused,
    /// A start would be refused as long as something else runs, for example the provider itself.
    Now,
    /// Nothing is wrong, and somebody may not have meant it.
    Note,
}

impl Settings {
    /// All that a start would refuse of what the settings name: the policy, addresses, sockets, folders, files. Nothing is
    /// made or changed. The machine is the caller's to open.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut refused = |result: Result<(), Error>, at: &str| {
            findings.extend(result.err().map(|error| Finding::of(at, error)));
        };
        refused(Policy::of(self).map(drop), "policy");
        refused(State::check(&self.state_dir), "state_dir");
        self.collateral.check().into_iter().for_each(|error| refused(Err(error), "collateral"));
        findings.extend(self.check_addresses());
        findings.extend(self.check_sockets());
        findings.extend(self.notes());
        findings
    }

    fn check_addresses(&self) -> Vec<Finding> {
        let listen = &self.listen;
        let addresses = [
            ("listen.legacy", listen.legacy),
            ("listen.http", listen.http),
            ("listen.https", listen.https),
            ("listen.metrics", listen.metrics),
        ];
        let probe = |(key, address): (&str, Option<_>)| {
            let address = address?;
            Some(Finding::at(key, address, &TcpListener::bind(address).err()?))
        };
        addresses.into_iter().filter_map(probe).collect()
    }

    fn check_sockets(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let admin = self.admin_socket();
        // The folder of the state is made by the start.
        if self.admin.is_some() || fs::exists(&self.state_dir).unwrap_or(true) {
            findings.extend(own_folder(&admin).err().map(|error| Finding::of("admin", error)));
        }
        for (key, path) in [("admin", Some(&admin)), ("listen.unix", self.listen.unix.as_ref())] {
            let found = path.and_then(|path| Some((path, is_left_over(path).err()?)));
            findings.extend(found.map(|(path, error)| Finding::at(key, path.display(), &error)));
        }
        findings
    }

    fn notes(&self) -> Vec<Finding> {
        let mut notes = Vec::new();
        let mut note = |key: &str, text: &str| {
            notes.push(Finding { weight: Weight::Note, key: key.into(), text: text.into() });
        };
        if self.policy.is_none() {
            note("policy", "there is none: only a simulated machine starts under the development policy");
        }
        if self.listen.legacy.is_some() {
            note(
                "listen.legacy",
                "serves clients that neither ask for freshness nor choose paths; turn it off when none is left",
            );
        }
        if self.collateral.bundle.is_some() && self.collateral.pccs.is_none() {
            note(
                "collateral.bundle",
                "nobody else is asked: keys are refused when it expires; import a new one before",
            );
        }
        notes
    }
}

impl Finding {
    /// What is said of an address that cannot be listened on.
    fn at(key: &str, address: impl Display, error: &io::Error) -> Self {
        let weight = match error.kind() {
            ErrorKind::AddrInUse => Weight::Now,
            _ => Weight::Refused,
        };
        Self { weight, key: key.into(), text: format!("{address}: {error}") }
    }

    /// What is said of an error; settings that name their key keep it.
    fn of(key: &str, error: Error) -> Self {
        match error {
            Error::Settings { key, reason } if !key.is_empty() => {
                Self { weight: Weight::Refused, key, text: reason }
            }
            Error::Locked { .. } => Self { weight: Weight::Now, key: key.into(), text: error.to_string() },
            _ => Self { weight: Weight::Refused, key: key.into(), text: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(rest: &str) -> Settings {
        Settings::from_toml(&format!("{rest}machine = \"sim:m\"\n[listen]\nhttp = \"127.0.0.1:0\"\n"))
            .unwrap()
    }

    fn refused(settings: &Settings) -> Vec<(Weight, String)> {
        let findings = settings.check().into_iter().filter(|finding| finding.weight != Weight::Note);
        findings.map(|finding| (finding.weight, finding.key)).collect()
    }

    #[test]
    fn what_a_start_would_refuse_is_found_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut settings = settings("");
        settings.state_dir = path("state");
        assert_eq!(refused(&settings), []);
        assert!(!path("state").exists(), "a check makes nothing");

        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        settings.listen.metrics = Some(holder.local_addr().unwrap());
        settings.listen.legacy = Some("[::1]:0".parse().unwrap());
        fs::write(path("file"), "not a folder").unwrap();
        settings.state_dir = path("file");
        settings.collateral.bundle = Some(path("missing.json"));
        settings.collateral.authorities = Some(path("file"));
        settings.collateral.pccs = Some("https://localhost".into());
        settings.admin = Some(path("file"));
        let found = refused(&settings);
        for wanted in [
            (Weight::Refused, "state_dir"),
            (Weight::Refused, "collateral.bundle"),
            (Weight::Refused, "collateral.authorities"),
            (Weight::Now, "listen.metrics"),
            (Weight::Refused, "admin"),
        ] {
            assert!(
                found.iter().any(|(weight, key)| (*weight, key.as_str()) == wanted),
                "{wanted:?}: {found:?}"
            );
        }
    }
}
