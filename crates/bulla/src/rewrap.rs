//! Rewrap: changing who may open an envelope. Its key and its payload stay (R75).

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::path::Path;

use bulla_tee::{Floor, Policy, Tee};

use crate::draw::Draw;
use crate::header::{Header, Notes, read_array};
use crate::journal::{Changed, Journal};
use crate::origin::TRAILER_LEN;
use crate::recipient::{Recipient, Role};
use crate::sealer::{Begun, Made, NewOpener, Writer};
use crate::slot::{Opener, Slot};
use crate::stream::{self, HoldBack, Run};
use crate::unsealer::{Origin, Unlocked};
use crate::{Error, Unsealer};

/// Changes the slots of an envelope: adds openers, drops openers. The file key and the payload stay as they are, so this never
/// needs more than a copy of the file, and a slot that was dropped still opens every older copy: **dropping is not
/// revoking**. To revoke an opener, [`Rotate`](crate::Rotate).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let machine = bulla_sim::Machine::create(dir.path())?;
/// # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
/// use bulla::{Kem, RecipientKey, Rewrap, Unsealer};
///
/// let sealed = bulla::seal(&machine, "wallet", b"correct horse")?;
/// let offline = RecipientKey::generate(Kem::XWing)?;
///
/// let mut rewrapped = Vec::new();
/// let unsealer = Unsealer::new("wallet").machine(&machine);
/// Rewrap::new().recovery(offline.recipient()).run(&unsealer, sealed.as_slice(), &mut rewrapped)?;
/// # assert_eq!(Unsealer::new("wallet").key(&offline).unseal(&rewrapped)?.0.expose(), b"correct horse");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
#[must_use]
pub struct Rewrap<'a> {
    add: Vec<NewOpener<'a>>,
    drop: Vec<usize>,
    refresh: Option<&'a dyn Tee>,
    drop_successors: bool,
    epoch: Option<u64>,
    floor: Option<&'a Floor>,
    force: bool,
    vouch: bool,
    threads: Option<NonZeroUsize>,
}

impl<'a> Rewrap<'a> {
    /// No change yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a slot for this machine, under `policy`.
    pub fn machine(mut self, tee: &'a dyn Tee, policy: Policy) -> Self {
        self.add.push(NewOpener::Machine(tee, policy));
        self
    }

    /// Adds a slot for the holder of a private key.
    pub fn recovery(mut self, recipient: &Recipient) -> Self {
        self.add.push(NewOpener::Recipient(recipient.clone(), Role::Recovery));
        self
    }

    /// Adds a temporary slot for the next identity, which has proved itself.
    pub fn successor(mut self, recipient: &Recipient) -> Self {
        self.add.push(NewOpener::Recipient(recipient.clone(), Role::Successor));
        self
    }

    /// Adds a slot for `threshold` of `recipients`.
    pub fn threshold(mut self, threshold: u8, recipients: &[Recipient]) -> Self {
        self.add.push(NewOpener::Threshold(threshold, recipients.to_vec()));
        self
    }

    /// Replaces the slot of this machine that opens by a new one of the same policy at the versions of today: after an update of
    /// the microcode the key is then bound to the new one.
    pub fn refresh(mut self, tee: &'a dyn Tee) -> Self {
        self.refresh = Some(tee);
        self
    }

    /// Drops the slot at `index` of the present header. It keeps nobody from an older copy of the file.
    pub fn drop(mut self, index: usize) -> Self {
        self.drop.push(index);
        self
    }

    /// Drops every temporary slot for a next identity.
    pub fn drop_successors(mut self) -> Self {
        self.drop_successors = true;
        self
    }

    /// Sets the epoch, which must not fall.
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Refuses to write what is below a floor (R6); that of the [`Unsealer`], if not set.
    pub fn floor(mut self, floor: &'a Floor) -> Self {
        self.floor = Some(floor);
        self
    }

    /// Drops even the last slot: then nobody can open the envelope any more.
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Has the machine say that it wrote what it found here, though that was not proved to it. The next identity does so after a
    /// handover, since it cannot check what the one before it wrote.
    pub fn vouch(mut self) -> Self {
        self.vouch = true;
        self
    }

