//! Evidence and what it is judged by.
//!
//! Most of it is signed, so that damage is refused before it is read. Where a target says "signed", what was edited is signed
//! again, by a public key infrastructure of its own that is shaped as Intel's.

mod collateral;
mod event_log;
mod pki;
mod policy;
mod quote;
mod ra_tls;
mod snp;
#[path = "../../crates/bulla-attest/tests/snp/pki.rs"]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::cast_possible_truncation,
    reason = "of tests, which use more of it"
)]
mod snp_pki;
mod td_report;
mod tpm;

pub use collateral::{collateral, crl, document};
pub use event_log::event_log;
pub use policy::policy;
pub use quote::{pck, quote};
pub use ra_tls::ra_tls;
pub use snp::snp;
pub use td_report::td_report;
pub use tpm::tpm_quote;

use std::sync::LazyLock;

use bulla_attest::{Claims, Collateral, Error, Policy, TcbStatus, TrustAnchor, Verifier};

use pki::{Evidence, Pki};

/// 2026-01-15: when the evidence is judged.
pub const NOW: u64 = 1_768_435_200;

static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

/// Evidence in order, the verdict on it, and its collateral.
struct Good {
    evidence: Evidence,
    collateral: Collateral,
    claims: Claims,
}

/// Of an enclave, in version 3, and of a guest, in versions 4 and 5.
static GOOD: LazyLock<[Good; 3]> = LazyLock::new(|| {
    [3, 4, 5].map(|version| {
        let evidence = PKI.evidence(version);
        let collateral = Collateral::from_json(evidence.collateral.to_string().as_bytes()).unwrap();
        let claims = verify(&evidence.quote(&PKI), &collateral).unwrap();
        Good { evidence, collateral, claims }
    })
});

/// Which of these the first byte of an input says, and what else it says.
fn split(which: u8) -> (&'static Good, u8) {
    (&GOOD[usize::from(which % 3)], which / 3)
}

/// Evidence of a guest, for tests.
pub struct Sample {
    /// Version 4.
    pub quote: Vec<u8>,
    /// Its items by their names.
    pub collateral: serde_json::Value,
    /// Where it leads to.
    pub anchor: TrustAnchor,
}

impl Sample {
    /// In perfect order.
    pub fn in_order() -> Self {
        Self::of(&GOOD[1].evidence)
    }

    /// With this PCK chain.
    pub fn with_chain(chain: &str) -> Self {
        Self::of(&Evidence { chain: chain.into(), ..GOOD[1].evidence.clone() })
    }

    /// With a document after a change, which is signed: `tcb_info` or `qe_identity`.
    pub fn with_document(name: &str, change: impl FnOnce(&str) -> String) -> Self {
        let mut evidence = GOOD[1].evidence.clone();
        let text = change(evidence.collateral[name].as_str().unwrap());
        PKI.put_document(&mut evidence.collateral, name, &text);
        Self::of(&evidence)
    }

    fn of(evidence: &Evidence) -> Self {
        let anchor = TrustAnchor::from_der(&PKI.root()).unwrap();
        Self { quote: evidence.quote(&PKI), collateral: evidence.collateral.clone(), anchor }
    }
}

/// What nothing but the evidence itself can fail.
fn loosest() -> Policy {
    Policy::strict().allow_every_status().allow_statuses(&TcbStatus::ALL).allow_perfmon().allow_simulated()
}

fn verifier() -> Verifier {
    Verifier::new(TrustAnchor::from_der(&PKI.root()).unwrap())
}

fn verify(quote: &[u8], collateral: &Collateral) -> Result<Claims, Error> {
    verifier().verify(quote, collateral, NOW, &loosest())
}

/// `false`. A refusal says so in one line of a bounded length: whoever sent the evidence does not write the log.
fn refused(error: &Error) -> bool {
    let (code, message) = (error.code(), error.to_string());
    assert!(code.contains('.') || code == "revoked", "{code}");
    assert!(message.len() < 4096, "an endless message: {code}");
    assert!(!message.contains(char::is_control), "{code}: {message:?}");
    false
}
