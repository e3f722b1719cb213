//! What a verifier remembers changes no verdict: with and without it, every quote that the simulator mutates and signs again
//! is judged alike. And it dies with whatever it stood on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::cell::Cell;
use std::fmt::Debug;
use std::ops::Range;

use bulla_attest::collateral::{Floor, Minimum};
use bulla_attest::{Claims, Collateral, Error, Policy, TrustAnchor, Verifier, signatures_verified};
use bulla_sim::{EnclaveIdentity, Machine, QuoteForm, Step, TdDescription, in_guest_buffer};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;
/// One PPID's share of the memory.
const PER_PLATFORM: usize = 16;

/// A machine and who judges it.
struct World {
    dir: TempDir,
    machine: Machine,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::create(dir.path().join("machine")).unwrap();
        Self { dir, machine }
    }

    fn reopen(&mut self) {
        self.machine = Machine::open(self.dir.path().join("machine")).unwrap();
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(TrustAnchor::from_der(&self.machine.root_der()).unwrap())
    }

    fn quote(&self, form: QuoteForm) -> Vec<u8> {
        let data = [0xDA; 64];
        match form {
            QuoteForm::SgxV3 | QuoteForm::SgxV4 | QuoteForm::SgxV5 => {
                let enclave = EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3);
                self.machine.sgx_quote_in(form, &enclave, &data).unwrap()
            }
            _ => self.machine.td_quote_in(form, &TdDescription::default_guest(), &data).unwrap(),
        }
    }

    fn collateral(&self, form: QuoteForm, at: u64) -> Collateral {
        let json = self.machine.collateral(&self.quote(form), at).unwrap();
        Collateral::from_json(json.as_bytes()).unwrap()
    }
}

fn policy() -> Policy {
    Policy::strict().allow_simulated()
}

/// What one verification was, did and cost.
#[derive(Debug)]
struct Outcome {
    verdict: Result<Claims, Error>,
    hits: u64,
    misses: u64,
    signatures: u64,
}

fn observe(verifier: &Verifier, quote: &[u8], collateral: &Collateral, now: u64, policy: &Policy) -> Outcome {
    let (before, signatures) = (verifier.remembered(), signatures_verified());
    let verdict = verifier.verify(quote, collateral, now, policy);
    let after = verifier.remembered();
    Outcome {
        verdict,
        hits: after.hits - before.hits,
        misses: after.misses - before.misses,
        signatures: signatures_verified() - signatures,
    }
}

/// Equal claims, or refusals that say the same.
fn assert_alike(one: &Result<Claims, Error>, other: &Result<Claims, Error>, what: impl Debug) {
    match (one, other) {
        (Ok(one), Ok(other)) => assert_eq!(one, other, "{what:?}"),
        (Err(one), Err(other)) => {
            assert_eq!(
                (one.code(), one.to_string(), one.tcb()),
                (other.code(), other.to_string(), other.tcb())
            );
        }
        _ => panic!("{what:?}: {one:?} and {other:?}"),
    }
}

/// The ranges of the design, by their places in a body, and the signature.
fn masked(form: QuoteForm) -> Vec<Range<usize>> {
    let body: &[Range<usize>] = match form {
        QuoteForm::SgxV3 | QuoteForm::SgxV4 | QuoteForm::SgxV5 => {
            &[32..48, 64..96, 128..160, 192..262, 304..384]
        }
        // The registers, and report data.
        _ => &[136..520, 520..584],
    };
    let at = form.body_at();
    body.iter().map(|range| range.start + at..range.end + at).collect()
}

fn signature(form: QuoteForm) -> Range<usize> {
    form.signature_at()..form.signature_at() + 64
}

/// One change of a quote.
#[derive(Clone, Debug)]
enum Change {
    /// A byte of the body that the key leaves out.
    Masked(Index, u8),
    /// A bit that some rule is about: by its place in the body.
    Rule(Index),
    /// Any byte of header and body.
    Signed(Index, u8),
    /// Any byte at all.
    Any(Index, u8),
    /// Zero bytes behind the end.
    Padding(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Change::Masked(at, value)),
        4 => any::<Index>().prop_map(Change::Rule),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Change::Signed(at, value)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Change::Any(at, value)),
        1 => any::<u8>().prop_map(Change::Padding),
    ]
}

