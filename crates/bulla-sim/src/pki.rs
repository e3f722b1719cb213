//! The certificates of a simulated machine, shaped as Intel's for SGX ("Intel SGX PCK Certificate and Certificate
//! Revocation List Profile Specification"), and named as simulated (R110).

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use bulla_crypto::sha256;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use time::OffsetDateTime;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, DERWriterSeq};

use crate::Error;
use crate::history::Revocation;
use crate::machine::{State, write_file};

pub(crate) const FOLDER: &str = "pki";
const ROOT: &str = "Simulated SGX Root CA";
const PLATFORM_CA: &str = "Simulated SGX PCK Platform CA";
const PCK: &str = "Simulated SGX PCK Certificate";

/// Intel's object identifier of the SGX extension.
const SGX_EXTENSION: [u64; 7] = [1, 2, 840, 113_741, 1, 13, 1];

/// A key that signs certificates, documents or quotes.
pub(crate) struct Key {
    pair: KeyPair,
    raw: EcdsaKeyPair,
}

impl Key {
    fn parse(pem: &str) -> Result<Self, Error> {
        let pair = KeyPair::from_pem(pem).map_err(Error::signing)?;
        let raw = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der())
            .map_err(Error::signing)?;
        Ok(Self { pair, raw })
    }

    /// A key that is kept nowhere.
    pub(crate) fn new() -> Result<Self, Error> {
        Self::parse(&KeyPair::generate().map_err(Error::signing)?.serialize_pem())
    }

    fn load(dir: &Path, name: &str) -> Result<Self, Error> {
        let path = dir.join(FOLDER).join(name).with_extension("key");
        Self::parse(&read(&path)?).map_err(|error| Error::unavailable(&path, error))
    }

    fn generate(dir: &Path, name: &str) -> Result<(), Error> {
        let pair = KeyPair::generate().map_err(Error::signing)?;
        write_file(&dir.join(FOLDER).join(name).with_extension("key"), pair.serialize_pem().as_bytes())
    }

    /// ECDSA over P-256 with SHA-256: r and s, 32 bytes each, big-endian.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        let signature = self.raw.sign(&SystemRandom::new(), message).map_err(Error::signing)?;
        let mut bytes = [0; 64];
        bytes.copy_from_slice(signature.as_ref());
        Ok(bytes)
    }

    /// x and y, 32 bytes each, big-endian.
    pub(crate) fn public(&self) -> [u8; 64] {
        // An uncompressed point: a tag byte, then x and y.
        let mut bytes = [0; 64];
        let (_, point) = self.pair.public_key_raw().split_at(1);
        bytes.copy_from_slice(point);
        bytes
    }
}

/// A file of the vendor, which all simulated machines have in common as real ones have Intel.
macro_rules! vendor {
    ($name:literal) => {
        include_str!(concat!("vendor/", $name))
    };
}

const ROOT_PEM: &str = vendor!("root.pem");
const PLATFORM_CA_PEM: &str = vendor!("platform-ca.pem");
const TCB_SIGNING_PEM: &str = vendor!("tcb-signing.pem");

/// The vendor's authorities, and the keys of one machine.
pub(crate) struct Pki {
    dir: PathBuf,
    root: Key,
    platform_ca: Key,
    pub(crate) tcb_signing: Key,
}

impl Pki {
    /// Makes the keys of a machine.
    pub(crate) fn create(dir: &Path) -> Result<(), Error> {
        let folder = dir.join(FOLDER);
        fs::create_dir(&folder).map_err(|error| Error::write(&folder, error))?;
        ["pck", "qe3", "tdqe"].into_iter().try_for_each(|name| Key::generate(dir, name))
    }

