//! The provider's own evidence (R37). The host carries quotes between the enclave and the quoting enclave, so a quote is
//! ours only after it verified, like any guest's, and shows exactly what EREPORT shows in here.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use zerocopy::FromZeros;

use bulla_attest::{Claims, CollateralId, Platform, TeeKind};
use bulla_crypto::{Info, SigningKey};
use bulla_protocol::Code;
use bulla_protocol::v1::{Custody, Recipient, Recovery, RootName, Statement};
use bulla_tee::sgx::arch::{ReportBody, Targetinfo};
use bulla_tee::tdx::QuoteHeader;
use bulla_tee::{Evidence, EvidenceKind, ReportData, Tee};

use crate::custody::{self, Kind, Root, Roots};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::verify::Judge;

/// Where the report body stands in an SGX quote of version 3 or 4. One of version 5 has it elsewhere and is not taken for ours.
const QUOTE_BODY: Range<usize> = size_of::<QuoteHeader>()..size_of::<QuoteHeader>() + size_of::<ReportBody>();
/// Where it stands in a report.
const REPORT_BODY: Range<usize> = 0..size_of::<ReportBody>();

/// How long a request waits for a proof that another one makes.
const PATIENCE: Duration = Duration::from_secs(2);

const OTHER_REPORT_DATA: &str = "self.other_report_data";
const OTHER_IDENTITY: &str = "self.other_identity";

/// Who the provider is, and how it proves it.
pub(crate) struct Own {
    tee: Arc<dyn Tee>,
    judge: Arc<Judge>,
    key: Arc<SigningKey>,
    statement: Statement,
    simulated: bool,
    proof: Mutex<Option<Arc<Proof>>>,
    proving: Turn,
}

/// One at a time makes a new proof. Others wait for that a moment, and do not queue up behind a quoting service that hangs.
#[derive(Default)]
struct Turn {
    taken: Mutex<bool>,
    free: Condvar,
}

impl Turn {
    fn take(&self) -> Option<Taken<'_>> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.free.wait_timeout_while(taken, PATIENCE, |taken| *taken);
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (!std::mem::replace(&mut *taken, true)).then_some(Taken(self))
    }
}

/// A turn, until it is dropped.
struct Taken<'a>(&'a Turn);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

/// A verified proof of who the provider is.
pub(crate) struct Proof {
    pub(crate) statement: Statement,
    /// The report data of the statement.
    pub(crate) data: ReportData,
    /// The machine that guests have to be on.
    pub(crate) platform: Platform,
    pub(crate) valid_until: u64,
}

impl Proof {
    /// What the provider states, with its report data.
    pub(crate) const fn stated(&self) -> (&Statement, &ReportData) {
        (&self.statement, &self.data)
    }
}

impl Own {
    /// The signing key lives as long as the process, the statement as long as policy and roots.
    pub(crate) fn new(
        tee: Arc<dyn Tee>,
        judge: Arc<Judge>,
        key: Arc<SigningKey>,
        policy: &Policy,
        roots: &Roots,
    ) -> Self {
        let statement = Statement {
            signing_key: *key.verifying_key().as_bytes(),
            authority: policy.authority,
            policy_digest: policy.digest,
            policy_version: policy.version,
            custody: match policy.terms.custody {
                Kind::Hardware => Custody::Hardware,
                Kind::Keyring => Custody::Keyring,
            },
            roots: roots.iter().map(name).collect(),
            recovery: roots.recovery().map(recovery),
            quote: Vec::new(),
        };
        let (proof, proving) = Default::default();
        Self { tee, judge, key, statement, simulated: policy.simulated, proof, proving }
    }

    /// The signing key's public half, which every request names.
    pub(crate) const fn verifying_key(&self) -> &[u8; 32] {
        &self.statement.signing_key
    }

    /// What the provider states, with its quote if there is one.
    pub(crate) fn statement(&self) -> Statement {
        let proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        proof.as_ref().map_or_else(|| self.statement.clone(), |proof| proof.statement.clone())
    }

    pub(crate) fn sign(&self, message: &Info) -> [u8; 64] {
        self.key.sign(message)
    }

