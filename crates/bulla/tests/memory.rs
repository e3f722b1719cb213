//! R96: after use, nothing of a secret is left on the heap. One test alone in its program, which reads its own memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;

use bulla::{Kem, Policy, RecipientKey, Rotate, Sealer, Share, Unsealer};
use bulla_crypto::{Secret, SecretBytes, sha256};
use bulla_sim::{EnclaveIdentity, Machine};
use zeroize::Zeroizing;

/// The canary with every bit flipped, so that it is nowhere in the program itself. It is a clamped X25519 scalar too.
const MASKED: [u8; 32] = *b"\x27a canary that nobody may find\x01\xA1";

fn canary(out: &mut [u8]) {
    out.iter_mut().zip(MASKED.iter().cycle()).for_each(|(byte, masked)| *byte = !masked);
}

fn secret(length: usize) -> Zeroizing<Vec<u8>> {
    let mut secret = Zeroizing::new(vec![0; length]);
    canary(&mut secret);
    secret
}

/// How often the second half of the canary stands in writable memory that is no stack of this thread. The first half of what was
/// freed holds the allocator's own notes.
fn found() -> usize {
    let here = 0_u8;
    let here = (&raw const here).addr() as u64;
    let memory = File::open("/proc/self/mem").unwrap();
    // Large pieces of memory come from elsewhere, so that nothing that was freed is used again meanwhile.
    let (mut piece, mut maps) = (vec![0; 1 << 20], String::with_capacity(1 << 20));
    File::open("/proc/self/maps").unwrap().read_to_string(&mut maps).unwrap();
    let (_, half) = MASKED.split_at(16);
    let mut count = 0;
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        let is_other = rest.contains("[stack") || rest.contains("[v") || (from..to).contains(&here);
        if !rest.starts_with("rw") || is_other {
            continue;
        }
        // Pieces overlap, so that none of it falls between two.
        for at in (from..to).step_by(piece.len() - MASKED.len()) {
            let length = usize::try_from(to - at).unwrap().min(piece.len());
            if memory.read_exact_at(&mut piece[..length], at).is_ok() {
                let is_canary = |place: &&[u8]| place.iter().zip(half).all(|(byte, masked)| *byte == !masked);
                count += piece[..length].windows(half.len()).filter(is_canary).count();
            }
        }
    }
    piece.fill(0);
    count
}

#[track_caller]
fn assert_gone(what: &str) {
    assert_eq!(found(), 0, "{what} left something behind");
}

#[test]
fn r96_nothing_is_left_on_the_heap() {
    let directory = tempfile::tempdir().unwrap();
    let machine = Machine::create(directory.path()).unwrap();
    let machine = machine.enclave(&EnclaveIdentity::new([1; 32], [2; 32], 1, 1)).unwrap();
    assert_gone("nothing at all");

    let held = (Secret::<32>::fill_with(|secret| canary(secret)), SecretBytes::new(secret(100).to_vec()));
    assert!(found() >= 2, "the scan finds what is there");
    drop(black_box(held));
    assert_gone("a secret");

    let mut shortened = secret(100).to_vec();
    shortened.truncate(1);
    drop(SecretBytes::new(shortened));
    assert_gone("what a secret once held behind its end");

    let length = 40 * 65536 + 5; // enough for several threads
    let plain = secret(length);
    let sealer = Sealer::new("test").machine(&machine, Policy::default());
    let mut sealed = Vec::new();
    for threads in [1, 4] {
        sealed.clear();
        let threads = NonZeroUsize::new(threads).unwrap();
        let sealer = Sealer::new("test").machine(&machine, Policy::default()).threads(threads);
        sealer.seal_stream(plain.as_slice(), &mut sealed).unwrap();
    }
    let mut finished = sealer.writer(Vec::new()).unwrap();
    plain.chunks(1000).for_each(|part| finished.write_all(part).unwrap());
    finished.finish().unwrap();
    let mut abandoned = sealer.writer(io::sink()).unwrap();
    abandoned.write_all(&plain[..100_000]).unwrap();
    drop((abandoned, plain));
    assert_gone("sealing");

    let unsealer = || Unsealer::new("test").machine(&machine);
    for threads in [1, 4] {
        let unsealer = unsealer().threads(NonZeroUsize::new(threads).unwrap());
        unsealer.unseal_stream(sealed.as_slice(), io::sink()).unwrap();
        let opened = unsealer.unseal(&sealed).unwrap();
        assert_eq!(opened.0.expose().len(), length);
    }
    assert_gone("opening");
    let mut part = Zeroizing::new([0; 50]);
    let mut reader = unsealer().reader(sealed.as_slice()).unwrap();
    reader.read_exact(&mut *part).unwrap();
    drop(reader);
    let mut range = unsealer().range(Cursor::new(&sealed)).unwrap();
    range.seek(SeekFrom::Start(700_000)).unwrap();
    range.read_exact(&mut *part).unwrap();
    drop((range, part));
    assert_gone("reading a part");
    *sealed.last_mut().unwrap() ^= 1;
    assert!(unsealer().unseal(&sealed).is_err());
    *sealed.last_mut().unwrap() ^= 1;
    assert_gone("a failure");
    Rotate::new(&machine).run(&unsealer(), sealed.as_slice(), io::sink()).unwrap();
    assert_gone("a rotation");

    for kem in [Kem::X25519, Kem::XWing] {
        let key = RecipientKey::from_text(str::from_utf8(&text_of(kem)).unwrap()).unwrap();
        assert!(found() > 0);
        let others = [(); 2].map(|()| RecipientKey::generate(Kem::X25519).unwrap());
        let holders = [key.recipient().clone(), others[0].recipient().clone(), others[1].recipient().clone()];
        let sealed = Sealer::new("test").recovery(key.recipient()).threshold(2, &holders).seal(b"x").unwrap();
        Unsealer::new("test").key(&key).unseal(&sealed).unwrap();
        Share::take(&bulla::Header::read(&mut sealed.as_slice()).unwrap(), &key).unwrap().to_text();
        key.to_text();
        drop(key);
        assert_gone("a private key");
    }
}

/// The text form of the canary as a private key, made without a copy that stays.
fn text_of(kem: Kem) -> Zeroizing<Vec<u8>> {
    use base64::Engine;
    let prefix = "bulla-recipient-key-1:";
    let mut bytes = Zeroizing::new(Vec::with_capacity(64));
    bytes.extend_from_slice(&kem.id().to_be_bytes());
    bytes.extend_from_slice(&secret(32));
    let checksum = sha256(&[prefix.as_bytes(), &bytes]);
    bytes.extend_from_slice(&checksum[..4]);
    let mut text = Zeroizing::new(vec![0; 128]);
    text[..prefix.len()].copy_from_slice(prefix.as_bytes());
    let engine = &base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let length = engine.encode_slice(&*bytes, &mut text[prefix.len()..]).unwrap();
    text.truncate(prefix.len() + length);
    text
}
