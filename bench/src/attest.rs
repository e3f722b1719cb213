//! Verifying quotes: what a known platform, a new one and the very first cost, against one bare signature and `dcap-qvl`.
//!
//! `BULLA_VECTORS` names a folder of real quotes; where it is unset, the samples are taken that ship inside the
//! `dcap-qvl` package. `dcap-qvl` runs on the same engine (aws-lc-rs), because its own default, ring, is banned from this
//! workspace: what is compared is what is done, not who computes it. Its `verify` says how a platform stands; its
//! `verify_with_policy` also says what claims say here: which platform it is, and until when all of that is good.
//!
//! The JSON of the collateral is read before, for both. *The very first* is verified by a verifier that knows nothing, with a set
//! from which nothing else was read and nothing remembered in the process. It is measured twice: *again and again*, each time as
//! new, and *once* in a turn, after something else, so that neither caches nor branch predictors expect it. `dcap-qvl` is
//! called in both ways as well, and each row is compared with what was called like it.

use std::cell::RefCell;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use bulla_attest::{Collateral, Policy, TrustAnchor, Verifier, forget_signatures, signatures_verified};
use bulla_sim::{Machine, QuoteForm, TdDescription};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::config::{Config, CryptoProvider};
use dcap_qvl::policy::QuotePolicy;
use dcap_qvl::verify::QuoteVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use serde_json::Value;

use crate::clock::Clock;
use crate::turns::{Effort, Subject, measure};

/// 2027-01-15, for what is simulated.
const NOW: u64 = 1_800_000_000;

pub(crate) fn run(effort: &Effort) {
    println!("## Verifying a quote: processor time of the thread, median of {} turns\n", effort.rounds);
    println!("| | us | P-256 executed | times one P-256 | dcap-qvl to it |\n|---|---|---|---|---|");
    for evidence in real() {
        compare(effort, &evidence, None);
    }
    let directory = tempfile::tempdir().unwrap();
    let [first, second] =
        ["first", "second"].map(|name| Machine::create(directory.path().join(name)).unwrap());
    let quote = |machine: &Machine| machine.td_quote(&TdDescription::default_guest(), &[7; 64]).unwrap();
    let evidence = Evidence {
        name: "simulated TDX".into(),
        form: QuoteForm::TdxV4,
        quote: quote(&first),
        collateral: first.collateral(&quote(&first), NOW).unwrap().into_bytes(),
        now: NOW,
        root: first.root_der(),
    };
    compare(effort, &evidence, Some(&quote(&second)));
    println!();
}

/// A quote, and what it is judged by.
struct Evidence {
    name: String,
    form: QuoteForm,
    quote: Vec<u8>,
    /// In the JSON of `dcap-qvl`.
    collateral: Vec<u8>,
    now: u64,
    root: Vec<u8>,
}

/// `other` is of another platform under the same collateral.
fn compare(effort: &Effort, evidence: &Evidence, other: Option<&[u8]>) {
    let Evidence { name, quote, now, .. } = evidence;
    let policy = Policy::strict().allow_every_status().allow_perfmon().allow_simulated();
    let collateral = Collateral::from_json(&evidence.collateral).unwrap();
    let theirs: QuoteCollateralV3 = serde_json::from_slice(&evidence.collateral).unwrap();
    let anchor = TrustAnchor::from_der(&evidence.root).unwrap();
    let new = || Verifier::new(anchor.clone());
    let verify = |verifier: &Verifier, quote: &[u8]| {
        verifier.verify(quote, &collateral, *now, &policy).unwrap();
    };
    let library = || QuoteVerifier::<Plain>::new_with_config(evidence.root.clone());
    let pass = QuotePolicy::claims_only(*now);
    let bare = Bare::of(evidence);
    let read = || Collateral::from_json(&evidence.collateral).unwrap();
    // A verifier that knows nothing, and sets that nothing was read from but their JSON.
    let fresh = RefCell::new((new(), read(), theirs.clone()));
    let known = new();
    verify(&known, quote);

    let begin = || {
        forget_signatures();
        *fresh.borrow_mut() = (new(), read(), serde_json::from_slice(&evidence.collateral).unwrap());
    };
    let verify_fresh = |quote: &[u8]| {
        let (verifier, collateral, _) = &*fresh.borrow();
        verifier.verify(quote, collateral, *now, &policy).unwrap();
    };
    // A new platform after another one was verified in full, or where there is no other, the first platform again.
    let next = other.unwrap_or(quote);
    let meet = || {
        begin();
        verify_fresh(quote);
    };
    let executed = |prepare: &dyn Fn(), work: &dyn Fn()| {
        prepare();
        let before = signatures_verified();
        work();
        signatures_verified() - before
    };
    // Something else, which fills the caches.
    let megabyte = vec![7; 1 << 20];
    let interrupt = || {
        (0..4).for_each(|_| _ = black_box(bulla_crypto::sha256(&[&megabyte])));
        begin();
    };
    let first = executed(&begin, &|| verify_fresh(quote));
    let counts = [
        1,
        first,
        executed(&|| (), &|| verify(&known, quote)),
        9,
        executed(&meet, &|| verify_fresh(next)),
        first,
        9,
        9,
    ];
    let costs = measure(
        Clock::Thread,
        effort,
        [
            Subject::new("one P-256 over header and body, parsed key", || bare.verify()),
            Subject::once("the very first, once", interrupt, || verify_fresh(quote)),
            Subject::new("a known platform", || verify(&known, quote)),
            Subject::once("dcap-qvl 0.7.1 on aws-lc-rs, `verify`, once", interrupt, || {
                drop(library().verify(quote, &fresh.borrow().2, *now).unwrap());
            }),
            Subject::prepared("a new platform under known collateral", meet, || verify_fresh(next)),
            Subject::prepared("the very first, again and again", begin, || verify_fresh(quote)),
            Subject::new("dcap-qvl 0.7.1 on aws-lc-rs, `verify`, again and again", || {
                drop(library().verify(quote, &theirs, *now).unwrap());
            }),
            Subject::new("dcap-qvl 0.7.1 on aws-lc-rs, `verify_with_policy`", || {
                drop(library().verify_with_policy(quote, &theirs, *now, &pass).unwrap());
            }),
        ],
    );
    let [bare, _, _, once, _, _, library, _] = &costs;
    for (index, (cost, count)) in costs.iter().zip(counts).enumerate() {
        if index == 4 && other.is_none() {
            continue;
        }
        let theirs = if [1, 3].contains(&index) { once } else { library };
        println!(
            "| {name}: {} | {:.1} | {count} | {:.2} | {:.2} |",
            cost.name,
            cost.median * 1e6,
            cost.median / bare.median,
            theirs.median / cost.median
        );
    }
}

