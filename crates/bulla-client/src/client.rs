//! One request from beginning to end.

use std::sync::Arc;
use std::time::Duration;

use bulla_attest::{Claims, Platform};
use bulla_crypto::SecretBytes;
use bulla_protocol::Code;
use bulla_tee::{EvidenceKind, Identity, ReportData, TdxIdentity, Tee};

use crate::exchange::{Draft, Provider, Wanted};
use crate::transport::{Address, Connection};
use crate::{Error, Judge, Pin};

/// How long a message with its answer may take if the caller does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where bulla's own keys are.
const RESERVED: &str = "bulla/";

/// Asks one provider for keys, and believes it only as far as the crate's documentation says.
pub struct Client {
    guest: Arc<dyn Tee>,
    address: Address,
    pin: Pin,
    judge: Judge,
    timeout: Duration,
}

impl Client {
    /// A client of the provider at `url`, `http://host:port`, for the TDX guest that `guest` is. It connects when asked.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn new(guest: Arc<dyn Tee>, url: &str, pin: Pin, judge: Judge) -> Result<Self, Error> {
        let address = Address::parse(url)?;
        Ok(Self { guest, address, pin, judge, timeout: TIMEOUT })
    }

    /// Lets each message with its answer take at most `timeout`; without this, 30 seconds.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The key of this guest's measurements with this path and purpose, `length` bytes long, from the root that the
    /// provider's new keys come from.
    ///
    /// The path is 1 to 256 printable ASCII characters, the purpose 1 to 64 lower-case letters, digits and hyphens, the
    /// length 16 to 64 bytes. Another path, purpose or length gives an unrelated key (R11).
    ///
    /// # Errors
    /// Every [`Error`] but [`Error::Address`].
    pub fn request(&self, path: &str, purpose: &str, length: u16) -> Result<SecretBytes, Error> {
        let (_, key) = self.request_with_root(path, purpose, length)?;
        Ok(key)
    }

    /// As [`Client::request`], with the id of the root, by which [`Client::request_from_root`] gets the same key again
    /// after the provider has added a newer root.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn request_with_root(
        &self,
        path: &str,
        purpose: &str,
        length: u16,
    ) -> Result<([u8; 16], SecretBytes), Error> {
        let Grant { root_id, key, .. } = self.ask(&Wanted::new(unreserved(path)?, purpose, length, None)?)?;
        Ok((root_id, key))
    }

    /// As [`Client::request`], from a recorded root.
    ///
    /// # Errors
    /// As [`Client::request`]; [`Error::Refused`] with [`Code::UnknownRoot`] from a provider that does not have the root,
    /// for example that of another machine.
    pub fn request_from_root(
        &self,
        root_id: [u8; 16],
        path: &str,
        purpose: &str,
        length: u16,
    ) -> Result<SecretBytes, Error> {
        let grant = self.ask(&Wanted::new(unreserved(path)?, purpose, length, Some(root_id))?)?;
        Ok(grant.key)
    }

    pub(crate) fn guest(&self) -> &dyn Tee {
        self.guest.as_ref()
    }

    pub(crate) const fn pin(&self) -> &Pin {
        &self.pin
    }

    /// The whole way, in the order of the crate's documentation.
    pub(crate) fn ask(&self, wanted: &Wanted) -> Result<Grant, Error> {
        let connection = Connection::new(&self.address, self.timeout);
        let provider = Provider::judge(&connection.get("/v1/provider")?, &self.judge, &self.pin)?;
        match self.order(&connection, &provider, wanted) {
            // The provider closed the connection in between, or took very long: a new challenge, once.
            Err(Error::Refused(Code::StaleChallenge)) => self.order(&connection, &provider, wanted),
            result => result,
        }
    }

    fn order(
        &self,
        connection: &Connection<'_>,
        provider: &Provider,
        wanted: &Wanted,
    ) -> Result<Grant, Error> {
        let draft = Draft::new(wanted, provider, &connection.get("/v1/challenge")?)?;
        let own = self.own_quote(&draft.report_data())?;
        provider.require_machine(&own.platform)?;
        let pending = draft.with_evidence(own.quote);
        let keys = pending.open(&connection.post("/v1/keys", &pending.body())?)?;
        let key = keys.into_iter().next().ok_or(Error::BadAnswer("there is no key in it"))?;
        Ok(Grant { root_id: pending.root_id(), key, guest: own.guest })
    }

    /// This guest's quote over `data`, after it was checked: the host makes quotes, and could return any other.
    fn own_quote(&self, data: &ReportData) -> Result<OwnQuote, Error> {
        let quote = self.guest.attest(data, EvidenceKind::Quote)?.bytes().to_vec();
        let claims = self.judge.claims(&quote).map_err(Error::OwnEvidence)?;
        claims.require_report_data(data.as_bytes()).map_err(Error::OwnEvidence)?;
        let Claims { identity, platform, .. } = claims;
        if identity != self.guest.identity()? {
            return Err(Error::ForeignEvidence);
        }
        Ok(OwnQuote { quote, guest: tdx(identity)?, platform })
    }
}

/// A key, the root it came from and the guest it is bound to, as the evidence showed it.
pub(crate) struct Grant {
    pub(crate) root_id: [u8; 16],
    pub(crate) key: SecretBytes,
    pub(crate) guest: Box<TdxIdentity>,
}

/// A quote about this guest.
struct OwnQuote {
    quote: Vec<u8>,
    guest: Box<TdxIdentity>,
    platform: Platform,
}

pub(crate) fn tdx(identity: Identity) -> Result<Box<TdxIdentity>, bulla_tee::Error> {
    match identity {
        Identity::Tdx(guest) => Ok(guest),
        Identity::Sgx(_) => Err(bulla_tee::Error::WrongBackend { wanted: "tdx", found: "sgx" }),
        _ => Err(bulla_tee::Error::WrongBackend { wanted: "tdx", found: "snp" }),
    }
}

fn unreserved(path: &str) -> Result<&str, Error> {
    if path.starts_with(RESERVED) { Err(Error::Reserved) } else { Ok(path) }
}
