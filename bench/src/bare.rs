//! AES-256-GCM as aws-lc-rs gives it, with nothing around.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

pub(crate) const CHUNK: usize = 64 * 1024;
pub(crate) const TAG: usize = 16;

/// A key, and a place for one chunk and its tag.
pub(crate) struct Bare {
    key: LessSafeKey,
    buffer: Vec<u8>,
}

impl Bare {
    pub(crate) fn new() -> Self {
        Self { key: key(&[7; 32]), buffer: vec![0; CHUNK + TAG] }
    }

    /// Encrypts one chunk, the same each time, where it is.
    pub(crate) fn seal_one(&mut self) {
        let (chunk, _) = self.buffer.split_at_mut(CHUNK);
        let _ = self.key.seal_in_place_separate_tag(nonce(0), Aad::empty(), chunk).unwrap();
    }

    /// Copies a secret to one place, chunk by chunk, and encrypts each there.
    pub(crate) fn copy_and_seal(&mut self, secret: &[u8]) {
        for (chunk, index) in secret.chunks(CHUNK).zip(0..) {
            let (to, _) = self.buffer.split_at_mut(chunk.len());
            to.copy_from_slice(chunk);
            let _ = self.key.seal_in_place_separate_tag(nonce(index), Aad::empty(), to).unwrap();
        }
    }

    /// Encrypts a secret chunk by chunk where it is.
    pub(crate) fn seal(&self, secret: &mut [u8]) {
        for (chunk, index) in secret.chunks_mut(CHUNK).zip(0..) {
            let _ = self.key.seal_in_place_separate_tag(nonce(index), Aad::empty(), chunk).unwrap();
        }
    }

    /// The chunks of a secret, encrypted, with the tags.
    pub(crate) fn sealed(&self, secret: &[u8]) -> Vec<u8> {
        let chunks = secret.chunks(CHUNK).zip(0..).map(|(chunk, index)| {
            let mut chunk = chunk.to_vec();
            self.key.seal_in_place_append_tag(nonce(index), Aad::empty(), &mut chunk).unwrap();
            chunk
        });
        chunks.collect::<Vec<_>>().concat()
    }

    /// Decrypts that chunk by chunk, from where it is to one place.
    pub(crate) fn open(&mut self, sealed: &[u8]) {
        for (chunk, index) in sealed.chunks(CHUNK + TAG).zip(0..) {
            let (text, tag) = chunk.split_at(chunk.len() - TAG);
            let (to, _) = self.buffer.split_at_mut(text.len());
            self.key.open_separate_gather(nonce(index), Aad::empty(), text, tag, to).unwrap();
        }
    }

    /// Copies some of that, from a chunk on, to one place, chunk by chunk, and decrypts each there.
    pub(crate) fn copy_and_open(&mut self, first: u64, sealed: &[u8]) {
        for (chunk, index) in sealed.chunks(CHUNK + TAG).zip(first..) {
            let (to, _) = self.buffer.split_at_mut(chunk.len());
            to.copy_from_slice(chunk);
            self.key.open_in_place(nonce(index), Aad::empty(), to).unwrap();
        }
    }
}

/// Encrypts 32 bytes with a new key.
pub(crate) fn seal_small(with: &[u8; 32], secret: &mut [u8; 32]) {
    let _ = key(with).seal_in_place_separate_tag(nonce(0), Aad::empty(), secret).unwrap();
}

fn key(bytes: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).unwrap())
}

fn nonce(index: u64) -> Nonce {
    let mut nonce = [0; 12];
    *nonce.last_chunk_mut().unwrap() = index.to_be_bytes();
    Nonce::assume_unique_for_key(nonce)
}