    /// The current proof, made anew when its collateral has run out.
    pub(crate) fn proof(&self) -> Result<Arc<Proof>, Refusal> {
        let now = self.judge.now()?;
        if let Some(proof) = self.known_proof(now) {
            return Ok(proof);
        }
        let Some(_proving) = self.proving.take() else {
            return Err(Refusal::new(Code::SelfEvidenceInvalid, "self.being_proved"));
        };
        // Whoever had the turn before may have made it.
        if let Some(proof) = self.known_proof(now) {
            return Ok(proof);
        }
        // The signing key is this process's fresh randomness, so a quote of another run does not carry it.
        let data = self.statement.report_data();
        let (quote, Claims { platform, valid_until, .. }) = self.quote(&data)?;
        let statement = Statement { quote, ..self.statement.clone() };
        let proof = Arc::new(Proof { statement, data, platform, valid_until });
        *self.proof.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&proof));
        Ok(proof)
    }

    /// As [`quote`]. Who carries a quote that is not ours is not believed what it carried before.
    pub(crate) fn quote(&self, data: &ReportData) -> Result<(Vec<u8>, Claims), Refusal> {
        quote(self.tee.as_ref(), &self.judge, self.simulated, data).map_err(|refusal| match refusal.cause {
            OTHER_REPORT_DATA | OTHER_IDENTITY => self.distrust(refusal.cause),
            _ => refusal,
        })
    }

    /// What a local report of a guest on this machine says. A report of another CPUSVN than that of the own quote has the
    /// next request quote anew: the machine may have been updated since.
    pub(crate) fn neighbour(&self, proof: &Proof, report: &[u8]) -> Result<Claims, Refusal> {
        self.judge.local_claims(report, proof, self.tee.as_ref()).inspect_err(|refusal| {
            if refusal.cause == "report.cpusvn" {
                self.distrust(refusal.cause);
            }
        })
    }

    /// Refuses, and has the next request prove everything anew.
    pub(crate) fn distrust(&self, cause: &'static str) -> Refusal {
        *self.proof.lock().unwrap_or_else(PoisonError::into_inner) = None;
        invalid(cause)
    }

    /// Whether there is a proof, without making one.
    pub(crate) fn is_proven(&self, now: u64) -> bool {
        self.known_proof(now).is_some()
    }

    fn known_proof(&self, now: u64) -> Option<Arc<Proof>> {
        let proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        proof.as_ref().filter(|proof| now < proof.valid_until).map(Arc::clone)
    }
}

fn name(root: &Root) -> RootName {
    RootName { epoch: root.epoch(), id: *root.id(), commitment: root.commitment() }
}

fn recovery(recovery: &custody::Recovery) -> Recovery {
    let recipients = recovery.recipients.iter().map(|recipient| Recipient { id: recipient.id() });
    Recovery { threshold: recovery.threshold, recipients: recipients.collect() }
}

/// A quote of this enclave over `data`, and what it says, after it was found to be ours.
pub(crate) fn quote(
    tee: &dyn Tee,
    judge: &Judge,
    simulated: bool,
    data: &ReportData,
) -> Result<(Vec<u8>, Claims), Refusal> {
    let evidence = tee.attest(data, EvidenceKind::Quote).map_err(|error| invalid(error.code()))?;
    let quote = match evidence {
        Evidence::SgxQuote(quote) if !simulated => quote,
        Evidence::Simulated(evidence) if simulated => match *evidence {
            Evidence::SgxQuote(quote) => quote,
            _ => return Err(invalid("self.not_an_sgx_quote")),
        },
        _ => return Err(invalid("self.not_an_sgx_quote")),
    };
    let id = CollateralId::of_quote(&quote).map_err(|error| invalid(error.code()))?;
    if id.intel().is_none_or(|id| id.tee != TeeKind::Sgx) {
        return Err(invalid("self.not_an_sgx_quote"));
    }
    let claims = judge.own_claims(&quote, &id).map_err(|refusal| match refusal.code {
        Code::CollateralUnavailable => refusal,
        _ => invalid(refusal.cause),
    })?;
    if claims.report_data != *data.as_bytes() {
        return Err(invalid(OTHER_REPORT_DATA));
    }
    // EREPORT over the same data: the quote has to show the same body, to the byte.
    let target = Targetinfo::new_zeroed();
    let report = tee.attest(data, EvidenceKind::Report(&target)).map_err(|error| invalid(error.code()))?;
    if quote.get(QUOTE_BODY) != report.bytes().get(REPORT_BODY) {
        return Err(invalid(OTHER_IDENTITY));
    }
    Ok((quote, claims))
}

fn invalid(cause: &'static str) -> Refusal {
    Refusal::new(Code::SelfEvidenceInvalid, cause)
}
