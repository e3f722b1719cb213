//! What is signed by k of n keys: reading it, and adding a signature.

use std::io::Write;
use std::path::Path;

use bulla_crypto::{SecretBytes, SigningKey};
use bulla_protocol::{Descriptor, DocumentRole, Signed, signing_key_from_text};

use crate::args::Signing;
use crate::failure::Failure;
use crate::{files, openers, say};

const KEY_LIMIT: u64 = 4096;

/// A document, with the signatures that it has, if any.
pub(crate) enum Document {
    Plain(String),
    Signed(Signed),
}

impl Document {
    /// Reads a file. A signed document is JSON, and no other document begins as an object does.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = files::read(path, Signed::LIMIT as u64)?;
        let text =
            String::from_utf8(bytes).map_err(|_| Failure::usage("it is not a text file").about(path))?;
        if !text.trim_start().starts_with('{') {
            return Ok(Self::Plain(text));
        }
        Signed::from_json(text.as_bytes()).map(Self::Signed).map_err(|error| Failure::from(error).about(path))
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Signed(signed) => &signed.document,
        }
    }
}

/// Reads a descriptor.
pub(crate) fn descriptor(path: &Path) -> Result<Descriptor, Failure> {
    let text = String::from_utf8(files::read(path, Descriptor::LIMIT as u64)?)
        .map_err(|_| Failure::usage("it is not a text file").about(path))?;
    Descriptor::from_toml(&text).map_err(|error| Failure::usage(error.to_string()).about(path))
}

/// The content of a key file, built without leaving copies of the key behind.
pub(crate) fn key_file(key: &SigningKey) -> SecretBytes {
    let public = hex::encode(key.verifying_key().as_bytes());
    let comment = format!("# the private key of a bulla signer: keep it secret\n# public: {public}\n");
    let text = bulla_protocol::signing_key_to_text(key);
    let mut content = Vec::with_capacity(comment.len() + text.expose().len() + 1);
    content.extend_from_slice(comment.as_bytes());
    content.extend_from_slice(text.expose());
    content.push(b'\n');
    SecretBytes::new(content)
}

/// Reads a signer's private key.
pub(crate) fn key(path: &Path) -> Result<SigningKey, Failure> {
    openers::warn_if_others_can_read(path);
    let text = files::secret(path, KEY_LIMIT)?;
    let text =
        str::from_utf8(text.expose()).map_err(|_| Failure::usage("it is not a text file").about(path))?;
    signing_key_from_text(text).map_err(|error| Failure::usage(error.to_string()).about(path))
}

/// Adds a signature to a document that `read` takes for one of its role, and writes it.
pub(crate) fn sign(
    options: &Signing,
    role: DocumentRole,
    read: impl FnOnce(&str, &Descriptor) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut signed = match (Document::read(&options.document)?, &options.descriptor) {
        (Document::Plain(text), Some(path)) => Signed::new(&descriptor(path)?, &text),
        (Document::Plain(_), None) => {
            return Err(Failure::usage(
                "--descriptor is missing: nobody has signed this yet, so it names no signers",
            ));
        }
        (Document::Signed(signed), None) => signed,
        (Document::Signed(_), Some(_)) => {
            return Err(Failure::usage("--descriptor is too much: what is signed already names its signers"));
        }
    };
    let signers = signed.signers()?;
    read(&signed.document, &signers).map_err(|failure| failure.about(&options.document))?;
    signed.sign(role, &key(&options.key)?)?;
    files::output(options.output.as_deref(), |output| output.write_all(signed.to_json().as_bytes()))?;
    let (found, wanted) = (signed.signatures.len(), usize::from(signers.threshold()));
    let missing = wanted.saturating_sub(found);
    say::note(match missing {
        0 => format!("signed by {found} of {wanted}: complete, as {} of {}", role.as_str(), signers.name()),
        _ => format!("signed by {found} of {wanted}: {missing} more of {} have to", signers.name()),
    });
    Ok(())
}

/// In which role it is signed, and by how many; `None` where nobody has signed yet.
pub(crate) fn standing(signed: &Signed) -> Result<Option<(DocumentRole, usize)>, Failure> {
    if signed.signatures.is_empty() {
        signed.signers()?;
        return Ok(None);
    }
    let mut counts = DocumentRole::ALL.map(|role| signed.count(role).map(|count| (role, count))).into_iter();
    match counts.clone().find_map(Result::ok) {
        Some(found) => Ok(Some(found)),
        None => Ok(counts.next().transpose()?),
    }
}
