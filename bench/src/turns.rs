//! Subjects that are measured in turn, so that what the machine does meanwhile hits them all.

use std::time::Duration;

use crate::clock::Clock;

/// How long to measure.
pub(crate) struct Effort {
    /// Rounds; in each, every subject has its turn.
    pub(crate) rounds: usize,
    /// How long a turn takes, about.
    pub(crate) turn: Duration,
    /// Bytes of a long stream.
    pub(crate) stream: usize,
    /// Small blobs to open.
    pub(crate) blobs: usize,
}

impl Effort {
    pub(crate) const FULL: Self =
        Self { rounds: 41, turn: Duration::from_millis(20), stream: 1 << 30, blobs: 10_000 };
    pub(crate) const QUICK: Self =
        Self { rounds: 3, turn: Duration::from_micros(10), stream: 1 << 25, blobs: 100 };
}

/// Does its work once each time it is called.
pub(crate) struct Subject<'a> {
    name: String,
    /// What comes before each call and is not its work.
    preparation: Option<Box<dyn FnMut() + 'a>>,
    /// Whether one call makes a turn.
    once: bool,
    work: Box<dyn FnMut() + 'a>,
}

/// Seconds that one call of a subject's work takes.
pub(crate) struct Cost {
    pub(crate) name: String,
    pub(crate) median: f64,
    pub(crate) least: f64,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(name: impl Into<String>, work: impl FnMut() + 'a) -> Self {
        Self { name: name.into(), preparation: None, once: false, work: Box::new(work) }
    }

    /// One call makes a turn, after its preparation.
    pub(crate) fn once(
        name: impl Into<String>,
        preparation: impl FnMut() + 'a,
        work: impl FnMut() + 'a,
    ) -> Self {
        Self { once: true, ..Self::prepared(name, preparation, work) }
    }

    /// As [`Subject::new`], with a preparation before each call, whose time does not count.
    pub(crate) fn prepared(
        name: impl Into<String>,
        preparation: impl FnMut() + 'a,
        work: impl FnMut() + 'a,
    ) -> Self {
        Self { preparation: Some(Box::new(preparation)), ..Self::new(name, work) }
    }

    /// How many calls make a turn.
    fn calls(&mut self, clock: Clock, turn: Duration) -> u32 {
        if self.once {
            self.turn(clock, 1);
            return 1;
        }
        (self.work)();
        let mut calls = 1;
        loop {
            let taken = self.turn(clock, calls);
            if taken * 2 >= turn {
                return calls;
            }
            calls *= 2;
        }
    }

    fn turn(&mut self, clock: Clock, calls: u32) -> Duration {
        match &mut self.preparation {
            Some(prepare) => (0..calls)
                .map(|_| {
                    prepare();
                    clock.time(&mut self.work)
                })
                .sum(),
            None => clock.time(&mut || (0..calls).for_each(|_| (self.work)())),
        }
    }
}

/// The cost of each subject, in their order.
pub(crate) fn measure<const N: usize>(
    clock: Clock,
    effort: &Effort,
    mut subjects: [Subject<'_>; N],
) -> [Cost; N] {
    let calls = subjects.each_mut().map(|subject| subject.calls(clock, effort.turn));
    let mut turns = [const { Vec::new() }; N];
    for _ in 0..effort.rounds {
        for ((subject, calls), turns) in subjects.iter_mut().zip(calls).zip(&mut turns) {
            turns.push(subject.turn(clock, calls).as_secs_f64() / f64::from(calls));
        }
    }
    let mut turns = turns.into_iter();
    subjects.map(|subject| {
        let mut turns = turns.next().expect("as many as there are subjects");
        turns.sort_by(f64::total_cmp);
        let median = turns.get(turns.len() / 2).copied().unwrap_or(f64::NAN);
        Cost { name: subject.name, median, least: turns.first().copied().unwrap_or(f64::NAN) }
    })
}
