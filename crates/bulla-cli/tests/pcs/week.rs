//! A week of simulated time: recoveries, a revocation, an outage and a service that goes back to old documents, and one
//! judge that is never restarted. Every hour each guest is judged, as a provider judges whoever asks for a key.

use std::sync::Arc;

use bulla_attest::collateral::{Minimum, Store};
use bulla_attest::{CollateralId, Error, Policy, TrustAnchor, Verifier};
use bulla_sim::{Machine, Recovery, Step, TdDescription, TdxModule};

use crate::service::{DAY, NOW, Service, client, set_clock};
use crate::support::{Bulla, PATIENCE};

const HOUR: u64 = 3600;

/// The operator tolerates the recovery's advisory for three days after it came, to have time to update.
const POLICY: &str = r#"
version = 1
name = "week"
revision = 1

[[exceptions]]
status = "OutOfDate"
advisories = ["SIM-SA-00002"]
until = 2027-01-20T20:00:00Z
reason = "the update is planned for the morning after"
"#;

/// What happens in the world.
enum Event {
    /// Nothing but time.
    Nothing,
    /// What the service has is that many days old.
    Lags(u64),
    /// The vendor takes the first processor's certificate back.
    Revokes,
    /// The vendor announces a recovery, early now and in its standard channel a day later.
    Recovers,
    /// The service goes down.
    Down,
    /// It comes up again, at the same address.
    Up,
    /// The machine gets the microcode that the recovery asks for.
    Microcode,
    /// It gets the TDX module too.
    Module,
}
use Event::*;

/// From an hour on: what happened, and what the judge says of
/// - the guest, as it is now,
/// - what the guest showed at the beginning, on the same machine before any update,
/// - a guest on the machine's first processor, whose certificate is taken back.
///
/// Collateral is looked for every hour where it is due: where less than a quarter of its time is left, or where the last
/// fetch that succeeded is a day ago.
const WEEK: &[(u64, Event, [&str; 3], &str)] = &[
    (0, Lags(27), ["UpToDate", "UpToDate", "UpToDate"], "a cache with documents that end in two days"),
    (24, Lags(0), ["UpToDate", "UpToDate", "UpToDate"], "it has caught up, and is asked in time"),
    (26, Revokes, ["UpToDate", "UpToDate", "UpToDate"], "nobody has looked yet"),
    (48, Nothing, ["UpToDate", "UpToDate", "revoked"], "somebody has, and the first documents have ended"),
    (61, Recovers, ["UpToDate", "UpToDate", "revoked"], "only the early channel knows"),
    (72, Nothing, ["UpToDate", "UpToDate", "revoked"], "the standard channel does not know yet"),
    (96, Nothing, ["OutOfDate", "OutOfDate", "revoked"], "it does now, and the policy's exception holds"),
    (97, Down, ["OutOfDate", "OutOfDate", "revoked"], "what is there stays good"),
    (
        132,
        Nothing,
        ["policy.tcb_status", "policy.tcb_status", "revoked"],
        "the exception has ended, service or not",
    ),
    (
        138,
        Microcode,
        ["policy.tcb_status", "policy.tcb_status", "revoked"],
        "the TDX module is still too old",
    ),
    (140, Module, ["UpToDate", "policy.tcb_status", "revoked"], "updated, and judged by what is there"),
    (144, Lags(5), ["UpToDate", "policy.tcb_status", "revoked"], "two days later"),
    (
        145,
        Up,
        ["UpToDate", "policy.tcb_status", "revoked"],
        "documents from before the recovery are not taken",
    ),
    (160, Lags(0), ["UpToDate", "policy.tcb_status", "revoked"], "it has caught up"),
    (168, Nothing, ["UpToDate", "policy.tcb_status", "revoked"], "the end of the week"),
];

/// The judge of a provider: it is made once.
struct Judge {
    anchor: TrustAnchor,
    policy: Policy,
    store: Store,
}

