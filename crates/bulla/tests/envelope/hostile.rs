//! What somebody can make of an envelope who has the file key, because it was sealed to them too, or who has no key at all but
//! the disk: none of it may come out as the machine's own word, or as a secret that they can read.

use std::io::Cursor;

use bulla::successor::{Adopt, Request, Upgrade};
use bulla::{
    Error, Floor, Header, Kem, Origin, Policy, RecipientKey, Rewrap, Rotate, Sealer, SignerPolicy, Unsealer,
};
use bulla_tee::Tee;

use crate::machine::{here, program};

fn key() -> RecipientKey {
    RecipientKey::generate(Kem::X25519).unwrap()
}

fn sealed_with(tee: &dyn Tee, holder: &RecipientKey) -> Vec<u8> {
    Sealer::new("test").machine(tee, Policy::default()).recovery(holder.recipient()).seal(b"secret").unwrap()
}

fn rewrapped(rewrap: &Rewrap<'_>, unsealer: &Unsealer<'_>, sealed: &[u8]) -> Result<Vec<u8>, Error> {
    let mut output = Vec::new();
    rewrap.run(unsealer, sealed, &mut output).map(|_| output)
}

fn rotated(rotate: &Rotate<'_>, unsealer: &Unsealer<'_>, sealed: &[u8]) -> Result<Vec<u8>, Error> {
    let mut output = Vec::new();
    rotate.run(unsealer, sealed, &mut output).map(|_| output)
}

#[track_caller]
fn assert_no_origin(result: Result<impl Sized, Error>) {
    assert_eq!(result.err().expect("it was taken for the machine's").code(), "envelope.no_origin");
}

/// A holder has the file key and can write a header without a slot for himself: what names machines alone is not theirs yet.
#[test]
fn a_holder_does_not_pass_for_the_machine_by_leaving() {
    let (machine, holder) = (here(), key());
    let sealed = sealed_with(&machine, &holder);
    let left = rewrapped(&Rewrap::new().drop(1), &Unsealer::new("test").key(&holder), &sealed).unwrap();
    assert_eq!(Header::read(&mut left.as_slice()).unwrap().slots().len(), 1);
    let by_machine = Unsealer::new("test").machine(&machine);
    assert_eq!(by_machine.unseal(&left).unwrap().1.origin, Origin::Machine);
    assert_no_origin(Unsealer::new("test").machine(&machine).require_origin().unseal(&left));

    // Nor by what the machine does to it afterwards.
    let other = key();
    let added = rewrapped(&Rewrap::new().recovery(other.recipient()), &by_machine, &left).unwrap();
    assert_no_origin(Unsealer::new("test").machine(&machine).require_origin().unseal(&added));
    let refreshed = rewrapped(&Rewrap::new().refresh(&machine), &by_machine, &left).unwrap();
    assert_no_origin(Unsealer::new("test").machine(&machine).require_origin().unseal(&refreshed));
}

/// The public key in a request is no secret, so anybody can seal to it what the next identity then finds.
#[test]
fn what_a_stranger_sealed_to_a_successor_does_not_become_its_own() {
    let next = program(|identity| identity.mrenclave[0] = 1);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sealed");
    let (request, secret) = Request::new(&next).unwrap();
    let (shown, carried) = (next.identity().unwrap(), *request.report_data().as_bytes());
    let mut measurement = [0xE0; 32];
    measurement[0] = 1;
    let upgrade = Upgrade::Measurement(measurement);
    let public = request.accept(&shown, &carried, &upgrade).unwrap();
    let stranger = key();
    let forged = Sealer::new("test").recovery(stranger.recipient()).seal(b"forged").unwrap();
    let handed = Rewrap::new().successor(public).drop(0);
    let forged = rewrapped(&handed, &Unsealer::new("test").key(&stranger), &forged).unwrap();
    bulla::file::replace(&path, |file| {
        std::io::Write::write_all(file, &forged).map_err(|source| Error::Io { what: "x".into(), source })
    })
    .unwrap();

    let one_time = bulla::successor::key(&next, &secret).unwrap();
    Adopt::new("test", &next, &one_time).file(&path).unwrap();
    let adopted = std::fs::read(&path).unwrap();
    assert_eq!(bulla::unseal(&next, "test", &adopted).unwrap().expose(), b"forged");
    assert_no_origin(Unsealer::new("test").machine(&next).require_origin().unseal(&adopted));
}

/// A rotation encrypts anew whatever it finds. It does not say that the machine wrote that, unless that was proved.
#[test]
fn a_rotation_lends_no_origin() {
    let (machine, holder) = (here(), key());
    let by_machine = || Unsealer::new("test").machine(&machine);
    let holders = [holder.recipient().clone()];
    let stripped = rewrapped(
        &Rewrap::new().recovery(key().recipient()).drop(1),
        &Unsealer::new("test").key(&holder),
        &sealed_with(&machine, &holder),
    )
    .unwrap();
    let known: Vec<_> =
        Header::read(&mut stripped.as_slice()).unwrap().recipients().cloned().chain(holders).collect();
    let anew = rotated(&Rotate::new(&machine), &by_machine().expect_recipients(&known), &stripped).unwrap();
    assert_eq!(by_machine().unseal(&anew).unwrap().1.origin, Origin::Unknown);
    assert_no_origin(by_machine().require_origin().unseal(&anew));

    let vouched = rotated(&Rotate::new(&machine).vouch(), &by_machine(), &stripped).unwrap();
    assert_eq!(by_machine().unseal(&vouched).unwrap().1.origin, Origin::Proved);
    let proved = rotated(&Rotate::new(&machine), &by_machine(), &sealed_with(&machine, &holder)).unwrap();
    assert_eq!(by_machine().unseal(&proved).unwrap().1.origin, Origin::Proved);
}

