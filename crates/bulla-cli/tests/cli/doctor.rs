//! `doctor` on copies of machines, and the machine that is found by its evidence.

use std::fs;

use serde_json::{Value, json};

use crate::support::Bulla;

const ICE_LAKE: &[(&str, &str)] = &[
    (
        "proc/cpuinfo",
        "processor\t: 0\nmicrocode\t: 0xd0003f5\nflags\t\t: fpu sgx avx sgx_lc\n\nflags\t\t: fpu\n",
    ),
    ("proc/mounts", "udev /dev devtmpfs rw,nosuid 0 0\ntmpfs /run tmpfs rw,noexec 0 0\n"),
    ("proc/sys/kernel/osrelease", "6.8.0-31-generic\n"),
    ("dev/sgx_enclave", ""),
    ("dev/sgx_provision", ""),
    ("sys/devices/system/node/node0/x86/sgx_total_bytes", "4261412864\n"),
    ("sys/devices/system/node/node1/x86/sgx_total_bytes", "4261412864\n"),
    ("sys/devices/system/cpu/vulnerabilities/mds", "Not affected\n"),
    ("var/run/aesmd/aesm.socket", ""),
    (
        "etc/sgx_default_qcnl.conf",
        "{\n  // comment\n  \"pccs_url\": \"https://pccs.example/v4/\", \"use_secure_cert\": true\n}\n",
    ),
];

const GUEST: &[(&str, &str)] = &[
    ("proc/cpuinfo", "flags : fpu tdx_guest\n"),
    ("proc/sys/kernel/osrelease", "6.17.1"),
    ("dev/tdx_guest", ""),
    ("sys/kernel/config/tsm/report/README", ""),
    ("sys/devices/virtual/misc/tdx_guest/measurements/rtmr3:sha384", ""),
];

/// A folder `root` with some files of a machine.
struct Copy(Bulla);

impl Copy {
    fn of(files: &[(&str, &str)]) -> Self {
        let bulla = Bulla::new();
        fs::create_dir(bulla.path("root")).unwrap();
        let copy = Self(bulla);
        files.iter().for_each(|(path, text)| copy.set(path, text));
        copy
    }

    fn set(&self, path: &str, text: &str) {
        let path = self.0.path("root").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.0.path("root").join(path)).unwrap();
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.0.run("doctor --root root --json").ok()).unwrap()
    }

    #[track_caller]
    fn is(&self, check: &str, state: &str, words: &str) {
        let json = self.json();
        let findings = json["findings"].as_array().unwrap();
        let found: Vec<_> = findings.iter().filter(|finding| finding["check"] == check).collect();
        let fits = |finding: &&Value| {
            let said = [&finding["found"], &finding["todo"]].map(|text| text.as_str().unwrap()).join(" -> ");
            finding["state"] == state && said.contains(words)
        };
        assert!(found.iter().any(fits), "{check} is not {state} with {words:?}: {found:?}");
    }
}

#[test]
fn an_sgx_host_in_order_is_said_so() {
    let copy = Copy::of(ICE_LAKE);
    for (check, words) in [
        ("SGX processor", "flexible"),
        ("SGX driver", "/dev/sgx_enclave"),
        ("SGX provisioning", ""),
        ("SGX mapping", ""),
        ("SGX memory (EPC)", "8128 MiB on 2 node(s)"),
        ("SGX quotes (AESM)", ""),
        ("SGX collateral (PCCS)", "https://pccs.example/v4/"),
        ("microcode", "0xd0003f5"),
        ("kernel", "6.8.0-31-generic"),
    ] {
        copy.is(check, "ok", words);
    }
    copy.is("machine", "absent", "recipients");
    let json = copy.json();
    assert!(json["findings"].as_array().unwrap().iter().all(|finding| finding["state"] != "attention"));
    assert_eq!(json["machines"], json!([]));
}

