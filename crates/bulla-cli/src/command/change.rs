//! `bulla rewrap` and `bulla rotate`: who may open envelopes, and their keys, changed in place.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bulla::journal::{Changed, Journal, Recovered};
use bulla::{Error, Header, Slot, Unsealer};

use crate::args::{Files, Rewrap, Rotate};
use crate::command::seal::is_for_machines_only;
use crate::failure::Failure;
use crate::openers::{self, Openers};
use crate::{files, machine, say};

/// Changes who may open.
pub(crate) fn rewrap(machine: Option<&str>, options: &Rewrap) -> Result<(), Failure> {
    let openers = Openers::load(machine, &options.openers)?;
    let rewrap = rewrapping(options, &openers)?;
    let change = Change {
        files: &options.files,
        openers: &openers,
        in_place: &|unsealer, path| rewrap.file(unsealer, path),
        copy: &|unsealer, input, output| rewrap.run(unsealer, input, output),
    };
    change.run()?;
    if !options.drop.is_empty() {
        say::note(
            "dropping is not revocation: who opened it by that slot still opens every older copy; `bulla rotate` revokes",
        );
    }
    Ok(())
}

fn rewrapping<'a>(options: &Rewrap, openers: &'a Openers) -> Result<bulla::Rewrap<'a>, Failure> {
    let tee = || openers.tee().ok_or_else(|| Failure::usage("this needs a machine: add --machine"));
    let mut rewrap = bulla::Rewrap::new();
    if let Some(policy) = &options.add_machine {
        rewrap = rewrap.machine(tee()?, policy.parse()?);
    }
    rewrap = openers::recipients(&options.add_recovery)?.iter().fold(rewrap, bulla::Rewrap::recovery);
    if let Some(threshold) = options.add_threshold {
        rewrap = rewrap.threshold(threshold, &openers::recipients(&options.holder)?);
    }
    rewrap = options.drop.iter().fold(rewrap, |rewrap, index| rewrap.drop(*index));
    if options.drop_successors {
        rewrap = rewrap.drop_successors();
    }
    if let Some(epoch) = options.epoch {
        rewrap = rewrap.epoch(epoch);
    }
    if options.refresh || changes_nothing(options) {
        rewrap = rewrap.refresh(tee()?);
    }
    if let Some(floor) = openers.floor() {
        rewrap = rewrap.floor(floor);
    }
    if let Some(threads) = options.files.threads {
        rewrap = rewrap.threads(threads);
    }
    if options.force {
        rewrap = rewrap.force();
    }
    Ok(if options.vouch { rewrap.vouch() } else { rewrap })
}

fn changes_nothing(options: &Rewrap) -> bool {
    options.add_machine.is_none()
        && options.add_recovery.is_empty()
        && options.add_threshold.is_none()
        && options.drop.is_empty()
        && options.epoch.is_none()
        && !options.drop_successors
        && !options.vouch
}

/// Gives new keys.
pub(crate) fn rotate(machine: Option<&str>, options: &Rotate) -> Result<(), Failure> {
    let openers = Openers::load(machine, &options.openers)?;
    let mut rotate = match openers.tee() {
        Some(tee) => bulla::Rotate::new(tee),
        None => bulla::Rotate::without_machine(),
    };
    rotate = options.drop.iter().fold(rotate, |rotate, index| rotate.drop(*index)).created(machine::now());
    if let Some(epoch) = options.epoch {
        rotate = rotate.epoch(epoch);
    }
    if options.vouch {
        rotate = rotate.vouch();
    }
    if let Some(floor) = openers.floor() {
        rotate = rotate.floor(floor);
    }
    if let Some(threads) = options.files.threads {
        rotate = rotate.threads(threads);
    }
    let change = Change {
        files: &options.files,
        openers: &openers,
        in_place: &|unsealer, path| rotate.file(unsealer, path),
        copy: &|unsealer, input, output| rotate.run(unsealer, input, output),
    };
    change.run()?;
    if !options.drop.is_empty() && !options.files.prune && change.is_in_place() {
        say::note(
            "the copy from before is kept beside it and still opens for who was dropped: once all is well, rotate with --prune \
             or remove it",
        );
    }
    Ok(())
}

type InPlace<'a> = dyn Fn(&Unsealer<'_>, &Path) -> Result<Changed<Header>, Error> + 'a;
type Copy<'a> = dyn Fn(&Unsealer<'_>, Box<dyn Read + Send>, &mut File) -> Result<Header, Error> + 'a;

