//! The payload, taken apart by chunks.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::num::NonZeroUsize;
use std::sync::LazyLock;

use bulla::{Error, Header, Policy, RecipientKey, Sealer, Unsealer};

use crate::described::Machine;
use crate::edits::Script;
use crate::vectors;

const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;
const CONTEXT: &str = "fuzz/stream";

/// An envelope, in pieces: its header with the MAC, the chunks, and the trailer if there is one.
struct Sealed {
    plaintext: Vec<u8>,
    envelope: Vec<u8>,
    pieces: Vec<Vec<u8>>,
}

/// Two of each kind: some chunks, and enough that several threads share them. The last chunk is not full.
struct Subjects {
    plain: [Sealed; 2],
    with_origin: [Sealed; 2],
}

static SUBJECTS: LazyLock<Subjects> = LazyLock::new(|| {
    let lengths = [3 * CHUNK + 1000, 20 * CHUNK + 1];
    Subjects {
        plain: lengths.map(|length| Sealed::new(length, false)),
        with_origin: lengths.map(|length| Sealed::new(length, true)),
    }
});

/// Changes the order, the number and the bytes of the pieces of an envelope. The first byte says which envelope and who reads
/// it; then come operations. Only what was sealed opens, and nothing comes out that was not in it.
pub fn stream(data: &[u8]) {
    let mut script = Script::new(data);
    let Some(which) = script.byte() else { return };
    let sealed = if which & 1 == 0 { &SUBJECTS.plain } else { &SUBJECTS.with_origin };
    let [small, large] = sealed;
    let (subject, other) = if which & 2 == 0 { (small, large) } else { (large, small) };
    let by_machine = which & 1 == 1 && which & 4 == 0;

    let mut pieces = subject.pieces.clone();
    while operate(&mut script, &mut pieces, &other.pieces).is_some() {}
    let envelope = pieces.concat();

    let reader = |threads| {
        let unsealer = Unsealer::new(CONTEXT).threads(NonZeroUsize::new(threads).unwrap());
        if by_machine { unsealer.machine(enclave()).require_origin() } else { unsealer.key(key()) }
    };
    let trailer = if which & 1 == 1 && !by_machine { 32 } else { 0 };
    check(&reader(1), &envelope, sealed, trailer);
    if which & 2 == 2 {
        check_stream(&reader(3), &envelope, sealed, trailer);
    }
}

fn enclave() -> &'static Machine {
    vectors::of_simulated_enclave().reader.machine.as_ref().unwrap()
}

fn key() -> &'static RecipientKey {
    &vectors::of_recipient().reader.keys[0]
}

/// One operation on the pieces: 0 drops, 1 doubles, 2 swaps, 3 takes one of the other envelope, 4 cuts, 5 changes a byte, 6 adds
/// bytes.
fn operate(script: &mut Script<'_>, pieces: &mut Vec<Vec<u8>>, others: &[Vec<u8>]) -> Option<()> {
    let (operation, which) = (script.byte()? % 7, usize::from(script.byte()?));
    let index = which % pieces.len().max(1);
    match operation {
        0 if !pieces.is_empty() => {
            pieces.remove(index);
        }
        1 => pieces.extend_from_within(index..pieces.len().min(index + 1)),
        2 => {
            let with = usize::from(script.byte()?) % pieces.len().max(1);
            if !pieces.is_empty() {
                pieces.swap(index, with);
            }
        }
        3 => {
            let from = usize::from(script.byte()?) % others.len();
            pieces.insert(index, others[from].clone());
        }
        4 => {
            let piece = pieces.get_mut(index)?;
            let at = script.place(piece.len())?;
            piece.truncate(at);
        }
        5 => {
            let piece = pieces.get_mut(index)?;
            let (at, change) = (script.place(piece.len())?, script.byte()?);
            piece.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= change);
        }
        _ => {
            let piece = pieces.get_mut(index)?;
            let (at, len) = (script.place(piece.len())?, usize::from(script.byte()?));
            piece.splice(at..at, script.bytes(len).iter().copied());
        }
    }
    Some(())
}

fn check(unsealer: &Unsealer<'_>, envelope: &[u8], sealed: &[Sealed; 2], trailer: usize) {
    check_stream(unsealer, envelope, sealed, trailer);
    let intact = intact(envelope, sealed, trailer);

    let mut read = Vec::new();
    let result = unsealer.reader(envelope).and_then(|mut reader| {
        let _ = reader.read_to_end(&mut read);
        reader.finish()
    });
    came_of(&read, result.map(|_| ()), intact, sealed);

    let Ok(mut range) = unsealer.range(Cursor::new(envelope)) else { return };
    let length = usize::try_from(range.len()).unwrap();
    let whose: Vec<_> = sealed.iter().filter(|sealed| sealed.plaintext.len() == length).collect();
    let [whose] = whose.as_slice() else { panic!("a length that nobody sealed") };
    for place in (0..length).step_by(CHUNK / 2).chain([length.saturating_sub(1)]) {
        range.seek(SeekFrom::Start(place as u64)).unwrap();
        let mut part = [0; 10];
        if let Ok(read) = range.read(&mut part) {
            let (part, _) = part.split_at(read);
            assert!(whose.plaintext[place..].starts_with(part), "another part at {place}");
        }
    }
}

fn check_stream(unsealer: &Unsealer<'_>, envelope: &[u8], sealed: &[Sealed; 2], trailer: usize) {
    let mut output = Vec::new();
    let result = unsealer.unseal_stream(envelope, &mut output).map(|_| ());
    came_of(&output, result, intact(envelope, sealed, trailer), sealed);
}

/// Only what is intact opens; whatever came out before was sealed like this.
fn came_of(output: &[u8], result: Result<(), Error>, intact: Option<&Sealed>, sealed: &[Sealed; 2]) {
    match (result, intact) {
        (Ok(()), intact) => assert_eq!(output, intact.expect("what nobody sealed has opened").plaintext),
        (Err(error), Some(_)) => panic!("{error}"),
        (Err(_), None) => assert!(sealed.iter().any(|sealed| sealed.plaintext.starts_with(output))),
    }
}

/// The one of the two that it is, but for so many bytes of a trailer that is not checked.
fn intact<'a>(envelope: &[u8], sealed: &'a [Sealed; 2], trailer: usize) -> Option<&'a Sealed> {
    sealed.iter().find(|sealed| {
        let kept = sealed.envelope.len() - trailer;
        sealed.envelope.len() == envelope.len() && sealed.envelope[..kept] == envelope[..kept]
    })
}

impl Sealed {
    fn new(length: usize, origin: bool) -> Self {
        let plaintext: Vec<u8> = (0..length).map(|place| (place / 251 + place) as u8).collect();
        let mut sealer = Sealer::new(CONTEXT).recovery(key().recipient());
        if origin {
            sealer = sealer.machine(enclave(), Policy::default());
        }
        let envelope = sealer.seal(&plaintext).unwrap();

        let mut rest = envelope.as_slice();
        Header::read(&mut rest).unwrap();
        let (head, rest) = envelope.split_at(envelope.len() - rest.len() + 32);
        let (payload, trailer) = rest.split_at(rest.len() - if origin { 32 } else { 0 });
        let chunks = payload.chunks(CHUNK + TAG).chain([trailer]).filter(|piece| !piece.is_empty());
        let pieces = std::iter::once(head).chain(chunks).map(<[u8]>::to_vec).collect();
        Self { plaintext, envelope, pieces }
    }
}
