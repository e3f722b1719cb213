//! `bulla sim mount`: what a simulated machine shows as files, in a folder.

use bulla_sim::{EnclaveIdentity, Machine, Mounted};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

use crate::args::SimMount;
use crate::failure::Failure;
use crate::say;

/// Serves until SIGINT or SIGTERM, or until somebody unmounts it.
pub(super) fn serve(options: &SimMount) -> Result<(), Failure> {
    let machine = Machine::open(&options.dir)?;
    let guise = super::guise(&options.guise)?;
    let identity = match &options.program {
        Some(program) => EnclaveIdentity::of_program(&machine, program)?,
        None => EnclaveIdentity::of_this_process(&machine)?,
    };
    let failed = |error| Failure::other(format!("cannot wait for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let served = runtime.block_on(async {
        // Before it is there, so that whoever finds it can end it.
        let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
        let mounted = Mounted::new(&machine, &guise, &identity, &options.guise.fault, &options.mountpoint)?;
        say::note("SIMULATED machine: what these files say proves nothing");
        say::note(format_args!("serving {}", options.mountpoint.display()));
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
            _ = spawn_blocking(mounted.end()) => {}
        }
        Ok(())
    });
    // Whoever still has a file of it open does not hold up the end.
    runtime.shutdown_background();
    served
}
