//! Simulated quotes and collateral, judged by `dcap-qvl`: they verify under the simulated root and nowhere else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use bulla_crypto::{Role, RoleHash};
use bulla_sim::{EnclaveIdentity, Machine, QuoteForm, Step, TdDescription, in_guest_buffer};
use bulla_tee::{Evidence, EvidenceKind, Identity, SIMULATED_MARKER, Tee};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::policy::QuotePolicy;
use dcap_qvl::verify::{QuoteVerifier, VerifiedReport};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};

use common::{Engine, new};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;

fn verify(machine: &Machine, quote: &[u8], now: u64) -> Result<VerifiedReport, String> {
    let collateral: QuoteCollateralV3 =
        serde_json::from_str(&machine.collateral(quote, NOW).unwrap()).unwrap();
    QuoteVerifier::<Engine>::new_with_config(machine.root_der())
        .verify(quote, &collateral, now)
        .map_err(|error| format!("{error:#}"))
}

fn enclave() -> EnclaveIdentity {
    EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3)
}

fn sgx_quote(machine: &Machine, identity: &EnclaveIdentity) -> Vec<u8> {
    let data = RoleHash::new(Role::ProviderKey, &[("nonce", &[9; 32])]);
    let evidence = machine.enclave(identity).unwrap().attest(&data, EvidenceKind::Quote).unwrap();
    let Evidence::Simulated(inner) = evidence else { panic!("not tagged as simulated") };
    let Evidence::SgxQuote(quote) = *inner else { panic!("not an SGX quote") };
    quote
}

fn td_quote(machine: &Machine) -> Vec<u8> {
    machine.td_quote(&TdDescription::default_guest(), &[0xDA; 64]).unwrap()
}

#[test]
fn an_sgx_quote_verifies_and_says_who_runs() {
    let (_dir, machine) = new();
    let quote = sgx_quote(&machine, &enclave());
    let verified = verify(&machine, &quote, NOW).unwrap();
    assert_eq!((verified.status.as_str(), verified.advisory_ids.len()), ("UpToDate", 0));
    let report = verified.report.as_sgx().unwrap();
    assert_eq!((report.mr_enclave, report.mr_signer), ([0xE1; 32], [0x51; 32]));
    assert_eq!((report.isv_prod_id, report.isv_svn), (7, 3));
    let data = RoleHash::new(Role::ProviderKey, &[("nonce", &[9; 32])]);
    assert_eq!(&report.report_data, data.as_bytes());
    // R110: the marker is in the signed body.
    assert_eq!(report.cpu_svn[8..], SIMULATED_MARKER);
}

#[test]
fn a_tdx_quote_verifies_and_says_who_runs() {
    let (_dir, machine) = new();
    let guest = TdDescription::default_guest();
    let data = RoleHash::new(Role::GuestRequest, &[("nonce", &[9; 32])]);
    let tee = machine.guest(guest.clone()).unwrap();
    let Evidence::Simulated(evidence) = tee.attest(&data, EvidenceKind::Quote).unwrap() else {
        panic!("not tagged as simulated")
    };
    let Evidence::TdxQuote(quote) = *evidence else { panic!("not a TDX quote") };
    assert_eq!(quote[..2], 4_u16.to_le_bytes());
    let verified = verify(&machine, &quote, NOW).unwrap();
    assert_eq!((verified.status.as_str(), verified.advisory_ids.len()), ("UpToDate", 0));
    let report = verified.report.as_td10().unwrap();
    assert_eq!(
        (report.mr_td, report.rt_mr3, &report.report_data),
        (guest.mrtd, guest.rtmr[3], data.as_bytes())
    );
    assert_eq!((report.mr_config_id, report.mr_owner, report.mr_owner_config), ([0; 48], [0; 48], [0; 48]));
    assert_eq!(report.tee_tcb_svn[8..], SIMULATED_MARKER);
    let Identity::Tdx(identity) = tee.identity().unwrap() else { panic!("a guest is a TDX guest") };
    assert_eq!((identity.mrtd, identity.mrseam), (report.mr_td, report.mr_seam));
    assert_eq!(identity.tee_tcb_svn, report.tee_tcb_svn);
}

