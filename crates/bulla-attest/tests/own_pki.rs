//! What no genuine sample shows: revocation, home-made roots, foreign modules and enclaves, simulated machines. A PKI of
//! the test's own, shaped as Intel's, signs a TDX quote and its collateral, with one thing changed at a time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use bulla_attest::{Claims, Collateral, Error, Policy, TcbStatus, TrustAnchor, Verifier};
use bulla_crypto::sha256;
use bulla_tee::SIMULATED_MARKER;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

/// 2026-01-15.
const NOW: u64 = 1_768_435_200;
const PPID: [u8; 16] = [0x5a; 16];

/// What the evidence says; the default is in perfect order.
#[derive(Clone)]
struct Recipe {
    revoked: &'static [&'static str],
    tcb: Value,
    qe: Value,
    module: Value,
    cpusvn: [u8; 16],
    tee_tcb_svn: [u8; 16],
    mrsignerseam: [u8; 48],
    seam_attributes: [u8; 8],
    td_attributes: u64,
    qe_mrsigner: [u8; 32],
    qe_flags: u64,
    qe_isvsvn: u16,
    qe_report_data_end: u8,
    root_name: &'static str,
    /// What is wrong with a certificate or a list, though who signed it and for when is in order.
    flaw: &'static str,
    /// The version of an enclave's quote instead of a guest's.
    enclave: Option<u8>,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            revoked: &[],
            tcb: json!({}),
            qe: json!({}),
            module: json!({}),
            cpusvn: [2; 16],
            tee_tcb_svn: svn([5, 1, 2]),
            mrsignerseam: [0; 48],
            seam_attributes: [0; 8],
            td_attributes: 1 << 28,
            qe_mrsigner: [0xdc; 32],
            qe_flags: 0x11,
            qe_isvsvn: 4,
            qe_report_data_end: 0,
            root_name: "Intel SGX Root CA",
            flaw: "",
            enclave: None,
        }
    }
}

struct Evidence {
    quote: Vec<u8>,
    collateral: Value,
    root: Vec<u8>,
}

impl Evidence {
    fn verify(&self, root: &[u8], policy: &Policy) -> Result<Claims, Error> {
        let collateral = Collateral::from_json(self.collateral.to_string().as_bytes())?;
        Verifier::new(TrustAnchor::from_der(root)?).verify(&self.quote, &collateral, NOW, policy)
    }
}

fn code(recipe: &Recipe, policy: &Policy) -> &'static str {
    let evidence = Pki::with_flaw(recipe.root_name, recipe.flaw).evidence(recipe);
    evidence.verify(&evidence.root, policy).map_or_else(|error| error.code(), |_| "ok")
}

fn strict(recipe: &Recipe) -> &'static str {
    code(recipe, &Policy::strict())
}

fn svn(start: [u8; 3]) -> [u8; 16] {
    let mut svn = [0; 16];
    svn[..3].copy_from_slice(&start);
    svn
}

struct Authority {
    key: KeyPair,
    params: CertificateParams,
    certificate: Certificate,
}

impl Authority {
    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        raw(&self.key, message)
    }
}

fn raw(key: &KeyPair, message: &[u8]) -> Vec<u8> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der()).unwrap();
    pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

struct Pki {
    root: Authority,
    ca: Authority,
    signer: Authority,
    pck: KeyPair,
    attestation: KeyPair,
}

impl Pki {
    fn new(root_name: &str) -> Self {
        Self::with_flaw(root_name, "")
    }

