//! Small secrets: what the machine takes, and what everything else does.

use bulla::{Policy, Sealer, Unsealer};
use bulla_tee::Tee;

use crate::bare;
use crate::clock::Clock;
use crate::machine::Recorded;
use crate::turns::{Cost, Effort, Subject, measure};

const CONTEXT: &str = "bench";
const SECRET: [u8; 32] = [0x5A; 32];

pub(crate) fn run(effort: &Effort) {
    let directory = tempfile::tempdir().unwrap();
    let simulated = bulla_sim::Machine::create(directory.path()).unwrap();
    let identity = bulla_sim::EnclaveIdentity::of_this_process(&simulated).unwrap();
    let simulated = simulated.enclave(&identity).unwrap();
    let recorded = Recorded::from(&simulated);

    println!(
        "## 32 bytes on a simulated machine: processor time of the thread, median of {} turns\n",
        effort.rounds
    );
    one(effort, &simulated, &recorded);
    many(effort, &simulated, &recorded);
}

fn one(effort: &Effort, simulated: &dyn Tee, recorded: &Recorded) {
    let seal = |machine: &dyn Tee| bulla::seal(machine, CONTEXT, &SECRET).unwrap();
    let open = |machine: &dyn Tee, sealed: &[u8]| drop(bulla::unseal(machine, CONTEXT, sealed).unwrap());
    let (sealed, sealed_recorded) = (seal(simulated), seal(recorded));
    let (request, _) = simulated.bind(&Policy::default()).unwrap();
    let (key, mut secret) = ([7; 32], SECRET);
    let costs = measure(
        Clock::Thread,
        effort,
        [
            Subject::new("AES-256-GCM, one call with a new key", || bare::seal_small(&key, &mut secret)),
            Subject::new("seal", || drop(seal(simulated))),
            Subject::new("seal: the machine's derivation", || {
                drop(simulated.bind(&Policy::default()).unwrap())
            }),
            Subject::new("seal: the rest", || drop(seal(recorded))),
            Subject::new("open", || open(simulated, &sealed)),
            Subject::new("open: the machine's identity and derivation", || {
                simulated.identity().unwrap();
                drop(simulated.derive(&request).unwrap());
            }),
            Subject::new("open: the rest", || open(recorded, &sealed_recorded)),
        ],
    );
    let [bare, ..] = &costs;
    println!("| | us | times one AES-256-GCM |\n|---|---|---|");
    for cost in &costs {
        println!("| {} | {:.2} | {:.1} |", cost.name, cost.median * 1e6, cost.median / bare.median);
    }
    println!();
}

/// As one call opens them, and as one reader of many would: with the same opener for all.
fn many(effort: &Effort, simulated: &dyn Tee, recorded: &Recorded) {
    let sealed: Vec<Vec<u8>> = (0..effort.blobs)
        .map(|_| Sealer::new(CONTEXT).machine(simulated, Policy::default()).seal(&SECRET).unwrap())
        .collect();
    let sealed_recorded: Vec<Vec<u8>> =
        (0..effort.blobs).map(|_| bulla::seal(recorded, CONTEXT, &SECRET).unwrap()).collect();
    let requests: Vec<_> = (0..effort.blobs).map(|_| simulated.bind(&Policy::default()).unwrap().0).collect();
    let open = |machine: &dyn Tee, sealed: &[Vec<u8>]| {
        let unsealer = Unsealer::new(CONTEXT).machine(machine);
        sealed.iter().for_each(|sealed| drop(unsealer.unseal(sealed).unwrap()));
    };
    let costs = measure(
        Clock::Thread,
        &Effort { rounds: effort.rounds.div_ceil(4), ..*effort },
        [
            Subject::new("all of it", || open(simulated, &sealed)),
            Subject::new("the machine's identity and derivation", || {
                for request in &requests {
                    simulated.identity().unwrap();
                    drop(simulated.derive(request).unwrap());
                }
            }),
            Subject::new("the rest", || open(recorded, &sealed_recorded)),
        ],
    );
    let blobs = effort.blobs as f64;
    println!("## {blobs} envelopes of 32 bytes opened one after the other, one core\n");
    println!("| | opened a second | us each | share |\n|---|---|---|---|");
    let [all, ..] = &costs;
    for Cost { name, median, .. } in &costs {
        let share = 100.0 * median / all.median;
        println!("| {name} | {:.0} | {:.2} | {share:.0} % |", blobs / median, median / blobs * 1e6);
    }
    println!();
}
