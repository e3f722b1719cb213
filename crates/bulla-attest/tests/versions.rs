//! An enclave is judged alike whatever version its quote has: the verification library walks version 3, and versions 4 and 5
//! are walked here, so each verdict on version 3 is the measure of the others.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::ops::Range;

use bulla_attest::{Claims, Collateral, Error, Policy, TrustAnchor, Verifier};
use bulla_crypto::sha256;
use bulla_sim::{EnclaveIdentity, Machine, QuoteForm, Step, TeeType};
use tempfile::TempDir;

const NOW: u64 = 1_800_000_000;
const FORMS: [QuoteForm; 3] = [QuoteForm::SgxV3, QuoteForm::SgxV4, QuoteForm::SgxV5];

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

    fn quote(&self, form: QuoteForm) -> Vec<u8> {
        let enclave = EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3);
        self.machine.sgx_quote_in(form, &enclave, &[0xDA; 64]).unwrap()
    }

    fn collateral(&self, tee: TeeType, at: u64) -> Collateral {
        Collateral::from_json(self.machine.collateral_for(tee, at).unwrap().as_bytes()).unwrap()
    }

    fn judge(
        &self,
        quote: &[u8],
        collateral: &Collateral,
        now: u64,
        policy: &Policy,
    ) -> Result<Claims, Error> {
        let anchor = TrustAnchor::from_der(&self.machine.root_der()).unwrap();
        Verifier::new(anchor).verify(quote, collateral, now, policy)
    }

    /// The one verdict on the quotes of all versions, each changed in the same way, under each policy.
    fn alike(&self, at: (&Collateral, u64), change: impl Fn(QuoteForm, &mut Vec<u8>)) -> [String; 3] {
        [Policy::strict(), policy(), loose()].map(|policy| {
            let verdicts = FORMS.map(|form| {
                let mut quote = self.quote(form);
                change(form, &mut quote);
                self.judge(&quote, at.0, at.1, &policy)
            });
            let told = |verdict: &Result<Claims, Error>| match verdict {
                Ok(claims) => format!("{claims:?}"),
                // The library has words of its own.
                Err(Error::Unverified(_)) => String::new(),
                Err(error) => format!("{} {:?} {:?}", error.code(), error.tcb(), error.reason()),
            };
            let [first, rest @ ..] = verdicts.each_ref().map(told);
            assert_eq!([&first; 2], rest.each_ref());
            let [first, ..] = verdicts;
            first.map_or_else(|error| error.code().to_owned(), |claims| claims.tcb.status.to_string())
        })
    }
}

fn policy() -> Policy {
    Policy::strict().allow_simulated()
}

fn loose() -> Policy {
    policy().allow_every_status()
}

fn unchanged(_: QuoteForm, _: &mut Vec<u8>) {}

#[test]
fn claims_are_the_same() {
    let world = World::new();
    let collateral = world.collateral(TeeType::Sgx, NOW);
    let claims = FORMS.map(|form| world.judge(&world.quote(form), &collateral, NOW, &policy()).unwrap());
    assert!(claims.windows(2).all(|pair| pair[0] == pair[1]));
    let told = world.alike((&collateral, NOW), unchanged);
    assert_eq!(told, ["policy.simulated", "UpToDate", "UpToDate"]);
}

/// R22, R34: how the platform stands, and what is revoked.
#[test]
fn levels_and_revocation_are_the_same() {
    let mut world = World::new();
    let mut found = Vec::new();
    for _ in 0..6 {
        let [_, strict, loose] = world.alike((&world.collateral(TeeType::Sgx, NOW), NOW), unchanged);
        found.push((strict, loose));
        let _ = world.machine.microcode(Step::Down);
        world.reopen();
    }
    let seen = |code: &str| found.iter().any(|(strict, loose)| strict == code || loose == code);
    assert!(["UpToDate", "policy.tcb_status", "OutOfDate", "tcb.revoked"].into_iter().all(seen), "{found:?}");

    let world = World::new();
    world.machine.revoke_pck(NOW).unwrap();
    let later = NOW + 3 * 24 * 3600;
    let told = world.alike((&world.collateral(TeeType::Sgx, later), later), unchanged);
    assert_eq!(told, ["revoked"; 3]);
}

