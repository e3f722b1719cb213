//! The header: what anyone can read of an envelope without a key, framed, checksummed and parsed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Read};

use minicbor::{Decoder, Encoder};

use bulla_crypto::{EntropyFailure, sha256};

use crate::draw::Draw;
use crate::slot::{Slot, Strength};
use crate::{Error, Opener, Recipient};

/// The first bytes of every envelope. Like PNG's, they show a transfer that strips the eighth bit or rewrites line ends.
const MAGIC: [u8; 8] = *b"\x93bulla\r\n";
const VERSION: u8 = 1;
/// Bytes of the header's CBOR (R60, B31).
const MAX_HEADER: usize = 64 * 1024;
const CHECKSUM_LEN: usize = 16;
const MAX_SLOTS: usize = 64;
const MAX_CONTEXT: usize = 1024;
const MAX_LABELS: usize = 32;
const MAX_LABEL_NAME: usize = 64;
pub(crate) const MAX_LABEL_VALUE: usize = 1024;

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
    fixed: Fixed,
    notes: Notes,
    slots: Vec<Slot>,
    origin: Option<usize>,
    /// As received or as written: magic to checksum.
    bytes: Vec<u8>,
    /// SHA-256 of what is before the checksum.
    digest: [u8; 32],
}

/// What never changes while the payload lives. The payload's key is bound to it.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    pub(crate) suite: Suite,
    pub(crate) envelope_id: [u8; 16],
    pub(crate) salt: [u8; 32],
    pub(crate) context: String,
}

/// What the sealer says besides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    pub(crate) created: Option<u64>,
    pub(crate) labels: Labels,
    pub(crate) epoch: Option<u64>,
    /// Fields of later versions that a reader may ignore, kept as they are.
    extensions: BTreeMap<u64, Vec<u8>>,
}

/// Names and values, in the order of their encodings: shorter names first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels(BTreeMap<(usize, String), String>);

impl Labels {
    pub(crate) fn insert(&mut self, name: &str, value: &str) {
        self.0.insert((name.len(), name.to_owned()), value.to_owned());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|((_, name), value)| (name.as_str(), value.as_str()))
    }

    fn are_within_bounds(&self) -> bool {
        self.0.len() <= MAX_LABELS
            && self.iter().all(|(name, value)| {
                (1..=MAX_LABEL_NAME).contains(&name.len()) && value.len() <= MAX_LABEL_VALUE
            })
    }
}

