//! Keys that are sealed under registers.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use bulla_crypto::sha256;
use bulla_tee::tpm::PcrSet;
use bulla_tee::{Error, Identity, KeyRequest, Outlook, PlatformState, Policy, Tee, TpmIdentity, TpmRequest};
use bulla_tpm::{Approval, Tpm};
use tss_esapi::handles::AuthHandle;
use tss_esapi::interface_types::session_handles::AuthSession;

use crate::support::SoftwareTpm;

fn policy(text: &str) -> Policy {
    text.parse().unwrap()
}

fn inner(request: &KeyRequest) -> TpmRequest {
    match request {
        KeyRequest::Tpm(request) => request.as_ref().clone(),
        other => panic!("{other:?}"),
    }
}

fn registers(tpm: &Tpm) -> TpmIdentity {
    match tpm.identity().unwrap() {
        Identity::Tpm(identity) => *identity,
        other => panic!("{other:?}"),
    }
}

fn extended(value: &[u8; 32], event: &str) -> [u8; 32] {
    sha256(&[value, &sha256(&[event.as_bytes()])])
}

/// The register that a refusal names.
fn register(error: &Error) -> &'static str {
    match error {
        Error::OtherIdentity(mismatch) => mismatch.register,
        other => panic!("{other:?}"),
    }
}

/// R1, R2, R5, R8: a recorded request gives its key again, after a restart too, and every key is another one.
#[test]
fn a_sealed_key_comes_back_after_a_restart() {
    let mut software = SoftwareTpm::new();
    let (request, key) = software.machine().bind(&Policy::measurement()).unwrap();
    let (_, other) = software.machine().bind(&Policy::measurement()).unwrap();
    assert_eq!((key.expose().len(), key.ct_eq(&other)), (32, false));
    assert_eq!(request.policy(), Policy::measurement());
    let request = KeyRequest::decode("tpm", &request.encode()).unwrap();
    software.extend(7, "an event of this run");
    assert_eq!(register(&software.machine().derive(&request).err().unwrap()), "PCR7");
    software.restart();
    assert!(software.machine().derive(&request).unwrap().ct_eq(&key));
    let identity = software.machine().identity().unwrap();
    let outlook = request.opens_under(&identity, &PlatformState::here(&identity).confirmed());
    assert!(matches!(outlook, Outlook::Opens));
}

/// Every selected register decides, and the refusal names it; no other does.
#[test]
fn an_extended_register_is_named() {
    for pcr in [0, 4, 9, 15] {
        let software = SoftwareTpm::new();
        let machine = software.machine();
        let (request, key) = machine.bind(&policy("pcr:0+4+9+15+17")).unwrap();
        software.extend(1, "not selected");
        software.extend(10, "not selected");
        assert!(machine.derive(&request).unwrap().ct_eq(&key));
        let name = format!("PCR{pcr}");
        software.extend(pcr, "other software");
        let error = machine.derive(&request).err().unwrap();
        assert_eq!(register(&error), name);
        assert!(error.to_string().contains(&name), "{error}");
    }
}

/// R14, R16: the TPM itself refuses, whatever the recorded request says of the registers: a lie about them changes what the object
/// would have to be.
#[test]
fn an_edited_request_does_not_open() {
    let software = SoftwareTpm::new();
    let machine = software.machine();
    let (request, _) = machine.bind(&policy("pcr:4+7")).unwrap();
    software.extend(7, "other software");
    let here = registers(&machine).pcrs;
    type Change = fn(&mut TpmRequest, &[[u8; 32]; 24]);
    let edits: [Change; 4] = [
        |request, here| request.states = vec![[here[4], here[7]].concat().into()],
        |request, here| request.states.push([here[4], here[7]].concat().into()),
        |request, here| (request.pcrs, request.states) = (1 << 4, vec![here[4].to_vec().into()]),
        // The attribute that lets an empty password open: userWithAuth, byte 3 of the attributes.
        |request, here| {
            request.states = vec![[here[4], here[7]].concat().into()];
            request.public[7] |= 0x40;
        },
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let mut edited = inner(&request);
        edit(&mut edited, &here);
        let error = machine.derive(&KeyRequest::Tpm(Box::new(edited))).err().unwrap();
        assert!(matches!(error, Error::InvalidRequest(_)), "{number}: {error:?}");
    }
    // The same lies, told to the TPM as well: it does not load an object with another public area.
    let mut edited = inner(&request);
    let other = machine.bind(&policy("pcr:4+7")).unwrap().0;
    edited.states = inner(&other).states;
    edited.public = inner(&other).public;
    assert!(matches!(machine.derive(&KeyRequest::Tpm(Box::new(edited))).err().unwrap(), Error::OtherMachine));
    assert_eq!(software.occupied(), 0);
}