/// R18, R23: what the enclave and the quoting enclave are.
#[test]
fn enclaves_are_the_same() {
    let world = World::new();
    let collateral = world.collateral(TeeType::Sgx, NOW);
    let at = (&collateral, NOW);
    let flags = |bit: u8| {
        let machine = &world.machine;
        world.alike(at, move |form, quote| {
            quote[form.body_at() + 48 + usize::from(bit / 8)] ^= 1 << (bit % 8);
            machine.resign(form, quote).unwrap();
        })
    };
    assert_eq!(flags(1), ["policy.simulated", "policy.debug", "policy.debug"]);
    assert_eq!(flags(40), ["policy.simulated", "policy.reserved_attributes", "policy.reserved_attributes"]);

    let qe = |byte: usize, change: u8| {
        let machine = &world.machine;
        world.alike(at, move |form, quote| {
            quote[form.qe_report_at() + byte] ^= change;
            machine.resign_qe_report(form, quote).unwrap();
        })
    };
    // MISCSELECT, DEBUG, MRSIGNER, ISVPRODID, ISVSVN (8), report data.
    for byte in [16, 48, 128, 159, 256, 257] {
        assert_eq!(qe(byte, 2), ["qe_identity.mismatch"; 3], "{byte}");
    }
    assert_eq!(qe(258, 8), ["qe_identity.no_matching_level"; 3]);
    assert_eq!(qe(320, 1), ["qe_report.binding"; 3]);
    assert_eq!(qe(383, 1), ["qe_report.binding"; 3]);
}

/// R28: collateral of the other TEE, too late, too early.
#[test]
fn collateral_is_the_same() {
    let world = World::new();
    let [sgx, tdx] = [TeeType::Sgx, TeeType::Tdx].map(|tee| world.collateral(tee, NOW));
    assert_eq!(world.alike((&tdx, NOW), unchanged), ["tcb_info.wrong_id"; 3]);
    assert_eq!(world.alike((&sgx, sgx.valid_until().unwrap()), unchanged), ["tcb_info.expired"; 3]);
    assert_eq!(world.alike((&sgx, 0), unchanged), ["tcb_info.not_yet_valid"; 3]);
}

/// Every byte of every part, with no new signature.
#[test]
fn a_changed_byte_is_refused_alike() {
    let world = World::new();
    let collateral = world.collateral(TeeType::Sgx, NOW);
    let (qe, end) = (QuoteForm::SgxV3.qe_report_at(), world.quote(QuoteForm::SgxV3).len());
    // By places in version 3: from the body, the signature and the quoting enclave's report on, all are shifted alike.
    let parts: [(Range<usize>, &str); 6] = [
        (48..432, "quote.signature"),
        (436..500, "quote.signature"),
        (500..564, "qe_report.binding"),
        (qe..qe + 384, "qe_report.signature"),
        (qe + 384..qe + 448, "qe_report.signature"),
        (qe + 450..qe + 482, "qe_report.binding"),
    ];
    for (part, wanted) in parts {
        for place in part.step_by(7) {
            let told = world.alike((&collateral, NOW), |form, quote| quote[moved(form, place)] ^= 0x10);
            assert_eq!(told, [wanted; 3], "{place}");
        }
    }
    // The chain, up to its last line break: some bytes still make a certificate, and all make another one.
    for place in (qe + 488..end - 2).step_by(97) {
        let told = world.alike((&collateral, NOW), |form, quote| quote[moved(form, place)] ^= 4);
        assert!(
            told.iter().all(|code| code.starts_with("pck.") || code.starts_with("qe_report.")),
            "{place}: {told:?}"
        );
    }
}

fn moved(form: QuoteForm, place: usize) -> usize {
    let of = |form: QuoteForm| [form.qe_report_at(), form.signature_at(), form.body_at()];
    let [old, new] = [of(QuoteForm::SgxV3), of(form)];
    let (old, new) = old.into_iter().zip(new).find(|(old, _)| place >= *old).unwrap();
    place - old + new
}

/// A quoting enclave vouches for 32 bytes beside its key, and one that vouches for fewer is not judged by whom the library
/// does not walk either.
#[test]
fn authentication_data_have_their_length() {
    let world = World::new();
    let collateral = world.collateral(TeeType::Sgx, NOW);
    let told = world.alike((&collateral, NOW), |form, quote| {
        let report = form.qe_report_at();
        let key = form.signature_at() + 64;
        let binding = sha256(&[&quote[key..key + 64], &quote[report + 450..report + 481]]);
        quote[report + 320..report + 352].copy_from_slice(&binding);
        world.machine.resign_qe_report(form, quote).unwrap();
        quote.remove(report + 481);
        quote[report + 448] = 31;
        let shorter = |quote: &mut [u8], at: usize| {
            let length = u32::from_le_bytes(quote[at..at + 4].try_into().unwrap()) - 1;
            quote[at..at + 4].copy_from_slice(&length.to_le_bytes());
        };
        shorter(quote, form.signature_at() - 4);
        if form != QuoteForm::SgxV3 {
            shorter(quote, report - 4);
        }
    });
    assert_eq!(told[1..], ["quote.unverified"; 2]);
}
