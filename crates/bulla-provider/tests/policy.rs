//! What a provider does under its authority's policy: each section as a client meets it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::fs;
use std::sync::Arc;

use bulla_attest::TrustAnchor;
use bulla_crypto::{Secret, SigningKey, sha256};
use bulla_protocol::v1::{Algorithm, Binding, FutureKey, PublicKey, Register, Selector, Statement};
use bulla_protocol::{Code, Descriptor, DocumentRole, Signed};
use bulla_provider::{Error, Provider, Settings};
use bulla_sim::TdDescription;
use bulla_tee::GuestRegisters;

use support::{Client, Http, LegacyGuest, Running, Site, Source, selector, v1_key};

fn policy(rest: &str) -> String {
    format!("version = 1\nname = \"trial\"\nsimulated = true\ncustody = \"hardware\"\n{rest}")
}

fn key(site: &Site, running: &Running) -> Result<Vec<u8>, Code> {
    v1_key(&site.machine(), &TdDescription::default_guest(), running.http)
}

fn provider(site: &Site, settings: &Settings) -> Result<Provider, Error> {
    let anchor = TrustAnchor::from_der(&site.machine().root_der()).unwrap();
    Provider::start(site.enclave(), Arc::new(Source(site.machine_dir())), anchor, settings)
}

/// The host signs the same policy by keys of its own.
fn settings_of_the_host(site: &Site, policy: &str) -> Settings {
    let settings = site.settings_under(policy);
    let key = SigningKey::from_seed(Secret::new([0x05; 32]));
    let host = Descriptor::new("site", 1, &[key.verifying_key()]).unwrap();
    let mut signed = Signed::new(&host, policy);
    signed.sign(DocumentRole::Policy, &key).unwrap();
    fs::write(settings.policy.as_ref().unwrap(), signed.to_json()).unwrap();
    settings
}

/// R108: a policy that the host signs leads to other roots, and on the state of another authority to none.
#[test]
fn a_policy_of_the_hosts_own_gives_none_of_the_keys() {
    let site = Site::new();
    let (key_of_authority, root) = {
        let running = site.start_under(&policy(""));
        (key(&site, &running).unwrap(), running.identity.root_id)
    };
    let settings = settings_of_the_host(&site, &policy("[legacy]\n"));
    assert!(provider(&site, &settings).is_err(), "the state is the authority's");

    fs::remove_dir_all(site.state_dir()).unwrap();
    let running = Running::new(provider(&site, &settings).unwrap(), &settings);
    assert_ne!(running.identity.root_id, root);
    assert_ne!(key(&site, &running).unwrap(), key_of_authority);
}

/// Clients see under whose policy, and under which, they get keys (R39).
#[test]
fn the_statement_names_authority_and_policy() {
    let site = Site::new();
    let text = policy("");
    let running = site.start_under(&text);
    let statement: Statement = Http::new(running.http).get("/v1/provider").unwrap();
    assert_eq!(statement.policy_digest, sha256(&[text.as_bytes()]));
    assert_eq!((statement.policy_version, statement.authority), (1, running.identity.authority));
}

/// A policy on the wrong kind of machine does not start (R15, R110).
#[test]
fn a_policy_for_real_machines_stays_off_simulated_ones() {
    let site = Site::new();
    let settings = site.settings_under(&policy("").replace("simulated = true\n", ""));
    assert_eq!(provider(&site, &settings).err().unwrap().code(), "policy.for_real");
}

/// R44: the list of machines is for guests and the provider; an empty one, and one with other machines, accepts none (B44).
#[test]
fn only_listed_machines_give_and_get_keys() {
    for (ppids, served) in
        [("\"PPID\"", true), ("\"PPID\", \"11111111111111111111111111111111\"", true), ("", false)]
    {
        let site = Site::new();
        let ppid = site.machine_value("ppid");
        let list = ppids.replace("PPID", ppid.as_str().unwrap());
        let running = site.start_under(&policy(&format!("[platforms]\nallow = [{list}]\n")));
        let statement = Http::new(running.http).get::<Statement>("/v1/provider");
        match served {
            true => drop((statement.unwrap(), key(&site, &running).unwrap())),
            false => assert_eq!(statement, Err(Code::SelfEvidenceInvalid)),
        }
    }
    let site = Site::new();
    let other = format!("[platforms]\nallow = [\"{}\"]\n", "22".repeat(16));
    let running = site.start_under(&policy(&other));
    assert_eq!(Http::new(running.http).get::<Statement>("/v1/provider"), Err(Code::SelfEvidenceInvalid));
}

