//! Legacy clients, each with one request under way. A request has a connection of its own, as with the existing clients.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant as Moment, sleep, sleep_until, timeout};

use super::guests::Guests;

/// Threads of all clients together.
const THREADS: usize = 2;
/// One answer of so many is opened and compared.
const OPENED: usize = 64;
/// After it a request counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a client waits after a failure.
const BREATH: Duration = Duration::from_millis(10);

/// What is sent.
#[derive(Clone)]
pub(crate) struct Plan {
    to: SocketAddr,
    guests: Arc<Guests>,
    clients: usize,
    /// Requests a second of all clients together; without it each sends its next one at once.
    rate: Option<f64>,
}

/// What came back.
pub(crate) struct Outcome {
    elapsed: Duration,
    pub(crate) failed: usize,
    /// In order of size.
    latencies: Vec<Duration>,
}

impl Outcome {
    pub(crate) fn answered(&self) -> usize {
        self.latencies.len()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64()
    }

    /// In milliseconds, by nearest rank.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.answered() as f64).ceil() as usize;
        self.latencies.get(rank.max(1) - 1).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

impl Plan {
    pub(crate) fn new(to: SocketAddr, guests: &Arc<Guests>, clients: usize) -> Self {
        Self { to, guests: Arc::clone(guests), clients, rate: None }
    }

    /// The same at so many requests a second.
    pub(crate) fn paced(self, rate: f64) -> Self {
        Self { rate: Some(rate), ..self }
    }

    /// One request and its answer.
    pub(crate) fn once(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(exchange(self.to, self.guests.frame(0))).expect("an answer");
        self.guests.key(0, &answer);
    }

    /// Sends for so long.
    pub(crate) fn run(&self, time: Duration) -> Outcome {
        let (next, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let begun = Instant::now();
        let shares = (0..THREADS).map(|thread| {
            let clients = (self.clients + thread) / THREADS;
            let (plan, next, stop) = (self.clone(), Arc::clone(&next), Arc::clone(&stop));
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let mut all = JoinSet::new();
                    for _ in 0..clients {
                        all.spawn(plan.clone().client(Arc::clone(&next), Arc::clone(&stop), begun));
                    }
                    all.join_all().await
                })
            })
        });
        let shares: Vec<_> = shares.collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let elapsed = begun.elapsed();
        let clients: Vec<_> = shares.into_iter().flat_map(|share| share.join().unwrap()).collect();
        let failed = clients.iter().map(|(_, failed)| failed).sum();
        let mut latencies: Vec<_> = clients.into_iter().flat_map(|(latencies, _)| latencies).collect();
        latencies.sort();
        Outcome { elapsed, failed, latencies }
    }

    async fn client(
        self,
        next: Arc<AtomicUsize>,
        stop: Arc<AtomicBool>,
        begun: Instant,
    ) -> (Vec<Duration>, usize) {
        let (mut latencies, mut failed, mut key) = (Vec::new(), 0, None);
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if let Some(rate) = self.rate {
                sleep_until(Moment::from_std(begun + Duration::from_secs_f64(number as f64 / rate))).await;
            }
            let sent = Instant::now();
            match timeout(PATIENCE, exchange(self.to, self.guests.frame(number))).await {
                Ok(Ok(answer)) => {
                    latencies.push(sent.elapsed());
                    if number.is_multiple_of(OPENED) {
                        let found = self.guests.key(number, &answer);
                        assert_eq!(*key.get_or_insert(found), found, "one image has one key");
                    }
                }
                Ok(Err(_)) | Err(_) => {
                    failed += 1;
                    sleep(BREATH).await;
                }
            }
        }
        (latencies, failed)
    }
}

/// One request on a connection of its own, and the body of its answer.
async fn exchange(to: SocketAddr, frame: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    // Ends with a reset: the ports of connections that ended would stay taken for a minute.
    stream.set_zero_linger()?;
    stream.write_all(frame).await?;
    let mut answer = vec![0; stream.read_u32().await? as usize];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
