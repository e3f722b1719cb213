//! A payload that is in memory as a whole: from slice to slice, with nothing copied.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::{iter, slice, thread};

use bulla_crypto::{AeadKey, TAG_LEN, sha256};

use super::line::MAX_WORKERS;
use super::{CHUNK_LEN, Place, Run, SEALED_LEN};
use crate::Error;

/// Chunks that a thread takes at once: 256 KiB.
const PART: usize = 4;
/// Chunks that the caller's thread does alone, 1 MiB: for less, starting another takes longer than it saves.
const ALONE: usize = 16;

/// Bytes of the payload of a secret of `len` bytes.
pub(crate) fn sealed_len(len: usize) -> usize {
    len + len.div_ceil(CHUNK_LEN).max(1) * TAG_LEN
}

/// Bytes of the secret in a payload of `len` bytes. A last chunk too short to be one counts for none.
pub(crate) fn opened_len(len: usize) -> usize {
    len / SEALED_LEN * CHUNK_LEN + (len % SEALED_LEN).saturating_sub(TAG_LEN)
}

/// Encrypts `secret` to `payload`, which has [`sealed_len`] bytes, and returns its digest if it was asked for.
pub(crate) fn seal(
    key: &AeadKey,
    secret: &[u8],
    payload: &mut [u8],
    run: Run,
) -> Result<Option<[u8; 32]>, Error> {
    let chunks = secret.len().div_ceil(CHUNK_LEN).max(1);
    let parts = pieces(secret, PART * CHUNK_LEN).zip(payload.chunks_mut(PART * SEALED_LEN));
    each(chunks, parts, run, |first, (secret, payload), hashes| {
        let pairs = pieces(secret, CHUNK_LEN).zip(payload.chunks_mut(SEALED_LEN));
        for ((chunk, sealed), index) in pairs.zip(first..) {
            let place = Place { index: index as u64, last: index + 1 == chunks };
            let nonce = place.nonce().ok_or(Error::TooLarge("the secret"))?;
            key.seal_to(&nonce, &[], chunk, sealed);
            hashes.next().into_iter().for_each(|hash| *hash = sha256(&[sealed]));
        }
        Ok(())
    })
}

/// Decrypts `payload` to `secret`, which has [`opened_len`] bytes, and returns the digest of the payload if it was asked for.
/// After an error nothing in `secret` is to be used.
pub(crate) fn open(
    key: &AeadKey,
    payload: &[u8],
    secret: &mut [u8],
    run: Run,
) -> Result<Option<[u8; 32]>, Error> {
    let chunks = payload.len().div_ceil(SEALED_LEN).max(1);
    // Of the secret the last piece may be nothing, where the payload has a chunk.
    let secrets = secret.chunks_mut(PART * CHUNK_LEN).chain(iter::repeat_with(Default::default));
    let parts = pieces(payload, PART * SEALED_LEN).zip(secrets);
    each(chunks, parts, run, |first, (payload, mut secret), hashes| {
        for (sealed, index) in pieces(payload, SEALED_LEN).zip(first..) {
            let changed = || Error::PayloadChanged { chunk: index as u64 };
            let place = Place { index: index as u64, last: index + 1 == chunks };
            let nonce = place.nonce().ok_or_else(changed)?;
            let (message, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(Error::Truncated)?;
            let chunk = secret.split_off_mut(..message.len()).ok_or_else(changed)?;
            key.open_to(&nonce, &[], message, tag, chunk).map_err(|_| changed())?;
            if message.is_empty() && index > 0 {
                return Err(changed());
            }
            hashes.next().into_iter().for_each(|hash| *hash = sha256(&[sealed]));
        }
        Ok(())
    })
}

/// Pieces of so many bytes, the last perhaps shorter; of nothing one that is empty, since that is a chunk too.
fn pieces(bytes: &[u8], len: usize) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(len).chain(bytes.is_empty().then_some(bytes))
}

/// Does `work` to each part of `chunks` chunks, given the index of its first one and a place for the hash of each, and returns
/// the digest of all if it was asked for. Of several failures the one that stands first counts.
fn each<P: Send>(
    chunks: usize,
    parts: impl Iterator<Item = P> + Send,
    run: Run,
    work: impl Fn(usize, P, &mut slice::IterMut<'_, [u8; 32]>) -> Result<(), Error> + Sync,
) -> Result<Option<[u8; 32]>, Error> {
    let mut hashes = vec![[0; 32]; if run.digest { chunks } else { 0 }];
    let places = hashes.chunks_mut(PART).chain(iter::repeat_with(Default::default));
    let parts = Mutex::new((0..).step_by(PART).zip(parts).zip(places));
    let failure = Mutex::new(None);
    let worker = || {
        while let Some(((first, part), hashes)) = next(&parts) {
            if let Err(error) = work(first, part, &mut hashes.iter_mut()) {
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                if failure.as_ref().is_none_or(|(earliest, _)| first < *earliest) {
                    *failure = Some((first, error));
                }
                return;
            }
        }
    };
    match threads(chunks, run) {
        1 => worker(),
        threads => thread::scope(|scope| {
            for _ in 1..threads {
                // Where the system has no more threads, the work goes on without.
                let _ = thread::Builder::new().name("bulla".to_owned()).spawn_scoped(scope, worker);
            }
            worker();
        }),
    }
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), |(_, error)| Err(error))?;
    Ok(run.digest.then(|| sha256(&[hashes.as_flattened()])))
}

/// How many threads take part, the caller's among them: no more than there are parts.
pub(super) fn threads(chunks: usize, run: Run) -> usize {
    if chunks <= ALONE {
        return 1;
    }
    let allowed = run.threads.or_else(|| thread::available_parallelism().ok());
    allowed.map_or(1, NonZeroUsize::get).min(chunks.div_ceil(PART)).min(MAX_WORKERS)
}

/// The lock is held for no longer than this.
fn next<P>(parts: &Mutex<impl Iterator<Item = P>>) -> Option<P> {
    parts.lock().unwrap_or_else(PoisonError::into_inner).next()
}
