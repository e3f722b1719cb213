//! Sealing, with all that can be said about it.

use std::io::{Read, Write};
use std::num::NonZeroUsize;

use bulla_crypto::AeadKey;
use bulla_tee::{DerivedKey, Floor, Policy, Tee};

use crate::draw::Draw;
use crate::file_key::FileKey;
use crate::header::{Fixed, Header, Notes, check_context};
use crate::origin::OriginKey;
use crate::recipient::{Recipient, RecipientOpener, Role};
use crate::slot::{Opener, Slot};
use crate::stream::{self, Run, memory};
use crate::threshold::ThresholdOpener;
use crate::{Error, SealWriter};

/// Seals to one or more openers: machines, recipients, or several recipients together.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let machine = bulla_sim::Machine::create(dir.path())?;
/// # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
/// use bulla::{Kem, Policy, RecipientKey, Sealer, Unsealer};
///
/// let offline = RecipientKey::generate(Kem::XWing)?;      // for the day when the machine is gone
/// let sealed = Sealer::new("wallet")
///     .machine(&machine, Policy::default())
///     .recovery(offline.recipient())
///     .seal(b"correct horse")?;
///
/// let (secret, _) = Unsealer::new("wallet").key(&offline).unseal(&sealed)?;
/// assert_eq!(secret.expose(), b"correct horse");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct Sealer<'a> {
    pub(crate) context: String,
    openers: Vec<NewOpener<'a>>,
    pub(crate) notes: Notes,
    floor: Option<&'a Floor>,
    /// Whether a machine says that it wrote this; if not set, where others open it too.
    origin: Option<bool>,
    threads: Option<NonZeroUsize>,
}

/// An opener to make a slot for.
#[derive(Clone)]
pub(crate) enum NewOpener<'a> {
    Machine(&'a dyn Tee, Policy),
    Recipient(Recipient, Role),
    Threshold(u8, Vec<Recipient>),
}

/// A slot of an envelope about to be written, with its machine's key if it was made just now.
pub(crate) struct Made {
    slot: Slot,
    machine_key: Option<DerivedKey>,
}

impl Made {
    /// One that the envelope had before.
    pub(crate) fn kept(slot: Slot) -> Self {
        Self { slot, machine_key: None }
    }
}

impl<'a> Sealer<'a> {
    /// Says what the secret is for, in 1 to 1024 bytes (R63). It is no secret: it stands readable in the envelope.
    pub fn new(context: &str) -> Self {
        Self {
            context: context.to_owned(),
            openers: Vec::new(),
            notes: Notes::default(),
            floor: None,
            origin: None,
            threads: None,
        }
    }

    /// Opens on this machine, under `policy`.
    pub fn machine(self, tee: &'a dyn Tee, policy: Policy) -> Self {
        self.opener(NewOpener::Machine(tee, policy))
    }

    /// Opens for the holder of a private key, when no machine can: machines lose their keys.
    pub fn recovery(self, recipient: &Recipient) -> Self {
        self.opener(NewOpener::Recipient(recipient.clone(), Role::Recovery))
    }

    /// Opens for `threshold` of `recipients` together: 2 to 16 different ones.
    pub fn threshold(self, threshold: u8, recipients: &[Recipient]) -> Self {
        self.opener(NewOpener::Threshold(threshold, recipients.to_vec()))
    }

    /// Records a time, in Unix seconds, readable and authenticated. The library itself reads no clock.
    pub fn created(mut self, unix_secs: u64) -> Self {
        self.notes.created = Some(unix_secs);
        self
    }

