//! The provider, as a process on a simulated machine, and clients beside it on the same processors.

mod crowd;
mod guests;
mod load;
mod server;
mod session;
mod v1;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
};
use bulla_crypto::{HpkePrivateKey, HpkePublicKey, Info, Kem, Role, sealed_box};
use bulla_sim::{EnclaveIdentity, Machine};
use bulla_tee::sgx::arch::Targetinfo;
use bulla_tee::{EvidenceKind, ReportData, Tee};
use zerocopy::FromZeros;

use crate::clock::Clock;
use crate::turns::{Effort, Subject, measure};
use crowd::{Crowd, Manners};
use guests::Guests;
use load::Plan;
use server::{Server, Usage};

/// How long, and how often.
struct Span {
    rounds: usize,
    load: Duration,
    starts: usize,
}

/// Measures all, or with `soak` serves at half the highest rate for so many seconds and looks for growth.
pub(crate) fn run(effort: &Effort, quick: bool, soak: Option<u64>) {
    let span = if quick {
        Span { rounds: 3, load: Duration::from_millis(300), starts: 3 }
    } else {
        Span { rounds: 5, load: Duration::from_secs(4), starts: 21 }
    };
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::create(folder.path().join("machine")).unwrap();
    let guests = Arc::new(Guests::new(&machine));
    let site = Site { folder: folder.path(), guests };
    if let Some(seconds) = soak {
        return site.soak(&span, Duration::from_secs(seconds));
    }
    let Parts { simulated, fresh } = primitives(effort, &machine);
    site.starts(&span);
    site.legacy(&span, simulated);
    site.v1(&span, &machine, fresh);
    site.sessions(&span, machine.dir());
    site.crowds(&span);
}

/// What something costs, in seconds.
struct Parts {
    /// What the simulated machine does for a legacy answer.
    simulated: f64,
    /// One bare P-256 verification and one HPKE seal to an X-Wing key.
    fresh: f64,
}

/// What answers are made of, each alone.
fn primitives(effort: &Effort, machine: &Machine) -> Parts {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let message = [7; 632];
    let signature = pair.sign(&SystemRandom::new(), &message).unwrap();
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref()).unwrap();
    let agreement = || EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).unwrap();
    let peer = UnparsedPublicKey::new(&X25519, agreement().compute_public_key().unwrap());
    let hpke = |kem| HpkePrivateKey::generate(kem).unwrap();
    let [classical, hybrid] = [Kem::X25519, Kem::XWing].map(hpke);
    // To a key that has just arrived, as a guest's always has.
    let seal = |to: &HpkePrivateKey| {
        let to = to.public_key();
        let to = HpkePublicKey::from_bytes(to.kem(), to.as_bytes()).unwrap();
        to.seal(&Info::new("bulla bench"), b"", &[7; 32]).unwrap();
    };
    let guest = crypto_box::SecretKey::from([7; 32]).public_key();
    let enclave = machine.enclave(&EnclaveIdentity::of_this_process(machine).unwrap()).unwrap();
    let data = ReportData::new(Role::ProviderKey, &[("nonce", &[9; 32])]);
    let target = Targetinfo::new_zeroed();
    let costs = measure(
        Clock::Thread,
        effort,
        [
            Subject::new("P-256 verification of 632 bytes, parsed key (aws-lc-rs)", || {
                key.verify_sig(&message, signature.as_ref()).unwrap();
            }),
            Subject::new("P-256 signature (aws-lc-rs)", || {
                pair.sign(&SystemRandom::new(), &message).unwrap();
            }),
            Subject::new("X25519, key pair and agreement (aws-lc-rs)", || {
                let ours = agreement();
                ours.compute_public_key().unwrap();
                agree_ephemeral(ours, &peer, (), |_| Ok(())).unwrap();
            }),
            Subject::new("sealed box of 32 bytes (crypto_box)", || {
                guest.seal(&mut crypto_box::aead::OsRng, &[7; 32]).unwrap();
            }),
            Subject::new("sealed box of 32 bytes (bulla)", || {
                sealed_box(classical.public_key(), &[7; 32]).unwrap();
            }),
            Subject::new("HPKE: key read, 32 bytes sealed, X25519", || seal(&classical)),
            Subject::new("HPKE: key read, 32 bytes sealed, X-Wing", || seal(&hybrid)),
            Subject::new("the simulated machine: EREPORT", || {
                enclave.attest(&data, EvidenceKind::Report(&target)).unwrap();
            }),
            Subject::new("the simulated machine: EREPORT and quote", || {
                enclave.attest(&data, EvidenceKind::Quote).unwrap();
            }),
        ],
    );
    println!(
        "## What answers are made of: processor time of the thread, median of {} turns\n",
        effort.rounds
    );
    println!("| | us | times one P-256 verification |\n|---|---|---|");
    let [unit, ..] = &costs;
    for cost in &costs {
        println!("| {} | {:.1} | {:.2} |", cost.name, cost.median * 1e6, cost.median / unit.median);
    }
    println!();
    let [verify, .., hybrid, report, quote] = &costs;
    Parts { simulated: report.median + quote.median, fresh: verify.median + hybrid.median }
}

