//! A program that runs on a simulated machine as it is.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::ptrace::{self, Stop, Tracee};
use crate::tracer::Tracer;
use crate::{EnclaveIdentity, Error, Guise, Machine, Mishap, stage};

/// Signals that are for the program, not for who runs it.
const FORWARDED: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

impl Machine {
    /// Runs a program on this machine, as an enclave or a guest: it and what it starts find the devices and pseudo-files
    /// where they belong, and an enclave a processor that answers `ENCLU`. All of it is one enclave, whose measurement is the
    /// SHA-256 of the executable that was named (of its interpreter, if that is a script). It ends with that program, and so does all that it has started.
    ///
    /// This process moves to a mount namespace of its own, and must have no other thread. Signals that it gets go to the program.
    /// The exit code is the program's, or 128 and the number of the signal that ended it.
    ///
    /// # Errors
    /// [`Error::Mishap`] if that cannot go wrong there; [`Error::Stage`] where the kernel gives no namespace, no FUSE or no
    /// tracing; [`Error::Program`] if the program does not start; [`Error::Unavailable`] if the machine or the program
    /// cannot be read.
    pub fn run_program(&self, guise: &Guise, mishaps: &[Mishap], command: &[OsString]) -> Result<u8, Error> {
        guise.check(mishaps)?;
        // So that the namespace can be set up by this user, and what comes of this process can be traced.
        set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(|error| Error::Stage(error.into()))?;
        stage::enter().map_err(Error::Stage)?;
        let program = start(command)?;
        let ended = self.accompany(program, guise, mishaps);
        if ended.is_err() {
            let _ = program.send(libc::SIGKILL);
        }
        ended
    }

    /// Does all for a program that stands before its first instruction.
    fn accompany(&self, program: Tracee, guise: &Guise, mishaps: &[Mishap]) -> Result<u8, Error> {
        let executable = PathBuf::from(format!("/proc/{}/exe", program.0));
        let enclave = EnclaveIdentity::of_program(self, &executable)?;
        let signals = SigSet::from_iter(FORWARDED);
        signals.thread_block().map_err(|error| Error::Stage(error.into()))?;
        let tree = guise.tree(self, &enclave, mishaps)?;
        let _mount = tree.map(|tree| stage::set(tree, guise.places())).transpose().map_err(Error::Stage)?;
        let signals = SignalFd::new(&signals).map_err(|error| Error::Stage(error.into()))?;
        thread::spawn(move || forward(&signals, program));
        let mut tracer = Tracer::new(self, enclave, guise, mishaps);
        program.go_on(0).map_err(Error::Stage)?;
        loop {
            match ptrace::wait().map_err(Error::Stage)? {
                (ended, Stop::Exited(code)) if ended == program => return Ok(code as u8),
                (ended, Stop::Killed(signal)) if ended == program => return Ok(128 + signal as u8),
                (tracee, stop) => tracer.attend(tracee, stop)?,
            }
        }
    }
}

/// Starts a program, which stands before its first instruction then.
fn start(command: &[OsString]) -> Result<Tracee, Error> {
    let (name, arguments) = command.split_first().ok_or(Error::NoCommand)?;
    let (mut ours, theirs) = UnixStream::pair().map_err(Error::Stage)?;
    let process = ptrace::fork(|| become_program(theirs, name, arguments)).map_err(Error::Stage)?;
    let program = Tracee::seize(process).map_err(Error::Stage)?;
    ours.write_all(&[0]).map_err(Error::Stage)?;
    loop {
        match ptrace::wait().map_err(Error::Stage)? {
            (_, Stop::Exec) => return Ok(program),
            (_, Stop::Exited(_) | Stop::Killed(_)) => {
                let mut errno = [0; 4];
                ours.read_exact(&mut errno).map_err(Error::Stage)?;
                let source = io::Error::from_raw_os_error(i32::from_le_bytes(errno));
                return Err(Error::Program { program: name.into(), source });
            }
            (tracee, Stop::Signal(signal)) => tracee.go_on(signal).map_err(Error::Stage)?,
            (tracee, _) => tracee.go_on(0).map_err(Error::Stage)?,
        }
    }
}

/// Becomes the program once it is traced, or says why not. If nobody traces it, there is nothing to be done.
fn become_program(mut parent: UnixStream, name: &OsStr, arguments: &[OsString]) {
    if parent.read_exact(&mut [0]).is_ok() {
        let error = Command::new(name).args(arguments).exec();
        let _ = parent.write_all(&error.raw_os_error().unwrap_or(libc::ENOENT).to_le_bytes());
    }
}

/// Passes on what somebody sends to this process. What a terminal sends, the program gets by itself.
fn forward(signals: &SignalFd, program: Tracee) {
    while let Ok(Some(signal)) = signals.read_signal() {
        if signal.ssi_code <= 0 {
            let _ = program.send(signal.ssi_signo as i32);
        }
    }
}
