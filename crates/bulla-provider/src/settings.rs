//! Settings: what the host decides. They cannot widen any decision: which keys exist and who gets them is policy.

mod check;
mod collateral;
mod explain;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

pub use check::{Finding, Weight};
pub(crate) use collateral::Collateral;
pub use collateral::CollateralSettings;
pub use explain::Explained;

/// The largest settings file that is read, in bytes.
const LIMIT: u64 = 64 * 1024;
/// The longest path of a Unix socket, in bytes (`sun_path`, with its end).
const SOCKET_PATH_MAX: usize = 107;

/// What the host decides: which machine, which folder, which addresses.
///
/// ```
/// use bulla_provider::Settings;
///
/// let settings = Settings::from_toml(
///     r#"
///     machine = "sim:/var/lib/machine"
///     [listen]
///     legacy = "127.0.0.1:3443"
///     "#,
/// )?;
/// assert!(settings.listen.http.is_none());
/// assert_eq!(settings.state_dir.to_str(), Some("provider-state"));
/// # Ok::<(), bulla_provider::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The machine, `KIND[:PARAM]`. The command makes a [`bulla_tee::Tee`] of it; the library only carries it.
    pub machine: String,
    /// The folder of what the provider keeps. Without it, `provider-state` beside the settings file.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// The signed policy. Without it, the development policy, which only simulated machines take.
    pub policy: Option<PathBuf>,
    /// The admin socket. Without it, `admin.sock` in `state_dir`.
    pub admin: Option<PathBuf>,
    /// The listeners.
    pub listen: Listen,
    /// Rates.
    #[serde(default)]
    pub limits: LimitSettings,
    /// Where collateral comes from.
    #[serde(default)]
    pub collateral: CollateralSettings,
    /// The operator's log.
    #[serde(default)]
    pub log: LogSettings,
}

/// Where to listen. A listener that is absent is off; at least one that gives keys is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The frames of the earlier providers (R43).
    pub legacy: Option<SocketAddr>,
    /// Protocol v1.
    pub http: Option<SocketAddr>,
    /// Protocol v1 over TLS, with sessions.
    pub https: Option<SocketAddr>,
    /// Protocol v1 on a Unix socket.
    pub unix: Option<PathBuf>,
    /// Who may connect to the Unix socket, as the mode of a file; without it 0600, this user alone.
    pub unix_mode: Option<u32>,
    /// Protocol v1 on a port of vsock, for the guests of this host.
    pub vsock: Option<u32>,
    /// Health and metrics, for whoever may not use the admin socket.
    pub metrics: Option<SocketAddr>,
}

/// How many keys who gets. What is absent is off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Keys for one attested identity.
    pub identity: Option<Rate>,
    /// Requests of one peer, by its address.
    pub peer: Option<Rate>,
}

/// So many a minute, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many a minute, in the long run.
    pub per_minute: NonZero<u32>,
    /// How many at once, after a pause.
    pub burst: NonZero<u32>,
}

/// The operator's log, on standard error. Its level is fixed (R98).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// How its lines look.
    #[serde(default)]
    pub format: LogFormat,
}

