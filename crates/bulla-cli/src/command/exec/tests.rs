//! What a command started like this finds, asked of the command (R89).

use std::process::Output;

use keyutils::SpecialKeyring;

use super::*;

const KEY: &[u8] = b"a key that nobody else may see";
const OTHER: &[u8] = b"the other key";

fn keys() -> Vec<Handover> {
    [KEY, OTHER].map(|key| Handover::key(SecretBytes::new(key.to_vec()))).into()
}

fn prepare(handovers: &[Handover], command: &[&str]) -> Result<Prepared, Failure> {
    Prepared::new(handovers, &command.iter().map(OsString::from).collect::<Vec<_>>())
}

/// Starts it beside this process instead of in its place.
#[track_caller]
fn output(handovers: &[Handover], command: &[&str]) -> Output {
    let output =
        prepare(handovers, command).unwrap_or_else(|failure| panic!("{failure}")).command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[track_caller]
fn refused(handovers: &[Handover], command: &[&str]) -> String {
    let failure = prepare(handovers, command).err().unwrap();
    assert_eq!(failure.code, "usage");
    failure.to_string()
}

#[test]
fn a_path_and_a_descriptor_give_the_key() {
    let keys = keys();
    assert_eq!(output(&keys[..1], &["cat", "{key}"]).stdout, KEY);
    assert_eq!(output(&keys, &["cat", "{key:2}", "{key:1}"]).stdout, [OTHER, KEY].concat());
    // Not `sh`: dash redirects only from descriptors of one digit, and a busy test process has more.
    let script = "cat <&$1; cat <&$2; cat ${3#--file=}";
    let placed = ["bash", "-c", script, "bash", "{fd:1}", "{fd:1}", "--file={key:2}"];
    assert_eq!(output(&keys, &placed).stdout, [KEY, KEY, OTHER].concat(), "each is at its beginning");
}

/// Not even root can change it, and it can be read as often as the command likes.
#[test]
fn the_file_is_sealed_and_private() {
    let script = "cat $1 >/dev/null; for to in '>' '>>'; do (eval echo x $to $1) 2>/dev/null && exit 1; done; stat -L -c %a $1; cat $1";
    let output = output(&keys()[..1], &["sh", "-c", script, "sh", "{key}"]);
    assert_eq!(output.stdout, [b"400\n", KEY].concat());
}

/// R89: neither arguments nor environment have it, in any form.
#[test]
fn r89_nothing_else_holds_the_key() {
    let script = "cat /proc/self/cmdline /proc/$$/cmdline /proc/self/environ /proc/self/comm /proc/self/maps; echo $0 $@; export -p";
    let printed = output(&keys(), &["sh", "-c", script, "sh", "{key:1}", "{fd:2}"]).stdout;
    assert!(printed.windows(13).any(|bytes| bytes == b"/proc/self/fd"));
    for key in [KEY, OTHER] {
        for form in [key.to_vec(), hex::encode(key).into_bytes()] {
            assert!(!printed.windows(form.len()).any(|bytes| bytes == form));
        }
    }
}

/// Where a container may not use keyrings, the refusal is typed.
#[test]
fn a_keyring_is_of_the_command_alone() {
    let keys = keys();
    let before = Keyring::attach_or_create(SpecialKeyring::Session);
    let prepared = prepare(&keys, &["true", "{keyring:2}", "{keyring:1}"]);
    let Ok(before) = before else {
        return assert_eq!(prepared.err().unwrap().code, "handover.unavailable");
    };
    let prepared = prepared.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(prepared.command.get_args().collect::<Vec<_>>(), ["bulla:2", "bulla:1"]);
    // This thread has changed its session, as the process of `bulla exec` does before it becomes the command.
    let contents = |keyring: &Keyring| {
        let (keys, _) = keyring.read().unwrap();
        let mut contents: Vec<_> = keys.iter().filter_map(|key| key.read().ok()).collect();
        contents.sort();
        contents
    };
    assert_eq!(contents(&Keyring::attach(SpecialKeyring::Session).unwrap()), [KEY, OTHER]);
    assert!(!contents(&before).iter().any(|content| content == KEY), "who started it shares nothing");
}

#[test]
fn a_judged_header_is_a_file_of_its_own() {
    let handovers = [
        Handover::key(SecretBytes::new(KEY.to_vec())),
        Handover { option: Kind::Luks, content: SecretBytes::new(b"header".to_vec()) },
    ];
    let printed = output(&handovers, &["cat", "{luks}", "{key}"]).stdout;
    assert_eq!(printed, [b"header", KEY].concat());
    assert!(refused(&handovers, &["cat", "{key}"]).contains("--luks"));
    assert!(refused(&handovers, &["cat", "{key}", "{luks:2}"]).contains("--luks"));
}

#[test]
fn options_and_placeholders_have_to_match() {
    let keys = keys();
    assert!(refused(&keys, &["cat", "{key:1}"]).contains("no place"));
    assert!(refused(&keys, &["cat", "{key}", "{key:2}"]).contains("say which"));
    for number in ["0", "3", "", "x", "-1", "99999999999999999999999"] {
        assert!(
            refused(&keys, &["cat", "{key:1}", &format!("{{fd:{number}}}")]).contains("no --key"),
            "{number}"
        );
    }
    assert!(refused(&[], &["cat", "{key}"]).contains("no --key"));
    assert!(refused(&[], &["cat", "{luks}"]).contains("no --luks"));
    assert!(refused(&[], &[]).contains("command"));
}

#[test]
fn other_braces_stay() {
    for text in ["{}", "{", "}", "{keys}", "{ key}", "{{", "${HOME}", "{KEY:1}", "a{b:1}c", ""] {
        assert_eq!(output(&[], &["printf", "%s", text]).stdout, text.as_bytes());
    }
    let within = output(&keys()[..1], &["printf", "%s", "{a{fd}b}"]).stdout;
    assert!(within.starts_with(b"{a") && within.ends_with(b"b}") && within.len() < 8, "{within:?}");
    let bytes = OsString::from_vec(b"\xFF{\xFE}".to_vec());
    let prepared =
        Prepared::new(&[], &["printf".into(), bytes.clone()]).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(prepared.command.get_args().collect::<Vec<_>>(), [bytes]);
}

#[test]
fn a_command_that_is_not_there_is_named() {
    let Err(failure) = run(Vec::new(), &["/no/such/program".into()]);
    assert_eq!(failure.code, "file");
    assert!(failure.to_string().contains("/no/such/program"), "{failure}");
}
