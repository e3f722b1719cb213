//! HTTP, and nothing else: what the bytes mean is not decided here.

use std::time::Duration;

use bulla_protocol::{BODY_MAX, Problem};
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use crate::Error;

/// Bytes of the head of a response.
const HEAD_MAX: usize = 16 * 1024;

/// Where a provider is.
pub(crate) struct Address(String);

impl Address {
    /// Takes `http://host` or `http://host:port`.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let uri: Uri = url.parse().map_err(|_| Error::Address("is not a URL: write http://host:port"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(Error::Address(
                    "begins with https://, which this version does not speak: use http://, because the protocol itself \
                     proves the provider and encrypts the key",
                ));
            }
            _ => return Err(Error::Address("does not begin with http://: write http://host:port")),
        }
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        if authority.is_empty()
            || authority.contains('@')
            || !["", "/"].contains(&uri.path())
            || uri.query().is_some()
        {
            return Err(Error::Address("has more or less than a host and a port: write http://host:port"));
        }
        Ok(Self(format!("http://{authority}")))
    }
}

/// One connection, kept open from request to request, because a challenge is good only on the connection that got it.
///
/// The agent belongs to this exchange alone and keeps one connection, and every response is read to its end, so the next
/// request goes out on the same one unless the provider closed it. Then there is a new connection, and the provider
/// answers `stale-challenge`.
pub(crate) struct Connection<'a> {
    agent: Agent,
    address: &'a Address,
}

impl<'a> Connection<'a> {
    /// Each message with its answer may take `timeout`, from looking up the name to the last byte.
    pub(crate) fn new(address: &'a Address, timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .max_response_header_size(HEAD_MAX)
            .max_idle_connections(1)
            .timeout_global(Some(timeout))
            .build();
        Self { agent: config.new_agent(), address }
    }

    /// The body of the answer to a GET.
    pub(crate) fn get(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.read(self.agent.get(self.url(path)).call())
    }

    /// The body of the answer to a POST of JSON.
    pub(crate) fn post(&self, path: &str, json: &[u8]) -> Result<Vec<u8>, Error> {
        self.read(self.agent.post(self.url(path)).content_type("application/json").send(json))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address.0)
    }

    /// The whole body, at most [`BODY_MAX`] bytes of it, of a success; the problem, of anything else.
    fn read(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Vec<u8>, Error> {
        let mut response = response.map_err(|error| self.failed(&error))?;
        let limited = response.body_mut().with_config().limit(BODY_MAX as u64);
        let body = limited.read_to_vec().map_err(|error| self.failed(&error))?;
        if response.status() == 200 {
            return Ok(body);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(Error::Refused(problem.code)),
            Err(_) => Err(self.fault(format!("it answers with status {}", response.status().as_u16()))),
        }
    }

    fn failed(&self, error: &ureq::Error) -> Error {
        self.fault(match error {
            ureq::Error::BodyExceedsLimit(limit) => format!("its answer is longer than {limit} bytes"),
            error => error.to_string(),
        })
    }

    fn fault(&self, reason: String) -> Error {
        Error::Transport { address: self.address.0.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["http://127.0.0.1:8443", "http://provider/", "http://[::1]:1"] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "http://",
            "127.0.0.1:8443",
            "https://provider",
            "ftp://provider",
            "http://user:pw@provider",
            "http://provider/v1",
            "http://provider/?x",
            "unix:/run/provider",
            "http://pro vider",
        ] {
            assert_eq!(Address::parse(bad).err().map(|error| error.code()), Some("usage.address"), "{bad}");
        }
        assert!(Address::parse("https://provider").err().unwrap().to_string().contains("use http://"));
    }
}
