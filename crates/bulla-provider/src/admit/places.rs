//! Who may hold a connection and memory, and for how long (R47-R49).
//!
//! A connection is either *waited for* (its request is not complete) or being answered. Only those that are waited for give
//! way: the oldest first, and those that never sent a complete request before those that did, unless the latter are the
//! larger crowd. Each is given a moment first, so that a crowd at the door cannot push out whoever has just come in with its
//! request in hand.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use bulla_protocol::Code;

use crate::challenge::Ledger;
use crate::refusal::Refusal;

/// Connections over all listeners. Well within 900 descriptors, the usual limit in an enclave.
const CONNECTIONS_MAX: usize = 256;
/// Descriptors for everything else.
const DESCRIPTORS_KEPT: usize = 64;
/// Memory for the bodies of requests, over all connections, in bytes.
const BODIES_MAX: usize = 8 * 1024 * 1024;
/// How much of a body is waited for at once, in bytes. A piece for each connection fits.
pub(super) const PIECE: usize = 16 * 1024;

/// How long nobody gives way after being waited for.
const MOMENT: Duration = Duration::from_millis(25);
/// From the connection to its first complete request; also from the first byte of a later one.
pub(super) const ARRIVAL: Duration = Duration::from_secs(10);
/// From the complete request to the answer.
pub(super) const ANSWERING: Duration = Duration::from_secs(30);
/// From the answer to the last byte of it that the peer takes.
pub(super) const WRITING: Duration = Duration::from_secs(10);
/// Between requests: a challenge lives a minute.
pub(super) const RESTING: Duration = Duration::from_secs(70);

const _: () = assert!(CONNECTIONS_MAX * PIECE <= BODIES_MAX);

pub(crate) struct Places {
    most: usize,
    connections: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    waited_for: Mutex<WaitedFor>,
}

/// Connections that are waited for, by the order in which they began to be.
#[derive(Default)]
struct WaitedFor {
    next: u64,
    /// They never sent a complete request.
    fresh: BTreeMap<u64, Waiter>,
    /// They did.
    resting: BTreeMap<u64, Waiter>,
    closed: bool,
}

struct Waiter {
    since: Instant,
    holder: Arc<Holder>,
}

impl WaitedFor {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Has the oldest go whose moment has passed: of those that never sent a request, else of those that rest, if these are
    /// the larger crowd. So neither crowd pushes out one of the other. `Err` says when the next moment will have passed, if
    /// anybody is waited for.
    fn make_way(&mut self) -> Result<(), Option<Instant>> {
        let first = |waiters: &BTreeMap<u64, Waiter>| {
            waiters.first_key_value().map(|(number, waiter)| (*number, waiter.since + MOMENT))
        };
        let resting = first(&self.resting).filter(|_| self.resting.len() > self.fresh.len());
        let (oldest, now) = ([first(&self.fresh), resting], Instant::now());
        match oldest.into_iter().flatten().find(|(_, until)| *until <= now) {
            Some((number, _)) => {
                self.dismiss(number);
                Ok(())
            }
            None => Err(oldest.into_iter().flatten().map(|(_, until)| until).min()),
        }
    }

    /// Who holds most memory for a body, apart from `turn`.
    fn largest(&self, turn: u64) -> Option<u64> {
        let waiters = self.fresh.iter().chain(&self.resting);
        let others = waiters.filter(|(number, waiter)| **number != turn && waiter.holder.bytes() > 0);
        others.max_by_key(|(_, waiter)| waiter.holder.bytes()).map(|(number, _)| *number)
    }

    fn remove(&mut self, number: u64) -> Option<Waiter> {
        self.fresh.remove(&number).or_else(|| self.resting.remove(&number))
    }

    /// Has one go.
    fn dismiss(&mut self, number: u64) -> Option<Arc<Holder>> {
        let Waiter { holder, .. } = self.remove(number)?;
        holder.leave.notify_one();
        Some(holder)
    }
}

/// How many connections fit into this many descriptors; `None` is no limit.
fn connections_max(descriptors: Option<u64>) -> usize {
    let descriptors = descriptors.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    descriptors.saturating_sub(DESCRIPTORS_KEPT).clamp(1, CONNECTIONS_MAX)
}

/// What a connection holds, besides its place.
#[derive(Default)]
struct Holder {
    leave: Notify,
    bytes: AtomicUsize,
}

