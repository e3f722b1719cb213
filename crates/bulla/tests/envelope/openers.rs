//! Several openers for one envelope: who opens it, who does not, and what is known of who wrote it.

use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use bulla::{
    Error, Floor, Header, Kem, Opener, Origin, Policy, Recipient, RecipientKey, Role, Sealer, Share,
    SignerPolicy, Strength, Unsealer,
};
use bulla_crypto::Class;

use crate::machine::{here, program};
use crate::surgery::{CHUNK, edited};

fn keys<const N: usize>() -> [RecipientKey; N] {
    std::array::from_fn(|i| {
        RecipientKey::generate(if i % 2 == 0 { Kem::XWing } else { Kem::X25519 }).unwrap()
    })
}

fn public(keys: &[RecipientKey]) -> Vec<Recipient> {
    keys.iter().map(|key| key.recipient().clone()).collect()
}

fn refusal(result: Result<impl Sized, Error>) -> Error {
    result.err().expect("it opened")
}

/// R87: recovery needs the private key, the context and nothing of the machine.
#[test]
fn a_recipient_opens_where_no_machine_can() {
    let machine = here();
    let [hybrid, classical, stranger] = keys();
    let sealed = Sealer::new("test")
        .machine(&machine, Policy::default())
        .recovery(hybrid.recipient())
        .recovery(classical.recipient())
        .seal(b"secret")
        .unwrap();
    for (key, slot) in [(&hybrid, 1), (&classical, 2)] {
        let (secret, opened) = Unsealer::new("test").key(key).unseal(&sealed).unwrap();
        assert_eq!((secret.expose(), opened.slot), (&b"secret"[..], slot));
    }
    let error = refusal(Unsealer::new("test").key(&stranger).unseal(&sealed));
    assert_eq!((error.code(), error.class()), ("envelope.no_opener", Class::Refused));
    assert_eq!(refusal(Unsealer::new("test").unseal(&sealed)).code(), "envelope.no_opener");
    assert_eq!(refusal(Unsealer::new("else").key(&hybrid).unseal(&sealed)).code(), "envelope.other_context");
}

/// R87: a recipient cannot be exchanged for another, nor its role, without the file key.
#[test]
fn recipients_are_authenticated() {
    let [key, other] = keys();
    let sealed = Sealer::new("test").recovery(key.recipient()).seal(b"secret").unwrap();
    let foreign = Sealer::new("test").recovery(other.recipient()).seal(b"secret").unwrap();
    let exchanged = edited(&sealed, |fields| {
        let mut foreign_slot = None;
        edited(&foreign, |foreign| foreign_slot = Some(foreign.slots[0].clone()));
        fields.slots = vec![foreign_slot.unwrap()];
    });
    let error = refusal(Unsealer::new("test").key(&other).unseal(&exchanged));
    assert_eq!(error.code(), "envelope.header_changed");
    let role = edited(&sealed, |fields| *fields.slots[0].opener.last_mut().unwrap() ^= 1);
    assert_eq!(refusal(Unsealer::new("test").key(&key).unseal(&role)).code(), "envelope.header_changed");
}

/// Any two of three holders open together, by their keys or by shares that they gave; one alone does not.
#[test]
fn a_threshold_opens_for_enough_holders() {
    let holders: [RecipientKey; 3] = keys();
    let sealed = Sealer::new("test").threshold(2, &public(&holders)).seal(b"secret").unwrap();
    let header = Header::read(&mut sealed.as_slice()).unwrap();
    let shares: Vec<_> = holders.iter().map(|key| Share::take(&header, key).unwrap()).collect();

    for (one, two) in [(0, 1), (0, 2), (1, 2)] {
        let by_keys = Unsealer::new("test").key(&holders[one]).key(&holders[two]);
        assert_eq!(by_keys.unseal(&sealed).unwrap().0.expose(), b"secret");
        let by_both = Unsealer::new("test").key(&holders[one]).share(&shares[two]);
        assert_eq!(by_both.unseal(&sealed).unwrap().0.expose(), b"secret");
    }
    let error = refusal(Unsealer::new("test").key(&holders[1]).share(&shares[1]).unseal(&sealed));
    assert!(matches!(error, Error::SharesMissing { have: 1, need: 2 }), "{error}");

    let [stranger] = keys();
    assert_eq!(Share::take(&header, &stranger).err().unwrap().code(), "envelope.no_opener");
}

