//! Rewrap and rotate: who may open is changed without the payload, and the key with it; nothing is lost on the way.

use std::fs;

use bulla::{
    Error, Header, Kem, Opener, Origin, Policy, RecipientKey, Rewrap, Role, Rotate, Sealer, SignerPolicy,
    Unsealer,
};
use bulla_sim::Step;
use bulla_tee::Tee;

use crate::machine::{TestMachine, here, program};
use crate::surgery::{CHUNK, Parts};

fn key() -> RecipientKey {
    RecipientKey::generate(Kem::X25519).unwrap()
}

fn rewrapped(rewrap: &Rewrap<'_>, unsealer: &Unsealer<'_>, sealed: &[u8]) -> Result<Vec<u8>, Error> {
    let mut output = Vec::new();
    rewrap.run(unsealer, sealed, &mut output).map(|_| output)
}

fn rotated(rotate: &Rotate<'_>, unsealer: &Unsealer<'_>, sealed: &[u8]) -> Result<Vec<u8>, Error> {
    let mut output = Vec::new();
    rotate.run(unsealer, sealed, &mut output).map(|_| output)
}

fn opens(tee: &dyn Tee, sealed: &[u8]) -> bool {
    bulla::unseal(tee, "test", sealed).is_ok_and(|secret| secret.expose() == b"secret")
}

fn opens_with(key: &RecipientKey, sealed: &[u8]) -> bool {
    Unsealer::new("test").key(key).unseal(sealed).is_ok_and(|(secret, _)| secret.expose() == b"secret")
}

fn header(sealed: &[u8]) -> Header {
    Header::read(&mut &*sealed).unwrap()
}

/// R75: a rewrap changes slots and nothing of the payload; the file key stays.
#[test]
fn a_rewrap_leaves_the_payload() {
    let machine = here();
    let (one, two) = (key(), key());
    let sealed = Sealer::new("test").machine(&machine, Policy::default()).created(7).seal(b"secret").unwrap();
    let unsealer = Unsealer::new("test").machine(&machine);
    let added = Rewrap::new().recovery(one.recipient()).recovery(two.recipient());
    let added = rewrapped(&added, &unsealer, &sealed).unwrap();
    assert!(opens(&machine, &added) && opens_with(&one, &added) && opens_with(&two, &added));
    let (before, mut after) = (Parts::of(&sealed), Parts::of(&added));
    after.chunks.last_mut().unwrap().truncate(before.chunks[0].len());
    assert_eq!(before.chunks, after.chunks);
    assert_eq!(header(&sealed).envelope_id(), header(&added).envelope_id());
    assert_eq!(header(&added).created(), Some(7));

    let dropped = rewrapped(&Rewrap::new().drop(1), &unsealer, &added).unwrap();
    assert!(opens(&machine, &dropped) && !opens_with(&one, &dropped) && opens_with(&two, &dropped));
    assert!(opens_with(&one, &added), "dropping a slot is no revocation: the older file opens");
}

/// The last opener goes only by force, and then nobody opens it.
#[test]
fn the_last_slot_is_not_dropped() {
    let machine = here();
    let sealed = bulla::seal(&machine, "test", b"secret").unwrap();
    let unsealer = Unsealer::new("test").machine(&machine);
    assert_eq!(rewrapped(&Rewrap::new().drop(0), &unsealer, &sealed).unwrap_err().code(), "slot.last");
    assert_eq!(rewrapped(&Rewrap::new().drop(1), &unsealer, &sealed).unwrap_err().code(), "slot.unknown");
    let shredded = rewrapped(&Rewrap::new().drop(0).force(), &unsealer, &sealed).unwrap();
    assert_eq!(header(&shredded).slots().len(), 0);
    assert_eq!(bulla::unseal(&machine, "test", &shredded).err().unwrap().code(), "envelope.no_opener");
}