impl Header {
    /// Reads a header up to and including its checksum, and not a byte further. Its bytes take at most 64 KiB and what they say
    /// less than 2 MiB, whatever they claim (R71, B31).
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
        let digest = sha256(&[&bytes]);
        if !digest.starts_with(&checksum) {
            return Err(Error::Checksum);
        }
        bytes.extend_from_slice(&checksum);
        let Parsed { fixed, notes, slots, origin } = parse(&cbor)?;
        Ok(Self { fixed, notes, slots, origin, bytes, digest })
    }

    /// The header of an envelope about to be written.
    pub(crate) fn new(
        fixed: Fixed,
        notes: Notes,
        slots: Vec<Slot>,
        origin: Option<usize>,
    ) -> Result<Self, Error> {
        if !notes.labels.are_within_bounds() {
            return Err(Error::Invalid(
                "at most 32 labels, with names of 1 to 64 bytes and values of up to 1024",
            ));
        }
        if notes.epoch == Some(0) {
            return Err(Error::Invalid("epochs begin with 1"));
        }
        if slots.len() > MAX_SLOTS {
            return Err(Error::Invalid("an envelope has at most 64 slots"));
        }
        if mixes_simulated_and_real(&slots) {
            return Err(Error::Invalid(
                "an envelope is for simulated machines or for real ones, not for both",
            ));
        }
        let raw = slots.iter().map(Slot::to_raw).collect();
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&[0; 4]);
        let frame = bytes.len();
        Raw::of(&fixed, &notes, raw, origin).encode(&mut bytes);
        let length = bytes.len() - frame;
        if length > MAX_HEADER {
            return Err(Error::TooLarge("the description of who may open it"));
        }
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(place) = bytes.get_mut(frame - length.len()..frame) {
            place.copy_from_slice(&length);
        }
        let digest = sha256(&[&bytes]);
        bytes.extend(digest.iter().take(CHECKSUM_LEN));
        Ok(Self { fixed, notes, slots, origin, bytes, digest })
    }

    /// The version of the format.
    pub fn version(&self) -> u8 {
        VERSION
    }

    /// What the secret is for, as the sealer named it.
    pub fn context(&self) -> &str {
        &self.fixed.context
    }

    /// When it was sealed, in Unix seconds, if the sealer said so. For information: the clock was the sealer's host's.
    pub fn created(&self) -> Option<u64> {
        self.notes.created
    }

    /// Names and values that the sealer added, for information.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.notes.labels.iter()
    }

    /// The generation of this secret, if the sealer counts (R66).
    pub fn epoch(&self) -> Option<u64> {
        self.notes.epoch
    }

    /// Which algorithms protect it.
    pub fn suite(&self) -> Suite {
        self.fixed.suite
    }

    /// 16 random bytes that tell this envelope from every other.
    pub fn envelope_id(&self) -> &[u8; 16] {
        &self.fixed.envelope_id
    }

    /// Who may open it: at most 64 slots.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot whose machine says that it wrote the envelope. It is checked when that slot opens.
    pub fn origin(&self) -> Option<usize> {
        self.origin
    }

    /// The recipients of all its slots, of those that need several too.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.slots.iter().flat_map(Slot::recipients)
    }

    /// How much it takes to open it by its weakest slot; `None` if nobody can.
    pub fn weakest(&self) -> Option<Strength> {
        self.slots.iter().map(Slot::strength).min()
    }

    pub(crate) fn fixed(&self) -> &Fixed {
        &self.fixed
    }

    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Magic to checksum, as received or as written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of what is before the checksum, which is its beginning.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl Fixed {
    /// For a new envelope.
    pub(crate) fn new(context: &str, draw: &mut Draw) -> Result<Self, EntropyFailure> {
        let (envelope_id, salt) = (draw.array()?, draw.array()?);
        Ok(Self { suite: Suite::Aes256Gcm, envelope_id, salt, context: context.to_owned() })
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

fn mixes_simulated_and_real(slots: &[Slot]) -> bool {
    let mut machines = slots.iter().filter_map(Slot::is_simulated);
    machines.next().is_some_and(|first| machines.any(|other| other != first))
}

struct Parsed {
    fixed: Fixed,
    notes: Notes,
    slots: Vec<Slot>,
    origin: Option<usize>,
}

/// Steps 5 to 10 of the specification.
fn parse(cbor: &[u8]) -> Result<Parsed, Error> {
    refuse_unknown_keys(cbor)?;
    let raw = Raw::decode(cbor).map_err(|_| Error::Malformed("not the CBOR of a header"))?;
    // minicbor is lenient: what it skipped, merged or shortened shows here (R56, B26).
    let mut canonical = Vec::with_capacity(cbor.len());
    raw.encode(&mut canonical);
    if canonical != cbor {
        return Err(Error::Malformed("not in its canonical encoding"));
    }
    let suite = Suite::from_id(raw.suite)?;
    if let Some(&value) = raw.critical.first() {
        return Err(Error::Unsupported { what: "critical extension", value });
    }
    if check_context(raw.context).is_err() {
        return Err(Error::Malformed("its context is empty or longer than 1024 bytes"));
    }
    let labels = labels(raw.labels.as_deref())?;
    if raw.epoch == Some(0) {
        return Err(Error::Malformed("its epoch is zero"));
    }
    if raw.slots.len() > MAX_SLOTS {
        return Err(Error::Malformed("it has more than 64 slots"));
    }
    let slots = raw.slots.iter().map(Slot::from_raw).collect::<Result<Vec<_>, _>>()?;
    if mixes_simulated_and_real(&slots) {
        return Err(Error::Malformed("it mixes slots of simulated and of real machines"));
    }
    let origin = raw.origin.map(|index| machine_slot(&slots, index)).transpose()?;
    let fixed =
        Fixed { suite, envelope_id: raw.envelope_id, salt: raw.salt, context: raw.context.to_owned() };
    let extensions = raw.extensions.iter().map(|(key, value)| (*key, value.to_vec())).collect();
    let notes = Notes { created: raw.created, labels, epoch: raw.epoch, extensions };
    Ok(Parsed { fixed, notes, slots, origin })
}

fn labels(raw: Option<&[(&str, &str)]>) -> Result<Labels, Error> {
    let Some(raw) = raw else { return Ok(Labels::default()) };
    let mut labels = Labels::default();
    raw.iter().for_each(|(name, value)| labels.insert(name, value));
    // In order, none twice, none that is there and empty.
    if raw.is_empty() || !labels.iter().eq(raw.iter().copied()) || !labels.are_within_bounds() {
        return Err(Error::Malformed("its labels are not in order or too large"));
    }
    Ok(labels)
}

fn machine_slot(slots: &[Slot], index: u64) -> Result<usize, Error> {
    usize::try_from(index)
        .ok()
        .filter(|index| slots.get(*index).is_some_and(|slot| matches!(slot.opener(), Opener::Machine(_))))
        .ok_or(Error::Malformed("its origin is no slot of a machine"))
}

/// A slot as it stands in the header.
pub(crate) struct RawSlot<'a> {
    pub(crate) kind: &'a str,
    pub(crate) salt: [u8; 32],
    pub(crate) opener: &'a [u8],
    pub(crate) wrapped: [u8; 48],
}

/// The header's CBOR map, type by type.
struct Raw<'a> {
    suite: u16,
    envelope_id: [u8; 16],
    salt: [u8; 32],
    context: &'a str,
    created: Option<u64>,
    slots: Vec<RawSlot<'a>>,
    critical: Vec<u64>,
    labels: Option<Vec<(&'a str, &'a str)>>,
    epoch: Option<u64>,
    origin: Option<u64>,
    extensions: BTreeMap<u64, &'a [u8]>,
}

