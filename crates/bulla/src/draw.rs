//! The randomness of one envelope, drawn in one piece, since a draw costs as much as a key derivation.

use bulla_crypto::{EntropyFailure, Secret, SystemRandom};

/// Enough for an envelope with one slot; wiping more would cost more than another draw for the next ones.
const DRAWN: usize = 112;

/// Hands out random bytes, none twice, and wipes what is left.
pub(crate) struct Draw {
    random: Secret<DRAWN>,
    used: usize,
}

impl Draw {
    pub(crate) fn new() -> Result<Self, EntropyFailure> {
        Ok(Self { random: SystemRandom.secret()?, used: 0 })
    }

    /// `N` fresh bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], EntropyFailure> {
        const { assert!(N <= DRAWN) };
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A fresh secret, which is nowhere else but in what was drawn, and that is wiped.
    pub(crate) fn secret<const N: usize>(&mut self) -> Result<Secret<N>, EntropyFailure> {
        const { assert!(N <= DRAWN) };
        let mut result = Ok(());
        let secret = Secret::fill_with(|bytes| result = self.fill(bytes));
        result.map(|()| secret)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyFailure> {
        if self.used + bytes.len() > DRAWN {
            *self = Self::new()?;
        }
        let (_, unused) = self.random.expose().split_at(self.used);
        bytes.copy_from_slice(unused.split_at(bytes.len()).0);
        self.used += bytes.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R57: a million salts, of which every key here is derived, and no two the same. An AEAD key is used with one nonce, or with a
    /// counter, so no pair of key and nonce comes twice either.
    #[test]
    fn a_million_salts_do_not_repeat() {
        let mut draw = Draw::new().unwrap();
        let mut salts: Vec<[u8; 32]> = (0..1_000_000).map(|_| draw.array().unwrap()).collect();
        salts.sort_unstable();
        salts.dedup();
        assert_eq!(salts.len(), 1_000_000);
    }

    /// R57: however much is taken, no piece comes twice, nor a part of one, also across draws.
    #[test]
    fn no_piece_comes_twice() {
        let mut draw = Draw::new().unwrap();
        let mut pieces: Vec<[u8; 32]> = (0..100).map(|_| draw.array().unwrap()).collect();
        pieces.push(*draw.secret().unwrap().expose());
        let mut parts: Vec<_> = pieces.iter().flat_map(|piece| piece.chunks(8)).collect();
        parts.sort();
        parts.dedup();
        assert_eq!(parts.len(), 4 * 101);
        assert!(!parts.contains(&&[0; 8][..]));
    }
}