/// The bits of a body that rules are about: SVNs, MISCSELECT, flags and XFRM of SGX; SVNs, signer and attributes of the module,
/// attributes and XFAM of a TD, TEE_TCB_SVN2 and MRSERVICETD.
fn rule_bits(form: QuoteForm) -> Vec<usize> {
    let bytes: &[Range<usize>] = match form {
        QuoteForm::SgxV3 | QuoteForm::SgxV4 | QuoteForm::SgxV5 => &[0..21, 48..64],
        QuoteForm::TdxV5Td15 => &[0..16, 64..136, 584..648],
        _ => &[0..16, 64..136],
    };
    bytes.iter().cloned().flatten().flat_map(|byte| (0..8).map(move |bit| byte * 8 + bit)).collect()
}

fn apply(form: QuoteForm, quote: &mut Vec<u8>, change: &Change) {
    let signed = form.body_at() + form.body_size();
    match change {
        Change::Masked(at, value) => {
            let places: Vec<usize> = masked(form).into_iter().flatten().collect();
            quote[*at.get(&places)] = *value;
        }
        Change::Rule(at) => {
            let bit = *at.get(&rule_bits(form));
            quote[form.body_at() + bit / 8] ^= 1 << (bit % 8);
        }
        Change::Signed(at, value) => quote[at.index(signed)] = *value,
        Change::Any(at, value) => {
            let length = quote.len();
            quote[at.index(length)] = *value;
        }
        Change::Padding(length) => quote.resize(quote.len() + usize::from(*length), 0),
    }
}

/// The same verdict from a verifier that knows the platform and from one that knows nothing, whatever is changed, whether
/// or not it is signed again, for every kind of quote.
#[test]
fn remembered_and_full_verdicts_are_alike() {
    let world = World::new();
    let everything = Policy::strict().allow_every_status().allow_perfmon().allow_simulated();
    let policies = [Policy::strict(), policy(), everything];
    for form in QuoteForm::ALL {
        let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
        let warm = world.verifier();
        let strategy = (proptest::collection::vec(change(), 1..4), any::<bool>(), 0..policies.len());
        let tally = Cell::new([0; 3]);
        TestRunner::new(ProptestConfig {
            cases: 512,
            failure_persistence: None,
            ..ProptestConfig::default()
        })
        .run(&strategy, |(changes, sign, policy)| {
            let _ = warm.verify(&quote, &collateral, NOW, &policies[policy]);
            let mut mutated = quote.clone();
            changes.iter().for_each(|change| apply(form, &mut mutated, change));
            if sign {
                world.machine.resign(form, &mut mutated).unwrap();
            }
            let remembered = observe(&warm, &mutated, &collateral, NOW, &policies[policy]);
            let full = observe(&world.verifier(), &mutated, &collateral, NOW, &policies[policy]);
            assert_alike(&remembered.verdict, &full.verdict, &changes);
            prop_assert_eq!(full.hits, 0);
            let [hits, misses, accepted] = tally.get();
            let ok = u64::from(remembered.verdict.is_ok());
            tally.set([hits + remembered.hits, misses + remembered.misses, accepted + ok]);
            Ok(())
        })
        .unwrap();
        let [hits, misses, accepted] = tally.get();
        assert!(hits > 50 && misses > 50 && accepted > 50, "{form:?}: {hits} {misses} {accepted}");
    }
}

/// Each rule bit by itself, in a quote that is signed again: alike, and never found.
#[test]
fn every_rule_bit_is_judged_every_time() {
    let world = World::new();
    let everything = Policy::strict().allow_every_status().allow_perfmon().allow_simulated();
    for form in QuoteForm::ALL {
        let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
        let warm = world.verifier();
        warm.verify(&quote, &collateral, NOW, &everything).unwrap();
        let mut refused = 0;
        for bit in rule_bits(form) {
            let mut changed = quote.clone();
            changed[form.body_at() + bit / 8] ^= 1 << (bit % 8);
            world.machine.resign(form, &mut changed).unwrap();
            for _ in 0..2 {
                let remembered = observe(&warm, &changed, &collateral, NOW, &everything);
                let full = world.verifier().verify(&changed, &collateral, NOW, &everything);
                assert_alike(&remembered.verdict, &full, (form, bit));
                refused += u32::from(full.is_err());
            }
        }
        assert!(refused > 50, "{form:?}: {refused}");
    }
}