/// Each thing that can be wrong is named, with what to do.
#[test]
fn what_is_wrong_with_an_sgx_host_is_named() {
    const QCNL: &str = "etc/sgx_default_qcnl.conf";
    const NODE: &str = "sys/devices/system/node/node1/x86/sgx_total_bytes";
    const MDS: &str = "sys/devices/system/cpu/vulnerabilities/mds";
    const PCCS: &str = "SGX collateral (PCCS)";
    let insecure = "{\"pccs_url\": \"u\", \"use_secure_cert\": false}";
    for (path, text, check, state, words) in [
        (
            "proc/cpuinfo",
            "flags : sgx",
            "SGX processor",
            "attention",
            "flexible launch control in the firmware",
        ),
        ("proc/mounts", "udev /dev devtmpfs rw,noexec 0 0", "SGX mapping", "attention", "remount,exec"),
        (NODE, "0", "SGX memory (EPC)", "ok", "4064 MiB on 1 node(s)"),
        (QCNL, insecure, PCCS, "attention", "not checked"),
        (QCNL, "PCCS_URL=https://a\nUSE_SECURE_CERT=FALSE", PCCS, "attention", "https://a, whose"),
        (QCNL, "PCCS_URL=https://a\n", PCCS, "ok", "https://a"),
        (QCNL, "", PCCS, "attention", "names no PCCS"),
        ("proc/sys/kernel/osrelease", "5.4.0", "kernel", "attention", "5.11"),
        ("proc/sys/kernel/osrelease", "strange", "kernel", "unknown", ""),
        (MDS, "Vulnerable: no microcode", "vulnerability", "attention", "mds: Vulnerable"),
    ] {
        let copy = Copy::of(ICE_LAKE);
        copy.set(path, text);
        copy.is(check, state, words);
    }
    for (path, check, words) in [
        ("dev/sgx_enclave", "SGX driver", "CONFIG_X86_SGX"),
        ("dev/sgx_provision", "SGX provisioning", "quoting enclaves need it"),
        ("var/run/aesmd/aesm.socket", "SGX quotes (AESM)", "sgx-aesm-service"),
        (QCNL, PCCS, "libsgx-dcap-default-qpl"),
    ] {
        let copy = Copy::of(ICE_LAKE);
        copy.remove(path);
        copy.is(check, "absent", words);
    }
    let copy = Copy::of(ICE_LAKE);
    copy.remove("dev/sgx_enclave");
    copy.set("dev/isgx", "");
    copy.is("SGX driver", "attention", "/dev/isgx");
    for node in ["node0", "node1"] {
        copy.set(&format!("sys/devices/system/node/{node}/x86/sgx_total_bytes"), "67108864");
    }
    copy.is("SGX memory (EPC)", "attention", "second instance");
}

#[test]
fn a_tdx_guest_is_known_and_its_kernel_judged() {
    let copy = Copy::of(GUEST);
    assert_eq!(copy.json()["machines"], json!(["tdx"]));
    copy.is("machine", "ok", "a TDX guest (tdx)");
    copy.is("TDX guest", "ok", "/dev/tdx_guest");
    copy.is("TDX registers (RTMR)", "ok", "");
    copy.is("guest reports (TSM)", "ok", "");
    copy.is("kernel", "attention", "failed as one that succeeded");
    let leaks = |release: &str| {
        copy.set("proc/sys/kernel/osrelease", release);
        copy.json().to_string().contains("CVE-2026-31470")
    };
    for release in ["6.7.0", "6.12.79-x86", "6.13.1", "6.18", "6.18.20", "6.19.10+deb"] {
        assert!(leaks(release), "{release}");
    }
    for release in ["6.6.99", "6.12.80", "6.12.90-4", "6.18.21", "6.19.11", "7.0.0"] {
        assert!(!leaks(release), "{release}");
    }
    copy.is("kernel", "attention", "failed as one that succeeded");
    copy.set("proc/sys/kernel/osrelease", "7.1.0");
    copy.is("kernel", "ok", "7.1.0");
    copy.set("proc/sys/kernel/osrelease", "6.6.9");
    copy.is("kernel", "attention", "6.7 on");
    copy.remove("dev/tdx_guest");
    copy.is("TDX guest", "attention", "CONFIG_TDX_GUEST_DRIVER");
    copy.remove("sys/devices/virtual/misc/tdx_guest/measurements/rtmr3:sha384");
    copy.is("TDX registers (RTMR)", "absent", "6.16");
}

