//! SGX: the processor, the driver, the memory, and who makes quotes.

use serde_json::Value;

use super::place::{Access, Place};
use super::{Finding, State};

const QCNL: &str = "etc/sgx_default_qcnl.conf";
/// Less is what processors had before Ice Lake servers, of which a part is the processor's own.
const SMALL_EPC: u64 = 128 << 20;

pub(super) fn examine(place: &Place<'_>) -> Vec<Finding> {
    let mut findings = vec![processor(place)];
    if !place.has("sgx") && !place.exists("dev/sgx_enclave") {
        return findings;
    }
    findings.extend([driver(place), provisioning(place), executable(place), memory(place)]);
    findings.extend([aesm(place), pccs(place)]);
    findings
}

fn processor(place: &Place<'_>) -> Finding {
    let name = "SGX processor";
    match (place.has("sgx"), place.has("sgx_lc")) {
        (true, true) => Finding::new(name, State::Ok, "SGX with flexible launch control", ""),
        (true, false) => {
            let todo = "switch on flexible launch control in the firmware: the kernel's driver needs it";
            Finding::new(name, State::Attention, "SGX without flexible launch control", todo)
        }
        (false, _) => {
            let todo = "where the processor has it, switch it on in the firmware";
            Finding::new(name, State::Absent, "no SGX", todo)
        }
    }
}

fn driver(place: &Place<'_>) -> Finding {
    let name = "SGX driver";
    let old = ["dev/isgx", "dev/sgx/enclave"].into_iter().find(|path| place.exists(path));
    match old {
        Some(path) if !place.exists("dev/sgx_enclave") => {
            let todo = "use a kernel from 5.11 on, which has the driver, and remove the old one";
            Finding::new(name, State::Attention, format!("the old driver of /{path}"), todo)
        }
        _ => {
            let missing =
                "use a kernel from 5.11 on with CONFIG_X86_SGX; a container needs the device passed in";
            place.device(name, "dev/sgx_enclave", "sgx", missing)
        }
    }
}

/// Only who quotes needs it, which is the AESM.
fn provisioning(place: &Place<'_>) -> Finding {
    let name = "SGX provisioning";
    match place.access("dev/sgx_provision") {
        Access::Missing => {
            let todo = "pass it in where the AESM runs: quoting enclaves need it";
            Finding::new(name, State::Absent, "no /dev/sgx_provision", todo)
        }
        _ => Finding::new(name, State::Ok, "/dev/sgx_provision is there", ""),
    }
}

/// The driver refuses to map enclaves from a noexec mount (EACCES).
fn executable(place: &Place<'_>) -> Finding {
    let name = "SGX mapping";
    let Some(mounts) = place.text("proc/mounts") else {
        return Finding::new(name, State::Unknown, "/proc/mounts cannot be read", "");
    };
    let mut options = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        (words.next()? == "/dev").then(|| words.nth(1)).flatten()
    });
    // The last mount on a place is the one that is seen.
    if options.next_back().is_some_and(|options| options.split(',').any(|option| option == "noexec")) {
        let todo = "mount -o remount,exec /dev: the driver loads no enclave from a noexec mount";
        return Finding::new(name, State::Attention, "/dev is mounted noexec", todo);
    }
    Finding::new(name, State::Ok, "/dev is not mounted noexec", "")
}

fn memory(place: &Place<'_>) -> Finding {
    let name = "SGX memory (EPC)";
    let nodes = place.names("sys/devices/system/node");
    let sizes: Vec<u64> = nodes
        .iter()
        .filter(|node| node.starts_with("node"))
        .filter_map(|node| place.text(&format!("sys/devices/system/node/{node}/x86/sgx_total_bytes")))
        .filter_map(|text| text.parse().ok())
        .filter(|bytes| *bytes > 0)
        .collect();
    let total = sizes.iter().fold(0_u64, |total, bytes| total.saturating_add(*bytes));
    let found = format!("{} MiB on {} node(s)", total >> 20, sizes.len());
    match total {
        0 => {
            let todo = "reserve memory for SGX in the firmware (PRMRR); before 5.17 the kernel does not tell";
            Finding::new(name, State::Unknown, "the kernel tells of none", todo)
        }
        small if small <= SMALL_EPC => {
            let todo =
                "a second instance may not fit: stop the old one before the new one starts, or reserve more";
            Finding::new(name, State::Attention, found, todo)
        }
        _ => Finding::new(name, State::Ok, found, ""),
    }
}

fn aesm(place: &Place<'_>) -> Finding {
    let name = "SGX quotes (AESM)";
    if ["var/run/aesmd/aesm.socket", "run/aesmd/aesm.socket"].into_iter().any(|path| place.exists(path)) {
        return Finding::new(name, State::Ok, "the socket of aesmd is there", "");
    }
    let todo = "install sgx-aesm-service with its quote-ex plug-in and start aesmd; without it there are keys and no quotes";
    Finding::new(name, State::Absent, "no socket of aesmd", todo)
}

/// Where quote providers get certificates: JSON with comments since DCAP 1.13, lines of `NAME=value` before.
fn pccs(place: &Place<'_>) -> Finding {
    let name = "SGX collateral (PCCS)";
    let todo = "install libsgx-dcap-default-qpl and name your PCCS in /etc/sgx_default_qcnl.conf";
    let Some(text) = place.text(QCNL) else {
        return Finding::new(name, State::Absent, format!("no /{QCNL}"), todo);
    };
    let value = |name: &str| setting(&text, name);
    let Some(url) = value("pccs_url") else {
        return Finding::new(name, State::Attention, format!("/{QCNL} names no PCCS"), todo);
    };
    if value("use_secure_cert").is_some_and(|value| value.eq_ignore_ascii_case("false")) {
        let found = format!("{url}, whose certificate is not checked");
        let todo = "set use_secure_cert to true, unless the PCCS is on this machine";
        return Finding::new(name, State::Attention, found, todo);
    }
    Finding::new(name, State::Ok, format!("{url} (not asked)"), "")
}

fn setting(text: &str, wanted: &str) -> Option<String> {
    let lines = || text.lines().filter(|line| !line.trim_start().starts_with("//"));
    if let Ok(settings) = serde_json::from_str::<Value>(&lines().collect::<String>()) {
        return match settings.get(wanted)? {
            Value::String(text) => Some(text.clone()),
            value => Some(value.to_string()),
        };
    }
    let mut settings = lines().filter_map(|line| line.split_once('='));
    let value = settings.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))?.1;
    Some(value.trim().to_owned())
}
