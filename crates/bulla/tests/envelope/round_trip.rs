use std::cell::Cell;
use std::io::{self, Read, Write};

use proptest::prelude::*;

use bulla::Header;

use crate::machine::here;
use crate::surgery::CHUNK;

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// R59, R71: what went in comes out, at and around every edge.
#[test]
fn every_size_comes_back() {
    for length in [0, 1, 15, 16, 17, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7] {
        let (secret, machine) = (bytes(length), here());
        let sealed = bulla::seal(&machine, "test", &secret).unwrap();
        assert_eq!(bulla::unseal(&machine, "test", &sealed).unwrap().expose(), secret, "{length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// R56: for any secret, any context and any time, and however the reader cuts what it gives.
    #[test]
    fn anything_comes_back(
        secret in proptest::collection::vec(any::<u8>(), 0..200_000),
        context in "\\PC{1,40}",
        created in any::<Option<u64>>(),
        step in 1usize..100_000,
    ) {
        let machine = here();
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        let steps = |bytes| Steps { bytes, step, interrupt: false };
        bulla::seal_stream(&machine, &context, created, steps(&secret), &mut sealed).unwrap();
        let header = Header::read(&mut sealed.as_slice()).unwrap();
        prop_assert_eq!((header.context(), header.created()), (context.as_str(), created));
        bulla::unseal_stream(&machine, &context, steps(&sealed), &mut opened).unwrap();
        prop_assert_eq!(opened, secret);
    }
}

/// Gives a few bytes at a time, and is interrupted before each time.
struct Steps<'a> {
    bytes: &'a [u8],
    step: usize,
    interrupt: bool,
}

impl Read for Steps<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = self.step.min(buffer.len());
        self.bytes.read(&mut buffer[..length])
    }
}

/// R57: nothing is the same in two envelopes of the same secret: not the id, the salts, the wrapped key or the payload.
#[test]
fn two_envelopes_share_nothing() {
    let machine = here();
    let [one, two] = [(); 2].map(|()| bulla::seal(&machine, "test", &[0; 64]).unwrap());
    assert_ne!(one[one.len() - 80..], two[two.len() - 80..]);
    let [one, two] = [one, two].map(|sealed| Header::read(&mut sealed.as_slice()).unwrap());
    assert_ne!(one.envelope_id(), two.envelope_id());
    assert_ne!(one.slots()[0].request(), two.slots()[0].request());
}

/// Constant memory: while a stream goes through, what has been read and not yet written never exceeds a few chunks.
#[test]
fn a_stream_is_passed_on_while_it_is_read() {
    let (machine, length) = (here(), 64 * CHUNK);
    let (read, most) = (Cell::new(0), Cell::new(0));
    let mut sealed = Meter { written: Vec::new(), read: &read, most: &most };
    let secret = Counted { inner: io::repeat(7).take(length as u64), read: &read };
    bulla::seal_stream(&machine, "test", None, secret, &mut sealed).unwrap();
    assert!(most.get() < 4 * CHUNK, "{} bytes held", most.get());

    let sealed = sealed.written;
    let (read, most) = (Cell::new(0), Cell::new(0));
    let mut opened = Meter { written: Vec::new(), read: &read, most: &most };
    let envelope = Counted { inner: sealed.as_slice(), read: &read };
    bulla::unseal_stream(&machine, "test", envelope, &mut opened).unwrap();
    assert!(most.get() < 4 * CHUNK, "{} bytes held", most.get());
    assert_eq!(opened.written.len(), length);
}

struct Counted<'a, R> {
    inner: R,
    read: &'a Cell<usize>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.set(self.read.get() + read);
        Ok(read)
    }
}

struct Meter<'a> {
    written: Vec<u8>,
    read: &'a Cell<usize>,
    most: &'a Cell<usize>,
}

impl Write for Meter<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let held = self.read.get().saturating_sub(self.written.len());
        self.most.set(self.most.get().max(held));
        self.written.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The caller's own input or output failing is neither damage nor refusal.
#[test]
fn failing_input_and_output_are_the_callers() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let machine = here();
    let sealed = bulla::seal(&machine, "test", b"secret").unwrap();
    let (mid, _) = sealed.split_at(sealed.len() - 5);
    for (result, text) in [
        (bulla::seal_stream(&machine, "test", None, Broken, io::sink()), "reading the secret: unplugged"),
        (bulla::seal_stream(&machine, "test", None, io::empty(), Broken), "writing the envelope: full"),
        (bulla::unseal_stream(&machine, "test", Broken, io::sink()), "reading the envelope: unplugged"),
        (
            bulla::unseal_stream(&machine, "test", mid.chain(Broken), io::sink()),
            "reading the envelope: unplugged",
        ),
        (bulla::unseal_stream(&machine, "test", sealed.as_slice(), Broken), "writing the secret: full"),
    ] {
        let error = result.unwrap_err();
        assert_eq!((error.class(), error.code()), (bulla_crypto::Class::Other, "io"));
        assert_eq!(error.to_string(), text);
    }
}