/// R5: a refreshed slot is bound to the versions of today, under the same policy.
#[test]
fn a_refresh_binds_to_the_present_microcode() {
    let machine = TestMachine::new();
    let release = SignerPolicy { product: 7, min_svn: 2, label: "acme".into() };
    let sealed = Sealer::new("test")
        .machine(&machine.program(|_| ()), Policy::signer(release.clone()))
        .seal(b"secret")
        .unwrap();
    let machine = machine.microcode(Step::Up);
    let enclave = machine.program(|_| ());
    let unsealer = Unsealer::new("test").machine(&enclave);
    let refreshed = rewrapped(&Rewrap::new().refresh(&enclave), &unsealer, &sealed).unwrap();
    assert_eq!(header(&refreshed).slots().len(), 1);
    let header = header(&refreshed);
    let Opener::Machine(request) = header.slots()[0].opener() else { panic!("no machine") };
    assert_eq!(request.policy(), Policy::signer(release));
    assert!(opens(&enclave, &refreshed));

    let machine = machine.microcode(Step::Down);
    let enclave = machine.program(|_| ());
    assert!(opens(&enclave, &sealed) && !opens(&enclave, &refreshed));
}

/// Who rewrites an envelope does not lend it the machine's word: only what was proved stays proved.
#[test]
fn an_origin_is_not_lent() {
    let machine = here();
    let (holder, more) = (key(), key());
    let sealed = Sealer::new("test")
        .machine(&machine, Policy::default())
        .recovery(holder.recipient())
        .seal(b"secret")
        .unwrap();
    let by_machine = Unsealer::new("test").machine(&machine);
    let origin = |sealed: &[u8]| by_machine.unseal(sealed).unwrap().1.origin;

    let proved = rewrapped(&Rewrap::new().recovery(more.recipient()), &by_machine, &sealed).unwrap();
    assert_eq!(origin(&proved), Origin::Proved);
    let refreshed = rewrapped(&Rewrap::new().refresh(&machine), &by_machine, &sealed).unwrap();
    assert_eq!(origin(&refreshed), Origin::Proved);

    let by_holder = Unsealer::new("test").key(&holder);
    let stripped = rewrapped(&Rewrap::new().recovery(more.recipient()), &by_holder, &sealed).unwrap();
    assert_eq!(origin(&stripped), Origin::Unknown);
    let laundered = rewrapped(&Rewrap::new().refresh(&machine), &by_machine, &stripped).unwrap();
    assert_eq!(origin(&laundered), Origin::Unknown);
    let vouched = rewrapped(&Rewrap::new().refresh(&machine).vouch(), &by_machine, &stripped).unwrap();
    assert_eq!(origin(&vouched), Origin::Proved);

    let mut forged = sealed;
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(
        rewrapped(&Rewrap::new().refresh(&machine), &by_machine, &forged).unwrap_err().code(),
        "envelope.origin"
    );
}

/// The next identity opens by a temporary slot, adds its own, and the temporary one goes.
#[test]
fn a_successor_takes_over() {
    let present = here();
    let next = program(|identity| identity.mrenclave[0] = 1);
    let one_time = key();
    let sealed = bulla::seal(&present, "test", b"secret").unwrap();
    let admitted = Rewrap::new().successor(one_time.recipient());
    let admitted = rewrapped(&admitted, &Unsealer::new("test").machine(&present), &sealed).unwrap();
    let header_of = header(&admitted);
    let Opener::Recipient(opener) = header_of.slots()[1].opener() else { panic!("no recipient") };
    assert_eq!(opener.role(), Role::Successor);
    assert!(!opens(&next, &admitted));

    let adopt = Rewrap::new().machine(&next, Policy::default()).drop_successors();
    let adopted = rewrapped(&adopt, &Unsealer::new("test").key(&one_time), &admitted).unwrap();
    assert!(opens(&next, &adopted) && opens(&present, &adopted) && !opens_with(&one_time, &adopted));
}

