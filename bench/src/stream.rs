//! The stream: 64 KiB chunks of AES-256-GCM, against the bare cipher on the same bytes.

use std::cell::RefCell;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::thread;

use bulla::{Policy, Sealer, Unsealer};

use crate::bare::{Bare, CHUNK, TAG};
use crate::clock::Clock;
use crate::machine::Recorded;
use crate::turns::{Cost, Effort, Subject, measure};

const MIB: usize = 1 << 20;
const CONTEXT: &str = "bench";

pub(crate) fn run(effort: &Effort) {
    let directory = tempfile::tempdir().unwrap();
    let simulated = bulla_sim::Machine::create(directory.path()).unwrap();
    let identity = bulla_sim::EnclaveIdentity::of_this_process(&simulated).unwrap();
    let machine = Recorded::from(&simulated.enclave(&identity).unwrap());

    println!("## One core: processor time of the thread, median of {} turns\n", effort.rounds);
    println!("| | GB/s | to the bare cipher | to the bare cipher with a copy |\n|---|---|---|---|");
    for size in [MIB / 4, MIB, 4 * MIB] {
        seal_on_one_core(effort, &machine, size);
        open_on_one_core(effort, &machine, size);
    }
    println!("\n## Four threads and one: time that passes, {} turns\n", effort.rounds);
    println!(
        "| | GB/s, one | GB/s, four | four to one, medians | four to one, best turns |\n|---|---|---|---|---|"
    );
    four_cores(effort, &machine);
    println!();
}

fn sealer(machine: &Recorded, threads: usize) -> Sealer<'_> {
    Sealer::new(CONTEXT).machine(machine, Policy::default()).threads(NonZeroUsize::new(threads).unwrap())
}

fn unsealer(machine: &Recorded, threads: usize) -> Unsealer<'_> {
    Unsealer::new(CONTEXT).machine(machine).threads(NonZeroUsize::new(threads).unwrap())
}

fn seal_on_one_core(effort: &Effort, machine: &Recorded, size: usize) {
    let secret = vec![0x5A; size];
    let sealer = sealer(machine, 1);
    let seal = |input: &mut dyn Input| drop(sealer.seal_stream(input, io::sink()).unwrap());
    let (bare, mut copying, mut in_place) = (Bare::new(), Bare::new(), secret.clone());
    let costs = measure(
        Clock::Thread,
        effort,
        [
            Subject::new("aws-lc-rs, seal", || bare.seal(&mut in_place)),
            Subject::new("aws-lc-rs, copy and seal", || copying.copy_and_seal(&secret)),
            Subject::new("seal", || drop(sealer.seal(&secret).unwrap())),
            Subject::new("seal_stream", || seal(&mut secret.as_slice())),
            Subject::new("seal_stream, nothing copied", || seal(&mut Untouched(size))),
            Subject::new("an empty secret", || seal(&mut io::empty())),
        ],
    );
    print(size, &costs);
}

fn open_on_one_core(effort: &Effort, machine: &Recorded, size: usize) {
    let secret = vec![0x5A; size];
    let (sealer, unsealer) = (sealer(machine, 1), unsealer(machine, 1));
    let (sealed, sealed_empty) = (sealer.seal(&secret).unwrap(), sealer.seal(&[]).unwrap());
    let open = |sealed: &[u8]| drop(unsealer.unseal_stream(sealed, io::sink()).unwrap());
    let sealed_bare = Bare::new().sealed(&secret);
    let mut room = vec![0; size];
    let (mut bare, mut copying) = (Bare::new(), Bare::new());
    let costs = measure(
        Clock::Thread,
        effort,
        [
            Subject::new("aws-lc-rs, open", || bare.open(&sealed_bare)),
            Subject::new("aws-lc-rs, copy and open", || copying.copy_and_open(0, &sealed_bare)),
            Subject::new("unseal_into", || drop(unsealer.unseal_into(&sealed, &mut room).unwrap())),
            Subject::new("unseal", || drop(unsealer.unseal(&sealed).unwrap())),
            Subject::new("unseal_stream", || open(&sealed)),
            Subject::new("an empty secret", || open(&sealed_empty)),
        ],
    );
    print(size, &costs);
}

