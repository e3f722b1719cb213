//! The real evidence that the tests run on. None of it is in this repository.
//!
//! `BULLA_VECTORS` names a folder with `vectors.json`, `quotes/` and `collateral/`; where it is unset, the samples that
//! ship inside the `dcap-qvl` package are taken, where cargo unpacked it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use bulla_attest::{Claims, Collateral, Error, Policy, TrustAnchor, Verifier};
use serde_json::Value;

/// All quotes of the set that runs.
pub struct Vectors {
    /// For the test's output.
    pub origin: String,
    pub quotes: Vec<Vector>,
}

pub struct Vector {
    pub id: String,
    pub quote: Vec<u8>,
    pub cases: Vec<Case>,
    /// Fields of the report as the table states them; null if it does not.
    pub report: Value,
    /// Fields of the PCK certificate as the table states them; null if it does not.
    pub pck: Value,
    /// The quote as its publisher has it, where that is longer.
    pub as_published: Option<Vec<u8>>,
}

#[derive(Clone)]
pub struct Case {
    pub label: String,
    pub collateral: Value,
    pub now: u64,
    pub expected: Expected,
}

#[derive(Clone, Debug)]
pub enum Expected {
    Verifies {
        status: String,
        advisories: Vec<String>,
        perfmon: bool,
    },
    /// With the TCB that remains when the policy's one rule is waived.
    Rejected {
        code: String,
        tcb: Option<(String, Vec<String>)>,
    },
}

impl Vectors {
    pub fn load() -> Self {
        match std::env::var_os("BULLA_VECTORS") {
            Some(folder) => Self::from_folder(Path::new(&folder)),
            None => Self::from_samples(),
        }
    }

    /// Whether the big set runs.
    pub fn is_full(&self) -> bool {
        self.quotes.len() > 10
    }

    pub fn get(&self, prefix: &str) -> &Vector {
        let mut found = self.quotes.iter().filter(|vector| vector.id.starts_with(prefix));
        let (first, second) = (found.next(), found.next());
        assert!(second.is_none(), "{prefix} is not one vector");
        first.unwrap_or_else(|| panic!("no vector {prefix}"))
    }

    fn from_folder(folder: &Path) -> Self {
        let table = read(&folder.join("vectors.json"));
        let table: Value = serde_json::from_slice(&table).expect("vectors.json is JSON");
        let quotes: Vec<_> = table["quotes"]
            .as_array()
            .expect("a list of quotes")
            .iter()
            .map(|q| from_table(folder, q))
            .collect();
        let cases: usize = quotes.iter().map(|vector| vector.cases.len()).sum();
        assert!(
            quotes.len() > 10 && cases > 10,
            "BULLA_VECTORS is set to {folder:?}, which holds next to nothing"
        );
        Self { origin: format!("BULLA_VECTORS ({} quotes, {cases} cases)", quotes.len()), quotes }
    }

