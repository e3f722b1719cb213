//! A root, authorities, keys, lists and reports of our own, in AMD's layouts, so that everything can be made wrong.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PSS_SHA384, RsaKeyPair,
};
use bulla_attest::{AmdProduct, Collateral, SnpSigner, TrustAnchor, Verifier};
use bulla_tee::SnpTcb;
use bulla_tee::snp::Report;
use zerocopy::{FromZeros, IntoBytes};

/// 2027-01-15, within everything that nobody changes.
pub const NOW: u64 = 1_800_000_000;
pub const CHIP: [u8; 64] = [0xC1; 64];
pub const CSP: &str = "CN=cc-nowhere-1.example.com";
pub const TCB: SnpTcb = SnpTcb { fmc: 0, bootloader: 4, tee: 1, snp: 24, microcode: 219 };

const ARC: [u8; 8] = [0x2B, 6, 1, 4, 1, 0x9C, 0x78, 1];
const COMMON_NAME: [u8; 3] = [0x55, 4, 3];
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1D, 0x13];
const RSA_ENCRYPTION: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1];
const RSASSA_PSS: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 10];
const MGF1: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 8];
const SHA384: [u8; 9] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
const EC_PUBLIC_KEY: [u8; 7] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1];
const SECP384R1: [u8; 5] = [0x2B, 0x81, 4, 0, 0x22];

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const BITS: u8 = 0x03;

/// What a set of evidence is made from; the default is in order.
#[derive(Clone)]
pub struct Recipe {
    pub product: AmdProduct,
    pub signer: SnpSigner,
    /// Common names of ASK or ASVK and of the leaf's issuer, if not the right one.
    pub issuer_name: Option<&'static str>,
    /// What the leaf is certified for.
    pub certified: SnpTcb,
    pub hwid: Option<Vec<u8>>,
    pub csp_id: Option<&'static str>,
    /// More extensions of the leaf, below AMD's arc.
    pub extensions: Vec<(Vec<u8>, Vec<u8>)>,
    /// Leave one out, by its number below `.3`.
    pub missing_spl: Option<u8>,
    pub leaf_window: (&'static str, &'static str),
    pub issuer_window: (&'static str, &'static str),
    pub root_window: (&'static str, &'static str),
    pub crl: Option<List>,
    /// The salt length that the certificates claim; it is 48.
    pub salt: u8,
}

#[derive(Clone)]
pub struct List {
    pub window: (&'static str, &'static str),
    pub revoked: Vec<u8>,
    pub by_root: bool,
}

const ALWAYS: (&str, &str) = ("200101000000Z", "491231235959Z");
/// ASK's and ASVK's serial number.
pub const ISSUER_SERIAL: u8 = 7;
/// As AMD has it.
pub const LEAF_SERIAL: u8 = 0;

impl Recipe {
    pub fn vcek(product: AmdProduct) -> Self {
        let turin = product == AmdProduct::Turin;
        Self {
            product,
            signer: SnpSigner::Vcek,
            issuer_name: None,
            certified: SnpTcb { fmc: if turin { 3 } else { 0 }, ..TCB },
            hwid: Some(CHIP[..if turin { 8 } else { 64 }].to_vec()),
            csp_id: None,
            extensions: Vec::new(),
            missing_spl: None,
            leaf_window: ALWAYS,
            issuer_window: ALWAYS,
            root_window: ALWAYS,
            crl: Some(List {
                window: ("270101000000Z", "270301000000Z"),
                revoked: Vec::new(),
                by_root: true,
            }),
            salt: 48,
        }
    }

    pub fn vlek(product: AmdProduct) -> Self {
        Self { signer: SnpSigner::Vlek, hwid: None, csp_id: Some(CSP), ..Self::vcek(product) }
    }

    /// A report that fits, unsigned.
    pub fn report(&self) -> Report {
        let mut report = Report::new_zeroed();
        report.version = 3.into();
        report.policy = 0x2_001F.into();
        report.signature_algo = 1.into();
        report.platform_info = 0b10_0101.into();
        report.report_data = [0xDA; 64];
        report.measurement = [0x3E; 48];
        report.host_data = [0x40; 32];
        report.cpuid = match self.product {
            AmdProduct::Milan => [0x19, 1, 1],
            AmdProduct::Genoa => [0x19, 0x11, 1],
            _ => [0x1A, 2, 1],
        };
        let tcb = tcb(self.product, self.certified);
        (report.reported_tcb, report.current_tcb) = (tcb, tcb);
        (report.committed_tcb, report.launch_tcb) = (tcb, tcb);
        if self.signer == SnpSigner::Vlek {
            report.key_info = 0b100.into();
        } else if self.product == AmdProduct::Turin {
            report.chip_id[..8].copy_from_slice(&CHIP[..8]);
        } else {
            report.chip_id = CHIP;
        }
        report
    }

