use bulla::{Kem, RecipientKey};
use bulla_crypto::{Secret, SigningKey, sha256};
use bulla_protocol::{Descriptor, DocumentRole, Signed, SignedError};
use bulla_tee::TdxIdentity;

use super::*;

/// Every key that there is, with a value that is accepted.
fn all() -> String {
    let [first, second] =
        [0, 1].map(|_| RecipientKey::generate(Kem::X25519).unwrap().recipient().to_string());
    include_str!("all.toml").replace("FIRST", &first).replace("SECOND", &second)
}

fn read(text: &str) -> Result<Policy, PolicyError> {
    form::read(text, [9; 32])
}

fn refusal(text: &str) -> String {
    match read(text) {
        Err(PolicyError::Invalid(reason)) => reason,
        other => panic!("{other:?}\n{text}"),
    }
}

const LEAST: &str = "version = 1\nname = \"least\"\ncustody = \"hardware\"\n";

#[test]
fn nobody_holds_the_key_of_the_development_authority() {
    assert_eq!(DEVELOPMENT_AUTHORITY, sha256(&[b"bulla development authority"]));
    assert!(Policy::development().belongs(true).is_ok());
}

/// R22-R24, R43, R44: what a document does not say is as strict as can be.
#[test]
fn what_is_left_out_is_strict() {
    let policy = read(LEAST).unwrap();
    assert_eq!(policy.digest, sha256(&[LEAST.as_bytes()]));
    assert_eq!(policy.guests.to_toml(), policy.own.to_toml());
    let strict = "version = 1\nname = \"least\"\nrevision = 1\n";
    assert_eq!(policy.guests, bulla_attest::Policy::from_toml(strict).unwrap());
    assert!(!policy.simulated && !policy.classical && policy.legacy.is_none());
    assert!(policy.terms.recovery.is_none() && policy.terms.upgrades.is_empty());
    assert!(policy.terms.migration.is_empty() && policy.registers.is_empty() && policy.usage.is_empty());
}

#[test]
fn every_key_is_read() {
    let policy = read(&all()).unwrap();
    assert_eq!(policy.version, 7);
    assert_eq!(policy.evaluation_number, 18);
    assert!(policy.classical && policy.legacy.is_some());
    assert_eq!(policy.session, SessionBounds { seconds: 60, keys: 500 });
    assert_eq!(policy.terms.recovery.as_ref().map(|recovery| recovery.recipients.len()), Some(2));
    assert_eq!(policy.terms.upgrades.len(), 2);
    assert_eq!(policy.terms.upgrades[0].not_after, Some(1_893_456_000));
    assert_eq!((policy.terms.migration.len(), policy.terms.minimum_epoch), (1, 2));
    let app = &policy.registers[0];
    assert_eq!(app.bind, ["MRTD", "RTMR1", "RTMR2", "RTMR3", "MRCONFIGID"]);
    assert_eq!(app.boundary.as_ref().map(|boundary| boundary.register), Some(3));
    // R44: the list of machines is for guests and for the provider.
    for appraisal in [&policy.guests, &policy.own] {
        let text = appraisal.to_toml();
        assert!(text.contains("ppid = [\"22222222222222222222222222222222\"]"), "{text}");
        assert!(text.contains("min_tcb_evaluation_data_number = 18") && text.contains("revision = 7"));
    }
    assert!(policy.guests.to_toml().contains("INTEL-SA-00615"));
    assert!(!policy.own.to_toml().contains("INTEL-SA-00615"));
}

/// R44, B44: a list that is there and empty denies all.
#[test]
fn an_empty_list_of_machines_is_a_list() {
    let policy = read(&format!("{LEAST}[platforms]\nallow = []\n")).unwrap();
    assert!(policy.guests.to_toml().contains("ppid = []"));
    assert!(policy.check(0).iter().any(|warning| warning.code == "platforms.empty"));
}

/// R108, B44: a misspelt key is no key that is left out. In every section.
#[test]
fn an_unknown_key_refuses_the_whole() {
    let all = all();
    assert!(refusal(&format!("suprise = 1\n{all}")).contains("suprise"));
    let mut sections = 0;
    for (at, _) in
        all.match_indices("]\n").filter(|(at, _)| all[..*at].rsplit('\n').next().unwrap().starts_with('['))
    {
        let (before, after) = all.split_at(at + 2);
        let text = format!("{before}surprise = 1\n{after}");
        assert!(read(&text).is_err(), "{text}");
        sections += 1;
    }
    assert_eq!(sections, 21);
    assert!(read(&format!("{all}\n[surprise]\n")).is_err());
    assert!(read(&all.replace("version = 7\n", "version = 7\nversion = 8\n")).is_err());
    assert!(read(&all.replace("name = \"acme-production\"\n", "")).is_err());
    assert!(read(&all.replace("custody = \"keyring\"\n", "")).is_err());
}

