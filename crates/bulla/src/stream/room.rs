//! Memory for plaintext.

use zeroize::optimization_barrier;

/// Bytes that are wiped when dropped, as far as they were used, and that never move without being wiped where they were.
pub(super) struct Room {
    bytes: Vec<u8>,
    used: usize,
}

impl Room {
    pub(super) fn new(len: usize) -> Self {
        Self { bytes: vec![0; len], used: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All of it. What is put in must be told by [`used`](Self::used).
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Something was put into the first `len` bytes.
    pub(super) fn used(&mut self, len: usize) {
        self.used = self.used.max(len.min(self.bytes.len()));
    }

    /// A larger one with the same bytes at its beginning.
    pub(super) fn enlarge(&mut self, len: usize) {
        let mut larger = Self::new(len.max(self.bytes.len()));
        let used = self.in_use();
        larger.bytes.split_at_mut(used.len()).0.copy_from_slice(used);
        larger.used = used.len();
        *self = larger;
    }

    fn in_use(&self) -> &[u8] {
        self.bytes.split_at(self.used).0
    }
}

impl Drop for Room {
    /// As `zeroize` does for less: it writes byte by byte, which for a megabyte takes longer than to encrypt it.
    fn drop(&mut self) {
        self.bytes.split_at_mut(self.used).0.fill(0);
        optimization_barrier(self.bytes.as_slice());
    }
}