    pub fn collateral(&self) -> Collateral {
        let [_, chain, leaf] = self.certificates();
        Collateral::snp(leaf, chain_pem(&[&chain, &self.root()]), self.list())
    }

    pub fn verifier(&self) -> Verifier {
        Verifier::new(TrustAnchor::intel())
            .with_amd(self.product, TrustAnchor::from_der(&self.root()).unwrap())
    }

    pub fn root(&self) -> Vec<u8> {
        let [root, ..] = self.certificates();
        root
    }

    /// DER of root, issuer and leaf.
    pub fn certificates(&self) -> [Vec<u8>; 3] {
        let keys = keys();
        let name = self.product.as_str();
        let root_name = format!("ARK-{name}");
        let (issuer_key, issuer_name) = match self.signer {
            SnpSigner::Vcek => (&keys.ask, format!("SEV-{name}")),
            SnpSigner::Vlek => (&keys.asvk, format!("SEV-VLEK-{name}")),
        };
        let issuer_name = self.issuer_name.map_or(issuer_name, str::to_owned);
        let certificate =
            |serial, subject: &str, issuer: &str, window, spki, extensions: Vec<Vec<u8>>, key| {
                let inner = der(
                    SEQUENCE,
                    &[
                        &der(0xA0, &[&[INTEGER, 1, 2]]),
                        &[INTEGER, 1, serial],
                        &self.algorithm(),
                        &distinguished(issuer),
                        &validity(window),
                        &distinguished(subject),
                        spki,
                        &der(
                            0xA3,
                            &[&der(SEQUENCE, &extensions.iter().map(Vec::as_slice).collect::<Vec<_>>())],
                        ),
                    ],
                );
                self.signed(inner, key)
            };
        let ca = || vec![extension(&BASIC_CONSTRAINTS, &[SEQUENCE, 3, 1, 1, 0xFF])];
        let rsa = |key: &RsaKeyPair| {
            let algorithm = der(SEQUENCE, &[&der(OID, &[&RSA_ENCRYPTION]), &[5, 0]]);
            der(SEQUENCE, &[&algorithm, &der(BITS, &[&[0], key.public_key().as_ref()])])
        };
        let algorithm = der(SEQUENCE, &[&der(OID, &[&EC_PUBLIC_KEY]), &der(OID, &[&SECP384R1])]);
        let point = der(SEQUENCE, &[&algorithm, &der(BITS, &[&[0], keys.leaf.public_key().as_ref()])]);
        [
            certificate(1, &root_name, &root_name, self.root_window, &rsa(&keys.ark), ca(), &keys.ark),
            certificate(
                ISSUER_SERIAL,
                &issuer_name,
                &root_name,
                self.issuer_window,
                &rsa(issuer_key),
                ca(),
                &keys.ark,
            ),
            certificate(
                LEAF_SERIAL,
                "SEV-KEY",
                &issuer_name,
                self.leaf_window,
                &point,
                self.leaf_extensions(),
                issuer_key,
            ),
        ]
    }

    fn leaf_extensions(&self) -> Vec<Vec<u8>> {
        let SnpTcb { fmc, bootloader, tee, snp, microcode } = self.certified;
        let mut versions = vec![(1, bootloader), (2, tee), (3, snp), (8, microcode)];
        if self.product == AmdProduct::Turin {
            versions.push((9, fmc));
        }
        versions.retain(|(number, _)| Some(*number) != self.missing_spl);
        let mut extensions: Vec<_> =
            versions.iter().map(|(n, value)| amd(&[3, *n], &integer(*value))).collect();
        extensions.extend(self.hwid.iter().map(|hwid| amd(&[4], hwid)));
        extensions.extend(self.csp_id.iter().map(|name| amd(&[5], &der(0x16, &[name.as_bytes()]))));
        extensions.extend(self.extensions.iter().map(|(suffix, value)| amd(suffix, value)));
        extensions
    }

