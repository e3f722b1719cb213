//! Opening, with all that can be demanded of it.

use std::io::{Read, Seek, Write};
use std::num::NonZeroUsize;

use bulla_crypto::{Secret, SecretBytes};
use bulla_tee::{Anchor, DerivedKey, Floor, Freshness, Identity, PlatformState, Tee};

use crate::file_key::FileKey;
use crate::header::{Header, check_context, read_array};
use crate::origin::{OriginKey, TRAILER_LEN};
use crate::recipient::{Recipient, RecipientKey};
use crate::sealer::{check_epoch, refuse_zero};
use crate::slot::{Opener, Slot};
use crate::stream::{self, HoldBack, Run, memory};
use crate::threshold::{Share, ThresholdOpener};
use crate::{Error, RangeReader, UnsealReader};

/// Opens envelopes of one context, with the openers at hand: this machine, private keys, shares. The example is at
/// [`Sealer`](crate::Sealer).
#[must_use]
pub struct Unsealer<'a> {
    context: String,
    pub(crate) machine: Option<&'a dyn Tee>,
    keys: Vec<&'a RecipientKey>,
    shares: Vec<&'a Share>,
    pub(crate) demands: Demands<'a>,
    threads: Option<NonZeroUsize>,
}

/// What an envelope that opens has to satisfy besides.
#[derive(Default)]
pub(crate) struct Demands<'a> {
    at_least: u64,
    pub(crate) floor: Option<&'a Floor>,
    below_floor: bool,
    pub(crate) anchor: Option<(&'a dyn Anchor, [u8; 16])>,
    recipients: Option<Vec<Recipient>>,
    pub(crate) origin: bool,
}

/// What is known of an envelope once it has opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its header, which has authenticated.
    pub header: Header,
    /// The slot that opened, by its place in the header.
    pub slot: usize,
    /// Whether the machine is known to have written it.
    pub origin: Origin,
    /// How it is known that this is the newest epoch (R66, R94).
    pub freshness: Freshness,
}

/// Whether the machine is known to have written an envelope that others could have written too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// It names machines alone. Who wrote it is not proved: whoever had a slot once knows the file key, and can write an envelope
    /// without a slot of his own.
    Machine,
    /// The machine whose slot opened it wrote it.
    Proved,
    /// It says that a machine wrote it, and another opener was used, which cannot tell.
    Unchecked,
    /// Nothing says who wrote it: any of its openers could have, and if it was opened by a private key, everybody who knows the
    /// public key.
    Unknown,
}

impl<'a> Unsealer<'a> {
    /// Opens envelopes that were sealed for `context` (R63).
    pub fn new(context: &str) -> Self {
        Self {
            context: context.to_owned(),
            machine: None,
            keys: Vec::new(),
            shares: Vec::new(),
            demands: Demands::default(),
            threads: None,
        }
    }

    /// Opens with this machine.
    pub fn machine(mut self, tee: &'a dyn Tee) -> Self {
        self.machine = Some(tee);
        self
    }