    /// How many threads digest a large payload; as many as there are processors, if not set. 1 is this thread alone.
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Copies an envelope from `input` to `output` with its slots changed, in constant memory. `unsealer` opens it; what it
    /// demands is demanded here too. Returns the new header.
    ///
    /// The new envelope is complete only if this returns `Ok`. To change a file, go through [`file`](Self::file).
    ///
    /// # Errors
    /// Those of [`Unsealer::unseal_stream`], though a change in the payload is found only where the origin is checked;
    /// [`Error::NoSuchSlot`], [`Error::LastOpener`]; those of [`Sealer::seal`](crate::Sealer::seal).
    pub fn run(
        &self,
        unsealer: &Unsealer<'_>,
        input: impl Read + Send,
        output: impl Write + Send,
    ) -> Result<Header, Error> {
        self.write(unsealer, input, output, false).map(|written| written.begun.header)
    }

    /// As [`run`](Self::run), for the file at `path`, through its [`Journal`]: the new envelope is read back and its new machine
    /// slots are opened before it takes the place of the old one, which is kept as the previous generation.
    ///
    /// # Errors
    /// As [`run`](Self::run) and [`Journal::change`]; [`Error::NotAsWritten`]. The file is then what it was.
    pub fn file(&self, unsealer: &Unsealer<'_>, path: &Path) -> Result<Changed<Header>, Error> {
        let changed = Journal::at(path)?.change(
            |old, new| self.write(unsealer, old, new, true),
            |reopened, written| written.check(reopened, self.threads),
        )?;
        Ok(changed.map(|written| written.begun.header))
    }

    fn write(
        &self,
        unsealer: &Unsealer<'_>,
        mut input: impl Read + Send,
        mut output: impl Write + Send,
        digest: bool,
    ) -> Result<Written<'a>, Error> {
        let unlocked = unsealer.unlock(&mut input)?;
        let written = self.begin(&unlocked, self.floor.or(unsealer.demands.floor))?;
        written.begun.write_header(&mut output)?;
        let run = written.begun.run(self.threads);
        let run = Run { digest: digest || run.digest, ..run };
        let digest = if unlocked.header.origin().is_some() {
            let mut payload = HoldBack::<_, TRAILER_LEN>::new(input);
            let key = unlocked.origin_key();
            let digest =
                stream::copy(&mut payload, &mut output, Run { digest: run.digest || key.is_some(), ..run })?;
            unlocked.check_trailer(key, digest, payload.held().as_ref())?;
            digest
        } else {
            stream::copy(input, &mut output, run)?
        };
        written.begun.write_trailer(digest, &mut output)?;
        output.flush().map_err(Error::io("writing the envelope"))?;
        Ok(Written { digest, ..written })
    }

    /// All up to the payload. What opened below the floor is not written there again (R6).
    fn begin(&self, unlocked: &Unlocked, floor: Option<&Floor>) -> Result<Written<'a>, Error> {
        let header = &unlocked.header;
        if let Some(index) = self.drop.iter().find(|index| header.slots().get(**index).is_none()) {
            return Err(Error::NoSuchSlot(index.to_string()));
        }
        let refreshed = self.refreshed(unlocked)?;
        let notes = self.notes(header)?;
        if let Some(floor) = floor {
            floor.check_epoch(notes.epoch.unwrap_or(0))?;
        }

        let mut slots =
            New { of: unlocked, floor, draw: Draw::new()?, made: Vec::new(), machines: Vec::new() };
        let mut kept_opener = None;
        for (index, slot) in header.slots().iter().enumerate() {
            match &refreshed {
                Some(opener) if index == unlocked.slot => slots.make(opener)?,
                _ if self.drops(index, slot) => {}
                _ => {
                    if index == unlocked.slot {
                        kept_opener = Some(slots.made.len());
                        if let (Some(floor), Opener::Machine(request)) = (floor, slot.opener()) {
                            floor.check(request)?;
                        }
                    }
                    slots.made.push(Made::kept(slot.clone()));
                }
            }
        }
        self.add.iter().try_for_each(|opener| slots.make(opener))?;
        let New { made, machines, .. } = slots;
        if made.is_empty() && !self.force {
            return Err(Error::LastOpener);
        }
        let is_known = self.vouch || unlocked.origin() == Origin::Proved;
        let writer = match (&unlocked.machine_key, kept_opener) {
            _ if !is_known => Writer::Unknown,
            (Some(key), Some(index)) => Writer::Kept(index, key),
            _ => Writer::Made,
        };
        let begun = Begun::new(&unlocked.file_key, header.fixed().clone(), notes, made, &writer)?;
        Ok(Written { begun, machines, digest: None })
    }

    /// What takes the place of the slot that opened, under the same policy.
    fn refreshed(&self, unlocked: &Unlocked) -> Result<Option<NewOpener<'a>>, Error> {
        let Some(tee) = self.refresh else { return Ok(None) };
        match unlocked.header.slots().get(unlocked.slot).map(Slot::opener) {
            Some(Opener::Machine(request)) => Ok(Some(NewOpener::Machine(tee, request.policy()))),
            _ => Err(Error::Invalid("only a slot of this machine can be refreshed, and another one opened")),
        }
    }

    fn drops(&self, index: usize, slot: &Slot) -> bool {
        self.drop.contains(&index) || (self.drop_successors && is_successor(slot))
    }

    fn notes(&self, header: &Header) -> Result<Notes, Error> {
        let mut notes = header.notes().clone();
        if let Some(epoch) = self.epoch {
            if notes.epoch.is_some_and(|present| epoch < present) {
                return Err(Error::Invalid("an epoch does not fall"));
            }
            notes.epoch = Some(epoch);
        }
        Ok(notes)
    }
}

