//! Guests that ask in sessions over attested TLS: two quotes each, and then keys without any.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bulla_attest::{Collateral, CollateralId, CollateralSource, Error, Policy, TeeKind, TrustAnchor};
use bulla_client::{Client, Judge, Pin, PinnedEnclave, Wanted};
use bulla_protocol::v1::{Algorithm, Selector, Statement};
use bulla_sim::{Machine, TdDescription};

/// Whom they believe.
pub(crate) struct Known {
    pub(crate) at: SocketAddr,
    pub(crate) measurement: [u8; 32],
    pub(crate) statement: Statement,
}

/// Keys that so many guests get in so long, so many with each message, after all sessions have begun.
pub(crate) fn run(
    known: &Known,
    machine: &Arc<Machine>,
    clients: usize,
    batch: usize,
    time: Duration,
) -> (usize, Duration) {
    let key = |number: usize| Selector {
        path: format!("app/{number}"),
        purpose: "disk".into(),
        algorithm: Algorithm::HkdfSha256,
        length: 32,
    };
    let wanted = Wanted::all((0..batch).map(key).collect()).unwrap();
    let (stop, begun) = (AtomicBool::new(false), Barrier::new(clients + 1));
    thread::scope(|scope| {
        let guest = || {
            let client = client(known, machine);
            let mut session = client.session().unwrap();
            let first = session.keys(&wanted).unwrap().into_first();
            begun.wait();
            let mut given = 0;
            while !stop.load(Ordering::Relaxed) {
                let keys = session.keys(&wanted).unwrap();
                given += keys.keys.len();
                assert!(keys.into_first().ct_eq(&first), "one image has one key");
            }
            given
        };
        let guests: Vec<_> = (0..clients).map(|_| scope.spawn(guest)).collect();
        begun.wait();
        let start = Instant::now();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let given = guests.into_iter().map(|guest| guest.join().unwrap()).sum();
        (given, start.elapsed())
    })
}

fn client(known: &Known, machine: &Arc<Machine>) -> Client {
    let anchor = TrustAnchor::from_der(&machine.root_der()).unwrap();
    let judge =
        Judge::new(anchor, Arc::new(Source(Arc::clone(machine))), Policy::strict().allow_simulated(), now);
    let pin = Pin {
        enclave: PinnedEnclave::Measurement(known.measurement),
        authority: known.statement.authority,
        root_id: None,
    };
    let guest = Arc::new(machine.guest(TdDescription::default_guest()).unwrap());
    Client::new(guest, &format!("https://{}", known.at), pin, judge).unwrap()
}

fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

struct Source(Arc<Machine>);

impl CollateralSource for Source {
    fn collateral(&self, id: &CollateralId) -> Result<Collateral, Error> {
        // The machine reads from a quote only of which kind it is.
        let mut quote = self.0.td_quote(&TdDescription::default_guest(), &[0; 64]).unwrap();
        if id.intel().is_some_and(|id| id.tee == TeeKind::Sgx)
            && let Some(version) = quote.first_mut()
        {
            *version = 3;
        }
        Collateral::from_json(self.0.collateral(&quote, now()).unwrap().as_bytes())
    }
}