/// A planned update: the key opens before it and after it, and in no third state.
#[test]
fn planned_states_open() {
    let software = SoftwareTpm::new();
    let machine = software.machine();
    let before = registers(&machine).pcrs;
    let next = extended(&before[4], "the next boot loader");
    let plan = format!("pcr:4+7,or=4:{},or=4:{}", hex(&next), hex(&extended(&next, "and one more")));
    let (request, key) = machine.bind(&policy(&plan)).unwrap();
    assert_eq!(request.policy().to_string(), plan);
    assert!(machine.derive(&request).unwrap().ct_eq(&key));
    for event in ["the next boot loader", "and one more"] {
        software.extend(4, event);
        assert!(machine.derive(&request).unwrap().ct_eq(&key), "{event}");
    }
    software.extend(4, "what nobody planned");
    assert_eq!(register(&machine.derive(&request).err().unwrap()), "PCR4");
    assert_eq!(software.occupied(), 0);
}

/// All eight branches that a TPM takes.
#[test]
fn eight_branches_open() {
    let software = SoftwareTpm::new();
    let machine = software.machine();
    let (_, public) = authority();
    let mut value = registers(&machine).pcrs[4];
    let mut plan = "pcr:4".to_owned();
    for event in 0..6 {
        value = extended(&value, &event.to_string());
        plan += &format!(",or=4:{}", hex(&value));
    }
    plan += &format!(",authority={},label=x", hex(&public));
    let (request, key) = machine.bind(&policy(&plan)).unwrap();
    (0..6).for_each(|event| software.extend(4, &event.to_string()));
    assert!(machine.derive(&request).unwrap().ct_eq(&key));
}

