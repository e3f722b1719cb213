//! `bulla provider serve`.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use bulla_provider::{
    Listeners, LogFormat, LogSettings, Provider, Settings, Supervisor, runtime, serve as run,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::Level;

use crate::args::Serve;
use crate::failure::Failure;
use crate::{machine, say};

/// How long the end waits for what is still under way and can no longer be answered.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves until SIGINT or SIGTERM.
pub(super) fn serve(options: &Serve) -> Result<(), Failure> {
    let settings = Settings::load(&options.config)?;
    log(&settings.log);
    let machine = machine::open(Some(&settings.machine))?;
    let judge = machine::judge(machine.judge);
    let provider = Provider::start(machine.tee, judge.collateral, judge.anchor, &settings)?;
    let provider = Arc::new(provider.supervised_by(Supervisor::of_environment()));
    let identity = provider.identity();
    if identity.simulated {
        say::note("SIMULATED machine: the keys of this provider protect nothing");
    }
    say::note(format_args!("provider id: {}", hex::encode(identity.measurement)));
    say::note(format_args!("authority: {}", hex::encode(identity.authority)));
    say::note(format_args!("root: {}", hex::encode(identity.root_id)));

    let runtime = runtime().map_err(|error| Failure::other(format!("cannot start threads: {error}")))?;
    let served = runtime.block_on(async {
        let interrupted = interrupted();
        // Before anybody can know that it is there: until then a hangup ends it. Where it cannot be told to by a signal, it can
        // be by the admin socket.
        if let Ok(hangups) = signal(SignalKind::hangup()) {
            tokio::spawn(reload(Arc::clone(&provider), hangups));
        }
        let listeners = Listeners::bind(&settings).await?;
        if let Some(Ok(address)) = listeners.legacy.as_ref().map(TcpListener::local_addr) {
            say::note(format_args!("legacy clients are served on {address}"));
        }
        for address in listeners.addresses() {
            say::note(format_args!("listening on {address}"));
        }
        run(provider, listeners, interrupted).await
    });
    // A quoting service that hangs does not hold up the end for ever.
    runtime.shutdown_timeout(FAREWELL);
    Ok(served?)
}

/// Writes the log to standard error. The level is fixed: the host cannot raise it (R98).
fn log(settings: &LogSettings) {
    let log =
        tracing_subscriber::fmt().with_max_level(Level::INFO).with_writer(std::io::stderr).with_ansi(false);
    match settings.format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        _ => log.init(),
    }
}

/// Reads the policy anew at every SIGHUP.
async fn reload(provider: Arc<Provider>, mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        let provider = Arc::clone(&provider);
        // What came of it is in the log.
        let _ = spawn_blocking(move || provider.reload()).await;
    }
}

/// Ready at the first SIGINT or SIGTERM from now on, not only from when it is waited for.
fn interrupted() -> impl Future<Output = ()> {
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async {
        let [Ok(mut interrupt), Ok(mut terminate)] = signals else {
            // Without handlers the signals end the process, which is what is wanted.
            return pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
