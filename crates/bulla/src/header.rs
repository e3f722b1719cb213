//! The header: what anyone can read of an envelope without a key, framed, checksummed and parsed.

use std::io::{self, Read};

use minicbor::{Decode, Decoder, Encode};

use bulla_crypto::{EntropyFailure, SystemRandom, sha256};
use bulla_tee::KeyRequest;

use crate::Error;
use crate::slot::{Slot, SlotCbor};

/// The first bytes of every envelope. Like PNG's, they show a transfer that strips the eighth bit or rewrites line ends.
const MAGIC: [u8; 8] = *b"\x93bulla\r\n";
const VERSION: u8 = 0;
/// Bytes of the header's CBOR (R60, B31).
const MAX_HEADER: usize = 64 * 1024;
const CHECKSUM_LEN: usize = 16;
const MAX_SLOTS: usize = 64;
const MAX_CONTEXT: usize = 1024;
/// The highest key of the header map that version 0 writes.
const LAST_KEY: u64 = 6;

/// Which algorithms protect an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suite {
    /// 1: HKDF-SHA-256, AES-256-GCM in chunks of 64 KiB, HMAC-SHA-256.
    Aes256Gcm,
}

impl Suite {
    /// The number that stands in the header.
    pub fn id(self) -> u16 {
        match self {
            Self::Aes256Gcm => 1,
        }
    }

    fn from_id(id: u16) -> Result<Self, Error> {
        match id {
            1 => Ok(Self::Aes256Gcm),
            _ => Err(Error::Unsupported { what: "suite", value: id.into() }),
        }
    }
}

/// The header of an envelope: to whom and to what it is bound.
///
/// Everything here is a *claim* until the envelope has been opened: [`read`](Self::read) needs no key, so it can tell damage
/// (there is a checksum) but not deceit.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let machine = bulla_sim::Machine::create(dir.path())?;
/// # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
/// let sealed = bulla::seal(&machine, "wallet", b"correct horse")?;
///
/// let header = bulla::Header::read(&mut sealed.as_slice())?;
/// assert_eq!(header.context(), "wallet");
/// assert_eq!(header.slots()[0].kind(), "sim");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Header {
    meta: Meta,
    slots: Vec<Slot>,
    /// As received or as written: magic to checksum.
    bytes: Vec<u8>,
}

/// All of a header but its slots.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    suite: Suite,
    envelope_id: [u8; 16],
    salt: [u8; 32],
    context: String,
    created: Option<u64>,
}

impl Header {
    /// Reads a header up to and including its checksum, and not a byte further. It allocates at most 64 KiB, whatever the
    /// bytes claim (R71, B31).
    ///
    /// # Errors
    /// [`Error::NotAnEnvelope`], [`Error::Version`], [`Error::Truncated`], [`Error::Checksum`], [`Error::Unsupported`],
    /// [`Error::Malformed`] or a [`bulla_tee::Error::InvalidRequest`], all of class `Damaged`; [`Error::Io`] when `input`
    /// fails.
    pub fn read(input: &mut impl Read) -> Result<Self, Error> {
        let mut bytes = read_magic(input)?;
        let [version] = read_array(input)?;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let length = read_array(input)?;
        let cbor_len = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if cbor_len > MAX_HEADER {
            return Err(Error::Malformed("it claims to be longer than 64 KiB"));
        }
        let mut cbor = vec![0; cbor_len];
        read_exact(input, &mut cbor)?;
        let checksum: [u8; CHECKSUM_LEN] = read_array(input)?;

        bytes.push(version);
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&cbor);
        if checksum_of(&bytes) != checksum {
            return Err(Error::Checksum);
        }
        bytes.extend_from_slice(&checksum);
        let (meta, slots) = parse(&cbor)?;
        Ok(Self { meta, slots, bytes })
    }

    /// The header of an envelope about to be written.
    pub(crate) fn new(meta: Meta, slots: Vec<Slot>) -> Result<Self, Error> {
        let cbor = encode(&meta, &slots);
        let too_large = || Error::TooLarge("the description of who may open it");
        if cbor.len() > MAX_HEADER {
            return Err(too_large());
        }
        let length = u32::try_from(cbor.len()).map_err(|_| too_large())?;
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&cbor);
        let checksum = checksum_of(&bytes);
        bytes.extend_from_slice(&checksum);
        Ok(Self { meta, slots, bytes })
    }

    /// What the secret is for, as the sealer named it.
    pub fn context(&self) -> &str {
        &self.meta.context
    }

    /// When it was sealed, in Unix seconds, if the sealer said so. For information: the clock was the sealer's host's.
    pub fn created(&self) -> Option<u64> {
        self.meta.created
    }

    /// Which algorithms protect it.
    pub fn suite(&self) -> Suite {
        self.meta.suite
    }

    /// 16 random bytes that tell this envelope from every other.
    pub fn envelope_id(&self) -> &[u8; 16] {
        &self.meta.envelope_id
    }

    /// Who may open it: between 1 and 64 slots.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Magic to checksum, as received or as written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Meta {
    /// For a new envelope, with fresh randomness.
    pub(crate) fn fresh(context: &str, created: Option<u64>) -> Result<Self, EntropyFailure> {
        Ok(Self {
            suite: Suite::Aes256Gcm,
            envelope_id: SystemRandom.array()?,
            salt: SystemRandom.array()?,
            context: context.to_owned(),
            created,
        })
    }

    pub(crate) fn suite(&self) -> Suite {
        self.suite
    }

    pub(crate) fn envelope_id(&self) -> &[u8; 16] {
        &self.envelope_id
    }

    pub(crate) fn salt(&self) -> &[u8; 32] {
        &self.salt
    }

    pub(crate) fn context(&self) -> &str {
        &self.context
    }

    /// Magic and version, which every payload key is bound to.
    pub(crate) fn format(&self) -> ([u8; 8], u8) {
        (MAGIC, VERSION)
    }
}

