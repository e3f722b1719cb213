//! The openers at hand: this machine, private keys, shares; and the values of options that name recipients.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulla::{Floor, Header, Recipient, RecipientKey, Sealer, Share, Unsealer};
use bulla_client::ProviderTee;
use bulla_crypto::SecretBytes;
use bulla_tee::{Anchor, Tee};

use crate::args::{self, Demands, Guest};
use crate::command::{floor, request};
use crate::failure::Failure;
use crate::{anchor, files, machine, say};

/// Bytes of a file with a key, a share or a recipient.
const KEY_LIMIT: u64 = 64 * 1024;
/// The context of a share that is sealed to whoever recovers.
pub(crate) const SHARE_CONTEXT: &str = "bulla/share";

/// What opens, and what it demands.
pub(crate) struct Openers {
    tee: Option<Arc<dyn Tee>>,
    keys: Vec<RecipientKey>,
    shares: Vec<Share>,
    expected: Vec<Recipient>,
    floor: Option<Floor>,
    anchor: Option<Box<dyn Anchor>>,
    at_least: u64,
    require_origin: bool,
    below_floor: bool,
}

impl Openers {
    /// Those of the command line. A machine is needed unless there are keys or shares.
    pub(crate) fn load(machine: Option<&str>, options: &args::Openers) -> Result<Self, Failure> {
        Self::of(machine, &options.guest, &options.key, &options.demands)
    }

    /// Those of the command line, which names the private keys by itself.
    pub(crate) fn of(
        machine: Option<&str>,
        guest: &Guest,
        keys: &[PathBuf],
        demands: &Demands,
    ) -> Result<Self, Failure> {
        let alone = machine.is_none() && !(keys.is_empty() && demands.share.is_empty());
        let tee = if alone { None } else { Some(tee(machine, guest)?) };
        let keys = keys.iter().map(|path| key(path)).collect::<Result<Vec<_>, _>>()?;
        let shares = demands.share.iter().map(|path| share(path, &keys)).collect::<Result<_, _>>()?;
        let floor = demands.floor.as_ref().map(|path| floor::load(path, tee.as_deref())).transpose()?;
        Ok(Self {
            tee,
            keys,
            shares,
            expected: recipients(&demands.expect)?,
            floor,
            anchor: demands.anchor.as_deref().map(anchor::open).transpose()?,
            at_least: demands.at_least,
            require_origin: demands.require_origin,
            below_floor: demands.below_floor,
        })
    }

    /// The machine, if there is one.
    pub(crate) fn tee(&self) -> Option<&dyn Tee> {
        self.tee.as_deref()
    }

    /// The floor, if there is one.
    pub(crate) fn floor(&self) -> Option<&Floor> {
        self.floor.as_ref()
    }

    /// Whether epochs are compared with an anchor's.
    pub(crate) fn has_anchor(&self) -> bool {
        self.anchor.is_some()
    }

    /// Tells the anchor, if there is one, of an envelope that is in its place.
    pub(crate) fn tell_anchor(&self, header: &Header) -> Result<(), Failure> {
        match (&self.anchor, header.epoch()) {
            (Some(anchor), Some(epoch)) => anchor::advance(anchor.as_ref(), header.context(), epoch),
            _ => Ok(()),
        }
    }

    /// Opens envelopes of `context` with all of them.
    pub(crate) fn unsealer(&self, context: &str) -> Unsealer<'_> {
        let mut unsealer = Unsealer::new(context).at_least(self.at_least);
        if let Some(tee) = self.tee() {
            unsealer = unsealer.machine(tee);
        }
        unsealer = self.keys.iter().fold(unsealer, Unsealer::key);
        unsealer = self.shares.iter().fold(unsealer, Unsealer::share);
        if !self.expected.is_empty() {
            unsealer = unsealer.expect_recipients(&self.expected);
        }
        if self.require_origin {
            unsealer = unsealer.require_origin();
        }
        if let Some(floor) = self.floor() {
            unsealer = unsealer.floor(floor);
        }
        if let Some(anchor) = &self.anchor {
            unsealer = unsealer.anchor(anchor.as_ref(), anchor::id(context));
        }
        if self.below_floor { unsealer.below_floor() } else { unsealer }
    }
}

