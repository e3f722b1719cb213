//! The challenge that comes with an answer: one exchange for each further order, and never anything used twice (R38).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bulla_attest::{Policy, TrustAnchor};
use bulla_client::{AsyncClient, Client, Error, Wanted};
use bulla_protocol::Code;

use crate::provider::Provider;
use crate::request::failure;
use crate::server::{Reply, Server};
use crate::world::{NOW, PIN, World};

const STATEMENT: &str = "GET /v1/provider";
const POST: &str = "POST /v1/keys";

fn offering(world: &World) -> Provider {
    Provider { offers: Some(60), ..world.provider() }
}

fn ask(client: &Client) {
    client.request("app/db", "disk", 32).unwrap();
}

fn lines(server: &Server) -> Vec<(usize, String)> {
    server.calls()
}

fn called(calls: &[(usize, &str)]) -> Vec<(usize, String)> {
    calls.iter().map(|(connection, line)| (*connection, (*line).to_owned())).collect()
}

#[test]
fn each_further_order_is_one_exchange_on_one_connection() {
    let world = World::new();
    let provider = offering(&world);
    let seen = Arc::clone(&provider.seen);
    let server = provider.serve();
    let client = world.client(&server.url);
    (0..4).for_each(|_| ask(&client));
    assert_eq!(lines(&server), called(&[(0, STATEMENT), (0, POST), (0, POST), (0, POST), (0, POST)]));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 4, "a challenge was used twice");
}

#[test]
fn the_asynchronous_face_does_the_same() {
    let world = World::new();
    let server = offering(&world).serve();
    let client = AsyncClient::new(world.client(&server.url));
    let wanted = Wanted::key("app/db", "disk", 32).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..3 {
            client.keys(&wanted).await.unwrap();
        }
    });
    assert_eq!(lines(&server), called(&[(0, STATEMENT), (0, POST), (0, POST), (0, POST)]));
}

/// A challenge is for one order, so of those who ask at once one has it.
#[test]
fn who_asks_at_the_same_time_has_a_connection_of_its_own() {
    let world = World::new();
    let provider = offering(&world);
    let seen = Arc::clone(&provider.seen);
    let server = provider.serve();
    let client = world.client(&server.url);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..8).for_each(|_| ask(&client)));
        }
    });
    let seen = seen.lock().unwrap();
    assert_eq!((seen.len(), seen.iter().collect::<HashSet<_>>().len()), (32, 32));
}

#[test]
fn what_is_no_longer_good_is_not_used() {
    let world = World::new();
    let server = Provider { offers: Some(0), ..world.provider() }.serve();
    let client = world.client(&server.url);
    (0..2).for_each(|_| ask(&client));
    let challenge = "GET /v1/challenge";
    let one = |connection| [(connection, STATEMENT), (connection, challenge), (connection, POST)];
    assert_eq!(lines(&server), called(&[one(0), one(1)].concat()));
}

/// The provider knows nothing of what it gave with the answer: it was started anew, or has another policy or root. That
/// takes nothing from the one time that a client begins again.
#[test]
fn what_is_refused_is_asked_for() {
    let world = World::new();
    let (provider, orders) = (offering(&world), AtomicUsize::new(0));
    let server = Server::start(move |call| {
        if call.line == POST
            && orders.fetch_add(1, Ordering::Relaxed) > 0
            && orders.load(Ordering::Relaxed) < 4
        {
            provider.challenges.lock().unwrap().clear();
        }
        provider.reply(call).unwrap_or_else(Reply::Problem)
    });
    let client = world.client(&server.url);
    (0..2).for_each(|_| ask(&client));
    let again = [(0, STATEMENT), (0, POST)];
    assert_eq!(lines(&server), called(&[&again[..], &[(0, POST)], &again, &again].concat()));
}

#[test]
fn what_was_refused_leaves_nothing() {
    let world = World::new();
    let provider = offering(&world);
    let refuses = Arc::new(AtomicBool::new(false));
    let server = Server::start({
        let refuses = Arc::clone(&refuses);
        move |call| match refuses.load(Ordering::Relaxed) && call.line == POST {
            true => Reply::Problem(Code::PolicyDenied),
            false => provider.reply(call).unwrap_or_else(Reply::Problem),
        }
    });
    let client = world.client(&server.url);
    ask(&client);
    refuses.store(true, Ordering::Relaxed);
    assert!(matches!(failure(&client), Error::Refused(Code::PolicyDenied)));
    refuses.store(false, Ordering::Relaxed);
    ask(&client);
    let first = [(0, STATEMENT), (0, POST), (0, POST)];
    assert_eq!(lines(&server), called(&[&first[..], &[(1, STATEMENT), (1, POST)]].concat()));
}

/// A connection that nobody used for a while may be gone.
#[test]
fn a_connection_that_is_gone_costs_one_more() {
    let world = World::new();
    let provider = offering(&world);
    let server = Server::start(move |call| match call.connection {
        0 if !provider.seen.lock().unwrap().is_empty() => Reply::Close,
        _ => provider.reply(call).unwrap_or_else(Reply::Problem),
    });
    let client = world.client(&server.url);
    (0..3).for_each(|_| ask(&client));
    let first = [(0, STATEMENT), (0, POST), (0, POST)];
    assert_eq!(lines(&server), called(&[&first[..], &[(1, STATEMENT), (1, POST), (1, POST)]].concat()));
}

/// R40: the provider is judged for each order, as of then.
#[test]
fn a_statement_is_judged_again_for_each_order() {
    let world = World::new();
    let server = offering(&world).serve();
    let time = Arc::new(AtomicU64::new(NOW));
    let anchor = TrustAnchor::from_der(&world.machine.root_der()).unwrap();
    let judge = world.judge_at(anchor, Policy::strict().allow_simulated(), {
        let time = Arc::clone(&time);
        move || time.load(Ordering::Relaxed)
    });
    let client = Client::new(Arc::new(world.guest()), &server.url, PIN, judge).unwrap();
    ask(&client);
    time.store(NOW + 10 * 365 * 24 * 3600, Ordering::Relaxed);
    assert!(matches!(failure(&client), Error::ProviderEvidence(_)));
    // It was read anew before it was refused, and nothing was asked.
    assert_eq!(lines(&server), called(&[(0, STATEMENT), (0, POST), (0, STATEMENT)]));
}
