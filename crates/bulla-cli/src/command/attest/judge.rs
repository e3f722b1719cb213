//! What `verify` and `explain` begin with.

use std::path::Path;

use bulla_attest::{
    AmdProduct, Boundary, Claims, Collateral, CollateralId, Error, EventLog, Policy, TcbStatus, TrustAnchor,
    Verifier,
};
use serde_json::Value;

use super::{claims, collateral, policy};
use crate::args::Verify;
use crate::failure::Failure;
use crate::{files, machine};

/// Evidence, what it was judged by, and the verdict.
pub(super) struct Judged {
    pub(super) quote: Vec<u8>,
    pub(super) collateral: Option<Collateral>,
    pub(super) policy: Policy,
    pub(super) verdict: Result<Accepted, Error>,
}

/// What verified evidence says, and what the register of a boundary held there.
pub(super) struct Accepted {
    pub(super) claims: Claims,
    at_boundary: Option<(usize, [u8; 48])>,
}

impl From<Claims> for Accepted {
    fn from(claims: Claims) -> Self {
        Self { claims, at_boundary: None }
    }
}

impl Accepted {
    pub(super) fn lines(&self) -> Vec<(String, Value)> {
        let claims = claims::lines(&self.claims).into_iter().map(|(name, value)| (name.to_owned(), value));
        let at = self.at_boundary.map(|(register, value)| {
            (format!("rtmr{register}_at_boundary"), Value::from(hex::encode(value)))
        });
        claims.chain(at).collect()
    }

    pub(super) fn json(&self) -> Value {
        claims::report(self.lines())
    }
}

/// What is to be judged. One byte beyond the limit is enough to be refused for it, by the verifier like everything else.
pub(super) fn evidence(options: &Verify) -> Result<Vec<u8>, Failure> {
    files::beginning(&options.quote, bulla_protocol::QUOTE_MAX as u64 + 1)
}

pub(super) fn judge(options: &Verify, quote: Vec<u8>) -> Result<Judged, Failure> {
    if !options.tpm.attestation_key.is_empty() {
        return Err(Failure::usage("--attestation-key is for a TPM's quote, and this is none"));
    }
    let mut policy = match &options.policy {
        Some(file) => policy::read(file)?,
        None => Policy::strict().allow_statuses(&statuses(&options.tcb)?),
    };
    if options.root.is_some() {
        policy = policy.allow_simulated();
    }
    let now = options.at.unwrap_or_else(machine::now);
    let log = options
        .event_log
        .as_ref()
        .map(|path| files::beginning(path, EventLog::LIMIT as u64 + 1))
        .transpose()?;
    let at = log.as_ref().zip(options.boundary.as_ref());
    let (verifier, collateral) = inputs(options, &quote, now)?;
    let (collateral, verdict) = match collateral {
        Ok(collateral) => {
            let verdict = match at {
                None => verifier.verify(&quote, &collateral, now, &policy).map(Accepted::from),
                Some(at) => verify_at(&verifier, &quote, at, &collateral, now, &policy),
            };
            (Some(collateral), verdict)
        }
        Err(error) => (None, Err(error)),
    };
    Ok(Judged { quote, collateral, policy, verdict })
}

/// The verifier and the collateral: as given, or of a store, with its floor.
fn inputs(
    options: &Verify,
    quote: &[u8],
    now: u64,
) -> Result<(Verifier, Result<Collateral, Error>), Failure> {
    let root = options.root.as_deref();
    match (&options.collateral, &options.store) {
        (Some(path), _) => {
            let json = files::beginning(path, Collateral::LIMIT as u64 + 1)?;
            Ok((verifier(root)?.0, Collateral::from_json(&json)))
        }
        (None, Some(folder)) => {
            let (store, verifier) = collateral::open(folder, root)?;
            let current = CollateralId::of_quote(quote).and_then(|id| store.current(&id, now));
            let set = current.map(|set| Collateral::clone(&set));
            Ok((verifier.with_floor(store.floor()), set))
        }
        (None, None) => Err(Failure::usage("say what to judge it with: --collateral or --store")),
    }
}

/// A verifier for the vendors' roots, or for another one; and the root of its quotes.
pub(super) fn verifier(root: Option<&Path>) -> Result<(Verifier, TrustAnchor), Failure> {
    let Some(path) = root else { return Ok((Verifier::vendors(), TrustAnchor::intel())) };
    let anchor = TrustAnchor::from_der(&files::read(path, 64 * 1024)?)?;
    // The family of simulated machines' chips.
    let verifier = Verifier::new(anchor.clone()).with_amd(AmdProduct::Genoa, anchor.clone());
    Ok((verifier, anchor))
}

fn verify_at(
    verifier: &Verifier,
    quote: &[u8],
    (log, (register, event)): (&Vec<u8>, &(usize, String)),
    collateral: &Collateral,
    now: u64,
    policy: &Policy,
) -> Result<Accepted, Error> {
    let (log, boundary) = (EventLog::from_json(log)?, Boundary { register: *register, event });
    let (claims, at) = verifier.verify_at(quote, &log, boundary, collateral, now, policy)?;
    let at_boundary = at.registers.get(*register).map(|value| (*register, *value));
    Ok(Accepted { claims, at_boundary })
}

/// TCB statuses by their names.
pub(crate) fn statuses(names: &[String]) -> Result<Vec<TcbStatus>, Failure> {
    names
        .iter()
        .map(|name| name.parse().map_err(|_| Failure::usage(format!("`{name}` is not a TCB status"))))
        .collect()
}
