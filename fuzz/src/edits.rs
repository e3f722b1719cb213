//! Scripts: bytes that say how something is taken apart and put together again. Any bytes are a script.

/// What is left of a script.
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&[byte], rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(byte)
    }

    pub(crate) fn number(&mut self) -> Option<u16> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*number))
    }

    /// A place in something of `len` bytes: from the beginning, or from the end if the first bit is set.
    pub(crate) fn place(&mut self, len: usize) -> Option<usize> {
        let number = self.number()?;
        let place = usize::from(number & 0x7FFF) % (len + 1);
        Some(if number & 0x8000 == 0 { place } else { len - place })
    }

    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Edits `bytes` as the rest of the script says: an operation, a place, and what that takes.
    ///
    /// | operation | then |
    /// |---|---|
    /// | 0 changes a byte | what to exclusive-or it with |
    /// | 1 removes | how many bytes |
    /// | 2 inserts | how many bytes, and these |
    /// | 3 overwrites | how many bytes, and these |
    /// | 4 copies to there | a place, how many bytes |
    /// | 5 cuts off | |
    pub(crate) fn edit(mut self, bytes: &mut Vec<u8>) {
        while self.edit_once(bytes).is_some() {}
    }

    fn edit_once(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        let (operation, at) = (self.byte()? % 6, self.place(bytes.len())?);
        match operation {
            0 => {
                let change = self.byte()?;
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= change);
            }
            1 => {
                let end = bytes.len().min(at + usize::from(self.byte()?));
                bytes.drain(at..end);
            }
            2 => {
                let len = usize::from(self.byte()?);
                bytes.splice(at..at, self.bytes(len).iter().copied());
            }
            3 => {
                let len = usize::from(self.byte()?);
                let over = self.bytes(len);
                bytes.iter_mut().skip(at).zip(over).for_each(|(byte, over)| *byte = *over);
            }
            4 => {
                let (from, len) = (self.place(bytes.len())?, usize::from(self.byte()?));
                let copied: Vec<_> = bytes.iter().skip(from).take(len).copied().collect();
                bytes.splice(at..at, copied);
            }
            _ => bytes.truncate(at),
        }
        Some(())
    }
}
