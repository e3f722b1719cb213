//! The kernel and the microcode: what is known to matter to secrets in enclaves and guests.

use super::place::Place;
use super::{Finding, State};

const VULNERABILITIES: &str = "sys/devices/system/cpu/vulnerabilities";

pub(super) fn examine(place: &Place<'_>) -> Vec<Finding> {
    let mut findings = vec![microcode(place)];
    let release = place.text("proc/sys/kernel/osrelease");
    let Some((release, version)) = release.as_ref().and_then(|text| Some((text, version(text)?))) else {
        findings.push(Finding::new(
            "kernel",
            State::Unknown,
            "/proc/sys/kernel/osrelease cannot be read",
            "",
        ));
        return findings;
    };
    let known = known(place, version);
    if known.is_empty() {
        findings.push(Finding::new("kernel", State::Ok, release, ""));
    }
    findings.extend(
        known
            .into_iter()
            .map(|(what, todo)| Finding::new("kernel", State::Attention, format!("{release}: {what}"), todo)),
    );
    findings.extend(vulnerable(place));
    findings
}

fn microcode(place: &Place<'_>) -> Finding {
    match place.cpu("microcode") {
        Some(revision) => Finding::new("microcode", State::Ok, revision, ""),
        None => Finding::new("microcode", State::Unknown, "the kernel does not tell", ""),
    }
}

/// Major, minor and stable number; the last is 0 where it is not told.
fn version(release: &str) -> Option<[u32; 3]> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)])
}

/// From which version to which CVE-2026-31470 was open: a host that lies about a quote's length was given the guest's memory.
const OPEN_QUOTES: [[[u32; 3]; 2]; 3] =
    [[[6, 7, 0], [6, 12, 80]], [[6, 13, 0], [6, 18, 21]], [[6, 19, 0], [6, 19, 11]]];

/// Defects of kernels of this version, where this machine meets them. A distributor may have mended them in it.
fn known(place: &Place<'_>, version: [u32; 3]) -> Vec<(&'static str, &'static str)> {
    let tdx = place.has("tdx_guest") || place.exists("dev/tdx_guest");
    [
        (
            tdx && version < [7, 1, 0],
            "may report a quote that failed as one that succeeded",
            "update it when you can, to 7.1 or later; bulla checks each quote that it is given",
        ),
        (
            tdx && OPEN_QUOTES.iter().any(|[from, to]| (*from..*to).contains(&version)),
            "may put its own memory behind a quote, where the host makes up its length (CVE-2026-31470)",
            "update it, to 7.0 or a stable release that mends it; bulla takes no quote with something behind it",
        ),
        (
            tdx && version < [6, 7, 0],
            "has no configfs for reports, which quotes are made by",
            "use a kernel from 6.7 on",
        ),
        (place.has("sgx") && version < [5, 11, 0], "has no SGX driver of its own", "use a kernel from 5.11 on"),
    ]
    .into_iter()
    .filter(|(applies, ..)| *applies)
    .map(|(_, what, todo)| (what, todo))
    .collect()
}

/// What the kernel itself calls vulnerable.
fn vulnerable(place: &Place<'_>) -> Vec<Finding> {
    let names = place.names(VULNERABILITIES);
    let open = names.iter().filter_map(|name| {
        let text = place.text(&format!("{VULNERABILITIES}/{name}"))?;
        text.starts_with("Vulnerable").then(|| format!("{name}: {text}"))
    });
    let todo =
        "update microcode and kernel, and switch the mitigation on: other programs here may read secrets";
    open.map(|found| Finding::new("vulnerability", State::Attention, found, todo)).collect()
}
