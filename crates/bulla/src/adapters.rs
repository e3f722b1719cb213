//! Envelopes as `Read` and `Write`.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};

use bulla_crypto::AeadKey;

use crate::origin::TRAILER_LEN;
use crate::sealer::Begun;
use crate::stream::{self, HoldBack, OpenReader};
use crate::unsealer::{Opened, Origin, Unlocked};
use crate::{Error, Header};

/// Seals what is written to it; made by [`Sealer::writer`](crate::Sealer::writer).
///
/// **[`finish`](Self::finish) must be called**: what was dropped without it is cut short and does not open.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let machine = bulla_sim::Machine::create(dir.path())?;
/// # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
/// use std::io::{Read, Write};
/// use bulla::{Policy, Sealer, Unsealer};
///
/// let mut writer = Sealer::new("log").machine(&machine, Policy::default()).writer(Vec::new())?;
/// writer.write_all(b"first line\n")?;
/// let sealed = writer.finish()?;
///
/// let mut text = String::new();
/// Unsealer::new("log").machine(&machine).reader(sealed.as_slice())?.read_to_string(&mut text)?;
/// assert_eq!(text, "first line\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct SealWriter<W: Write> {
    begun: Begun,
    payload: stream::SealWriter<W>,
}

impl<W: Write> SealWriter<W> {
    pub(crate) fn new(begun: Begun, payload_key: AeadKey, output: W) -> Self {
        let payload = stream::SealWriter::new(payload_key, output, begun.run(None).digest);
        Self { begun, payload }
    }

    /// The header that was written.
    pub fn header(&self) -> &Header {
        &self.begun.header
    }

    /// Writes what is left and gives back the output, flushed.
    ///
    /// # Errors
    /// [`Error::Io`], also where an earlier write failed; [`Error::TooLarge`] beyond 256 TiB.
    pub fn finish(self) -> Result<W, Error> {
        let (mut output, digest) = self.payload.finish()?;
        self.begun.write_trailer(digest, &mut output)?;
        output.flush().map_err(Error::io("writing the envelope"))?;
        Ok(output)
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.payload.write(bytes)
    }

    /// Flushes the output. A chunk that is not full stays here until [`finish`](SealWriter::finish).
    fn flush(&mut self) -> io::Result<()> {
        self.payload.flush()
    }
}

/// Reads the secret out of an envelope; made by [`Unsealer::reader`](crate::Unsealer::reader), and the example is at
/// [`SealWriter`].
///
/// A byte is given out only after its chunk has authenticated, and the end only after the last one has. A failure is
/// an [`io::Error`] that holds the [`Error`], and means: use nothing of what was read.
pub struct UnsealReader<R: Read> {
    unlocked: Unlocked,
    payload: Payload<R>,
    failure: Option<Error>,
    is_checked: bool,
}

enum Payload<R: Read> {
    Whole(OpenReader<R>),
    WithTrailer(OpenReader<HoldBack<R, TRAILER_LEN>>),
}

impl<R: Read> UnsealReader<R> {
    pub(crate) fn new(unlocked: Unlocked, input: R) -> Self {
        let key = unlocked.payload_key();
        let payload = match unlocked.header.origin() {
            None => Payload::Whole(OpenReader::new(key, input, false)),
            Some(_) => {
                let wanted = unlocked.origin_key().is_some();
                Payload::WithTrailer(OpenReader::new(key, HoldBack::new(input), wanted))
            }
        };
        Self { unlocked, payload, failure: None, is_checked: false }
    }

    /// The header, which has authenticated.
    pub fn header(&self) -> &Header {
        &self.unlocked.header
    }

    /// What will be known of the origin if the end is reached.
    pub(crate) fn origin(&self) -> Origin {
        self.unlocked.origin()
    }

    /// What reading failed with.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Says what is known of the envelope, once it was read to its end.
    ///
    /// # Errors
    /// What reading failed with; [`Error::Truncated`] where the end was not reached.
    pub fn finish(self) -> Result<Opened, Error> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if !self.is_checked {
            return Err(Error::Truncated);
        }
        Ok(self.unlocked.into_opened())
    }

    /// At the end: the trailer, where there is one.
    fn check(&mut self) -> Result<(), Error> {
        if let Payload::WithTrailer(payload) = &self.payload {
            let (digest, trailer) = (payload.digest(), payload.input().held());
            self.unlocked.check_trailer(self.unlocked.origin_key(), digest, trailer.as_ref())?;
        }
        self.is_checked = true;
        Ok(())
    }

    /// Keeps the reason for [`finish`](Self::finish), and gives the reader of bytes one that says the same.
    fn fail(&mut self, failure: Error) -> io::Error {
        let told = io::Error::other(failure.to_string());
        self.failure = Some(failure);
        told
    }
}

impl<R: Read> Read for UnsealReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if let Some(failure) = &self.failure {
            return Err(io::Error::other(failure.to_string()));
        }
        let read = match &mut self.payload {
            Payload::Whole(payload) => payload.read(bytes),
            Payload::WithTrailer(payload) => payload.read(bytes),
        };
        match read {
            Ok(0) if !bytes.is_empty() && !self.is_checked => {
                self.check().map_err(|failure| self.fail(failure)).map(|()| 0)
            }
            Ok(read) => Ok(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let failure = reason(error);
                Err(self.fail(failure))
            }
        }
    }
}

/// The [`Error`] that a reader of the payload gave as an [`io::Error`].
fn reason(error: io::Error) -> Error {
    error.downcast().unwrap_or_else(Error::io("reading the envelope"))
}

/// Reads any part of the secret of an envelope; made by [`Unsealer::range`](crate::Unsealer::range).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let machine = bulla_sim::Machine::create(dir.path())?;
/// # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
/// use std::io::{Cursor, Read, Seek, SeekFrom};
/// use bulla::Unsealer;
///
/// let sealed = bulla::seal(&machine, "archive", &[7; 1_000_000])?;
/// let mut range = Unsealer::new("archive").machine(&machine).range(Cursor::new(sealed))?;
/// range.seek(SeekFrom::Start(900_000))?;
/// let mut part = [0; 16];
/// range.read_exact(&mut part)?;
/// assert_eq!(part, [7; 16]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RangeReader<R> {
    opened: Opened,
    payload: stream::RangeReader<R>,
}

impl<R: Read + Seek> RangeReader<R> {
    /// `input` stands at the beginning of the payload.
    pub(crate) fn new(unlocked: Unlocked, mut input: R) -> Result<Self, Error> {
        let seeking = || Error::io("seeking in the envelope");
        let start = input.stream_position().map_err(seeking())?;
        let end = input.seek(SeekFrom::End(0)).map_err(seeking())?;
        let behind = unlocked.header.origin().map_or(0, |_| TRAILER_LEN as u64);
        let end = end.checked_sub(behind).ok_or(Error::Truncated)?;
        let key: AeadKey = unlocked.payload_key();
        let payload = stream::RangeReader::new(key, input, start, end)?;
        let mut opened = unlocked.into_opened();
        if opened.origin == Origin::Proved {
            opened.origin = Origin::Unchecked;
        }
        Ok(Self { opened, payload })
    }

    /// What is known of the envelope.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Bytes of the secret, which the last chunk has authenticated.
    pub fn len(&self) -> u64 {
        self.payload.len()
    }

    /// Whether the secret is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<R: Read + Seek> Read for RangeReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.payload.read(bytes)
    }
}

impl<R: Read + Seek> Seek for RangeReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.payload.seek(to)
    }
}

impl<R: Read> fmt::Debug for UnsealReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnsealReader").field("header", self.header()).finish_non_exhaustive()
    }
}