/// A change of any byte that the key leaves out is found, costs the one signature, and is judged as it is; a change of
/// any other is verified in full.
#[test]
fn each_byte_outside_the_ranges_forces_full_verification_and_each_inside_does_not() {
    let world = World::new();
    for form in QuoteForm::ALL {
        let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
        let warm = world.verifier();
        let (masked, signature) = (masked(form), signature(form));
        let signed = form.body_at() + form.body_size();
        for at in 0..quote.len() {
            let mut changed = quote.clone();
            changed[at] ^= 1;
            if at < signed {
                world.machine.resign(form, &mut changed).unwrap();
            }
            // Each time, since those that verify drive it out.
            warm.verify(&quote, &collateral, NOW, &policy()).unwrap();
            let outcome = observe(&warm, &changed, &collateral, NOW, &policy());
            let found = (outcome.hits, outcome.misses);
            if masked.iter().any(|range| range.contains(&at)) {
                assert_eq!((found, outcome.signatures), ((1, 0), 1), "{form:?} byte {at}");
                let claims = outcome.verdict.unwrap();
                let full = world.verifier().verify(&changed, &collateral, NOW, &policy()).unwrap();
                assert_eq!(claims, full, "{form:?} byte {at}");
                assert_ne!(claims, warm.verify(&quote, &collateral, NOW, &policy()).unwrap(), "{at}");
            } else if signature.contains(&at) {
                assert_eq!((found, outcome.signatures), ((1, 0), 1), "{form:?} byte {at}");
                assert_eq!(outcome.verdict.unwrap_err().code(), "quote.signature", "{form:?} byte {at}");
            } else {
                assert_eq!(outcome.hits, 0, "{form:?} byte {at}");
                let parsed = !outcome
                    .verdict
                    .as_ref()
                    .is_err_and(|error| error.code().starts_with("parse.") || error.code() == "pck.no_chain");
                assert_eq!(outcome.misses, u64::from(parsed), "{form:?} byte {at}: {:?}", outcome.verdict);
            }
        }
    }
}

/// Every quote costs a signature of its own: a changed body without a new signature is refused however well its platform
/// is known.
#[test]
fn a_known_platform_does_not_vouch_for_an_unsigned_body() {
    let world = World::new();
    for form in QuoteForm::ALL {
        let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
        let warm = world.verifier();
        warm.verify(&quote, &collateral, NOW, &policy()).unwrap();
        for at in masked(form).into_iter().flatten() {
            let mut changed = quote.clone();
            changed[at] ^= 0x40;
            let outcome = observe(&warm, &changed, &collateral, NOW, &policy());
            assert_eq!((outcome.hits, outcome.signatures), (1, 1));
            assert_eq!(outcome.verdict.unwrap_err().code(), "quote.signature", "{form:?} byte {at}");
        }
    }
}

/// N22: both forms of a signature verify, so a quote's bytes are no name for it; padding is no part of it.
#[test]
fn the_other_form_of_a_signature_and_padding_are_found() {
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let world = World::new();
    for form in QuoteForm::ALL {
        let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
        let warm = world.verifier();
        warm.verify(&quote, &collateral, NOW, &policy()).unwrap();
        let mut other = quote.clone();
        let s = &mut other[form.signature_at() + 32..form.signature_at() + 64];
        let mut borrow = 0;
        for (digit, order) in s.iter_mut().zip(&order).rev() {
            let difference = i16::from(*order) - i16::from(*digit) - borrow;
            borrow = i16::from(difference < 0);
            *digit = difference.rem_euclid(256) as u8;
        }
        assert_ne!(other, quote);
        for quote in [other.clone(), in_guest_buffer(other)] {
            let outcome = observe(&warm, &quote, &collateral, NOW, &policy());
            assert_eq!((outcome.hits, outcome.misses, outcome.signatures), (1, 0, 1));
            outcome.verdict.unwrap();
        }
    }
}

