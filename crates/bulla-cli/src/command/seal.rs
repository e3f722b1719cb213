//! `bulla seal` and `bulla unseal`.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bulla::{Anchor, Freshness, Header, Opened, Opener, Origin, Sealer, Unsealer};

use crate::args::{Range, Seal, Unseal};
use crate::command::floor;
use crate::failure::Failure;
use crate::openers::{self, Openers};
use crate::progress::Watched;
use crate::{anchor, files, machine, say};

/// Seals the input.
pub(crate) fn seal(machine: Option<&str>, options: &Seal) -> Result<(), Failure> {
    let tee = if options.no_machine { None } else { Some(openers::tee(machine, &options.guest)?) };
    let floor = options.floor.as_ref().map(|path| floor::load(path, tee.as_deref())).transpose()?;
    let mut sealer = Sealer::new(&options.context).created(machine::now());
    sealer = openers::seal_to(sealer, tee.as_deref(), &options.new)?;
    sealer = options.label.iter().fold(sealer, |sealer, (name, value)| sealer.label(name, value));
    let anchor = options.anchor.as_deref().map(anchor::open).transpose()?;
    if let Some(epoch) = next_epoch(options, anchor.as_deref())? {
        sealer = sealer.epoch(epoch);
    }
    if options.prove_origin {
        sealer = sealer.prove_origin();
    }
    if let Some(floor) = &floor {
        sealer = sealer.floor(floor);
    }
    if let Some(threads) = options.threads {
        sealer = sealer.threads(threads);
    }

    let input = Watched::new(files::input(options.input.as_deref())?);
    let mut header = None;
    let write = |output: &mut _| {
        header = Some(sealer.seal_stream(input, output)?);
        Ok::<_, bulla::Error>(())
    };
    match tee.as_ref().filter(|_| options.verify) {
        None => files::output(options.output.as_deref(), write)?,
        Some(tee) => files::verified_output(options.output.as_deref(), write, |written| {
            let unsealer = Unsealer::new(&options.context).machine(tee.as_ref());
            unsealer.unseal_stream(written, io::sink()).map(drop)
        })?,
    }
    if let (Some(anchor), Some(epoch)) = (&anchor, header.as_ref().and_then(Header::epoch)) {
        anchor::advance(anchor.as_ref(), &options.context, epoch)?;
        say::note(format_args!("epoch {epoch}: the anchor refuses all before it"));
    }
    if header.is_some_and(|header| is_for_machines_only(&header)) {
        say::note(ONLY_THIS_MACHINE);
    }
    Ok(())
}

/// The epoch that was given, or else the one after what the anchor knows, if there is one (R66).
fn next_epoch(options: &Seal, anchor: Option<&dyn Anchor>) -> Result<Option<u64>, Failure> {
    let Some(anchor) = anchor else { return Ok(options.epoch) };
    let highest = anchor.highest(&anchor::id(&options.context))?.highest;
    match options.epoch {
        Some(epoch) if epoch <= highest => Err(Failure::usage(format!(
            "the anchor knows epoch {highest}: --epoch must be above it, or left out"
        ))),
        Some(epoch) => Ok(Some(epoch)),
        None => Ok(Some(highest.saturating_add(1))),
    }
}

/// What is said of an envelope that has no other opener.
pub(crate) const ONLY_THIS_MACHINE: &str = "sealed to this machine only: it is lost with the machine's keys, so keep another way to the data (--recovery)";

/// Whether nobody could open it once the machines have lost their keys.
pub(crate) fn is_for_machines_only(header: &Header) -> bool {
    header.slots().iter().all(|slot| matches!(slot.opener(), Opener::Machine(_)))
}

/// Opens the input.
pub(crate) fn unseal(machine: Option<&str>, options: &Unseal) -> Result<(), Failure> {
    let openers = Openers::load(machine, &options.openers)?;
    let mut unsealer = openers.unsealer(&options.context);
    if let Some(threads) = options.threads {
        unsealer = unsealer.threads(threads);
    }
    let mut opened = None;
    files::output(options.output.as_deref(), |output| {
        let found = match options.range {
            None => unsealer.unseal_stream(Watched::new(files::input(options.input.as_deref())?), output)?,
            Some(range) => part(&unsealer, options.input.as_deref(), range, output)?,
        };
        opened = Some(found);
        Ok::<_, Failure>(())
    })?;
    if let Some(said) = opened.as_ref().and_then(about) {
        say::note(said);
    }
    match opened.map(|opened| opened.freshness) {
        Some(Freshness::Anchored) => say::note("the anchor knows of no later epoch"),
        Some(Freshness::Unauthenticated) => say::note("the anchor says that it knows of no later epoch"),
        _ => {}
    }
    Ok(())
}

/// Some bytes out of a file, without opening the rest.
fn part(
    unsealer: &Unsealer<'_>,
    input: Option<&Path>,
    range: Range,
    mut output: impl io::Write,
) -> Result<Opened, Failure> {
    let path = files::file(input)
        .ok_or_else(|| Failure::usage("--range needs a file: a stream cannot be read from the middle"))?;
    let mut reader = unsealer.range(files::input(Some(path))?)?;
    let Range { offset, length } = range;
    if offset.checked_add(length).is_none_or(|end| end > reader.len()) {
        return Err(Failure::usage(format!(
            "the range ends beyond the secret, which has {} bytes",
            reader.len()
        )));
    }
    reader
        .seek(SeekFrom::Start(offset))
        .and_then(|_| io::copy(&mut reader.by_ref().take(length), &mut output))
        .map_err(|error| error.downcast::<bulla::Error>().map_or_else(Failure::from, Failure::from))?;
    Ok(reader.opened().clone())
}

/// What is worth saying of what opened: nothing, where only machines could have written and opened it.
fn about(opened: &Opened) -> Option<String> {
    let slot = opened.header.slots().get(opened.slot)?;
    let origin = match opened.origin {
        Origin::Machine => return None,
        Origin::Proved => "this machine wrote it",
        Origin::Unchecked => "it says that a machine wrote it, which was not checked here",
        _ if matches!(slot.opener(), Opener::Machine(_)) => "any of its openers may have written it",
        _ => "everybody who knows the public key may have written it",
    };
    let epoch = opened.header.epoch().map_or(String::new(), |epoch| format!(", epoch {epoch}"));
    Some(format!("opened by slot {} ({}){epoch}; {origin}", opened.slot, slot.kind()))
}
