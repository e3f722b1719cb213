//! Handover to another enclave on the same machine: who gets the roots, and who does not.

use std::fs;

use bulla_sim::Step;

use super::super::Purpose;
use super::super::handover::Grant;
use super::*;

/// A provider that runs, and the roots that it has.
fn running(site: &Site, policy: &Policy) -> Provider {
    site.init(policy, "old").unwrap();
    let provider = site.start(policy, PRESENT, "old").unwrap();
    provider.rotate(2).unwrap();
    provider
}

fn request(site: &Site, policy: &Policy, tee: Arc<dyn Tee>) -> Result<(Vec<u8>, Vec<u8>), Error> {
    site.candidate(policy, tee, "new").unwrap().ask(Purpose::Handover, None)
}

/// R78, R79, P6: the next build gets the very roots; the old one serves on, also when the machine is updated in between.
#[test]
fn r79_the_next_build_gets_the_roots() {
    let site = Site::new();
    let policy = keyring();
    let old = running(&site, &policy);
    old.raise_floor(2).unwrap();
    let before = secrets(&old.regime().roots);
    let candidate = site.candidate(&policy, site.build(NEXT), "new").unwrap();
    let (request, secret) = candidate.ask(Purpose::Handover, None).unwrap();
    let grant = old.hand_over(&request).unwrap();
    site.machine().microcode(Step::Up).unwrap();
    let given = candidate.adopt(&request, &secret, &grant).unwrap();
    assert_eq!(given, old.epochs());
    let new = site.start(&policy, NEXT, "new").unwrap();
    assert_eq!(secrets(&new.regime().roots), before);
    assert_eq!(secrets(&old.regime().roots), before, "the old one serves on");
    // What it remembers came along (R83).
    assert_eq!(code(new.raise_floor(1)), "custody.lowered_floor");
    // The old one makes no epoch that would end with it, until it is started again.
    assert_eq!(code(old.rotate(3)), "custody.handed_over");
    assert_eq!(code(old.retire(2)), "custody.handed_over");
    assert!(new.rotate(3).unwrap());
    drop(old);
    assert_eq!(site.start(&policy, PRESENT, "old").unwrap().epochs(), given);
    // And the next one hands over as well.
    let back = site.candidate(&policy, site.build(PRESENT), "back").unwrap();
    let (request, secret) = back.ask(Purpose::Handover, None).unwrap();
    assert_eq!(back.adopt(&request, &secret, &new.hand_over(&request).unwrap()).unwrap(), new.epochs());
}

/// R77: nothing that travels or lies around opens for anybody but the two, and recovery recipients stay who they were (R87).
#[test]
fn r77_nothing_that_travels_is_secret() {
    let site = Site::new();
    let people = People::new(&[&site]);
    let old = running(&site, &people.policy);
    let (request, secret) = request(&site, &people.policy, site.build(NEXT)).unwrap();
    let grant = old.hand_over(&request).unwrap();
    for (_, _, root) in secrets(&old.regime().roots) {
        for travels in [&request, &secret, &grant] {
            let text = hex::encode(root);
            assert!(!travels.windows(32).any(|window| window == root));
            assert!(!String::from_utf8_lossy(travels).contains(&text));
        }
    }
    let ring = Grant::from_json(&grant).unwrap().ring;
    let header = bulla::Header::read(&mut ring.as_slice()).unwrap();
    let kinds: Vec<_> = header.slots().iter().map(bulla::Slot::kind).collect();
    assert_eq!(kinds, ["threshold", "recipient"], "the holders, and the one-time key");
    // Another enclave with all of it in its hands.
    let thief = site.candidate(&people.policy, site.build(UNKNOWN), "thief").unwrap();
    assert_eq!(code(thief.adopt(&request, &secret, &grant)), "machine.other_identity");
    let candidate = site.candidate(&people.policy, site.build(NEXT), "new").unwrap();
    candidate.adopt(&request, &secret, &grant).unwrap();
    let new = site.start(&people.policy, NEXT, "new").unwrap();
    assert_eq!(new.regime().roots.recovery(), people.policy.terms.recovery.as_ref());
}