/// What the policy asks of guests, it does not ask of the provider, and the other way round.
#[test]
fn guests_and_provider_are_judged_by_sections_of_their_own() {
    let other = "22".repeat(48);
    let site = Site::new();
    let running = site.start_under(&policy(&format!("[guests.registers.image]\nmrtd = [\"{other}\"]\n")));
    assert_eq!(key(&site, &running), Err(Code::PolicyDenied));

    let site = Site::new();
    let own = format!("[provider.registers.build]\nmrenclave = [\"{}\"]\n", "22".repeat(32));
    let running = site.start_under(&policy(&own));
    assert_eq!(Http::new(running.http).get::<Statement>("/v1/provider"), Err(Code::SelfEvidenceInvalid));
}

/// R29: collateral below the policy's number is refused, whoever delivers it.
#[test]
fn collateral_has_a_minimum() {
    let site = Site::new();
    let running = site.start_under(&policy("[collateral]\nmin_tcb_evaluation_data_number = 4000000\n"));
    assert!(Http::new(running.http).get::<Statement>("/v1/provider").is_err());
}

/// The public half of a key needs a rule as the key does, and the log counts what was given. What a description leaves open, and how
/// the guest will ask one day, is not judged.
#[test]
fn public_keys_need_a_rule_and_are_in_the_log() {
    let site = Site::new();
    let mrtd = hex::encode([7; 48]);
    let rules =
        format!("[[usage]]\npath = \"inbox/*\"\nsession = \"only\"\nclaims.registers.mrtd = [\"{mrtd}\"]\n");
    let running = site.start_under(&policy(&rules));
    let mut client = Client::new(running.http);
    let mut ask = |path: &str, mrtd: u8| {
        let register = |name: &&str| Register {
            name: (*name).into(),
            value: [if *name == "MRTD" { mrtd } else { 0 }; 48],
        };
        let wanted = FutureKey {
            binding: Binding::Measurement,
            registers: GuestRegisters::NAMES.iter().map(register).collect(),
            attributes: [0; 8],
            root_id: client.request.root_id,
            instance: None,
            key: Selector { algorithm: Algorithm::X25519, ..selector(path) },
        };
        let body = serde_json::to_vec(&wanted).unwrap();
        let answer: Result<PublicKey, Code> = client.http.post("/v1/public-key", &body);
        answer.map(|_| hex::encode(sha256(&[&body])))
    };
    let first = ask("inbox/a", 7).unwrap();
    for _ in 0..4 {
        assert_eq!(ask("inbox/a", 7).unwrap(), first);
    }
    for (path, mrtd, cause) in [("outbox", 7, "usage.path"), ("inbox/b", 8, "usage.registers")] {
        assert_eq!(ask(path, mrtd), Err(Code::UsageDenied));
        let line = site.audit().pop().unwrap();
        assert_eq!((line["cause"].as_str(), line["path"].as_str()), (Some(cause), Some(path)));
    }
    running.stop();
    let log = fs::read_to_string(site.state_dir().join("audit.log")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let given: Vec<_> = lines.filter(|line| line["entry"] == "public-keys").collect();
    let counts: Vec<_> = given.iter().map(|line| line["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [1, 2, 4, 5], "and what was not written before is at the end");
    assert!(given.iter().all(|line| line["path"] == "inbox/a" && line["description"] == *first));
    assert!(site.verdict().findings.is_empty());
}

/// What no usage rule names is refused, one key of a batch refuses the batch, and the operator learns which clause it was
/// (R55).
#[test]
fn usage_rules_decide_which_keys_there_are() {
    let site = Site::new();
    let rules = "[[usage]]\npath = \"app/*\"\nalgorithms = [\"hkdf-sha256\"]\nlengths = [32]\n";
    let running = site.start_under(&policy(rules));
    let ask = |keys: Vec<Selector>| {
        let mut client = Client::new(running.http);
        client.request.keys = keys;
        let order = client.order(&site.machine(), &TdDescription::default_guest());
        client.send(&order).map(drop)
    };
    assert_eq!(ask(vec![selector("app/db"), selector("app/log")]), Ok(()));
    for (key, cause) in [
        (selector("other/db"), "usage.path"),
        (Selector { length: 16, ..selector("app/db") }, "usage.length"),
        (Selector { algorithm: Algorithm::HkdfSha384, ..selector("app/db") }, "usage.algorithm"),
    ] {
        assert_eq!(ask(vec![selector("app/db"), key]), Err(Code::UsageDenied), "{cause}");
    }
}

/// R43: legacy clients are served only where the policy says so, whatever the settings listen on.
#[test]
fn legacy_clients_need_their_section() {
    for (section, served) in [("", false), ("[legacy]\n", true)] {
        let site = Site::new();
        let running = site.start_under(&policy(section));
        let guest = LegacyGuest::new(&site.machine(), &TdDescription::default_guest());
        assert_eq!(guest.key(running.legacy).is_some(), served, "{section}");
    }
}