fn authority() -> (EcdsaKeyPair, Vec<u8>) {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = key.public_key().as_ref()[1..].to_vec();
    (key, public)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn approve(key: &EcdsaKeyPair, label: &str, pcrs: u32, state: Vec<u8>) -> Approval {
    let message = Approval::message(label, PcrSet::new(pcrs).unwrap(), &state);
    let signature = key.sign(&SystemRandom::new(), &message).unwrap().as_ref().try_into().unwrap();
    Approval { label: label.into(), pcrs, state, signature }
}

/// An update that was not planned when sealing: the authority approves of it later. Nobody else can, nor for another label.
#[test]
fn an_authority_approves_of_what_was_not_planned() {
    let software = SoftwareTpm::new();
    let (key, public) = authority();
    let sealed_under = format!("pcr:4+7,authority={},label=wallet", hex(&public));
    let (request, sealed) = software.machine().bind(&policy(&sealed_under)).unwrap();
    assert!(software.machine().derive(&request).unwrap().ct_eq(&sealed), "no approval for the present state");

    software.extend(4, "the next boot loader");
    let here = registers(&software.machine()).pcrs;
    let state = [here[4], here[7]].concat();
    let pcrs = 1 << 4 | 1 << 7;
    assert_eq!(register(&software.machine().derive(&request).err().unwrap()), "PCR4");
    let mut unsigned = approve(&key, "wallet", pcrs, state.clone());
    unsigned.signature[63] ^= 1;
    let (stranger, _) = authority();
    let refused = [
        (approve(&key, "other", pcrs, state.clone()), "machine.other_identity"),
        (approve(&key, "wallet", 1 << 4, here[4].to_vec()), "machine.other_identity"),
        (approve(&key, "wallet", pcrs, [here[7], here[4]].concat()), "machine.other_identity"),
        (approve(&stranger, "wallet", pcrs, state.clone()), "tpm.damaged"),
        (unsigned, "tpm.damaged"),
        (Approval { label: "wallet".into(), ..approve(&key, "other", pcrs, state.clone()) }, "tpm.damaged"),
    ];
    for (approval, code) in refused {
        let machine = software.machine().with_approvals(vec![approval]);
        assert_eq!(machine.derive(&request).err().unwrap().code(), code);
    }
    let approval = Approval::decode(&approve(&key, "wallet", pcrs, state).encode()).unwrap();
    let machine = software.machine().with_approvals(vec![approval]);
    assert!(machine.derive(&request).unwrap().ct_eq(&sealed));
    software.extend(7, "more");
    assert_eq!(machine.derive(&request).err().unwrap().code(), "machine.other_identity");
    assert_eq!(software.occupied(), 0);
}

/// R13, R14: registers that nothing was measured into hold the same on every machine.
#[test]
fn nothing_measured_binds_nothing() {
    let software = SoftwareTpm::new();
    for text in ["pcr:9", "pcr:17", "pcr:17+18"] {
        assert_eq!(
            software.machine().bind(&policy(text)).err().unwrap().code(),
            "policy.under_bound",
            "{text}"
        );
    }
    let of_enclaves = "signer:product=1,svn=1,label=x";
    assert_eq!(software.machine().bind(&policy(of_enclaves)).err().unwrap().code(), "machine.unsupported");
    assert_eq!(software.occupied(), 0);
}

/// Another TPM, and this one after it was cleared, are other machines.
#[test]
fn another_tpm_is_another_machine() {
    let (one, other) = (SoftwareTpm::new(), SoftwareTpm::new());
    let (request, _) = one.machine().bind(&policy("pcr:4")).unwrap();
    assert!(matches!(other.machine().derive(&request).err().unwrap(), Error::OtherMachine));
    // A request that claims that TPM's storage key is refused by the TPM, which cannot decrypt it.
    let mut claimed = inner(&request);
    claimed.parent = registers(&other.machine()).parent;
    let error = other.machine().derive(&KeyRequest::Tpm(Box::new(claimed))).err().unwrap();
    assert!(matches!(error, Error::OtherMachine), "{error:?}");
    let cleared =
        one.context().execute_with_session(Some(AuthSession::Password), |tpm| tpm.clear(AuthHandle::Lockout));
    cleared.unwrap();
    assert!(matches!(one.machine().derive(&request).err().unwrap(), Error::OtherMachine));
    assert_eq!((one.occupied(), other.occupied()), (0, 0));
}

/// A TPM without a resource manager holds three sessions and three objects; nothing is left behind, by failures either.
#[test]
fn sessions_and_objects_are_flushed() {
    let software = SoftwareTpm::new();
    let machine = software.machine();
    let (request, key) = machine.bind(&policy("pcr:4")).unwrap();
    for _ in 0..5 {
        machine.bind(&policy("pcr:4+7")).unwrap();
        assert!(machine.derive(&request).unwrap().ct_eq(&key));
    }
    software.extend(4, "other software");
    for _ in 0..5 {
        assert_eq!(register(&machine.derive(&request).err().unwrap()), "PCR4");
    }
    assert_eq!(software.occupied(), 0);
}

/// R15: requests of other machines are not a TPM's; where no TPM answers, that is the reason.
#[test]
fn requests_are_for_their_kind_of_machine() {
    let software = SoftwareTpm::new();
    let (request, _) = software.machine().bind(&policy("pcr:4")).unwrap();
    let simulated = KeyRequest::Simulated(Box::new(request.clone()));
    assert_eq!(software.machine().derive(&simulated).err().unwrap().code(), "machine.wrong_backend");
    let address = software.address();
    drop(software);
    assert_eq!(Tpm::open(&address).unwrap().derive(&request).err().unwrap().code(), "machine.unavailable");
    assert_eq!(Tpm::open("nowhere").err().unwrap().code(), "tpm.address");
}