/// R79, B37: whom the policy does not name, no longer names, or names as something else.
#[test]
fn r79_b37_only_whom_the_policy_names() {
    let site = Site::new();
    let policy = keyring();
    let old = running(&site, &policy);
    // What a candidate that judges by another policy would send; the old one judges by its own.
    let mut lax = policy.clone();
    lax.terms.upgrades.push(Target { enclave: Upgrade::Measurement([UNKNOWN; 32]), not_after: None });
    let (unnamed, _) = request(&site, &lax, site.build(UNKNOWN)).unwrap();
    let refused = reason(old.hand_over(&unnamed));
    assert!(refused.starts_with("custody.upgrade_denied") && refused.contains("MRENCLAVE"), "{refused}");
    // By its own policy it does not even ask.
    let refused = reason(request(&site, &policy, site.build(UNKNOWN)));
    assert!(refused.starts_with("custody.upgrade_denied"), "{refused}");
    drop(old);

    // By signer: product and lowest version.
    let signer = |product, min_svn| Upgrade::Signer { signer: [0x22; 32], product, min_svn };
    for (enclave, not_after, wanted) in [
        (signer(1, u16::from(NEXT)), None, ""),
        (signer(1, u16::from(NEXT)), Some(u64::MAX), ""),
        (signer(2, 0), None, "ISVPRODID"),
        (signer(1, u16::from(NEXT) + 1), None, "18"),
        (Upgrade::Measurement([NEXT; 32]), Some(now() - 1), "until"),
    ] {
        let mut policy = policy.clone();
        policy.terms.upgrades[1] = Target { enclave, not_after };
        let old = site.start(&policy, PRESENT, "old").unwrap();
        let (request, _) = request(&site, &lax_of(&policy), site.build(NEXT)).unwrap();
        match (old.hand_over(&request), wanted) {
            (Ok(_), "") => {}
            (refused, wanted) => {
                let refused = reason(refused);
                assert!(!wanted.is_empty() && refused.starts_with("custody.upgrade_denied"), "{refused}");
                assert!(refused.contains(wanted), "{refused}");
            }
        }
    }
    // A policy that names nobody: the development policy cannot either, it has no ring.
    let mut none = policy;
    none.terms.upgrades.clear();
    let old = site.start(&none, PRESENT, "old").unwrap();
    let (request, _) = request(&site, &lax_of(&none), site.build(NEXT)).unwrap();
    assert!(reason(old.hand_over(&request)).contains("[[upgrade]]"));
}

/// The policy as somebody would have it who wants in: of the same digest, as nobody could have signed it.
fn lax_of(policy: &Policy) -> Policy {
    let mut lax = policy.clone();
    lax.terms.upgrades = keyring().terms.upgrades;
    lax
}

/// B37: another authority's policy, an older one, another one of the same version.
#[test]
fn b37_the_successor_runs_under_this_policy_or_a_later_one() {
    let site = Site::new();
    let policy = Policy { version: 3, ..keyring() };
    let old = running(&site, &policy);
    for (other, wanted) in [
        (Policy { authority: [0xBB; 32], ..policy.clone() }, "another authority"),
        (Policy { version: 2, ..policy.clone() }, "version 2"),
        (Policy { digest: [9; 32], ..policy.clone() }, "same version"),
    ] {
        let (request, _) = request(&site, &other, site.build(NEXT)).unwrap();
        let refused = reason(old.hand_over(&request));
        assert!(refused.starts_with("custody.upgrade_denied") && refused.contains(wanted), "{refused}");
    }
    let later = Policy { version: 4, digest: [9; 32], ..policy };
    let candidate = site.candidate(&later, site.build(NEXT), "new").unwrap();
    let (request, secret) = candidate.ask(Purpose::Handover, None).unwrap();
    candidate.adopt(&request, &secret, &old.hand_over(&request).unwrap()).unwrap();
    // The older policy ends with that (R83).
    let older = Policy { version: 3, ..keyring() };
    site.start(&later, NEXT, "new").unwrap();
    assert_eq!(code(site.start(&older, NEXT, "new")), "custody.rollback");
}