#[test]
fn sgx_quotes_of_later_versions_are_read_as_strictly_as_the_others() {
    let world = World::new();
    let verifier = world.verifier();
    for form in [QuoteForm::SgxV4, QuoteForm::SgxV5] {
        let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
        let code = |quote: &[u8]| verifier.verify(quote, &collateral, NOW, &policy()).unwrap_err().code();
        // Every cut, and what is not of this form.
        for cut in 0..quote.len() {
            assert_eq!(code(&quote[..cut]), "parse.truncated", "{form:?} cut at {cut}");
        }
        let with = |at: usize, bytes: &[u8]| {
            let mut quote = quote.clone();
            quote[at..at + bytes.len()].copy_from_slice(bytes);
            quote
        };
        if form == QuoteForm::SgxV5 {
            for kind in [0u16, 2, 3, 4] {
                assert_eq!(code(&with(48, &kind.to_le_bytes())), "parse.body_type", "{kind}");
            }
            for size in [0u32, 383, 385, 584, u32::MAX] {
                assert_eq!(code(&with(50, &size.to_le_bytes())), "parse.body_size", "{size}");
            }
        }
        let outer = form.qe_report_at() - 6;
        for kind in [0u16, 1, 5, 7] {
            assert_eq!(code(&with(outer, &kind.to_le_bytes())), "parse.cert_type", "{kind}");
        }
        assert_eq!(code(&[&quote[..], b"x"].concat()), "parse.trailing_bytes");
        assert_eq!(verifier.remembered(), bulla_attest::Remembered::default());
    }
}

#[test]
fn new_collateral_is_verified_and_the_old_is_forgotten() {
    let world = World::new();
    for form in QuoteForm::ALL {
        let quote = world.quote(form);
        let [old, new] = [NOW, NOW + DAY].map(|at| world.collateral(form, at));
        let warm = world.verifier();
        let at = |collateral: &Collateral| {
            let outcome = observe(&warm, &quote, collateral, NOW, &policy());
            outcome.verdict.unwrap();
            (outcome.hits, outcome.misses)
        };
        assert_eq!([at(&old), at(&old)], [(0, 1), (1, 0)]);
        assert_eq!([at(&new), at(&new)], [(0, 1), (1, 0)]);
        assert_eq!([at(&old), at(&old)], [(0, 1), (1, 0)], "the old set is not remembered beside the new");
        assert_eq!(warm.remembered().endorsements, 1);
    }
}

/// The other TEE of a machine has collateral of its own, and both are remembered.
#[test]
fn enclaves_and_guests_of_one_machine_do_not_drive_each_other_out() {
    let world = World::new();
    let warm = world.verifier();
    let kinds =
        [QuoteForm::SgxV3, QuoteForm::TdxV4].map(|form| (world.quote(form), world.collateral(form, NOW)));
    for round in 0..3 {
        for (quote, collateral) in &kinds {
            let outcome = observe(&warm, quote, collateral, NOW, &policy());
            outcome.verdict.unwrap();
            assert_eq!(outcome.hits, u64::from(round > 0));
        }
    }
}

/// R28, R30: what is remembered is good while everything that it stands on is, by the clock that is given.
#[test]
fn what_is_remembered_ends_with_its_validity_and_with_a_clock_that_goes_back() {
    let world = World::new();
    for form in QuoteForm::ALL {
        let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
        let (from, until) = (collateral.valid_from().unwrap(), collateral.valid_until().unwrap());
        assert_eq!((from, until), (NOW - DAY, NOW + 29 * DAY));
        let warm = world.verifier();
        let at = |now: u64| {
            let outcome = observe(&warm, &quote, &collateral, now, &policy());
            let full = world.verifier().verify(&quote, &collateral, now, &policy());
            assert_alike(&outcome.verdict, &full, (form, now));
            let found = outcome.hits == 1;
            assert_eq!(outcome.misses, u64::from(!found));
            (found, outcome.verdict.map_or_else(|error| error.code(), |_| "ok"))
        };
        assert_eq!(at(NOW), (false, "ok"));
        assert_eq!([at(NOW), at(NOW + DAY), at(until - 1)], [(true, "ok"); 3]);
        assert_eq!(at(until), (false, "tcb_info.expired"));
        assert_eq!(at(u64::MAX), (false, "tcb_info.expired"));
        assert_eq!(warm.remembered().endorsements, 0);

        assert_eq!(at(NOW), (false, "ok"));
        assert_eq!(at(NOW + 10), (true, "ok"));
        assert_eq!(at(NOW + 9), (false, "ok"), "the clock went back");
        assert_eq!([at(NOW + 9), at(NOW + 10)], [(true, "ok"); 2]);
        assert_eq!(at(from - 1), (false, "tcb_info.not_yet_valid"));
        assert_eq!(at(0), (false, "tcb_info.not_yet_valid"));
    }
}