/// A change of envelopes, in place or as a filter.
struct Change<'a> {
    files: &'a Files,
    openers: &'a Openers,
    in_place: &'a InPlace<'a>,
    copy: &'a Copy<'a>,
}

impl Change<'_> {
    fn run(&self) -> Result<(), Failure> {
        let inputs: Vec<_> = self.files.files.iter().map(|path| files::file(Some(path))).collect();
        match (inputs.as_slice(), &self.files.output) {
            ([], _) | ([None], _) => self.filter(None),
            ([Some(path)], Some(_)) => self.filter(Some(path)),
            (_, Some(_)) => Err(Failure::usage("-o takes one envelope: without it each is changed in place")),
            (paths, None) => {
                let paths: Option<Vec<_>> = paths.iter().copied().collect();
                let paths = paths.ok_or_else(|| Failure::usage("`-` stands alone"))?;
                each(&paths, |path| self.file(path))
            }
        }
    }

    fn is_in_place(&self) -> bool {
        let mut inputs = self.files.files.iter();
        self.files.output.is_none() && inputs.any(|path| files::file(Some(path)).is_some())
    }

    /// From an input to the output.
    fn filter(&self, input: Option<&Path>) -> Result<(), Failure> {
        let output = self.files.output.as_deref();
        if self.openers.has_anchor() && files::file(output).is_none() {
            return Err(Failure::usage("--anchor needs a file: it is told of what is in its place"));
        }
        let mut changed = None;
        files::output(output, |output| {
            let (claimed, input) = files::with_header(files::input(input)?)?;
            let unsealer = self.openers.unsealer(self.context(&claimed));
            let header = (self.copy)(&unsealer, Box::new(input), output)?;
            warn_if_for_machines_only(&header);
            changed = Some(header);
            Ok::<_, Failure>(())
        })?;
        changed.map_or(Ok(()), |header| self.openers.tell_anchor(&header))
    }

    /// One file, in place.
    fn file(&self, path: &Path) -> Result<(), Failure> {
        let claimed = match &self.files.context {
            Some(context) => context.clone(),
            None => Header::read(&mut files::input(Some(path))?)?.context().to_owned(),
        };
        let changed = (self.in_place)(&self.openers.unsealer(&claimed), path)?;
        told(path, &changed);
        self.openers.tell_anchor(&changed.value)?;
        warn_if_for_machines_only(&changed.value);
        if self.files.prune {
            Journal::at(path)?.retire()?;
        }
        Ok(())
    }

    /// The context that was asked for, or else what the header claims.
    fn context<'b>(&'b self, claimed: &'b Header) -> &'b str {
        self.files.context.as_deref().unwrap_or(claimed.context())
    }
}

/// Changes one file after another; a failure does not keep the others from being changed. Fails like the first that did.
pub(crate) fn each(
    paths: &[&Path],
    mut change: impl FnMut(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut failures = paths.iter().filter_map(|path| change(path).err().map(|failure| failure.about(path)));
    let Some(first) = failures.next() else { return Ok(()) };
    failures.for_each(|failure| say::failure(&failure));
    Err(first)
}

/// Says what became of a file.
pub(crate) fn told(path: &Path, changed: &Changed<Header>) {
    let path = path.display();
    let Recovered { undone, restored, .. } = changed.recovered;
    if undone {
        say::note(format_args!("{path}: an earlier change had stopped before its end and was undone first"));
    }
    if restored {
        say::note(format_args!("{path}: it was gone, and its last kept generation took its place first"));
    }
    let slots: Vec<_> = changed.value.slots().iter().map(named).collect();
    say::note(format_args!(
        "{path}: now opens for {}",
        if slots.is_empty() { "nobody".into() } else { slots.join(", ") }
    ));
}

/// The kind of a slot, and who its recipients are, so that one that should be gone is seen.
fn named(slot: &Slot) -> String {
    slot.recipients().fold(slot.kind().to_owned(), |name, recipient| {
        let id = hex::encode(recipient.id());
        format!("{name} {}", id.get(..8).unwrap_or_default())
    })
}

fn warn_if_for_machines_only(header: &Header) {
    if is_for_machines_only(header) {
        say::note(
            "only machines open it: it is lost with their keys, so keep another way to the data (--add-recovery)",
        );
    }
}
