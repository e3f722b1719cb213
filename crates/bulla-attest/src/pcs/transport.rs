//! HTTP, and nothing else: what the bytes mean is not decided here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, http};

use super::settings::Reach;

/// Bytes of the head of an answer; issuers' chains are in it, about 6 KiB when encoded (R31).
const HEAD_MAX: usize = 48 * 1024;

/// One question.
pub(super) struct Question<'a> {
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'static str, &'a str)],
    /// The largest answer, in bytes.
    pub(super) limit: usize,
    /// From looking up the name to the last byte.
    pub(super) timeout: Duration,
}

/// One answer, of any status. The body is that of a success; nobody reads the others.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case; values that are text.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
pub(super) enum Trouble {
    /// Beyond a limit, in bytes.
    TooLarge(usize),
    /// No HTTP.
    Malformed(String),
    /// No connection, no trusted TLS, or too late.
    Unreachable(String),
}

/// Carries questions to a service.
pub(super) trait Transport: Send + Sync {
    fn get(&self, question: &Question<'_>) -> Result<Answer, Trouble>;
}

/// Waits, and knows how long it took.
pub(super) trait Pace: Send + Sync {
    /// Since any fixed moment.
    fn elapsed(&self) -> Duration;
    fn sleep(&self, time: Duration);
}

/// The real time.
pub(super) struct RealPace(Instant);

impl RealPace {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Pace for RealPace {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// The real network.
pub(super) struct Http(Agent);

impl Http {
    pub(super) fn new(reach: &Reach) -> Self {
        let roots = match reach.roots.as_slice() {
            [] => RootCerts::WebPki,
            roots => roots.iter().map(|der| Certificate::from_der(der).to_owned()).into(),
        };
        let engine = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(engine).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .max_response_header_size(HEAD_MAX)
            .timeout_connect(Some(reach.connect))
            .user_agent(concat!("bulla/", env!("CARGO_PKG_VERSION")))
            .build();
        Self(config.new_agent())
    }
}

impl Transport for Http {
    fn get(&self, question: &Question<'_>) -> Result<Answer, Trouble> {
        let mut request = self.0.get(question.url);
        for (name, value) in question.headers {
            request = request.header(*name, *value);
        }
        let request = request.config().timeout_global(Some(question.timeout)).build();
        let mut response = request.call().map_err(trouble)?;
        let status = response.status().as_u16();
        let body = if status == 200 { read(&mut response, question.limit)? } else { Vec::new() };
        let headers = response.headers().iter();
        let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        Ok(Answer { status, headers: headers.filter_map(text).collect(), body })
    }
}

/// Stops reading beyond the limit, whatever length was announced. The library's own limit lets less through than it says.
fn read(response: &mut http::Response<Body>, limit: usize) -> Result<Vec<u8>, Trouble> {
    let body = response.body_mut().with_config().limit(limit as u64 + 1).read_to_vec();
    match body {
        Ok(body) if body.len() <= limit => Ok(body),
        Ok(_) | Err(ureq::Error::BodyExceedsLimit(_)) => Err(Trouble::TooLarge(limit)),
        Err(error) => Err(trouble(error)),
    }
}

fn trouble(error: ureq::Error) -> Trouble {
    match error {
        ureq::Error::LargeResponseHeader(..) => Trouble::TooLarge(HEAD_MAX),
        error @ (ureq::Error::Protocol(_) | ureq::Error::Http(_)) => Trouble::Malformed(error.to_string()),
        ureq::Error::Timeout(_) => Trouble::Unreachable("it did not answer in time".into()),
        error => Trouble::Unreachable(error.to_string()),
    }
}
