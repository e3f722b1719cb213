//! Backup, drill, and recovery on another machine.

use std::fs;

use super::super::Purpose;
use super::*;

/// A provider with a backup, and the machine on which it is to be recovered.
struct Lost {
    site: Site,
    there: Site,
    people: People,
    backup: Vec<u8>,
    epochs: Vec<(u32, [u8; 16])>,
}

impl Lost {
    fn new() -> Self {
        let (site, there) = (Site::new(), Site::new());
        let people = People::new(&[&there]);
        site.init(&people.policy, "state").unwrap();
        let provider = site.start(&people.policy, PRESENT, "state").unwrap();
        provider.rotate(2).unwrap();
        provider.backup(&site.path("backup")).unwrap();
        let (backup, epochs) = (fs::read(site.path("backup")).unwrap(), provider.epochs());
        Self { site, there, people, backup, epochs }
    }

    fn candidate(&self, measurement: u8) -> Candidate {
        self.there.candidate(&self.people.policy, self.there.build(measurement), "state").unwrap()
    }

    fn share(&self, purpose: Purpose, request: &[u8], holder: usize) -> Result<Vec<u8>, Error> {
        let key = &self.people.keys[holder];
        self.there.holder(&self.people.policy).share(purpose, request, &self.backup, key)
    }

    fn shares(&self, purpose: Purpose, request: &[u8], holders: &[usize]) -> Vec<Vec<u8>> {
        holders.iter().map(|holder| self.share(purpose, request, *holder).unwrap()).collect()
    }
}

/// R87: what was lost with its machine opens on one that the policy names, from any two of three.
#[test]
fn r87_a_lost_provider_goes_on_elsewhere() {
    let lost = Lost::new();
    assert_eq!(code(lost.there.start(&lost.people.policy, PRESENT, "state")), "custody.not_initialised");
    let candidate = lost.candidate(PRESENT);
    let (request, secret) = candidate.ask(Purpose::Recovery, Some(&lost.backup)).unwrap();
    let shares = lost.shares(Purpose::Recovery, &request, &[2, 0]);
    let recovered = candidate.recover(&request, &secret, &lost.backup, &shares).unwrap();
    assert_eq!(recovered, lost.epochs);
    let provider = lost.there.start(&lost.people.policy, PRESENT, "state").unwrap();
    let before = opened(&lost.site, &lost.people.policy, PRESENT, "state").unwrap();
    assert_eq!(secrets(&provider.regime().roots), secrets(&before));
    // It is a whole provider: it rotates, and is backed up again.
    provider.rotate(3).unwrap();
    provider.backup(&lost.there.path("backup")).unwrap();
    assert_eq!(code(candidate.recover(&request, &secret, &lost.backup, &shares)), "custody.exists");
}

/// R87, B38: where the machine itself lost its keys, the error names the machine, and recovery works.
#[test]
fn r87_a_new_processor_is_named_and_recovered_from() {
    let site = Site::new();
    let mut people = People::new(&[]);
    site.init(&people.policy, "state").unwrap();
    let provider = site.start(&people.policy, PRESENT, "state").unwrap();
    provider.backup(&site.path("backup")).unwrap();
    let (backup, epochs) = (fs::read(site.path("backup")).unwrap(), provider.epochs());
    drop(provider);
    site.machine().replace_processor().unwrap();
    assert_eq!(code(site.start(&people.policy, PRESENT, "state")), "machine.other_machine");
    people.policy.terms.migration.insert(site.ppid());
    let candidate = site.candidate(&people.policy, site.build(PRESENT), "again").unwrap();
    let (request, secret) = candidate.ask(Purpose::Recovery, Some(&backup)).unwrap();
    let holder = site.holder(&people.policy);
    let share = |at: usize| holder.share(Purpose::Recovery, &request, &backup, &people.keys[at]).unwrap();
    assert_eq!(candidate.recover(&request, &secret, &backup, &[share(0), share(1)]).unwrap(), epochs);
}