impl Holder {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Places {
    pub(super) fn new() -> Self {
        let most = connections_max(getrlimit(Resource::Nofile).current);
        Self {
            most,
            connections: Arc::new(Semaphore::new(most)),
            bodies: Arc::new(Semaphore::new(BODIES_MAX)),
            waited_for: Mutex::default(),
        }
    }

    /// A place for a connection; `None` where all others are being answered.
    pub(super) async fn seat(self: &Arc<Self>) -> Option<Seat> {
        let place = self.place().await?;
        let holder = Arc::new(Holder::default());
        let mut waited_for = self.lock();
        let number = waited_for.number();
        waited_for.fresh.insert(number, Waiter { since: Instant::now(), holder: Arc::clone(&holder) });
        Some(Seat {
            places: Arc::clone(self),
            ledger: Mutex::new(Ledger::new(number)),
            peer: None,
            turn: Mutex::new(number),
            rests: AtomicBool::new(false),
            holder,
            deadline: watch::Sender::new(Instant::now() + ARRIVAL),
            _place: place,
        })
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(place) = Arc::clone(&self.connections).try_acquire_owned() {
                return Some(place);
            }
            let made_way = self.make_way();
            match made_way {
                Ok(()) => return Arc::clone(&self.connections).acquire_owned().await.ok(),
                Err(moment) => sleep_until(moment?).await,
            }
        }
    }

    /// Has the oldest connection go that is waited for and had its moment. `Err` says when the next one will have had it,
    /// and `None` that nobody is waited for.
    pub(super) fn make_way(&self) -> Result<(), Option<Instant>> {
        self.lock().make_way()
    }

    /// How many connections there are.
    pub(crate) fn taken(&self) -> usize {
        self.most - self.connections.available_permits()
    }

    /// Has all go that are waited for, now and later.
    pub(super) fn close(&self) {
        let mut waited_for = self.lock();
        waited_for.closed = true;
        let all: Vec<_> = waited_for.fresh.keys().chain(waited_for.resting.keys()).copied().collect();
        for number in all {
            waited_for.dismiss(number);
        }
    }

    /// Memory for `bytes` more of a body. Where there is none, those go that hold most of it and are waited for.
    async fn memory(&self, bytes: u32, turn: u64) -> Result<OwnedSemaphorePermit, Refusal> {
        if let Ok(memory) = Arc::clone(&self.bodies).try_acquire_many_owned(bytes) {
            return Ok(memory);
        }
        let mut freed = 0;
        while freed < bytes as usize {
            let mut waited_for = self.lock();
            let largest = waited_for.largest(turn).and_then(|number| waited_for.dismiss(number));
            freed += largest.ok_or(Refusal::new(Code::Busy, "busy.memory"))?.bytes();
        }
        let waiting = Arc::clone(&self.bodies).acquire_many_owned(bytes).await;
        waiting.map_err(|_| Refusal::new(Code::Busy, "busy.memory"))
    }

    fn lock(&self) -> MutexGuard<'_, WaitedFor> {
        self.waited_for.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection. It is free again when this is dropped.
pub(super) struct Seat {
    places: Arc<Places>,
    /// The connection's challenges.
    pub(super) ledger: Mutex<Ledger>,
    /// The address that it comes from, where there is one.
    pub(super) peer: Option<IpAddr>,
    /// Its number among those that are waited for.
    turn: Mutex<u64>,
    /// Whether it was answered and has sent nothing since.
    rests: AtomicBool,
    holder: Arc<Holder>,
    deadline: watch::Sender<Instant>,
    _place: OwnedSemaphorePermit,
}

impl Seat {
    /// Ready when the connection has to go. The end of a rest is no refusal.
    pub(super) async fn end(&self) -> Option<Refusal> {
        let mut deadline = self.deadline.subscribe();
        let refusal = loop {
            let until = *deadline.borrow_and_update();
            tokio::select! {
                () = self.holder.leave.notified() => break Refusal::new(Code::Busy, "busy.gave_way"),
                () = sleep_until(until) => break Code::Timeout.into(),
                _ = deadline.changed() => {}
            }
        };
        (!self.rests.load(Ordering::Relaxed)).then_some(refusal)
    }

    /// Gives the connection this long for what comes now.
    pub(super) fn within(&self, time: Duration) {
        self.deadline.send_replace(Instant::now() + time);
    }