/// B37, R23: a debug enclave, whatever it is called.
#[test]
fn b37_a_debug_enclave_gets_nothing() {
    let site = Site::new();
    let policy = keyring();
    let old = running(&site, &policy);
    let debug = EnclaveIdentity::new([NEXT; 32], [0x22; 32], 1, 9).with_debug();
    let refused = reason(request(&site, &policy, site.enclave(&debug)));
    assert!(refused.contains("policy.debug"), "{refused}");
    // Its quote under a request that an honest one made.
    let (honest, _) = request(&site, &policy, site.build(NEXT)).unwrap();
    let mut forged: serde_json::Value = serde_json::from_slice(&honest).unwrap();
    let ask = super::super::ask::Ask::from_json(&honest, Purpose::Handover).unwrap();
    let quote = site.enclave(&debug).attest(&ask.report_data(), bulla_tee::EvidenceKind::Quote).unwrap();
    forged["quote"] = hex::encode(quote.bytes()).into();
    let refused = reason(old.hand_over(forged.to_string().as_bytes()));
    assert_eq!(refused, "custody.upgrade_denied: no handover: policy.debug");
}

/// B37, R36: the same build on another machine. (Both machines are of one maker, so that nothing else tells them apart.)
#[test]
fn b37_another_machine_gets_nothing() {
    let site = Site::new();
    let policy = keyring();
    let old = running(&site, &policy);
    // The machine as it was, with another processor in it: same root, other PPID.
    copy(&site.path("machine"), &site.path("twin"));
    Machine::open(site.path("twin")).unwrap().replace_processor().unwrap();
    let twin = Arc::new(
        Machine::open(site.path("twin"))
            .unwrap()
            .enclave(&EnclaveIdentity::new([NEXT; 32], [0x22; 32], 1, u16::from(NEXT)))
            .unwrap(),
    );
    let (_, anchor) = site.source();
    let source = Arc::new(Source(site.path("twin")));
    let there = Candidate::under(policy.clone(), twin, source, anchor, &site.settings("there")).unwrap();
    let (request, secret) = there.ask(Purpose::Handover, None).unwrap();
    let refused = reason(old.hand_over(&request));
    assert_eq!(refused, "custody.upgrade_denied: no handover: it is on another machine");
    // What was granted here is of no use there.
    let here = site.candidate(&policy, site.build(NEXT), "new").unwrap();
    let (asked, _) = here.ask(Purpose::Handover, None).unwrap();
    let grant = old.hand_over(&asked).unwrap();
    assert_eq!(
        reason(there.adopt(&request, &secret, &grant)),
        "custody.upgrade_denied: no handover: the predecessor's quote was made for something else"
    );
}

