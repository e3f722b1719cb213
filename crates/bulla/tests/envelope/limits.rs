//! Randomness that fails or repeats itself, inputs that are not as long as they said, and what a remote party learns.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use bulla::{Error, Header, Kem, Opener, Policy, RecipientKey, Sealer, Unsealer};
use bulla_crypto::EntropyFailure;
use bulla_tee::{
    DerivedKey, Error as MachineError, Evidence, EvidenceKind, Identity, KeyRequest, ReportData, Tee,
};

use crate::machine::{TestMachine, here, program};
use crate::surgery::{CHUNK, FRAME, edited};

/// R2, R57: a million sealings, and no two share a KEYID, the salt of a slot or a wrapped key.
#[test]
fn r2_a_million_sealings_share_nothing() {
    const SEALINGS: usize = 1_000_000;
    let drawn = |_: usize| {
        let sealed = bulla::seal(&here(), "test", b"").unwrap();
        let header = Header::read(&mut sealed.as_slice()).unwrap();
        let slot = &header.slots()[0];
        let Opener::Machine(KeyRequest::Simulated(request)) = slot.opener() else { panic!("not simulated") };
        let KeyRequest::Sgx(request) = request.as_ref() else { panic!("not SGX") };
        // The 48 bytes of the wrapped key are the last of the slot, before the empty list of critical fields.
        let at = header_end(&sealed) - 2 - 48;
        [request.keyid, *slot.salt(), *sealed[at..].first_chunk().unwrap()]
    };
    let mut all: Vec<[u8; 32]> = thread::scope(|scope| {
        let part = || (0..SEALINGS / 4).flat_map(drawn).collect::<Vec<_>>();
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(part)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(all.len(), 3 * SEALINGS);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 3 * SEALINGS);
}

/// Where the header's CBOR ends.
fn header_end(sealed: &[u8]) -> usize {
    FRAME + u32::from_be_bytes(*sealed[9..].first_chunk().unwrap()) as usize
}

/// The machine of [`here`] with a defect.
enum Broken {
    /// Its random number generator has failed: it binds nothing.
    Stuck,
    /// Its keys are all zero.
    Zero,
    /// It gives one key and then answers no more.
    Failing(AtomicBool),
}

impl Tee for Broken {
    fn identity(&self) -> Result<Identity, MachineError> {
        here().identity()
    }
    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), MachineError> {
        match self {
            Self::Stuck => Err(EntropyFailure.into()),
            Self::Zero => here().bind(policy).map(|(request, _)| (request, DerivedKey::new(vec![0; 16]))),
            Self::Failing(_) => here().bind(policy),
        }
    }
    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, MachineError> {
        match self {
            Self::Zero => Ok(DerivedKey::new(vec![0; 16])),
            Self::Failing(failed) if failed.swap(true, Relaxed) => {
                Err(MachineError::Unavailable { machine: "provider", reason: "it went away".into() })
            }
            _ => here().derive(request),
        }
    }
    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, MachineError> {
        here().attest(data, kind)
    }
}

/// R13: a key of zeros is refused whichever backend it came from, when sealing and when opening.
#[test]
fn r13_a_key_of_zeros_is_refused() {
    let zero = |error: Error| assert!(matches!(error, Error::Machine(MachineError::Zero(_))), "{error}");
    zero(bulla::seal(&Broken::Zero, "test", b"secret").unwrap_err());
    let sealed = bulla::seal(&here(), "test", b"secret").unwrap();
    zero(bulla::unseal(&Broken::Zero, "test", &sealed).err().unwrap());
}

/// A machine that fails meanwhile is not one that has no slot: nobody is told to drop it.
#[test]
fn a_rotation_says_that_the_machine_failed() {
    let failing = Broken::Failing(AtomicBool::new(false));
    let sealed = bulla::seal(&here(), "test", b"secret").unwrap();
    let unsealer = Unsealer::new("test").machine(&failing);
    let error = bulla::Rotate::new(&failing).run(&unsealer, sealed.as_slice(), Vec::new()).unwrap_err();
    assert_eq!(error.code(), "machine.unavailable");
}

/// R61, B32: where randomness fails nothing is written: no first byte, no file, no change of one.
#[test]
fn r61_without_randomness_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sealed");
    let sealer = || Sealer::new("test").machine(&Broken::Stuck, Policy::default());
    let entropy =
        |error: Error| assert!(matches!(error, Error::Machine(MachineError::Entropy(_))), "{error}");

    let mut output = Vec::new();
    entropy(sealer().seal_stream(&b"secret"[..], &mut output).unwrap_err());
    entropy(sealer().writer(&mut output).err().unwrap());
    assert_eq!(output, b"");
    entropy(
        bulla::file::replace(&path, |file| sealer().seal_stream(&b"secret"[..], file).map(|_| ()))
            .unwrap_err(),
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    bulla::file::replace(&path, |file| bulla::seal_stream(&here(), "test", &b"secret"[..], file)).unwrap();
    let before = fs::read(&path).unwrap();
    let unsealer = Unsealer::new("test").machine(&Broken::Stuck);
    entropy(bulla::Rewrap::new().refresh(&Broken::Stuck).file(&unsealer, &path).unwrap_err());
    entropy(bulla::Rotate::new(&Broken::Stuck).file(&unsealer, &path).unwrap_err());
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(bulla::unseal(&here(), "test", &before).unwrap().expose(), b"secret");
}

