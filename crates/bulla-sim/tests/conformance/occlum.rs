//! SGX by the commands of Occlum's device, and what can go wrong with them.

use std::fs;
use std::path::Path;

use bulla_crypto::{Role, RoleHash, SystemRandom};
use bulla_sim::{EnclaveIdentity, Machine, OcclumDevice, QuoteFault, SimulatedEnclave};
use bulla_tee::sgx::{Enclave, Processor};
use bulla_tee::{Error, EvidenceKind, Policy, Tee};

use crate::enclaves::Kept;

pub fn boxed(machine: &Machine, identity: &EnclaveIdentity) -> Box<dyn Tee> {
    let device = machine.occlum(identity).unwrap();
    Box::new(Kept { tee: enclave(machine, identity, &device), _place: device })
}

fn backend(root: &Path) -> Result<Enclave, Error> {
    Enclave::occlum(Processor::Simulated, Box::new(SystemRandom), root)
}

fn enclave(machine: &Machine, identity: &EnclaveIdentity, device: &OcclumDevice) -> SimulatedEnclave {
    machine.run(identity, backend(&device.root()).unwrap()).unwrap()
}

fn bench() -> (tempfile::TempDir, OcclumDevice, SimulatedEnclave) {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::create(folder.path()).unwrap();
    let identity = EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3);
    let device = machine.occlum(&identity).unwrap();
    let enclave = enclave(&machine, &identity, &device);
    (folder, device, enclave)
}

/// R37, R53, R54, B43: whatever comes instead of the quote is refused, and the next one is there.
#[test]
fn faults_are_named_and_pass() {
    let (_folder, device, enclave) = bench();
    let data = RoleHash::new(Role::ProviderKey, &[("nonce", &[1; 32])]);
    let cases = [
        (QuoteFault::Fails(libc::EIO), "machine.unavailable", "aesmd"),
        (QuoteFault::OtherCall, "evidence.self", "another call"),
        (QuoteFault::OtherEnclave, "evidence.self", "another enclave"),
        (QuoteFault::OtherMicrocode, "evidence.self", "another time"),
        (QuoteFault::Torn(431), "evidence.self", "not an SGX quote"),
        (QuoteFault::TooLong, "evidence.self", "size"),
    ];
    for (fault, code, words) in cases {
        device.fault(fault);
        let error = enclave.attest(&data, EvidenceKind::Quote).unwrap_err();
        assert_eq!(error.code(), code, "{fault:?}: {error}");
        assert!(error.to_string().contains(words), "{fault:?}: {error}");
        enclave.attest(&data, EvidenceKind::Quote).unwrap();
    }
}

/// R31: its size is judged before there is memory for it.
#[test]
fn no_quote_is_larger_than_quotes_are() {
    let (_folder, device, enclave) = bench();
    let data = RoleHash::new(Role::ProviderKey, &[("nonce", &[1; 32])]);
    let quoted = |size| {
        device.say_size(size);
        enclave.attest(&data, EvidenceKind::Quote).map_err(|error| error.code())
    };
    for size in [0, (64 << 10) + 1, u32::MAX] {
        assert_eq!(quoted(size).unwrap_err(), "evidence.self", "{size}");
    }
    quoted(64 << 10).unwrap();
}

/// An Occlum that gives no keys at all is not taken for older microcode.
#[test]
fn an_occlum_without_keys_is_named() {
    let (_folder, device, enclave) = bench();
    let (request, _) = enclave.bind(&Policy::measurement()).unwrap();
    device.take_keys_away();
    for error in [enclave.derive(&request).err(), enclave.bind(&Policy::measurement()).err()] {
        let error = error.unwrap();
        assert_eq!(error.code(), "machine.unavailable");
        assert!(error.to_string().contains("0.29.4"), "{error}");
    }
}

/// Elsewhere `/dev/sgx` is missing, a folder of the host's drivers, or something that is not Occlum's.
#[test]
fn another_device_is_not_taken_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |words: &str| {
        let error = backend(folder.path()).err().unwrap();
        assert_eq!(error.code(), "machine.unavailable");
        assert!(error.to_string().contains(words), "{error}");
    };
    refused("cannot be opened");
    fs::create_dir_all(folder.path().join("dev/sgx")).unwrap();
    refused("not that of Occlum");
    fs::remove_dir(folder.path().join("dev/sgx")).unwrap();
    fs::write(folder.path().join("dev/sgx"), "").unwrap();
    refused("not that of Occlum");
}
