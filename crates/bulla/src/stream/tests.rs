//! What holds for every way through the payload.

use std::collections::HashSet;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread::{self, ThreadId};

use proptest::prelude::*;

use bulla_crypto::{Secret, Sha256};

use super::line::{ALONE, BATCH, MAX_WORKERS, run_from};
use super::*;

const THREADS: [usize; 4] = [1, 2, 4, MAX_WORKERS + 1];
/// What the caller's thread does alone.
const ALONE_LEN: usize = ALONE as usize * CHUNK_LEN;
/// What a worker takes at once.
const BATCH_LEN: usize = BATCH * CHUNK_LEN;

fn key() -> AeadKey {
    AeadKey::new(&Secret::new([7; 32]))
}

fn run(threads: usize) -> Run {
    Run { threads: NonZeroUsize::new(threads), digest: true }
}

/// A secret in which no two chunks are the same.
fn secret(len: usize) -> Vec<u8> {
    (0u64..).flat_map(|word| (word * 0x9E37_79B9).to_le_bytes()).take(len).collect()
}

/// The specification, word for word: the chunks of the payload.
fn chunks_of(secret: &[u8]) -> Vec<Vec<u8>> {
    let count = secret.len().div_ceil(CHUNK_LEN).max(1);
    let chunk = |index: usize| {
        let rest = &secret[index * CHUNK_LEN..];
        forge(index as u64, index + 1 == count, &rest[..rest.len().min(CHUNK_LEN)])
    };
    (0..count).map(chunk).collect()
}

