//! What every exchange with a provider has in common, as decisions alone: what to send next, when to come back, and when to
//! give up. The blocking and the asynchronous face carry it out.

use std::time::Duration;

use bulla_crypto::{EntropyFailure, SystemRandom};
use bulla_protocol::{Code, Problem};

use crate::Error;
use crate::http::{Ask, Reply};
use crate::tls::Channel;

/// How often a provider may ask to come back later.
const RETRIES: u8 = 3;
/// The longest time to come back after, in seconds; a provider that asks for more is not waited for.
const LONGEST: u64 = 30;

/// What is to be done.
pub(crate) enum Step<T> {
    /// Send this, and come back with the reply.
    Ask(Ask),
    /// Come back where it may block: evidence is made or judged there.
    Block,
    /// Come back after this time.
    Wait(Duration),
    Done(T),
}

/// What has happened.
#[expect(clippy::large_enum_variant, reason = "there is one of them at a time")]
pub(crate) enum Event {
    /// It begins, or the time to wait is over.
    Begin,
    Reply(Reply, Option<Channel>),
    /// The connection that the message was for is gone.
    Closed,
    /// Here it may block.
    Here,
}

/// One exchange. It knows nothing of connections, and cannot wait.
pub(crate) trait Walk: Send + 'static {
    type Done: Send + 'static;

    /// The first step, also after an interruption: what is still good is kept.
    fn begin(&mut self) -> Result<Step<Self::Done>, Error>;

    /// A success; the channel is that of the connection, if it has one.
    fn reply(&mut self, reply: Reply, channel: Option<Channel>) -> Result<Step<Self::Done>, Error>;

    /// What [`Step::Block`] was for.
    fn here(&mut self) -> Result<Step<Self::Done>, Error>;

    /// Whether to begin again at once, after the provider said this: what it says is no longer good is forgotten then.
    fn forgets(&mut self, code: Code) -> bool;

    /// The connection is gone, and what was good on it alone.
    fn lost(&mut self) {}

    /// Whether it goes on from an earlier exchange. If that comes to nothing it begins from the beginning, for the first time.
    fn resumes(&self) -> bool {
        false
    }
}

/// A walk that comes back when it is told to, a few times.
pub(crate) struct Patient<W> {
    walk: W,
    retries: u8,
    /// Whether it has begun again already.
    again: bool,
}

impl<W: Walk> Patient<W> {
    pub(crate) const fn new(walk: W) -> Self {
        Self { walk, retries: RETRIES, again: false }
    }

    pub(crate) fn into_inner(self) -> W {
        self.walk
    }

    pub(crate) fn next(&mut self, event: Event) -> Result<Step<W::Done>, Error> {
        match event {
            Event::Begin => self.walk.begin(),
            Event::Here => self.walk.here(),
            Event::Closed => {
                let spent = self.spent();
                self.walk.lost();
                if spent { Err(Error::Closed) } else { self.walk.begin() }
            }
            Event::Reply(reply, channel) if reply.status == 200 => self.walk.reply(reply, channel),
            Event::Reply(reply, _) => self.refused(&reply),
        }
    }

    /// Whether it may not begin again; now it has.
    fn spent(&mut self) -> bool {
        let before = self.again;
        self.again |= !self.walk.resumes();
        before
    }

    fn refused(&mut self, reply: &Reply) -> Result<Step<W::Done>, Error> {
        let Ok(Problem { code, .. }) = serde_json::from_slice(reply.body.expose()) else {
            return Err(Error::Status(reply.status));
        };
        let resumes = self.walk.resumes();
        if !self.again && self.walk.forgets(code) {
            self.again = !resumes;
            return self.walk.begin();
        }
        match reply.retry_after {
            Some(seconds) if seconds <= LONGEST && self.retries > 0 => {
                self.retries -= 1;
                Ok(Step::Wait(jittered(seconds)?))
            }
            _ => Err(Error::Refused(code)),
        }
    }
}

/// Up to a quarter longer, so that those who were sent away together do not come back together.
fn jittered(seconds: u64) -> Result<Duration, Error> {
    let [byte] = SystemRandom.array::<1>().map_err(|_| Error::Entropy(EntropyFailure))?;
    Ok(Duration::from_millis(seconds * 1000 + seconds * 250 * u64::from(byte) / 256))
}