impl Judge {
    /// The status of an accepted guest's platform, or the code of the refusal.
    fn verdict(&self, quote: &[u8], now: u64) -> String {
        let judged = || -> Result<_, Error> {
            let collateral = self.store.current(&CollateralId::of_quote(quote)?, now)?;
            let verifier = Verifier::new(self.anchor.clone()).with_floor(self.store.floor());
            verifier.verify(quote, &collateral, now, &self.policy)
        };
        judged().map_or_else(|error| error.code().into(), |claims| claims.tcb.status.to_string())
    }
}

fn quote(machine: &Machine) -> Vec<u8> {
    machine.td_quote(&TdDescription::default_guest(), &[7; 64]).unwrap()
}

/// R22, R28, R29, R51, B42.
#[test]
fn a_week_goes_as_the_policy_says() {
    let bulla = Bulla::with_host();
    let host = || Machine::open(bulla.path("host")).unwrap();
    let first = host();
    first.replace_processor().unwrap();
    let taken_back = quote(&first);
    let beginning = quote(&host());

    // An address of its own, so that nobody else's port is in the way when the service comes back.
    set_clock(&bulla, NOW);
    let mut service = Some(Service::honest(&bulla, "127.83.71.1:0"));
    let address = service.as_ref().unwrap().address.clone();
    let anchor = TrustAnchor::from_der(&first.root_der()).unwrap();
    let source = client(&format!("http://{address}"), PATIENCE);
    let judge = Judge {
        store: Store::in_memory(Verifier::new(anchor.clone()), Minimum::NONE)
            .with_source(Arc::clone(&source)),
        policy: Policy::from_toml(POLICY).unwrap().allow_simulated(),
        anchor,
    };

    let mut lag = 0;
    let (mut outcomes, mut ends) = (Vec::new(), Vec::new());
    let mut rows = WEEK.iter().peekable();
    let mut expected = &WEEK[0];
    for hour in 0..=168 {
        let now = NOW + hour * HOUR;
        if let Some(row) = rows.next_if(|row| row.0 == hour) {
            expected = row;
            match row.1 {
                Nothing => {}
                Lags(days) => lag = days * DAY,
                Revokes => first.revoke_pck(now).unwrap(),
                Recovers => {
                    let (standard_at, advisory) = (now + DAY, "SIM-SA-00002".to_owned());
                    let recovery = Recovery { at: now, standard_at, microcode: 6, tdx_module: 6, advisory };
                    host().tcb_recovery(&recovery).unwrap();
                }
                Down => service = None,
                Up => service = Some(Service::honest(&bulla, &address)),
                Microcode => host().microcode(Step::Up).unwrap(),
                Module => host().install_tdx_module(&TdxModule::new(1, 6)).unwrap(),
            }
        }
        set_clock(&bulla, now - lag);
        judge.store.refresh_due(now).unwrap();
        let found = [&quote(&host()), &beginning, &taken_back].map(|quote| judge.verdict(quote, now));
        assert_eq!(found, expected.2, "hour {hour}: {}", expected.3);
        let set = judge.store.status(now).sets.remove(0);
        outcomes.push((hour, set.last_failure.map_or("ok", |failure| failure.code)));
        ends.push((hour, (set.valid_until.unwrap() - NOW) / DAY));
    }
    assert_eq!(rows.next().map(|row| row.0), None);
    outcomes.dedup_by_key(|(_, outcome)| *outcome);
    let [ok, down, old] = ["ok", "collateral.service.unreachable", "collateral.rollback"];
    assert_eq!(outcomes, [(0, ok), (120, down), (145, old), (160, ok)]);
    // On which day the documents end: those of the beginning were renewed before, and later ones once a day.
    ends.dedup_by_key(|(_, end)| *end);
    assert_eq!(ends, [(0, 2), (24, 30), (48, 31), (72, 32), (96, 33), (160, 35)]);
    drop(service);
}