#[test]
fn hosts_of_guests_and_tpms_are_known() {
    let copy = Copy::of(&[("sys/module/kvm_intel/parameters/tdx", "Y\n"), ("dev/sev-guest", "")]);
    copy.is("TDX host", "ok", "kvm_intel");
    copy.is("TDX quotes (QGS)", "absent", "4050");
    copy.is("SEV-SNP guest", "ok", "");
    copy.is("guest reports (TSM)", "attention", "configfs");
    copy.set("etc/qgs.conf", "port = 4050");
    copy.is("TDX quotes (QGS)", "ok", "");
    copy.set("sys/module/kvm_intel/parameters/tdx", "N\n");
    copy.is("TDX host", "absent", "tdx=1");
    copy.set("sys/module/kvm_amd/parameters/sev_snp", "Y");
    copy.is("SEV-SNP host", "ok", "");
}

/// A guest that has no device of its driver's is told so, where the kernel shows that it is one.
#[test]
fn a_sev_snp_guest_without_its_driver_is_told_so() {
    let copy = Copy::of(&[]);
    copy.is("SEV-SNP guest", "absent", "none");
    copy.set("sys/devices/system/cpu/sev/vmpl", "0\n");
    copy.is("SEV-SNP guest", "attention", "CONFIG_SEV_GUEST");
    copy.set("dev/sev-guest", "");
    copy.is("SEV-SNP guest", "ok", "");
}

/// A line for each TPM, and what is wrong with it; and whether this program can use one.
#[test]
fn each_tpm_is_judged() {
    const BUILD: &str = "TPM in this program";
    let copy = Copy::of(&[]);
    copy.is("TPM", "absent", "switch it on");
    copy.set("sys/class/tpm/tpm0/tpm_version_major", "1\n");
    copy.is("TPM", "attention", "tpm0: TPM 1, and not 2.0");
    copy.set("sys/class/tpm/tpm0/tpm_version_major", "2\n");
    copy.is("TPM", "attention", "without /dev/tpmrm0");
    copy.set("dev/tpm0", "");
    copy.is("TPM", "attention", "/dev/tpm0 without a resource manager");
    copy.set("dev/tpmrm0", "");
    copy.is("TPM", "ok", "/dev/tpmrm0");
    copy.set("sys/class/tpm/tpm0/pcr-sha1/0", "AB");
    copy.is("TPM", "attention", "SHA-1 alone");
    copy.set("sys/class/tpm/tpm0/pcr-sha256/0", &"0".repeat(64));
    copy.is("TPM", "attention", "measured boot");
    copy.set("sys/class/tpm/tpm0/pcr-sha256/0", &"0A".repeat(32));
    copy.is("TPM", "ok", "tpm0: TPM 2.0, /dev/tpmrm0 opens");
    copy.set("sys/class/tpm/tpm1/tpm_version_major", "2\n");
    copy.is("TPM", "attention", "tpm1: TPM 2.0 without /dev/tpmrm1");
    copy.set("dev/tpmrm1", "");
    copy.is("TPM", "ok", "--machine tpm:device:/dev/tpmrm1");
    let (state, words) =
        if cfg!(feature = "tpm") { ("ok", "--machine tpm") } else { ("absent", "--features tpm") };
    copy.is(BUILD, state, words);

    let container = Copy::of(&[("dev/tpmrm0", "")]);
    container.is("TPM", "ok", "/dev/tpmrm0");
    assert_eq!(container.json()["machines"], json!(["tpm"]));
}

/// It exits with 0 everywhere: here, on nothing at all, on damage; and the terminal obeys nothing that it finds.
#[test]
fn doctor_has_no_failure() {
    let copy =
        Copy::of(&[("proc/cpuinfo", "flags : sgx\nmicrocode : \u{1b}[2J\n"), ("dev/sgx_enclave/x", "")]);
    for line in ["doctor", "doctor --json", "doctor --root missing"] {
        copy.0.run(line).ok();
    }
    let text = copy.0.run("doctor --root root").text();
    assert!(text.contains("-> ") && !text.contains('\u{1b}'), "{text}");
}

/// R15: no machine is found where there is none, and the simulator is never it.
#[test]
fn auto_takes_no_machine_for_one() {
    let bulla = Bulla::with_host();
    let ran = bulla.run("--machine auto seal --context wallet");
    assert!(ran.fails(13, &["no confidential-computing machine here", "bulla doctor"]).stdout.is_empty());
    bulla.run("--machine occlum seal --context wallet").fails(13, &["no Occlum here"]);
    bulla.run("--machine auto:x seal --context wallet").fails(2, &["unknown machine"]);
}
