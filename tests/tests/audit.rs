//! R100: a second implementation, which shares nothing with the first, agrees about audit logs: the committed one, and one
//! that a provider left which was killed twice.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};
use site::Site;

mod site;
#[path = "../../crates/bulla-cli/tests/cli/support.rs"]
mod support;

fn judge(log: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/audit.py");
    Command::new("/usr/bin/python3").arg("-B").arg(script).arg(log).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_python_implementation_agrees() {
    let vectors = "../crates/bulla-provider/tests/vectors/audit-v1.log";
    let output = judge(&Path::new(env!("CARGO_MANIFEST_DIR")).join(vectors));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let head = "88325a97892ff641dcf73036d843ec4934ac928247e74bcca46f9a96fcdb34ef";
    assert_eq!(text(&output.stdout), format!("8 lines, 3 checkpoints, head {head}\n"));

    let site = Site::new();
    for _ in 0..3 {
        let provider = site.serve();
        site.request("default", "app/db disk 32", &provider).ok();
        let pid = Pid::from_raw(provider.process().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        provider.end();
        // What a crash of the whole machine can leave.
        let log = site.bulla.read("provider-state/audit.log");
        site.bulla.write("provider-state/audit.log", [&log[..], b"\0\0{\"number\":"].concat());
    }
    let provider = site.serve();
    let pid = Pid::from_raw(provider.process().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    provider.end();
    let log = site.bulla.path("provider-state/audit.log");
    let output = judge(&log);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let verdict = site.bulla.run("audit verify --json provider-state").json();
    let (lines, head) = (verdict["last"].as_u64().unwrap(), verdict["head"].as_str().unwrap());
    assert!(text(&output.stdout).starts_with(&format!("{lines} lines, ")));
    assert!(text(&output.stdout).ends_with(&format!("head {head}\n")));
    assert_eq!(verdict["recovered"].as_array().unwrap().len(), 3);

    let edited = site.bulla.text("provider-state/audit.log").replacen("app/db", "app/dc", 1);
    std::fs::write(&log, edited).unwrap();
    assert!(!judge(&log).status.success());
    site.bulla.run("audit verify provider-state").fails(11, &["[audit.changed]"]);
}