    /// The first byte of a request is there: the rest of it has no more time than a first request has.
    pub(super) fn arriving(&self) {
        self.rests.store(false, Ordering::Relaxed);
        let latest = Instant::now() + ARRIVAL;
        self.deadline.send_modify(|deadline| *deadline = latest.min(*deadline));
    }

    /// The request is complete: the connection no longer gives way.
    pub(super) fn answering(&self) -> Result<(), Refusal> {
        let turn = *self.turn();
        self.rests.store(false, Ordering::Relaxed);
        self.places.lock().remove(turn).ok_or(Refusal::new(Code::Busy, "busy.gave_way"))?;
        self.within(ANSWERING);
        Ok(())
    }

    /// The answer is made: the connection is waited for again.
    pub(super) fn resting(&self) {
        let mut waited_for = self.places.lock();
        let number = waited_for.number();
        *self.turn() = number;
        self.rests.store(true, Ordering::Relaxed);
        self.within(RESTING);
        waited_for.resting.insert(number, Waiter { since: Instant::now(), holder: Arc::clone(&self.holder) });
        if waited_for.closed {
            waited_for.dismiss(number);
        }
    }

    fn turn(&self) -> MutexGuard<'_, u64> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let turn = *self.turn();
        self.places.lock().remove(turn);
    }
}

/// The body of a request, as it arrives: memory is counted before it is taken.
pub(super) struct Body<'a> {
    seat: &'a Seat,
    memory: Option<OwnedSemaphorePermit>,
    /// For how many bytes there is memory.
    room: usize,
    pub(super) bytes: Vec<u8>,
}

impl<'a> Body<'a> {
    pub(super) const fn new(seat: &'a Seat) -> Self {
        Self { seat, memory: None, room: 0, bytes: Vec::new() }
    }