#[test]
fn a_higher_floor_and_another_root_find_nothing() {
    let world = World::new();
    let (form, other_root) = (QuoteForm::TdxV4, Verifier::new(TrustAnchor::intel()));
    let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
    let warm = world.verifier();
    warm.verify(&quote, &collateral, NOW, &policy()).unwrap();
    for (floor, wanted) in [(20, "ok"), (21, "policy.tcb_evaluation_number")] {
        let policy = policy().min_tcb_evaluation_data_number(floor);
        let outcome = observe(&warm, &quote, &collateral, NOW, &policy);
        assert_eq!((outcome.hits, outcome.misses), (0, 1), "{floor}");
        assert_eq!(outcome.verdict.map_or_else(|error| error.code(), |_| "ok"), wanted);
    }
    assert_eq!(observe(&warm, &quote, &collateral, NOW, &policy()).hits, 1);
    let error = other_root.verify(&quote, &collateral, NOW, &policy()).unwrap_err();
    assert_eq!(error.code(), "tcb_info.untrusted_root");
}

/// R29, R30: a floor that rose since refuses what is remembered; the verifiers share it, whatever their floors are.
#[test]
fn a_floor_that_rises_is_above_what_is_remembered() {
    let world = World::new();
    let anchor = TrustAnchor::from_der(&world.machine.root_der()).unwrap();
    for form in QuoteForm::ALL {
        let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
        let warm = world.verifier();
        warm.verify(&quote, &collateral, NOW, &policy()).unwrap();
        let under = |minimum: Minimum| {
            let verifier = warm.clone().with_floor(Floor::new(&anchor, minimum));
            let verdict = verifier.verify(&quote, &collateral, NOW, &policy());
            verdict.map_or_else(|error| error.code(), |_| "ok")
        };
        assert_eq!(under(Minimum::NONE), "ok");
        assert_eq!(under(Minimum { time: NOW, evaluation_number: 20 }), "ok");
        assert_eq!(under(Minimum { time: NOW + 1, evaluation_number: 20 }), "clock.below_floor");
        assert_eq!(under(Minimum { time: NOW, evaluation_number: 21 }), "collateral.rollback");
        assert_eq!(observe(&warm, &quote, &collateral, NOW, &policy()).hits, 1);
    }
}

/// A policy is asked every time: nothing that another one accepted is accepted for that.
#[test]
fn another_policy_judges_what_is_remembered_anew() {
    let mut world = World::new();
    let dir = world.machine.dir().to_owned();
    world.machine.microcode(Step::Down).unwrap();
    world.reopen();
    assert_eq!(world.machine.dir(), dir);
    for form in QuoteForm::ALL {
        let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
        let warm = world.verifier();
        let loose = policy().allow_every_status();
        let found = |policy: &Policy| {
            let outcome = observe(&warm, &quote, &collateral, NOW, policy);
            (outcome.hits, outcome.verdict.map_or_else(|error| error.code(), |_| "ok"))
        };
        assert_eq!(found(&loose), (0, "ok"));
        assert_eq!(found(&policy()), (1, "policy.tcb_status"));
        assert_eq!(found(&Policy::strict()), (1, "policy.simulated"));
        assert_eq!(found(&loose), (1, "ok"));
    }
}

/// Nothing is remembered of what was not found good.
#[test]
fn refused_endorsements_are_not_remembered() {
    let mut world = World::new();
    for _ in 0..6 {
        let _ = world.machine.microcode(Step::Down);
    }
    world.reopen();
    for form in QuoteForm::ALL {
        let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
        let verifier = world.verifier();
        for _ in 0..3 {
            let outcome = observe(&verifier, &quote, &collateral, NOW, &policy().allow_every_status());
            assert_eq!((outcome.hits, outcome.misses), (0, 1));
            assert_eq!(outcome.verdict.unwrap_err().code(), "tcb.revoked");
        }
        assert_eq!(verifier.remembered().endorsements, 0);
    }
}

