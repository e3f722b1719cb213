//! Quotes by Gramine's pseudo-files, and what can go wrong with them.

use std::fs;
use std::io::{Read, Write};

use bulla_crypto::{Class, Role, RoleHash, SystemRandom};
use bulla_sim::{EnclaveIdentity, GramineFiles, Machine, QuoteFault, SimulatedEnclave};
use bulla_tee::sgx::{Enclave, Gramine, Processor};
use bulla_tee::{Error, EvidenceKind, Tee};

use crate::enclaves::Kept;

pub mod key_file;

pub fn boxed(machine: &Machine, identity: &EnclaveIdentity) -> Box<dyn Tee> {
    let files = machine.gramine(identity).unwrap();
    Box::new(Kept { tee: enclave(machine, identity, &files), _place: files })
}

fn enclave(machine: &Machine, identity: &EnclaveIdentity, files: &GramineFiles) -> SimulatedEnclave {
    let quotes = Gramine::at(&files.root());
    assert!(quotes.is_here());
    let enclave = Enclave::new(Processor::Simulated, Box::new(SystemRandom), Some(Box::new(quotes)));
    machine.run(identity, enclave).unwrap()
}

fn bench() -> (tempfile::TempDir, GramineFiles, SimulatedEnclave) {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::create(folder.path()).unwrap();
    let identity = EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3);
    let files = machine.gramine(&identity).unwrap();
    let enclave = enclave(&machine, &identity, &files);
    (folder, files, enclave)
}

fn data(nonce: u8) -> RoleHash {
    RoleHash::new(Role::ProviderKey, &[("nonce", &[nonce; 32])])
}

fn quote(enclave: &SimulatedEnclave) -> Result<Vec<u8>, Error> {
    enclave.attest(&data(1), EvidenceKind::Quote).map(|evidence| evidence.bytes().to_vec())
}

/// R53, R54, B43: every fault of the quoting device has a name and an end, and the next quote is there.
#[test]
fn faults_are_named_and_pass() {
    let (_folder, files, enclave) = bench();
    let good = quote(&enclave).unwrap();
    let cases = [
        (QuoteFault::Fails(libc::EACCES), "machine.unavailable", "EACCES"),
        (QuoteFault::Fails(libc::EIO), "machine.unavailable", "os error 5"),
        (QuoteFault::Fails(libc::EBUSY), "machine.unavailable", "os error 16"),
        (QuoteFault::Fails(libc::ENOENT), "machine.unavailable", "sgx.remote_attestation"),
        (QuoteFault::OtherEnclave, "evidence.self", "another enclave"),
        (QuoteFault::OtherMicrocode, "evidence.self", "another time"),
        (QuoteFault::TooLong, "evidence.self", "larger"),
        (QuoteFault::Torn(0), "evidence.self", "not an SGX quote"),
        (QuoteFault::Torn(431), "evidence.self", "not an SGX quote"),
    ];
    for (fault, code, words) in cases {
        files.fault(fault);
        let error = quote(&enclave).unwrap_err();
        assert_eq!((error.code(), error.class()), (code, Class::Unavailable), "{fault:?}");
        assert!(error.to_string().contains(words), "{fault:?}: {error}");
        assert_eq!(quote(&enclave).unwrap()[..432], good[..432], "after {fault:?}");
    }
}

/// R54: somebody else's report data between our write and our reading is noticed, and tried again, for a while.
#[test]
fn another_call_in_between_is_noticed() {
    let (_folder, files, enclave) = bench();
    for _ in 0..2 {
        files.fault(QuoteFault::OtherCall);
    }
    quote(&enclave).unwrap();
    assert_eq!(files.quotes(), 3);
    for _ in 0..3 {
        files.fault(QuoteFault::OtherCall);
    }
    let error = quote(&enclave).unwrap_err();
    assert!(error.to_string().contains("another call"), "{error}");
    assert_eq!(files.quotes(), 6);
}

/// R53: a Gramine that lost its AESM stays so; the process lives, and says that it has to be restarted.
#[test]
fn a_restarted_aesm_wants_a_restarted_process() {
    let (_folder, files, enclave) = bench();
    files.fault(QuoteFault::AesmRestarted);
    for _ in 0..2 {
        let error = quote(&enclave).unwrap_err();
        assert!(error.to_string().contains("restart this process"), "{error}");
        enclave.bind(&bulla_tee::Policy::measurement()).unwrap();
    }
}

/// R54: threads that quote at the same time each get their own.
#[test]
fn threads_do_not_get_each_others_quotes() {
    let (_folder, files, enclave) = bench();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let enclave = &enclave;
            scope.spawn(move || {
                for nonce in 0..10 {
                    let data = data(thread * 10 + nonce);
                    let evidence = enclave.attest(&data, EvidenceKind::Quote).unwrap();
                    assert_eq!(evidence.bytes()[368..432], data.as_bytes()[..]);
                }
            });
        }
    });
    assert_eq!(files.quotes(), 40, "no call had to be repeated");
}

/// The double is as Gramine: what is read is of the moment of opening, each write replaces the whole value.
#[test]
fn the_files_are_snapshots() {
    let (_folder, files, _enclave) = bench();
    let folder = files.root().join("dev/attestation");
    let write = |bytes: &[u8]| {
        let mut file = fs::OpenOptions::new().write(true).open(folder.join("user_report_data")).unwrap();
        file.write_all(bytes).unwrap();
    };
    write(&[1; 64]);
    let mut before = fs::File::open(folder.join("report")).unwrap();
    write(&[2; 10]);
    let mut report = Vec::new();
    before.read_to_end(&mut report).unwrap();
    assert_eq!(report[320..384], [1; 64]);
    let report = fs::read(folder.join("report")).unwrap();
    assert_eq!((&report[320..330], &report[330..384]), (&[2; 10][..], &[0; 54][..]));

    assert_eq!(fs::read(folder.join("attestation_type")).unwrap(), b"dcap");
    assert_eq!(fs::read(folder.join("my_target_info")).unwrap()[..32], [0xE1; 32]);
    let keys =
        ["_sgx_mrenclave", "_sgx_mrsigner"].map(|key| fs::read(folder.join("keys").join(key)).unwrap());
    assert!(keys.iter().all(|key| key.len() == 16) && keys[0] != keys[1]);
}