/// Refuses what cannot be a context (R63).
pub(crate) fn check_context(context: &str) -> Result<(), Error> {
    if context.is_empty() || context.len() > MAX_CONTEXT {
        return Err(Error::InvalidContext(context.len()));
    }
    Ok(())
}

/// Exactly `N` bytes of an envelope.
pub(crate) fn read_array<const N: usize>(input: &mut impl Read) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    read_exact(input, &mut bytes)?;
    Ok(bytes)
}

fn read_exact(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), Error> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated,
        _ => Error::io("reading the envelope")(error),
    })
}

/// Tells a file that is something else from an envelope that is cut within its first bytes.
fn read_magic(input: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut magic = Vec::new();
    let mut start = input.take(MAGIC.len() as u64);
    start.read_to_end(&mut magic).map_err(Error::io("reading the envelope"))?;
    if magic == MAGIC {
        return Ok(magic);
    }
    Err(if MAGIC.starts_with(&magic) { Error::Truncated } else { Error::NotAnEnvelope })
}

fn checksum_of(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut checksum = [0; CHECKSUM_LEN];
    checksum.iter_mut().zip(sha256(&[bytes])).for_each(|(to, from)| *to = from);
    checksum
}

/// The header's CBOR. Keys 7 to 11 are reserved: labels, epoch, anchor, origin, root id.
#[derive(Encode, Decode)]
#[cbor(map)]
struct HeaderCbor<'a> {
    #[n(0)]
    suite: u16,
    #[cbor(n(1), with = "minicbor::bytes")]
    envelope_id: [u8; 16],
    #[cbor(n(2), with = "minicbor::bytes")]
    salt: [u8; 32],
    #[b(3)]
    context: &'a str,
    #[n(4)]
    created: Option<u64>,
    #[b(5)]
    slots: Vec<SlotCbor<'a>>,
    #[n(6)]
    critical: Vec<u64>,
}

fn encode(meta: &Meta, slots: &[Slot]) -> Vec<u8> {
    let openers: Vec<_> = slots.iter().map(|slot| slot.request().encode()).collect();
    to_cbor(&HeaderCbor {
        suite: meta.suite.id(),
        envelope_id: meta.envelope_id,
        salt: meta.salt,
        context: &meta.context,
        created: meta.created,
        slots: slots.iter().zip(&openers).map(|(slot, opener)| slot.to_cbor(opener)).collect(),
        critical: Vec::new(),
    })
}

fn to_cbor(header: &HeaderCbor<'_>) -> Vec<u8> {
    minicbor::to_vec(header).expect("writing to memory does not fail")
}

fn parse(cbor: &[u8]) -> Result<(Meta, Vec<Slot>), Error> {
    refuse_unknown_keys(cbor)?;
    let header: HeaderCbor<'_> =
        minicbor::decode(cbor).map_err(|_| Error::Malformed("not the CBOR of a header"))?;
    // minicbor is lenient: what it skipped, merged or shortened shows here (R56, B26).
    if to_cbor(&header) != cbor {
        return Err(Error::Malformed("not in its canonical encoding"));
    }
    let suite = Suite::from_id(header.suite)?;
    if let Some(&value) = header.critical.first() {
        return Err(Error::Unsupported { what: "critical extension", value });
    }
    if check_context(header.context).is_err() {
        return Err(Error::Malformed("its context is empty or longer than 1024 bytes"));
    }
    if header.slots.is_empty() || header.slots.len() > MAX_SLOTS {
        return Err(Error::Malformed("it has no slot or more than 64"));
    }
    let slots = header.slots.iter().map(Slot::from_cbor).collect::<Result<Vec<_>, _>>()?;
    let simulated = slots.iter().filter(|slot| matches!(slot.request(), KeyRequest::Simulated(_))).count();
    if simulated != 0 && simulated != slots.len() {
        return Err(Error::Malformed("it mixes slots of simulated and of real machines"));
    }
    let meta = Meta {
        suite,
        envelope_id: header.envelope_id,
        salt: header.salt,
        context: header.context.to_owned(),
        created: header.created,
    };
    Ok((meta, slots))
}

/// Names a field of a later version, which [`minicbor::decode`] would skip.
fn refuse_unknown_keys(cbor: &[u8]) -> Result<(), Error> {
    let keys = || -> Result<Option<u64>, minicbor::decode::Error> {
        let mut decoder = Decoder::new(cbor);
        for _ in 0..decoder.map()?.unwrap_or(0) {
            let key = decoder.u64()?;
            if key > LAST_KEY {
                return Ok(Some(key));
            }
            decoder.skip()?;
        }
        Ok(None)
    };
    match keys() {
        Ok(None) => Ok(()),
        Ok(Some(value)) => Err(Error::Unsupported { what: "header field", value }),
        Err(_) => Err(Error::Malformed("not a CBOR map with numbered fields")),
    }
}
