//! Key rings: random data keys, sealed.

mod content;
mod stored;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bulla_crypto::Secret;

#[cfg(doc)]
use crate::journal::Journal;
use crate::sealer::check_epoch;
use crate::{Error, Opened, Rotate, Sealer, Unsealer};
use content::Content;
use stored::Stored;

/// A key ring: data keys in generations, sealed together as one file. This is an open one, with what it takes to open it again.
///
/// A data key is random, sealed and named (R91): the machine's own key only wraps it, so data outlives an update of the
/// machine for as long as some opener of the ring does. A ring holds the keys of one purpose, its *role*, of one database or
/// whatever else its *name* stands for; both are its context, so one database's ring never opens as another's (R90). Each key is
/// a *generation*, counted from 1, with an id of its own. The newest encrypts; the older ones decrypt what they once encrypted,
/// until they are retired. Data says which key it needs: nothing here tries one key after the other (R86).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("orders.ring");
/// # let machine = bulla_sim::Machine::create(dir.path())?;
/// # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
/// use bulla::{Kem, Policy, RecipientKey, Ring, Sealer, Unsealer};
///
/// let offline = RecipientKey::generate(Kem::XWing)?;      // for the day when the machine is gone
/// let context = Ring::context("orders", "data")?;
/// let sealer = Sealer::new(&context).machine(&machine, Policy::default()).recovery(offline.recipient());
/// let unsealer = || Unsealer::new(&context).machine(&machine);
///
/// let database = dir.path().join("orders.db");            // not there yet
/// let mut ring = Ring::ensure(&path, &[&database], sealer, unsealer())?;
/// std::fs::write(&database, ring.current().id())?;        // encrypted with ring.current().secret()
///
/// ring.rotate(2, None)?;
/// assert_eq!(ring.current().generation(), 2);
/// let id = std::fs::read(&database)?.as_slice().try_into()?;
/// assert_eq!(ring.key_by_id(&id)?.generation(), 1);
///
/// std::fs::remove_file(&path)?;                           // the data is there, so no new key is made for it
/// let sealer = Sealer::new(&context).machine(&machine, Policy::default());
/// let missing = Ring::ensure(&path, &[&database], sealer, unsealer()).err().expect("nothing is made");
/// assert_eq!(missing.code(), "seal.missing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What it does not do
/// - **Whoever can put back an old copy of the database and of its ring together is not noticed** (R94): an older ring opens as
///   well as the newest. [`Unsealer::anchor`] notices, and [`Opened::freshness`] says what was known. Under one id an anchor
///   follows one ring for ever; choose the id with the name, before there is a ring, and a ring that is gone or was begun anew
///   shows too. The anchor is told after the change is on disk. If that fails, the change is made and the same call made again
///   completes it.
/// - **Nothing is erased.** A retired key leaves the ring, but it is in the generation that the journal keeps, until
///   [`Journal::retire`], and in every older copy of the file: whoever could open one of those then still can (R84).
/// - **Rotating re-encrypts nothing** (R75). New data is under the new key once the database uses it; old data stays
///   under the old one.
pub struct Ring<'a> {
    path: PathBuf,
    unsealer: Unsealer<'a>,
    content: Content,
    opened: Opened,
}

/// One generation of a ring. Its key is a secret (R96):
///
/// ```compile_fail
/// fn printed(key: &bulla::RingKey) {
///     println!("{key:?}");
/// }
/// ```
/// ```compile_fail
/// fn copied(key: &bulla::RingKey) -> bulla::RingKey {
///     key.clone()
/// }
/// ```
pub struct RingKey {
    generation: u32,
    id: [u8; 16],
    created: Option<u64>,
    secret: Option<Secret<32>>,
}

impl<'a> Ring<'a> {
    /// The context of a ring, `ring/NAME/ROLE`, for the [`Sealer`] that makes it and the [`Unsealer`] that opens it. The name
    /// stands for the database, the role for what the keys are for, such as `data` or `log` (R90).
    ///
    /// # Errors
    /// [`Error::Invalid`] where one of them is not 1 to 64 visible ASCII characters without `/`.
    pub fn context(name: &str, role: &str) -> Result<String, Error> {
        content::context(name, role)
    }