mod key {
    pub(super) const SUITE: u64 = 0;
    pub(super) const ENVELOPE_ID: u64 = 1;
    pub(super) const SALT: u64 = 2;
    pub(super) const CONTEXT: u64 = 3;
    pub(super) const CREATED: u64 = 4;
    pub(super) const SLOTS: u64 = 5;
    pub(super) const CRITICAL: u64 = 6;
    pub(super) const LABELS: u64 = 7;
    pub(super) const EPOCH: u64 = 8;
    pub(super) const ORIGIN: u64 = 10;
    pub(super) const EXTENSIONS: std::ops::RangeInclusive<u64> = 16..=65535;

    pub(super) fn is_known(key: u64) -> bool {
        key <= EPOCH || key == ORIGIN || EXTENSIONS.contains(&key)
    }
}

impl<'a> Raw<'a> {
    fn of(fixed: &'a Fixed, notes: &'a Notes, slots: Vec<RawSlot<'a>>, origin: Option<usize>) -> Self {
        let labels: Vec<_> = notes.labels.iter().collect();
        Self {
            suite: fixed.suite.id(),
            envelope_id: fixed.envelope_id,
            salt: fixed.salt,
            context: &fixed.context,
            created: notes.created,
            slots,
            critical: Vec::new(),
            labels: (!labels.is_empty()).then_some(labels),
            epoch: notes.epoch,
            origin: origin.map(|index| index as u64),
            extensions: notes.extensions.iter().map(|(key, value)| (*key, value.as_slice())).collect(),
        }
    }

    /// Appends the encoding.
    fn encode(&self, to: &mut Vec<u8>) {
        self.encode_into(&mut Encoder::new(to)).expect("writing to memory does not fail");
    }

    fn encode_into(&self, to: &mut Encoder<&mut Vec<u8>>) -> Result<(), minicbor::encode::Error<Infallible>> {
        let present =
            [self.created.is_some(), self.labels.is_some(), self.epoch.is_some(), self.origin.is_some()];
        let optional = present.into_iter().filter(|is_there| *is_there).count();
        to.map((6 + optional + self.extensions.len()) as u64)?;
        to.u64(key::SUITE)?.u16(self.suite)?;
        to.u64(key::ENVELOPE_ID)?.bytes(&self.envelope_id)?;
        to.u64(key::SALT)?.bytes(&self.salt)?;
        to.u64(key::CONTEXT)?.str(self.context)?;
        if let Some(created) = self.created {
            to.u64(key::CREATED)?.u64(created)?;
        }
        to.u64(key::SLOTS)?.array(self.slots.len() as u64)?;
        for slot in &self.slots {
            to.array(4)?.str(slot.kind)?.bytes(&slot.salt)?.bytes(slot.opener)?.bytes(&slot.wrapped)?;
        }
        to.u64(key::CRITICAL)?.array(self.critical.len() as u64)?;
        for number in &self.critical {
            to.u64(*number)?;
        }
        if let Some(labels) = &self.labels {
            to.u64(key::LABELS)?.map(labels.len() as u64)?;
            for (name, value) in labels {
                to.str(name)?.str(value)?;
            }
        }
        if let Some(epoch) = self.epoch {
            to.u64(key::EPOCH)?.u64(epoch)?;
        }
        if let Some(origin) = self.origin {
            to.u64(key::ORIGIN)?.u64(origin)?;
        }
        for (key, value) in &self.extensions {
            to.u64(*key)?.bytes(value)?;
        }
        Ok(())
    }