    fn from_samples() -> Self {
        let folder = dcap_qvl_package().join("sample");
        let verifies = |status: &str, advisories: &[&str]| Expected::Verifies {
            status: status.to_owned(),
            advisories: advisories.iter().map(|&id| id.to_owned()).collect(),
            perfmon: false,
        };
        let rejected = |code: &str| Expected::Rejected { code: code.to_owned(), tcb: None };
        let both = ["INTEL-SA-00289", "INTEL-SA-00615"];
        let rows = [
            ("sgx_quote", "sgx_quote", 1_751_624_924, verifies("ConfigurationAndSWHardeningNeeded", &both)),
            ("tdx_quote", "tdx_quote", 1_751_624_191, verifies("UpToDate", &[])),
            ("tdx_quote_outdated", "tdx_quote_outdated", 1_772_718_607, rejected("tcb.no_matching_level")),
            ("tdx-quote.hex", "tdx_quote", 1_751_624_191, rejected("tcb.no_matching_level")),
            ("tdx_quote_td15ex", "tdx_quote_td15ex", 1_793_000_000, rejected("parse.body_type")),
        ];
        let quotes: Vec<_> = rows
            .into_iter()
            .map(|(name, collateral, now, expected)| {
                let mut quote = read(&folder.join(name));
                if name.ends_with(".hex") {
                    let text = String::from_utf8(quote).expect("hex is text");
                    quote = hex::decode(text.trim().trim_start_matches("0x")).expect("hex");
                }
                let collateral = read(&folder.join(format!("{collateral}_collateral.json")));
                let collateral = serde_json::from_slice(&collateral).expect("collateral is JSON");
                let case = Case { label: name.to_owned(), collateral, now, expected };
                let padding = quote.iter().rev().take_while(|byte| **byte == 0).count();
                // One NUL belongs to most chains; more is padding.
                let as_published = (padding > 1).then(|| quote.clone());
                quote.truncate(quote.len() - padding.saturating_sub(1));
                let (report, pck) = (Value::Null, Value::Null);
                Vector { id: name.to_owned(), quote, cases: vec![case], report, pck, as_published }
            })
            .collect();
        Self {
            origin: format!("samples of the dcap-qvl package ({0} quotes, {0} cases)", quotes.len()),
            quotes,
        }
    }
}

fn from_table(folder: &Path, row: &Value) -> Vector {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().expect("a list").iter().map(|item| item.as_str().expect("text").to_owned()).collect()
    };
    let case = |case: &Value| {
        let name = text(&case["collateral"]);
        let expected = &case["expected"];
        let flags = expected.get("policy_flags").map(texts).unwrap_or_default();
        let waived = &expected["without_that_policy_check"];
        Case {
            collateral: serde_json::from_slice(&read(&folder.join(&name))).expect("collateral is JSON"),
            label: name,
            now: case["now"].as_u64().expect("a time"),
            expected: match expected["verdict"].as_str() {
                Some("verifies") => Expected::Verifies {
                    status: text(&expected["tcb_status"]),
                    advisories: texts(&expected["advisory_ids"]),
                    perfmon: flags.iter().any(|flag| flag == "perfmon"),
                },
                Some("rejected") => Expected::Rejected {
                    code: text(&expected["error_class"]),
                    tcb: waived
                        .is_object()
                        .then(|| (text(&waived["tcb_status"]), texts(&waived["advisory_ids"]))),
                },
                other => panic!("unknown verdict {other:?}"),
            },
        }
    };
    let id = text(&row["id"]);
    let published = folder.join(format!("quotes/{id}.as-published.bin"));
    Vector {
        quote: read(&folder.join(text(&row["file"]))),
        cases: row["cases"].as_array().expect("a list of cases").iter().map(case).collect(),
        report: row["report"].clone(),
        pck: row["pck"].clone(),
        as_published: published.exists().then(|| read(&published)),
        id,
    }
}

/// Where cargo unpacked the package.
fn dcap_qvl_package() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let package =
        packages.iter().find(|package| package["name"] == "dcap-qvl").expect("dcap-qvl is a dependency");
    Path::new(package["manifest_path"].as_str().expect("a path")).parent().expect("a folder").to_owned()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The loosest policy for real evidence.
pub fn loose() -> Policy {
    Policy::strict().allow_every_status().allow_perfmon()
}

/// Against Intel's root.
pub fn verify(quote: &[u8], collateral: &Value, now: u64, policy: &Policy) -> Result<Claims, Error> {
    let collateral = Collateral::from_json(collateral.to_string().as_bytes())?;
    Verifier::new(TrustAnchor::intel()).verify(quote, &collateral, now, policy)
}

/// The code of the refusal, or "ok".
pub fn code(quote: &[u8], collateral: &Value, now: u64, policy: &Policy) -> &'static str {
    verify(quote, collateral, now, policy).map_or_else(|error| error.code(), |_| "ok")
}

/// Says on the terminal what ran. Written past the test harness, which would keep it to itself when the test passes.
pub fn announce(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
