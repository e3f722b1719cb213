//! The blocking face, and what both faces share.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulla_attest::{Claims, Platform};
use bulla_crypto::SecretBytes;
use bulla_tee::{EvidenceKind, Identity, ReportData, TdxIdentity, Tee};
use rustls::ClientConfig;

use crate::address::Address;
use crate::connection::Road;
use crate::order::{Left, OrderWalk};
use crate::walk::Patient;
use crate::{Error, Judge, Keys, Pin, Wanted, tls};

/// How long a message with its answer may take if the caller does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks one provider for keys, and believes it only as far as the crate's documentation says.
pub struct Client {
    core: Arc<Core>,
    wait: Box<dyn Fn(Duration) + Send + Sync>,
    kept: Kept<Road>,
}

/// The connection of an order, and what that left for the next one; for whoever comes first.
pub(crate) struct Kept<R>(Mutex<Option<(R, Left)>>);

impl<R: Default> Kept<R> {
    pub(crate) fn none() -> Self {
        Self(Mutex::new(None))
    }

    /// What there is, which is nobody else's from now on.
    pub(crate) fn take(&self) -> (R, Option<Left>) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.map_or_else(Default::default, |(road, left)| (road, Some(left)))
    }

    /// A connection on which nothing is left ends.
    pub(crate) fn keep(&self, road: R, left: Option<Left>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = left.map(|left| (road, left));
    }
}

/// Whom to ask, and whom to believe.
pub(crate) struct Core {
    guest: Arc<dyn Tee>,
    pub(crate) address: Address,
    pub(crate) pin: Pin,
    pub(crate) judge: Judge,
    pub(crate) timeout: Duration,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Client {
    /// A client of the provider at `address`, for the TDX guest that `guest` is. It connects when asked.
    ///
    /// The address is `http://host:port`, `https://host:port`, `unix:PATH` or `vsock:CID:PORT`. All are as safe as each
    /// other, because the protocol itself proves the provider and encrypts the keys; sessions need https.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn new(guest: Arc<dyn Tee>, address: &str, pin: Pin, judge: Judge) -> Result<Self, Error> {
        let (address, tls) = (Address::parse(address)?, tls::config());
        let core = Arc::new(Core { guest, address, pin, judge, timeout: TIMEOUT, tls });
        Ok(Self { core, wait: Box::new(std::thread::sleep), kept: Kept::none() })
    }

    /// Lets each message with its answer take at most `timeout`; without this, 30 seconds.
    ///
    /// # Panics
    /// If the client is in use already.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        let core = Arc::get_mut(&mut self.core).expect("nobody shares a client that is being made");
        core.timeout = timeout;
        self
    }

    /// Waits in this way when a provider asks to come back later; without this, the thread sleeps.
    #[must_use]
    pub fn with_wait(self, wait: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self { wait: Box::new(wait), ..self }
    }

    /// The key with this path and purpose, `length` bytes long, as [`Wanted::key`] describes it.
    ///
    /// # Errors
    /// As [`Client::keys`] and [`Wanted::key`].
    pub fn request(&self, path: &str, purpose: &str, length: u16) -> Result<SecretBytes, Error> {
        Ok(self.keys(&Wanted::key(path, purpose, length)?)?.into_first())
    }

    /// Keys, with fresh evidence.
    ///
    /// # Errors
    /// Every [`Error`] but those of use.
    pub fn keys(&self, wanted: &Wanted) -> Result<Keys, Error> {
        Ok(self.ask(wanted)?.keys)
    }

    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn wait(&self) -> &dyn Fn(Duration) {
        &self.wait
    }

    pub(crate) fn guest(&self) -> &dyn Tee {
        self.core.guest.as_ref()
    }

    pub(crate) fn pin(&self) -> &Pin {
        &self.core.pin
    }

    /// The whole way, in the order of the crate's documentation.
    pub(crate) fn ask(&self, wanted: &Wanted) -> Result<Grant, Error> {
        let wanted = wanted.ready()?;
        let (mut road, left) = self.kept.take();
        let mut walk = Patient::new(OrderWalk::new(&self.core, wanted, left));
        let mut grant = road.go(&self.core, &mut walk, &self.wait)?;
        self.kept.keep(road, grant.left.take());
        Ok(grant)
    }
}

impl Core {
    /// This guest's quote over `data`, after it was checked: the host makes quotes, and could return any other.
    pub(crate) fn own_quote(&self, data: &ReportData) -> Result<OwnQuote, Error> {
        let quote = self.guest.attest(data, EvidenceKind::Quote)?.bytes().to_vec();
        let claims = self.judge.claims(&quote).map_err(Error::OwnEvidence)?;
        claims.require_report_data(data.as_bytes()).map_err(Error::OwnEvidence)?;
        let Claims { identity, platform, .. } = claims;
        if identity != self.guest.identity()? {
            return Err(Error::ForeignEvidence);
        }
        Ok(OwnQuote { quote, guest: tdx(identity)?, platform })
    }

    /// A failure of the connection, as a reason.
    pub(crate) fn fault(&self, error: &io::Error) -> Error {
        let reason = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("timeout: no whole answer within {:?}", self.timeout)
            }
            ErrorKind::UnexpectedEof => "it closed the connection".into(),
            _ => error.to_string(),
        };
        Error::Transport { address: self.address.to_string(), reason }
    }
}

/// Keys, who gave them, and the guest that they are bound to, as the evidence showed them.
pub(crate) struct Grant {
    pub(crate) keys: Keys,
    /// MRENCLAVE of the provider.
    pub(crate) enclave: [u8; 32],
    pub(crate) guest: Box<TdxIdentity>,
    /// For the next order on the same connection.
    pub(crate) left: Option<Left>,
}

/// A quote about this guest.
pub(crate) struct OwnQuote {
    pub(crate) quote: Vec<u8>,
    pub(crate) guest: Box<TdxIdentity>,
    pub(crate) platform: Platform,
}

pub(crate) fn tdx(identity: Identity) -> Result<Box<TdxIdentity>, bulla_tee::Error> {
    match identity {
        Identity::Tdx(guest) => Ok(guest),
        Identity::Sgx(_) => Err(bulla_tee::Error::WrongBackend { wanted: "tdx", found: "sgx" }),
        _ => Err(bulla_tee::Error::WrongBackend { wanted: "tdx", found: "snp" }),
    }
}