/// What was written, to compare with what is read back.
struct Written<'a> {
    begun: Begun,
    /// The machines that made slots, with the slots' places.
    machines: Vec<(usize, &'a dyn Tee)>,
    /// That of the payload.
    digest: Option<[u8; 32]>,
}

impl Written<'_> {
    /// Whether it reads back as it was written, and whether the machines open the slots that they made (R69).
    fn check(&self, mut input: impl Read + Send, threads: Option<NonZeroUsize>) -> Result<(), Error> {
        let (header, mac) = (Header::read(&mut input)?, read_array(&mut input)?);
        let run = Run { threads, digest: true };
        let (digest, trailer) = match header.origin() {
            None => (stream::copy(input, io::sink(), run)?, None),
            Some(_) => {
                let mut payload = HoldBack::<_, TRAILER_LEN>::new(input);
                (stream::copy(&mut payload, io::sink(), run)?, payload.held())
            }
        };
        let is_same = self.begun.is_headed(&header, &mac)
            && (digest, trailer) == (self.digest, self.begun.trailer(self.digest));
        if !is_same {
            return Err(Error::NotAsWritten);
        }
        for (index, tee) in &self.machines {
            let Some((Opener::Machine(request), slot)) =
                header.slots().get(*index).map(|slot| (slot.opener(), slot))
            else {
                return Err(Error::NotAsWritten);
            };
            let file_key = slot.unwrap(tee.derive(request)?.expose(), header.fixed())?;
            if !file_key.authenticates(&header, &mac) {
                return Err(Error::NotAsWritten);
            }
        }
        Ok(())
    }
}

/// The slots of the new header, in their order, as they are made.
struct New<'u, 'a> {
    of: &'u Unlocked,
    floor: Option<&'u Floor>,
    draw: Draw,
    made: Vec<Made>,
    machines: Vec<(usize, &'a dyn Tee)>,
}

impl<'a> New<'_, 'a> {
    fn make(&mut self, opener: &NewOpener<'a>) -> Result<(), Error> {
        if let NewOpener::Machine(tee, _) = opener {
            self.machines.push((self.made.len(), *tee));
        }
        let (header, file_key) = (&self.of.header, &self.of.file_key);
        self.made.push(opener.make(self.floor, header.fixed(), file_key, self.draw.array()?)?);
        Ok(())
    }
}

fn is_successor(slot: &Slot) -> bool {
    matches!(slot.opener(), Opener::Recipient(opener) if opener.role() == Role::Successor)
}