/// The signature of a quote, with nothing around.
struct Bare<'a> {
    key: ParsedPublicKey,
    signed: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Bare<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let form = evidence.form;
        let (signed, rest) = evidence.quote.split_at(form.body_at() + form.body_size());
        let (signature, rest) = rest.split_at(4).1.split_at(64);
        let point = [&[4], rest.split_at(64).0].concat();
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).unwrap();
        Self { key, signed, signature }
    }

    fn verify(&self) {
        self.key.verify_sig(self.signed, self.signature).unwrap();
    }
}

/// `dcap-qvl` on an engine that remembers nothing.
struct Plain;

impl Config for Plain {
    type X509 = dcap_qvl::x509::X509CertBackend;
    type SigEncoder = dcap_qvl::signature::DerSigEncoder;
    type Crypto = Self;
}

impl CryptoProvider for Plain {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        webpki::aws_lc_rs::ECDSA_P256_SHA256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        bulla_crypto::sha256(&[data])
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        bulla_crypto::sha384(&[data])
    }
}

/// A TDX and an SGX quote of real machines.
fn real() -> [Evidence; 2] {
    let of = |name: &str, form, quote: &Path, collateral: &Path, now| {
        let (name, quote, collateral) =
            (name.into(), fs::read(quote).unwrap(), fs::read(collateral).unwrap());
        Evidence { name, form, quote, root: intel_root(&collateral), collateral, now }
    };
    let names = [
        ("TDX", QuoteForm::TdxV4, "tdx-v4-01", "tdx_quote"),
        ("SGX", QuoteForm::SgxV3, "sgx-v3-01", "sgx_quote"),
    ];
    let Some(folder) = env::var_os("BULLA_VECTORS").map(PathBuf::from) else {
        let folder = dcap_qvl_package().join("sample");
        return names.map(|(name, form, _, file)| {
            let collateral = folder.join(format!("{file}_collateral.json"));
            of(name, form, &folder.join(file), &collateral, 1_751_624_900)
        });
    };
    let table: Value = serde_json::from_slice(&fs::read(folder.join("vectors.json")).unwrap()).unwrap();
    let quotes = table.get("quotes").and_then(Value::as_array).unwrap();
    names.map(|(name, form, id, _)| {
        let text =
            |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let row = quotes.iter().find(|row| text(row, "id").starts_with(id)).unwrap();
        let cases = row.get("cases").and_then(Value::as_array).unwrap();
        let verifies =
            |case: &&Value| case.get("expected").is_some_and(|it| text(it, "verdict") == "verifies");
        let case = cases.iter().find(verifies).unwrap();
        let now = case.get("now").and_then(Value::as_u64).unwrap();
        of(name, form, &folder.join(text(row, "file")), &folder.join(text(case, "collateral")), now)
    })
}

/// The certificate that Intel's anchor is the hash of, from a set of collateral.
fn intel_root(collateral: &[u8]) -> Vec<u8> {
    let collateral: QuoteCollateralV3 = serde_json::from_slice(collateral).unwrap();
    let chain = CertificateDer::pem_slice_iter(collateral.tcb_info_issuer_chain.as_bytes());
    let root = chain.last().unwrap().unwrap().to_vec();
    assert_eq!(TrustAnchor::from_der(&root).unwrap().fingerprint(), TrustAnchor::intel().fingerprint());
    root
}

/// Where cargo unpacked the package.
fn dcap_qvl_package() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata.get("packages").and_then(Value::as_array).unwrap();
    let is_it = |package: &&Value| package.get("name").is_some_and(|name| name == "dcap-qvl");
    let manifest = packages.iter().find(is_it).and_then(|package| package.get("manifest_path")?.as_str());
    Path::new(manifest.unwrap()).parent().unwrap().to_owned()
}