/// How the lines of the log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Reads settings.
    ///
    /// # Errors
    /// [`Error::Settings`], which names the key, for anything unknown, missing, empty, duplicate or of a wrong type (R108,
    /// B44); for no listener at all; for an address that is not a loopback address, where nobody is authenticated (R52).
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        let syntax = |error: toml::de::Error| Error::setting("", error.to_string());
        let form = toml::Deserializer::parse(text).map_err(syntax)?;
        let mut settings: Self = serde_path_to_error::deserialize(form).map_err(|error| {
            let key = error.path().to_string();
            Error::setting(if key == "." { "" } else { &key }, error.inner().message())
        })?;
        if let Some((key, _)) = settings.paths().iter().find(|(_, path)| path.as_os_str().is_empty()) {
            return Err(Error::setting(*key, "is empty: name a path, or leave it out"));
        }
        settings.require()?;
        Ok(settings)
    }

    /// Reads a settings file. Relative paths are taken from the file's folder.
    ///
    /// # Errors
    /// As [`Settings::from_toml`]; [`Error::Io`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let reading = || format!("reading {}", path.display());
        let mut text = String::new();
        let file = File::open(path).map_err(Error::io(reading()))?;
        file.take(LIMIT + 1).read_to_string(&mut text).map_err(Error::io(reading()))?;
        if text.len() as u64 > LIMIT {
            return Err(Error::setting("", format!("{} is longer than {LIMIT} bytes", path.display())));
        }
        let mut settings = Self::from_toml(&text)?;
        if let Some(folder) = path.parent() {
            for (_, path) in settings.paths() {
                *path = folder.join(&*path);
            }
            // The folder can make it too long.
            settings.require()?;
        }
        Ok(settings)
    }

    /// The admin socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.admin.clone().unwrap_or_else(|| self.state_dir.join("admin.sock"))
    }

    /// The rules that a form does not express.
    fn require(&self) -> Result<(), Error> {
        let Listen { legacy, http, https, unix, unix_mode, vsock, metrics } = &self.listen;
        if [legacy, http, https] == [&None; 3] && unix.is_none() && vsock.is_none() {
            let reason = "names none of legacy, http, https, unix, vsock: turn one on";
            return Err(Error::setting("listen", reason));
        }
        if unix_mode.is_some_and(|mode| unix.is_none() || mode > 0o777) {
            return Err(Error::setting("listen.unix_mode", "is the mode of listen.unix, at most 0o777"));
        }
        for (key, address) in [("legacy", legacy), ("http", http), ("https", https), ("metrics", metrics)] {
            if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
                let reason = "is not a loopback address: other machines have no business here, and guests reach the \
                              provider through a forwarder on their host";
                return Err(Error::setting(format!("listen.{key}"), format!("{address} {reason}")));
            }
        }
        if self.admin_socket().as_os_str().len() > SOCKET_PATH_MAX {
            let reason = format!("is longer than the {SOCKET_PATH_MAX} bytes that a socket's path may have");
            return Err(Error::setting("admin", reason));
        }
        self.collateral.require()
    }

    /// Every path that is set, with its key.
    fn paths(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        let collateral = &mut self.collateral;
        let optional = [
            ("policy", &mut self.policy),
            ("admin", &mut self.admin),
            ("collateral.authorities", &mut collateral.authorities),
            ("collateral.bundle", &mut collateral.bundle),
            ("listen.unix", &mut self.listen.unix),
        ];
        let set = optional.into_iter().filter_map(|(key, path)| Some((key, path.as_mut()?)));
        set.chain([("state_dir", &mut self.state_dir)]).collect()
    }
}