/// A share that was changed on its way is named, and does no harm where there are enough others.
#[test]
fn a_wrong_share_is_named() {
    let holders: [RecipientKey; 3] = keys();
    let sealed = Sealer::new("test").threshold(2, &public(&holders)).seal(b"secret").unwrap();
    let header = Header::read(&mut sealed.as_slice()).unwrap();
    let share = |index: usize| Share::take(&header, &holders[index]).unwrap();
    let text = String::from_utf8(share(1).to_text().expose().to_vec()).unwrap();
    let last = if text.ends_with('0') { "1" } else { "0" };
    let wrong = Share::from_text(&format!("{}{last}", &text[..text.len() - 1])).unwrap();

    let (one, three) = (share(0), share(2));
    let error = refusal(Unsealer::new("test").share(&one).share(&wrong).unseal(&sealed));
    assert!(matches!(error, Error::ShareWrong { index: 2 }), "{error}");
    let enough = Unsealer::new("test").share(&one).share(&wrong).share(&three);
    assert_eq!(enough.unseal(&sealed).unwrap().0.expose(), b"secret");

    for damaged in ["", "bulla-share-1:", &text[..text.len() - 2], &format!("{text}00"), "age1"] {
        assert_eq!(Share::from_text(damaged).err().unwrap().code(), "key.bad");
    }
    assert_eq!(Share::from_text(&format!(" {text}\n")).unwrap().index(), 2);
}

/// A share of one envelope is nothing to another.
#[test]
fn shares_belong_to_their_envelope() {
    let holders: [RecipientKey; 2] = keys();
    let [one, two] =
        [(); 2].map(|()| Sealer::new("test").threshold(2, &public(&holders)).seal(b"secret").unwrap());
    let share = Share::take(&Header::read(&mut one.as_slice()).unwrap(), &holders[0]).unwrap();
    let error = refusal(Unsealer::new("test").share(&share).key(&holders[1]).unseal(&two));
    assert!(matches!(error, Error::SharesMissing { have: 1, need: 2 }), "{error}");
}

/// Thresholds that make no sense, labels, epochs and openers that cannot be are refused when sealing.
#[test]
fn what_cannot_be_is_not_sealed() {
    let holders: [RecipientKey; 3] = keys();
    let public = public(&holders);
    let many: Vec<_> =
        (0..17).map(|_| RecipientKey::generate(Kem::X25519).unwrap().recipient().clone()).collect();
    let twice = [public[0].clone(), public[0].clone()];
    let base = || Sealer::new("test").recovery(&public[0]);
    let sealers = [
        ("no opener", Sealer::new("test")),
        ("1 of 2", Sealer::new("test").threshold(1, &public[..2])),
        ("0 of 2", Sealer::new("test").threshold(0, &public[..2])),
        ("4 of 3", Sealer::new("test").threshold(4, &public)),
        ("2 of 17", Sealer::new("test").threshold(2, &many)),
        ("one holder twice", Sealer::new("test").threshold(2, &twice)),
        ("epoch 0", base().epoch(0)),
        ("a label without a name", base().label("", "x")),
        ("a long name", base().label(&"x".repeat(65), "x")),
        ("a long value", base().label("x", &"x".repeat(1025))),
        ("33 labels", (0..33).fold(base(), |sealer, i| sealer.label(&i.to_string(), "x"))),
        ("65 slots", (0..64).fold(base(), |sealer, _| sealer.recovery(&public[1]))),
    ];
    for (what, sealer) in sealers {
        let error = refusal(sealer.seal(b"secret"));
        assert_eq!((error.class(), error.code()), (Class::Usage, "usage.invalid"), "{what}");
    }
    assert!((0..32).fold(base(), |sealer, i| sealer.label(&i.to_string(), "x")).seal(b"secret").is_ok());
}

/// The header says what was said, in the clear; and the weakest slot says how strong it is.
#[test]
fn the_header_says_what_was_said() {
    let machine = here();
    let [key] = keys();
    let sealed = Sealer::new("test")
        .machine(&machine, Policy::default())
        .recovery(key.recipient())
        .created(7)
        .epoch(3)
        .label("zone", "b")
        .label("db", "orders")
        .seal(b"secret")
        .unwrap();
    let header = Header::read(&mut sealed.as_slice()).unwrap();
    assert_eq!((header.version(), header.created(), header.epoch()), (1, Some(7), Some(3)));
    assert_eq!(header.labels().collect::<Vec<_>>(), [("db", "orders"), ("zone", "b")]);
    assert_eq!((header.origin(), header.weakest()), (Some(0), Some(Strength::Simulated)));
    let Opener::Recipient(opener) = header.slots()[1].opener() else { panic!("no recipient") };
    assert_eq!((opener.recipient(), opener.role()), (key.recipient(), Role::Recovery));
    assert!(Strength::Recipient < Strength::Threshold && Strength::Signer < Strength::Measurement);
}

