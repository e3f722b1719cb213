//! Gramine's key file in place of EGETKEY, and what is lost by it.

use std::fs;

use bulla_crypto::{Class, Role, RoleHash};
use bulla_sim::{EnclaveIdentity, GramineFiles, Machine, SimulatedEnclave, Step};
use bulla_tee::sgx::arch::flags;
use bulla_tee::sgx::{Enclave, Gramine, Processor};
use bulla_tee::{
    Doubt, Error, EvidenceKind, Floor, KeyRequest, Outlook, PlatformState, Policy, SIMULATED_MARKER, Tee,
};
use tempfile::TempDir;

use crate::enclaves::Kept;
use crate::suite::Capability;

const BOUND: &str = "the key is that of the versions that run, and of no others";
const FIXED: &str = "its one key is bound to the measurement";

pub const CANNOT: &[(Capability, &str, &str)] = &[
    (Capability::Fresh, "machine.unsupported", "every sealing has the same key"),
    (Capability::Update, "machine.other_identity", BOUND),
    (Capability::Downgrade, "machine.other_identity", BOUND),
    (Capability::Signer, "machine.unsupported", FIXED),
    (Capability::Configuration, "machine.unsupported", FIXED),
    (Capability::Machine, "machine.unsupported", "nothing in the request tells one machine from another"),
    (Capability::Guests, "machine.unsupported", "Gramine has no file for EVERIFYREPORT2"),
];

pub fn boxed(machine: &Machine, identity: &EnclaveIdentity) -> Box<dyn Tee> {
    let files = machine.gramine(identity).unwrap();
    Box::new(Kept { tee: enclave(machine, identity, &files), _place: files })
}

fn enclave(machine: &Machine, identity: &EnclaveIdentity, files: &GramineFiles) -> SimulatedEnclave {
    let enclave = Enclave::with_key_file(Processor::Simulated, Gramine::at(&files.root()));
    machine.run(identity, enclave).unwrap()
}

fn identity() -> EnclaveIdentity {
    EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3)
}

fn bench() -> (TempDir, Machine, GramineFiles, SimulatedEnclave) {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::create(folder.path()).unwrap();
    let files = machine.gramine(&identity()).unwrap();
    let enclave = enclave(&machine, &identity(), &files);
    (folder, machine, files, enclave)
}

/// The request by the key file of an enclave that runs on that machine's directory as it is now.
fn derive(folder: &TempDir, identity: &EnclaveIdentity, request: &KeyRequest) -> Result<(), Error> {
    let machine = Machine::open(folder.path()).unwrap();
    let files = machine.gramine(identity).unwrap();
    enclave(&machine, identity, &files).derive(request).map(drop)
}

/// The key is the file's, to the byte, and no ENCLU is executed for it: outside a simulated enclave that would end this
/// process.
#[test]
fn the_key_is_that_of_the_file() {
    let (_folder, _machine, files, _) = bench();
    let backend = Enclave::with_key_file(Processor::Simulated, Gramine::at(&files.root()));
    let (request, key) = backend.bind(&Policy::measurement()).unwrap();
    assert_eq!(request.kind(), "sgx-key-file");
    assert_eq!(key.expose(), fs::read(files.root().join("dev/attestation/keys/_sgx_mrenclave")).unwrap());
    assert_ne!(key.expose(), fs::read(files.root().join("dev/attestation/keys/_sgx_mrsigner")).unwrap());
    assert!(backend.derive(&request).unwrap().ct_eq(&key));
}

/// R15: the marker alone tells a simulated processor from a real one.
#[test]
fn a_real_enclave_refuses_a_simulated_processor() {
    let (_folder, _machine, files, _) = bench();
    let real = Enclave::with_key_file(Processor::Real, Gramine::at(&files.root()));
    let error = real.bind(&Policy::measurement()).err().unwrap();
    assert!(matches!(error, Error::WrongBackend { wanted: "real", found: "simulated" }), "{error}");
}

