//! One question until there is an answer or a reason, within a deadline.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::settings::Reach;
use super::transport::{Answer, Http, Pace, Question, RealPace, Transport, Trouble};
use crate::Error;
use crate::error::ServiceFault;

/// How often a question is asked of a service that is busy.
const ATTEMPTS: u32 = 4;
/// The longest text that is repeated from an answer.
const REPEATED: usize = 160;

/// Asks services.
pub(super) struct Fetcher {
    transport: Box<dyn Transport>,
    pace: Box<dyn Pace>,
    /// For all questions of a session, with all waiting.
    total: Duration,
}

impl Fetcher {
    pub(super) fn new(reach: &Reach) -> Self {
        Self::over(Box::new(Http::new(reach)), Box::new(RealPace::new()), reach.total)
    }

    pub(super) fn over(transport: Box<dyn Transport>, pace: Box<dyn Pace>, total: Duration) -> Self {
        Self { transport, pace, total }
    }

    /// Questions that share one deadline.
    pub(super) fn session(&self) -> Session<'_> {
        Session { fetcher: self, deadline: self.pace.elapsed().saturating_add(self.total) }
    }
}

pub(super) struct Session<'a> {
    fetcher: &'a Fetcher,
    deadline: Duration,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// For people.
    pub(super) what: &'a str,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'static str, &'a str)],
    /// The largest answer, in bytes.
    pub(super) limit: usize,
}

impl Session<'_> {
    /// A success, for which a busy service is asked again as long as there is time.
    pub(super) fn get(&self, wanted: &Wanted<'_>) -> Result<Answer, Error> {
        let Fetcher { transport, pace, .. } = self.fetcher;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let timeout = self.deadline.saturating_sub(pace.elapsed());
            if timeout.is_zero() {
                return Err(fault(wanted, ServiceFault::Unreachable, "it did not answer in time"));
            }
            let Wanted { url, headers, limit, .. } = *wanted;
            let answer = match transport.get(&Question { url, headers, limit, timeout }) {
                Ok(answer) => answer,
                Err(Trouble::TooLarge(limit)) => {
                    let why = format!("its answer is longer than {limit} bytes");
                    return Err(fault(wanted, ServiceFault::TooLarge, &why));
                }
                Err(Trouble::Malformed(why)) => {
                    return Err(fault(wanted, ServiceFault::Malformed, &repeatable(&why)));
                }
                Err(Trouble::Unreachable(why)) => {
                    return Err(fault(wanted, ServiceFault::Unreachable, &repeatable(&why)));
                }
            };
            if answer.status == 200 {
                return plain(wanted, answer);
            }
            let (what, why) = judge(&answer);
            if what != ServiceFault::Busy {
                return Err(fault(wanted, what, &why));
            }
            let asked_for = retry_after(&answer);
            let wait = asked_for.unwrap_or(1 << (attempt - 1));
            let left = self.deadline.saturating_sub(pace.elapsed());
            if attempt == ATTEMPTS || Duration::from_secs(wait) >= left {
                return Err(Error::Service {
                    fault: what,
                    detail: sentence(wanted, &why),
                    retry_after: asked_for,
                });
            }
            pace.sleep(Duration::from_secs(wait));
        }
    }
}

/// Nothing asks for compression, and nothing here undoes it.
fn plain(wanted: &Wanted<'_>, answer: Answer) -> Result<Answer, Error> {
    let encoded =
        answer.headers.iter().any(|(name, value)| name == "content-encoding" && value != "identity");
    if encoded {
        return Err(fault(
            wanted,
            ServiceFault::Malformed,
            "it compresses its answer, which nobody asked for",
        ));
    }
    Ok(answer)
}

fn judge(answer: &Answer) -> (ServiceFault, String) {
    let (what, why) = match answer.status {
        300..=399 => {
            (ServiceFault::Redirect, "it sends elsewhere, where this does not follow: give its own address")
        }
        401 | 403 => (ServiceFault::Denied, "it wants credentials: check the subscription key"),
        404 | 461 | 462 => (ServiceFault::Unknown, "it does not know this platform"),
        410 => (
            ServiceFault::Retired,
            "Intel has retired this TCB evaluation number: raise the minimum of the policy and ask for a higher number, or \
             follow a channel",
        ),
        429 | 503 => (ServiceFault::Busy, "it is busy"),
        _ => (ServiceFault::Failed, "it failed"),
    };
    let mut why = format!("{why} (status {}", answer.status);
    for name in ["error-code", "error-message", "request-id"] {
        if let Some(value) = header(answer, name) {
            why.push_str(&format!(", {name} {:?}", repeatable(value)));
        }
    }
    why.push(')');
    (what, why)
}

/// Seconds, or a date, which is counted from the answer's own date: nothing here knows the time.
fn retry_after(answer: &Answer) -> Option<u64> {
    let value = header(answer, "retry-after")?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(seconds);
    }
    let date = |text: &str| OffsetDateTime::parse(text, &Rfc2822).ok();
    let (then, now) = (date(value)?, date(header(answer, "date")?.trim())?);
    u64::try_from((then - now).whole_seconds()).ok()
}

pub(super) fn header<'a>(answer: &'a Answer, wanted: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
}

pub(super) fn fault(wanted: &Wanted<'_>, fault: ServiceFault, why: &str) -> Error {
    Error::Service { fault, detail: sentence(wanted, why), retry_after: None }
}

fn sentence(wanted: &Wanted<'_>, why: &str) -> String {
    let address = wanted.url.split(['?', '#']).next().unwrap_or_default();
    format!("{} was asked for the {}: {why}", repeatable(address), wanted.what)
}

/// What a service says, in a form that a log can take.
fn repeatable(text: &str) -> String {
    text.chars().take(REPEATED).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}