/// Fewer than the threshold, twice the same, or a share for something else do not open it, and nothing is written.
#[test]
fn too_few_shares_open_nothing() {
    let lost = Lost::new();
    let candidate = lost.candidate(PRESENT);
    let (request, secret) = candidate.ask(Purpose::Recovery, Some(&lost.backup)).unwrap();
    let recover = |shares: &[Vec<u8>]| candidate.recover(&request, &secret, &lost.backup, shares);
    let [one, two] = [0, 1].map(|holder| lost.share(Purpose::Recovery, &request, holder).unwrap());
    assert_eq!(code(recover(&[])), "envelope.no_opener");
    assert_eq!(code(recover(std::slice::from_ref(&one))), "slot.shares_missing");
    assert_eq!(code(recover(&[one.clone(), one.clone()])), "slot.shares_missing");
    let (other, _) = candidate.ask(Purpose::Recovery, Some(&lost.backup)).unwrap();
    let foreign = lost.share(Purpose::Recovery, &other, 1).unwrap();
    assert_eq!(
        code(recover(&[one.clone(), foreign])),
        "envelope.other_context",
        "it was given for another request"
    );
    let mut torn = two.clone();
    let last = torn.len() - 1;
    torn[last] ^= 1;
    assert_ne!(code(recover(&[one.clone(), torn])), "done");
    assert!(!lost.there.path("state/roots.ring").exists());
    assert_eq!(recover(&[one, two]).unwrap(), lost.epochs);
}

/// R45: no machine that the policy does not name, no enclave that it does not name, no other policy: each holder sees to it, and
/// so does the enclave itself.
#[test]
fn r45_shares_go_only_where_the_policy_says() {
    let lost = Lost::new();
    let asked = |edit: &dyn Fn(&mut Policy), measurement: u8| {
        let mut policy = lost.people.policy.clone();
        edit(&mut policy);
        let tee = lost.there.build(measurement);
        lost.there.candidate(&policy, tee, "state").unwrap().ask(Purpose::Recovery, Some(&lost.backup))
    };
    // The enclave itself does not ask.
    let refused = reason(asked(&|policy| policy.terms.migration.clear(), PRESENT));
    assert!(refused.starts_with("custody.recovery_denied") && refused.contains("[[migration]]"), "{refused}");
    let refused = reason(asked(&|_| {}, UNKNOWN));
    assert!(refused.starts_with("custody.recovery_denied") && refused.contains("MRENCLAVE"), "{refused}");

    // One that asks all the same, because its policy is another one, which says that it is this one.
    let build = Target { enclave: Upgrade::Measurement([UNKNOWN; 32]), not_after: None };
    let (unknown, _) = asked(&|policy| policy.terms.upgrades.push(build.clone()), UNKNOWN).unwrap();
    let refused = reason(lost.share(Purpose::Recovery, &unknown, 0));
    assert!(refused.starts_with("custody.recovery_denied") && refused.contains("MRENCLAVE"), "{refused}");
    let (request, _) = asked(&|_| {}, PRESENT).unwrap();
    let mut nowhere = lost.people.policy.clone();
    nowhere.terms.migration = [lost.site.ppid()].into();
    let refused = reason(lost.there.holder(&nowhere).share(
        Purpose::Recovery,
        &request,
        &lost.backup,
        &lost.people.keys[0],
    ));
    assert!(refused.contains("[[migration]]"), "{refused}");

    // Another policy, or another authority's.
    for edit in [
        &|policy: &mut Policy| policy.version += 1,
        &|policy: &mut Policy| policy.digest = [1; 32],
        &|policy: &mut Policy| policy.authority = [1; 32],
    ] as [&dyn Fn(&mut Policy); 3]
    {
        let (request, _) = asked(edit, PRESENT).unwrap();
        let refused = reason(lost.share(Purpose::Recovery, &request, 0));
        assert!(refused.contains("another policy"), "{refused}");
    }
    // A debug enclave does not get to ask.
    let debug = EnclaveIdentity::new([PRESENT; 32], [0x22; 32], 1, 9).with_debug();
    let candidate = lost.there.candidate(&lost.people.policy, lost.there.enclave(&debug), "state").unwrap();
    let refused = reason(candidate.ask(Purpose::Recovery, Some(&lost.backup)));
    assert!(refused.contains("policy.debug"), "{refused}");
}