fn forge(index: u64, last: bool, message: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    nonce[3..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = u8::from(last);
    let mut chunk = message.to_vec();
    let tag = key().seal(&nonce, &[], &mut chunk);
    [chunk, tag.to_vec()].concat()
}

fn digest_of(chunks: &[Vec<u8>]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    chunks.iter().for_each(|chunk| hasher.update(&sha256(&[chunk])));
    hasher.finish()
}

/// What a reader of one chunk after the other gives for a payload, and where it stops.
fn open_of(payload: &[u8]) -> (Vec<u8>, Result<(), String>) {
    let mut out = Vec::new();
    let count = payload.len().div_ceil(SEALED_LEN).max(1);
    for index in 0..count {
        let rest = &payload[index * SEALED_LEN..];
        let chunk = &rest[..rest.len().min(SEALED_LEN)];
        let Some((message, tag)) = chunk.split_last_chunk::<TAG_LEN>() else {
            return (out, Err(format!("{:?}", Error::Truncated)));
        };
        let mut nonce = [0; NONCE_LEN];
        nonce[3..11].copy_from_slice(&(index as u64).to_be_bytes());
        nonce[11] = u8::from(index + 1 == count);
        let mut message = message.to_vec();
        let opened = key().open(&nonce, &[], &mut message, tag);
        if opened.is_err() || (message.is_empty() && index > 0) {
            return (out, Err(format!("{:?}", Error::PayloadChanged { chunk: index as u64 })));
        }
        out.extend(message);
    }
    (out, Ok(()))
}

fn sealed(secret: &[u8], threads: usize) -> Vec<u8> {
    let mut out = Vec::new();
    seal(&key(), secret, &mut out, run(threads)).unwrap();
    out
}

/// The lengths around which something changes.
fn edges() -> Vec<usize> {
    let small = batch::SMALL_ROOM;
    let around = [CHUNK_LEN, 2 * CHUNK_LEN, ALONE_LEN, ALONE_LEN + BATCH_LEN, ALONE_LEN + 9 * BATCH_LEN];
    let mut edges: Vec<usize> = around.iter().flat_map(|edge| edge - 1..=edge + 1).collect();
    edges.extend(small - 2 * TAG_LEN - 2..=small + 1);
    edges.extend([0, 1, 2, 3 * ALONE_LEN + BATCH_LEN / 2]);
    edges
}

#[test]
fn every_length_and_number_of_threads_gives_the_bytes_of_the_specification() {
    for len in edges() {
        let secret = secret(len);
        let chunks = chunks_of(&secret);
        let (payload, digest) = (chunks.concat(), digest_of(&chunks));
        for threads in THREADS {
            let mut out = Vec::new();
            assert_eq!(seal(&key(), &secret[..], &mut out, run(threads)).unwrap(), Some(digest), "{len}");
            assert!(out == payload, "{len} with {threads} threads");

            let mut out = Vec::new();
            assert_eq!(open(&key(), &payload[..], &mut out, run(threads)).unwrap(), Some(digest), "{len}");
            assert!(out == secret, "{len} with {threads} threads");

            let mut out = Vec::new();
            assert_eq!(copy(&payload[..], &mut out, run(threads)).unwrap(), Some(digest), "{len}");
            assert!(out == payload, "{len} with {threads} threads");

            let mut out = vec![0xFF; memory::sealed_len(len)];
            assert_eq!(memory::seal(&key(), &secret, &mut out, run(threads)).unwrap(), Some(digest), "{len}");
            assert!(out == payload, "{len} with {threads} threads");

            let mut out = vec![0xFF; memory::opened_len(payload.len())];
            assert_eq!(
                memory::open(&key(), &payload, &mut out, run(threads)).unwrap(),
                Some(digest),
                "{len}"
            );
            assert!(out == secret, "{len} with {threads} threads");
        }

        let mut writer = SealWriter::new(key(), Vec::new(), true);
        writer.write_all(&secret).unwrap();
        let (out, written) = writer.finish().unwrap();
        assert!(out == payload && written == Some(digest), "{len}");

        let mut reader = OpenReader::new(key(), &payload[..], true);
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap();
        assert!(out == secret && reader.digest() == Some(digest), "{len}");

        let mut range = RangeReader::new(key(), Cursor::new(&payload), 0, payload.len() as u64).unwrap();
        let mut out = Vec::new();
        range.read_to_end(&mut out).unwrap();
        assert!(out == secret && range.len() == len as u64, "{len}");
    }
}

#[test]
fn no_digest_is_computed_unless_it_is_wanted() {
    let run = Run::default();
    assert_eq!(seal(&key(), &[1; 9][..], io::sink(), run).unwrap(), None);
    assert_eq!(SealWriter::new(key(), io::sink(), false).finish().unwrap().1, None);
    assert_eq!(memory::seal(&key(), &[1; 9], &mut [0; 9 + TAG_LEN], run).unwrap(), None);
}

/// Gives as many bytes as it likes, and is interrupted in between.
struct Trickle<R> {
    input: R,
    most: usize,
    calls: usize,
}

impl<R: Read> Read for Trickle<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = buf.len().min(self.most);
        self.input.read(&mut buf[..len])
    }
}

#[test]
fn readers_may_give_little_and_be_interrupted() {
    for (len, most) in [(3, 1), (2 * CHUNK_LEN + 1, 1), (3 * CHUNK_LEN, 1), (2 * ALONE_LEN + 7, 60_001)] {
        let secret = secret(len);
        let payload = chunks_of(&secret).concat();
        let trickle = |bytes| Trickle { input: Cursor::new(bytes), most, calls: 0 };
        for threads in [1, 4] {
            let mut out = Vec::new();
            seal(&key(), trickle(secret.clone()), &mut out, run(threads)).unwrap();
            assert!(out == payload, "{len}");
            let mut out = Vec::new();
            open(&key(), trickle(payload.clone()), &mut out, run(threads)).unwrap();
            assert!(out == secret, "{len}");
        }
        let mut out = Vec::new();
        OpenReader::new(key(), trickle(payload), false).read_to_end(&mut out).unwrap();
        assert!(out == secret, "{len}");
    }
}

/// Fails in the call of this number, and ever after.
struct FailingAt<T> {
    inner: T,
    calls_left: usize,
}

