use std::io::{self, Read, Write};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use proptest::prelude::*;

use bulla::{Error, Header, Opener, Policy, Sealer};

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
        let mut sealer = Sealer::new(&context).machine(&machine, Policy::default());
        if let Some(created) = created {
            sealer = sealer.created(created);
        }
        sealer.seal_stream(steps(&secret), &mut sealed).unwrap();
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
    let requests = [one, two].map(|header| match header.slots()[0].opener() {
        Opener::Machine(request) => request.clone(),
        _ => panic!("a machine sealed it"),
    });
    assert_ne!(requests[0], requests[1]);
}

/// Constant memory: while a stream goes through, what has been read and not yet written never exceeds some batches.
#[test]
fn a_stream_is_passed_on_while_it_is_read() {
    let (machine, length, bound) = (here(), 2048 * CHUNK, 512 * CHUNK);
    let meter = Meter::default();
    let secret = Counted { inner: io::repeat(7).take(length as u64), meter: &meter };
    let mut sealed = Vec::with_capacity(length + length / 1024);
    bulla::seal_stream(&machine, "test", secret, Counted { inner: &mut sealed, meter: &meter }).unwrap();
    assert!(meter.most() < bound, "{} bytes held", meter.most());

    let meter = Meter::default();
    let envelope = Counted { inner: sealed.as_slice(), meter: &meter };
    bulla::unseal_stream(&machine, "test", envelope, Counted { inner: io::sink(), meter: &meter }).unwrap();
    assert!(meter.most() < bound, "{} bytes held", meter.most());
    assert_eq!(meter.written.into_inner(), length);
}

#[derive(Default)]
struct Meter {
    read: AtomicUsize,
    written: AtomicUsize,
    most: AtomicUsize,
}

impl Meter {
    fn most(&self) -> usize {
        self.most.load(SeqCst)
    }
}

/// Counts what goes through.
struct Counted<'a, T> {
    inner: T,
    meter: &'a Meter,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let read_by_now = self.meter.read.fetch_add(read, SeqCst) + read;
        let held = read_by_now.saturating_sub(self.meter.written.load(SeqCst));
        self.meter.most.fetch_max(held, SeqCst);
        Ok(read)
    }
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.meter.written.fetch_add(written, SeqCst);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
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
    fn unsealed(input: impl Read + Send, output: impl Write + Send) -> Result<(), Error> {
        bulla::unseal_stream(&here(), "test", input, output).map(|_| ())
    }
    for (result, text) in [
        (bulla::seal_stream(&machine, "test", Broken, io::sink()), "reading the secret: unplugged"),
        (bulla::seal_stream(&machine, "test", io::empty(), Broken), "writing the envelope: full"),
        (unsealed(Broken, io::sink()), "reading the envelope: unplugged"),
        (unsealed(mid.chain(Broken), io::sink()), "reading the envelope: unplugged"),
        (unsealed(sealed.as_slice(), Broken), "writing the secret: full"),
    ] {
        let error = result.unwrap_err();
        assert_eq!((error.class(), error.code()), (bulla_crypto::Class::Other, "io"));
        assert_eq!(error.to_string(), text);
    }
}
