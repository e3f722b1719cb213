//! The progress bar: for people, on long work.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::Bulla;

/// What appears on a terminal that is standard error.
fn seen(bulla: &Bulla, line: &str) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let other = File::options().read(true).write(true).open(name).unwrap();
    let mut command = bulla.command(line);
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::null()).stderr(other);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut terminal = File::from(terminal);
    let reader = thread::spawn(move || {
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        // A terminal whose other end is gone fails to be read.
        while let Ok(read @ 1..) = terminal.read(&mut buffer) {
            seen.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    });
    assert!(child.wait().unwrap().success());
    reader.join().unwrap()
}

#[test]
fn long_work_shows_on_a_terminal_and_nowhere_else() {
    let bulla = Bulla::with_host();
    bulla.write("short", "short");
    let long = File::create(bulla.path("long")).unwrap();
    long.set_len(200 << 20).unwrap();
    for file in ["short", "long"] {
        let line = format!("--machine sim:host seal --context wallet -o sealed {file}");
        assert_eq!(seen(&bulla, &line).contains("of 200.00 MiB"), file == "long", "{file}");
        assert!(!bulla.run(&line).stderr.contains("MiB"));
    }
}