/// R75, R82: a rotation changes the file key and the payload: what opened the old one learns nothing of the new.
#[test]
fn a_rotation_is_a_new_key() {
    let machine = here();
    let (kept, dropped) = (key(), key());
    let holders = [key(), key()];
    let public = holders.each_ref().map(|key| key.recipient().clone());
    let sealed = Sealer::new("test")
        .machine(&machine, Policy::default())
        .recovery(kept.recipient())
        .recovery(dropped.recipient())
        .threshold(2, &public)
        .epoch(4)
        .label("db", "orders")
        .seal(b"secret")
        .unwrap();
    let unsealer = Unsealer::new("test").machine(&machine);
    let rotated = rotated(&Rotate::new(&machine).drop(2), &unsealer, &sealed).unwrap();
    assert!(opens(&machine, &rotated) && opens_with(&kept, &rotated) && !opens_with(&dropped, &rotated));
    let quorum = Unsealer::new("test").key(&holders[0]).key(&holders[1]).unseal(&rotated);
    assert_eq!(quorum.unwrap().0.expose(), b"secret");
    let (before, after) = (header(&sealed), header(&rotated));
    assert_ne!(before.envelope_id(), after.envelope_id());
    assert_eq!((after.epoch(), after.labels().collect::<Vec<_>>()), (Some(5), vec![("db", "orders")]));

    // The old slots under the new header, and the new payload under the old header: neither opens.
    let (old, mut new) = (Parts::of(&sealed), Parts::of(&rotated));
    new.cbor.clone_from(&old.cbor);
    new.mac.clone_from(&old.mac);
    assert!(bulla::unseal(&machine, "test", &new.join()).is_err());
}

/// What cannot be carried over is said before anything is written.
#[test]
fn a_rotation_does_not_lose_openers_silently() {
    let (present, next) = (here(), program(|identity| identity.mrenclave[0] = 1));
    let sealed = Sealer::new("test")
        .machine(&present, Policy::default())
        .machine(&next, Policy::default())
        .seal(b"secret")
        .unwrap();
    let unsealer = Unsealer::new("test").machine(&present);
    let error = rotated(&Rotate::new(&present), &unsealer, &sealed).unwrap_err();
    assert!(matches!(error, Error::NotCarried { index: 1, kind: "sim" }), "{error}");
    assert!(opens(&present, &rotated(&Rotate::new(&present).drop(1), &unsealer, &sealed).unwrap()));
    let error = rotated(&Rotate::without_machine(), &unsealer, &sealed).unwrap_err();
    assert!(matches!(error, Error::NotCarried { index: 0, .. }), "{error}");

    let mut damaged = bulla::seal(&present, "test", &vec![7; 3 * CHUNK]).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    let error = rotated(&Rotate::new(&present), &unsealer, &damaged).unwrap_err();
    assert_eq!(error.code(), "envelope.payload_changed");
}

/// Where the secret cannot be sealed anew, that is the reason, and not that the old envelope was not read to its end.
#[test]
fn a_rotation_that_cannot_write_says_so() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let machine = here();
    let sealed = bulla::seal(&machine, "test", &vec![7; 3 * CHUNK]).unwrap();
    let unsealer = Unsealer::new("test").machine(&machine);
    let error = Rotate::new(&machine).run(&unsealer, sealed.as_slice(), Full).unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{error}"
    );
    let error = Rotate::new(&machine).run(&unsealer, &sealed[..sealed.len() - 100], Vec::new()).unwrap_err();
    assert_eq!(error.code(), "envelope.payload_changed");
    let error = Rotate::new(&machine).run(&unsealer, &sealed[..sealed.len() - 3 * CHUNK - 40], Vec::new());
    assert_eq!(error.unwrap_err().code(), "envelope.truncated");
}

/// R69, R76: on disk, what was written is read back before the old file goes, and the old one is kept.
#[test]
fn files_change_through_their_journal() {
    let machine = here();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sealed");
    let original = bulla::seal(&machine, "test", b"secret").unwrap();
    bulla::file::replace(&path, |file| {
        std::io::Write::write_all(file, &original)
            .map_err(|source| Error::Io { what: "writing".into(), source })
    })
    .unwrap();
    let unsealer = Unsealer::new("test").machine(&machine);

    let recovery = key();
    let changed = Rewrap::new().recovery(recovery.recipient()).vouch().file(&unsealer, &path).unwrap();
    assert_eq!(changed.value.slots().len(), 2);
    assert!(opens_with(&recovery, &fs::read(&path).unwrap()));

    Rotate::new(&machine).file(&unsealer, &path).unwrap();
    let present = fs::read(&path).unwrap();
    assert!(opens(&machine, &present) && opens_with(&recovery, &present));

    let before = fs::read(&path).unwrap();
    assert!(Rewrap::new().drop(9).file(&unsealer, &path).is_err());
    assert!(Rotate::without_machine().file(&unsealer, &path).is_err());
    assert!(Rewrap::new().file(&Unsealer::new("else").machine(&machine), &path).is_err());
    assert_eq!(fs::read(&path).unwrap(), before, "a failure leaves the file as it was");
}
