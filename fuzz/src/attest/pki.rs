//! Keys, certificates and documents shaped as Intel's, for evidence of which any part can be changed and signed again.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use bulla_crypto::sha256;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

pub(super) const PPID: [u8; 16] = [0x5a; 16];
pub(super) const FMSPC: [u8; 6] = [0x90, 0xc0, 0x6f, 0, 0, 0];
/// `ecdsa-with-SHA256`, as an AlgorithmIdentifier.
const ALGORITHM: [u8; 12] = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const SEQUENCE: u8 = 0x30;

pub(super) struct Pki {
    root: Authority,
    ca: Authority,
    signer: Authority,
    pck: KeyPair,
    attestation: KeyPair,
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
}

/// Who signed a DER structure.
#[derive(Clone, Copy)]
pub(super) enum By {
    Root,
    Ca,
}

/// The parts of a quote, and its collateral.
#[derive(Clone)]
pub(super) struct Evidence {
    /// Header and report.
    pub(super) signed: Vec<u8>,
    /// But for the hash that binds the attestation key.
    pub(super) qe_report: Vec<u8>,
    pub(super) auth: Vec<u8>,
    /// PEM.
    pub(super) chain: Vec<u8>,
    pub(super) collateral: Value,
}

impl Pki {
    pub(super) fn new() -> Self {
        let params = |name: &str, serial: u64, ca: bool| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.serial_number = Some(SerialNumber::from(serial));
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
            params.is_ca = if ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
            if ca {
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            }
            params
        };
        let key = || KeyPair::generate().unwrap();
        let (root_key, root_params) = (key(), params("Fuzz SGX Root CA", 1, true));
        let certificate = root_params.self_signed(&root_key).unwrap();
        let root = Authority { key: root_key, params: root_params, certificate };
        let below = |name, serial, ca| {
            let (key, params) = (key(), params(name, serial, ca));
            let certificate = params.signed_by(&key, &root.issuer()).unwrap();
            Authority { key, params, certificate }
        };
        let ca = below("Fuzz SGX PCK Platform CA", 2, true);
        let signer = below("Fuzz SGX TCB Signing", 3, false);
        Self { ca, signer, root, pck: key(), attestation: key() }
    }

    /// DER.
    pub(super) fn root(&self) -> Vec<u8> {
        self.root.certificate.der().to_vec()
    }

    /// DER.
    pub(super) fn ca(&self) -> Vec<u8> {
        self.ca.certificate.der().to_vec()
    }

    /// The PCK certificate, in DER, with the content of Intel's extension.
    pub(super) fn leaf(&self, extension: Vec<u8>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Fuzz SGX PCK Certificate");
        params.serial_number = Some(SerialNumber::from(4_u64));
        (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2032, 1, 1));
        params.is_ca = IsCa::ExplicitNoCa;
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&[1, 2, 840, 113_741, 1, 13, 1], extension)];
        params.signed_by(&self.pck, &self.ca.issuer()).unwrap().der().to_vec()
    }

    /// Leaf, PCK CA and root.
    pub(super) fn chain(&self, leaf: &[u8], ca: &[u8]) -> Vec<u8> {
        let pem = |der: &[u8]| pem::encode(&pem::Pem::new("CERTIFICATE", der));
        [pem(leaf), pem(ca), pem(&self.root())].concat().into_bytes()
    }

    /// Of an enclave in version 3, of a guest in versions 4 and 5.
    pub(super) fn evidence(&self, version: u8) -> Evidence {
        let guest = version > 3;
        let vendor = hex::decode("939a7233f79c4ca9940a0db3957f0607").unwrap();
        let tee = if guest { 0x81 } else { 0 };
        let mut header = [&[version, 0, 2, 0, tee][..], &[0; 7], &vendor, &[0; 20]].concat();
        let mut body = vec![0; [384, 584, 648][usize::from(version - 3)]];
        if version == 5 {
            // TD report 1.5.
            header.extend([3, 0, 0x88, 2, 0, 0]);
        }
        if guest {
            body[..3].copy_from_slice(&[5, 1, 2]);
            body[123] = 0x10;
            body[136..184].fill(7);
            body[520..584].fill(9);
            // TEE_TCB_SVN2, which version 5 has.
            body.iter_mut().skip(584).zip([5, 1, 2]).for_each(|(to, svn)| *to = svn);
        } else {
            body[..16].fill(2);
            body[48] = 5;
            body[64..96].fill(7);
            body[320..].fill(9);
        }
        let mut qe_report = vec![0; 384];
        qe_report[48] = 0x11;
        qe_report[128..160].fill(0xdc);
        qe_report[256] = if guest { 2 } else { 1 };
        qe_report[258] = 4;
        Evidence {
            signed: [header, body].concat(),
            qe_report,
            auth: (0..32).collect(),
            chain: self.chain(&self.leaf(extension()), &self.ca()),
            collateral: self.collateral(guest),
        }
    }

    fn collateral(&self, guest: bool) -> Value {
        let pem = |authority: &Authority| {
            [&authority.certificate, &self.root.certificate].map(Certificate::pem).concat()
        };
        let crl = |of: &Authority| {
            let params = CertificateRevocationListParams {
                this_update: date_time_ymd(2026, 1, 1),
                next_update: date_time_ymd(2026, 2, 1),
                crl_number: SerialNumber::from(1_u64),
                issuing_distribution_point: None,
                revoked_certs: Vec::new(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            hex::encode(params.signed_by(&of.issuer()).unwrap().der())
        };
        let mut set = json!({
            "pck_crl_issuer_chain": pem(&self.ca),
            "root_ca_crl": crl(&self.root),
            "pck_crl": crl(&self.ca),
            "tcb_info_issuer_chain": pem(&self.signer),
            "qe_identity_issuer_chain": pem(&self.signer),
        });
        for (name, text) in [("tcb_info", tcb_info(guest)), ("qe_identity", qe_identity(guest))] {
            self.put_document(&mut set, name, &text);
        }
        set
    }

    /// A document with its signature.
    pub(super) fn put_document(&self, set: &mut Value, name: &str, text: &str) {
        set[format!("{name}_signature")] = hex::encode(raw(&self.signer.key, text.as_bytes())).into();
        set[name] = text.into();
    }

    /// A certificate or CRL around the content of what is signed in it.
    pub(super) fn signed(&self, content: &[u8], by: By) -> Vec<u8> {
        let key = match by {
            By::Root => &self.root.key,
            By::Ca => &self.ca.key,
        };
        let tbs = tlv(SEQUENCE, content);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.serialized_der()).unwrap();
        let signature = pair.sign(&SystemRandom::new(), &tbs).unwrap();
        let bits = tlv(3, &[&[0], signature.as_ref()].concat());
        tlv(SEQUENCE, &[tbs.as_slice(), &ALGORITHM, &bits].concat())
    }
}

