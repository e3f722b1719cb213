//! The committed vectors of the format, and the readers they are for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use bulla::{Header, Opener, RecipientKey, Share, Unsealer};
use bulla_crypto::sha256;
use bulla_tee::sgx::arch::Attributes;
use bulla_tee::{
    DerivedKey, Error, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, SIMULATED_MARKER,
    SgxIdentity, TdxIdentity, Tee,
};

pub(crate) const PUBLIC_PREFIX: &str = "bulla-recipient-1:";
pub(crate) const PRIVATE_PREFIX: &str = "bulla-recipient-key-1:";
pub(crate) const SHARE_PREFIX: &str = "bulla-share-1:";

/// An envelope that opens, for its reader.
pub(crate) struct Vector {
    pub(crate) envelope: Vec<u8>,
    pub(crate) reader: Reader,
    pub(crate) secret_sha256: [u8; 32],
    /// What it is told by in a script: whoever adds a vector changes the meaning of few scripts.
    tag: u16,
}

/// Who opens it, without the demands: what opens with them opens without.
pub(crate) struct Reader {
    context: String,
    pub(crate) machine: Option<Machine>,
    pub(crate) keys: Vec<RecipientKey>,
    shares: Vec<Share>,
}

/// A machine that gives one key to every request that is for its identity.
pub(crate) struct Machine {
    identity: Identity,
    key: Vec<u8>,
    tag: Option<[u8; 16]>,
    /// What it says when it is asked to bind.
    request: Option<KeyRequest>,
}

/// The vectors that open, in the order of their tags.
pub(crate) static GOOD: LazyLock<Vec<Vector>> = LazyLock::new(|| {
    let described = named("json").into_iter().filter_map(|(name, text)| {
        let described: Described = serde_json::from_slice(&text).unwrap();
        Some((name, described.opened?, described.reader))
    });
    let mut vectors: Vec<_> =
        described.map(|(name, opened, reader)| Vector::new(&name, &opened, reader)).collect();
    assert!(vectors.len() > 50, "too few vectors");
    vectors.sort_by_key(|vector| vector.tag);
    vectors
});

/// Every envelope among the vectors, of those too that do not open for their reader.
pub(crate) static ALL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| named("bulla").into_values().collect());

/// The vector that a script names: the first with this tag or a greater one.
pub(crate) fn good(tag: u16) -> &'static Vector {
    let place = GOOD.partition_point(|vector| vector.tag < tag);
    GOOD.iter().cycle().nth(place).unwrap()
}

/// The first vector that a machine opens, and which the enclave of a simulated machine sealed.
pub(crate) fn of_simulated_enclave() -> &'static Vector {
    let is = |vector: &&Vector| matches!(&vector.reader.machine, Some(machine) if machine.identity.is_simulated() && machine.request.is_some());
    GOOD.iter().find(is).unwrap()
}

/// The first vector that one private key opens.
pub(crate) fn of_recipient() -> &'static Vector {
    GOOD.iter().find(|vector| vector.reader.keys.len() == 1 && vector.reader.machine.is_none()).unwrap()
}

impl Vector {
    fn new(name: &str, opened: &Opened, reader: DescribedReader) -> Self {
        let envelope = fs::read(directory().join(name).with_extension("bulla")).unwrap();
        let mut reader = Reader::new(reader);
        if let Some(machine) = &mut reader.machine {
            machine.request =
                Header::read(&mut envelope.as_slice()).unwrap().slots().iter().find_map(|slot| {
                    match slot.opener() {
                        Opener::Machine(request) => Some(request.clone()),
                        _ => None,
                    }
                });
        }
        let (secret, _) = reader.unsealer().unseal(&envelope).unwrap();
        let secret_sha256 = sha256(&[secret.expose()]);
        assert_eq!(hex::encode(secret_sha256), opened.secret_sha256, "{name}");
        let [first, second, ..] = sha256(&[name.as_bytes()]);
        Self { envelope, reader, secret_sha256, tag: u16::from_be_bytes([first, second]) }
    }
}

impl Reader {
    fn new(described: DescribedReader) -> Self {
        let key = |(kem, key): (u16, Bytes)| {
            RecipientKey::from_text(&checked_text(PRIVATE_PREFIX, kem, &key.0)).unwrap()
        };
        let share = |(slot, index, value): (Bytes, u8, Bytes)| {
            let text = [SHARE_PREFIX, &hex::encode([&slot.0[..], &[index], &value.0].concat())].concat();
            Share::from_text(&text).unwrap()
        };
        Self {
            context: described.context,
            machine: described.machine.map(Machine::new),
            keys: described.private_keys.into_iter().map(key).collect(),
            shares: described.shares.into_iter().map(share).collect(),
        }
    }

    pub(crate) fn unsealer(&self) -> Unsealer<'_> {
        let mut unsealer = Unsealer::new(&self.context);
        if let Some(machine) = &self.machine {
            unsealer = unsealer.machine(machine);
        }
        let unsealer = self.keys.iter().fold(unsealer, Unsealer::key);
        self.shares.iter().fold(unsealer, Unsealer::share)
    }
}