    fn with_flaw(root_name: &str, flaw: &str) -> Self {
        let params = |name: &str, serial: u64, ca: bool| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.serial_number = Some(SerialNumber::from(serial));
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
            params.is_ca = if ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
            if ca {
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            }
            match (flaw, serial) {
                ("the signer has another use", 3) => {
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
                }
                ("the signer has an unknown critical extension", 3) => params.custom_extensions = unknown(),
                _ => {}
            }
            params
        };
        let key = || KeyPair::generate().unwrap();
        let (root_key, root_params) = (key(), params(root_name, 1, true));
        let certificate = root_params.self_signed(&root_key).unwrap();
        let root = Authority { key: root_key, params: root_params, certificate };
        let below = |name, serial, ca| {
            let (key, params) = (key(), params(name, serial, ca));
            let certificate = params.signed_by(&key, &root.issuer()).unwrap();
            Authority { key, params, certificate }
        };
        let ca = below("Intel SGX PCK Platform CA", 2, true);
        let signer = below("Intel SGX TCB Signing", 3, false);
        Self { ca, signer, root, pck: key(), attestation: key() }
    }

    fn evidence(&self, recipe: &Recipe) -> Evidence {
        let leaf = self.pck_certificate(recipe);
        let chain = [&leaf, &self.ca.certificate, &self.root.certificate].map(Certificate::pem).concat();
        let signers = [&self.signer.certificate, &self.root.certificate].map(Certificate::pem).concat();
        let issuers = [&self.ca.certificate, &self.root.certificate].map(Certificate::pem).concat();
        let (tcb_info, qe_identity) = documents(recipe);
        let crl = |of: &Authority, names: &[(&str, u64)]| {
            let revoked = names.iter().filter(|(name, _)| recipe.revoked.contains(name));
            let params = CertificateRevocationListParams {
                this_update: date_time_ymd(2026, 1, 1),
                next_update: date_time_ymd(2026, 2, 1),
                crl_number: SerialNumber::from(1u64),
                issuing_distribution_point: None,
                revoked_certs: revoked
                    .map(|(_, serial)| RevokedCertParams {
                        serial_number: SerialNumber::from(*serial),
                        revocation_time: date_time_ymd(2025, 12, 1),
                        reason_code: None,
                        invalidity_date: None,
                    })
                    .collect(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            hex::encode(params.signed_by(&of.issuer()).unwrap().der())
        };
        Evidence {
            quote: self.quote(recipe, chain.as_bytes()),
            collateral: json!({
                "pck_crl_issuer_chain": issuers,
                "root_ca_crl": crl(&self.root, &[("root", 1), ("ca", 2), ("signer", 3)]),
                "pck_crl": crl(&self.ca, &[("leaf", 4)]),
                "tcb_info_issuer_chain": signers,
                "tcb_info_signature": hex::encode(self.signer.sign(tcb_info.as_bytes())),
                "tcb_info": tcb_info,
                "qe_identity_issuer_chain": signers,
                "qe_identity_signature": hex::encode(self.signer.sign(qe_identity.as_bytes())),
                "qe_identity": qe_identity,
            }),
            root: self.root.certificate.der().to_vec(),
        }
    }

    fn pck_certificate(&self, recipe: &Recipe) -> Certificate {
        // Intel's extension: a sequence of pairs of an OID below 1.2.840.113741.1.13.1 and a value.
        let tlv = |tag: u8, content: &[u8]| {
            let length = u8::try_from(content.len()).unwrap();
            let length = if length < 128 { vec![length] } else { vec![0x81, length] };
            [&[tag], length.as_slice(), content].concat()
        };
        let pair = |arc: &[u8], value: Vec<u8>| {
            let oid = [&[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1], arc].concat();
            tlv(0x30, &[tlv(6, &oid), value].concat())
        };
        let tcb = [pair(&[2, 17], tlv(2, &[13])), pair(&[2, 18], tlv(4, &recipe.cpusvn))].concat();
        let extension = [
            pair(&[1], tlv(4, &PPID)),
            pair(&[2], tlv(0x30, &tcb)),
            pair(&[3], tlv(4, &[0; 2])),
            pair(&[4], tlv(4, &[0x90, 0xc0, 0x6f, 0, 0, 0])),
            pair(&[5], tlv(10, &[1])),
        ];
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Intel SGX PCK Certificate");
        params.serial_number = Some(SerialNumber::from(4u64));
        (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2032, 1, 1));
        params.is_ca = IsCa::ExplicitNoCa;
        let oid = [1, 2, 840, 113_741, 1, 13, 1];
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&oid, tlv(0x30, &extension.concat()))];
        if recipe.flaw == "the PCK certificate has an unknown critical extension" {
            params.custom_extensions.extend(unknown());
        }
        params.signed_by(&self.pck, &self.ca.issuer()).unwrap()
    }

    /// A version 4 quote of a guest, or one of an enclave.
    fn quote(&self, recipe: &Recipe, chain: &[u8]) -> Vec<u8> {
        let vendor = hex::decode("939a7233f79c4ca9940a0db3957f0607").unwrap();
        let (version, tee) = recipe.enclave.map_or((4, 0x81), |version| (version, 0));
        let header = [&[version, 0, 2, 0, tee, 0, 0, 0, 0, 0, 0, 0][..], &vendor, &[0; 20]].concat();
        let mut body = vec![0u8; 584];
        body[..16].copy_from_slice(&recipe.tee_tcb_svn);
        body[64..112].copy_from_slice(&recipe.mrsignerseam);
        body[112..120].copy_from_slice(&recipe.seam_attributes);
        body[120..128].copy_from_slice(&recipe.td_attributes.to_le_bytes());
        body[136..184].copy_from_slice(&[7; 48]);
        if recipe.enclave.is_some() {
            body = vec![0; 384];
        }
        let descriptor = if version == 5 { &[1, 0, 0x80, 1, 0, 0][..] } else { &[] };
        let signed = [header.as_slice(), descriptor, &body].concat();

        let point = &self.attestation.public_key_raw()[1..];
        let auth: Vec<u8> = (0..32).collect();
        let mut report = [0u8; 384];
        report[48..56].copy_from_slice(&recipe.qe_flags.to_le_bytes());
        report[128..160].copy_from_slice(&recipe.qe_mrsigner);
        report[256] = if recipe.enclave.is_some() { 1 } else { 2 };
        report[258..260].copy_from_slice(&recipe.qe_isvsvn.to_le_bytes());
        report[320..352].copy_from_slice(&sha256(&[point, &auth]));
        report[383] = recipe.qe_report_data_end;
        let certification = |kind: u16, data: &[u8]| {
            [&kind.to_le_bytes()[..], &u32::try_from(data.len()).unwrap().to_le_bytes(), data].concat()
        };
        let qe =
            [&report[..], &raw(&self.pck, &report), &32u16.to_le_bytes(), &auth, &certification(5, chain)]
                .concat();
        let qe = if version == 3 { qe } else { certification(6, &qe) };
        let data = [&raw(&self.attestation, &signed), point, &qe].concat();
        [&signed[..], &u32::try_from(data.len()).unwrap().to_le_bytes(), &data].concat()
    }
}