/// The library reads every form, and walks all but the later ones of SGX.
#[test]
fn every_form_is_laid_out_as_the_library_reads_it() {
    let (_dir, machine) = new();
    for form in QuoteForm::ALL {
        let data = [0xDA; 64];
        let quote = match form {
            QuoteForm::SgxV3 | QuoteForm::SgxV4 | QuoteForm::SgxV5 => {
                assert_eq!(
                    machine.td_quote_in(form, &TdDescription::default_guest(), &data).unwrap_err().code(),
                    "sim.bad_report"
                );
                machine.sgx_quote_in(form, &enclave(), &data).unwrap()
            }
            _ => {
                assert_eq!(
                    machine.sgx_quote_in(form, &enclave(), &data).unwrap_err().code(),
                    "sim.bad_report"
                );
                machine.td_quote_in(form, &TdDescription::default_guest(), &data).unwrap()
            }
        };
        let parsed = dcap_qvl::quote::Quote::parse(&quote).unwrap();
        assert_eq!(parsed.signed_length(), form.body_at() + form.body_size(), "{form:?}");
        let verified = verify(&machine, &in_guest_buffer(quote), NOW);
        match form {
            QuoteForm::SgxV4 | QuoteForm::SgxV5 => {
                assert!(verified.unwrap_err().contains("must have version 3"))
            }
            _ => assert_eq!(verified.unwrap().status, "UpToDate", "{form:?}"),
        }
    }
}

/// What a test changed verifies when it is signed again, and not before; with a new attestation key too.
#[test]
fn what_was_changed_is_signed_again() {
    let (_dir, machine) = new();
    for form in [QuoteForm::SgxV3, QuoteForm::TdxV4, QuoteForm::TdxV5, QuoteForm::TdxV5Td15] {
        let mut body = vec![0; form.body_size()];
        if form != QuoteForm::SgxV3 {
            // TEE_TCB_SVN of the machine, SEPT_VE_DISABLE.
            let td = machine.td_report(&TdDescription::default_guest(), &[0; 64]);
            body[..16].copy_from_slice(&td.tee_tcb_info.tee_tcb_svn);
            if form == QuoteForm::TdxV5Td15 {
                body[584..600].copy_from_slice(&td.tee_tcb_info.tee_tcb_svn2);
            }
            body[123] = 0x10;
        }
        let mut quote = machine.quote_body(form, &body).unwrap();
        verify(&machine, &quote, NOW).unwrap();
        quote[form.body_at() + 200] ^= 1;
        assert!(verify(&machine, &quote, NOW).unwrap_err().contains("signature"), "{form:?}");
        machine.resign(form, &mut quote).unwrap();
        verify(&machine, &quote, NOW).unwrap();

        let key = quote[form.signature_at() + 64..form.qe_report_at()].to_vec();
        machine.renew_attestation_key(form, &mut quote).unwrap();
        assert_ne!(key, quote[form.signature_at() + 64..form.qe_report_at()]);
        verify(&machine, &quote, NOW).unwrap();

        quote[form.qe_report_at()] ^= 1;
        assert!(verify(&machine, &quote, NOW).unwrap_err().contains("qe_report"), "{form:?}");
        machine.resign_qe_report(form, &mut quote).unwrap();
        verify(&machine, &quote, NOW).unwrap();

        let short = &mut quote[..form.signature_at() + 63];
        assert_eq!(machine.resign(form, short).unwrap_err().code(), "sim.not_a_quote");
        assert_eq!(machine.resign_qe_report(form, short).unwrap_err().code(), "sim.not_a_quote");
        assert_eq!(machine.renew_attestation_key(form, short).unwrap_err().code(), "sim.not_a_quote");
        assert_eq!(machine.quote_body(form, &body[1..]).unwrap_err().code(), "sim.bad_report");
    }
}

