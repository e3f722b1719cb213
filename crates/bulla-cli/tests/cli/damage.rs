//! What arrives otherwise than it was written. Every bit and every length is tried in process by the library's own tests.

use std::process::{Command, Stdio};

use crate::support::{Bulla, Ran, flipped, places};

const CHUNK: usize = 64 * 1024;

#[track_caller]
fn damaged(ran: Ran, what: impl std::fmt::Display) {
    assert_eq!(ran.code, 11, "{what}: {}", ran.stderr);
    assert!(ran.stdout.is_empty(), "{what}: something was written");
    assert!(ran.stderr.starts_with("bulla: error: "), "{what}: {}", ran.stderr);
}

/// R56, B25.
#[test]
fn a_flip_in_magic_version_or_slot_kind_is_damage() {
    let bulla = Bulla::with_host();
    let sealed = bulla.seal(b"secret");
    let kinds = [places(&sealed, b"\x63sim"), places(&sealed, b"\x63sgx")].concat();
    assert_eq!(kinds.len(), 2, "the kind of the slot, and of the machine that is simulated");
    let kinds = kinds.into_iter().flat_map(|at| at..at + 4);
    for at in (0..9).chain(kinds) {
        for bit in 0..8 {
            damaged(bulla.unseal(&flipped(&sealed, at, bit)), format_args!("bit {bit} of byte {at}"));
        }
    }
}

/// R56, B25.
#[test]
fn a_flip_anywhere_is_damage() {
    let bulla = Bulla::with_host();
    let sealed = bulla.seal(b"secret");
    for (index, at) in (0..sealed.len()).step_by(4).chain([sealed.len() - 1]).enumerate() {
        let bit = index as u32 % 8;
        damaged(bulla.unseal(&flipped(&sealed, at, bit)), format_args!("bit {bit} of byte {at}"));
    }
}

/// R56, B25.
#[test]
fn a_cut_or_longer_envelope_is_damage() {
    let bulla = Bulla::with_host();
    let sealed = bulla.seal(b"secret");
    for length in (0..sealed.len()).step_by(7).chain([sealed.len() - 1]) {
        damaged(bulla.unseal(&sealed[..length]), format_args!("cut to {length}"));
    }
    damaged(bulla.unseal(&[&sealed[..], b"\0"].concat()), "a byte more");
    damaged(bulla.unseal(&[&sealed[..], &sealed].concat()), "twice");
}

/// R59, B30: on a stream, what precedes the damage may be there, and the exit code says that it is not all.
#[test]
fn a_stream_is_complete_only_with_exit_code_0() {
    let bulla = Bulla::with_host();
    let secret: Vec<u8> = (0..3 * CHUNK).map(|i| (i % 251) as u8).collect();
    let sealed = bulla.seal(&secret);
    let chunk = CHUNK + 16;
    let first = sealed.len() - 3 * chunk;
    for (envelope, whole_chunks) in [
        (&sealed[..sealed.len() - 1], 2),
        (&sealed[..first + 2 * chunk], 1),
        (&sealed[..first + chunk + 5], 1),
        (&sealed[..first + chunk], 0),
        (&flipped(&sealed, first + chunk, 0)[..], 1),
    ] {
        let ran = bulla.unseal(envelope);
        assert_eq!(ran.code, 11, "{}", ran.stderr);
        assert!(ran.stdout == secret[..whole_chunks * CHUNK], "{} bytes", ran.stdout.len());
    }
}

/// B26: another version is not guessed at.
#[test]
fn other_versions_are_refused_by_name() {
    let bulla = Bulla::with_host();
    let mut sealed = bulla.seal(b"secret");
    for version in [0, 2, 255] {
        sealed[8] = version;
        bulla
            .unseal(&sealed)
            .fails(11, &[&format!("version {version}"), "reads version 1", "[envelope.version]"]);
    }
}

/// B25: what never was an envelope.
#[test]
fn anything_else_is_a_clean_error() {
    let bulla = Bulla::with_host();
    let mut noise = vec![0; 100_000];
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for byte in &mut noise {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
    let magic_and_noise = [b"\x93bulla\r\n\0", &noise[..]].concat();
    let longest = [b"\x93bulla\r\n\0\xFF\xFF\xFF\xFF", &noise[..]].concat();
    for input in [&b""[..], b"\n", &noise, b"{\"quote\":[]}", &magic_and_noise, &longest] {
        damaged(bulla.unseal(input), format_args!("{} bytes", input.len()));
    }

    bulla.write("noise", &noise);
    bulla.write("empty", "");
    std::fs::create_dir(bulla.path("folder")).unwrap();
    for line in ["inspect", "--machine sim:host unseal --context wallet"] {
        for (input, code) in [
            ("noise", 11),
            ("empty", 11),
            ("/dev/null", 11),
            ("/dev/zero", 11),
            ("folder", 1),
            ("missing", 1),
        ] {
            let ran = bulla.run(&format!("{line} {input}"));
            assert_eq!(ran.code, code, "{line} {input}: {}", ran.stderr);
            assert!(ran.stdout.is_empty(), "{line} {input}");
        }
    }
}

/// A name is named, whatever it is.
#[test]
fn a_missing_file_is_named() {
    let bulla = Bulla::with_host();
    bulla.run("inspect missing").fails(1, &["missing", "No such file"]);
    bulla.run("--machine sim:host unseal --context wallet missing").fails(1, &["missing", "No such file"]);
}

/// A reader that goes away ends the command, and does not make it panic.
#[test]
fn a_closed_output_is_a_clean_error() {
    let bulla = Bulla::with_host();
    bulla.write("sealed", bulla.seal(&vec![0; 40 * CHUNK]));
    let mut child = bulla
        .command("--machine sim:host unseal --context wallet sealed")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    Ran::from(child.wait_with_output().unwrap()).fails(1, &[]);

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let unseal: &mut Command = &mut bulla.command("--machine sim:host unseal --context wallet sealed");
    let output = unseal.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).output().unwrap();
    Ran::from(output).fails(1, &["No space left"]);
}