/// An edited request, a backup that is another one, a holder who is none.
#[test]
fn a_holder_gives_nothing_to_what_does_not_fit() {
    let lost = Lost::new();
    let (request, _) = lost.candidate(PRESENT).ask(Purpose::Recovery, Some(&lost.backup)).unwrap();
    let stranger = RecipientKey::generate(Kem::XWing).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&request).unwrap();
    let edited = |key: &str, to: &str| {
        let mut value = value.clone();
        value[key] = to.into();
        value.to_string().into_bytes()
    };
    for bad in [
        edited("recipient", &stranger.recipient().to_string()),
        edited("backup", &"00".repeat(32)),
        edited("quote", "00"),
    ] {
        assert_eq!(code(lost.share(Purpose::Recovery, &bad, 0)), "custody.recovery_denied");
    }
    assert_eq!(code(lost.share(Purpose::Drill, &request, 0)), "custody.malformed");
    let holder = lost.there.holder(&lost.people.policy);
    let own = |backup: &[u8], key| holder.share(Purpose::Recovery, &request, backup, key);
    assert_eq!(code(own(&lost.backup[1..], &lost.people.keys[0])), "custody.recovery_denied");
    assert_eq!(code(own(&lost.backup, &stranger)), "envelope.no_opener");
}

/// A drill shows that the backup opens, leaves nothing behind, and what was given for it is good for nothing else.
#[test]
fn a_drill_opens_the_backup_and_keeps_nothing() {
    let lost = Lost::new();
    let candidate = lost.candidate(PRESENT);
    let path = lost.site.path("backup");
    let (request, secret) = candidate.ask(Purpose::Drill, Some(&lost.backup)).unwrap();
    let shares = lost.shares(Purpose::Drill, &request, &[0, 1]);
    let drilled = candidate.drill(&request, &secret, &path, &shares).unwrap();
    assert_eq!(drilled.epochs, lost.epochs);
    assert!(!lost.there.path("state").exists(), "nothing is kept");
    let shown = format!("{drilled:?}");
    let roots = opened(&lost.site, &lost.people.policy, PRESENT, "state").unwrap();
    for (_, _, secret) in secrets(&roots) {
        assert!(!shown.contains(&format!("{secret:?}")) && !shown.contains(&hex::encode(secret)));
    }

    assert_eq!(code(candidate.recover(&request, &secret, &lost.backup, &shares)), "custody.malformed");
    let (recovery, kept) = candidate.ask(Purpose::Recovery, Some(&lost.backup)).unwrap();
    assert_ne!(code(candidate.recover(&recovery, &kept, &lost.backup, &shares)), "done");
    assert_eq!(code(candidate.drill(&request, &secret, &path, &shares[..1])), "slot.shares_missing");
    // A backup that has rotted since.
    let mut torn = lost.backup;
    let last = torn.len() - 1;
    torn[last] ^= 1;
    fs::write(&path, torn).unwrap();
    assert_eq!(code(candidate.drill(&request, &secret, &path, &shares)), "custody.malformed");
}

/// A backup that nobody could open is not made.
#[test]
fn a_backup_needs_recipients() {
    let site = Site::new();
    site.init(&keyring(), "state").unwrap();
    let provider = site.start(&keyring(), PRESENT, "state").unwrap();
    assert_eq!(code(provider.backup(&site.path("backup"))), "custody.no_recipients");
    assert!(!site.path("backup").exists());
}

/// R87: a ring that somebody else made for the same holders has other roots under other names; nobody mistakes it.
#[test]
fn a_forged_backup_has_other_root_ids() {
    let lost = Lost::new();
    let recovery = lost.people.policy.terms.recovery.clone().unwrap();
    let context = super::super::keyring::context(&lost.people.policy.authority).unwrap();
    let forged = lost.site.path("forged.ring");
    let key = RecipientKey::generate(Kem::X25519).unwrap();
    let sealer = bulla::Sealer::new(&context)
        .threshold(recovery.threshold, &recovery.recipients)
        .recovery(key.recipient());
    bulla::Ring::create(&forged, sealer, bulla::Unsealer::new(&context).key(&key)).unwrap();
    let backup = fs::read(&forged).unwrap();
    let candidate = lost.candidate(PRESENT);
    let (request, secret) = candidate.ask(Purpose::Recovery, Some(&backup)).unwrap();
    let holder = lost.there.holder(&lost.people.policy);
    let shares: Vec<_> = [0, 1]
        .map(|at| holder.share(Purpose::Recovery, &request, &backup, &lost.people.keys[at]).unwrap())
        .into();
    assert_eq!(code(candidate.recover(&request, &secret, &backup, &shares)), "slot.unexpected");
}
