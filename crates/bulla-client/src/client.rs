//! The blocking face, and what both faces share.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulla_attest::{Claims, Platform};
use bulla_crypto::{Kem, SecretBytes};
use bulla_protocol::v1;
use bulla_tee::tdx::TdReport;
use bulla_tee::{EvidenceKind, Identity, ReportData, TdxIdentity, Tee};
use rustls::ClientConfig;
use zerocopy::FromBytes;

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
    pub(crate) kem: Kem,
    evidence: GuestEvidence,
    pub(crate) tls: Arc<ClientConfig>,
}

/// What a guest shows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuestEvidence {
    /// A quote, or a local report where nothing gives a quote.
    #[default]
    Any,
    /// A quote. This client judges it before anybody else sees it, so that its own policy holds for its own machine too.
    Quote,
    /// A local report: no quote, and nobody's service but the processor's. Only an enclave on this machine can tell that it is
    /// genuine; the pinned provider does, and signs its answer over the report.
    Report,
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
        let (kem, evidence) = (Kem::XWing, GuestEvidence::Any);
        let core = Arc::new(Core { guest, address, pin, judge, timeout: TIMEOUT, kem, evidence, tls });
        Ok(Self { core, wait: Box::new(std::thread::sleep), kept: Kept::none() })
    }

    /// Lets each message with its answer take at most `timeout`; without this, 30 seconds.
    ///
    /// # Panics
    /// If the client is in use already.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        self.with(|core| core.timeout = timeout)
    }

    /// Has keys encrypted to a key of this mechanism in orders; without this, X-Wing. [`Kem::X25519`] falls to quantum computers, and
    /// providers refuse it unless their policy allows it. Sessions are always hybrid.
    ///
    /// # Panics
    /// As [`with_timeout`](Self::with_timeout).
    #[must_use]
    pub fn with_kem(self, kem: Kem) -> Self {
        self.with(|core| core.kem = kem)
    }

    /// Shows this evidence of the guest; without this, [`GuestEvidence::Any`].
    ///
    /// # Panics
    /// As [`with_timeout`](Self::with_timeout).
    #[must_use]
    pub fn with_evidence(self, evidence: GuestEvidence) -> Self {
        self.with(|core| core.evidence = evidence)
    }

    fn with(mut self, change: impl FnOnce(&mut Core)) -> Self {
        change(Arc::get_mut(&mut self.core).expect("nobody shares a client that is being made"));
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
    /// This guest's evidence over `data`.
    pub(crate) fn own_evidence(&self, data: &ReportData) -> Result<OwnEvidence, Error> {
        match self.evidence {
            GuestEvidence::Quote => self.own_quote(data),
            GuestEvidence::Report => self.own_report(data),
            GuestEvidence::Any => match self.own_quote(data) {
                Err(Error::Machine(
                    bulla_tee::Error::Unavailable { .. } | bulla_tee::Error::Device { .. },
                )) => self.own_report(data),
                shown => shown,
            },
        }
    }

    /// This guest's report, which comes from the module in the processor and not from the host. Of which machine the provider
    /// is shows when it answers: it is pinned, and recognises no report but of its own (R35).
    fn own_report(&self, data: &ReportData) -> Result<OwnEvidence, Error> {
        let bytes = self.guest.attest(data, EvidenceKind::TdReport)?.bytes().to_vec();
        let identity = self.guest.identity()?;
        let report = TdReport::read_from_bytes(&bytes).map_err(|_| Error::ForeignEvidence)?;
        let guest = tdx(identity)?;
        if report.report_mac.report_data != *data.as_bytes() || TdxIdentity::from(&report) != *guest {
            return Err(Error::ForeignEvidence);
        }
        Ok(OwnEvidence { kind: v1::EvidenceKind::TdxReport, bytes, guest, platform: None })
    }

    /// This guest's quote, after it was checked: the host makes quotes, and could return any other.
    fn own_quote(&self, data: &ReportData) -> Result<OwnEvidence, Error> {
        let quote = self.guest.attest(data, EvidenceKind::Quote)?.bytes().to_vec();
        let claims = self.judge.claims(&quote).map_err(Error::OwnEvidence)?;
        claims.require_report_data(data.as_bytes()).map_err(Error::OwnEvidence)?;
        let Claims { identity, platform, .. } = claims;
        if identity != self.guest.identity()? {
            return Err(Error::ForeignEvidence);
        }
        let kind = v1::EvidenceKind::TdxQuote;
        Ok(OwnEvidence { kind, bytes: quote, guest: tdx(identity)?, platform: Some(platform) })
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

/// Evidence of this guest.
pub(crate) struct OwnEvidence {
    pub(crate) kind: v1::EvidenceKind,
    pub(crate) bytes: Vec<u8>,
    pub(crate) guest: Box<TdxIdentity>,
    /// Of a quote: the machine that it names.
    pub(crate) platform: Option<Platform>,
}

pub(crate) fn tdx(identity: Identity) -> Result<Box<TdxIdentity>, bulla_tee::Error> {
    match identity {
        Identity::Tdx(guest) => Ok(guest),
        Identity::Sgx(_) => Err(bulla_tee::Error::WrongBackend { wanted: "tdx", found: "sgx" }),
        _ => Err(bulla_tee::Error::WrongBackend { wanted: "tdx", found: "snp" }),
    }
}