/// R108: for each key, a value that nobody can have meant.
#[test]
fn a_hostile_value_of_any_key_refuses_the_whole() {
    let all = all();
    let (ones, zeros) = ("11".repeat(32), "00".repeat(32));
    let cases: &[(&str, &str)] = &[
        ("version = 7", "version = 0"),
        ("version = 7", "version = -1"),
        ("version = 7", "version = 4294967296"),
        ("name = \"acme-production\"", "name = \"acme production\""),
        ("simulated = false", "simulated = \"no\""),
        ("custody = \"keyring\"", "custody = \"none\""),
        ("custody = \"keyring\"", "custody = \"hardware\""),
        ("until = 2030-01-01", "until = \"never\""),
        ("status = \"SWHardeningNeeded\"", "status = \"Revoked\""),
        ("mrconfigid = \"zero\"", "mrconfigid = \"any\""),
        ("[guests]", "[guests]\nallow_simulated = true"),
        ("[guests]", "[guests]\nmin_tcb_evaluation_data_number = 0"),
        ("[guests]", "[guests]\nname = \"other\""),
        ("[guests]", "[guests]\n[guests.platforms]\nppid = []"),
        ("[provider]", "[provider]\nrevision = 1"),
        ("allow = [\"22222222222222222222222222222222\"]", "allow = \"any\""),
        ("allow = [\"22222222222222222222222222222222\"]", "allow = [\"00000000000000000000000000000000\"]"),
        ("allow = [\"22222222222222222222222222222222\"]", "allow = [\"2222\"]"),
        ("mrowner = []", "mrowner = [\"11\"]"),
        ("classical = true", "classical = 1"),
        ("name = \"app\"", "name = \"measurement\""),
        ("name = \"app\"", "name = \"owner\""),
        ("name = \"app\"", "name = \"\""),
        ("version = 3", "version = 0"),
        ("bind = [\"mrtd\", ", "bind = [\"mrtd\", \"mrtd\", "),
        ("bind = [\"mrtd\", ", "bind = ["),
        ("bind = [\"mrtd\", ", "bind = [\"mrseam\", \"mrtd\", "),
        ("bind = [\"mrtd\", ", "bind = [\"MRTD\", "),
        ("register = \"rtmr3\"", "register = \"rtmr0\""),
        ("register = \"rtmr3\"", "register = \"mrtd\""),
        ("event = \"system-ready\"", "event = \"\""),
        ("event = \"system-ready\"", "event = \"a\\nb\""),
        ("path = \"wallet/*/key\"", "path = \"\""),
        ("path = \"wallet/*/key\"", "path = \"wallet/**/key\""),
        ("path = \"wallet/*/key\"", "path = \"wallet*\""),
        ("path = \"wallet/*/key\"", "path = \"wallet key\""),
        ("purposes = [\"disk\"]", "purposes = [\"Disk\"]"),
        ("purposes = [\"disk\"]", "purposes = [\"disk\", \"disk\"]"),
        ("algorithms = [\"hkdf-sha256\"]", "algorithms = [\"md5\"]"),
        ("lengths = [32]", "lengths = [15]"),
        ("lengths = [32]", "lengths = [65]"),
        ("bindings = [\"measurement\", \"owner\", \"app/3\"]", "bindings = [\"app/2\"]"),
        ("bindings = [\"measurement\", \"owner\", \"app/3\"]", "bindings = [\"app\"]"),
        ("bindings = [\"measurement\", \"owner\", \"app/3\"]", "bindings = [\"signer\"]"),
        ("min_svn = 3", "min_svn = -1"),
        ("products = [\"wallet\"]", "products = [\"a b\"]"),
        ("owners = [\"3333", "owners = [\"33"),
        ("rtmr2 = [\"4444", "rtmr4 = [\"4444"),
        ("rtmr2 = [\"4444", "rtmr2 = [\"44"),
        ("session = \"never\"", "session = \"maybe\""),
        ("session_keys = 9", "session_keys = -1"),
        ("not_after = 2031-01-01", "not_after = 12:00:00"),
        ("seconds = 60", "seconds = 0"),
        ("seconds = 60", "seconds = 86401"),
        ("keys = 500", "keys = 0"),
        ("min_tcb_evaluation_data_number = 18", "min_tcb_evaluation_data_number = -1"),
        ("threshold = 2", "threshold = 1"),
        ("threshold = 2", "threshold = 3"),
        ("recipients = [", "recipients = [\"bulla-recipient-1:AAAA\", "),
        (&format!("mrenclave = \"{ones}\""), &format!("mrenclave = \"{zeros}\"")),
        (&format!("mrenclave = \"{ones}\""), &format!("mrenclave = \"{ones}\"\nmin_svn = 1")),
        (&format!("mrenclave = \"{ones}\""), ""),
        ("product = 4\n", ""),
        ("min_svn = 5\n", ""),
        ("product = 4\n", "product = 65536\n"),
        ("not_after = 2030-01-01", "not_after = 2030-01-01T00:00:00"),
        ("ppid = \"5555", "ppid = \"55"),
        ("minimum = 2", "minimum = -2"),
    ];
    for (good, bad) in cases {
        assert!(all.contains(good), "{good}");
        assert!(!refusal(&all.replacen(good, bad, 1)).is_empty());
    }
    let twice = all.match_indices("bulla-recipient-1:").map(|(at, _)| all[at..].split('"').next().unwrap());
    let [first, second] = twice.collect::<Vec<_>>()[..] else { panic!() };
    assert!(refusal(&all.replace(second, first)).contains("twice"));
    let same = all.replace("name = \"lower\"\nversion = 1", "name = \"app\"\nversion = 3");
    assert!(refusal(&same).contains("twice"));
}