/// TCB info and QE identity, with the recipe's changes laid over them.
fn documents(recipe: &Recipe) -> (String, String) {
    let components = |svn: u8| vec![json!({"svn": svn}); 16];
    let tdx = [5u8, 0, 2].into_iter().chain([0; 13]).map(|svn| json!({"svn": svn})).collect::<Vec<_>>();
    let module =
        json!({"mrsigner": "00".repeat(48), "attributes": "00".repeat(8), "attributesMask": "FF".repeat(8)});
    let mut identity = module.clone();
    identity["id"] = json!("TDX_01");
    identity["tcbLevels"] =
        json!([{"tcb": {"isvsvn": 4}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "UpToDate"}]);
    overlay(&mut identity, &recipe.module);
    let level = |svn, status| {
        let tcb = json!({"sgxtcbcomponents": components(svn), "pcesvn": 5, "tdxtcbcomponents": tdx});
        json!({"tcb": tcb, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": status})
    };
    let mut tcb_info = json!({
        "id": "TDX", "version": 3, "issueDate": "2026-01-01T00:00:00Z", "nextUpdate": "2026-02-01T00:00:00Z",
        "fmspc": "90C06F000000", "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 18,
        "tdxModule": module, "tdxModuleIdentities": [identity],
        "tcbLevels": [level(2, "UpToDate"), level(1, "Revoked")],
    });
    if recipe.enclave.is_some() {
        tcb_info["id"] = json!("SGX");
    }
    overlay(&mut tcb_info, &recipe.tcb);
    let mut qe_identity = json!({
        "id": "TD_QE", "version": 2, "issueDate": "2026-01-01T00:00:00Z", "nextUpdate": "2026-02-01T00:00:00Z",
        "tcbEvaluationDataNumber": 18, "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
        "attributes": format!("11{}", "00".repeat(15)), "attributesMask": format!("FB{}{}", "FF".repeat(7), "00".repeat(8)),
        "mrsigner": "DC".repeat(32), "isvprodid": 2,
        "tcbLevels": [{"tcb": {"isvsvn": 4}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "UpToDate"}],
    });
    if recipe.enclave.is_some() {
        (qe_identity["id"], qe_identity["isvprodid"]) = (json!("QE"), json!(1));
    }
    overlay(&mut qe_identity, &recipe.qe);
    (tcb_info.to_string(), qe_identity.to_string())
}

/// An extension that nobody knows and everybody has to.
fn unknown() -> Vec<CustomExtension> {
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    vec![extension]
}

fn overlay(document: &mut Value, changes: &Value) {
    for (key, value) in changes.as_object().unwrap() {
        document[key] = value.clone();
    }
}

#[test]
fn evidence_in_order_is_accepted() {
    let evidence = Pki::new("Intel SGX Root CA").evidence(&Recipe::default());
    let claims = evidence.verify(&evidence.root, &Policy::strict()).unwrap();
    assert_eq!(
        (claims.platform.id(), claims.tcb.status, claims.simulated),
        (Some(&PPID[..]), TcbStatus::UpToDate, false)
    );
}

#[test]
fn n34_r28_a_revoked_leaf_ca_or_signer_is_refused() {
    for revoked in [&["leaf"], &["ca"], &["signer"]] {
        assert_eq!(strict(&Recipe { revoked, ..Recipe::default() }), "revoked", "{revoked:?}");
    }
}

/// What the verification library refuses of version 3 is refused of the versions that it does not walk.
#[test]
fn enclaves_are_judged_by_the_library_and_without_it_alike() {
    let of = |enclave, recipe: &Recipe| {
        let recipe = Recipe { enclave: Some(enclave), ..recipe.clone() };
        [Policy::strict(), Policy::strict().allow_every_status()].map(|policy| code(&recipe, &policy))
    };
    let alike = |recipe: &Recipe, what: &str| {
        let [library, four, five] = [3, 4, 5].map(|version| of(version, recipe));
        assert_eq!([four, five], [library; 2], "{what}");
        library
    };
    assert_eq!(alike(&Recipe::default(), "in order"), ["ok"; 2]);
    for flaw in [
        "the signer has another use",
        "the signer has an unknown critical extension",
        "the PCK certificate has an unknown critical extension",
    ] {
        let [refused, _] = alike(&Recipe { flaw, ..Recipe::default() }, flaw);
        assert_eq!(refused, "quote.unverified", "{flaw}");
    }
    for revoked in [&["root"], &["ca"], &["signer"], &["leaf"]] {
        let [refused, _] = alike(&Recipe { revoked, ..Recipe::default() }, revoked[0]);
        assert_eq!(refused, if revoked == &["root"] { "quote.unverified" } else { "revoked" });
    }
    let level = |isvsvn, status: &str| json!({"tcb": {"isvsvn": isvsvn}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": status});
    let open = json!({"attributesMask": "00".repeat(16), "attributes": "00".repeat(16)});
    for (qe, qe_flags, wanted) in [
        (json!({"version": 3}), 0x11, "qe_identity.unsupported_version"),
        (open.clone(), 0x11, "ok"),
        (open, 0x13, "qe_identity.mismatch"),
        (json!({"tcbLevels": [level(4, "OutOfDate")]}), 0x11, "ok"),
        (json!({"tcbLevels": [level(4, "ConfigurationNeeded")]}), 0x11, "ok"),
        (json!({"tcbLevels": [level(4, "SWHardeningNeeded")]}), 0x11, "qe_identity.parse"),
        (json!({"tcbLevels": [level(4, "TDRelaunchAdvised")]}), 0x11, "qe_identity.parse"),
        (json!({"tcbLevels": [level(4, "Revoked")]}), 0x11, "tcb.revoked"),
        (json!({"tcbLevels": [level(5, "UpToDate")]}), 0x11, "qe_identity.no_matching_level"),
    ] {
        let what = format!("{qe} {qe_flags:x}");
        let [_, refused] = alike(&Recipe { qe, qe_flags, ..Recipe::default() }, &what);
        assert_eq!(refused, wanted, "{what}");
    }
    for (cpusvn, wanted) in [([2; 16], "ok"), ([1; 16], "tcb.revoked"), ([0; 16], "tcb.no_matching_level")] {
        assert_eq!(alike(&Recipe { cpusvn, ..Recipe::default() }, wanted)[1], wanted);
    }
}

#[test]
fn n33_n41_r27_a_home_made_root_of_the_same_name_is_refused() {
    let genuine = Pki::new("Intel SGX Root CA").evidence(&Recipe::default());
    let forged = Pki::new("Intel SGX Root CA").evidence(&Recipe::default());
    assert_eq!(
        forged.verify(&genuine.root, &Policy::strict()).unwrap_err().code(),
        "tcb_info.untrusted_root"
    );
    let intel = Verifier::new(TrustAnchor::intel());
    let set = Collateral::from_json(forged.collateral.to_string().as_bytes()).unwrap();
    let error = intel.verify(&forged.quote, &set, NOW, &Policy::strict()).unwrap_err();
    assert_eq!(error.code(), "tcb_info.untrusted_root");

    let mixed =
        Evidence { quote: forged.quote, collateral: genuine.collateral.clone(), root: genuine.root.clone() };
    assert_eq!(mixed.verify(&mixed.root, &Policy::strict()).unwrap_err().code(), "pck.untrusted_root");
    for item in ["tcb_info", "qe_identity"] {
        let mut collateral = genuine.collateral.clone();
        for part in [item.to_owned(), format!("{item}_signature"), format!("{item}_issuer_chain")] {
            collateral[&part] = forged.collateral[&part].clone();
        }
        let mixed = Evidence { quote: genuine.quote.clone(), collateral, root: genuine.root.clone() };
        let found = mixed.verify(&mixed.root, &Policy::strict()).unwrap_err().code();
        assert_eq!(found, format!("{item}.untrusted_root"));
    }
    for (item, wanted) in [("pck_crl", "pck_crl.signature"), ("root_ca_crl", "root_crl.signature")] {
        let mut collateral = genuine.collateral.clone();
        collateral[item] = forged.collateral[item].clone();
        let mixed = Evidence { quote: genuine.quote.clone(), collateral, root: genuine.root.clone() };
        assert_eq!(mixed.verify(&mixed.root, &Policy::strict()).unwrap_err().code(), wanted);
    }
}

#[test]
fn r20_r22_levels_of_the_platform() {
    let everything = Policy::strict().allow_every_status().allow_statuses(&TcbStatus::ALL);
    let revoked = Recipe { cpusvn: [1; 16], ..Recipe::default() };
    assert_eq!(code(&revoked, &everything), "tcb.revoked");
    let mut below = [2; 16];
    for component in 0..16 {
        below[component] = 0;
        let recipe = Recipe { cpusvn: below, ..Recipe::default() };
        assert_eq!(code(&recipe, &everything), "tcb.no_matching_level", "component {component}");
        below[component] = 2;
    }
    let change = |tcb: Value| Recipe { tcb, ..Recipe::default() };
    for status in ["Unknown", "uptodate", ""] {
        let (text, _) = documents(&Recipe::default());
        let mut levels: Value = serde_json::from_str::<Value>(&text).unwrap()["tcbLevels"].clone();
        levels[0]["tcbStatus"] = json!(status);
        assert_eq!(code(&change(json!({"tcbLevels": levels})), &everything), "tcb_info.parse", "{status:?}");
    }
    for length in [15, 17] {
        let (text, _) = documents(&Recipe::default());
        let mut levels: Value = serde_json::from_str::<Value>(&text).unwrap()["tcbLevels"].clone();
        levels[0]["tcb"]["sgxtcbcomponents"] = json!(vec![json!({"svn": 0}); length]);
        assert_ne!(code(&change(json!({"tcbLevels": levels})), &everything), "ok", "{length} components");
    }
    assert_eq!(strict(&change(json!({"pceId": "0001"}))), "tcb_info.pceid_mismatch");
    assert_eq!(strict(&change(json!({"version": 4}))), "tcb_info.unsupported_version");
    assert_eq!(strict(&change(json!({"issueDate": "yesterday"}))), "tcb_info.parse");
    let number = change(json!({"tcbEvaluationDataNumber": 16}));
    assert_eq!(
        code(&number, &Policy::strict().min_tcb_evaluation_data_number(17)),
        "policy.tcb_evaluation_number"
    );
}

#[test]
fn r18_the_quoting_enclave_is_the_one_described() {
    let recipes = [
        (Recipe { qe_mrsigner: [1; 32], ..Recipe::default() }, "qe_identity.mismatch"),
        (Recipe { qe_flags: 0x13, ..Recipe::default() }, "qe_identity.mismatch"),
        (Recipe { qe_isvsvn: 3, ..Recipe::default() }, "qe_identity.no_matching_level"),
        (Recipe { qe: json!({"isvprodid": 1}), ..Recipe::default() }, "qe_identity.mismatch"),
        (Recipe { qe: json!({"miscselect": "01000000"}), ..Recipe::default() }, "qe_identity.mismatch"),
        (Recipe { qe: json!({"version": 1}), ..Recipe::default() }, "qe_identity.unsupported_version"),
        (Recipe { qe: json!({"id": "QVE"}), ..Recipe::default() }, "qe_identity.wrong_id"),
        (Recipe { qe_report_data_end: 1, ..Recipe::default() }, "qe_report.binding"),
    ];
    for (recipe, wanted) in recipes {
        assert_eq!(strict(&recipe), wanted);
    }
}

#[test]
fn r21_the_tdx_module_is_the_one_described() {
    let default = Recipe::default;
    let outdated =
        json!([{"tcb": {"isvsvn": 1}, "tcbDate": "2024-01-01T00:00:00Z", "tcbStatus": "OutOfDate"}]);
    let recipes = [
        (Recipe { mrsignerseam: [1; 48], ..default() }, "tdx_module.mismatch"),
        (Recipe { seam_attributes: [1, 0, 0, 0, 0, 0, 0, 0], ..default() }, "tdx_module.mismatch"),
        (Recipe { tee_tcb_svn: svn([5, 2, 2]), ..default() }, "tdx_module.mismatch"),
        (Recipe { tee_tcb_svn: svn([3, 1, 2]), ..default() }, "tcb.no_matching_level"),
        (Recipe { tee_tcb_svn: svn([5, 1, 1]), ..default() }, "tcb.no_matching_level"),
        (Recipe { tcb: json!({"tdxModule": null}), ..default() }, "tdx_module.mismatch"),
        (Recipe { module: json!({"tcbLevels": outdated}), ..default() }, "policy.tcb_status"),
    ];
    for (recipe, wanted) in recipes {
        assert_eq!(strict(&recipe), wanted);
    }
}

#[test]
fn r23_r24_attributes_of_a_verified_guest() {
    let loosest = Policy::strict().allow_every_status().allow_perfmon().allow_simulated();
    for bit in 0..64 {
        let wanted = match bit {
            0..=7 => "policy.debug",
            16 | 27 | 30 | 31 | 63 => "ok",
            17 => "policy.service_td",
            28 => "policy.sept_ve_disable_not_set",
            29 => "policy.migratable",
            _ => "policy.reserved_attributes",
        };
        let recipe = Recipe { td_attributes: 1 << 28 ^ 1 << bit, ..Recipe::default() };
        assert_eq!(code(&recipe, &loosest), wanted, "bit {bit}");
    }
}

#[test]
fn r15_r110_the_marker_of_the_simulator_is_seen_wherever_it_stands() {
    let mut marked = [2; 16];
    marked[8..].copy_from_slice(&SIMULATED_MARKER);
    let mut module = svn([5, 1, 2]);
    module[8..].copy_from_slice(&SIMULATED_MARKER);
    let recipes =
        [Recipe { cpusvn: marked, ..Recipe::default() }, Recipe { tee_tcb_svn: module, ..Recipe::default() }];
    for recipe in recipes {
        assert_eq!(code(&recipe, &Policy::strict().allow_every_status()), "policy.simulated");
        let evidence = Pki::new("Simulated SGX Root CA").evidence(&recipe);
        let claims = evidence.verify(&evidence.root, &Policy::strict().allow_simulated()).unwrap();
        assert!(claims.simulated);
    }
}

/// The reason names what falls short of the best level, on a platform whose every version can be chosen.
#[test]
fn r20_r21_a_reason_names_each_component_that_falls_short() {
    let levels = |change: &dyn Fn(&mut Value)| {
        let (text, _) = documents(&Recipe::default());
        let mut levels: Value = serde_json::from_str::<Value>(&text).unwrap()["tcbLevels"].clone();
        // Below it, one that everything in order meets.
        levels[1] = levels[0].clone();
        levels[1]["tcbStatus"] = json!("OutOfDate");
        change(&mut levels[0]["tcb"]);
        Recipe { tcb: json!({"tcbLevels": levels}), ..Recipe::default() }
    };
    let named = |name: &str, kind: &str, svn: u8| json!({"svn": svn, "category": name, "type": kind});
    let modules = json!([
        {"tcb": {"isvsvn": 11}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "UpToDate"},
        {"tcb": {"isvsvn": 4}, "tcbDate": "2024-01-01T00:00:00Z", "tcbStatus": "OutOfDate"},
    ]);
    let enclaves = json!([
        {"tcb": {"isvsvn": 5}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "UpToDate"},
        {"tcb": {"isvsvn": 4}, "tcbDate": "2024-01-01T00:00:00Z", "tcbStatus": "OutOfDate"},
    ]);
    let pck = "; then fetch a new PCK certificate for the machine";
    let rows = [
        (
            Recipe { module: json!({"tcbLevels": modules}), tee_tcb_svn: svn([6, 1, 2]), ..Recipe::default() },
            "TDX module SVN is 6, needs 11: update the TDX module".to_owned(),
        ),
        (
            Recipe { qe: json!({"tcbLevels": enclaves}), ..Recipe::default() },
            "quoting enclave SVN is 4, needs 5: update the quoting enclave (Intel's DCAP packages)".into(),
        ),
        (
            levels(&|tcb| tcb["pcesvn"] = json!(14)),
            format!(
                "PCESVN is 13, needs 14: update the provisioning certification enclave (Intel's DCAP packages){pck}"
            ),
        ),
        (
            levels(&|tcb| tcb["sgxtcbcomponents"][2] = json!({"svn": 7})),
            format!("SGX TCB component 3 is 2, needs 7: update BIOS and microcode{pck}"),
        ),
        (
            levels(&|tcb| tcb["sgxtcbcomponents"][15] = named("BIOS", "", 3)),
            format!("SGX TCB component 16 (BIOS) is 2, needs 3: update the BIOS{pck}"),
        ),
        (
            levels(&|tcb| tcb["sgxtcbcomponents"][7] = named("OS/VMM", "SEAMLDR ACM", 3)),
            format!(
                "SGX TCB component 8 (SEAMLDR ACM) is 2, needs 3: update the SEAM loader (with the host's firmware or TDX \
                 packages){pck}"
            ),
        ),
        (
            levels(&|tcb| tcb["sgxtcbcomponents"][0] = named("BIOS", "Early Microcode Update", 3)),
            format!(
                "SGX TCB component 1 (Early Microcode Update) is 2, needs 3: update the BIOS, which brings the \
                 microcode{pck}"
            ),
        ),
        (
            levels(&|tcb| tcb["tdxtcbcomponents"][2] = named("OS/VMM", "TDX Late Microcode Update", 3)),
            "TDX TCB component 3 (TDX Late Microcode Update) is 2, needs 3: load newer microcode from the host's operating \
             system"
                .into(),
        ),
    ];
    for (recipe, wanted) in rows {
        let evidence = Pki::new(recipe.root_name).evidence(&recipe);
        let error = evidence.verify(&evidence.root, &Policy::strict()).unwrap_err();
        assert_eq!((error.code(), error.reason().remedy), ("policy.tcb_status", wanted));
        assert_eq!(error.reason().found, "the platform is OutOfDate");
        let loose = evidence.verify(&evidence.root, &Policy::strict().allow_every_status()).unwrap();
        assert_eq!(error.tcb(), Some(&loose.tcb));
    }

    // Below every level: the same, and of a revoked one too.
    let below = Recipe { tee_tcb_svn: svn([3, 1, 2]), cpusvn: [0; 16], ..Recipe::default() };
    let evidence = Pki::new(below.root_name).evidence(&below);
    let reason = evidence.verify(&evidence.root, &Policy::strict()).unwrap_err().reason();
    assert!(
        reason.found.starts_with("TDX module SVN is 3, needs 4, SGX TCB component 1 is 0, needs 2"),
        "{reason:?}"
    );
    assert_eq!(reason.code, "tcb.no_matching_level");
    let revoked = Recipe { cpusvn: [1; 16], ..Recipe::default() };
    let evidence = Pki::new(revoked.root_name).evidence(&revoked);
    let error = evidence.verify(&evidence.root, &Policy::strict()).unwrap_err();
    assert_eq!(error.code(), "tcb.revoked");
    assert_eq!(error.tcb().unwrap().shortfalls.len(), 16);
    let remedy = error.reason().remedy;
    assert!(remedy.starts_with("SGX TCB component 1 is 1, needs 2, ") && remedy.ends_with(pck), "{remedy}");
}