/// The first two are the bare cipher, the last is what a call costs that has no stream.
fn print(size: usize, costs: &[Cost]) {
    let [bare, copying, ours @ .., empty] = costs else { return };
    let row = |name: &str, seconds: f64| {
        let (rate, plain, copied) =
            (size as f64 / seconds / 1e9, bare.median / seconds, copying.median / seconds);
        println!("| {name}, {} KiB | {rate:.1} | {plain:.2} | {copied:.2} |", size / 1024);
    };
    row(&bare.name, bare.median);
    row(&copying.name, copying.median);
    for cost in ours {
        row(&format!("{}, whole call", cost.name), cost.median);
        row(&format!("{}, the stream alone", cost.name), cost.median - empty.median);
    }
}

/// Four threads of the bare cipher show what the machine has to give at the moment.
fn four_cores(effort: &Effort, machine: &Recorded) {
    let (long, whole, half) = (effort.stream, 16 * MIB, 8 * MIB);
    let cached = vec![0x5A; MIB / 4];
    let [sealed, sealed_half] = [whole, half].map(|size| sealer(machine, 4).seal(&vec![0x5A; size]).unwrap());
    let sealed_bare = Bare::new().sealed(&vec![0x5A; whole]);
    let seal = |threads, input: &mut dyn Input| {
        drop(sealer(machine, threads).seal_stream(input, io::sink()).unwrap())
    };
    let room = RefCell::new(vec![0; whole]);
    let open = |threads, sealed: &[u8]| {
        drop(unsealer(machine, threads).unseal_into(sealed, &mut room.borrow_mut()).unwrap())
    };
    let costs = measure(
        Clock::Wall,
        effort,
        [
            Subject::new("aws-lc-rs, seal, each thread 64 KiB of its own", || seal_shared(1, long)),
            Subject::new("", || seal_shared(4, long)),
            Subject::new("seal, 256 KiB again and again", || seal(1, &mut Again(&cached, long))),
            Subject::new("", || seal(4, &mut Again(&cached, long))),
            Subject::new("seal, nothing copied", || seal(1, &mut Untouched(long))),
            Subject::new("", || seal(4, &mut Untouched(long))),
            Subject::new("aws-lc-rs, copy and open 16 MiB, a part each", || open_shared(1, &sealed_bare)),
            Subject::new("", || open_shared(4, &sealed_bare)),
            Subject::new("unseal_into, 16 MiB, whole call", || open(1, &sealed)),
            Subject::new("", || open(4, &sealed)),
            Subject::new("unseal_into, 8 MiB, whole call", || open(1, &sealed_half)),
            Subject::new("", || open(4, &sealed_half)),
        ],
    );
    let (pairs, _) = costs.as_chunks::<2>();
    for ([one, four], size) in pairs.iter().zip([long, long, long, whole, whole, half]) {
        row(&one.name, size, [one.median, four.median], [one.least, four.least]);
    }
}

fn row(name: &str, size: usize, [one, four]: [f64; 2], [least_one, least_four]: [f64; 2]) {
    let rate = |seconds: f64| size as f64 / seconds / 1e9;
    let (medians, best) = (one / four, least_one / least_four);
    println!("| {name} | {:.1} | {:.1} | {medians:.2} | {best:.2} |", rate(one), rate(four));
}

/// Encrypts so many bytes, an equal part on each thread.
fn seal_shared(threads: usize, bytes: usize) {
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut bare = Bare::new();
                (0..bytes / CHUNK / threads).for_each(|_| bare.seal_one());
            });
        }
    });
}

/// Decrypts what [`Bare::sealed`] gave, an equal part on each thread.
fn open_shared(threads: usize, sealed: &[u8]) {
    thread::scope(|scope| {
        let chunks = sealed.len() / (CHUNK + TAG);
        for (part, index) in sealed.chunks(chunks / threads * (CHUNK + TAG)).zip(0..) {
            scope.spawn(move || Bare::new().copy_and_open(index * (chunks / threads) as u64, part));
        }
    });
}

trait Input: Read + Send {}

impl<R: Read + Send> Input for R {}

/// So many bytes, whatever they are: a reader that leaves the buffer as it is.
struct Untouched(usize);

impl Read for Untouched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = buffer.len().min(self.0);
        self.0 -= read;
        Ok(read)
    }
}

/// So many bytes, from the beginning of the same few each time.
struct Again<'a>(&'a [u8], usize);

impl Read for Again<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        let (mut few, _) = self.0.split_at(most.min(self.0.len()));
        let read = few.read(buffer)?;
        self.1 -= read;
        Ok(read)
    }
}