    /// Opens with a private key: alone, or as one of several.
    pub fn key(mut self, key: &'a RecipientKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Opens with a share that its holder gave.
    pub fn share(mut self, share: &'a Share) -> Self {
        self.shares.push(share);
        self
    }

    /// Refuses epochs below `epoch` (R66). Without this or an anchor, an older envelope opens as well as the newest.
    pub fn at_least(mut self, epoch: u64) -> Self {
        self.demands.at_least = epoch;
        self
    }

    /// Refuses what was sealed below a floor (R6).
    pub fn floor(mut self, floor: &'a Floor) -> Self {
        self.demands.floor = Some(floor);
        self
    }

    /// Opens for a migration what is below the floor by the machine's versions. Nothing can be written there, and the epochs'
    /// floor stays.
    pub fn below_floor(mut self) -> Self {
        self.demands.below_floor = true;
        self
    }

    /// Refuses epochs below what `anchor` has seen under `id`, which names the secret whose epochs are counted (R94).
    pub fn anchor(mut self, anchor: &'a dyn Anchor, id: [u8; 16]) -> Self {
        self.demands.anchor = Some((anchor, id));
        self
    }

    /// Refuses envelopes that also open for other recipients than these.
    pub fn expect_recipients(mut self, recipients: &[Recipient]) -> Self {
        self.demands.recipients = Some(recipients.to_vec());
        self
    }

    /// Refuses envelopes unless this machine proves that it wrote them: it does where others open them too, and where it was
    /// asked to with [`Sealer::prove_origin`](crate::Sealer::prove_origin). That only machines open it proves nothing: whoever had a
    /// slot can leave it out.
    pub fn require_origin(mut self) -> Self {
        self.demands.origin = true;
        self
    }

    /// How many threads decrypt a large secret; as many as there are processors, if not set. 1 is this thread alone.
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Opens an envelope that is in memory.
    ///
    /// # Errors
    /// As [`unseal_stream`](Self::unseal_stream).
    pub fn unseal(&self, envelope: &[u8]) -> Result<(SecretBytes, Opened), Error> {
        let (unlocked, payload, trailer) = self.unlock_slice(envelope)?;
        let len = memory::opened_len(payload.len());
        let (secret, ()) =
            SecretBytes::fill_with(len, |secret| unlocked.open(payload, trailer, secret, self.threads))?;
        Ok((secret, unlocked.into_opened()))
    }

    /// As [`unseal`](Self::unseal), to the beginning of `room`, which is the caller's: locked memory, or a buffer that is used
    /// again and again. Returns how many bytes the secret has.
    ///
    /// An envelope is larger than its secret, so a room of the envelope's size is enough. After an error nothing of the secret is in it.
    ///
    /// # Errors
    /// As [`unseal_stream`](Self::unseal_stream); [`Error::Invalid`] for a room that is too small.
    pub fn unseal_into(&self, envelope: &[u8], room: &mut [u8]) -> Result<(usize, Opened), Error> {
        let (unlocked, payload, trailer) = self.unlock_slice(envelope)?;
        let len = memory::opened_len(payload.len());
        let secret = room.get_mut(..len).ok_or(Error::Invalid("there is not enough room for the secret"))?;
        if let Err(error) = unlocked.open(payload, trailer, secret, self.threads) {
            secret.fill(0);
            return Err(error);
        }
        Ok((len, unlocked.into_opened()))
    }

    /// Opens what `input` gives, to its end, in constant memory.
    ///
    /// Every byte written has been authenticated, but **the secret is complete only if this returns `Ok`** (R59): after an error
    /// throw away what was written. To write a file, go through [`file::replace`](crate::file::replace), which does that.
    ///
    /// # Errors
    /// In the order of the checks: [`Error::InvalidContext`]; those of [`Header::read`] for what is no intact envelope;
    /// [`Error::OtherContext`]; [`Error::NoOpener`], [`Error::Machine`] with the reason why this machine cannot have the key,
    /// [`Error::SharesMissing`] or [`Error::ShareWrong`]; [`Error::HeaderChanged`]; [`Error::Rollback`],
    /// [`Error::UnexpectedSlot`] or [`Error::NoOrigin`] for what was demanded; while the payload is read,
    /// [`Error::PayloadChanged`], [`Error::Truncated`] or [`Error::Origin`]; [`Error::Io`] when `input` or `output` fails.
    pub fn unseal_stream(
        &self,
        mut input: impl Read + Send,
        mut output: impl Write + Send,
    ) -> Result<Opened, Error> {
        let unlocked = self.unlock(&mut input)?;
        let key = unlocked.payload_key();
        if unlocked.header.origin().is_some() {
            let mut payload = HoldBack::<_, TRAILER_LEN>::new(input);
            let wanted = unlocked.origin_key();
            let run = Run { threads: self.threads, digest: wanted.is_some() };
            let digest = stream::open(&key, &mut payload, &mut output, run)?;
            unlocked.check_trailer(wanted, digest, payload.held().as_ref())?;
        } else {
            stream::open(&key, input, &mut output, Run { threads: self.threads, digest: false })?;
        }
        output.flush().map_err(Error::io("writing the secret"))?;
        Ok(unlocked.into_opened())
    }

    /// A reader of the secret, from a reader of the envelope. It reads to its end only if everything has authenticated;
    /// before that, what it gave is not known to be complete (R59).
    ///
    /// # Errors
    /// As [`unseal_stream`](Self::unseal_stream), up to the payload; the reader's own errors hold the [`Error`] of the payload.
    pub fn reader<R: Read>(&self, mut input: R) -> Result<UnsealReader<R>, Error> {
        let unlocked = self.unlock(&mut input)?;
        Ok(UnsealReader::new(unlocked, input))
    }

    /// A reader of any part of the secret, which decrypts no more than the chunks that it is asked for. The last chunk is
    /// authenticated first, and the length taken only from it. It cannot check an origin, so [`Opened::origin`] is never
    /// [`Origin::Proved`] there, and where one is demanded there is no such reader.
    ///
    /// # Errors
    /// As [`unseal_stream`](Self::unseal_stream).
    pub fn range<R: Read + Seek>(&self, mut input: R) -> Result<RangeReader<R>, Error> {
        if self.demands.origin {
            return Err(Error::NoOrigin("a part of it cannot show who wrote the whole: open all of it"));
        }
        let unlocked = self.unlock(&mut input)?;
        RangeReader::new(unlocked, input)
    }

    /// Whether the caller expects this recipient or has its key.
    pub(crate) fn knows(&self, recipient: &Recipient) -> bool {
        let expected = self.demands.recipients.iter().flatten();
        expected.chain(self.keys.iter().map(|key| key.recipient())).any(|known| known == recipient)
    }

    /// As [`unlock`](Self::unlock), with the payload and the trailer.
    fn unlock_slice<'e>(&self, mut envelope: &'e [u8]) -> Result<(Unlocked, &'e [u8], &'e [u8]), Error> {
        let unlocked = self.unlock(&mut envelope)?;
        let behind = unlocked.header.origin().map_or(0, |_| TRAILER_LEN);
        let end = envelope.len().checked_sub(behind).ok_or(Error::Truncated)?;
        let (payload, trailer) = envelope.split_at(end);
        Ok((unlocked, payload, trailer))
    }