/// R79: mutual. Roots are taken from nobody whom the policy does not name, and from no other machine, and only as they were given.
#[test]
fn r79_the_successor_judges_its_predecessor() {
    let site = Site::new();
    let policy = keyring();
    let old = running(&site, &policy);
    let candidate = site.candidate(&policy, site.build(NEXT), "new").unwrap();
    let (request, secret) = candidate.ask(Purpose::Handover, None).unwrap();
    let grant = old.hand_over(&request).unwrap();

    // A build that is not named, which would know the roots that it gives.
    let mut rogue = policy;
    rogue.terms.upgrades[0].enclave = Upgrade::Measurement([UNKNOWN; 32]);
    let rogue_settings = site.settings("rogue");
    Provider::init_under(&rogue, site.build(UNKNOWN), &rogue_settings).unwrap();
    let giver = site.start(&rogue, UNKNOWN, "rogue").unwrap();
    let refused = reason(candidate.adopt(&request, &secret, &giver.hand_over(&request).unwrap()));
    assert!(refused.starts_with("custody.upgrade_denied") && refused.contains("MRENCLAVE"), "{refused}");

    // What was changed on the way.
    let value: serde_json::Value = serde_json::from_slice(&grant).unwrap();
    let edited = |key: &str, to: serde_json::Value| {
        let mut value = value.clone();
        value[key] = to;
        value.to_string()
    };
    let mut seen = value["seen"].clone();
    seen["epoch_floor"] = 2.into();
    let flipped =
        |text: &str| format!("{}{}", &text[..text.len() - 1], if text.ends_with('0') { "1" } else { "0" });
    for bad in [
        edited("policy_version", 0.into()),
        edited("ring", flipped(value["ring"].as_str().unwrap()).into()),
        edited("seen", seen),
        edited("quote", value["ring"].clone()),
        edited("quote", "".into()),
    ] {
        assert_eq!(code(candidate.adopt(&request, &secret, bad.as_bytes())), "custody.upgrade_denied");
    }
    for bad in [edited("version", 2.into()), edited("more", 1.into()), "{}".into(), String::new()] {
        assert_eq!(code(candidate.adopt(&request, &secret, bad.as_bytes())), "custody.malformed");
    }
    assert!(!site.path("new/roots.ring").exists());
    candidate.adopt(&request, &secret, &grant).unwrap();
    assert_eq!(
        code(candidate.adopt(&request, &secret, &grant)),
        "custody.exists",
        "never over roots that are there"
    );
}

/// A predecessor under a later policy knows better than a successor under an older one.
#[test]
fn a_grant_of_a_later_policy_is_not_taken() {
    let site = Site::new();
    let policy = keyring();
    drop(running(&site, &policy));
    let candidate = site.candidate(&policy, site.build(NEXT), "new").unwrap();
    let (request, secret) = candidate.ask(Purpose::Handover, None).unwrap();
    let grant = site.start(&policy, PRESENT, "old").unwrap().hand_over(&request).unwrap();
    let older = Policy { version: 0, ..policy };
    let candidate = site.candidate(&older, site.build(NEXT), "new").unwrap();
    assert_eq!(
        code(candidate.adopt(&request, &secret, &grant)),
        "custody.malformed",
        "it is another request's policy"
    );
}

/// No edit of a request gets roots.
#[test]
fn an_edited_request_gets_nothing() {
    let site = Site::new();
    let policy = keyring();
    let old = running(&site, &policy);
    let (request, _) = request(&site, &policy, site.build(NEXT)).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&request).unwrap();
    let stranger = RecipientKey::generate(Kem::XWing).unwrap();
    let edits: [(&str, serde_json::Value, &str); 8] = [
        ("recipient", stranger.recipient().to_string().into(), "custody.upgrade_denied"),
        ("recipient", "".into(), "custody.upgrade_denied"),
        ("policy_version", 9.into(), "custody.upgrade_denied"),
        ("backup", "11".repeat(32).into(), "custody.upgrade_denied"),
        ("purpose", "drill".into(), "custody.malformed"),
        ("version", 2.into(), "custody.malformed"),
        ("more", 2.into(), "custody.malformed"),
        ("quote", "00".into(), "custody.upgrade_denied"),
    ];
    for (key, to, wanted) in edits {
        let mut bad = value.clone();
        bad[key] = to;
        assert_eq!(code(old.hand_over(bad.to_string().as_bytes())), wanted, "{key}");
    }
    assert_eq!(code(old.hand_over(&vec![b' '; 1 << 20])), "custody.malformed");
    assert!(old.rotate(3).unwrap(), "nothing was given");
}

/// Roots of the hardware have no successor, and no backup.
#[test]
fn hardware_roots_do_not_leave() {
    let site = Site::new();
    site.init(&hardware(), "old").unwrap();
    let old = site.start(&hardware(), PRESENT, "old").unwrap();
    assert_eq!(code(old.hand_over(b"{}")), "custody.bound_to_hardware");
    assert_eq!(code(old.backup(&site.path("backup"))), "custody.bound_to_hardware");
    assert_eq!(code(site.candidate(&hardware(), site.build(NEXT), "new")), "custody.bound_to_hardware");
    assert!(!fs::exists(site.path("backup")).unwrap());
}