fn default_state_dir() -> PathBuf {
    "provider-state".into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOOD: &str = "machine = \"sim:m\"\n[listen]\nhttp = \"127.0.0.1:8443\"\n";

    /// The key that the refusal of a text names.
    fn wrong(text: &str) -> String {
        match Settings::from_toml(text).unwrap_err() {
            error @ Error::Settings { .. } if error.code() != "settings.invalid" => panic!("{error}"),
            Error::Settings { key, .. } => key,
            error => panic!("{error}"),
        }
    }

    /// R108, B44: a misspelt key is no key that is left out, and the refusal names it.
    #[test]
    fn r108_unknown_missing_and_duplicate_keys_stop_the_start() {
        assert!(Settings::from_toml(GOOD).is_ok());
        for (bad, key) in [
            (String::new(), ""),
            ("machine = \"sim:m\"\n".into(), ""),
            ("[listen]\nhttp = \"127.0.0.1:8443\"\n".into(), ""),
            (format!("root = \"x\"\n{GOOD}"), "root"),
            (format!("state_dir = \"\"\n{GOOD}"), "state_dir"),
            (format!("policy = \"\"\n{GOOD}"), "policy"),
            (format!("admin = \"{}\"\n{GOOD}", "x".repeat(108)), "admin"),
            (format!("state-dir = \"x\"\n{GOOD}"), "state-dir"),
            (format!("{GOOD}htps = \"127.0.0.1:1\"\n"), "listen.htps"),
            (format!("{GOOD}[policy]\ntcb = \"any\"\n"), "policy"),
            (
                format!("{GOOD}[limits]\nidentity = {{ per_minute = 0, burst = 1 }}\n"),
                "limits.identity.per_minute",
            ),
            (format!("{GOOD}[limits]\nidentity = {{ per_minute = 1 }}\n"), "limits.identity"),
            (format!("{GOOD}[limits]\npeer = {{ per_hour = 1, burst = 1 }}\n"), "limits.peer.per_hour"),
            (format!("{GOOD}[collateral]\nverify = false\n"), "collateral.verify"),
            (format!("{GOOD}[collateral]\npccs = \"http://example.com\"\n"), "collateral.pccs"),
            (format!("{GOOD}[collateral]\nmax_age_hours = 0\n"), "collateral.max_age_hours"),
            (format!("{GOOD}[collateral]\nauthorities = \"ca.pem\"\n"), "collateral.authorities"),
            (format!("{GOOD}[log]\nlevel = \"trace\"\n"), "log.level"),
            (format!("{GOOD}[log]\nformat = \"xml\"\n"), "log.format"),
            (format!("machine = \"sim:n\"\n{GOOD}"), ""),
            (GOOD.replace("\"sim:m\"", "1"), "machine"),
            (GOOD.replace("127.0.0.1:8443", "localhost"), "listen.http"),
            ("machine = \"sim:m\"\n[listen]\n".into(), "listen"),
            (format!("{GOOD}unix_mode = 0o600\n"), "listen.unix_mode"),
            (format!("{GOOD}unix = \"s\"\nunix_mode = 0o1777\n"), "listen.unix_mode"),
            (format!("{GOOD}unix = \"\"\n"), "listen.unix"),
            (format!("{GOOD}vsock = \"any\"\n"), "listen.vsock"),
            ("machine = \"sim:m\"\n[listen]\nmetrics = \"127.0.0.1:1\"\n".into(), "listen"),
        ] {
            assert_eq!(wrong(&bad), key, "{bad}");
        }
    }

    /// R52, B44.
    #[test]
    fn r52_only_loopback_is_listened_on() {
        for bad in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1", "[::ffff:127.0.0.1]:1"] {
            for key in ["http", "https", "legacy", "metrics"] {
                let text = match key {
                    "http" => GOOD.replace("127.0.0.1:8443", bad),
                    _ => format!("{GOOD}{key} = \"{bad}\"\n"),
                };
                let error = Settings::from_toml(&text).unwrap_err().to_string();
                assert!(error.contains("loopback") && error.contains(&format!("listen.{key}")), "{error}");
            }
        }
        for good in ["http = \"[::1]:1\"", "vsock = 8443", "unix = \"s\"\nunix_mode = 0o660"] {
            assert!(Settings::from_toml(&format!("machine = \"sim:m\"\n[listen]\n{good}\n")).is_ok());
        }
    }

    #[test]
    fn what_is_relative_lies_beside_the_settings() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("provider.toml");
        for (line, wanted) in [
            ("", folder.path().join("provider-state")),
            ("state_dir = \"s\"\n", folder.path().join("s")),
            ("state_dir = \"/s\"\n", "/s".into()),
        ] {
            let rest = "policy = \"p\"\n";
            fs::write(&file, format!("{line}{rest}{GOOD}[collateral]\nbundle = \"b\"\n")).unwrap();
            let settings = Settings::load(&file).unwrap();
            assert_eq!(settings.admin_socket(), wanted.join("admin.sock"));
            assert_eq!(settings.state_dir, wanted);
            assert_eq!(settings.policy, Some(folder.path().join("p")));
            assert_eq!(settings.collateral.bundle, Some(folder.path().join("b")));
        }
        fs::write(&file, format!("{GOOD}# {}", "x".repeat(64 * 1024))).unwrap();
        assert!(Settings::load(&file).unwrap_err().to_string().contains("longer"));
    }
}
