//! Handing an envelope over to the next image of a TDX guest (R26, R78, R79), whose key comes from a running provider.

use serde_json::json;

use crate::support::{Bulla, Ran, Serving, flipped, mode};

/// The registers of the next image, in the order in which they are compared. A simulated guest has no service TD.
const REGISTERS: [(&str, &str); 9] = [
    ("mrtd", "1d"),
    ("rtmr0", "a0"),
    ("rtmr1", "a1"),
    ("rtmr2", "a2"),
    ("rtmr3", "a3"),
    ("mrconfigid", "c1"),
    ("mrowner", "00"),
    ("mrownerconfig", "0c"),
    ("mrservicetd", "00"),
];
const PRESENT: &str = "host";
const NEXT: &str = "host,next.toml";

/// What the build of the next image says, with some registers changed. Simulated guests are described by the same file.
fn image(changes: &[(&str, &str)]) -> String {
    let value = |name: &str, value: &str| {
        let change = changes.iter().find(|(changed, _)| *changed == name);
        change.map_or(value, |(_, other)| other).repeat(48)
    };
    REGISTERS.iter().map(|(name, digits)| format!("{name} = \"{}\"\n", value(name, digits))).collect()
}

fn provider(bulla: &Bulla, machine: &str) -> Serving {
    let settings = format!("machine = \"sim:{machine}\"\nstate_dir = \"{machine}-state\"\n[listen]\n");
    bulla.write(&format!("{machine}-provider.toml"), settings + "http = \"127.0.0.1:0\"\n");
    bulla.serve(&format!("{machine}-provider.toml"))
}

/// The machine `host` with its provider, the envelope `sealed` of the present guest, and the files `request` and `kept` of
/// the next one.
struct Site {
    bulla: Bulla,
    provider: Serving,
}

impl Site {
    fn new() -> Self {
        let bulla = Bulla::with_host();
        let provider = provider(&bulla, "host");
        let site = Self { bulla, provider };
        site.bulla.write("next.toml", image(&[]));
        site.bulla.write("secret", b"dear diary");
        site.on(PRESENT, "seal --context diary -o sealed secret").ok();
        site.on(NEXT, "successor request -o request --secret kept").ok();
        site
    }

    /// Runs something in a guest.
    fn on(&self, guest: &str, line: &str) -> Ran {
        self.bulla.run(&format!("--machine sim-td:{guest} {line} {}", self.provider.options()))
    }

    fn admit(&self, options: &str) -> Ran {
        self.on(PRESENT, &format!("successor admit --context diary --request request {options} sealed"))
    }

    fn adopt(&self, guest: &str) -> Ran {
        self.on(guest, "successor adopt --context diary --secret kept sealed")
    }

    fn open(&self, guest: &str) -> Ran {
        self.on(guest, "unseal --context diary sealed")
    }

    fn show(&self, options: &str) -> Ran {
        self.bulla.run(&format!("--machine sim-td:host successor show request {options}"))
    }

    fn slots(&self) -> Vec<serde_json::Value> {
        self.bulla.run("inspect --json sealed").json()["slots"].as_array().unwrap().clone()
    }

    fn kinds(&self) -> Vec<String> {
        self.slots().iter().map(|slot| slot["kind"].as_str().unwrap().to_owned()).collect()
    }

    /// The request with a quote of the guest in a file, for its key or for other report data.
    fn with_quote_of(&self, td: &str, report_data: &str, more: &str) -> Vec<u8> {
        let line = format!("sim quote host --td {td} --report-data {report_data} {more} -o quote");
        self.bulla.run(&line).ok();
        let quote = self.bulla.read("quote");
        let length = u16::try_from(quote.len()).unwrap().to_be_bytes();
        [&self.bulla.read("request")[..QUOTE - 3], &[0x59], &length, &quote].concat()
    }

    /// What a quote for the key in the request carries.
    fn report_data(&self) -> String {
        self.show("--json").json()["report_data"].as_str().unwrap().to_owned()
    }

    /// Each of these requests is refused, and the envelope stays as it is.
    #[track_caller]
    fn refuses(&self, request: &[u8], code: i32, words: &[&str]) {
        let (good, before) = (self.bulla.read("request"), self.bulla.read("sealed"));
        self.bulla.write("request", request);
        self.admit("--guest next.toml").fails(code, words);
        assert_eq!(self.bulla.read("sealed"), before);
        self.bulla.write("request", good);
    }
}

/// Where the key begins in a request: behind the array's head, label and KEM, and a head of 3 bytes.
const KEY: usize = 1 + 1 + 1 + "bulla/successor-request/v1".len() + 3 + 3;
/// Where the quote begins: behind an X-Wing key and a head of 3 bytes.
const QUOTE: usize = KEY + 1216 + 3;