#[cfg(test)]
mod tests {
    use bulla_crypto::SecretBytes;

    use super::*;

    /// Asks once and is done; forgets stale challenges.
    struct Once {
        begun: usize,
        resumes: bool,
    }

    impl Walk for Once {
        type Done = ();

        fn begin(&mut self) -> Result<Step<()>, Error> {
            self.begun += 1;
            self.resumes = false;
            Ok(Step::Ask(Ask::get("/")))
        }

        fn reply(&mut self, _: Reply, _: Option<Channel>) -> Result<Step<()>, Error> {
            Ok(Step::Done(()))
        }

        fn here(&mut self) -> Result<Step<()>, Error> {
            Ok(Step::Block)
        }

        fn forgets(&mut self, code: Code) -> bool {
            code == Code::StaleChallenge
        }

        fn resumes(&self) -> bool {
            self.resumes
        }
    }

    /// What rests on an earlier exchange is no attempt: after it, as often as from the beginning.
    #[test]
    fn an_earlier_exchange_takes_no_attempt_away() {
        let stale = || refusal(Code::StaleChallenge, None);
        for gone in [Event::Closed, stale()] {
            let mut walk = Patient::new(Once { begun: 0, resumes: true });
            assert!(matches!(walk.next(gone), Ok(Step::Ask(_))));
            assert!(matches!(walk.next(stale()), Ok(Step::Ask(_))));
            assert!(walk.next(stale()).is_err() && walk.next(Event::Closed).is_err());
        }
    }

    fn refusal(code: Code, retry_after: Option<u64>) -> Event {
        let body = SecretBytes::new(serde_json::to_vec(&Problem::from(code)).unwrap());
        let status = code.http_status();
        Event::Reply(Reply { status, retry_after, last: false, challenge: None, body }, None)
    }

    fn wait(step: Result<Step<()>, Error>) -> Duration {
        match step {
            Ok(Step::Wait(time)) => time,
            Ok(_) => panic!("it does not wait"),
            Err(error) => panic!("{error}"),
        }
    }

    /// Bounded in number and time, never before the time that the provider named, and not all at once.
    #[test]
    fn it_comes_back_when_it_is_told_to_and_not_for_ever() {
        let mut walk = Patient::new(Once { begun: 0, resumes: false });
        walk.next(Event::Begin).unwrap();
        let mut times = Vec::new();
        for _ in 0..RETRIES {
            times.push(wait(walk.next(refusal(Code::Busy, Some(8)))));
            assert!(matches!(walk.next(Event::Begin), Ok(Step::Ask(_))));
        }
        assert!(times.iter().all(|time| (8_000..=10_000).contains(&time.as_millis())), "{times:?}");
        let error = walk.next(refusal(Code::Busy, Some(8))).err().unwrap();
        assert!(matches!(error, Error::Refused(Code::Busy)));

        let unequal = (0..64).map(|_| jittered(30).unwrap()).collect::<std::collections::HashSet<_>>();
        assert!(unequal.len() > 1);
        assert_eq!(jittered(0).unwrap(), Duration::ZERO);
    }

    #[test]
    fn who_is_not_told_when_does_not_come_back() {
        for (code, retry_after) in [
            (Code::Busy, None),
            (Code::PolicyDenied, None),
            (Code::Busy, Some(LONGEST + 1)),
            (Code::Busy, Some(u64::MAX)),
        ] {
            let mut walk = Patient::new(Once { begun: 0, resumes: false });
            assert!(
                matches!(walk.next(refusal(code, retry_after)), Err(Error::Refused(found)) if found == code)
            );
        }
    }

    #[test]
    fn what_is_stale_is_asked_anew_once() {
        for _ in [0, 1] {
            let mut walk = Patient::new(Once { begun: 0, resumes: false });
            assert!(matches!(walk.next(refusal(Code::StaleChallenge, None)), Ok(Step::Ask(_))));
            let error = walk.next(refusal(Code::StaleChallenge, None)).err().unwrap();
            assert_eq!(error.code(), "stale-challenge");
            assert_eq!(walk.into_inner().begun, 1);
        }
        let mut walk = Patient::new(Once { begun: 0, resumes: false });
        assert!(matches!(walk.next(Event::Closed), Ok(Step::Ask(_))));
        assert!(walk.next(Event::Closed).is_err());
    }
}
