//! Settings: what the host decides. They cannot widen any decision: which keys exist and who gets them is policy.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Error;

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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The machine, `KIND[:PARAM]`. The command makes a [`bulla_tee::Tee`] of it; the library only carries it.
    pub machine: String,
    /// The folder of `root.request` and `audit.log`. Without it, `provider-state` beside the settings file.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// The listeners.
    pub listen: Listen,
}

/// Where to listen. A listener that is absent is off; at least one is on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The frames of the earlier providers (R43).
    pub legacy: Option<SocketAddr>,
    /// Protocol v1.
    pub http: Option<SocketAddr>,
    /// Protocol v1 over TLS, with sessions.
    pub https: Option<SocketAddr>,
    /// Protocol v1 on a Unix socket. A relative path is taken from the settings file's folder.
    pub unix: Option<PathBuf>,
    /// Who may connect to the Unix socket, as the mode of a file; without it 0600, this user alone.
    pub unix_mode: Option<u32>,
    /// Protocol v1 on a port of vsock, for the guests of this host.
    pub vsock: Option<u32>,
}

impl Settings {
    /// Reads settings.
    ///
    /// # Errors
    /// [`Error::Settings`] for anything unknown, missing, empty, duplicate or of a wrong type (R108, B44); for no listener
    /// at all; for an address that is not a loopback address, because this version authenticates nobody (R52).
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        let settings: Self = toml::from_str(text).map_err(|error| Error::Settings(error.to_string()))?;
        if settings.state_dir.as_os_str().is_empty() {
            return Err(Error::Settings("state_dir is empty: name a folder, or leave it out".into()));
        }
        let addresses = [settings.listen.legacy, settings.listen.http, settings.listen.https];
        let Listen { unix, unix_mode, vsock, .. } = &settings.listen;
        if addresses == [None; 3] && unix.is_none() && vsock.is_none() {
            return Err(Error::Settings(
                "[listen] names none of legacy, http, https, unix, vsock: turn one on".into(),
            ));
        }
        if unix_mode.is_some_and(|mode| unix.is_none() || mode > 0o777) {
            return Err(Error::Settings("listen.unix_mode is the mode of listen.unix, at most 0o777".into()));
        }
        if let Some(address) = addresses.into_iter().flatten().find(|address| !address.ip().is_loopback()) {
            let reason = "is not a loopback address: other machines have no business here, and guests reach the provider \
                          through a forwarder on their host";
            return Err(Error::Settings(format!("{address} {reason}")));
        }
        Ok(settings)
    }

    /// Reads a settings file. A relative `state_dir` is taken from the file's folder.
    ///
    /// # Errors
    /// As [`Settings::from_toml`]; [`Error::Io`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(Error::io(format!("reading {}", path.display())))?;
        let mut settings = Self::from_toml(&text)?;
        if let Some(folder) = path.parent() {
            settings.state_dir = folder.join(&settings.state_dir);
            settings.listen.unix = settings.listen.unix.map(|socket| folder.join(socket));
        }
        Ok(settings)
    }
}

fn default_state_dir() -> PathBuf {
    "provider-state".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "machine = \"sim:m\"\n[listen]\nhttp = \"127.0.0.1:8443\"\n";

    /// R108, B44: a misspelt key is no key that is left out.
    #[test]
    fn unknown_missing_and_duplicate_keys_stop_the_start() {
        assert!(Settings::from_toml(GOOD).is_ok());
        for bad in [
            "",
            "machine = \"sim:m\"\n",
            "[listen]\nhttp = \"127.0.0.1:8443\"\n",
            &format!("root = \"x\"\n{GOOD}"),
            &format!("state_dir = \"\"\n{GOOD}"),
            &format!("state-dir = \"x\"\n{GOOD}"),
            &format!("{GOOD}ftp = \"127.0.0.1:1\"\n"),
            &format!("{GOOD}unix_mode = 0o600\n"),
            &format!("{GOOD}unix = \"s\"\nunix_mode = 0o1777\n"),
            &format!("{GOOD}vsock = \"any\"\n"),
            &format!("{GOOD}[policy]\ntcb = \"any\"\n"),
            &format!("machine = \"sim:n\"\n{GOOD}"),
            &GOOD.replace("\"sim:m\"", "1"),
            &GOOD.replace("127.0.0.1:8443", "localhost"),
            "machine = \"sim:m\"\n[listen]\n",
        ] {
            assert_eq!(Settings::from_toml(bad).unwrap_err().code(), "settings.invalid", "{bad}");
        }
    }

    /// R52, B44.
    #[test]
    fn only_loopback_is_listened_on() {
        for bad in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1", "[::ffff:127.0.0.1]:1"] {
            let error = Settings::from_toml(&GOOD.replace("127.0.0.1:8443", bad)).unwrap_err();
            assert!(error.to_string().contains("loopback"), "{bad}: {error}");
        }
        assert!(Settings::from_toml(&GOOD.replace("127.0.0.1", "[::1]")).is_ok());
        assert!(Settings::from_toml(&format!("{GOOD}https = \"0.0.0.0:1\"\n")).is_err());
        assert!(Settings::from_toml("machine = \"sim:m\"\n[listen]\nvsock = 8443\n").is_ok());
        assert!(
            Settings::from_toml("machine = \"sim:m\"\n[listen]\nunix = \"s\"\nunix_mode = 0o660\n").is_ok()
        );
    }

    #[test]
    fn the_state_lies_beside_the_settings() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("provider.toml");
        for (line, wanted) in [
            ("", folder.path().join("provider-state")),
            ("state_dir = \"s\"\n", folder.path().join("s")),
            ("state_dir = \"/s\"\n", "/s".into()),
        ] {
            fs::write(&file, format!("{line}{GOOD}")).unwrap();
            assert_eq!(Settings::load(&file).unwrap().state_dir, wanted);
        }
    }
}