    /// Records a name and a value, readable and authenticated: at most 32, of 1 to 64 and of up to 1024 bytes.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.notes.labels.insert(name, value);
        self
    }

    /// Counts the generations of this secret, from 1 (R66).
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.notes.epoch = Some(epoch);
        self
    }

    /// Refuses to write what is below a floor (R6).
    pub fn floor(mut self, floor: &'a Floor) -> Self {
        self.floor = Some(floor);
        self
    }

    /// Has the machine say that it wrote the envelope also where nobody else opens it, so that
    /// [`Unsealer::require_origin`](crate::Unsealer::require_origin) accepts it. Where others open it too, the machine says so anyway.
    /// It costs a hash of the payload.
    pub fn prove_origin(mut self) -> Self {
        self.origin = Some(true);
        self
    }

    /// How many threads encrypt a large secret; as many as there are processors, if not set. 1 is this thread alone.
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    pub(crate) fn opener(mut self, opener: NewOpener<'a>) -> Self {
        self.openers.push(opener);
        self
    }

    /// Has no machine say that it wrote the envelope.
    pub(crate) fn without_origin(mut self) -> Self {
        self.origin = Some(false);
        self
    }

    pub(crate) fn notes(mut self, notes: Notes) -> Self {
        self.notes = notes;
        self
    }

    /// Seals a secret that is in memory.
    ///
    /// # Errors
    /// [`Error::InvalidContext`]; [`Error::Invalid`] for labels, thresholds or epochs that cannot be, without any opener, and for
    /// an origin without a machine;
    /// [`Error::Machine`], [`Error::Rollback`] below the floor, and [`Error::Entropy`]. Nothing was sealed then.
    pub fn seal(&self, secret: &[u8]) -> Result<Vec<u8>, Error> {
        let (begun, payload_key) = self.begin()?;
        let head = begun.head_len();
        let mut sealed = vec![0; head + memory::sealed_len(secret.len())];
        let (mut header, payload) = sealed.split_at_mut(head);
        begun.write_header(&mut header)?;
        let digest = memory::seal(&payload_key, secret, payload, begun.run(self.threads))?;
        sealed.extend(begun.trailer(digest).iter().flatten());
        Ok(sealed)
    }

    /// Seals all that `input` gives, in constant memory. Returns the header that was written.
    ///
    /// The envelope is complete only if this returns `Ok`. To write a file, go through [`file::replace`](crate::file::replace).
    ///
    /// # Errors
    /// As [`seal`](Self::seal); [`Error::TooLarge`] beyond 256 TiB; [`Error::Io`] when `input` or `output` fails.
    pub fn seal_stream(
        &self,
        input: impl Read + Send,
        mut output: impl Write + Send,
    ) -> Result<Header, Error> {
        let (begun, payload_key) = self.begin()?;
        begun.write_header(&mut output)?;
        let digest = stream::seal(&payload_key, input, &mut output, begun.run(self.threads))?;
        begun.write_trailer(digest, &mut output)?;
        output.flush().map_err(Error::io("writing the envelope"))?;
        Ok(begun.header)
    }

    /// A writer that seals what is written to it. [`SealWriter::finish`] must be called, or the envelope does not open.
    ///
    /// # Errors
    /// As [`seal_stream`](Self::seal_stream).
    pub fn writer<W: Write>(&self, mut output: W) -> Result<SealWriter<W>, Error> {
        let (begun, payload_key) = self.begin()?;
        begun.write_header(&mut output)?;
        Ok(SealWriter::new(begun, payload_key, output))
    }

    /// All up to the payload, and the payload's key.
    fn begin(&self) -> Result<(Begun, AeadKey), Error> {
        check_context(&self.context)?;
        if self.openers.is_empty() {
            return Err(Error::Invalid(
                "name an opener: a machine, a recipient or a threshold of recipients",
            ));
        }
        let for_machine = |opener: &NewOpener<'_>| matches!(opener, NewOpener::Machine(..));
        if self.origin == Some(true) && !self.openers.iter().any(for_machine) {
            return Err(Error::Invalid("only a machine proves that it wrote something: name one"));
        }
        if let Some(floor) = self.floor {
            floor.check_epoch(self.notes.epoch.unwrap_or(0))?;
        }
        let mut draw = Draw::new()?;
        let fixed = Fixed::new(&self.context, &mut draw)?;
        let file_key = FileKey::random(&mut draw)?;
        let slots =
            self.openers.iter().map(|opener| opener.make(self.floor, &fixed, &file_key, draw.array()?));
        let slots = slots.collect::<Result<_, _>>()?;
        let payload_key = file_key.payload_key(&fixed);
        let is_said = self.origin.unwrap_or_else(|| !self.openers.iter().all(for_machine));
        let writer = if is_said { Writer::Made } else { Writer::Unknown };
        let begun = Begun::new(&file_key, fixed, self.notes.clone(), slots, &writer)?;
        Ok((begun, payload_key))
    }
}