    fn decode(cbor: &'a [u8]) -> Result<Self, minicbor::decode::Error> {
        use minicbor::decode::Error;
        let missing = || Error::message("a field is missing");
        let (mut suite, mut envelope_id, mut salt, mut context) = (None, None, None, None);
        let (mut created, mut slots, mut critical, mut labels) = (None, None, None, None);
        let (mut epoch, mut origin, mut extensions) = (None, None, BTreeMap::new());

        let mut from = Decoder::new(cbor);
        for _ in 0..from.map()?.ok_or_else(missing)? {
            match from.u64()? {
                key::SUITE => suite = Some(from.u16()?),
                key::ENVELOPE_ID => envelope_id = Some(array(&mut from)?),
                key::SALT => salt = Some(array(&mut from)?),
                key::CONTEXT => context = Some(from.str()?),
                key::CREATED => created = Some(from.u64()?),
                key::SLOTS => slots = Some(items(&mut from, raw_slot)?),
                key::CRITICAL => critical = Some(items(&mut from, Decoder::u64)?),
                key::LABELS => labels = Some(pairs(&mut from)?),
                key::EPOCH => epoch = Some(from.u64()?),
                key::ORIGIN => origin = Some(from.u64()?),
                number => {
                    extensions.insert(number, from.bytes()?);
                }
            }
        }
        Ok(Self {
            suite: suite.ok_or_else(missing)?,
            envelope_id: envelope_id.ok_or_else(missing)?,
            salt: salt.ok_or_else(missing)?,
            context: context.ok_or_else(missing)?,
            created,
            slots: slots.ok_or_else(missing)?,
            critical: critical.ok_or_else(missing)?,
            labels,
            epoch,
            origin,
            extensions,
        })
    }
}

fn raw_slot<'a>(from: &mut Decoder<'a>) -> Result<RawSlot<'a>, minicbor::decode::Error> {
    if from.array()? != Some(4) {
        return Err(minicbor::decode::Error::message("a slot has four parts"));
    }
    Ok(RawSlot { kind: from.str()?, salt: array(from)?, opener: from.bytes()?, wrapped: array(from)? })
}

fn array<const N: usize>(from: &mut Decoder<'_>) -> Result<[u8; N], minicbor::decode::Error> {
    from.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message("a byte string of another length"))
}

/// The items of an array of definite length. What it claims allocates nothing; each item is there before it is kept.
fn items<'a, T>(
    from: &mut Decoder<'a>,
    item: impl Fn(&mut Decoder<'a>) -> Result<T, minicbor::decode::Error>,
) -> Result<Vec<T>, minicbor::decode::Error> {
    let count = from.array()?.ok_or_else(|| minicbor::decode::Error::message("of indefinite length"))?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(from)?);
    }
    Ok(items)
}

fn pairs<'a>(from: &mut Decoder<'a>) -> Result<Vec<(&'a str, &'a str)>, minicbor::decode::Error> {
    let count = from.map()?.ok_or_else(|| minicbor::decode::Error::message("of indefinite length"))?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((from.str()?, from.str()?));
    }
    Ok(pairs)
}

/// Names a field of a later version, before anything else is judged.
fn refuse_unknown_keys(cbor: &[u8]) -> Result<(), Error> {
    let unknown = || -> Result<Option<u64>, minicbor::decode::Error> {
        let mut decoder = Decoder::new(cbor);
        for _ in 0..decoder.map()?.unwrap_or(0) {
            let key = decoder.u64()?;
            if !key::is_known(key) {
                return Ok(Some(key));
            }
            decoder.skip()?;
        }
        Ok(None)
    };
    match unknown() {
        Ok(None) => Ok(()),
        Ok(Some(value)) => Err(Error::Unsupported { what: "header field", value }),
        Err(_) => Err(Error::Malformed("not a CBOR map with numbered fields")),
    }
}
