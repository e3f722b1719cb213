//! What a client shows of its guest, and how its keys are encrypted on their way.

use std::sync::{Arc, Mutex};

use bulla_client::{Client, GuestEvidence};
use bulla_crypto::Kem;
use bulla_protocol::v1::{self, Order};
use bulla_sim::SimulatedGuest;
use bulla_tee::{DerivedKey, Error, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, Tee};

use crate::request::failure;
use crate::server::{Reply, Server};
use crate::world::{PIN, World};

/// A guest whose host fails it, or gives it another's evidence.
struct Failed {
    guest: SimulatedGuest,
    /// What comes instead of a quote.
    quote: fn() -> Option<Error>,
    /// Who makes its reports, and over what.
    report: fn(&World, &ReportData) -> Option<Evidence>,
    world: Arc<World>,
}

impl Failed {
    fn new(world: &Arc<World>, quote: fn() -> Option<Error>) -> Self {
        Self { guest: world.guest(), quote, report: |_, _| None, world: Arc::clone(world) }
    }
}

impl Tee for Failed {
    fn identity(&self) -> Result<Identity, Error> {
        self.guest.identity()
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        self.guest.bind(policy)
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, Error> {
        self.guest.derive(request)
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, Error> {
        let other = match kind {
            EvidenceKind::Quote => (self.quote)().map(Err),
            _ => (self.report)(&self.world, data).map(Ok),
        };
        other.unwrap_or_else(|| self.guest.attest(data, kind))
    }
}

fn none() -> Option<Error> {
    Some(Error::Unavailable { machine: "source of TDX quotes", reason: "none in this test".into() })
}

/// Kind and suite of the orders that a provider had.
#[derive(Clone, Default)]
struct Orders(Arc<Mutex<Vec<(v1::EvidenceKind, u16)>>>);

impl Orders {
    /// Those since the last time.
    fn take(&self) -> Vec<(v1::EvidenceKind, u16)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn serve(world: &World) -> (Server, Orders) {
    let (provider, orders) = (world.provider(), Orders::default());
    let log = orders.clone();
    let server = Server::start(move |call| {
        if let Ok(order) = Order::from_json(&call.body) {
            log.0.lock().unwrap().push((order.kind, order.request.suite));
        }
        provider.reply(call).unwrap_or_else(Reply::Problem)
    });
    (server, orders)
}

fn ask(client: &Client) {
    client.request("app/db", "disk", 32).unwrap();
}

/// R35: a local report where nothing gives a quote, or where it is asked for.
#[test]
fn a_report_is_shown_where_there_is_no_quote() {
    let world = Arc::new(World::new());
    let (server, orders) = serve(&world);
    let device = || Some(Error::Device { device: "configfs", fault: "gave nothing".into() });
    let guest = |quote| world.client_of(Failed::new(&world, quote), &server.url, PIN);
    ask(&guest(none));
    ask(&guest(device));
    ask(&guest(none).with_evidence(GuestEvidence::Report));
    ask(&world.client(&server.url).with_evidence(GuestEvidence::Report));
    assert_eq!(orders.take(), [(v1::EvidenceKind::TdxReport, 2); 4]);
    ask(&world.client(&server.url));
    ask(&world.client(&server.url).with_evidence(GuestEvidence::Quote));
    assert_eq!(orders.take(), [(v1::EvidenceKind::TdxQuote, 2); 2]);

    // Who wants a quote gets no less, and a quote that is not one's own is no reason to do without.
    let forged = || Some(Error::SelfEvidence("another's report data"));
    for (client, code) in [
        (guest(none).with_evidence(GuestEvidence::Quote), "machine.unavailable"),
        (guest(forged), "evidence.self"),
    ] {
        assert_eq!(failure(&client).code(), code);
    }
    assert_eq!(orders.take(), []);
}

/// R37: a report over something else, or of another guest.
#[test]
fn a_report_that_is_not_ones_own_is_not_shown() {
    let world = Arc::new(World::new());
    let (server, orders) = serve(&world);
    let reports: [fn(&World, &ReportData) -> Option<Evidence>; 3] = [
        |world, _| {
            world.guest().attest(&world.provider().statement.report_data(), EvidenceKind::TdReport).ok()
        },
        |world, data| world.other_guest().attest(data, EvidenceKind::TdReport).ok(),
        |_, _| Some(Evidence::TdReport(vec![0; 1023])),
    ];
    for report in reports {
        let guest = Failed { report, ..Failed::new(&world, none) };
        assert_eq!(failure(&world.client_of(guest, &server.url, PIN)).code(), "own_evidence.identity");
    }
    assert_eq!(orders.take(), []);
}

#[test]
fn the_suite_is_hybrid_unless_another_is_asked_for() {
    let world = World::new();
    let (server, orders) = serve(&world);
    ask(&world.client(&server.url));
    ask(&world.client(&server.url).with_kem(Kem::X25519));
    ask(&world.client(&server.url).with_kem(Kem::XWing));
    let suites: Vec<_> = orders.take().into_iter().map(|(_, suite)| suite).collect();
    assert_eq!(suites, [v1::SUITE_XWING, v1::SUITE_X25519, v1::SUITE_XWING]);
}
