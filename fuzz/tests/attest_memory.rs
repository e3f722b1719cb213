//! Evidence and collateral take memory for what they are, and none for what they claim; each limit plus one is refused (R31, B31).
//! Alone in its process, whose allocator counts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bulla_attest::{Collateral, CollateralId, Error, EventLog, Policy, RaTls, Verifier};
use bulla_fuzz::{NOW, Sample};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// For a refusal and its words.
const WORDS: usize = 8 << 10;

/// One test, so that nothing else takes memory meanwhile.
#[test]
fn r31() {
    r31_each_limit_plus_one_is_refused_and_takes_next_to_nothing();
    r31_b31_a_quote_takes_nothing_for_what_it_claims();
    r31_a_chain_has_at_most_eight_certificates();
    r31_a_document_is_at_most_sixteen_deep();
}

fn r31_each_limit_plus_one_is_refused_and_takes_next_to_nothing() {
    let sample = Sample::in_order();
    let set = collateral(&sample);
    let verify = |quote: &[u8]| {
        let verifier = Verifier::new(sample.anchor.clone());
        verifier.verify(quote, &set, NOW, &Policy::strict()).map(drop)
    };
    let padded = |length: usize| [sample.quote.as_slice(), &vec![0; length - sample.quote.len()]].concat();
    let (at, above) = (padded(32 << 10), padded((32 << 10) + 1));
    assert_eq!(code(verify(&at)), "ok");
    frugal("parse.too_large", || verify(&above));
    frugal("parse.too_large", || CollateralId::of_quote(&above).map(drop));

    let json = |length| filled(sample.collateral.to_string(), length);
    let (at, above) = (json(Collateral::LIMIT), json(Collateral::LIMIT + 1));
    assert_eq!(code(Collateral::from_json(at.as_bytes()).map(drop)), "ok");
    frugal("collateral.too_large", || Collateral::from_json(above.as_bytes()).map(drop));

    let log = |length| filled("[]".into(), length);
    let (at, above) = (log(1 << 20), log((1 << 20) + 1));
    assert_eq!(code(EventLog::from_json(at.as_bytes()).map(drop)), "ok");
    frugal("event_log.too_large", || EventLog::from_json(above.as_bytes()).map(drop));
    frugal("event_log.too_large", || EventLog::from_ccel(above.as_bytes()).map(drop));

    let policy = |length| filled("version = 1\nname = \"x\"\nrevision = 1\n".into(), length);
    let (at, above) = (policy(Policy::LIMIT), policy(Policy::LIMIT + 1));
    assert_eq!(code(Policy::from_toml(&at).map(drop)), "ok");
    frugal("usage.policy", || Policy::from_toml(&above).map(drop));

    let (at, above) = (vec![0x30; 64 << 10], vec![0x30; (64 << 10) + 1]);
    assert_eq!(code(RaTls::from_certificate(&at).map(drop)), "ra_tls.certificate");
    frugal("ra_tls.too_large", || RaTls::from_certificate(&above).map(drop));
}

/// Lengths that nothing follows.
fn r31_b31_a_quote_takes_nothing_for_what_it_claims() {
    let sample = Sample::in_order();
    let set = collateral(&sample);
    let (verifier, policy) = (Verifier::new(sample.anchor.clone()), Policy::strict());
    // Signature data, outer certification data, QE authentication data and what follows, inner certification data.
    let sig_len = 48 + 584;
    let auth_len = sig_len + 4 + 128 + 6 + 448;
    for at in [sig_len, sig_len + 4 + 128 + 2, auth_len, auth_len + 2 + 32 + 2] {
        for claimed in [u32::MAX, i32::MAX as u32, 1 << 24] {
            let mut quote = sample.quote.clone();
            quote[at..at + 4].copy_from_slice(&claimed.to_le_bytes());
            let taken = taken(|| verifier.verify(&quote, &set, NOW, &policy).unwrap_err());
            assert!(taken < WORDS, "{taken} bytes for a length of {claimed} at {at}");
        }
    }
}

fn r31_a_chain_has_at_most_eight_certificates() {
    let sample = Sample::in_order();
    let chain = sample.collateral["tcb_info_issuer_chain"].as_str().unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let (one, _) = chain.split_at(chain.find(end.trim()).unwrap() + end.len());
    for (count, refused) in [(8, false), (9, true)] {
        let chain = one.repeat(count);
        let in_quote = Sample::with_chain(&chain);
        let mut in_set = Sample::in_order();
        in_set.collateral["tcb_info_issuer_chain"] = chain.into();
        for sample in [in_quote, in_set] {
            let error = verdict(&sample).unwrap_err();
            assert!(error.code().ends_with(".chain"), "{error}");
            assert_eq!(error.to_string().contains("more than 8 certificates"), refused, "{error}");
        }
    }
}

/// The signature is checked first, so these are well signed.
fn r31_a_document_is_at_most_sixteen_deep() {
    for (depth, wanted) in [(16, "ok"), (17, "parse"), (10_000, "parse")] {
        // The document itself is the first.
        let arrays = depth - 1;
        let deep = format!("{{\"x\":{}{},", "[".repeat(arrays), "]".repeat(arrays));
        for name in ["tcb_info", "qe_identity"] {
            let sample = Sample::with_document(name, |text| text.replacen('{', &deep, 1));
            let found = code(verdict(&sample));
            assert!(found.ends_with(wanted), "{name} of depth {depth}: {found}");
        }
    }
}

fn filled(text: String, length: usize) -> String {
    let spaces = " ".repeat(length - text.len());
    text + &spaces
}

fn collateral(sample: &Sample) -> Collateral {
    Collateral::from_json(sample.collateral.to_string().as_bytes()).unwrap()
}

fn verdict(sample: &Sample) -> Result<(), Error> {
    let verifier = Verifier::new(sample.anchor.clone());
    verifier.verify(&sample.quote, &collateral(sample), NOW, &Policy::strict()).map(drop)
}

fn frugal(wanted: &str, run: impl Fn() -> Result<(), Error>) {
    assert_eq!(code(run()), wanted);
    let taken = taken(|| run().unwrap_err());
    assert!(taken < WORDS, "{taken} bytes for {wanted}");
}

fn code(verdict: Result<(), Error>) -> &'static str {
    verdict.map_or_else(|error| error.code(), |()| "ok")
}

/// Bytes that were taken at any time while this ran.
fn taken<T>(run: impl FnOnce() -> T) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let result = run();
    let taken = ALLOCATOR.peak_usage().saturating_sub(before);
    drop(result);
    taken
}
