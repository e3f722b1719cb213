//! Trusted platform modules.

use super::place::{Access, Place};
use super::{Finding, State};

const NAME: &str = "TPM";
const CLASS: &str = "sys/class/tpm";

/// A line for each TPM, and whether this program can use one.
pub(super) fn examine(place: &Place<'_>) -> Vec<Finding> {
    let mut numbers: Vec<u32> =
        place.names(CLASS).iter().filter_map(|name| name.strip_prefix("tpm")?.parse().ok()).collect();
    numbers.sort_unstable();
    // A container may have the device and not the class.
    if numbers.is_empty() && place.exists("dev/tpmrm0") {
        numbers.push(0);
    }
    if numbers.is_empty() {
        let todo = "where there is one, switch it on in the firmware";
        return vec![Finding::new(NAME, State::Absent, "none", todo)];
    }
    numbers.into_iter().map(|number| tpm(place, number)).chain([backend()]).collect()
}

fn tpm(place: &Place<'_>, number: u32) -> Finding {
    let attention = |found: String, todo: &str| {
        Finding::new(NAME, State::Attention, format!("tpm{number}: {found}"), todo)
    };
    let class = format!("{CLASS}/tpm{number}");
    let version = place.text(&format!("{class}/tpm_version_major"));
    if let Some(version) = version.as_deref().filter(|version| *version != "2") {
        let todo = "switch it to 2.0 in the firmware, where it can";
        return attention(format!("TPM {version}, and not 2.0"), todo);
    }
    let (managed, raw) = (format!("dev/tpmrm{number}"), format!("dev/tpm{number}"));
    match (place.access(&managed), place.exists(&raw)) {
        (Access::Missing, true) => {
            let todo = "use a kernel from 4.12 on, or pass /dev/tpmrm0 in: without it there is room for three objects at a time";
            return attention(format!("TPM 2.0, /{raw} without a resource manager"), todo);
        }
        (Access::Missing, false) => {
            let todo = "pass the device in, or look why the kernel's driver does not make it";
            return attention(format!("TPM 2.0 without /{managed}, its resource manager"), todo);
        }
        (Access::Denied, _) => {
            let todo = "let this user open it, usually by the group tss";
            return attention(format!("TPM 2.0, /{managed} is there and does not open"), todo);
        }
        (Access::Opens, _) => {}
    }
    if place.exists(&format!("{class}/pcr-sha1")) && !place.exists(&format!("{class}/pcr-sha256")) {
        let todo = "switch on the SHA-256 bank in the firmware: keys are sealed under its registers";
        return attention("TPM 2.0 that measures by SHA-1 alone".into(), todo);
    }
    if place
        .text(&format!("{class}/pcr-sha256/0"))
        .is_some_and(|value| value.bytes().all(|digit| digit == b'0'))
    {
        let todo = "switch on measured boot in the firmware: registers of zeros bind a key to nothing";
        return attention("TPM 2.0, and the firmware measured nothing (PCR 0 is zero)".into(), todo);
    }
    let option = if number == 0 { String::new() } else { format!("; --machine tpm:device:/{managed}") };
    Finding::new(NAME, State::Ok, format!("tpm{number}: TPM 2.0, /{managed} opens{option}"), "")
}

/// Whether `--machine tpm` is there.
fn backend() -> Finding {
    let name = "TPM in this program";
    if cfg!(feature = "tpm") {
        return Finding::new(name, State::Ok, "--machine tpm", "");
    }
    let todo = "build it with --features tpm, which needs libtss2; no build for enclaves has it";
    Finding::new(name, State::Absent, "this program was built without", todo)
}