    /// Makes a new PCK, as another processor has.
    pub(crate) fn replace_pck(&self) -> Result<(), Error> {
        Key::generate(&self.dir, "pck")
    }

    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            root: Key::parse(vendor!("root.key"))?,
            platform_ca: Key::parse(vendor!("platform-ca.key"))?,
            tcb_signing: Key::parse(vendor!("tcb-signing.key"))?,
            dir: dir.to_owned(),
        })
    }

    /// The keys of PCK, QE3 and TDQE.
    pub(crate) fn platform_keys(&self) -> Result<[Key; 3], Error> {
        let load = |name| Key::load(&self.dir, name);
        Ok([load("pck")?, load("qe3")?, load("tdqe")?])
    }

    /// The certificate of the root, in DER.
    pub(crate) fn root_der() -> Vec<u8> {
        pem::parse(ROOT_PEM).expect("the vendor's root is PEM").into_contents()
    }

    /// The chain of the PCK certificate of `state`, in PEM: leaf, platform CA, root.
    ///
    /// As with real machines there is one certificate for each TCB level and platform. It is made when first needed, and
    /// kept, so that two processes show the same one.
    pub(crate) fn pck_chain(&self, state: &State, pck: &Key) -> Result<String, Error> {
        let id = hex::encode(sha256(&[
            state.ppid(),
            state.instance(),
            state.cpusvn(),
            &state.pcesvn().to_be_bytes(),
        ]));
        let path = self.dir.join(FOLDER).join(format!("pck-{}.pem", id.split_at(16).0));
        let leaf = match fs::read_to_string(&path) {
            Ok(leaf) => leaf,
            Err(_) => {
                let leaf = self.issue_pck(state, pck)?;
                write_file(&path, leaf.as_bytes())?;
                leaf
            }
        };
        Ok([leaf.as_str(), PLATFORM_CA_PEM, ROOT_PEM].concat())
    }

    /// The PCK's signature over the report of a quoting enclave in which it vouches for its key.
    ///
    /// As with real machines there is one for each report. It is made when first needed, and kept, so that a verifier that
    /// knows it need not check it again.
    pub(crate) fn qe_signature(&self, pck: &Key, report: &[u8]) -> Result<[u8; 64], Error> {
        let id = hex::encode(sha256(&[&pck.public(), report]));
        let path = self.dir.join(FOLDER).join(format!("qe-{}.sig", id.split_at(16).0));
        match fs::read(&path).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok()) {
            Some(signature) => Ok(signature),
            None => {
                let signature = pck.sign(report)?;
                write_file(&path, &signature)?;
                Ok(signature)
            }
        }
    }

    /// The serial number of the PCK certificate of `state`.
    pub(crate) fn pck_serial(state: &State) -> [u8; 16] {
        let mut serial = [0; 16];
        serial.copy_from_slice(sha256(&[state.ppid(), state.cpusvn()]).split_at(16).0);
        serial
    }

    fn issue_pck(&self, state: &State, pck: &Key) -> Result<String, Error> {
        let mut params = signer(PCK, &Self::pck_serial(state));
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&SGX_EXTENSION, sgx_extension(state))];
        let ca_params = authority(PLATFORM_CA, 2, 0);
        let issuer = Issuer::from_params(&ca_params, &self.platform_ca.pair);
        Ok(params.signed_by(&pck.pair, &issuer).map_err(Error::signing)?.pem())
    }

    /// The chain of the PCK CRL's issuer, in PEM.
    pub(crate) fn platform_ca_chain(&self) -> String {
        [PLATFORM_CA_PEM, ROOT_PEM].concat()
    }

    /// The chain of the signer of TCB info and QE identity, in PEM.
    pub(crate) fn tcb_signing_chain(&self) -> String {
        [TCB_SIGNING_PEM, ROOT_PEM].concat()
    }

    /// The revocation lists of the root, on which nothing is, and of the platform CA, in DER. Their number is the second in
    /// which they were issued, so that it rises.
    pub(crate) fn crls<'a>(
        &self,
        from: OffsetDateTime,
        until: OffsetDateTime,
        revoked: impl Iterator<Item = &'a Revocation>,
    ) -> Result<[Vec<u8>; 2], Error> {
        let revoked_certs = revoked.map(|revocation| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&revocation.serial.0),
            // Never after the list's own date.
            revocation_time: from,
            reason_code: None,
            invalidity_date: None,
        });
        let list = |authority: CertificateParams, key: &Key, revoked_certs| -> Result<Vec<u8>, Error> {
            let list = CertificateRevocationListParams {
                this_update: from,
                next_update: until,
                crl_number: SerialNumber::from(from.unix_timestamp().unsigned_abs()),
                issuing_distribution_point: None,
                revoked_certs,
                key_identifier_method: KeyIdMethod::Sha256,
            };
            let signed = list.signed_by(&Issuer::new(authority, &key.pair)).map_err(Error::signing)?;
            Ok(signed.der().to_vec())
        };
        let root = list(authority(ROOT, 1, 1), &self.root, Vec::new())?;
        let platform_ca = authority(PLATFORM_CA, 2, 0);
        Ok([root, list(platform_ca, &self.platform_ca, revoked_certs.collect())?])
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::unavailable(path, error))
}

fn authority(name: &str, serial: u8, path_length: u8) -> CertificateParams {
    let mut params = certificate(name, &[serial]);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn signer(name: &str, serial: &[u8]) -> CertificateParams {
    let mut params = certificate(name, serial);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
    params
}

fn certificate(name: &str, serial: &[u8]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "bulla simulator");
    params.serial_number = Some(SerialNumber::from_slice(serial));
    // The years of Intel's root, so that no time a test names is outside.
    (params.not_before, params.not_after) = (date_time_ymd(2018, 5, 21), date_time_ymd(2049, 12, 31));
    params.use_authority_key_identifier_extension = true;
    params
}

/// The SGX extension with the seven entries of a Platform CA.
fn sgx_extension(state: &State) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|entries| {
            entry(entries, &[1], |value| value.write_bytes(state.ppid()));
            entry(entries, &[2], |value| {
                value.write_sequence(|components| {
                    for (number, svn) in (1..).zip(state.cpusvn()) {
                        entry(components, &[2, number], |value| value.write_u8(*svn));
                    }
                    entry(components, &[2, 17], |value| value.write_u16(state.pcesvn()));
                    entry(components, &[2, 18], |value| value.write_bytes(state.cpusvn()));
                });
            });
            entry(entries, &[3], |value| value.write_bytes(state.pceid()));
            entry(entries, &[4], |value| value.write_bytes(state.fmspc()));
            // Scalable.
            entry(entries, &[5], |value| value.write_enum(1));
            entry(entries, &[6], |value| value.write_bytes(state.instance()));
            entry(entries, &[7], |value| {
                value.write_sequence(|flags| {
                    // Dynamic platform, cached keys, SMT enabled.
                    for number in 1..=3 {
                        entry(flags, &[7, number], |value| value.write_bool(false));
                    }
                });
            });
        });
    })
}

fn entry(entries: &mut DERWriterSeq<'_>, suffix: &[u64], value: impl FnOnce(DERWriter<'_>)) {
    entries.next().write_sequence(|pair| {
        pair.next().write_oid(&ObjectIdentifier::from_slice(&[&SGX_EXTENSION, suffix].concat()));
        value(pair.next());
    });
}
