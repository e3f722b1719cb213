//! The files in `deploy/`: what they must say is there, and nothing in them takes it back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Bulla;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap()
}

/// Every directive of the unit, with all its values in order.
fn directives() -> BTreeMap<String, Vec<String>> {
    let mut directives: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let unit = text("bulla-provider.service");
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        directives.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    directives
}

/// R101, R105: an unprivileged user, only the devices of SGX, a system that cannot be written, no capabilities, a filter of system
/// calls, no core files.
#[test]
fn r105_the_unit_gives_the_provider_no_more_than_it_needs() {
    let directives = directives();
    for (name, wanted) in [
        ("User", &["bulla-provider"][..]),
        ("NoNewPrivileges", &["yes"]),
        ("CapabilityBoundingSet", &[""]),
        ("AmbientCapabilities", &[""]),
        ("DevicePolicy", &["closed"]),
        ("DeviceAllow", &["/dev/sgx_enclave rw", "/dev/sgx_provision rw"]),
        ("ProtectSystem", &["strict"]),
        ("ProtectHome", &["yes"]),
        ("PrivateTmp", &["yes"]),
        ("ProtectClock", &["yes"]),
        ("ProtectControlGroups", &["yes"]),
        ("ProtectHostname", &["yes"]),
        ("ProtectKernelLogs", &["yes"]),
        ("ProtectKernelModules", &["yes"]),
        ("ProtectKernelTunables", &["yes"]),
        ("ProtectProc", &["invisible"]),
        ("LockPersonality", &["yes"]),
        ("RestrictAddressFamilies", &["AF_UNIX AF_INET AF_INET6 AF_VSOCK"]),
        ("RestrictNamespaces", &["yes"]),
        ("RestrictRealtime", &["yes"]),
        ("RestrictSUIDSGID", &["yes"]),
        ("SystemCallArchitectures", &["native"]),
        ("SystemCallFilter", &["@system-service"]),
        ("StateDirectoryMode", &["0700"]),
        ("UMask", &["0077"]),
        ("LimitCORE", &["0"]),
        ("Type", &["notify-reload"]),
        ("NotifyAccess", &["main"]),
        ("WatchdogSec", &["30"]),
    ] {
        assert_eq!(
            directives.get(name).map(Vec::as_slice),
            Some(&wanted.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()[..]),
            "{name}"
        );
    }
    for never in
        ["ReadWritePaths", "PermissionsStartOnly", "Environment", "EnvironmentFile", "PassEnvironment"]
    {
        assert!(!directives.contains_key(never), "{never}");
    }
}

/// What the unit runs are commands of this version.
#[test]
fn the_unit_runs_commands_that_there_are() {
    let bulla = Bulla::new();
    let directives = directives();
    for line in directives["ExecStartPre"].iter().chain(&directives["ExecStart"]) {
        let words = line.strip_prefix("/usr/bin/bulla ").unwrap();
        let words = words.strip_suffix("/etc/bulla/provider.toml").unwrap();
        // The file is not there, so the command is understood and says so.
        bulla.run(&format!("{words}missing.toml")).fails(1, &["missing.toml"]);
    }
}

/// The settings that come with it are settings.
#[test]
fn the_settings_are_settings() {
    let bulla = Bulla::new();
    bulla.write("provider.toml", text("provider.toml"));
    let rows = bulla.run("provider config explain --json provider.toml").json();
    let value = |key: &str| {
        let rows = rows.as_array().unwrap();
        rows.iter().find(|row| row["key"] == key).unwrap()["value"].clone()
    };
    assert_eq!(value("state_dir"), "\"/var/lib/bulla-provider\"");
    assert_eq!(value("listen.legacy"), "off");
    assert_eq!(value("listen.unix_mode"), "0o666");
    let unit = directives();
    assert_eq!(unit["StateDirectory"], ["bulla-provider"]);
    assert_eq!(unit["RuntimeDirectory"], ["bulla-provider"]);
    for (file, line) in [
        ("bulla-provider.sysusers", "u     bulla-provider"),
        ("bulla-provider.tmpfiles", "d     /var/lib/bulla-provider  0700"),
    ] {
        assert!(text(file).contains(line), "{file}");
    }
}