/// The whole way: asked, looked at, admitted, adopted; and the present image retired.
#[test]
fn the_next_image_takes_over() {
    let site = Site::new();
    let bulla = &site.bulla;
    assert_eq!(mode(&bulla.path("kept")), 0o600);
    site.open(NEXT).fails(10, &["MRTD", &"1d".repeat(48)]);

    let ran = site.show("");
    assert!(ran.stderr.contains("SIMULATED") && ran.stderr.contains("UpToDate"), "{}", ran.stderr);
    assert_eq!(ran.text(), image(&[]), "what the build says, line by line");

    let ran = site.admit("--guest next.toml");
    assert!(ran.stderr.contains("SIMULATED"), "{}", ran.stderr);
    ran.ok();
    assert_eq!(site.kinds(), ["sim", "recipient"]);
    assert_eq!(site.slots()[1]["role"], "successor");
    assert_eq!(site.open(PRESENT).ok(), b"dear diary", "the present one goes on");
    site.open(NEXT).fails(10, &["MRTD"]);

    let ran = site.adopt(NEXT);
    for words in ["now opens for sim, sim", "slot 0 still opens for another identity", "not revocation"] {
        assert!(ran.stderr.contains(words), "{words:?} is not in {}", ran.stderr);
    }
    ran.ok();
    assert_eq!(site.kinds(), ["sim", "sim"]);
    for (name, digits) in REGISTERS {
        assert_eq!(site.slots()[1]["claims"][name.to_uppercase()], digits.repeat(48));
    }
    assert_eq!(site.slots()[1]["claims"]["provider"], site.provider.id());
    for guest in [PRESENT, NEXT] {
        assert_eq!(site.open(guest).ok(), b"dear diary");
    }
    bulla.write("third.toml", image(&[("rtmr3", "b3")]));
    site.open("host,third.toml").fails(10, &["[machine.other_identity]"]);

    site.on(NEXT, "rewrap --drop 0 sealed").ok();
    site.open(PRESENT).fails(10, &["MRTD"]);
    assert_eq!(site.open(NEXT).ok(), b"dear diary");
}

/// R26, R79: each of the nine registers, and no fewer.
#[test]
fn a_guest_is_let_in_by_all_its_registers() {
    let site = Site::new();
    let before = site.bulla.read("sealed");
    let refused = |code: i32, words: &[&str]| {
        site.admit("--guest image.toml").fails(code, words);
        assert_eq!(site.bulla.read("sealed"), before);
    };
    for (name, digits) in REGISTERS {
        site.bulla.write("image.toml", image(&[(name, "ee")]));
        let upper = name.to_uppercase();
        refused(10, &[&upper, &digits.repeat(48), &"ee".repeat(48), "[successor.other_identity]"]);
        // The other registers are those of the one who asks.
        let fewer: String =
            image(&[]).lines().filter(|line| !line.starts_with(name)).collect::<Vec<_>>().join("\n");
        site.bulla.write("image.toml", fewer);
        refused(2, &["image.toml: ", &format!("{name} is missing"), "all nine"]);
    }
    for (text, words) in [
        (String::new(), "mrtd is missing"),
        ("mrtd".into(), "image.toml: "),
        (image(&[]) + "debug = true\n", "debug is no register"),
        (image(&[]) + "rtmr4 = \"00\"\n", "rtmr4 is no register"),
        (image(&[]) + "mrtd = \"00\"\n", "image.toml: "),
        (image(&[("rtmr1", "a")]), "rtmr1 is not 96 hexadecimal digits"),
        (image(&[("rtmr1", "xx")]), "rtmr1 is not 96 hexadecimal digits"),
        (image(&[]).replace(&format!("\"{}\"", "a1".repeat(48)), "1"), "rtmr1 is not 96 hexadecimal digits"),
        ("x".repeat(70_000), "larger"),
    ] {
        site.bulla.write("image.toml", text);
        refused(2, &[words]);
    }
    site.bulla.write("image.toml", [0xFF; 9]);
    refused(2, &["not a text file"]);
    let hex = "1d".repeat(32);
    for whom in [format!("--measurement {hex}"), format!("--signer {hex} --product 1 --min-svn 0")] {
        site.admit(&whom).fails(10, &["not an SGX enclave", "[successor.other_identity]"]);
        assert_eq!(site.bulla.read("sealed"), before);
    }
    site.admit(&format!("--guest next.toml --measurement {hex}")).fails(2, &["--measurement"]);
    assert_eq!(site.bulla.read("sealed"), before);
    // A file that says the same in capitals is the same.
    site.bulla.write("image.toml", image(&[("rtmr0", "A0"), ("mrconfigid", "C1")]));
    site.admit("--guest image.toml").ok();
}

