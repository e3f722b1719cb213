//! TDX and SEV-SNP, as guests and as their hosts.

use super::place::Place;
use super::{Finding, State};

const REPORTS: &str = "sys/kernel/config/tsm/report";
/// What the kernels of SEV-SNP guests show of them, from 6.11 on.
const SEV: &str = "sys/devices/system/cpu/sev/vmpl";
const REGISTERS: &str = "sys/devices/virtual/misc/tdx_guest/measurements";

pub(super) fn examine(place: &Place<'_>) -> Vec<Finding> {
    let is_tdx = place.has("tdx_guest") || place.exists("dev/tdx_guest");
    let is_snp = place.exists("dev/sev-guest") || place.exists(SEV);
    let mut findings = vec![tdx_guest(place, is_tdx)];
    if is_tdx {
        findings.push(registers(place));
    }
    findings.push(snp_guest(place, is_snp));
    if is_tdx || is_snp {
        findings.push(reports(place));
    }
    findings.extend([
        host(place, "TDX host", "kvm_intel", "tdx"),
        host(place, "SEV-SNP host", "kvm_amd", "sev_snp"),
    ]);
    if enabled(place, "kvm_intel", "tdx") {
        findings.push(quoting(place));
    }
    findings
}

fn tdx_guest(place: &Place<'_>, is_tdx: bool) -> Finding {
    if !is_tdx {
        return Finding::new("TDX guest", State::Absent, "this is none", "");
    }
    let missing = "use a kernel with CONFIG_TDX_GUEST_DRIVER, from 6.2 on, and load the module tdx_guest";
    let finding = place.device("TDX guest", "dev/tdx_guest", "root", missing);
    // It is one, so the driver is what is missing.
    let state = if finding.state == State::Absent { State::Attention } else { finding.state };
    Finding { state, ..finding }
}

/// Reading is for everybody, extending for root.
fn registers(place: &Place<'_>) -> Finding {
    let name = "TDX registers (RTMR)";
    if place.exists(&format!("{REGISTERS}/rtmr3:sha384")) {
        return Finding::new(name, State::Ok, "the kernel shows and extends them", "");
    }
    let todo = "use a kernel from 6.16 on to read and extend them; quotes carry them all the same";
    Finding::new(name, State::Absent, format!("no /{REGISTERS}"), todo)
}

fn snp_guest(place: &Place<'_>, is_snp: bool) -> Finding {
    if !is_snp {
        return Finding::new("SEV-SNP guest", State::Absent, "this is none", "");
    }
    let missing = "use a kernel with CONFIG_SEV_GUEST, from 5.19 on, and load the module sev-guest; without it there are no keys";
    let finding = place.device("SEV-SNP guest", "dev/sev-guest", "root", missing);
    // As for TDX.
    let state = if finding.state == State::Absent { State::Attention } else { finding.state };
    Finding { state, ..finding }
}

fn reports(place: &Place<'_>) -> Finding {
    let name = "guest reports (TSM)";
    if place.exists(REPORTS) {
        return Finding::new(name, State::Ok, format!("/{REPORTS} is there; making one is for root"), "");
    }
    let todo =
        "mount -t configfs none /sys/kernel/config, and load the guest's driver; needs a kernel from 6.7 on";
    if place.exists("dev/tdx_guest") && place.exists("dev/vsock") {
        let found = format!("no /{REPORTS}; quotes are asked of the host's service by vsock");
        return Finding::new(name, State::Attention, found, todo);
    }
    Finding::new(name, State::Attention, format!("no /{REPORTS}"), todo)
}

fn enabled(place: &Place<'_>, module: &str, parameter: &str) -> bool {
    let value = place.text(&format!("sys/module/{module}/parameters/{parameter}"));
    value.is_some_and(|value| ["Y", "1"].contains(&value.as_str()))
}

fn host(place: &Place<'_>, name: &'static str, module: &str, parameter: &str) -> Finding {
    if enabled(place, module, parameter) {
        return Finding::new(name, State::Ok, format!("{module} runs such guests"), "");
    }
    if place.exists(&format!("sys/module/{module}/parameters/{parameter}")) {
        let todo = format!("switch it on in the firmware and load {module} with {parameter}=1");
        return Finding::new(name, State::Absent, format!("{module} could and does not"), todo);
    }
    Finding::new(name, State::Absent, "this is none", "")
}

fn quoting(place: &Place<'_>) -> Finding {
    let name = "TDX quotes (QGS)";
    if ["var/run/tdx-qgs/qgs.socket", "run/tdx-qgs/qgs.socket", "etc/qgs.conf"]
        .into_iter()
        .any(|path| place.exists(path))
    {
        return Finding::new(name, State::Ok, "the quote generation service is installed", "");
    }
    let todo =
        "install tdx-qgs, start qgsd, and give guests its vsock port (4050) in quote-generation-socket";
    Finding::new(name, State::Absent, "no quote generation service", todo)
}