/// Where others could have written it too, the machine proves that it did, and only its own slot can tell.
#[test]
fn the_origin_is_proved_to_its_machine() {
    let machine = here();
    let [key] = keys();
    for length in [0, 1, CHUNK, 2 * CHUNK + 1] {
        let secret = vec![7; length];
        let sealed = Sealer::new("test")
            .machine(&machine, Policy::default())
            .recovery(key.recipient())
            .seal(&secret)
            .unwrap();
        let by_machine = Unsealer::new("test").machine(&machine).require_origin();
        let (opened_secret, opened) = by_machine.unseal(&sealed).unwrap();
        assert_eq!((opened_secret.expose(), opened.origin), (secret.as_slice(), Origin::Proved));

        let by_key = Unsealer::new("test").key(&key);
        assert_eq!(by_key.unseal(&sealed).unwrap().1.origin, Origin::Unchecked);
        let error = refusal(Unsealer::new("test").key(&key).require_origin().unseal(&sealed));
        assert_eq!((error.code(), error.class()), ("envelope.no_origin", Class::Refused));
    }
    let alone = bulla::seal(&machine, "test", b"secret").unwrap();
    assert_eq!(Unsealer::new("test").machine(&machine).unseal(&alone).unwrap().1.origin, Origin::Machine);
}

/// Whoever has the file key can write another payload under the same header, and the machine sees that it did not.
#[test]
fn a_forged_origin_is_refused() {
    let machine = here();
    let [key] = keys();
    let sealed = Sealer::new("test")
        .machine(&machine, Policy::default())
        .recovery(key.recipient())
        .seal(b"pay 1 to Alice")
        .unwrap();
    for at in sealed.len() - 32..sealed.len() {
        let mut forged = sealed.clone();
        forged[at] ^= 1;
        let error = refusal(Unsealer::new("test").machine(&machine).unseal(&forged));
        assert_eq!((error.code(), error.class()), ("envelope.origin", Class::Damaged));
        let mut reader = Unsealer::new("test").machine(&machine).reader(forged.as_slice()).unwrap();
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
        assert_eq!(reader.finish().unwrap_err().code(), "envelope.origin");
    }
    for cut in 1..=32 {
        assert!(Unsealer::new("test").machine(&machine).unseal(&sealed[..sealed.len() - cut]).is_err());
        assert!(Unsealer::new("test").key(&key).unseal(&sealed[..sealed.len() - cut]).is_err());
    }
}

/// R66, B28: an older epoch is a rollback to whoever knows of a newer one.
#[test]
fn an_older_epoch_is_a_rollback() {
    let machine = here();
    let sealed = |epoch| {
        Sealer::new("test").machine(&machine, Policy::default()).epoch(epoch).seal(b"secret").unwrap()
    };
    let at_least = |epoch| Unsealer::new("test").machine(&machine).at_least(epoch);
    assert_eq!(at_least(5).unseal(&sealed(5)).unwrap().1.header.epoch(), Some(5));
    let error = refusal(at_least(5).unseal(&sealed(4)));
    assert!(matches!(error, Error::Rollback { found: 4, wanted: 5 }), "{error}");
    assert_eq!(error.class(), Class::TooOld);
    let without = bulla::seal(&machine, "test", b"secret").unwrap();
    assert_eq!(refusal(at_least(1).unseal(&without)).code(), "envelope.rollback");
    assert!(at_least(0).unseal(&without).is_ok());
}

/// R6: below the floor nothing is written, and what is there opens only for a migration.
#[test]
fn a_floor_blocks_writing_and_reading() {
    let machine = here();
    let release = SignerPolicy { product: 7, min_svn: 2, label: "acme".into() };
    let old = |floor: Option<&Floor>| {
        let sealer = Sealer::new("test").machine(&machine, Policy::signer(release.clone()));
        match floor {
            Some(floor) => sealer.floor(floor).seal(b"secret"),
            None => sealer.seal(b"secret"),
        }
    };
    let floor = Floor { isvsvn: 3, ..Floor::default() };
    assert_eq!(refusal(old(Some(&floor))).code(), "machine.below_floor");
    let sealed = old(None).unwrap();
    let error = refusal(Unsealer::new("test").machine(&machine).floor(&floor).unseal(&sealed));
    assert_eq!((error.code(), error.class()), ("machine.below_floor", Class::TooOld));
    let migration = Unsealer::new("test").machine(&machine).floor(&floor).below_floor();
    assert_eq!(migration.unseal(&sealed).unwrap().0.expose(), b"secret");

    let floor = Floor { epoch: 2, ..Floor::default() };
    assert_eq!(refusal(old(Some(&floor))).code(), "machine.below_floor");
    assert!(Unsealer::new("test").machine(&machine).floor(&floor).unseal(&sealed).is_err());
}