impl<T> FailingAt<T> {
    fn call(&mut self) -> io::Result<&mut T> {
        self.calls_left = self.calls_left.checked_sub(1).ok_or_else(|| io::Error::other("no more"))?;
        Ok(&mut self.inner)
    }
}

impl<T: Read> Read for FailingAt<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.call()?.read(buf)
    }
}

impl<T: Write> Write for FailingAt<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.call()?.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call()?.flush()
    }
}

/// R59: the error comes back from every call that can fail, nothing hangs, and what was written till then is right.
#[test]
fn a_reader_or_writer_may_fail_in_any_call() {
    let secret = secret(2 * ALONE_LEN + 5);
    let payload = chunks_of(&secret).concat();
    for threads in [1, 2, 4] {
        for calls_left in 0.. {
            let mut results = Vec::new();
            let mut out = FailingAt { inner: Vec::new(), calls_left };
            results.push(seal(&key(), &secret[..], &mut out, run(threads)));
            assert!(payload.starts_with(&out.inner));

            let mut out = FailingAt { inner: Vec::new(), calls_left };
            results.push(open(&key(), &payload[..], &mut out, run(threads)));
            assert!(secret.starts_with(&out.inner));

            let (mut out, input) = (Vec::new(), FailingAt { inner: &secret[..], calls_left });
            results.push(seal(&key(), input, &mut out, run(threads)));
            assert!(payload.starts_with(&out));

            let (mut out, input) = (Vec::new(), FailingAt { inner: &payload[..], calls_left });
            results.push(open(&key(), input, &mut out, run(threads)));
            assert!(secret.starts_with(&out));

            let good = results.iter().filter(|result| result.is_ok()).count();
            let failed = results.iter().filter_map(|result| result.as_ref().err());
            failed.for_each(|error| assert_eq!(error.code(), "io", "{error:?}"));
            if good == results.len() {
                break;
            }
        }
    }
}

/// Panics in the call of this number.
struct PanickingAt<T> {
    inner: T,
    calls_left: usize,
}

impl<T> PanickingAt<T> {
    fn call(&mut self) -> &mut T {
        give_way();
        self.calls_left = self.calls_left.checked_sub(1).expect("a panic of the caller's");
        &mut self.inner
    }
}

impl<T: Read> Read for PanickingAt<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.call().read(buf)
    }
}

impl<T: Write> Write for PanickingAt<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.call().write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call().flush()
    }
}

/// Lets the other threads, if there are any, come to where they wait for this one.
fn give_way() {
    (0..200).for_each(|_| thread::yield_now());
}

/// A panic comes through to the caller, and no worker is left waiting.
#[test]
fn a_reader_or_writer_may_panic() {
    let secret = secret(3 * ALONE_LEN);
    for (threads, calls_left) in [(1, 0), (1, 7), (4, 0), (4, 17), (4, 20), (4, 22)] {
        let reading = PanickingAt { inner: &secret[..], calls_left };
        let reading = || seal(&key(), reading, io::sink(), run(threads));
        assert!(catch_unwind(AssertUnwindSafe(reading)).is_err());
        let writing = PanickingAt { inner: io::sink(), calls_left };
        let writing = || seal(&key(), &secret[..], writing, run(threads));
        assert!(catch_unwind(AssertUnwindSafe(writing)).is_err());
    }
}

/// Notes the threads that it is used from.
struct Noting<'a, T>(T, &'a Mutex<HashSet<ThreadId>>);

impl<T: Read> Read for Noting<'_, T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1.lock().unwrap().insert(thread::current().id());
        give_way();
        self.0.read(buf)
    }
}

impl<T: Write> Write for Noting<'_, T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.1.lock().unwrap().insert(thread::current().id());
        give_way();
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn little_input_and_one_thread_are_the_business_of_the_caller_alone() {
    let threads_of = |len, threads| {
        let seen = Mutex::new(HashSet::new());
        let secret = secret(len);
        seal(&key(), Noting(&secret[..], &seen), Noting(io::sink(), &seen), run(threads)).unwrap();
        seen.into_inner().unwrap()
    };
    let mine = HashSet::from([thread::current().id()]);
    assert_eq!(threads_of(ALONE_LEN, 4), mine);
    assert_eq!(threads_of(8 * ALONE_LEN, 1), mine);
    assert!(threads_of(8 * ALONE_LEN, 3).len() <= 3);
}

