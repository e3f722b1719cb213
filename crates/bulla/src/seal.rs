//! Sealing and opening in two lines, for exactly this program on exactly this machine.

use std::io::{Read, Write};

use bulla_crypto::SecretBytes;
use bulla_tee::{Policy, Tee};

use crate::{Error, Opened, Sealer, Unsealer};

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
    Sealer::new(context).machine(tee, Policy::default()).seal(secret)
}

/// Opens what [`seal`] or [`seal_stream`] sealed. The example is at [`seal`].
///
/// # Errors
/// As [`unseal_stream`].
pub fn unseal(tee: &dyn Tee, context: &str, envelope: &[u8]) -> Result<SecretBytes, Error> {
    Unsealer::new(context).machine(tee).unseal(envelope).map(|(secret, _)| secret)
}

/// As [`seal`], from a reader to a writer, in constant memory and on all cores.
///
/// The envelope is complete only if this returns `Ok`. To write a file, go through [`file::replace`](crate::file::replace).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let machine = bulla_sim::Machine::create(dir.path())?;
/// # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
/// let path = dir.path().join("wallet.bulla");
/// let secret = "correct horse".as_bytes();
/// bulla::file::replace(&path, |file| bulla::seal_stream(&machine, "wallet", secret, file))?;
/// # assert_eq!(bulla::unseal(&machine, "wallet", &std::fs::read(&path)?)?.expose(), secret);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`seal`]; [`Error::TooLarge`] beyond 256 TiB; [`Error::Io`] when `input` or `output` fails.
pub fn seal_stream(
    tee: &dyn Tee,
    context: &str,
    input: impl Read + Send,
    output: impl Write + Send,
) -> Result<(), Error> {
    Sealer::new(context).machine(tee, Policy::default()).seal_stream(input, output).map(|_| ())
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
/// bulla::file::replace(&path, |file| {
///     bulla::unseal_stream(&machine, "wallet", sealed.as_slice(), file).map(|_| ())
/// })?;
/// # assert_eq!(std::fs::read(&path)?, b"correct horse");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`Unsealer::unseal_stream`].
pub fn unseal_stream(
    tee: &dyn Tee,
    context: &str,
    input: impl Read + Send,
    output: impl Write + Send,
) -> Result<Opened, Error> {
    Unsealer::new(context).machine(tee).unseal_stream(input, output)
}
