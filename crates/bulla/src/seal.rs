//! Sealing and opening.

use std::io::{Read, Write};
use std::mem;

use zeroize::Zeroizing;

use bulla_crypto::SecretBytes;
use bulla_tee::Tee;

use crate::file_key::FileKey;
use crate::header::{Header, Meta, check_context, read_array};
use crate::slot::Slot;
use crate::{Error, slot, stream};

/// Seals `secret` to what runs here, for `context`: only the same program on the same machine opens it, and only for the
/// same context.
///
/// A context says what the secret is for, in 1 to 1024 bytes (R63). It is no secret: it stands readable in the envelope.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let machine = bulla_sim::Machine::create(dir.path())?;
/// # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
/// let sealed = bulla::seal(&machine, "wallet", b"correct horse")?;
/// let secret = bulla::unseal(&machine, "wallet", &sealed)?;
/// # assert_eq!(secret.expose(), b"correct horse");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::InvalidContext`]; [`Error::Machine`] and [`Error::Entropy`], after which nothing was sealed.
pub fn seal(tee: &dyn Tee, context: &str, secret: &[u8]) -> Result<Vec<u8>, Error> {
    let mut sealed = Vec::new();
    seal_stream(tee, context, None, secret, &mut sealed)?;
    Ok(sealed)
}

/// Opens what [`seal`] or [`seal_stream`] sealed. The example is at [`seal`].
///
/// # Errors
/// As [`unseal_stream`].
pub fn unseal(tee: &dyn Tee, context: &str, envelope: &[u8]) -> Result<SecretBytes, Error> {
    // A plaintext is shorter than its envelope, so this never grows and leaves no copy behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(envelope.len()));
    unseal_stream(tee, context, envelope, &mut *secret)?;
    Ok(SecretBytes::new(mem::take(&mut secret)))
}

/// As [`seal`], from a reader to a writer, in constant memory. `created` is a time in Unix seconds to record in the
/// header, readable and authenticated; the library itself reads no clock.
///
/// The envelope is complete only if this returns `Ok`. To write a file, go through [`file::replace`](crate::file::replace).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let machine = bulla_sim::Machine::create(dir.path())?;
/// # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
/// let path = dir.path().join("wallet.bulla");
/// let secret = "correct horse".as_bytes();
/// bulla::file::replace(&path, |file| bulla::seal_stream(&machine, "wallet", None, secret, file))?;
/// # assert_eq!(bulla::unseal(&machine, "wallet", &std::fs::read(&path)?)?.expose(), secret);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`seal`]; [`Error::TooLarge`] beyond 256 TiB; [`Error::Io`] when `input` or `output` fails.
pub fn seal_stream(
    tee: &dyn Tee,
    context: &str,
    created: Option<u64>,
    input: impl Read,
    mut output: impl Write,
) -> Result<(), Error> {
    check_context(context)?;
    let file_key = FileKey::random()?;
    let meta = Meta::fresh(context, created)?;
    let slot = Slot::for_machine(tee, &meta, &file_key)?;
    let header = Header::new(meta, vec![slot])?;

    let writing = || Error::io("writing the envelope");
    output.write_all(header.bytes()).map_err(writing())?;
    output.write_all(&file_key.mac(&header)).map_err(writing())?;
    stream::seal(&file_key.payload_key(header.meta()), input, &mut output)?;
    output.flush().map_err(writing())
}

/// As [`unseal`], from a reader, which it reads to its end, to a writer, in constant memory.
///
/// Every byte written has been authenticated, but **the secret is complete only if this returns `Ok`** (R59): after an error
/// throw away what was written. To write a file, go through [`file::replace`](crate::file::replace), which does that.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let machine = bulla_sim::Machine::create(dir.path())?;
/// # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
/// # let sealed = bulla::seal(&machine, "wallet", b"correct horse")?;
/// let path = dir.path().join("wallet");
/// bulla::file::replace(&path, |file| bulla::unseal_stream(&machine, "wallet", sealed.as_slice(), file))?;
/// # assert_eq!(std::fs::read(&path)?, b"correct horse");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// In the order of the checks: [`Error::InvalidContext`]; those of [`Header::read`] for what is no intact envelope;
/// [`Error::OtherContext`]; [`Error::Machine`] with the reason why this machine cannot have the key;
/// [`Error::HeaderChanged`] and, while the payload is read, [`Error::PayloadChanged`] or [`Error::Truncated`] for what was
/// changed; [`Error::Io`] when `input` or `output` fails.
pub fn unseal_stream(
    tee: &dyn Tee,
    context: &str,
    mut input: impl Read,
    mut output: impl Write,
) -> Result<(), Error> {
    check_context(context)?;
    let header = Header::read(&mut input)?;
    let mac = read_array(&mut input)?;
    if header.context() != context {
        let (claimed, wanted) = (header.context().to_owned(), context.to_owned());
        return Err(Error::OtherContext { claimed, wanted });
    }
    let file_key = slot::open(tee, &header, &mac)?;
    stream::open(&file_key.payload_key(header.meta()), input, &mut output)?;
    output.flush().map_err(Error::io("writing the secret"))
}
