//! What each setting is, is by default, and can do at most.

use super::Settings;

/// One setting, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Its key, with dots.
    pub key: &'static str,
    /// The value that is in effect, as TOML; `off` where there is none.
    pub value: String,
    /// Whether the file says so.
    pub set: bool,
    /// What it is without the key.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// The most that a hostile value does (R108).
    pub bound: &'static str,
}

/// A key with what does not depend on the file: default, meaning, and the most that a hostile value does.
struct Row(&'static str, &'static str, &'static str, &'static str);

const ELSEWHERE: &str =
    "no guest gets a key that is not its own: at worst the provider does not start or is not found";
const NO_KEY: &str = "no key is released that would not be: at worst keys are refused";

const ROWS: [Row; 18] = [
    Row(
        "machine",
        "none: it is needed",
        "the machine whose enclave this is",
        "another machine has other keys, and cannot open this state",
    ),
    Row(
        "state_dir",
        "provider-state, beside this file",
        "where the provider keeps what must not be lost",
        "another state is another root, with other keys; an old copy of the state brings back nothing that its signed policy and the sealed floors do not allow",
    ),
    Row(
        "policy",
        "the development policy, on simulated machines only",
        "the policy that the provider authority signed",
        "its signature and authority are checked, and the authority is part of every key: an older one is refused, another authority's has other keys",
    ),
    Row(
        "admin",
        "admin.sock in state_dir",
        "the socket of `bulla provider status`, `reload`, `drain` and the signed commands",
        "whoever can open it can stop the service; what touches roots and floors needs the authority's signature",
    ),
    Row(
        "listen.legacy",
        "off",
        "the frames of the earlier providers: address and port of this machine",
        ELSEWHERE,
    ),
    Row("listen.http", "off", "protocol v1 over HTTP: address and port of this machine", ELSEWHERE),
    Row(
        "listen.https",
        "off",
        "protocol v1 over TLS, with sessions: address and port of this machine",
        ELSEWHERE,
    ),
    Row("listen.unix", "off", "protocol v1 on a Unix socket", ELSEWHERE),
    Row(
        "listen.unix_mode",
        "0o600, the provider's user alone",
        "who may connect to listen.unix, as the mode of a file",
        "whoever can connect can ask, and is judged like everyone",
    ),
    Row("listen.vsock", "off", "protocol v1 on a port of vsock, for the guests of this host", ELSEWHERE),
    Row(
        "listen.metrics",
        "off",
        "health and metrics for whoever may not use the admin socket: address and port of this machine",
        "it shows counts and states, never a key, evidence or platform id",
    ),
    Row(
        "limits.identity",
        "off",
        "how many keys one attested identity gets: per_minute in the long run, burst at once",
        NO_KEY,
    ),
    Row(
        "limits.peer",
        "off",
        "how many requests one address makes: per_minute in the long run, burst at once",
        NO_KEY,
    ),
    Row(
        "collateral.pccs",
        "the vendor's own service, or the simulated machine itself",
        "the caching service that is asked for collateral",
        "collateral is signed by its vendor and never exchanged for older: whoever delivers it can withhold it, no more",
    ),
    Row(
        "collateral.authorities",
        "those of the web",
        "who vouches for the caching service, in PEM",
        "collateral is signed by its vendor: at worst it is missing",
    ),
    Row(
        "collateral.bundle",
        "none",
        "collateral from a file; without pccs nobody else is asked",
        "each set is verified like any other: at worst it is missing, and keys are refused when it expires",
    ),
    Row(
        "collateral.max_age_hours",
        "24",
        "how many hours after it was fetched collateral is fetched again",
        "a large value delays news of a revocation until the collateral expires, and never beyond; the policy's minimum holds",
    ),
    Row(
        "log.format",
        "\"text\"",
        "how the lines of the log look: text or json",
        "the level is fixed, and no line holds a secret, evidence, a platform id or ciphertext",
    ),
];

impl Settings {
    /// Every setting: its value in effect, its default, what it means, and the most that a hostile value does.
    pub fn explain(&self) -> Vec<Explained> {
        let table = toml::Value::try_from(self).expect("settings came from TOML");
        ROWS.iter()
            .map(|&Row(key, default, meaning, bound)| {
                let value = key.split('.').try_fold(&table, |value, name| value.get(name));
                let shown = match key {
                    "admin" => toml::Value::from(self.admin_socket().display().to_string()).to_string(),
                    "listen.unix_mode" => format!("0o{:o}", self.listen.unix_mode.unwrap_or(0o600)),
                    "collateral.max_age_hours" if value.is_none() => "24".into(),
                    _ => value.map_or_else(|| "off".into(), ToString::to_string),
                };
                Explained { key, value: shown, set: value.is_some(), default, meaning, bound }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "machine = \"sim:m\"\nstate_dir = \"s\"\npolicy = \"p\"\nadmin = \"a\"\n\
        [listen]\nlegacy = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\nhttps = \"127.0.0.1:4\"\nunix = \"u\"\nunix_mode = 0o660\n\
        vsock = 5\nmetrics = \"127.0.0.1:3\"\n\
        [limits]\nidentity = { per_minute = 1, burst = 2 }\npeer = { per_minute = 3, burst = 4 }\n\
        [collateral]\npccs = \"https://localhost\"\nauthorities = \"c\"\nbundle = \"b\"\nmax_age_hours = 7\n\
        [log]\nformat = \"json\"\n";

    fn leaves(prefix: &str, value: &toml::Value) -> Vec<String> {
        let is_rate = value.get("per_minute").is_some();
        match value.as_table().filter(|_| !is_rate) {
            Some(table) => {
                table.iter().flat_map(|(key, value)| leaves(&format!("{prefix}.{key}"), value)).collect()
            }
            None => vec![prefix.trim_start_matches('.').to_owned()],
        }
    }

    /// R108: whoever adds a setting says what a hostile value of it does.
    #[test]
    fn r108_every_setting_is_explained() {
        let settings = Settings::from_toml(ALL).unwrap();
        let mut keys = leaves("", &toml::Value::try_from(&settings).unwrap());
        let explained = settings.explain();
        let mut rows: Vec<_> = explained.iter().map(|row| row.key.to_owned()).collect();
        keys.sort();
        rows.sort();
        assert_eq!(keys, rows, "the text above has every setting, and so has the table");
        assert!(explained.iter().all(|row| row.set && !row.bound.is_empty() && !row.meaning.is_empty()));
        let rate = explained.iter().find(|row| row.key == "limits.peer").unwrap();
        assert_eq!(rate.value, "{ burst = 4, per_minute = 3 }");
    }

    #[test]
    fn what_is_absent_has_its_default() {
        let settings =
            Settings::from_toml("machine = \"sim:m\"\n[listen]\nhttp = \"127.0.0.1:2\"\n").unwrap();
        let value = |key| settings.explain().into_iter().find(|row| row.key == key).unwrap();
        assert_eq!(value("listen.legacy").value, "off");
        assert_eq!(value("collateral.max_age_hours").value, "24");
        assert_eq!(value("log.format").value, "\"text\"");
        assert_eq!(value("admin").value, "\"provider-state/admin.sock\"");
        assert!(!value("admin").set);
    }
}