/// Gives what a file holds, to which somebody appends while it is read.
struct Growing {
    file: File,
    path: std::path::PathBuf,
    times: usize,
}

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.times > 0 {
            self.times -= 1;
            File::options().append(true).open(&self.path)?.write_all(&[9; 1000])?;
        }
        self.file.read(buffer)
    }
}

/// R71: a file that grows while it is sealed is sealed as it was read, and one that grows while it is opened is refused.
#[test]
fn r71_a_growing_file_is_read_as_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("growing");
    let growing = |content: &[u8], times| {
        fs::write(&path, content).unwrap();
        Growing { file: File::open(&path).unwrap(), path: path.clone(), times }
    };
    let mut sealed = Vec::new();
    bulla::seal_stream(&here(), "test", growing(&[1; CHUNK + 1], 40), &mut sealed).unwrap();
    let secret = bulla::unseal(&here(), "test", &sealed).unwrap();
    assert_eq!(secret.expose(), fs::read(&path).unwrap());

    for times in [1, 40] {
        let mut output = Vec::new();
        let refused =
            bulla::unseal_stream(&here(), "test", growing(&sealed, times), &mut output).unwrap_err();
        assert_eq!(refused.code(), "envelope.payload_changed");
        assert!(secret.expose().starts_with(&output), "a prefix of the secret, and no more");
    }
}

/// R71: the size that the system tells is not believed: a file that claims to be empty is read to its end.
#[test]
fn r71_a_lying_size_is_not_believed() {
    let claimed_empty = "/proc/self/limits";
    assert_eq!(fs::metadata(claimed_empty).unwrap().len(), 0);
    let mut sealed = Vec::new();
    bulla::seal_stream(&here(), "test", File::open(claimed_empty).unwrap(), &mut sealed).unwrap();
    let secret = bulla::unseal(&here(), "test", &sealed).unwrap();
    assert!(secret.expose().starts_with(b"Limit"));

    // A range reader asks for the size, and takes it for what it is when the bytes are not there.
    struct Liar<'a>(io::Cursor<&'a [u8]>);
    impl Read for Liar<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl io::Seek for Liar<'_> {
        fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
            match to {
                io::SeekFrom::End(_) => Ok(1 << 40),
                to => self.0.seek(to),
            }
        }
    }
    let machine = here();
    let range = Unsealer::new("test").machine(&machine).range(Liar(io::Cursor::new(&sealed)));
    assert_eq!(range.err().unwrap().code(), "envelope.truncated");
}

/// R65: whatever goes wrong once the header was read, a remote party is told the same bytes; and before that, only that the bytes are
/// no header.
#[test]
fn r65_failures_look_alike_to_a_remote_party() {
    let machine = here();
    let [holder, stranger] = [(); 2].map(|()| RecipientKey::generate(Kem::X25519).unwrap());
    let sealed = Sealer::new("test")
        .machine(&machine, Policy::default())
        .recovery(holder.recipient())
        .epoch(3)
        .seal(&[7; CHUNK + 5])
        .unwrap();
    let by_machine = || Unsealer::new("test").machine(&machine);
    let (other_program, elsewhere) = (program(|identity| identity.mrenclave[0] = 1), TestMachine::new());
    let elsewhere = elsewhere.program(|_| ());
    let changed = |at: usize| {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        changed
    };
    let payload = sealed.len() - 32 - CHUNK;
    let failures = [
        ("context", Unsealer::new("else").machine(&machine).unseal(&sealed)),
        ("no opener", Unsealer::new("test").unseal(&sealed)),
        ("stranger", Unsealer::new("test").key(&stranger).unseal(&sealed)),
        ("program", Unsealer::new("test").machine(&other_program).unseal(&sealed)),
        ("machine", Unsealer::new("test").machine(&elsewhere).unseal(&sealed)),
        ("header", by_machine().unseal(&edited(&sealed, |fields| fields.epoch = Some(4)))),
        ("wrapped key", by_machine().unseal(&edited(&sealed, |fields| fields.slots[0].wrapped[0] ^= 1))),
        ("epoch", by_machine().at_least(4).unseal(&sealed)),
        ("recipients", by_machine().expect_recipients(&[]).unseal(&sealed)),
        ("origin", Unsealer::new("test").key(&holder).require_origin().unseal(&sealed)),
        ("payload", by_machine().unseal(&changed(payload))),
        ("last chunk", by_machine().unseal(&changed(sealed.len() - 33))),
        ("trailer", by_machine().unseal(&changed(sealed.len() - 1))),
        ("cut", by_machine().unseal(&sealed[..payload])),
    ];
    let mut codes = HashSet::new();
    for (what, failure) in failures {
        let error = failure.err().expect(what);
        assert_eq!(error.remote().as_bytes(), b"unseal.failed", "{what}: {error}");
        codes.insert(error.code());
    }
    assert!(codes.len() >= 9, "the operator is told them apart: {codes:?}");
    for at in [0, 8, 20] {
        assert_eq!(by_machine().unseal(&changed(at)).err().unwrap().remote(), "envelope.malformed");
    }
}