/// R23, R79: a debug guest gets no key of its own, and who quotes it nevertheless is refused.
#[test]
fn a_debug_guest_is_not_let_in() {
    let site = Site::new();
    let data = site.report_data();
    site.bulla.write("debug.toml", image(&[]) + "debug = true\n");
    site.on("host,debug.toml", "successor request -o r --secret s").fails(10, &["[policy.debug]"]);
    assert!(!site.bulla.path("r").exists() && !site.bulla.path("s").exists());

    site.refuses(&site.with_quote_of("next.toml", &data, "--debug"), 10, &["[policy.debug]"]);
    let good = 1 << 28;
    for (attributes, code) in (0..8)
        .map(|bit| (good | 1 << bit, "policy.debug"))
        .chain([(good | 1_u64 << 29, "policy.migratable"), (0, "policy.sept_ve_disable_not_set")])
        .chain([(good | 1 << 63, "policy.perfmon"), (good | 1 << 8, "policy.reserved_attributes")])
    {
        site.bulla.write("odd.toml", image(&[]) + &format!("attributes = \"{attributes:x}\"\n"));
        site.refuses(&site.with_quote_of("odd.toml", &data, ""), 10, &[&format!("[{code}]")]);
    }
    // What stands out in these is only the attributes.
    site.bulla.write("request", site.with_quote_of("next.toml", &data, ""));
    site.admit("--guest next.toml").ok();
    assert_eq!(site.open(PRESENT).ok(), b"dear diary");
}

/// R79: a quote is for one key, and a changed request is for none.
#[test]
fn a_request_that_was_put_together_or_changed_is_refused() {
    let site = Site::new();
    let first = site.bulla.read("request");
    site.on(NEXT, "successor request -o second --secret kept2").ok();
    let second = site.bulla.read("second");
    assert_eq!(first[..KEY], second[..KEY]);
    let other_key = [&second[..QUOTE], &first[QUOTE..]].concat();
    let replayed = site.with_quote_of("next.toml", &"00".repeat(64), "");
    for request in [&other_key, &replayed] {
        site.refuses(request, 11, &["not for the key", "[successor.other_key]"]);
    }
    // The key; of the quote MRTD, RTMR3, report data and signature.
    let body = QUOTE + 48;
    for at in [KEY + 1216 - 5, body + 136 + 3, body + 328 + 3 * 48 + 1, body + 520 + 1, body + 584 + 4 + 9] {
        site.refuses(&flipped(&first, at, 0), 11, &[]);
    }
    for bytes in [&first[..first.len() - 1], &first[..40], b"", b"noise", &[&first[..], b"x"].concat()] {
        site.refuses(bytes, 11, &["[successor.malformed]"]);
    }
    site.admit("--guest next.toml").ok();
    site.adopt(NEXT).ok();
    assert_eq!(site.open(NEXT).ok(), b"dear diary");
}

/// Who is not the next one, or has not been let in, adopts nothing.
#[test]
fn only_who_was_let_in_adopts() {
    let site = Site::new();
    let bulla = &site.bulla;
    let before = bulla.read("sealed");
    site.adopt(NEXT).fails(10, &["[envelope.no_opener]"]);
    assert_eq!(bulla.read("sealed"), before);
    site.admit("--guest next.toml").ok();
    let admitted = bulla.read("sealed");
    bulla.write("third.toml", image(&[("mrowner", "01")]));
    site.adopt("host,third.toml").fails(10, &["kept: ", "MROWNER", "[machine.other_identity]"]);
    site.adopt(PRESENT).fails(10, &["kept: ", "MRTD", "[machine.other_identity]"]);
    bulla
        .run("--machine sim-td:host,next.toml successor adopt --context diary --secret kept sealed")
        .fails(2, &["key provider"]);
    site.on(NEXT, "successor adopt --context wallet --secret kept sealed")
        .fails(10, &["[envelope.other_context]"]);
    let signer = "--policy signer:product=1,svn=1,label=a";
    site.on(NEXT, &format!("successor adopt --context diary --secret kept {signer} sealed"))
        .fails(2, &["measurement"]);
    assert_eq!(bulla.read("sealed"), admitted);
    site.adopt(NEXT).ok();
    // Once more changes nothing that matters.
    site.adopt(NEXT).ok();
    assert_eq!(site.kinds(), ["sim", "sim"]);
}

/// Another machine, with a provider of its own, is no hindrance to being admitted.
#[test]
fn it_may_run_on_another_machine() {
    let site = Site::new();
    let bulla = &site.bulla;
    bulla.run("sim new other").ok();
    let others = provider(bulla, "other");
    let there =
        |line: &str| bulla.run(&format!("--machine sim-td:other,next.toml {line} {}", others.options()));
    there("successor request -o request --secret kept3").ok();
    site.admit("--guest next.toml").ok();
    // The same image here cannot use it: what was let in is the key of the guest over there.
    site.on(NEXT, "successor adopt --context diary --secret kept3 sealed").fails(10, &["kept3: "]);
    there("successor adopt --context diary --secret kept3 sealed").ok();
    assert_eq!(there("unseal --context diary sealed").ok(), b"dear diary");
    assert_eq!(site.open(PRESENT).ok(), b"dear diary");
    site.open(NEXT).fails(10, &["[machine.other_machine]"]);
}