    /// Steps 1 to 14 of the specification: the header, and whoever opens it.
    pub(crate) fn unlock(&self, input: &mut impl Read) -> Result<Unlocked, Error> {
        check_context(&self.context)?;
        let header = Header::read(input)?;
        let mac = read_array(input)?;
        if header.context() != self.context {
            let (claimed, wanted) = (header.context().to_owned(), self.context.clone());
            return Err(Error::OtherContext { claimed, wanted });
        }
        let unlocked = self.open_slots(header, mac)?;
        self.meets_demands(unlocked)
    }

    /// The file key from the first slot that opens, once the whole header has authenticated under it (R56, R58).
    ///
    /// Where none opens, the reason is that of the slot that came closest.
    fn open_slots(&self, header: Header, mac: [u8; 32]) -> Result<Unlocked, Error> {
        let mut identity = None;
        let mut reason = Error::no_opener(&header);
        for (index, slot) in header.slots().iter().enumerate() {
            match self.open_slot(&header, slot, &mut identity) {
                Ok((file_key, machine_key)) => {
                    if file_key.authenticates(&header, &mac) {
                        let freshness = Freshness::None;
                        return Ok(Unlocked { header, mac, file_key, slot: index, machine_key, freshness });
                    }
                    reason = closest(reason, Error::HeaderChanged);
                }
                Err(failure) => reason = closest(reason, failure),
            }
        }
        Err(reason)
    }

    /// The opener decides first, since it gives the precise reason; then the cryptography.
    fn open_slot(
        &self,
        header: &Header,
        slot: &Slot,
        identity: &mut Option<Identity>,
    ) -> Result<(FileKey, Option<DerivedKey>), Error> {
        let fixed = header.fixed();
        match slot.opener() {
            Opener::Machine(request) => {
                let tee = self.machine.ok_or_else(|| Error::no_opener(header))?;
                if identity.is_none() {
                    *identity = Some(tee.identity()?);
                }
                if let Some(identity) = identity {
                    request.opens_under(identity, &PlatformState::here(identity)).into_result()?;
                }
                if let Some(floor) = self.demands.floor.filter(|_| !self.demands.below_floor) {
                    floor.check(request)?;
                }
                let key = tee.derive(request)?;
                refuse_zero(&key)?;
                Ok((slot.unwrap(key.expose(), fixed)?, Some(key)))
            }
            Opener::Recipient(opener) => {
                let key = self.keys.iter().find(|key| key.recipient() == opener.recipient());
                let key = key.ok_or_else(|| Error::no_opener(header))?;
                Ok((slot.unwrap(opener.key(key, fixed)?.expose(), fixed)?, None))
            }
            Opener::Threshold(opener) => {
                let key = self.threshold_key(header, slot, opener)?;
                Ok((slot.unwrap(key.expose(), fixed)?, None))
            }
        }
    }

    /// Out of the shares that the private keys at hand give, and those that their holders gave.
    fn threshold_key(
        &self,
        header: &Header,
        slot: &Slot,
        opener: &ThresholdOpener,
    ) -> Result<Secret<32>, Error> {
        let (mut own, mut wrong) = (Vec::new(), None);
        for key in &self.keys {
            match opener.own_share(key, slot.salt(), header.fixed()) {
                Some(Ok(share)) => own.push(share),
                Some(Err(failure)) => wrong = Some(failure),
                None => {}
            }
        }
        let mut shares: Vec<&Share> = own.iter().chain(self.shares.iter().copied()).collect();
        shares.retain(|share| share.slot() == slot.salt());
        if shares.is_empty() {
            return Err(wrong.unwrap_or_else(|| Error::no_opener(header)));
        }
        opener.key(&shares, slot.salt(), header.fixed()).map_err(|failure| match (failure, wrong) {
            (Error::SharesMissing { .. }, Some(wrong)) => wrong,
            (failure, _) => failure,
        })
    }