/// R13, R53: whatever the file holds that is no key.
#[test]
fn what_is_no_key_is_refused() {
    let (_folder, _machine, files, enclave) = bench();
    let (request, _) = enclave.bind(&Policy::measurement()).unwrap();
    let cases = [
        (&[0; 16][..], "machine.zero", "all-zero"),
        (&[], "machine.unavailable", "no sealing keys"),
        (&[1; 15], "machine.unavailable", "16 bytes"),
        (&[1; 17], "machine.unavailable", "16 bytes"),
        (&[1; 4096], "machine.unavailable", "16 bytes"),
    ];
    for (key, code, words) in cases {
        files.set_keys(key);
        for error in [enclave.derive(&request).err(), enclave.bind(&Policy::measurement()).err()] {
            let error = error.unwrap();
            assert_eq!(error.code(), code, "{}", key.len());
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}

/// R5: what ends the key is named, before and after.
#[test]
fn an_update_of_the_microcode_ends_it_and_says_so() {
    let (folder, machine, _files, enclave) = bench();
    let (request, _) = enclave.bind(&Policy::measurement()).unwrap();
    let here = enclave.identity().unwrap();
    let present = PlatformState::here(&here).confirmed();
    assert!(matches!(request.opens_under(&here, &present), Outlook::Opens));
    for planned in [present.clone().after_microcode_up(), present.clone().after_microcode_down()] {
        let outlook = request.opens_under(&here, &planned);
        assert_eq!(outlook.field(), Some("CPUSVN"));
        let error = outlook.into_result().unwrap_err();
        assert_eq!((error.code(), error.class()), ("machine.other_identity", Class::Refused));
    }
    let back = present.clone().after_microcode_up().after_microcode_down();
    assert!(matches!(request.opens_under(&here, &back), Outlook::MayNot(Doubt::Cpusvn)));
    assert!(matches!(
        request.opens_under(&here, &present.after_firmware_update()),
        Outlook::MayNot(Doubt::MachineKeys)
    ));

    for step in [Step::Up, Step::Down] {
        machine.microcode(step).unwrap();
        let refused = derive(&folder, &identity(), &request);
        match step {
            Step::Up => assert!(refused.unwrap_err().to_string().contains("claims CPUSVN")),
            Step::Down => refused.expect("the former microcode is back"),
        }
    }
}

/// R3, R5, R8: each of these enters the key.
#[test]
fn another_enclave_is_refused_by_what_differs() {
    type Change = fn(&mut EnclaveIdentity);
    let (folder, _machine, _files, enclave) = bench();
    let (request, _) = enclave.bind(&Policy::measurement()).unwrap();
    let changes: [(&str, Change); 5] = [
        ("MRENCLAVE", |e| e.mrenclave = [2; 32]),
        ("ISVPRODID", |e| e.isv_prod_id = 8),
        ("ISVSVN", |e| e.isv_svn = 2),
        ("ISVSVN", |e| e.isv_svn = 4),
        ("ATTRIBUTES", |e| e.attributes.flags |= flags::DEBUG),
    ];
    for (register, change) in changes {
        let mut other = identity();
        change(&mut other);
        match derive(&folder, &other, &request) {
            Err(Error::OtherIdentity(mismatch)) => assert_eq!(mismatch.register, register),
            other => panic!("{register}: {:?}", other.err()),
        }
    }
    let mut signer = identity();
    signer.mrsigner = [9; 32];
    derive(&folder, &signer, &request).expect("the key is not the signer's");
}

/// What enters the key by Gramine's defaults, and is left out by other manifests, is a doubt and no refusal.
#[test]
fn what_the_manifest_can_leave_out_is_in_doubt() {
    type Change = fn(&mut bulla_tee::SgxIdentity);
    let (_folder, _machine, _files, enclave) = bench();
    let (request, _) = enclave.bind(&Policy::measurement()).unwrap();
    let bulla_tee::Identity::Sgx(here) = enclave.identity().unwrap() else { panic!("not SGX") };
    let changes: [(bool, Change); 6] = [
        (true, |e| e.attributes.flags |= flags::PROVISION_KEY),
        (true, |e| e.misc_select ^= 1),
        (true, |e| e.attributes.xfrm ^= 0x200),
        (true, |e| e.attributes.xfrm ^= 0x18),
        (false, |e| e.attributes.xfrm ^= 0xE4),
        (false, |e| e.attributes.xfrm ^= 0x60000),
    ];
    for (number, (doubted, change)) in changes.into_iter().enumerate() {
        let mut other = here.clone();
        change(&mut other);
        let other = bulla_tee::Identity::Sgx(other);
        match request.opens_under(&other, &PlatformState::here(&other).confirmed()) {
            Outlook::Opens => assert!(!doubted, "{number}"),
            Outlook::MayNot(Doubt::Attributes) => assert!(doubted, "{number}"),
            outlook => panic!("{number}: {outlook:?}"),
        }
    }
}

/// The two ways of one enclave do not take each other's requests, so that neither is used in place of the other.
#[test]
fn a_request_is_for_the_way_that_it_was_made_by() {
    let (_folder, machine, _files, by_file) = bench();
    let by_instruction = machine.enclave(&identity()).unwrap();
    let (of_file, _) = by_file.bind(&Policy::measurement()).unwrap();
    let (of_instruction, _) = by_instruction.bind(&Policy::measurement()).unwrap();
    for (tee, request, wanted, found) in [
        (&by_instruction, &of_file, "sgx-key-file", "sgx"),
        (&by_file, &of_instruction, "sgx", "sgx-key-file"),
    ] {
        match tee.derive(request) {
            Err(Error::WrongBackend { wanted: a, found: b }) => assert_eq!((a, b), (wanted, found)),
            other => panic!("{:?}", other.err()),
        }
    }
}

/// R6: a floor looks at what was recorded, also where it cannot be asked for.
#[test]
fn floors_hold_for_it() {
    let (_folder, _machine, _files, enclave) = bench();
    let (request, _) = enclave.bind(&Policy::measurement()).unwrap();
    let present = *request.cpusvn().unwrap();
    assert_eq!(present.last_chunk(), Some(&SIMULATED_MARKER));
    let floor = |isvsvn, cpusvn| Floor { isvsvn, cpusvn: [cpusvn].into(), ..Floor::default() };
    floor(3, present).check(&request).unwrap();
    assert_eq!(floor(4, present).check(&request).unwrap_err().code(), "machine.below_floor");
    assert_eq!(floor(3, [1; 16]).check(&request).unwrap_err().code(), "machine.below_floor");
}

/// R37, R54: reports and quotes by the files alone carry what was asked for, also while others write.
#[test]
fn threads_do_not_get_each_others_evidence() {
    let (_folder, _machine, files, enclave) = bench();
    let target = bulla_tee::sgx::arch::Targetinfo { mrenclave: [7; 32], ..zerocopy::FromZeros::new_zeroed() };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let enclave = &enclave;
            scope.spawn(move || {
                for nonce in 0..5 {
                    let data = RoleHash::new(Role::ProviderKey, &[("nonce", &[thread * 10 + nonce; 32])]);
                    let quote = enclave.attest(&data, EvidenceKind::Quote).unwrap();
                    assert_eq!(quote.bytes()[368..432], data.as_bytes()[..]);
                    let report = enclave.attest(&data, EvidenceKind::Report(&target)).unwrap();
                    assert_eq!(report.bytes()[320..384], data.as_bytes()[..]);
                }
            });
        }
    });
    assert_eq!(files.quotes(), 20, "no call had to be repeated");
}
