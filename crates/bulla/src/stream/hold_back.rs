//! What stands behind the payload.

use std::io::{self, Read};

/// Reads all but the last `N` bytes, and keeps those.
pub(crate) struct HoldBack<R, const N: usize> {
    input: R,
    held: [u8; N],
    filled: usize,
    ended: bool,
}

impl<R: Read, const N: usize> HoldBack<R, N> {
    /// Nothing is read yet.
    pub(crate) const fn new(input: R) -> Self {
        Self { input, held: [0; N], filled: 0, ended: false }
    }

    /// The last `N` bytes, once the end was read; none if there were fewer.
    pub(crate) fn held(&self) -> Option<[u8; N]> {
        (self.ended && self.filled == N).then_some(self.held)
    }

    fn fill(&mut self) -> io::Result<()> {
        while let Some(space @ [_, ..]) = self.held.get_mut(self.filled..) {
            match self.input.read(space)? {
                0 => {
                    self.ended = true;
                    return Ok(());
                }
                read => self.filled += read,
            }
        }
        Ok(())
    }
}

impl<R: Read, const N: usize> Read for HoldBack<R, N> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        if self.ended || buf.is_empty() {
            return Ok(0);
        }
        // What is held goes out first, what comes in goes behind it, and the last of both is held.
        let Some((front, space)) = buf.split_first_chunk_mut::<N>().filter(|(_, space)| !space.is_empty())
        else {
            return self.read_little(buf);
        };
        let read = self.input.read(space)?;
        self.ended = read == 0;
        *front = self.held;
        let both = buf.get(..N + read).unwrap_or_default();
        self.held = *both.last_chunk().expect("N bytes and more");
        Ok(read)
    }
}

impl<R: Read, const N: usize> HoldBack<R, N> {
    /// As `read`, to at most `N` bytes.
    fn read_little(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut come = [0; N];
        let (space, _) = come.split_at_mut(buf.len());
        let read = self.input.read(space)?;
        self.ended = read == 0;
        let (come, _) = space.split_at(read);
        let (out, stays) = self.held.split_at(read);
        buf.split_at_mut(read).0.copy_from_slice(out);
        let kept = stays.len();
        self.held.copy_within(read.., 0);
        self.held.split_at_mut(kept).1.copy_from_slice(come);
        Ok(read)
    }
}