/// In memory too: no thread for little, none more than is allowed, and never more than there are parts.
#[test]
fn no_more_threads_take_part_in_memory_than_are_allowed() {
    for (chunks, allowed, wanted) in [
        (1, 4, 1),
        (16, 4, 1),
        (17, 4, 4),
        (17, 9, 5),
        (4_000, 1, 1),
        (4_000, 3, 3),
        (4_000, 99, MAX_WORKERS),
    ] {
        assert_eq!(memory::threads(chunks, run(allowed)), wanted, "{chunks} chunks, {allowed} allowed");
    }
}

/// Payloads that no sealing gives: B30, without what needs the key.
fn changed(chunks: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let whole = chunks.concat();
    let mut all = Vec::new();
    let mut add = |what: String, chunks: Vec<Vec<u8>>| all.push((what, chunks.concat()));
    for index in 0..chunks.len() {
        let (before, from) = chunks.split_at(index);
        add(format!("chunk {index} dropped"), [before, &from[1..]].concat());
        add(format!("chunk {index} doubled"), [before, &from[..1], from].concat());
        add(format!("chunk {index} appended"), [chunks, &from[..1]].concat());
        for other in [index + 1, chunks.len() - 1] {
            let mut swapped = chunks.to_vec();
            if other < chunks.len() && other != index {
                swapped.swap(index, other);
                add(format!("chunks {index} and {other} swapped"), swapped);
            }
        }
        for at in [0, 1, from[0].len() / 2, from[0].len() - TAG_LEN, from[0].len() - 1] {
            let mut flipped = chunks.to_vec();
            flipped[index][at] ^= 0x10;
            add(format!("chunk {index} changed at {at}"), flipped);
        }
        for cut in [0, 1, TAG_LEN - 1, TAG_LEN, TAG_LEN + 1, from[0].len() - 1] {
            let cut = from[0][..cut.min(from[0].len())].to_vec();
            add(format!("chunk {index} cut to {}", cut.len()), [before, &[cut]].concat());
        }
        let mut longer = chunks.to_vec();
        longer[index].push(0);
        add(format!("a byte after chunk {index}"), longer);
    }
    all.retain(|(_, payload)| *payload != whole);
    all
}

/// What is wrong only to who has the key: empty last chunks, and a flag that comes too early or never.
fn forged() -> Vec<(String, Vec<u8>)> {
    let full = secret(CHUNK_LEN);
    let first = forge(0, false, &full);
    vec![
        ("an empty last chunk".into(), [first.clone(), forge(1, true, &[])].concat()),
        ("two empty chunks".into(), [forge(0, false, &[]), forge(1, true, &[])].concat()),
        ("flag missing".into(), [first.clone(), forge(1, false, &full)].concat()),
        ("flag missing, short".into(), [first, forge(1, false, &full[..9])].concat()),
        ("flag early".into(), [forge(0, true, &full), forge(1, true, &full)].concat()),
        ("another number".into(), forge(1, true, &full)),
    ]
}