impl Machine {
    fn new(described: DescribedMachine) -> Self {
        let identity = match described.kind.as_str() {
            "sgx" => Identity::Sgx(Box::new(described.enclave())),
            _ => Identity::Tdx(Box::new(described.guest())),
        };
        let tag = described.tag.map(|tag| tag.0.try_into().unwrap());
        Self { identity, key: described.key.0, tag, request: None }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl Tee for Machine {
    fn identity(&self) -> Result<Identity, Error> {
        Ok(self.identity.clone())
    }

    fn bind(&self, _: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        Ok((self.request.clone().unwrap(), DerivedKey::new(self.key.clone())))
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, Error> {
        let request = match request {
            KeyRequest::Simulated(request) => request,
            request => request,
        };
        match request {
            KeyRequest::Sgx(request) if Some(request.machine_tag) != self.tag => Err(Error::OtherMachine),
            _ => Ok(DerivedKey::new(self.key.clone())),
        }
    }

    fn attest(&self, _: &ReportData, _: EvidenceKind<'_>) -> Result<Evidence, Error> {
        Err(Error::Unsupported { machine: "the machine of the vectors", what: "attest" })
    }
}

/// The text form of a key, with a checksum that fits.
pub(crate) fn checked_text(prefix: &str, kem: u16, key: &[u8]) -> String {
    let mut bytes = [&kem.to_be_bytes(), key].concat();
    let checksum = sha256(&[prefix.as_bytes(), &bytes]);
    bytes.extend(checksum.iter().take(4));
    prefix.to_owned() + &URL_SAFE_NO_PAD.encode(bytes)
}

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/bulla/tests/vectors"))
}

/// The vectors' files of one kind, without it in their names.
fn named(extension: &str) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}

#[derive(Deserialize)]
struct Described {
    reader: DescribedReader,
    opened: Option<Opened>,
}

#[derive(Deserialize)]
struct DescribedReader {
    context: String,
    machine: Option<DescribedMachine>,
    #[serde(default)]
    private_keys: Vec<(u16, Bytes)>,
    #[serde(default)]
    shares: Vec<(Bytes, u8, Bytes)>,
}

#[derive(Deserialize)]
struct Opened {
    secret_sha256: String,
}

#[derive(Deserialize)]
struct DescribedMachine {
    kind: String,
    simulated: bool,
    key: Bytes,
    tag: Option<Bytes>,
    registers: BTreeMap<String, Register>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Register {
    Number(u64),
    Bytes(Bytes),
}

/// Hexadecimal digits.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Bytes(Vec<u8>);

impl TryFrom<String> for Bytes {
    type Error = hex::FromHexError;

    fn try_from(digits: String) -> Result<Self, Self::Error> {
        hex::decode(digits).map(Self)
    }
}

impl DescribedMachine {
    fn bytes<const N: usize>(&self, name: &str) -> [u8; N] {
        match self.registers.get(name) {
            Some(Register::Bytes(bytes)) => bytes.0.as_slice().try_into().unwrap(),
            Some(Register::Number(_)) => panic!("{name} is bytes"),
            None => [0; N],
        }
    }

    fn number(&self, name: &str) -> u64 {
        match self.registers.get(name) {
            Some(Register::Number(value)) => *value,
            Some(Register::Bytes(_)) => panic!("{name} is a number"),
            None => 0,
        }
    }

    fn enclave(&self) -> SgxIdentity {
        let small = |name| u16::try_from(self.number(name)).unwrap();
        SgxIdentity {
            mrenclave: self.bytes("MRENCLAVE"),
            mrsigner: self.bytes("MRSIGNER"),
            isv_prod_id: small("ISVPRODID"),
            isv_svn: small("ISVSVN"),
            cpusvn: self.bytes("CPUSVN"),
            attributes: Attributes {
                flags: self.number("ATTRIBUTES.FLAGS"),
                xfrm: self.number("ATTRIBUTES.XFRM"),
            },
            misc_select: u32::try_from(self.number("MISCSELECT")).unwrap(),
            config_id: self.bytes("CONFIGID"),
            config_svn: small("CONFIGSVN"),
            isv_family_id: self.bytes("ISVFAMILYID"),
            isv_ext_prod_id: self.bytes("ISVEXTPRODID"),
        }
    }

    fn guest(&self) -> TdxIdentity {
        let mut tee_tcb_svn = [0; 16];
        if self.simulated {
            *tee_tcb_svn.last_chunk_mut().unwrap() = SIMULATED_MARKER;
        }
        TdxIdentity {
            mrtd: self.bytes("MRTD"),
            rtmr: ["RTMR0", "RTMR1", "RTMR2", "RTMR3"].map(|name| self.bytes(name)),
            mrconfigid: self.bytes("MRCONFIGID"),
            mrowner: self.bytes("MROWNER"),
            mrownerconfig: self.bytes("MROWNERCONFIG"),
            mrservicetd: self.bytes("MRSERVICETD"),
            attributes: 0,
            xfam: 0,
            tee_tcb_svn,
            mrseam: [0; 48],
        }
    }
}
