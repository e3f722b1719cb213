//! Rotate: a new file key, and the payload encrypted anew under it (R75, R82).

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::path::Path;

use bulla_tee::{Floor, KeyRequest, Tee};

use crate::header::{Header, Notes};
use crate::journal::{Changed, Journal};
use crate::recipient::RecipientOpener;
use crate::sealer::NewOpener;
use crate::slot::{Opener, Slot};
use crate::threshold::ThresholdOpener;
use crate::{Error, Origin, Sealer, Unsealer};

/// Gives an envelope a new file key and encrypts its payload anew, for the openers that it has, less those that are dropped. What
/// once knew the old file key, by a slot that was dropped or by a leak, learns nothing of what the new one seals (R82).
///
/// Whoever knows the old file key could also have added a slot for somebody else before. So recipients are carried over only if
/// this machine proves that it wrote the header that names them, if their private keys are at hand, or if the caller names them
/// ([`Unsealer::expect_recipients`]) or [vouches](Self::vouch) for them.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let machine = bulla_sim::Machine::create(dir.path())?;
/// # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
/// use bulla::{Rotate, Unsealer};
///
/// let sealed = bulla::seal(&machine, "wallet", b"correct horse")?;
/// let mut rotated = Vec::new();
/// Rotate::new(&machine).run(&Unsealer::new("wallet").machine(&machine), sealed.as_slice(), &mut rotated)?;
/// # assert_eq!(bulla::unseal(&machine, "wallet", &rotated)?.expose(), b"correct horse");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct Rotate<'a> {
    tee: Option<&'a dyn Tee>,
    drop: Vec<usize>,
    epoch: Option<u64>,
    created: Option<u64>,
    floor: Option<&'a Floor>,
    vouch: bool,
    threads: Option<NonZeroUsize>,
}

impl<'a> Rotate<'a> {
    /// With `tee` to make this machine's slots anew.
    pub fn new(tee: &'a dyn Tee) -> Self {
        Self { tee: Some(tee), ..Self::without_machine() }
    }

    /// Without a machine: what has machine slots cannot be rotated then, unless they are dropped.
    pub fn without_machine() -> Self {
        let (drop, epoch, created, floor, threads) = (Vec::new(), None, None, None, None);
        Self { tee: None, drop, epoch, created, floor, vouch: false, threads }
    }

    /// Leaves out the slot at `index` of the present header: its opener is revoked.
    pub fn drop(mut self, index: usize) -> Self {
        self.drop.push(index);
        self
    }

    /// Sets the epoch, which must not fall; one above the present one, if it has one and none is set.
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Records a time, in Unix seconds, instead of the present one of the header.
    pub fn created(mut self, unix_secs: u64) -> Self {
        self.created = Some(unix_secs);
        self
    }

    /// Refuses to write what is below a floor (R6); that of the [`Unsealer`], if not set.
    pub fn floor(mut self, floor: &'a Floor) -> Self {
        self.floor = Some(floor);
        self
    }

    /// As [`Rewrap::vouch`](crate::Rewrap::vouch): has the machine say that it wrote what it finds here, recipients included,
    /// though that was not proved to it.
    pub fn vouch(mut self) -> Self {
        self.vouch = true;
        self
    }

    /// How many threads encrypt a large secret; as many as there are processors, if not set. 1 is this thread alone.
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Reads an envelope from `input` and seals its secret anew to `output`, in constant memory. Returns the new header.
    ///
    /// The new envelope is complete only if this returns `Ok`. To change a file, go through [`file`](Self::file).
    ///
    /// # Errors
    /// Those of [`Unsealer::unseal_stream`]; [`Error::NotCarried`] for a slot that only another machine or identity can make;
    /// [`Error::NoOrigin`] for recipients that nobody vouches for; [`Error::NoSuchSlot`], [`Error::LastOpener`]; those of
    /// [`Sealer::seal`].
    pub fn run(
        &self,
        unsealer: &Unsealer<'_>,
        input: impl Read + Send,
        output: impl Write + Send,
    ) -> Result<Header, Error> {
        let mut secret = unsealer.reader(input)?;
        let sealer = self.sealer(secret.header(), secret.origin(), unsealer)?;
        let sealed = sealer.seal_stream(&mut secret, output);
        // What the reader found is the reason, whatever the sealer made of it.
        match secret.take_failure() {
            Some(failure) => Err(failure),
            None => sealed.and_then(|header| secret.finish().map(|_| header)),
        }
    }