    /// Makes the file of a ring with one key, for the openers of `sealer`; the time that it records is the key's too. The ring is
    /// on disk, and was read back with `unsealer`, before this returns (R69).
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::MissingSeal`] where any trace shows that there was one (R95); [`Error::Rollback`] where the
    /// anchor knows of one; [`Error::Invalid`] where the context is not a ring's; those of [`Sealer::seal`],
    /// [`Unsealer::unseal`] and [`Journal::create`]. If only the anchor could not be told, the ring is there.
    pub fn create(path: impl AsRef<Path>, sealer: Sealer<'_>, unsealer: Unsealer<'a>) -> Result<Self, Error> {
        let read = stored::make(path.as_ref(), sealer, &unsealer)?;
        Self::of(path.as_ref(), unsealer, read).known_to_anchor()
    }

    /// Opens a ring. Whoever has any opener of it can; what `unsealer` demands is demanded here.
    ///
    /// # Errors
    /// [`Error::MissingSeal`] where it is gone, and [`Error::Io`] of kind `NotFound` where there never was one;
    /// [`Error::UnsafeFile`] (R70); those of [`Unsealer::unseal`], [`Error::OtherContext`] for another database's ring and
    /// [`Error::Rollback`] for one older than the anchor knows among them; [`Error::MalformedRing`], [`Error::Unsupported`].
    pub fn open(path: impl AsRef<Path>, unsealer: Unsealer<'a>) -> Result<Self, Error> {
        let mut file = stored::find(path.as_ref())?;
        let read = Stored::read(&mut file, &unsealer)?;
        Ok(Self::of(path.as_ref(), unsealer, read))
    }

    /// Opens the ring, or makes it if that is certainly the first time: there is no trace of a ring, the anchor, if there is one,
    /// knows of none, and nothing is at any of the paths in `data` but empty files and empty directories. Name all that a
    /// database may have left, and keep the ring outside of it. A ring that is there and does not open is never replaced.
    ///
    /// # Errors
    /// [`Error::MissingSeal`], naming what shows that there was a ring: then nothing was written (R95, B39). Otherwise those of
    /// [`open`](Self::open) and [`create`](Self::create), and [`Error::Io`] where a path in `data` cannot be looked at.
    pub fn ensure(
        path: impl AsRef<Path>,
        data: &[impl AsRef<Path>],
        sealer: Sealer<'_>,
        unsealer: Unsealer<'a>,
    ) -> Result<Self, Error> {
        let path = path.as_ref();
        // Before the ring is looked for: another process makes the ring first and its data then.
        let data = stored::first_with_data(data)?;
        match (stored::find(path), data) {
            (Ok(_), _) => Self::open(path, unsealer),
            (Err(error), Some(data)) if is_not_found(&error) => {
                let (path, trace) = (path.display().to_string(), data.display().to_string());
                Err(Error::MissingSeal { path, trace })
            }
            // Missing, or another process is just making it: the lock will tell.
            (Err(error), None) if is_not_found(&error) || matches!(error, Error::MissingSeal { .. }) => {
                match stored::make(path, sealer, &unsealer) {
                    Err(Error::Exists { .. }) => Self::open(path, unsealer),
                    made => Self::of(path, unsealer, made?).known_to_anchor(),
                }
            }
            (Err(error), _) => Err(error),
        }
    }

    fn of(path: &Path, unsealer: Unsealer<'a>, read: Stored) -> Self {
        Self { path: path.to_owned(), unsealer, content: read.content, opened: read.opened }
    }

    /// 16 random bytes that tell this ring from every other.
    pub fn id(&self) -> &[u8; 16] {
        &self.content.id
    }

    /// What the name in its context stands for, such as a database.
    pub fn name(&self) -> &str {
        &self.content.name
    }

    /// What its keys are for.
    pub fn role(&self) -> &str {
        &self.content.role
    }

    /// What is known of its envelope: who may open it, its epoch, its freshness. Every change of a ring raises the epoch.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Every generation, from the first to the newest.
    pub fn generations(&self) -> &[RingKey] {
        &self.content.keys
    }

    /// The generations that are not retired, with their keys.
    pub fn active(&self) -> impl Iterator<Item = (&RingKey, &Secret<32>)> {
        self.content.keys.iter().filter_map(|key| Some((key, key.secret.as_ref()?)))
    }

    /// The newest generation, which encrypts new data.
    pub fn current(&self) -> &RingKey {
        self.content.keys.last().expect("a ring without keys is not read")
    }

    /// A generation by its number.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`].
    pub fn key(&self, generation: u32) -> Result<&RingKey, Error> {
        self.content.key(generation).ok_or_else(|| Error::NoSuchKey(generation.to_string()))
    }

    /// A generation by the id that stands with the data (R86).
    ///
    /// # Errors
    /// [`Error::NoSuchKey`].
    pub fn key_by_id(&self, id: &[u8; 16]) -> Result<&RingKey, Error> {
        self.content.keys.iter().find(|key| key.id == *id).ok_or_else(|| Error::NoSuchKey(hex::encode(id)))
    }

    /// Adds generation `to`, the one after the newest, with a new random key; `created` is its time, in Unix seconds. Returns
    /// whether it did: if the generation is there already, by an earlier call or by another process just now, nothing changes,
    /// and this ring is what is on disk (R72, R85).
    ///
    /// The envelope gets a new file key, for the openers that it has. So this takes the machine, if the ring has a slot for it;
    /// the holder of a recovery key alone can read the ring and not change it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a generation further on; [`Error::NotCarried`] for a slot that cannot be made anew from here;
    /// [`Error::Rollback`] where the file on disk is older than this ring; those of [`open`](Self::open), [`Sealer::seal`] and
    /// [`Journal::change`]. This ring is then what it was, and so is the file, as far as [`Journal::change`] says so. If only the
    /// anchor could not be told, both have changed: call it again.
    pub fn rotate(&mut self, to: u32, created: Option<u64>) -> Result<bool, Error> {
        self.change(created, |content| {
            let newest = content.newest();
            if (1..=newest).contains(&to) {
                return Ok(false);
            }
            if to.checked_sub(1) != Some(newest) {
                return Err(Error::Invalid(
                    "generations follow one another: rotate to the one after the newest",
                ));
            }
            content.add(created)?;
            Ok(true)
        })
    }

    /// Takes the key of a generation out of the ring, for good; its number and its id stay taken. **Data that is still under it
    /// is lost** to whoever has only this ring. Returns whether it did, `false` if it was retired already. This erases
    /// nothing: see [its limits](Self#what-it-does-not-do).
    ///
    /// # Errors
    /// [`Error::NoSuchKey`]; [`Error::Invalid`] for the newest generation; otherwise those of [`rotate`](Self::rotate).
    pub fn retire(&mut self, generation: u32) -> Result<bool, Error> {
        self.change(None, |content| {
            let newest = content.newest();
            let unknown = || Error::NoSuchKey(generation.to_string());
            let key = content.key_mut(generation).ok_or_else(unknown)?;
            if key.is_retired() {
                return Ok(false);
            }
            if generation == newest {
                return Err(Error::Invalid(
                    "the newest generation encrypts new data: rotate first, then retire it",
                ));
            }
            key.secret = None;
            Ok(true)
        })
    }

    /// `edit` says whether there is something to change.
    fn change(
        &mut self,
        created: Option<u64>,
        edit: impl FnOnce(&mut Content) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        // Where the ring is gone the journal would bring back an older one, and data may be under the newest key.
        stored::find(&self.path)?;
        let mut made = None;
        let changed = stored::journal(&self.path)?.change(
            |old, new| {
                let mut read = self.read_again(old)?;
                if !edit(&mut read.content)? {
                    return Err(Stop::Unchanged(Box::new(read)));
                }
                let renewal = self.renewal(created);
                let sealer = renewal.sealer(&read.opened.header, read.opened.origin, &self.unsealer)?;
                stored::write(new, &sealer, &read.content)?;
                Ok(read.content)
            },
            |written, content| {
                made = Some(stored::read_back(written, &self.unsealer, content)?);
                Ok(())
            },
        );
        let (read, changed) = match changed {
            Ok(_) => (made.expect("it was read back before the journal put it in place"), true),
            Err(Stop::Unchanged(read)) => {
                stored::sync(&self.path)?; // whoever made it may have stopped before it was certain to last
                (*read, false)
            }
            Err(Stop::Failed(error)) => return Err(error),
        };
        (self.content, self.opened) = (read.content, read.opened);
        self.tell_anchor()?;
        Ok(changed)
    }

    /// What is on disk now, if it is this ring and no older one.
    fn read_again(&self, file: &mut File) -> Result<Stored, Error> {
        let read = Stored::read(file, &self.unsealer)?;
        if read.content.id != self.content.id {
            return Err(Error::Conflict { path: self.path.display().to_string() });
        }
        check_epoch(read.opened.header.epoch(), self.opened.header.epoch().unwrap_or(0))?;
        Ok(read)
    }

    /// Makes the slots anew, with the epoch after the present one.
    fn renewal(&self, created: Option<u64>) -> Rotate<'a> {
        let mut rotate = match self.unsealer.machine {
            Some(tee) => Rotate::new(tee),
            None => Rotate::without_machine(),
        };
        if let Some(created) = created {
            rotate = rotate.created(created);
        }
        rotate
    }

    fn known_to_anchor(self) -> Result<Self, Error> {
        self.tell_anchor()?;
        Ok(self)
    }

    /// Only once the ring is on disk: an anchor ahead of the ring would lock it out.
    fn tell_anchor(&self) -> Result<(), Error> {
        let Some((anchor, id)) = self.unsealer.demands.anchor else { return Ok(()) };
        Ok(anchor.advance(&id, self.opened.header.epoch().unwrap_or(0))?)
    }
}

impl RingKey {
    /// Its number, from 1.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// 16 random bytes that name the key, and are not secret: they go with the data.
    pub fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// When it was made, in Unix seconds, if whoever made it said so.
    pub fn created(&self) -> Option<u64> {
        self.created
    }

    /// Whether the key is gone from the ring.
    pub fn is_retired(&self) -> bool {
        self.secret.is_none()
    }

    /// The data key.
    ///
    /// # Errors
    /// [`Error::RetiredKey`].
    pub fn secret(&self) -> Result<&Secret<32>, Error> {
        self.secret.as_ref().ok_or(Error::RetiredKey(self.generation))
    }
}

/// Why a change did not go on.
enum Stop {
    /// There is nothing to change.
    Unchanged(Box<Stored>),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