/// R7: any program of the signer with the product and at least the version opens, and no other.
#[test]
fn a_signer_policy_opens_for_later_versions() {
    let release = SignerPolicy { product: 7, min_svn: 2, label: "acme".into() };
    let sealed = Sealer::new("test").machine(&here(), Policy::signer(release)).seal(b"secret").unwrap();
    let next = program(|identity| (identity.mrenclave[0], identity.isv_svn) = (1, 9));
    assert_eq!(bulla::unseal(&next, "test", &sealed).unwrap().expose(), b"secret");
    let older = program(|identity| identity.isv_svn = 1);
    assert_eq!(refusal(bulla::unseal(&older, "test", &sealed)).code(), "machine.tcb_too_old");
    let product = program(|identity| identity.isv_prod_id = 8);
    assert_eq!(refusal(bulla::unseal(&product, "test", &sealed)).code(), "machine.other_identity");
    let signer = program(|identity| identity.mrsigner[0] ^= 1);
    assert_eq!(refusal(bulla::unseal(&signer, "test", &sealed)).code(), "machine.other_identity");
}

/// What else opens it is the opener's business.
#[test]
fn an_unexpected_recipient_is_refused() {
    let machine = here();
    let [known, intruder] = keys();
    let sealed = Sealer::new("test")
        .machine(&machine, Policy::default())
        .recovery(known.recipient())
        .threshold(2, &public(&[known, intruder]))
        .seal(b"secret")
        .unwrap();
    let header = Header::read(&mut sealed.as_slice()).unwrap();
    let recipients: Vec<_> = header.recipients().cloned().collect();
    let expecting = |recipients: &[Recipient]| {
        Unsealer::new("test").machine(&machine).expect_recipients(recipients).unseal(&sealed)
    };
    assert!(expecting(&recipients).is_ok());
    let error = refusal(expecting(&recipients[..1]));
    assert_eq!((error.code(), error.class()), ("slot.unexpected", Class::Refused));
}

/// R59: the writer's envelope opens when it was finished, and not before; the reader ends only when all has authenticated.
#[test]
fn adapters_agree_with_the_whole_calls() {
    let machine = here();
    let [key] = keys();
    for (length, sealer) in [
        (0, Sealer::new("test").machine(&machine, Policy::default())),
        (3 * CHUNK, Sealer::new("test").machine(&machine, Policy::default()).recovery(key.recipient())),
        (3 * CHUNK + 5, Sealer::new("test").recovery(key.recipient())),
    ] {
        let secret: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let mut writer = sealer.writer(Vec::new()).unwrap();
        secret.chunks(1000).for_each(|part| writer.write_all(part).unwrap());
        let sealed = writer.finish().unwrap();
        let unsealer = || Unsealer::new("test").machine(&machine).key(&key);
        assert_eq!(unsealer().unseal(&sealed).unwrap().0.expose(), secret);

        let mut read = Vec::new();
        let mut reader = unsealer().reader(sealed.as_slice()).unwrap();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!((read.as_slice(), reader.finish().is_ok()), (secret.as_slice(), true));
        let begun = unsealer().reader(sealed.as_slice()).unwrap();
        assert_eq!(begun.finish().unwrap_err().code(), "envelope.truncated");

        let mut range = unsealer().range(Cursor::new(&sealed)).unwrap();
        assert_eq!((range.len(), range.opened().origin == Origin::Proved), (length as u64, false));
        let from = (length / 2) as u64;
        range.seek(SeekFrom::Start(from)).unwrap();
        let mut rest = Vec::new();
        range.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, secret[length / 2..]);
    }
    let mut writer = Sealer::new("test").machine(&machine, Policy::default()).writer(Vec::new()).unwrap();
    writer.write_all(&vec![1; 2 * CHUNK]).unwrap();
}

/// Keys survive their text form; anything else is refused, and never printed.
#[test]
fn key_texts_are_checked() {
    for kem in [Kem::X25519, Kem::XWing] {
        let key = RecipientKey::generate(kem).unwrap();
        let private = String::from_utf8(key.to_text().expose().to_vec()).unwrap();
        let public = key.recipient().to_string();
        let file = format!("# a comment\n\n{private}\n");
        assert_eq!(RecipientKey::from_text(&file).unwrap().recipient(), key.recipient());
        assert_eq!(public.parse::<Recipient>().unwrap(), *key.recipient());

        assert!(RecipientKey::from_text(&public).is_err() && private.parse::<Recipient>().is_err());
        for text in [&private, &public] {
            for at in [0, 20, text.len() / 2, text.len() - 1] {
                let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
                let mistyped = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                for refused in [mistyped, text[..at].to_owned(), format!("{text}\n{text}")] {
                    let error = RecipientKey::from_text(&refused).err().unwrap();
                    assert_eq!(error.code(), "key.bad");
                    assert!(at == 0 || !error.to_string().contains(&text[text.len() - 10..]));
                    assert_eq!(refused.parse::<Recipient>().err().unwrap().code(), "key.bad");
                }
            }
        }
    }
}