/// Names `tee`, if there is one, and the others of the command line as those who open.
pub(crate) fn seal_to<'a>(
    mut sealer: Sealer<'a>,
    tee: Option<&'a dyn Tee>,
    options: &args::NewOpeners,
) -> Result<Sealer<'a>, Failure> {
    if let Some(tee) = tee {
        sealer = sealer.machine(tee, options.policy.parse()?);
    }
    sealer = recipients(&options.recovery)?.iter().fold(sealer, Sealer::recovery);
    match options.threshold {
        Some(threshold) => Ok(sealer.threshold(threshold, &recipients(&options.holder)?)),
        None => Ok(sealer),
    }
}

/// The machine itself, or the guest and its provider as one machine.
pub(crate) fn tee(machine: Option<&str>, guest: &Guest) -> Result<Arc<dyn Tee>, Failure> {
    let machine = machine::open_approved(machine, &guest.approval)?;
    match &guest.provider {
        None => Ok(machine.tee),
        Some(address) => {
            let tee = ProviderTee::new(request::client(machine, address, &guest.pin)?);
            Ok(Arc::new(match request::entitlement(&guest.entitled)? {
                None => tee,
                Some((owner, manifest)) => tee.entitled(owner, manifest),
            }))
        }
    }
}

/// The private key in a file.
pub(crate) fn key(path: &Path) -> Result<RecipientKey, Failure> {
    warn_if_others_can_read(path);
    let text = files::secret(path, KEY_LIMIT)?;
    let key = RecipientKey::from_text(text_of(path, &text)?);
    key.map_err(|error| Failure::from(error).about(path))
}

/// The share in a file, as text or sealed to one of the keys.
fn share(path: &Path, keys: &[RecipientKey]) -> Result<Share, Failure> {
    let content = files::secret(path, KEY_LIMIT)?;
    let share = match str::from_utf8(content.expose()) {
        Ok(text) => Share::from_text(text),
        // No envelope is text.
        Err(_) => opened_share(content.expose(), keys),
    };
    share.map_err(|error| Failure::from(error).about(path))
}

fn opened_share(envelope: &[u8], keys: &[RecipientKey]) -> Result<Share, bulla::Error> {
    let unsealer = keys.iter().fold(Unsealer::new(SHARE_CONTEXT), Unsealer::key);
    let (text, _) = unsealer.unseal(envelope)?;
    Share::from_text(str::from_utf8(text.expose()).unwrap_or_default())
}

/// Recipients, each given as text or as a file with it.
pub(crate) fn recipients(values: &[String]) -> Result<Vec<Recipient>, Failure> {
    values.iter().map(|value| recipient(value)).collect()
}

/// A recipient, given as text or as a file with it.
pub(crate) fn recipient(value: &str) -> Result<Recipient, Failure> {
    if value.starts_with("bulla-recipient-") {
        return Ok(value.parse()?);
    }
    let path = Path::new(value);
    let text = files::secret(path, KEY_LIMIT)?;
    text_of(path, &text)?.parse().map_err(|error: bulla::Error| Failure::from(error).about(path))
}

fn text_of<'a>(path: &Path, bytes: &'a SecretBytes) -> Result<&'a str, Failure> {
    str::from_utf8(bytes.expose())
        .map_err(|_| Failure::usage(format!("{} is not a text file", path.display())))
}

/// Says so if a private key is open to other users (R73); pipes and standard input are not files.
pub(crate) fn warn_if_others_can_read(path: &Path) {
    let found = fs::metadata(path).ok().filter(|found| found.is_file() && found.mode() & 0o077 != 0);
    if found.is_some() {
        let path = path.display();
        say::note(format_args!("{path} is open to other users of this system: chmod 600 {path}"));
    }
}