    pub fn list(&self) -> Option<Vec<u8>> {
        let list = self.crl.as_ref()?;
        let keys = keys();
        let revoked: Vec<_> = list
            .revoked
            .iter()
            .map(|serial| der(SEQUENCE, &[&[INTEGER, 1, *serial], &time("260101000000Z")]))
            .collect();
        let revoked = der(SEQUENCE, &revoked.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let inner = der(
            SEQUENCE,
            &[
                &[INTEGER, 1, 1],
                &self.algorithm(),
                &distinguished(&format!("ARK-{}", self.product.as_str())),
                &time(list.window.0),
                &time(list.window.1),
                if list.revoked.is_empty() { &[] } else { &revoked },
            ],
        );
        Some(self.signed(inner, if list.by_root { &keys.ark } else { &keys.ask }))
    }

    fn algorithm(&self) -> Vec<u8> {
        let sha384 = der(SEQUENCE, &[&der(OID, &[&SHA384]), &[5, 0]]);
        let mgf1 = der(SEQUENCE, &[&der(OID, &[&MGF1]), &sha384]);
        let params = der(
            SEQUENCE,
            &[&der(0xA0, &[&sha384]), &der(0xA1, &[&mgf1]), &der(0xA2, &[&[INTEGER, 1, self.salt]])],
        );
        der(SEQUENCE, &[&der(OID, &[&RSASSA_PSS]), &params])
    }

    fn signed(&self, inner: Vec<u8>, key: &RsaKeyPair) -> Vec<u8> {
        // PSS is randomised, and a root must stay the same.
        static SIGNED: Mutex<BTreeMap<Vec<u8>, Vec<u8>>> = Mutex::new(BTreeMap::new());
        let id = [key.public_key().as_ref(), &inner].concat();
        let mut known = SIGNED.lock().unwrap();
        let signature = known.entry(id).or_insert_with(|| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), &inner, &mut signature).unwrap();
            signature
        });
        der(SEQUENCE, &[&inner, &self.algorithm(), &der(BITS, &[&[0], signature])])
    }
}

/// Signs a report with the leaf's key.
pub fn sign(mut report: Report) -> Vec<u8> {
    let signature = keys().leaf.sign(&SystemRandom::new(), &report.as_bytes()[..0x2A0]).unwrap();
    let (r, s) = signature.as_ref().split_at(48);
    for (to, from) in [(&mut report.signature_r, r), (&mut report.signature_s, s)] {
        to[..48].copy_from_slice(from);
        to[..48].reverse();
    }
    report.as_bytes().to_vec()
}

/// TCB_VERSION in the layout of a family.
pub fn tcb(product: AmdProduct, tcb: SnpTcb) -> [u8; 8] {
    let SnpTcb { fmc, bootloader, tee, snp, microcode } = tcb;
    match product {
        AmdProduct::Turin => [fmc, bootloader, tee, snp, 0, 0, 0, microcode],
        _ => [bootloader, tee, 0, 0, 0, 0, snp, microcode],
    }
}

pub fn chain_pem(ders: &[&[u8]]) -> String {
    let blocks: Vec<_> = ders.iter().map(|der| pem::Pem::new("CERTIFICATE", *der)).collect();
    pem::encode_many(&blocks)
}

struct Keys {
    ark: RsaKeyPair,
    ask: RsaKeyPair,
    asvk: RsaKeyPair,
    leaf: EcdsaKeyPair,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let rsa = || RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let leaf = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        Keys { ark: rsa(), ask: rsa(), asvk: rsa(), leaf }
    })
}

fn amd(suffix: &[u8], value: &[u8]) -> Vec<u8> {
    extension(&[&ARC, suffix].concat(), value)
}

fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    der(SEQUENCE, &[&der(OID, &[oid]), &der(OCTETS, &[value])])
}

pub fn integer(value: u8) -> Vec<u8> {
    if value < 0x80 { vec![INTEGER, 1, value] } else { vec![INTEGER, 2, 0, value] }
}

fn distinguished(name: &str) -> Vec<u8> {
    let attribute = der(SEQUENCE, &[&der(OID, &[&COMMON_NAME]), &der(0x0C, &[name.as_bytes()])]);
    der(SEQUENCE, &[&der(0x31, &[&attribute])])
}

fn validity((from, until): (&str, &str)) -> Vec<u8> {
    der(SEQUENCE, &[&time(from), &time(until)])
}

fn time(text: &str) -> Vec<u8> {
    der(0x17, &[text.as_bytes()])
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = match content.len() {
        short @ 0..0x80 => vec![short as u8],
        middle @ 0x80..0x100 => vec![0x81, middle as u8],
        long => [&[0x82][..], &(long as u16).to_be_bytes()].concat(),
    };
    [&[tag][..], &length, &content].concat()
}