/// B30, R59: every way through refuses at the same chunk, and gives out what was before it and no more.
#[test]
fn a_payload_that_was_changed_is_refused_where_it_was() {
    let lengths = [0, 9, CHUNK_LEN, CHUNK_LEN + 9, 5 * CHUNK_LEN, ALONE_LEN + BATCH_LEN + CHUNK_LEN + 9];
    let cases = lengths.iter().flat_map(|len| {
        let secret = secret(*len);
        let changed = changed(&chunks_of(&secret));
        changed.into_iter().map(move |(what, payload)| (format!("{what} of {len} bytes"), payload))
    });
    for (what, payload) in cases.chain(forged()) {
        let (begin, expected) = open_of(&payload);
        let expected = expected.expect_err(&what);
        for threads in [1, 4] {
            let mut out = Vec::new();
            let error = open(&key(), &payload[..], &mut out, run(threads)).expect_err(&what);
            assert_eq!(format!("{error:?}"), expected, "{what}");
            assert!(out == begin, "{what}");

            let mut out = vec![0; memory::opened_len(payload.len())];
            let error = memory::open(&key(), &payload, &mut out, run(threads)).expect_err(&what);
            assert_eq!(format!("{error:?}"), expected, "{what}");
        }
        let mut reader = OpenReader::new(key(), &payload[..], true);
        let mut out = Vec::new();
        let error = reader.read_to_end(&mut out).expect_err(&what);
        assert_eq!(format!("{:?}", error.downcast::<Error>().unwrap()), expected, "{what}");
        assert!(out == begin, "{what}");
        assert!(reader.read(&mut [0]).is_err() && reader.digest().is_none(), "{what}");
    }
}

/// B30 for ranges: a payload that was changed either does not open, or every chunk of it is right or refused by its number.
#[test]
fn a_range_of_a_payload_that_was_changed_is_right_or_refused() {
    for len in [0, 9, CHUNK_LEN, CHUNK_LEN + 9, 5 * CHUNK_LEN + 9] {
        let secret = secret(len);
        for (what, payload) in changed(&chunks_of(&secret)) {
            let Ok(mut range) = RangeReader::new(key(), Cursor::new(&payload), 0, payload.len() as u64)
            else {
                continue;
            };
            assert_eq!(range.len(), len as u64, "{what}: the length is the last chunk's");
            let mut refused = 0;
            for (index, right) in secret.chunks(CHUNK_LEN).enumerate() {
                let mut out = vec![0; right.len()];
                range.seek(SeekFrom::Start((index * CHUNK_LEN) as u64)).unwrap();
                match range.read_exact(&mut out).map_err(|error| error.downcast().unwrap()) {
                    Ok(()) => assert!(out == right, "{what}"),
                    Err(Error::PayloadChanged { chunk }) if chunk == index as u64 => refused += 1,
                    Err(error) => panic!("{what}: {error:?}"),
                }
            }
            assert!(refused > 0, "{what}");
        }
    }
    for (what, payload) in forged() {
        let range = RangeReader::new(key(), Cursor::new(&payload), 0, payload.len() as u64);
        let opened = range.map_err(into_io).and_then(|mut range| range.read_to_end(&mut Vec::new()));
        let error = opened.expect_err(&what).downcast::<Error>().unwrap();
        assert!(matches!(error, Error::PayloadChanged { .. }), "{what}: {error:?}");
    }
}