/// A machine in a folder, and guests of it.
struct Site<'a> {
    folder: &'a Path,
    guests: Arc<Guests>,
}

impl Site<'_> {
    fn server(&self, limits: &[&str]) -> Server {
        Server::start(&self.folder.join("machine"), &self.folder.join("state"), limits)
    }

    fn plan(&self, server: &Server, clients: usize) -> Plan {
        Plan::new(server.legacy, &self.guests, clients)
    }

    /// From starting the program to the first key in a client's hands.
    fn starts(&self, span: &Span) {
        let mut taken: Vec<_> = (0..span.starts)
            .map(|_| {
                let begun = Instant::now();
                let server = self.server(&[]);
                self.plan(&server, 1).once();
                begun.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        taken.sort_by(f64::total_cmp);
        let [least, .., most] = taken.as_slice() else { return };
        let median = taken.get(taken.len() / 2).copied().unwrap_or(f64::NAN);
        println!("## From start to first key: median of {} starts\n", span.starts);
        println!("{median:.1} ms ({least:.1} to {most:.1})\n");
    }

    fn legacy(&self, span: &Span, simulated: f64) {
        println!(
            "## Legacy wire, everything verified: median of {} rounds of {:?}\n",
            span.rounds, span.load
        );
        println!(
            "| connections | keys a second (least to most) | p50 ms | p99 ms | failed | processor us a key | \
             of which the simulated machine | MiB |\n|---|---|---|---|---|---|---|---|"
        );
        let server = self.server(&[]);
        for clients in [1, 8, 32, 64] {
            let plan = self.plan(&server, clients);
            plan.run(span.load / 4);
            let mut rounds: Vec<_> = (0..span.rounds)
                .map(|_| {
                    let before = server.usage().processor;
                    let outcome = plan.run(span.load);
                    let processor = server.usage().processor - before;
                    let each = processor.as_secs_f64() / outcome.answered() as f64;
                    (outcome, each)
                })
                .collect();
            rounds.sort_by(|(a, _), (b, _)| a.per_second().total_cmp(&b.per_second()));
            let failed: usize = rounds.iter().map(|(outcome, _)| outcome.failed).sum();
            let [(least, _), .., (most, _)] = rounds.as_slice() else { return };
            let Some((outcome, each)) = rounds.get(rounds.len() / 2) else { return };
            println!(
                "| {clients} | {:.0} ({:.0} to {:.0}) | {:.2} | {:.2} | {failed} | {:.0} | {:.0} | {:.1} |",
                outcome.per_second(),
                least.per_second(),
                most.per_second(),
                outcome.quantile(0.5),
                outcome.quantile(0.99),
                each * 1e6,
                simulated * 1e6,
                mebibytes(server.usage().resident),
            );
        }
        println!();
    }

    /// With fresh evidence for each key.
    fn v1(&self, span: &Span, machine: &Machine, fresh: f64) {
        println!(
            "## Protocol v1, X-Wing, fresh evidence for each key: median of {} rounds of {:?}\n",
            span.rounds, span.load
        );
        println!(
            "| connections | keys a second | processor us a key | rate to one P-256 verification and one HPKE seal |"
        );
        println!("|---|---|---|---|");
        let server = self.server(&[]);
        for clients in [1, 8, 64] {
            v1::run(server.http, machine, clients, span.load / 4);
            let mut rounds: Vec<_> = (0..span.rounds)
                .map(|_| {
                    let before = server.usage().processor;
                    let (answered, elapsed) = v1::run(server.http, machine, clients, span.load);
                    let processor = server.usage().processor - before;
                    let answered = answered as f64;
                    (answered / elapsed.as_secs_f64(), processor.as_secs_f64() / answered)
                })
                .collect();
            rounds.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            let Some((rate, each)) = rounds.get(rounds.len() / 2) else { return };
            println!("| {clients} | {rate:.0} | {:.0} | {:.2} |", each * 1e6, fresh / each);
        }
        println!();
    }

    /// Keys in sessions over attested TLS, one or many with each message.
    fn sessions(&self, span: &Span, machine: &Path) {
        println!(
            "## Protocol v1, in sessions over attested TLS: median of {} rounds of {:?}\n",
            span.rounds, span.load
        );
        println!(
            "| connections | keys with each message | keys a second | processor us a key | keys a second of one processor |"
        );
        println!("|---|---|---|---|---|");
        let (server, machine) = (self.server(&[]), Arc::new(Machine::open(machine).unwrap()));
        let known = server.known();
        for (clients, batch) in [(1, 1), (8, 1), (64, 1), (1, 256), (8, 256), (64, 256)] {
            let mut rounds: Vec<_> = (0..span.rounds)
                .map(|_| {
                    let before = server.usage().processor;
                    let (given, elapsed) = session::run(&known, &machine, clients, batch, span.load);
                    let processor = server.usage().processor - before;
                    let given = given as f64;
                    (given / elapsed.as_secs_f64(), processor.as_secs_f64() / given)
                })
                .collect();
            rounds.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            let Some((rate, each)) = rounds.get(rounds.len() / 2) else { return };
            println!("| {clients} | {batch} | {rate:.0} | {:.1} | {:.0} |", each * 1e6, 1.0 / each);
        }
        println!();
    }

    /// An honest client, alone and among those who hold connections for nothing.
    fn crowds(&self, span: &Span) {
        println!("## One honest client among others: median of {} rounds of {:?}\n", span.rounds, span.load);
        println!("| limits | beside it | p50 ms | p99 ms | failed | peak MiB | connections that came |");
        println!("|---|---|---|---|---|---|---|");
        for limits in [&[][..], &["--as=268435456", "--nofile=900"]] {
            let mut server = self.server(limits);
            let plan = self.plan(&server, 1);
            plan.run(span.load / 4);
            for (idle, dripping, return_at_once) in [(0, 0, false), (1000, 64, false), (1000, 64, true)] {
                let manners = Manners { idle, dripping, return_at_once };
                let crowd = Crowd::gather(server.legacy, manners, self.guests.frame(0));
                plan.run(span.load / 4);
                let mut rounds: Vec<_> = (0..span.rounds).map(|_| plan.run(span.load)).collect();
                rounds.sort_by(|a, b| a.quantile(0.99).total_cmp(&b.quantile(0.99)));
                let came = crowd.disperse();
                assert!(server.lives(), "the service ended");
                let failed: usize = rounds.iter().map(|outcome| outcome.failed).sum();
                let Some(outcome) = rounds.get(rounds.len() / 2) else { return };
                println!(
                    "| {} | {idle} idle, {dripping} dripping{} | {:.2} | {:.2} | {failed} | {:.1} | {came} |",
                    limits.join(" "),
                    if return_at_once { ", who come again at once" } else { "" },
                    outcome.quantile(0.5),
                    outcome.quantile(0.99),
                    mebibytes(server.usage().peak),
                );
            }
        }
        println!();
    }

    /// Half of what the provider can, for long: nothing may grow.
    fn soak(&self, span: &Span, time: Duration) {
        let server = self.server(&[]);
        let rate = self.plan(&server, 64).run(span.load).per_second() / 2.0;
        println!("## {time:?} at {rate:.0} keys a second\n");
        println!(
            "| | keys a second | failed | p99 ms | MiB | descriptors | threads |\n|---|---|---|---|---|---|---|"
        );
        for part in 1..=10 {
            let outcome = self.plan(&server, 64).paced(rate).run(time / 10);
            let Usage { resident, descriptors, threads, .. } = server.usage();
            println!(
                "| {part}/10 | {:.0} | {} | {:.2} | {:.1} | {descriptors} | {threads} |",
                outcome.per_second(),
                outcome.failed,
                outcome.quantile(0.99),
                mebibytes(resident),
            );
        }
        println!();
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