impl NewOpener<'_> {
    pub(crate) fn make(
        &self,
        floor: Option<&Floor>,
        fixed: &Fixed,
        file_key: &FileKey,
        salt: [u8; 32],
    ) -> Result<Made, Error> {
        let wrap = |opener, key: &[u8]| Slot::wrap(opener, key, salt, fixed, file_key);
        match self {
            Self::Machine(tee, policy) => {
                let (request, key) = tee.bind(policy)?;
                refuse_zero(&key)?;
                if let Some(floor) = floor {
                    floor.check(&request)?;
                }
                let slot = wrap(Opener::Machine(request), key.expose());
                Ok(Made { slot, machine_key: Some(key) })
            }
            Self::Recipient(recipient, role) => {
                let (opener, key) = RecipientOpener::make(recipient, *role, fixed)?;
                Ok(Made { slot: wrap(Opener::Recipient(opener), key.expose()), machine_key: None })
            }
            Self::Threshold(threshold, recipients) => {
                let (opener, key) = ThresholdOpener::make(*threshold, recipients, &salt, fixed)?;
                Ok(Made { slot: wrap(Opener::Threshold(opener), key.expose()), machine_key: None })
            }
        }
    }
}

/// Refuses the key that a broken machine gives to everyone, whichever backend it has (R13).
pub(crate) fn refuse_zero(key: &DerivedKey) -> Result<(), Error> {
    if key.is_zero() {
        return Err(bulla_tee::Error::Zero("sealing key").into());
    }
    Ok(())
}

/// Refuses an epoch below the least that is accepted (R66). None counts as 0.
pub(crate) fn check_epoch(epoch: Option<u64>, at_least: u64) -> Result<(), Error> {
    let found = epoch.unwrap_or(0);
    if found < at_least {
        return Err(Error::Rollback { found, wanted: at_least });
    }
    Ok(())
}

/// An envelope whose header is ready.
pub(crate) struct Begun {
    pub(crate) header: Header,
    mac: [u8; 32],
    origin: Option<OriginKey>,
}

/// Whose key makes the trailer.
pub(crate) enum Writer<'a> {
    /// Nobody's: that a machine wrote what is here was not proved, or nobody asked.
    Unknown,
    /// That of a machine slot that is kept, at its place.
    Kept(usize, &'a DerivedKey),
    /// That of the first machine slot that was made.
    Made,
}

impl Begun {
    pub(crate) fn new(
        file_key: &FileKey,
        fixed: Fixed,
        notes: Notes,
        slots: Vec<Made>,
        writer: &Writer<'_>,
    ) -> Result<Self, Error> {
        let writer = match writer {
            Writer::Unknown => None,
            Writer::Kept(index, key) => Some((*index, *key)),
            Writer::Made => {
                let mut made = slots.iter().enumerate();
                made.find_map(|(index, made)| Some((index, made.machine_key.as_ref()?)))
            }
        };
        let origin = writer
            .and_then(|(index, key)| Some((index, slots.get(index)?.slot.origin_key(key.expose(), &fixed))));
        let (index, origin) = origin.map(|(index, key)| (index, OriginKey::new(key))).unzip();
        let slots = slots.into_iter().map(|made| made.slot).collect();
        let header = Header::new(fixed, notes, slots, index)?;
        Ok(Self { mac: file_key.mac(&header), header, origin })
    }

    /// Bytes before the payload.
    fn head_len(&self) -> usize {
        self.header.bytes().len() + self.mac.len()
    }

    pub(crate) fn write_header(&self, output: &mut impl Write) -> Result<(), Error> {
        let writing = || Error::io("writing the envelope");
        output.write_all(self.header.bytes()).map_err(writing())?;
        output.write_all(&self.mac).map_err(writing())
    }

    /// How its payload is written: with a digest if there will be a trailer.
    pub(crate) fn run(&self, threads: Option<NonZeroUsize>) -> Run {
        Run { threads, digest: self.origin.is_some() }
    }

    /// The trailer, if there is to be one. `digest` is that of the payload.
    pub(crate) fn trailer(&self, digest: Option<[u8; 32]>) -> Option<[u8; 32]> {
        let (origin, digest) = self.origin.as_ref().zip(digest)?;
        Some(origin.trailer(&self.header, &self.mac, &digest))
    }

    pub(crate) fn write_trailer(
        &self,
        digest: Option<[u8; 32]>,
        output: &mut impl Write,
    ) -> Result<(), Error> {
        let Some(trailer) = self.trailer(digest) else { return Ok(()) };
        output.write_all(&trailer).map_err(Error::io("writing the envelope"))
    }

    /// Whether this is the header, with its MAC, that was written.
    pub(crate) fn is_headed(&self, header: &Header, mac: &[u8; 32]) -> bool {
        header.bytes() == self.header.bytes() && *mac == self.mac
    }
}