/// R57, R60: the counter stops before it repeats, and the flag never runs into it.
#[test]
fn nonces_do_not_repeat_and_end() {
    let nonce = |index, last| Place { index, last }.nonce();
    assert_eq!(nonce(0, false).unwrap(), [0; 12]);
    assert_eq!(nonce(1, true).unwrap(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    assert_eq!(nonce(MAX_CHUNKS - 1, true).unwrap(), [0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 1]);
    assert_eq!(nonce(MAX_CHUNKS, true), None);
}

/// R60, B31: the last chunk that there may be is sealed and opened, and no further one.
#[test]
fn the_limit_of_chunks_holds_wherever_they_are_counted() {
    let first = MAX_CHUNKS - ALONE - BATCH as u64 - 2;
    let chunks = (MAX_CHUNKS - first) as usize;
    let fits = secret(chunks * CHUNK_LEN);
    let over = secret(chunks * CHUNK_LEN + 1);
    let key = key();
    for threads in [1, 4] {
        let mut out = Vec::new();
        run_from(first, Work::Seal(&key), &fits[..], &mut out, run(threads)).unwrap();
        let mut opened = Vec::new();
        run_from(first, Work::Open(&key), &out[..], &mut opened, run(threads)).unwrap();
        assert!(opened == fits);

        let mut kept = Vec::new();
        let error = run_from(first, Work::Seal(&key), &over[..], &mut kept, run(threads)).unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{error:?}");
        assert!(kept.len() == chunks * SEALED_LEN, "what is before the limit");

        kept.extend(forge(MAX_CHUNKS, true, b"x"));
        let error = run_from(first, Work::Open(&key), &kept[..], io::sink(), run(threads)).unwrap_err();
        assert!(matches!(error, Error::PayloadChanged { chunk: MAX_CHUNKS }), "{error:?}");
    }

    let mut writer = SealWriter::new_from(MAX_CHUNKS - 2, self::key(), Vec::new(), false);
    writer.write_all(&fits[..2 * CHUNK_LEN]).unwrap();
    assert_eq!(writer.output.len(), SEALED_LEN);
    writer.write_all(b"x").unwrap();
    assert!(matches!(writer.finish(), Err(Error::TooLarge(_))));

    let end = (MAX_CHUNKS + 1) * SEALED_LEN as u64;
    let error = RangeReader::new(self::key(), io::empty(), 0, end).err().unwrap();
    assert!(matches!(error, Error::PayloadChanged { chunk: MAX_CHUNKS }), "{error:?}");
}

/// R59: nothing that was dropped on the way opens.
#[test]
fn a_writer_that_was_not_finished_leaves_nothing_that_opens() {
    for len in [0, 1, CHUNK_LEN, CHUNK_LEN + 1, 2 * CHUNK_LEN] {
        let mut out = Vec::new();
        let mut writer = SealWriter::new(key(), &mut out, false);
        writer.write_all(&secret(len)).unwrap();
        writer.flush().unwrap();
        drop(writer);
        assert!(open(&key(), &out[..], io::sink(), run(1)).is_err(), "{len}");
    }
}

/// R57: after a chunk could not be written no other is sealed under its nonce.
#[test]
fn a_writer_that_failed_is_of_no_more_use() {
    let secret = secret(3 * CHUNK_LEN);
    for calls_left in 0..3 {
        let mut writer = SealWriter::new(key(), FailingAt { inner: Vec::new(), calls_left }, false);
        let failed = writer.write_all(&secret);
        if calls_left < 2 {
            assert!(failed.is_err());
            let written = writer.output.inner.len();
            writer.output.calls_left = usize::MAX;
            assert!(writer.write_all(&secret).is_err());
            assert!(writer.write(&[]).is_ok() && writer.output.inner.len() == written);
        }
        assert!(writer.finish().is_err());
    }
}

/// Notes which bytes were read.
struct Touched<R> {
    input: R,
    position: u64,
    bytes: Vec<(u64, u64)>,
}

impl<R: Read> Read for Touched<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buf)?;
        self.bytes.push((self.position, self.position + read as u64));
        self.position += read as u64;
        Ok(read)
    }
}