/// Intel's strictest published policy accepts an up-to-date simulated machine: no dynamic platform, cached keys or SMT.
#[test]
fn the_platform_of_the_certificate_is_that_of_the_machine() {
    let (_dir, machine) = new();
    let (quote, toml) =
        (td_quote(&machine), std::fs::read_to_string(machine.dir().join("machine.toml")).unwrap());
    let collateral: QuoteCollateralV3 =
        serde_json::from_str(&machine.collateral(&quote, NOW).unwrap()).unwrap();
    let claims = QuoteVerifier::<Engine>::new_with_config(machine.root_der())
        .verify_with_policy(&quote, collateral, NOW, &QuotePolicy::strict(NOW))
        .unwrap();
    let pck = &claims.platform.pck;
    let file: toml::Table = toml.parse().unwrap();
    let value = |key: &str| hex::decode(file[key].as_str().unwrap()).unwrap();
    assert_eq!(pck.ppid, value("ppid"));
    assert_eq!(pck.cpu_svn.to_vec(), value("cpusvn"));
    assert_eq!(pck.fmspc.to_vec(), value("fmspc"));
    assert_eq!(pck.platform_instance_id.unwrap().to_vec(), value("platform_instance_id"));
    assert_eq!(i64::from(pck.pce_svn), file["pcesvn"].as_integer().unwrap());
    assert_eq!(quote[28..44], value("qe_id"));
    assert_eq!(claims.tcb.eval_data_number, 20);
}

/// Every component of the extension is there on its own, equal to the byte of CPUSVN.
#[test]
fn the_certificate_has_every_component() {
    let (_dir, machine) = new();
    let quote = dcap_qvl::quote::Quote::parse(&td_quote(&machine)).unwrap();
    let chain = dcap_qvl::intel::extract_cert_chain(&quote).unwrap();
    assert_eq!(chain.len(), 3);
    assert_eq!(chain[2], machine.root_der());
    assert_eq!(dcap_qvl::intel::pck_ca_with::<Engine>(&chain[0]).unwrap().as_id_str(), "platform");
    let extension = dcap_qvl::intel::parse_pck_extension_with::<Engine>(&chain[0]).unwrap();
    for (at, svn) in extension.cpu_svn.iter().enumerate() {
        let oid = format!("1.2.840.113741.1.13.1.2.{}", at + 1).parse().unwrap();
        assert_eq!(extension.get_value(&oid).unwrap().unwrap(), [*svn]);
    }
    assert!(chain.iter().all(|der| !der.windows(5).any(|name| name == b"Intel")), "no name is Intel's");
}

#[test]
fn microcode_decides_the_status() {
    let (_dir, machine) = new();
    let dir = machine.dir().to_owned();
    let statuses = |machine: &Machine| {
        [sgx_quote(machine, &enclave()), td_quote(machine)].map(|quote| {
            verify(machine, &quote, NOW).map(|report| (report.status, report.advisory_ids.join(",")))
        })
    };
    let both = |status: &str, advisories: &str| {
        let one = Ok((status.to_owned(), advisories.to_owned()));
        [one.clone(), one]
    };
    machine.microcode(Step::Down).unwrap();
    assert_eq!(statuses(&machine), both("UpToDate", ""), "what was opened keeps what it read");
    let machine = Machine::open(&dir).unwrap();
    assert_eq!(statuses(&machine), both("OutOfDate", "SIM-SA-00001"));
    machine.microcode(Step::Up).unwrap();
    assert_eq!(statuses(&Machine::open(&dir).unwrap()), both("UpToDate", ""));
    machine.microcode(Step::Up).unwrap();
    assert_eq!(statuses(&Machine::open(&dir).unwrap()), both("UpToDate", ""));

    for _ in 0..6 {
        machine.microcode(Step::Down).unwrap();
    }
    assert_eq!(machine.microcode(Step::Down).unwrap_err().code(), "sim.lowest_microcode");
    for status in statuses(&Machine::open(&dir).unwrap()) {
        assert!(status.unwrap_err().contains("Revoked"));
    }
}