    /// Waits for memory for `more` bytes, at most a [`PIECE`] at a time, as far as there is none yet.
    pub(super) async fn reserve(&mut self, more: usize) -> Result<(), Refusal> {
        let more = (self.bytes.len() + more).saturating_sub(self.room);
        if more == 0 {
            return Ok(());
        }
        let count = u32::try_from(more).map_err(|_| Refusal::from(Code::TooLarge))?;
        let turn = *self.seat.turn();
        let memory = self.seat.places.memory(count, turn).await?;
        self.seat.holder.bytes.fetch_add(more, Ordering::Relaxed);
        match &mut self.memory {
            Some(held) => held.merge(memory),
            None => self.memory = Some(memory),
        }
        self.room += more;
        self.bytes.reserve_exact(self.room - self.bytes.len());
        Ok(())
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.seat.holder.bytes.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    async fn must_go(seat: &Seat) -> bool {
        tokio::select! {
            biased;
            _ = seat.end() => true,
            () = ready(()) => false,
        }
    }

    async fn seats(places: &Arc<Places>, count: usize) -> Vec<Seat> {
        let mut seats = Vec::new();
        for _ in 0..count {
            seats.push(places.seat().await.unwrap());
        }
        seats
    }

    /// R48: whoever never sent a request goes first, then whoever rests, the oldest of each; nobody who is answered.
    #[tokio::test(start_paused = true)]
    async fn the_oldest_that_is_waited_for_gives_way() {
        let places = Arc::new(Places::new());
        let [answered, rests_early, fresh_early, rests_late, fresh_late] =
            seats(&places, 5).await.try_into().ok().unwrap();
        let crowd = seats(&places, CONNECTIONS_MAX - 5).await;
        crowd.iter().for_each(|seat| seat.answering().unwrap());
        for seat in [&answered, &rests_early, &rests_late] {
            seat.answering().unwrap();
        }
        rests_early.resting();
        rests_late.resting();
        let begun = Instant::now();
        for wanted in [fresh_early, fresh_late, rests_early, rests_late] {
            let (newcomer, ()) = tokio::join!(places.seat(), async {
                wanted.end().await;
                assert_eq!(begun.elapsed(), MOMENT, "nobody goes before the first moment has passed");
                assert_eq!(wanted.answering().unwrap_err().cause, "busy.gave_way");
                drop(wanted);
            });
            let newcomer = newcomer.unwrap();
            newcomer.answering().unwrap();
            std::mem::forget(newcomer);
        }
        assert!(places.seat().await.is_none(), "a place was taken from someone who is being answered");
        assert!(!must_go(&answered).await);
    }

    /// R48: where most others rest, a newcomer does not have to wait until the one before it had its moment.
    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_rests_gives_way_at_once() {
        let places = Arc::new(Places::new());
        let mut crowd = seats(&places, CONNECTIONS_MAX - 1).await;
        for seat in &crowd {
            seat.answering().unwrap();
            seat.resting();
        }
        tokio::time::advance(MOMENT).await;
        let young = places.seat().await.unwrap();
        let (oldest, begun) = (crowd.remove(0), Instant::now());
        let (newcomer, ()) = tokio::join!(places.seat(), async {
            oldest.end().await;
            drop(oldest);
        });
        assert!(newcomer.is_some() && begun.elapsed() == Duration::ZERO && !must_go(&young).await);
    }

    /// R48: a crowd that has just come in and sent nothing does not push out a guest that makes its quote.
    #[tokio::test(start_paused = true)]
    async fn a_crowd_at_the_door_does_not_push_out_who_rests() {
        let places = Arc::new(Places::new());
        let guest = places.seat().await.unwrap();
        guest.answering().unwrap();
        guest.resting();
        tokio::time::advance(MOMENT).await;
        let mut crowd = seats(&places, CONNECTIONS_MAX - 1).await;
        let oldest = crowd.remove(0);
        let (newcomer, ()) = tokio::join!(places.seat(), async {
            oldest.end().await;
            drop(oldest);
        });
        assert!(newcomer.is_some() && !must_go(&guest).await);
    }

    /// R49: bodies share one budget, and those who hold most of it for nothing lose it.
    #[tokio::test]
    async fn memory_is_bounded_and_comes_back() {
        let places = Arc::new(Places::new());
        let seats = seats(&places, 3).await;
        let mut hoarder = Body::new(&seats[1]);
        while hoarder.bytes.capacity() < BODIES_MAX {
            hoarder.reserve(PIECE).await.unwrap();
            hoarder.bytes.resize(hoarder.bytes.capacity(), 0);
        }
        let mut honest = Body::new(&seats[2]);
        let (reserved, ()) = tokio::join!(honest.reserve(PIECE), async {
            assert!(must_go(&seats[1]).await && !must_go(&seats[0]).await);
            drop(hoarder);
        });
        reserved.unwrap();
        assert_eq!(places.bodies.available_permits(), BODIES_MAX - PIECE);
        drop(honest);
        assert_eq!(places.bodies.available_permits(), BODIES_MAX);
    }

    /// Where every body is of a request that is being answered, the newcomer is told to come back.
    #[tokio::test]
    async fn memory_is_not_taken_from_those_who_are_answered() {
        let places = Arc::new(Places::new());
        let seats = seats(&places, 3).await;
        let mut large = Body::new(&seats[0]);
        large.reserve(BODIES_MAX).await.unwrap();
        seats[0].answering().unwrap();
        assert_eq!(Body::new(&seats[1]).reserve(1).await.unwrap_err().cause, "busy.memory");
        assert!(!must_go(&seats[2]).await, "who holds no memory has none to give");
    }

    /// R48, B2: each phase has its deadline.
    #[tokio::test(start_paused = true)]
    async fn time_runs_out_in_every_phase() {
        let places = Arc::new(Places::new());
        let seat = places.seat().await.unwrap();
        let mut start = Instant::now();
        assert_eq!(seat.end().await.unwrap().code, Code::Timeout);
        assert_eq!(start.elapsed().as_secs(), ARRIVAL.as_secs());
        seat.answering().unwrap();
        start = Instant::now();
        assert_eq!(seat.end().await.unwrap().code, Code::Timeout);
        assert_eq!(start.elapsed().as_secs(), ANSWERING.as_secs());
        seat.resting();
        start = Instant::now();
        assert_eq!(seat.end().await, None);
        assert_eq!(start.elapsed().as_secs(), RESTING.as_secs());
    }

    #[test]
    fn connections_fit_into_the_descriptors() {
        let limits = [None, Some(u64::MAX), Some(900), Some(100), Some(64), Some(3)];
        assert_eq!(limits.map(connections_max), [256, 256, 256, 36, 1, 1]);
    }

    #[tokio::test]
    async fn an_end_dismisses_all_who_are_waited_for() {
        let places = Arc::new(Places::new());
        let seats = seats(&places, 2).await;
        seats[0].answering().unwrap();
        places.close();
        assert!(must_go(&seats[1]).await && !must_go(&seats[0]).await);
        seats[0].resting();
        assert!(must_go(&seats[0]).await);
    }
}