/// The content of what is signed in a certificate or CRL.
pub(super) fn content(der: &[u8]) -> &[u8] {
    inside(inside(der))
}

/// What is in the first element.
fn inside(der: &[u8]) -> &[u8] {
    let (header, length) = match der[1] {
        short @ ..=0x7F => (2, usize::from(short)),
        0x81 => (3, usize::from(der[2])),
        _ => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
    };
    &der[header..header + length]
}

pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=0x7F), _) => vec![tag, short],
        (Ok(short), _) => vec![tag, 0x81, short],
        (_, Ok(long)) => [&[tag, 0x82], long.to_be_bytes().as_slice()].concat(),
        _ => [&[tag, 0x84], u32::try_from(length).unwrap().to_be_bytes().as_slice()].concat(),
    };
    [header.as_slice(), content].concat()
}

/// The content of Intel's extension: pairs of a name below 1.2.840.113741.1.13.1 and a value.
pub(super) fn extension() -> Vec<u8> {
    let pair = |arc: &[u8], value: Vec<u8>| {
        let oid = [&[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1], arc].concat();
        tlv(SEQUENCE, &[tlv(6, &oid), value].concat())
    };
    let components = (1..=16).map(|component| pair(&[2, component], tlv(2, &[2])));
    let rest = [pair(&[2, 17], tlv(2, &[13])), pair(&[2, 18], tlv(4, &[2; 16]))];
    let tcb: Vec<u8> = components.chain(rest).flatten().collect();
    let pairs = [
        pair(&[1], tlv(4, &PPID)),
        pair(&[2], tlv(SEQUENCE, &tcb)),
        pair(&[3], tlv(4, &[0; 2])),
        pair(&[4], tlv(4, &FMSPC)),
        pair(&[5], tlv(10, &[1])),
    ];
    tlv(SEQUENCE, &pairs.concat())
}