/// An enclave hands over to a guest, and a guest to an enclave.
#[test]
fn the_next_one_may_be_of_the_other_kind() {
    let site = Site::new();
    let bulla = &site.bulla;
    let enclave = |line: &str| bulla.run(&format!("--machine sim:host {line}"));

    enclave("seal --context wallet -o wallet secret").ok();
    let admit = "successor admit --context wallet --request request";
    enclave(&format!("{admit} --guest next.toml wallet")).ok();
    site.on(NEXT, "successor adopt --context wallet --secret kept wallet").ok();
    assert_eq!(site.on(NEXT, "unseal --context wallet wallet").ok(), b"dear diary");

    enclave("successor request -o request --secret kept3").ok();
    let shown = site.show("").text();
    let line =
        |key: &str| shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = ")).unwrap();
    let measurement = line("measurement").trim_matches('"');
    let family = format!("--signer {} --product {}", line("signer").trim_matches('"'), line("product"));
    let before = bulla.read("sealed");
    site.admit("--guest next.toml").fails(10, &["not a TDX guest", "[successor.other_identity]"]);
    assert_eq!(bulla.read("sealed"), before);
    site.admit(&format!("--measurement {measurement}")).ok();
    site.admit(&format!("{family} --min-svn {}", line("svn"))).ok();
    enclave("successor adopt --context diary --secret kept3 sealed").ok();
    assert_eq!(enclave("unseal --context diary sealed").ok(), b"dear diary");
    assert_eq!(site.open(PRESENT).ok(), b"dear diary");
}

/// What does not verify is not shown.
#[test]
fn a_request_is_shown_once_its_quote_verifies() {
    let site = Site::new();
    let bulla = &site.bulla;
    let shown = site.show("--json").json();
    let expected = [("verified", json!(true)), ("simulated", json!(true)), ("tee", json!("tdx"))];
    let registers = REGISTERS.map(|(name, digits)| (name, json!(digits.repeat(48))));
    for (name, value) in expected.into_iter().chain(registers).chain([("tcb_status", json!("UpToDate"))]) {
        assert_eq!(shown[name], value, "{name}");
    }
    let good = bulla.read("request");
    for (request, exit, code) in [
        (flipped(&good, QUOTE + 48 + 136, 0), 11, "quote.signature"),
        (site.with_quote_of("next.toml", &"00".repeat(64), ""), 11, "successor.other_key"),
        (site.with_quote_of("next.toml", &site.report_data(), "--debug"), 10, "policy.debug"),
    ] {
        bulla.write("request", &request);
        assert!(site.show("").fails(exit, &[code]).stdout.is_empty());
        let ran = site.show("--json").fails(exit, &[code]);
        let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!((&report["verified"], &report["code"]), (&json!(false), &json!(code)));
        assert!(report.get("mrtd").is_none());
        bulla.write("request", &good);
    }
    bulla.write("noise", "noise");
    bulla.run("--machine sim-td:host successor show noise").fails(11, &["[successor.malformed]"]);
    // Without a machine, it is Intel's root.
    bulla.run("successor show request").fails(2, &["--collateral"]);
    bulla.write("quote", &good[QUOTE..]);
    bulla.run("sim collateral host quote -o collateral").ok();
    bulla.run("successor show request --collateral collateral").fails(10, &["untrusted_root"]);
    assert_eq!(site.show("--collateral collateral").text(), image(&[]));
    bulla.run("sim microcode host down").ok();
    site.on(NEXT, "successor request -o request --secret kept4").fails(12, &["[policy.tcb_status]"]);
}

/// R95: a guest without a key has nothing to keep the secret with, and leaves nothing behind.
#[test]
fn a_guest_without_its_provider_asks_for_nothing() {
    let bulla = Bulla::with_host();
    bulla.run("--machine sim-td:host successor request -o r --secret s").fails(2, &["key provider"]);
    assert!(!bulla.path("r").exists() && !bulla.path("s").exists());
}

/// The file of a simulated guest may name all nine registers too; a service TD it cannot have.
#[test]
fn a_simulated_guest_has_no_service_td() {
    let bulla = Bulla::with_host();
    bulla.write("td.toml", image(&[("mrservicetd", "01")]));
    bulla.run("sim quote host --td td.toml -o quote").fails(2, &["mrservicetd", "service TD"]);
}