    /// As [`run`](Self::run), for the file at `path`, through its [`Journal`]: the new envelope is read back and opened whole before
    /// it takes the place of the old one, which is kept as the previous generation. Until that is retired, it opens for
    /// those that were dropped.
    ///
    /// # Errors
    /// As [`run`](Self::run) and [`Journal::change`]. The file is then what it was.
    pub fn file(&self, unsealer: &Unsealer<'_>, path: &Path) -> Result<Changed<Header>, Error> {
        Journal::at(path)?.change(
            |old, new| self.run(unsealer, old, new),
            |reopened, header| {
                let for_machine =
                    header.slots().iter().any(|slot| matches!(slot.opener(), Opener::Machine(_)));
                match self.tee.filter(|_| for_machine) {
                    Some(tee) => {
                        Unsealer::new(header.context()).machine(tee).unseal_stream(reopened, io::sink())
                    }
                    None => unsealer.unseal_stream(reopened, io::sink()),
                }
                .map(|_| ())
            },
        )
    }

    /// A sealer to the openers of `header`, less those that are dropped. `origin` is what is known of it.
    pub(crate) fn sealer<'b>(
        &'b self,
        header: &Header,
        origin: Origin,
        unsealer: &'b Unsealer<'b>,
    ) -> Result<Sealer<'b>, Error> {
        if let Some(index) = self.drop.iter().find(|index| header.slots().get(**index).is_none()) {
            return Err(Error::NoSuchSlot(index.to_string()));
        }
        let mut sealer = Sealer::new(header.context()).notes(self.notes(header)?);
        let slots = header.slots().iter().enumerate().filter(|(index, _)| !self.drop.contains(index));
        let is_known = self.vouch || origin == Origin::Proved;
        let mut kept = Vec::new();
        for (index, slot) in slots {
            let not_carried = Error::NotCarried { index, kind: slot.kind() };
            sealer = sealer.opener(self.renewed(slot)?.ok_or(not_carried)?);
            if !is_known && slot.recipients().any(|recipient| !unsealer.knows(recipient)) {
                return Err(Error::NoOrigin(
                    "who once had its key can have added recipients, so say which you expect, or vouch for them",
                ));
            }
            kept.push(slot);
        }
        if kept.is_empty() {
            return Err(Error::LastOpener);
        }
        if !is_known {
            sealer = sealer.without_origin();
        } else if kept.iter().any(|slot| matches!(slot.opener(), Opener::Machine(_))) {
            sealer = sealer.prove_origin();
        }
        if let Some(floor) = self.floor.or(unsealer.demands.floor) {
            sealer = sealer.floor(floor);
        }
        if let Some(threads) = self.threads {
            sealer = sealer.threads(threads);
        }
        Ok(sealer)
    }

    /// The opener of `slot`, to make a new slot for; `None` for another machine or identity.
    fn renewed(&self, slot: &Slot) -> Result<Option<NewOpener<'a>>, Error> {
        Ok(match slot.opener() {
            Opener::Machine(request) => match self.tee {
                Some(tee) if is_for(request, tee)? => Some(NewOpener::Machine(tee, request.policy())),
                _ => None,
            },
            Opener::Recipient(opener) => Some(recipient(opener)),
            Opener::Threshold(opener) => Some(threshold(opener)),
        })
    }

    fn notes(&self, header: &Header) -> Result<Notes, Error> {
        let mut notes = header.notes().clone();
        let next = notes.epoch.and_then(|present| present.checked_add(1));
        let epoch = self.epoch.or(next);
        if epoch < notes.epoch {
            return Err(Error::Invalid("an epoch does not fall"));
        }
        notes.epoch = epoch;
        notes.created = self.created.or(notes.created);
        Ok(notes)
    }
}

/// Whether the machine gives the key. That it could not be asked is no answer.
fn is_for(request: &KeyRequest, tee: &dyn Tee) -> Result<bool, Error> {
    use bulla_tee::Error::{OtherIdentity, OtherMachine, TcbTooOld, WrongBackend};
    match tee.derive(request) {
        Ok(_) => Ok(true),
        Err(OtherIdentity(_) | OtherMachine | TcbTooOld { .. } | WrongBackend { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn recipient<'a>(opener: &RecipientOpener) -> NewOpener<'a> {
    NewOpener::Recipient(opener.recipient().clone(), opener.role())
}

fn threshold<'a>(opener: &ThresholdOpener) -> NewOpener<'a> {
    NewOpener::Threshold(opener.threshold(), opener.recipients().cloned().collect())
}
