//! Mutations without a compiler's help: what a fuzzer does when it knows nothing of the target, the same in every run.

/// Makes inputs out of seeds.
pub(crate) struct Mutator {
    state: u64,
}

/// Bytes at the edges of formats: zero, one, lengths, the heads of CBOR items, text.
const EDGES: &[u8] = b"\x00\x01\x10\x17\x18\x19\x1a\x1b\x20\x40\x58\x60\x7f\x80\x81\x84\x8f\x9f\xa0\xbf\xc0\xf5\xf6\xff0\"{}:\n";

impl Mutator {
    /// For a target, each has its own sequence.
    pub(crate) fn new(target: &str) -> Self {
        Self { state: target.bytes().fold(0, |state, byte| state.wrapping_mul(131) ^ u64::from(byte)) }
    }

    /// A seed after one to eight changes.
    pub(crate) fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.of(seeds).clone();
        for _ in 0..=self.below(8) {
            self.change(&mut input, seeds);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = input.len().min(at + 1 + self.below(16));
        let (byte, edge) = (self.next() as u8, *self.of(EDGES));
        match self.below(10) {
            0 => input.iter_mut().skip(at).take(1).for_each(|found| *found ^= 1 << (byte % 8)),
            1 => input.iter_mut().skip(at).take(1).for_each(|found| *found = byte),
            2 => input.iter_mut().skip(at).take(1).for_each(|found| *found = edge),
            3 => input
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|found| *found = found.wrapping_add(byte % 9).wrapping_sub(4)),
            4 => input.insert(at, edge),
            5 => input.insert(at, byte),
            6 => drop(input.drain(at..end)),
            7 => {
                let copied = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copied);
            }
            8 => input.truncate(at),
            _ => {
                let other = self.of(seeds);
                let from = self.below(other.len() + 1);
                let until = other.len().min(from + 1 + self.below(64));
                input.splice(at..end, other[from..until].iter().copied());
            }
        }
    }

    /// One of these.
    pub(crate) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A number below this.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
