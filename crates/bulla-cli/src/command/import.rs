//! `bulla import`: what another SDK sealed becomes an envelope.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bulla::import::{Blob, MAX_LEN};
use bulla::{Sealer, Unsealer};

use crate::args::ImportBlob;
use crate::command::floor;
use crate::command::seal::{ONLY_THIS_MACHINE, is_for_machines_only};
use crate::failure::Failure;
use crate::{files, machine, openers, say};

/// Bytes of a file with additional data.
const ADDITIONAL_LIMIT: u64 = 16 << 20;

/// Opens the blob, seals what was in it, and opens that before it says so.
pub(crate) fn run(machine: Option<&str>, options: &ImportBlob) -> Result<(), Failure> {
    if is_same_file(&options.input, &options.output) {
        return Err(Failure::usage("the envelope goes to another file: what is imported stays as it is"));
    }
    let tee = machine::open(machine)?.tee;
    let floor = options.floor.as_ref().map(|path| floor::load(path, Some(tee.as_ref()))).transpose()?;
    let additional =
        options.additional_data.as_ref().map(|path| files::read(path, ADDITIONAL_LIMIT)).transpose()?;
    let bytes = files::read(&options.input, MAX_LEN as u64)?;
    let blob = Blob::parse(&bytes)?;
    if let Some(floor) = &floor {
        blob.check_floor(floor)?;
    }
    let imported = blob.open(tee.as_ref(), additional.as_deref())?;

    let mut sealer = Sealer::new(&options.context).created(machine::now());
    sealer = openers::seal_to(sealer, Some(tee.as_ref()), &options.new)?;
    sealer = imported.labels.iter().fold(sealer, |sealer, (name, value)| sealer.label(name, value));
    if let Some(epoch) = options.epoch {
        sealer = sealer.epoch(epoch);
    }
    if let Some(floor) = &floor {
        sealer = sealer.floor(floor);
    }
    let mut header = None;
    files::verified_output(
        Some(&options.output),
        |file| {
            header = Some(sealer.seal_stream(imported.secret.expose(), file)?);
            Ok::<_, Failure>(())
        },
        |file| reads_back(file, &options.context, tee.as_ref(), imported.secret.expose()),
    )?;
    let (from, to) = (blob.sdk(), options.output.display());
    say::note(format_args!("{to} holds what {from} sealed and opens here; the source is as it was"));
    if header.is_some_and(|header| is_for_machines_only(&header)) {
        say::note(ONLY_THIS_MACHINE);
    }
    Ok(())
}

fn is_same_file(input: &Path, output: &Path) -> bool {
    let place = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino())).ok();
    place(input).is_some() && place(input) == place(output)
}

/// The new envelope gives the same secret (R69).
fn reads_back(
    file: &mut File,
    context: &str,
    tee: &dyn bulla_tee::Tee,
    secret: &[u8],
) -> Result<(), Failure> {
    let mut rest = Expected(secret);
    Unsealer::new(context).machine(tee).unseal_stream(file, &mut rest)?;
    if rest.0.is_empty() { Ok(()) } else { Err(bulla::Error::NotAsWritten.into()) }
}

/// Takes only what is expected.
struct Expected<'a>(&'a [u8]);

impl Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
