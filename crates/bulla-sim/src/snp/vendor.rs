//! The certificates of simulated chips, shaped as AMD's (AMD VCEK Certificate and KDS Interface Specification, 57230) and
//! named as simulated where a verifier does not name them itself (R110).

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PSS_SHA384};
use bulla_crypto::sha256;
use bulla_tee::snp::Report;
use pem::Pem;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};
use tempfile::NamedTempFile;
use time::OffsetDateTime;
use yasna::models::{ObjectIdentifier, UTCTime};
use yasna::{DERWriter, DERWriterSeq, Tag};
use zerocopy::IntoBytes;

use crate::Error;

/// The processor family of all simulated chips.
pub(crate) const PRODUCT: &str = "Genoa";
const ROOT: &str = "Simulated ARK-Genoa";
/// As verifiers have it.
const ISSUER: &str = "SEV-Genoa";
const CHIP: &str = "Simulated SEV-VCEK";
const ORGANIZATION: &str = "bulla simulator";

const ROOT_PEM: &str = include_str!("../vendor/ark.pem");
const ISSUER_PEM: &str = include_str!("../vendor/ask.pem");
const ROOT_KEY: &str = include_str!("../vendor/ark.key");
const ISSUER_KEY: &str = include_str!("../vendor/ask.key");

const COMMON_NAME: [u64; 4] = [2, 5, 4, 3];
const ORGANIZATION_NAME: [u64; 4] = [2, 5, 4, 10];
const RSASSA_PSS: [u64; 7] = [1, 2, 840, 113_549, 1, 1, 10];
const MGF1: [u64; 7] = [1, 2, 840, 113_549, 1, 1, 8];
const SHA384: [u64; 9] = [2, 16, 840, 1, 101, 3, 4, 2, 2];
const EC_PUBLIC_KEY: [u64; 6] = [1, 2, 840, 10_045, 2, 1];
const SECP384R1: [u64; 5] = [1, 3, 132, 0, 34];
/// AMD's extensions of a VCEK.
const AMD: [u64; 8] = [1, 3, 6, 1, 4, 1, 3704, 1];
/// In which bytes of TCB_VERSION, in Genoa's layout, are boot loader, TEE, SNP and microcode; and their extensions.
const PARTS: [(usize, u64); 4] = [(0, 1), (1, 2), (6, 3), (7, 8)];
/// How much of a report is signed.
const SIGNED: usize = 0x2A0;

/// The key of a chip at a TCB, and its certificate in DER.
pub(crate) struct Vcek {
    pair: EcdsaKeyPair,
    pub(crate) certificate: Vec<u8>,
}

/// The certificate of the root, in DER. Its private key is public.
pub(crate) fn root_der() -> Vec<u8> {
    pem::parse(ROOT_PEM).expect("the vendor's root is PEM").into_contents()
}

/// The issuers of every VCEK, in PEM: ASK, then ARK.
pub(crate) fn issuers_pem() -> String {
    [ISSUER_PEM, ROOT_PEM].concat()
}

/// What a host is given to hand over with reports: VCEK, ASK and ARK (AMD GHCB specification, SNP Extended Guest Request).
pub(crate) fn table(vcek: &[u8]) -> Vec<u8> {
    const VCEK: u128 = 0x63da_758d_e664_4564_adc5_f4b9_3be8_accd;
    const ASK: u128 = 0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782;
    const ARK: u128 = 0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae;
    let ask = pem::parse(ISSUER_PEM).expect("the vendor's authority is PEM").into_contents();
    let entries = [(VCEK, vcek.to_vec()), (ASK, ask), (ARK, root_der())];
    // 24 bytes for each entry, and for the end.
    let (mut head, mut body) = (Vec::new(), Vec::new());
    for (guid, content) in &entries {
        let offset = 24 * (entries.len() + 1) + body.len();
        head.extend(guid.to_be_bytes());
        head.extend((offset as u32).to_le_bytes());
        head.extend((content.len() as u32).to_le_bytes());
        body.extend_from_slice(content);
    }
    head.extend([0; 24]);
    [head, body].concat()
}

/// The root's revocation list, in DER; nothing is on it.
pub(crate) fn crl(from: OffsetDateTime, until: OffsetDateTime) -> Result<Vec<u8>, Error> {
    let time = |at: OffsetDateTime| {
        UTCTime::from_datetime_opt(at).ok_or(Error::Time(at.unix_timestamp().unsigned_abs()))
    };
    let window = [time(from)?, time(until)?];
    let list = yasna::construct_der(|writer| {
        writer.write_sequence(|list| {
            list.next().write_u8(1);
            algorithm(list.next());
            name(list.next(), ROOT);
            window.iter().for_each(|time| list.next().write_utctime(time));
        });
    });
    signed(&list, ROOT_KEY)
}