/// R82: who is about to be revoked can add a slot for somebody else before, and the rotation does not carry that one along.
#[test]
fn a_rotation_carries_no_recipient_that_nobody_vouches_for() {
    let (machine, revoked, accomplice) = (here(), key(), key());
    let by_machine = || Unsealer::new("test").machine(&machine);
    let sealed = sealed_with(&machine, &revoked);
    let planted = rewrapped(
        &Rewrap::new().recovery(accomplice.recipient()),
        &Unsealer::new("test").key(&revoked),
        &sealed,
    )
    .unwrap();
    assert_no_origin(rotated(&Rotate::new(&machine).drop(1), &by_machine(), &planted));
    let expecting = by_machine().expect_recipients(&[revoked.recipient().clone()]);
    let refusal = rotated(&Rotate::new(&machine).drop(1), &expecting, &planted).unwrap_err();
    assert_eq!(refusal.code(), "slot.unexpected");
    assert!(rotated(&Rotate::new(&machine).drop(1).drop(2), &by_machine(), &planted).is_ok());
    assert!(rotated(&Rotate::new(&machine).drop(1), &by_machine(), &sealed).is_ok());
}

/// A part of a secret cannot prove who wrote the whole, so it is not given out where that is demanded.
#[test]
fn a_range_is_refused_where_the_origin_is_demanded() {
    let (machine, holder) = (here(), key());
    let mut sealed = sealed_with(&machine, &holder);
    *sealed.last_mut().unwrap() ^= 1; // as who has the file key, and not the machine, would leave it
    let demanding = Unsealer::new("test").machine(&machine).require_origin();
    assert_no_origin(demanding.range(Cursor::new(&sealed)));
    let range = Unsealer::new("test").machine(&machine).range(Cursor::new(&sealed)).unwrap();
    assert_eq!(range.opened().origin, Origin::Unchecked);
}

/// An envelope for the machine alone carries the machine's word where it is asked for, and then it can be demanded.
#[test]
fn a_machine_alone_can_prove_its_origin() {
    let machine = here();
    let by_machine = || Unsealer::new("test").machine(&machine).require_origin();
    let plain = bulla::seal(&machine, "test", b"secret").unwrap();
    assert_no_origin(by_machine().unseal(&plain));
    let proving = Sealer::new("test").machine(&machine, Policy::default()).prove_origin();
    let sealed = proving.seal(b"secret").unwrap();
    assert_eq!(by_machine().unseal(&sealed).unwrap().1.origin, Origin::Proved);
    for change in [Rewrap::new().refresh(&machine), Rewrap::new().recovery(key().recipient())] {
        let changed = rewrapped(&change, &by_machine(), &sealed).unwrap();
        assert_eq!(by_machine().unseal(&changed).unwrap().1.origin, Origin::Proved);
    }
    let anew = rotated(&Rotate::new(&machine), &by_machine(), &sealed).unwrap();
    assert_eq!(by_machine().unseal(&anew).unwrap().1.origin, Origin::Proved);
    assert_eq!(
        proving.machine(&machine, Policy::default()).seal(b"").map(|_| ()).map_err(|e| e.code()),
        Ok(())
    );
    let nobody = Sealer::new("test").recovery(key().recipient()).prove_origin().seal(b"secret");
    assert_eq!(nobody.unwrap_err().code(), "usage.invalid");
}

/// R6: what may be read below the floor, for a migration, is not written there: not kept, not moved, not by a change of another
/// slot, and whoever holds the floor.
#[test]
fn nothing_is_written_below_the_floor() {
    let (machine, more) = (here(), key());
    let release = SignerPolicy { product: 7, min_svn: 2, label: "acme".into() };
    let sealed = Sealer::new("test").machine(&machine, Policy::signer(release)).seal(b"secret").unwrap();
    let floor = Floor { isvsvn: 3, ..Floor::default() };
    let migrating = || Unsealer::new("test").machine(&machine).floor(&floor).below_floor();
    let below =
        |result: Result<Vec<u8>, Error>| assert_eq!(result.unwrap_err().code(), "machine.below_floor");
    for rewrap in [
        Rewrap::new(),
        Rewrap::new().epoch(7),
        Rewrap::new().recovery(more.recipient()),
        Rewrap::new().recovery(more.recipient()).floor(&floor),
        Rewrap::new().refresh(&machine), // under its own policy, which is what is below
    ] {
        below(rewrapped(&rewrap, &migrating(), &sealed));
    }
    below(rotated(&Rotate::new(&machine), &migrating(), &sealed));

    let raised = Rewrap::new().machine(&machine, Policy::default()).drop(0);
    let raised = rewrapped(&raised, &migrating(), &sealed).unwrap();
    let above = Unsealer::new("test").machine(&machine).floor(&floor);
    assert_eq!(above.unseal(&raised).unwrap().0.expose(), b"secret");
}