/// R31: a list cannot make a start slow.
#[test]
fn lists_have_bounds() {
    let rules = |count| format!("{LEAST}{}", "[[usage]]\npath = \"a\"\n".repeat(count));
    assert!(read(&rules(256)).is_ok());
    assert!(refusal(&rules(257)).contains("256"));
}

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(Secret::new([n; 32]))
}

/// R108: a policy counts when its authority has signed it as one, and is nobody else's.
#[test]
fn only_what_the_authority_signed_is_a_policy() {
    let authority = Descriptor::new("acme", 2, &[1, 2, 3].map(|n| key(n).verifying_key())).unwrap();
    let signed = |role, keys: &[u8]| {
        let mut signed = Signed::new(&authority, LEAST);
        keys.iter().for_each(|n| signed.sign(role, &key(*n)).unwrap());
        signed
    };
    let good = signed(DocumentRole::Policy, &[1, 3]);
    assert_eq!(Policy::from_signed(&good).unwrap().authority(), &authority.id());

    let refused = |signed: &Signed| match Policy::from_signed(signed) {
        Err(PolicyError::Signed(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(&signed(DocumentRole::Policy, &[1])), SignedError::TooFew { .. }));
    assert!(matches!(refused(&signed(DocumentRole::Command, &[1, 2])), SignedError::BadSignature(_)));
    let edited = Signed { document: LEAST.replace("= 1", "= 2"), ..good.clone() };
    assert!(matches!(refused(&edited), SignedError::BadSignature(_)));

    // Whoever signs for himself has another authority, and with it other keys.
    let own = Descriptor::new("acme", 1, &[key(9).verifying_key()]).unwrap();
    let mut theirs = Signed::new(&own, LEAST);
    theirs.sign(DocumentRole::Policy, &key(9)).unwrap();
    assert_ne!(Policy::from_signed(&theirs).unwrap().authority(), &authority.id());
    let swapped = Signed { descriptor: own.to_toml(), ..good };
    assert!(matches!(refused(&swapped), SignedError::UnknownKey(_)));
}

#[test]
fn a_policy_is_for_simulated_or_for_real_machines() {
    let (real, simulated) = (read(LEAST).unwrap(), read(&format!("simulated = true\n{LEAST}")).unwrap());
    assert_eq!((real.belongs(false), real.belongs(true)), (Ok(()), Err(PolicyError::ForReal)));
    assert_eq!((simulated.belongs(true), simulated.belongs(false)), (Ok(()), Err(PolicyError::ForSimulated)));
}

/// R83: what has risen stays risen.
#[test]
fn a_policy_never_lowers_what_is_in_force() {
    let all = all();
    let before = read(&all).unwrap();
    let after = |edits: &[(&str, &str)]| {
        let edited = edits.iter().fold(all.clone(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        read(&edited).unwrap().may_follow(&before)
    };
    let lowered = |what, found, floor| Err(PolicyError::Lowered { what, found, floor });
    let next = ("version = 7", "version = 8");
    assert_eq!(after(&[]), Ok(()));
    assert_eq!(after(&[next, ("minimum = 2", "minimum = 3"), ("seconds = 60", "seconds = 90")]), Ok(()));
    assert_eq!(after(&[("version = 7", "version = 6")]), lowered("version", 6, 7));
    assert_eq!(after(&[next, ("minimum = 2", "minimum = 1")]), lowered("epochs.minimum", 1, 2));
    assert_eq!(after(&[next, ("[epochs]\nminimum = 2", "")]), lowered("epochs.minimum", 0, 2));
    let number = ("min_tcb_evaluation_data_number = 18", "min_tcb_evaluation_data_number = 17");
    assert_eq!(after(&[next, number]), lowered("collateral.min_tcb_evaluation_data_number", 17, 18));
    assert_eq!(after(&[("seconds = 60", "seconds = 90")]), Err(PolicyError::SameVersion(7)));
    for edit in [("simulated = false", "simulated = true"), ("\"rtmr1\", \"rtmr2\"", "\"rtmr1\"")] {
        assert!(matches!(after(&[next, edit]), Err(PolicyError::Fixed(_))), "{edit:?}");
    }
    let others = form::read(&all.replace("version = 7", "version = 8"), [8; 32]).unwrap();
    assert_eq!(others.may_follow(&before), Err(PolicyError::Fixed("the authority")));
    let hardware = read(&format!("{LEAST}[collateral]\nmin_tcb_evaluation_data_number = 18\n")).unwrap();
    assert_eq!(hardware.may_follow(&before), Err(PolicyError::Fixed("custody")));
    // R87: who can recover is fixed when roots are made.
    assert_eq!(read(&self::all()).unwrap().may_follow(&before), Err(PolicyError::Fixed("[recovery]")));
}

/// Every section is explained, and every loosening warned of.
#[test]
fn a_policy_says_what_it_means() {
    let policy = read(&all()).unwrap();
    let said = policy.explain().join("\n");
    for part in [
        "It is for real machines",
        "sealed to this enclave",
        "2 of 2 recovery recipients",
        "Until 2030-01-01, roots may be handed to the enclave with MRENCLAVE 1111",
        "with product 4 and SVN 5 or above",
        "on 1 machines, by PPID: 5555",
        "before epoch 2 are refused",
        "Legacy clients get keys",
        "under X25519 alone",
        "bound to measurement/1",
        "bound to app/3, which is MRTD, RTMR1, RTMR2, RTMR3, MRCONFIGID (RTMR3 as it was at the event \"system-ready\"",
        "Guests that differ in RTMR0, MROWNER, MROWNERCONFIG, MRSERVICETD alone share them",
        "under the path wallet/*/key, for disk, by hkdf-sha256, of bytes 32, bound to measurement or owner or app/3, of the \
         owners 3333",
        "at SVN or above 3, with RTMR2 4444",
        "never in a session, among the first 9 keys of a session, until 2031-01-01 by the host's clock",
        "no usage rule names are refused",
        "ends after 60 s, after 500 keys",
        "Guests: Until 2030-01-01",
        "The provider itself: Only listed machines",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let codes: Vec<_> = policy.check(1_900_000_000).iter().map(|warning| warning.code).collect();
    for code in [
        "transport.classical",
        "legacy",
        "legacy.registers",
        "upgrade.expired",
        "registers.no_app",
        "exception.expired",
        "usage.empty",
    ] {
        assert!(codes.contains(&code), "{code}: {codes:?}");
    }
    assert_eq!(
        read(LEAST).unwrap().check(0).iter().map(|found| found.code).collect::<Vec<_>>(),
        ["evaluation_number.none"]
    );
}

/// R25.
#[test]
fn the_legacy_formula_stands_for_listed_registers_only() {
    let listed = "11".repeat(48);
    let policy = read(&format!("{LEAST}[legacy]\nmrowner = [\"{listed}\"]\n")).unwrap();
    let legacy = policy.legacy.unwrap();
    let guest = |mrconfigid, mrowner, mrownerconfig| TdxIdentity {
        mrtd: [1; 48],
        rtmr: [[1; 48]; 4],
        mrconfigid: [mrconfigid; 48],
        mrowner: [mrowner; 48],
        mrownerconfig: [mrownerconfig; 48],
        mrservicetd: [0; 48],
        attributes: 0,
        xfam: 0,
        tee_tcb_svn: [0; 16],
        mrseam: [0; 48],
    };
    assert_eq!(legacy.check(&guest(0, 0, 0)), Ok(()));
    assert_eq!(legacy.check(&guest(0, 0x11, 0)), Ok(()));
    assert_eq!(legacy.check(&guest(0, 0x12, 0)), Err("legacy.mrowner"));
    assert_eq!(legacy.check(&guest(0x11, 0, 0)), Err("legacy.mrconfigid"));
    assert_eq!(legacy.check(&guest(0, 0, 0x11)), Err("legacy.mrownerconfig"));
}