#[test]
fn collateral_is_a_day_old_and_lasts_thirty() {
    let (_dir, machine) = new();
    for quote in [td_quote(&machine), sgx_quote(&machine, &enclave())] {
        for good in [NOW - DAY, NOW, NOW + 29 * DAY - 1] {
            verify(&machine, &quote, good).unwrap();
        }
        for bad in [NOW - DAY - 1, NOW + 29 * DAY + 1] {
            verify(&machine, &quote, bad).unwrap_err();
        }
    }
    for never in [0, u64::MAX, i64::MAX as u64] {
        assert!(matches!(
            machine.collateral(&td_quote(&machine), never),
            Ok(_) | Err(bulla_sim::Error::Time(_))
        ));
    }
    assert_eq!(machine.collateral(&[0; 700], NOW).unwrap_err().code(), "sim.not_a_quote");
    assert_eq!(machine.collateral(&[3; 47], NOW).unwrap_err().code(), "sim.not_a_quote");
}

/// R27: the vendor's root and no other, be it of the same name.
#[test]
fn another_root_refuses() {
    let (_dir, machine) = new();
    let quote = td_quote(&machine);
    let json = machine.collateral(&quote, NOW).unwrap();
    let verify = |root: Vec<u8>| {
        let collateral: QuoteCollateralV3 = serde_json::from_str(&json).unwrap();
        QuoteVerifier::<Engine>::new_with_config(root).verify(&quote, &collateral, NOW).map(drop)
    };
    verify(machine.root_der()).unwrap();

    let mut impostor = CertificateParams::default();
    impostor.distinguished_name = DistinguishedName::new();
    impostor.distinguished_name.push(DnType::CommonName, "Simulated SGX Root CA");
    impostor.distinguished_name.push(DnType::OrganizationName, "bulla simulator");
    impostor.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let impostor = impostor.self_signed(&KeyPair::generate().unwrap()).unwrap();
    verify(impostor.der().to_vec()).unwrap_err();
}

#[test]
fn debug_shows_in_both_kinds_of_quote() {
    let (_dir, machine) = new();
    let td = machine.td_quote(&TdDescription::default_guest().with_debug(), &[1; 64]).unwrap();
    for quote in [td, sgx_quote(&machine, &enclave().with_debug())] {
        assert!(verify(&machine, &quote, NOW).unwrap_err().contains("Debug"));
    }
}

/// R36: a reset machine has another PPID under the same root, and the header can claim any QE ID.
#[test]
fn a_reset_changes_the_platform_and_the_header_follows_the_file() {
    let (_dir, machine) = new();
    let dir = machine.dir().to_owned();
    let before = td_quote(&machine);
    machine.platform_reset().unwrap();
    let after = td_quote(&Machine::open(&dir).unwrap());
    assert_ne!(before[28..44], after[28..44]);

    let path = dir.join("machine.toml");
    let (was, is) = (hex::encode(&before[28..44]), hex::encode(&after[28..44]));
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replace(&is, &was)).unwrap();
    let machine = Machine::open(&dir).unwrap();
    let copied = td_quote(&machine);
    assert_eq!(before[28..44], copied[28..44]);
    let ppid = |quote: &[u8]| verify(&machine, quote, NOW).unwrap().ppid;
    assert_ne!(ppid(&before), ppid(&copied));
    assert_eq!(ppid(&after), ppid(&copied));
}

/// Every process shows the same certificate, so a verifier that knows it need not check it again.
#[test]
fn the_chain_is_the_same_in_every_process_and_after_going_back() {
    let (_dir, machine) = new();
    let dir = machine.dir().to_owned();
    // From the report of the quoting enclave on.
    let chain = |quote: &[u8]| quote[QuoteForm::TdxV4.qe_report_at()..].to_vec();
    let first = chain(&td_quote(&machine));
    assert_eq!(first, chain(&td_quote(&Machine::open(&dir).unwrap())));
    machine.microcode(Step::Up).unwrap();
    assert_ne!(first, chain(&td_quote(&Machine::open(&dir).unwrap())));
    machine.microcode(Step::Down).unwrap();
    assert_eq!(first, chain(&td_quote(&Machine::open(&dir).unwrap())));
}