impl<R: Seek> Seek for Touched<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.input.seek(to)?;
        Ok(self.position)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any range is that of the secret, and no chunk is read that it does not touch, but for the last.
    #[test]
    fn a_range_is_a_slice_and_touches_its_chunks_alone(
        len in 0usize..6 * CHUNK_LEN,
        before in 0usize..100,
        behind in 0usize..100,
        ranges in prop::collection::vec((0usize..6 * CHUNK_LEN + 10, 0usize..3 * CHUNK_LEN), 1..6),
    ) {
        let secret = secret(len);
        let payload = sealed(&secret, 1);
        let file = [vec![9; before], payload.clone(), vec![9; behind]].concat();
        let input = Touched { input: Cursor::new(file), position: 0, bytes: Vec::new() };
        let (start, end) = (before as u64, (before + payload.len()) as u64);
        let mut reader = RangeReader::new(key(), input, start, end).unwrap();
        let last = payload.len().saturating_sub(1) / SEALED_LEN;
        for (offset, wanted) in ranges {
            reader.input.bytes.clear();
            reader.seek(SeekFrom::Start(offset as u64)).unwrap();
            let mut out = Vec::new();
            reader.by_ref().take(wanted as u64).read_to_end(&mut out).unwrap();
            prop_assert!(out == secret.get(offset..(offset + wanted).min(len)).unwrap_or_default());
            for (from, to) in &reader.input.bytes {
                let chunks = (from - start) / SEALED_LEN as u64..=(to - 1 - start) / SEALED_LEN as u64;
                let touched = (offset / CHUNK_LEN) as u64..=((offset + wanted - 1) / CHUNK_LEN) as u64;
                prop_assert!(touched.contains(chunks.start()) && touched.contains(chunks.end()));
                prop_assert!(*chunks.end() <= last as u64 && *to <= end);
            }
        }
    }

    /// `Read` and `Seek` of a range are those of a file.
    #[test]
    fn a_range_reads_and_seeks_like_a_file(
        len in 0usize..3 * CHUNK_LEN,
        steps in prop::collection::vec((0u8..3, -200_000i64..200_000, 0usize..70_000), 1..12),
    ) {
        let secret = secret(len);
        let payload = sealed(&secret, 1);
        let mut reader = RangeReader::new(key(), Cursor::new(&payload), 0, payload.len() as u64).unwrap();
        let mut file = Cursor::new(&secret);
        for (whence, by, wanted) in steps {
            let to = match whence {
                0 => SeekFrom::Start(by.unsigned_abs()),
                1 => SeekFrom::Current(by),
                _ => SeekFrom::End(by),
            };
            prop_assert_eq!(reader.seek(to).ok(), file.seek(to).ok());
            let (mut ours, mut right) = (Vec::new(), Vec::new());
            reader.by_ref().take(wanted as u64).read_to_end(&mut ours).unwrap();
            file.by_ref().take(wanted as u64).read_to_end(&mut right).unwrap();
            prop_assert!(ours == right);
        }
    }

    /// Whatever the sizes of the reads, the last bytes are held back and the others come through.
    #[test]
    fn the_last_bytes_are_held_back(
        len in 0usize..300,
        most in 1usize..80,
        sizes in prop::collection::vec(0usize..100, 1..8),
    ) {
        let all = secret(len);
        let input = Trickle { input: &all[..], most, calls: 0 };
        let mut reader = HoldBack::<_, 32>::new(input);
        let mut out = Vec::new();
        for size in sizes.iter().cycle().chain(&[1]) {
            let mut buf = vec![0; *size];
            match reader.read(&mut buf) {
                Ok(0) if *size > 0 => break,
                Ok(read) => {
                    out.extend_from_slice(&buf[..read]);
                    prop_assert_eq!(reader.held(), None, "the end is not known yet");
                }
                Err(error) => prop_assert_eq!(error.kind(), io::ErrorKind::Interrupted),
            }
            if sizes.iter().all(|size| *size == 0) {
                return Ok(());
            }
        }
        prop_assert_eq!(reader.held(), all.last_chunk().copied());
        prop_assert_eq!(&out[..], &all[..len.saturating_sub(32)]);
    }
}

#[test]
fn what_is_held_back_is_not_part_of_the_payload() {
    for len in [0, 9, CHUNK_LEN, 2 * ALONE_LEN] {
        let secret = secret(len);
        let file = [sealed(&secret, 1), vec![5; 32]].concat();
        for threads in [1, 4] {
            let (mut input, mut out) = (HoldBack::<_, 32>::new(&file[..]), Vec::new());
            assert_eq!(input.held(), None);
            open(&key(), &mut input, &mut out, run(threads)).unwrap();
            assert!(out == secret && input.held() == Some([5; 32]), "{len}");
        }
    }
    let mut short = HoldBack::<_, 32>::new(&[5; 31][..]);
    let error = open(&key(), &mut short, io::sink(), run(1)).unwrap_err();
    assert!(matches!(error, Error::Truncated) && short.held().is_none());
}