fn raw(key: &KeyPair, message: &[u8]) -> Vec<u8> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der()).unwrap();
    pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

impl Evidence {
    /// With all signatures, hashes and lengths that belong to the parts.
    pub(super) fn quote(&self, pki: &Pki) -> Vec<u8> {
        let key = &pki.attestation.public_key_raw()[1..];
        let mut report = self.qe_report.clone();
        if let Some(hash) = report.get_mut(320..352) {
            hash.copy_from_slice(&sha256(&[key, &self.auth]));
        }
        let certification = |kind: u16, data: &[u8]| {
            [&kind.to_le_bytes()[..], &u32::try_from(data.len()).unwrap().to_le_bytes(), data].concat()
        };
        let auth = [&u16::try_from(self.auth.len()).unwrap().to_le_bytes()[..], &self.auth].concat();
        let qe = [&report, &raw(&pki.pck, &report), &auth, &certification(5, &self.chain)]
            .map(Vec::as_slice)
            .concat();
        let qe = if self.signed.first() == Some(&3) { qe } else { certification(6, &qe) };
        let data = [raw(&pki.attestation, &self.signed).as_slice(), key, &qe].concat();
        [&self.signed[..], &u32::try_from(data.len()).unwrap().to_le_bytes(), &data].concat()
    }
}

fn level(status: &str, tcb: Value) -> Value {
    json!({"tcb": tcb, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": status})
}

fn tcb_info(guest: bool) -> String {
    let platform = |svn: u8, status: &str| {
        let mut tcb = json!({"sgxtcbcomponents": vec![json!({"svn": svn}); 16], "pcesvn": 5});
        if guest {
            let components = [5_u8, 0, 2].into_iter().chain([0; 13]);
            tcb["tdxtcbcomponents"] = components.map(|svn| json!({"svn": svn})).collect();
        }
        level(status, tcb)
    };
    let mut document = json!({
        "id": if guest { "TDX" } else { "SGX" },
        "version": 3, "issueDate": "2026-01-01T00:00:00Z", "nextUpdate": "2026-02-01T00:00:00Z",
        "fmspc": hex::encode_upper(FMSPC), "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 18,
        "tcbLevels": [platform(2, "UpToDate"), platform(1, "OutOfDate")],
    });
    if guest {
        let (mrsigner, attributes, mask) = ("00".repeat(48), "00".repeat(8), "FF".repeat(8));
        let module = json!({"mrsigner": mrsigner, "attributes": attributes, "attributesMask": mask});
        let mut identity = module.clone();
        identity["id"] = "TDX_01".into();
        identity["tcbLevels"] = json!([level("UpToDate", json!({"isvsvn": 4}))]);
        document["tdxModule"] = module;
        document["tdxModuleIdentities"] = json!([identity]);
    }
    document.to_string()
}

fn qe_identity(guest: bool) -> String {
    json!({
        "id": if guest { "TD_QE" } else { "QE" }, "version": 2,
        "issueDate": "2026-01-01T00:00:00Z", "nextUpdate": "2026-02-01T00:00:00Z", "tcbEvaluationDataNumber": 18,
        "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
        "attributes": format!("11{}", "00".repeat(15)),
        "attributesMask": format!("FB{}{}", "FF".repeat(7), "00".repeat(8)),
        "mrsigner": "DC".repeat(32), "isvprodid": if guest { 2 } else { 1 },
        "tcbLevels": [level("UpToDate", json!({"isvsvn": 4})), level("OutOfDate", json!({"isvsvn": 1}))],
    })
    .to_string()
}
