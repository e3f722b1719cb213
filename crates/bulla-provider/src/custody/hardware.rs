//! Custody `hardware`: the root of an epoch is what the processor derives for this enclave from one recorded request.
//!
//! The record is public: without the processor and this enclave it is worth nothing. What matters is that an entry never
//! changes, because another request is another root, and another root is another key for every guest (R1, R5, R95).

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bulla::journal::Journal;
use serde::{Deserialize, Serialize};

use bulla_tee::{KeyRequest, Policy as KeyPolicy, Tee};

use super::{CustodyError, Root, Roots, State};
use crate::Error;
use crate::policy::Policy;

/// The record of the roots.
pub(super) const FILE: &str = "root.request";
/// More than any record has.
const LARGEST: u64 = 1024 * 1024;
const VERSION: u8 = 1;
const HEAD: &str =
    "# Which keys of this machine the provider's roots are. Public, and needed at every start: keep it.\n";

/// The roots that the processor derives.
pub(super) struct Hardware {
    tee: Arc<dyn Tee>,
    path: PathBuf,
    authority: [u8; 32],
}

/// `root.request`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u8,
    /// Epoch 1 first, without a gap.
    epoch: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    number: u32,
    /// [`Root::id`], in hex: tells a wrong root before anyone gets a key from it.
    root_id: String,
    /// What the machine is asked for: [`KeyRequest::kind`], and [`KeyRequest::encode`] in hex. Neither is there once the epoch is
    /// retired.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
}

impl Hardware {
    pub(super) fn new(tee: &Arc<dyn Tee>, state: &State, policy: &Policy) -> Self {
        Self { tee: Arc::clone(tee), path: state.path(FILE), authority: policy.authority }
    }

    /// Chooses the first root.
    pub(super) fn create(&self) -> Result<(), Error> {
        self.journal()?.create(
            |new| {
                let record = Record { version: VERSION, epoch: vec![self.new_entry(1)?] };
                write(new, &record)
            },
            |written, ()| self.read(written).map(drop),
        )
    }

    /// The roots of all epochs that are not retired.
    pub(super) fn roots(&self) -> Result<Roots, Error> {
        let (_, roots) = self.read(&mut bulla::file::open_sealed(&self.path, LARGEST)?)?;
        Roots::new(roots, None).ok_or_else(|| self.damaged("every epoch is retired"))
    }

    /// Adds an epoch with a selector of today's versions.
    pub(super) fn rotate(&self, to: u32) -> Result<bool, Error> {
        self.change(|record| {
            let newest = record.newest();
            if (1..=newest).contains(&to) {
                return Ok(false);
            }
            if to.checked_sub(1) != Some(newest) {
                return Err(CustodyError::NotNext { next: newest + 1 }.into());
            }
            record.epoch.push(self.new_entry(to)?);
            Ok(true)
        })
    }

    /// Forgets the selector of an epoch. Its number and its id stay taken (R86).
    pub(super) fn retire(&self, epoch: u32) -> Result<bool, Error> {
        self.change(|record| {
            let newest = record.newest();
            let entry = record.epoch.iter_mut().find(|entry| entry.number == epoch);
            let entry = entry.ok_or(CustodyError::NoSuchEpoch(epoch))?;
            if epoch == newest {
                return Err(CustodyError::CurrentEpoch(epoch).into());
            }
            entry.kind = None;
            Ok(entry.request.take().is_some())
        })
    }

    /// `edit` says whether there is something to change.
    fn change(&self, edit: impl FnOnce(&mut Record) -> Result<bool, Error>) -> Result<bool, Error> {
        // Where the record is gone the journal would bring back an older one.
        bulla::file::open_sealed(&self.path, LARGEST)?;
        let changed = self.journal()?.change(
            |old, new| {
                let (mut record, _) = self.read(old)?;
                if !edit(&mut record)? {
                    return Err(Stop::Unchanged);
                }
                Ok(write(new, &record)?)
            },
            |written, ()| Ok(self.read(written).map(drop)?),
        );
        match changed {
            Ok(_) => Ok(true),
            Err(Stop::Unchanged) => Ok(false),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn new_entry(&self, number: u32) -> Result<Entry, Error> {
        let (request, machine_key) = self.tee.bind(&KeyPolicy::measurement())?;
        let (kind, request) = (request.kind().to_owned(), request.encode());
        let root = Root::hardware(&self.authority, number, &kind, &request, machine_key.expose());
        let (root_id, request) = (hex::encode(root.id()), Some(hex::encode(request)));
        Ok(Entry { number, root_id, kind: Some(kind), request })
    }

    fn read(&self, file: &mut File) -> Result<(Record, Vec<Root>), Error> {
        let mut text = String::new();
        file.take(LARGEST).read_to_string(&mut text).map_err(|error| self.damaged(error.to_string()))?;
        let record: Record = toml::from_str(&text).map_err(|error| self.damaged(error.message()))?;
        if record.version != VERSION {
            return Err(self.damaged(format!("version {}, and {VERSION} is known", record.version)));
        }
        if !record.epoch.iter().zip(1..).all(|(entry, number)| entry.number == number) {
            return Err(self.damaged("its epochs are not numbered from 1"));
        }
        if record.epoch.last().is_none_or(|entry| entry.request.is_none()) {
            return Err(self.damaged("its newest epoch has no selector"));
        }
        let roots = record.epoch.iter().filter_map(|entry| self.root(entry).transpose());
        let roots = roots.collect::<Result<_, _>>()?;
        Ok((record, roots))
    }

    fn root(&self, entry: &Entry) -> Result<Option<Root>, Error> {
        let (kind, request) = match (&entry.kind, &entry.request) {
            (Some(kind), Some(request)) => (kind, request),
            (None, None) => return Ok(None),
            _ => return Err(self.damaged(format!("half of epoch {} is missing", entry.number))),
        };
        let bytes = hex::decode(request).map_err(|error| self.damaged(error.to_string()))?;
        let request = KeyRequest::decode(kind, &bytes).map_err(|error| self.damaged(error.to_string()))?;
        let machine_key = self.tee.derive(&request)?;
        let root = Root::hardware(&self.authority, entry.number, kind, &bytes, machine_key.expose());
        if hex::encode(root.id()) != entry.root_id {
            return Err(Error::OtherRoot { path: self.path.clone() });
        }
        Ok(Some(root))
    }

    fn journal(&self) -> Result<Journal, Error> {
        Ok(Journal::at(&self.path)?.largest(LARGEST))
    }

    fn damaged(&self, reason: impl Into<String>) -> Error {
        Error::DamagedSeal { path: self.path.clone(), reason: reason.into() }
    }
}

impl Record {
    fn newest(&self) -> u32 {
        self.epoch.last().map_or(0, |entry| entry.number)
    }
}

impl Root {
    /// Every byte of the request enters it, also those that only describe.
    pub(crate) fn hardware(
        authority: &[u8; 32],
        epoch: u32,
        kind: &str,
        request: &[u8],
        machine_key: &[u8],
    ) -> Self {
        let origin = [("kind", kind.as_bytes()), ("request", request)];
        Self::derive("hardware", authority, epoch, origin, machine_key)
    }
}

fn write(file: &mut File, record: &Record) -> Result<(), Error> {
    let text = toml::to_string(record).expect("numbers and texts are TOML");
    let written = file.write_all(HEAD.as_bytes()).and_then(|()| file.write_all(text.as_bytes()));
    written.map_err(Error::io("writing root.request"))
}

/// Why a change did not go on.
enum Stop {
    Unchanged,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