/// One machine makes as many keys as it likes and drives out its own alone.
#[test]
fn one_platform_has_a_bounded_share() {
    let (world, neighbour) = (World::new(), World::new());
    let form = QuoteForm::TdxV4;
    let collateral = world.collateral(form, NOW);
    let warm = world.verifier();
    let known = neighbour.quote(form);
    warm.verify(&known, &collateral, NOW, &policy()).unwrap();

    let quote = world.quote(form);
    let mut variants = Vec::new();
    for number in 0..3 * PER_PLATFORM {
        let mut variant = quote.clone();
        match number % 3 {
            // The host chooses the QE ID.
            0 => {
                variant[28] = number as u8;
                world.machine.resign(form, &mut variant).unwrap();
            }
            // A line of the PEM text ends otherwise.
            1 => {
                let breaks = quote.iter().enumerate().filter(|(at, byte)| *at > 1300 && **byte == b'\n');
                variant[breaks.map(|(at, _)| at).nth(number).unwrap()] = b'\r';
            }
            _ => world.machine.renew_attestation_key(form, &mut variant).unwrap(),
        }
        let outcome = observe(&warm, &variant, &collateral, NOW, &policy());
        outcome.verdict.unwrap();
        assert_eq!((outcome.hits, outcome.misses), (0, 1), "{number}");
        assert!(warm.remembered().endorsements <= 1 + PER_PLATFORM);
        variants.push(variant);
    }
    let found = |quote: &[u8]| observe(&warm, quote, &collateral, NOW, &policy()).hits == 1;
    assert!(found(&known), "the neighbour is still known");
    let (gone, kept) = variants.split_at(2 * PER_PLATFORM);
    assert!(kept.iter().all(|quote| found(quote)), "the newest are known");
    assert!(!found(&gone[0]), "the oldest is not");
}

/// Another key under the same platform, and another platform under the same collateral, are verified in full and then known.
#[test]
fn another_key_and_another_platform_are_not_the_known_one() {
    let (world, neighbour) = (World::new(), World::new());
    for form in QuoteForm::ALL {
        let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
        let warm = world.verifier();
        let ours = warm.verify(&quote, &collateral, NOW, &policy()).unwrap();
        let mut renewed = quote.clone();
        world.machine.renew_attestation_key(form, &mut renewed).unwrap();
        for (other, same_machine) in [(renewed, true), (neighbour.quote(form), false)] {
            for known in [false, true] {
                let outcome = observe(&warm, &other, &collateral, NOW, &policy());
                assert_eq!((outcome.hits, outcome.misses), if known { (1, 0) } else { (0, 1) });
                let claims = outcome.verdict.unwrap();
                assert_eq!(claims.platform.same_machine(&ours.platform), same_machine, "{form:?}");
            }
        }
        // The signature of one key under the endorsement of another.
        let mut spliced = quote.clone();
        spliced[signature(form)].copy_from_slice(&neighbour.quote(form)[signature(form)]);
        let outcome = observe(&warm, &spliced, &collateral, NOW, &policy());
        assert_eq!((outcome.hits, outcome.verdict.unwrap_err().code()), (1, "quote.signature"));
    }
}

/// R18: a QE report that is signed by the PCK and says something else is judged, not found.
#[test]
fn another_quoting_enclave_of_a_known_platform_is_judged() {
    let world = World::new();
    for form in QuoteForm::ALL {
        let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
        let warm = world.verifier();
        warm.verify(&quote, &collateral, NOW, &policy()).unwrap();
        let report = form.qe_report_at();
        // MRSIGNER, DEBUG, ISVPRODID, ISVSVN.
        for (at, wanted) in [
            (128, "qe_identity.mismatch"),
            (48, "qe_identity.mismatch"),
            (256, "qe_identity.mismatch"),
            (258, "qe_identity.no_matching_level"),
        ] {
            let mut changed = quote.clone();
            changed[report + at] ^= if at == 258 { 8 } else { 2 };
            world.machine.resign_qe_report(form, &mut changed).unwrap();
            let outcome = observe(&warm, &changed, &collateral, NOW, &policy());
            assert_eq!((outcome.hits, outcome.verdict.unwrap_err().code()), (0, wanted), "{form:?} {at}");
        }
    }
}

#[test]
fn threads_and_clones_share_what_is_remembered() {
    let world = World::new();
    let form = QuoteForm::TdxV5Td15;
    let (quote, collateral) = (world.quote(form), world.collateral(form, NOW));
    let verifier = world.verifier();
    verifier.verify(&quote, &collateral, NOW, &policy()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let verifier = verifier.clone();
            let (quote, collateral) = (&quote, &collateral);
            scope.spawn(move || {
                for _ in 0..50 {
                    verifier.verify(quote, collateral, NOW, &policy()).unwrap();
                }
            });
        }
    });
    let remembered = verifier.remembered();
    assert_eq!((remembered.endorsements, remembered.hits, remembered.misses), (1, 200, 1));
}