    fn meets_demands(&self, unlocked: Unlocked) -> Result<Unlocked, Error> {
        let (header, demands) = (&unlocked.header, &self.demands);
        check_epoch(header.epoch(), demands.at_least)?;
        if let Some(floor) = demands.floor {
            floor.check_epoch(header.epoch().unwrap_or(0))?;
        }
        if let Some(expected) = &demands.recipients {
            let stranger = header.recipients().find(|recipient| !expected.contains(recipient));
            if let Some(stranger) = stranger {
                let slot = format!("the recipient {}", hex::encode(stranger.id()));
                return Err(Error::UnexpectedSlot { slot });
            }
        }
        if demands.origin {
            unlocked.demand_origin()?;
        }
        let Some((anchor, id)) = demands.anchor else { return Ok(unlocked) };
        let reading = anchor.highest(&id)?;
        check_epoch(header.epoch(), reading.highest)?;
        Ok(Unlocked { freshness: reading.freshness(), ..unlocked })
    }
}

/// The reason of the slot that came closer to opening. Of two that came equally close, the first.
fn closest(one: Error, other: Error) -> Error {
    if closeness(&other) > closeness(&one) { other } else { one }
}

fn closeness(reason: &Error) -> u8 {
    match reason {
        Error::NoOpener { .. } => 0,
        Error::Machine(bulla_tee::Error::WrongBackend { .. }) => 1,
        Error::Machine(bulla_tee::Error::OtherIdentity(_)) => 2,
        Error::Machine(bulla_tee::Error::OtherMachine) => 3,
        Error::Machine(bulla_tee::Error::TcbTooOld { .. } | bulla_tee::Error::BelowFloor { .. }) => 4,
        Error::SharesMissing { .. } => 5,
        Error::ShareWrong { .. } => 6,
        Error::HeaderChanged => 7,
        // The machine itself failed: once it works again, this slot may open.
        _ => 8,
    }
}

/// An envelope whose header has authenticated.
pub(crate) struct Unlocked {
    pub(crate) header: Header,
    mac: [u8; 32],
    pub(crate) file_key: FileKey,
    pub(crate) slot: usize,
    pub(crate) machine_key: Option<DerivedKey>,
    freshness: Freshness,
}

impl Unlocked {
    pub(crate) fn payload_key(&self) -> bulla_crypto::AeadKey {
        self.file_key.payload_key(self.header.fixed())
    }

    /// Decrypts a payload that is in memory, and checks the trailer where there is one.
    fn open(
        &self,
        payload: &[u8],
        trailer: &[u8],
        secret: &mut [u8],
        threads: Option<NonZeroUsize>,
    ) -> Result<(), Error> {
        let key = self.origin_key();
        let digest =
            memory::open(&self.payload_key(), payload, secret, Run { threads, digest: key.is_some() })?;
        if self.header.origin().is_none() {
            return Ok(());
        }
        self.check_trailer(key, digest, trailer.first_chunk())
    }

    /// The key of the trailer, if the slot that opened is the one that makes it.
    pub(crate) fn origin_key(&self) -> Option<OriginKey> {
        let key = self.machine_key.as_ref().filter(|_| self.header.origin() == Some(self.slot))?;
        let slot = self.header.slots().get(self.slot)?;
        Some(OriginKey::new(slot.origin_key(key.expose(), self.header.fixed())))
    }

    pub(crate) fn check_trailer(
        &self,
        key: Option<OriginKey>,
        digest: Option<[u8; 32]>,
        trailer: Option<&[u8; TRAILER_LEN]>,
    ) -> Result<(), Error> {
        let trailer = trailer.ok_or(Error::Truncated)?;
        let Some((key, digest)) = key.zip(digest) else { return Ok(()) };
        if !key.verifies(&self.header, &self.mac, &digest, trailer) {
            return Err(Error::Origin);
        }
        Ok(())
    }

    /// What is known of the origin once the trailer, where there is one for the slot that opened, has been checked.
    pub(crate) fn origin(&self) -> Origin {
        match self.header.origin() {
            Some(index) if index == self.slot => Origin::Proved,
            Some(_) => Origin::Unchecked,
            None if self.header.slots().iter().all(|slot| matches!(slot.opener(), Opener::Machine(_))) => {
                Origin::Machine
            }
            None => Origin::Unknown,
        }
    }

    fn demand_origin(&self) -> Result<(), Error> {
        match self.origin() {
            Origin::Proved => Ok(()),
            Origin::Machine => Err(Error::NoOrigin(
                "it names machines alone, and none says that it wrote it; whoever had a slot once could have",
            )),
            Origin::Unchecked => Err(Error::NoOrigin("open it with the machine that it names")),
            Origin::Unknown => {
                Err(Error::NoOrigin("it also opens for others, any of whom can have written it"))
            }
        }
    }

    pub(crate) fn into_opened(self) -> Opened {
        let origin = self.origin();
        Opened { header: self.header, slot: self.slot, origin, freshness: self.freshness }
    }
}