impl Vcek {
    /// That of a chip at a TCB. As with real chips there is one for each. It is made when first needed, and kept in `folder`,
    /// so that two processes show the same one.
    pub(crate) fn of(folder: &Path, chip_id: &[u8; 64], tcb: &[u8; 8]) -> Result<Self, Error> {
        let id = hex::encode(sha256(&[chip_id, tcb]));
        let path = folder.join(format!("vcek-{}.pem", id.split_at(16).0));
        let failed = |error| Error::write(&path, error);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
                std::io::Write::write_all(&mut file, issue(chip_id, tcb)?.as_bytes()).map_err(failed)?;
                // The first one counts.
                match file.persist_noclobber(&path) {
                    Err(error) if error.error.kind() != ErrorKind::AlreadyExists => {
                        return Err(failed(error.error));
                    }
                    _ => fs::read_to_string(&path).map_err(failed)?,
                }
            }
            Err(error) => return Err(Error::unavailable(&path, error)),
        };
        let damaged = |_| Error::unavailable(&path, "it is not a key and its certificate");
        let [key, certificate] = pem::parse_many(&text)
            .map_err(damaged)?
            .try_into()
            .map_err(|_| Error::unavailable(&path, "it is not a key and its certificate"))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, key.contents())
            .map_err(|error| Error::unavailable(&path, error))?;
        Ok(Self { pair, certificate: certificate.into_contents() })
    }

    /// Signs a report: r and s, little-endian.
    pub(crate) fn sign(&self, report: &mut Report) -> Result<(), Error> {
        let (signed, _) = report.as_bytes().split_at(SIGNED);
        let signature = self.pair.sign(&SystemRandom::new(), signed).map_err(Error::signing)?;
        let (r, s) = signature.as_ref().split_at(48);
        for (to, from) in [(&mut report.signature_r, r), (&mut report.signature_s, s)] {
            to.iter_mut().zip(from.iter().rev()).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }
}

/// A new key, and its certificate, in PEM.
fn issue(chip_id: &[u8; 64], tcb: &[u8; 8]) -> Result<String, Error> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).map_err(Error::signing)?;
    let certificate = yasna::construct_der(|writer| {
        writer.write_sequence(|certificate| {
            certificate.next().write_tagged(Tag::context(0), |version| version.write_u8(2));
            // AMD's number of every VCEK.
            certificate.next().write_u8(0);
            algorithm(certificate.next());
            name(certificate.next(), ISSUER);
            certificate.next().write_sequence(|validity| {
                // The years of the vendor's other certificates.
                for date in ["180521000000Z", "491231235959Z"] {
                    validity.next().write_utctime(&UTCTime::parse(date.as_bytes()).expect("a time"));
                }
            });
            name(certificate.next(), CHIP);
            certificate.next().write_sequence(|key| {
                key.next().write_sequence(|kind| {
                    oid(kind.next(), &EC_PUBLIC_KEY);
                    oid(kind.next(), &SECP384R1);
                });
                key.next().write_bitvec_bytes(pair.public_key_raw(), 8 * pair.public_key_raw().len());
            });
            certificate.next().write_tagged(Tag::context(3), |extensions| {
                extensions.write_sequence(|extensions| {
                    for (at, number) in PARTS {
                        let version = tcb.get(at).copied().unwrap_or_default();
                        let value = yasna::construct_der(|writer| writer.write_u8(version));
                        extension(extensions, &[3, number], &value);
                    }
                    extension(extensions, &[4], chip_id);
                });
            });
        });
    });
    let certificate = signed(&certificate, ISSUER_KEY)?;
    Ok([pair.serialize_pem(), pem::encode(&Pem::new("CERTIFICATE", certificate))].concat())
}

fn signed(content: &[u8], key: &str) -> Result<Vec<u8>, Error> {
    let key = pem::parse(key).expect("the vendor's keys are PEM");
    let key = RsaKeyPair::from_pkcs8(key.contents()).map_err(Error::signing)?;
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), content, &mut signature).map_err(Error::signing)?;
    Ok(yasna::construct_der(|writer| {
        writer.write_sequence(|whole| {
            whole.next().write_der(content);
            algorithm(whole.next());
            whole.next().write_bitvec_bytes(&signature, 8 * signature.len());
        });
    }))
}

/// RSASSA-PSS with SHA-384 in both places and 48 bytes of salt.
fn algorithm(writer: DERWriter<'_>) {
    let sha384 = |writer: DERWriter<'_>| {
        writer.write_sequence(|hash| {
            oid(hash.next(), &SHA384);
            hash.next().write_null();
        });
    };
    writer.write_sequence(|algorithm| {
        oid(algorithm.next(), &RSASSA_PSS);
        algorithm.next().write_sequence(|parameters| {
            parameters.next().write_tagged(Tag::context(0), sha384);
            parameters.next().write_tagged(Tag::context(1), |mask| {
                mask.write_sequence(|mask| {
                    oid(mask.next(), &MGF1);
                    sha384(mask.next());
                });
            });
            parameters.next().write_tagged(Tag::context(2), |salt| salt.write_u8(48));
        });
    });
}

fn name(writer: DERWriter<'_>, common_name: &str) {
    writer.write_sequence(|parts| {
        for (kind, value) in [(COMMON_NAME, common_name), (ORGANIZATION_NAME, ORGANIZATION)] {
            parts.next().write_set(|part| {
                part.next().write_sequence(|pair| {
                    oid(pair.next(), &kind);
                    pair.next().write_utf8_string(value);
                });
            });
        }
    });
}

fn extension(extensions: &mut DERWriterSeq<'_>, suffix: &[u64], value: &[u8]) {
    extensions.next().write_sequence(|extension| {
        oid(extension.next(), &[&AMD, suffix].concat());
        extension.next().write_bytes(value);
    });
}

fn oid(writer: DERWriter<'_>, parts: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(parts));
}
