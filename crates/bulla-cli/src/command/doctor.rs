//! `bulla doctor`: what this machine is and can do. It changes nothing, asks no network and needs no privileges; what it
//! may not read, it says.

use std::path::Path;

use serde_json::{Value, json};

use crate::args::Doctor;
use crate::failure::Failure;
use crate::{detect, say};
use place::Place;

mod guests;
mod kernel;
mod place;
mod sgx;
mod tpm;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There, and as it should be.
    Ok,
    /// Not there, which is as it is on most machines.
    Absent,
    /// Something to be done.
    Attention,
    /// It could not be looked at.
    Unknown,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Absent => "absent",
            Self::Attention => "attention",
            Self::Unknown => "unknown",
        }
    }
}

/// One line.
struct Finding {
    check: &'static str,
    state: State,
    found: String,
    /// What to do.
    todo: String,
}

impl Finding {
    fn new(check: &'static str, state: State, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { check, state, found: found.into(), todo: todo.into() }
    }

    fn json(&self) -> Value {
        json!({ "check": self.check, "state": self.state.name(), "found": self.found, "todo": self.todo })
    }
}

/// Looks at everything.
pub(crate) fn run(options: &Doctor) -> Result<(), Failure> {
    let findings = examine(&options.root);
    if options.json {
        let machines: Vec<_> = detect::here(&options.root).map(|kind| kind.name).collect();
        let findings: Vec<_> = findings.iter().map(Finding::json).collect();
        say::result(json!({ "machines": machines, "findings": findings }));
        return Ok(());
    }
    for Finding { check, state, found, todo } in &findings {
        say::result(format_args!("{:<9} {check:<20} {}", state.name(), say::escaped(found)));
        if !todo.is_empty() {
            say::result(format_args!("{:<9} {:<20} -> {}", "", "", say::escaped(todo)));
        }
    }
    Ok(())
}

fn examine(root: &Path) -> Vec<Finding> {
    let place = Place::new(root);
    let mut findings = vec![machine(root)];
    findings.extend(sgx::examine(&place));
    findings.extend(guests::examine(&place));
    findings.extend(tpm::examine(&place));
    findings.extend(kernel::examine(&place));
    findings
}

/// What this process runs in.
fn machine(root: &Path) -> Finding {
    let kinds: Vec<_> = detect::here(root)
        .map(|kind| {
            let simulated = if (kind.is_simulated)(root) { "a SIMULATED machine: " } else { "" };
            format!("{simulated}{} ({})", kind.what, kind.name)
        })
        .collect();
    if kinds.is_empty() {
        let todo = "to seal here without a machine, use recipients; to use one, see below what is missing";
        return Finding::new("machine", State::Absent, "this process runs in none that bulla knows", todo);
    }
    Finding::new("machine", State::Ok, kinds.join(", "), "")
}
