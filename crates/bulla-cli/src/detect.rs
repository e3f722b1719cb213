//! In which machine this process runs, by what only that machine shows. Never a simulated one.

use std::fs;
use std::path::Path;

use bulla_crypto::SystemRandom;
use bulla_tee::sgx::{Enclave, Gramine, Processor};
use bulla_tee::tdx::TdxGuest;
use bulla_tee::{Tee, is_simulated};

/// A kind of machine, and how it shows.
pub(crate) struct Kind {
    /// Its machine string.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) what: &'static str,
    /// What shows it.
    pub(crate) evidence: &'static str,
    /// Whether it is there.
    pub(crate) is_here: fn(&Path) -> bool,
    /// Whether what is there says of itself that it is simulated (R110). A security processor or a TPM is not asked: that is
    /// not for a look around.
    pub(crate) is_simulated: fn(&Path) -> bool,
}

/// All kinds; those that hold less come first, since an enclave in a guest is the enclave.
pub(crate) const KINDS: [Kind; 5] = [
    Kind {
        name: "sgx",
        what: "an SGX enclave in Gramine",
        evidence: "/dev/attestation/user_report_data",
        is_here: |root| Gramine::at(root).is_here(),
        // From a file: whoever executes ENCLU where there is no enclave ends.
        is_simulated: |root| {
            let report = fs::read(root.join("dev/attestation/report")).unwrap_or_default();
            report.first_chunk().is_some_and(is_simulated)
        },
    },
    Kind {
        name: "occlum",
        what: "an SGX enclave in Occlum",
        evidence: "a /dev/sgx that answers as Occlum's",
        is_here: |root| Enclave::occlum(Processor::Real, Box::new(SystemRandom), root).is_ok(),
        is_simulated: |root| {
            let enclave = Enclave::occlum(Processor::Simulated, Box::new(SystemRandom), root);
            enclave.is_ok_and(|enclave| enclave.identity().is_ok())
        },
    },
    Kind {
        name: "tdx",
        what: "a TDX guest",
        evidence: "/dev/tdx_guest",
        is_here: |root| root.join("dev/tdx_guest").exists(),
        is_simulated: |root| TdxGuest::new(Processor::Simulated, root).tdx_identity().is_ok(),
    },
    Kind {
        name: "snp",
        what: "a SEV-SNP guest",
        evidence: "/dev/sev-guest",
        is_here: |root| root.join("dev/sev-guest").exists(),
        is_simulated: |_| false,
    },
    Kind {
        name: "tpm",
        what: "a machine with a TPM 2.0",
        evidence: "/dev/tpmrm0",
        is_here: |root| root.join("dev/tpmrm0").exists(),
        is_simulated: |_| false,
    },
];

/// The kinds that are there, best first.
pub(crate) fn here(root: &Path) -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(move |kind| (kind.is_here)(root))
}

/// The first kind that is there and that this build has a backend for, or why none is; `say` hears the reasons.
pub(crate) fn choose(
    root: &Path,
    backends: &[&str],
    mut say: impl FnMut(String),
) -> Result<&'static Kind, bulla_tee::Error> {
    for kind in here(root) {
        let Kind { name, what, evidence, .. } = kind;
        if backends.contains(name) {
            say(format!("this is {what}, since there is {evidence}: --machine {name}"));
            return Ok(kind);
        }
        say(format!("this is {what}, since there is {evidence}; this build has no backend for it"));
    }
    let looked_for: Vec<_> = KINDS.iter().map(|kind| kind.evidence).collect();
    let reason =
        format!("there is none of {}; `bulla doctor` says what this machine could be", looked_for.join(", "));
    Err(bulla_tee::Error::Unavailable { machine: "confidential-computing machine", reason })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn root(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    fn chosen(files: &[&str], backends: &[&str]) -> (Result<&'static str, bulla_tee::Error>, String) {
        let mut said = Vec::new();
        let root = root(files);
        let kind = choose(root.path(), backends, |line| said.push(line));
        (kind.map(|kind| kind.name), said.join("\n"))
    }

    const ALL: [&str; 5] = ["sgx", "occlum", "tdx", "snp", "tpm"];

    #[test]
    fn each_machine_is_known_by_its_evidence_and_said_so() {
        let cases = [
            ("dev/attestation/user_report_data", "sgx"),
            ("dev/tdx_guest", "tdx"),
            ("dev/sev-guest", "snp"),
            ("dev/tpmrm0", "tpm"),
        ];
        for (file, name) in cases {
            let (kind, said) = chosen(&[file], &ALL);
            assert_eq!(kind.unwrap(), name);
            assert!(said.contains(&format!("/{file}: --machine {name}")), "{said}");
        }
    }

    /// What is nearest to the program wins: an enclave before the guest that it is in, a guest before its TPM.
    #[test]
    fn the_smallest_machine_is_chosen() {
        let mut files = ["dev/attestation/user_report_data", "dev/tdx_guest", "dev/tpmrm0"].to_vec();
        for name in ["sgx", "tdx", "tpm"] {
            assert_eq!(chosen(&files, &ALL).0.unwrap(), name);
            files.remove(0);
        }
    }

    /// The device folder of the host's drivers is no Occlum, and what this build cannot be is said and passed over.
    #[test]
    fn nothing_is_guessed() {
        for files in [&[][..], &["dev/sgx/enclave", "dev/sgx_enclave"], &["dev/sgx"]] {
            let (kind, said) = chosen(files, &ALL);
            let error = kind.unwrap_err();
            assert_eq!((error.code(), said.as_str()), ("machine.unavailable", ""), "{files:?}");
            assert!(error.to_string().contains("/dev/attestation"), "{error}");
        }
        let (kind, said) = chosen(&["dev/tdx_guest", "dev/tpmrm0"], &["tpm"]);
        assert_eq!(kind.unwrap(), "tpm");
        assert!(said.contains("a TDX guest") && said.contains("no backend"), "{said}");
    }
}
