//! `bulla recipient`: keys that open where no machine can.

use std::io::Write;

use bulla::{Header, Kem, Opener, RecipientKey, Sealer, Share};
use bulla_crypto::SecretBytes;
use serde_json::json;

use crate::args::{Kind, Recipient, RecipientNew, RecipientShare, RecipientShow};
use crate::failure::Failure;
use crate::{files, openers, say};

/// Runs a subcommand.
pub(crate) fn run(subcommand: &Recipient) -> Result<(), Failure> {
    match subcommand {
        Recipient::New(options) => new(options),
        Recipient::Show(options) => show(options),
        Recipient::Share(options) => share(options),
    }
}

/// The name of a kind of key.
pub(crate) fn kem(kem: Kem) -> &'static str {
    match kem {
        Kem::XWing => "X-Wing",
        Kem::X25519 => "X25519",
    }
}

fn new(options: &RecipientNew) -> Result<(), Failure> {
    let key = RecipientKey::generate(match options.kind {
        Kind::Hybrid => Kem::XWing,
        Kind::X25519 => Kem::X25519,
    })?;
    files::create(&options.output, file_of(&key).expose())?;
    say::note(format_args!("{} opens all that is sealed to it: keep it offline", options.output.display()));
    print(&key, options.json);
    Ok(())
}

fn show(options: &RecipientShow) -> Result<(), Failure> {
    print(&openers::key(&options.key)?, options.json);
    Ok(())
}

/// The content of a key file, built without leaving copies of the key behind.
fn file_of(key: &RecipientKey) -> SecretBytes {
    let comment =
        format!("# the private key of a bulla recipient: keep it secret\n# public: {}\n", key.recipient());
    let text = key.to_text();
    let mut content = Vec::with_capacity(comment.len() + text.expose().len() + 1);
    content.extend_from_slice(comment.as_bytes());
    content.extend_from_slice(text.expose());
    content.push(b'\n');
    SecretBytes::new(content)
}

fn print(key: &RecipientKey, json: bool) {
    let recipient = key.recipient();
    if json {
        say::result(json!({
            "recipient": recipient.to_string(),
            "id": hex::encode(recipient.id()),
            "kem": kem(recipient.kem()),
        }));
    } else {
        say::result(recipient);
    }
}

/// A holder takes out its share.
fn share(options: &RecipientShare) -> Result<(), Failure> {
    let key = openers::key(&options.key)?;
    let header = Header::read(&mut files::input(Some(&options.envelope))?)?;
    if let Some(wanted) = options.context.as_deref().filter(|wanted| *wanted != header.context()) {
        let (claimed, wanted) = (header.context().to_owned(), wanted.to_owned());
        return Err(bulla::Error::OtherContext { claimed, wanted }.into());
    }
    let share = Share::take(&header, &key)?;
    let text = share.to_text();
    match &options.to {
        None => files::output(options.output.as_deref(), |output| {
            output.write_all(text.expose()).and_then(|()| output.write_all(b"\n"))
        })?,
        Some(to) => {
            let sealed =
                Sealer::new(openers::SHARE_CONTEXT).recovery(&openers::recipient(to)?).seal(text.expose())?;
            files::output(options.output.as_deref(), |output| output.write_all(&sealed))?;
        }
    }
    let context = header.context().escape_debug();
    let (threshold, of) = shape(&header, &share);
    say::note(format_args!(
        "share {} of {of}, of which {threshold} open what is sealed for \"{context}\"",
        share.index()
    ));
    Ok(())
}

/// How many shares open the slot that a share is of, and how many there are.
fn shape(header: &Header, share: &Share) -> (u8, usize) {
    let mut slots = header.slots().iter().filter(|slot| slot.salt() == share.slot());
    let shape = slots.find_map(|slot| match slot.opener() {
        Opener::Threshold(opener) => Some((opener.threshold(), opener.recipients().len())),
        _ => None,
    });
    shape.unwrap_or_default()
}
