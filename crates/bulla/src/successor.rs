//! Handing envelopes over to the next identity, which proves itself before it is let in (R78, R79).
//!
//! A slot of a machine is made by the identity that it is for, so the present one cannot make the next one's. Instead:
//! 1. The next identity makes a one-time key, seals the private half to itself, and writes a [`Request`]: the public half, and
//!    a quote over it.
//! 2. The present one has the quote verified, compares what it shows with an [`Upgrade`], and adds a temporary slot for the
//!    key with [`Rewrap::successor`]. Old and new identity both open the envelope then.
//! 3. The next one opens it with the private half, makes a slot of its own, sees that this opens, and drops the temporary
//!    slot: [`Adopt`].
//!
//! Nothing secret travels, and whatever stops in between leaves an envelope that the present identity opens as before.
//! The format of a request is in `docs/spec/successor.md`.
//!
//! ```
//! use bulla::successor::{Adopt, Request, Upgrade};
//! use bulla::{Rewrap, Unsealer};
//! # use bulla_tee::Tee;
//! # let dir = tempfile::tempdir()?;
//! # let machine = bulla_sim::Machine::create(dir.path())?;
//! # let enclave = |measurement| machine.enclave(&bulla_sim::EnclaveIdentity::new([measurement; 32], [7; 32], 1, 1));
//! # let (present, next) = (enclave(1)?, enclave(2)?);
//! # let path = dir.path().join("wallet.bulla");
//! # bulla::file::replace(&path, |file| bulla::seal_stream(&present, "wallet", &b"horse"[..], file))?;
//!
//! // The next identity.
//! let (request, secret) = Request::new(&next)?;
//! let sent = request.encode();
//!
//! // The present one, once `bulla_attest::Verifier` has accepted `request.quote()`: what its claims say.
//! let request = Request::decode(&sent)?;
//! # let (identity, report_data) = (next.identity()?, *request.report_data().as_bytes());
//! let recipient = request.accept(&identity, &report_data, &Upgrade::Measurement([2; 32]))?;
//! let unsealer = Unsealer::new("wallet").machine(&present);
//! Rewrap::new().successor(recipient).file(&unsealer, &path)?;
//!
//! // The next one.
//! let key = bulla::successor::key(&next, &secret)?;
//! Adopt::new("wallet", &next, &key).file(&path)?;
//! assert_eq!(bulla::unseal(&next, "wallet", &std::fs::read(&path)?)?.expose(), b"horse");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;

use minicbor::{Decode, Encode};

use bulla_crypto::{Kem, RoleHash};
use bulla_tee::sgx::arch::flags;
use bulla_tee::{Evidence, EvidenceKind, Floor, Identity, Policy, ReportData, SgxIdentity, Tee};

use crate::journal::Changed;
use crate::{Error, Header, Recipient, RecipientKey, Rewrap, Sealer, Unsealer, file};

/// Of the envelope that keeps the private key for the next identity.
const SECRET_CONTEXT: &str = "bulla/successor";
const REQUEST_LABEL: &str = "bulla/successor-request/v1";

/// What the next identity shows: a one-time public key, and a quote that was made for it.
///
/// The key is given out by [`accept`](Self::accept) only.
#[derive(Clone, Debug)]
pub struct Request {
    recipient: Recipient,
    quote: Vec<u8>,
}

/// Whom the present identity lets in. Debug enclaves are in none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Upgrade {
    /// Exactly this program, by its MRENCLAVE.
    Measurement([u8; 32]),
    /// The programs of one product of a signer, from a version on.
    Signer {
        /// MRSIGNER.
        signer: [u8; 32],
        /// ISVPRODID.
        product: u16,
        /// The lowest ISVSVN.
        min_svn: u16,
    },
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct RequestCbor<'a> {
    #[b(0)]
    label: &'a str,
    #[n(1)]
    kem: u16,
    #[cbor(b(2), with = "minicbor::bytes")]
    public_key: &'a [u8],
    #[cbor(b(3), with = "minicbor::bytes")]
    quote: &'a [u8],
}

impl Request {
    /// The largest encoding, in bytes: a quote of 32 KiB fits.
    pub const LIMIT: usize = 40 * 1024;

    /// A request of the enclave `tee`, with a new key. Also returns the private key, sealed to exactly this enclave: [`key`]
    /// opens it.
    ///
    /// # Errors
    /// [`Error::Machine`] where the machine is no enclave or gets no quote; [`Error::Entropy`].
    pub fn new(tee: &dyn Tee) -> Result<(Self, Vec<u8>), Error> {
        let key = RecipientKey::generate(Kem::XWing)?;
        let data = report_data(key.recipient());
        let evidence = match tee.attest(&data, EvidenceKind::Quote)? {
            Evidence::Simulated(evidence) => *evidence,
            evidence => evidence,
        };
        let Evidence::SgxQuote(quote) = evidence else {
            let (machine, what) = ("a machine that is no SGX enclave", "ask to be a successor");
            return Err(bulla_tee::Error::Unsupported { machine, what }.into());
        };
        let secret =
            Sealer::new(SECRET_CONTEXT).machine(tee, Policy::measurement()).seal(key.to_text().expose())?;
        Ok((Self { recipient: key.recipient().clone(), quote }, secret))
    }

    /// The encoding that the present identity gets.
    pub fn encode(&self) -> Vec<u8> {
        let cbor = RequestCbor {
            label: REQUEST_LABEL,
            kem: self.recipient.kem().id(),
            public_key: self.recipient.key().as_bytes(),
            quote: &self.quote,
        };
        minicbor::to_vec(cbor).expect("writing to memory does not fail")
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// [`Error::BadRequest`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > Self::LIMIT {
            return Err(Error::BadRequest("it is longer than one can be"));
        }
        let cbor: RequestCbor<'_> =
            minicbor::decode(bytes).map_err(|_| Error::BadRequest("it is not the CBOR of one"))?;
        if cbor.label != REQUEST_LABEL {
            return Err(Error::BadRequest("it has another label"));
        }
        let recipient = Recipient::from_parts(cbor.kem, cbor.public_key)
            .map_err(|_| Error::BadRequest("its key is no public key"))?;
        let request = Self { recipient, quote: cbor.quote.to_vec() };
        if request.encode() != bytes {
            return Err(Error::BadRequest("it is not in its canonical encoding"));
        }
        Ok(request)
    }

    /// The quote, to be verified before anything else.
    pub fn quote(&self) -> &[u8] {
        &self.quote
    }

    /// What the quote has to carry.
    pub fn report_data(&self) -> ReportData {
        report_data(&self.recipient)
    }

    /// The recipient to make a slot for, if the quote was made for it and shows whom the upgrade is for. `shown` and `carried`
    /// are what the *verified* quote says: who runs, and its report data.
    ///
    /// The quote says that such a program asked at some time, on some genuine machine, and not that it does so now: it
    /// carries nothing that was chosen here. Whoever replays it lets in the same program with the same key again.
    ///
    /// # Errors
    /// [`Error::RequestForOtherKey`]; [`Error::OtherSuccessor`] naming the register; [`Error::SuccessorTooOld`].
    pub fn accept(
        &self,
        shown: &Identity,
        carried: &[u8; 64],
        upgrade: &Upgrade,
    ) -> Result<&Recipient, Error> {
        if carried != self.report_data().as_bytes() {
            return Err(Error::RequestForOtherKey);
        }
        let Identity::Sgx(shown) = shown else {
            return Err(other("kind of machine", "not an SGX enclave", "an SGX enclave"));
        };
        upgrade.admits(shown)?;
        Ok(&self.recipient)
    }
}

impl Upgrade {
    fn admits(&self, shown: &SgxIdentity) -> Result<(), Error> {
        let found = shown.attributes.flags;
        if found & flags::DEBUG != 0 || found & flags::INIT == 0 {
            return Err(other("ATTRIBUTES", &format!("{found:016x}"), "an enclave without DEBUG"));
        }
        match self {
            Self::Measurement(wanted) => same("MRENCLAVE", &shown.mrenclave, wanted),
            Self::Signer { signer, product, min_svn } => {
                same("MRSIGNER", &shown.mrsigner, signer)?;
                if shown.isv_prod_id != *product {
                    return Err(other("ISVPRODID", &shown.isv_prod_id.to_string(), &product.to_string()));
                }
                if shown.isv_svn < *min_svn {
                    return Err(Error::SuccessorTooOld { found: shown.isv_svn, wanted: *min_svn });
                }
                Ok(())
            }
        }
    }
}

fn same(register: &'static str, found: &[u8; 32], wanted: &[u8; 32]) -> Result<(), Error> {
    if found == wanted {
        return Ok(());
    }
    Err(other(register, &hex::encode(found), &hex::encode(wanted)))
}

fn other(register: &'static str, found: &str, wanted: &str) -> Error {
    Error::OtherSuccessor { register, found: found.to_owned(), wanted: wanted.to_owned() }
}

fn report_data(recipient: &Recipient) -> ReportData {
    let kem = recipient.kem().id().to_be_bytes();
    RoleHash::new(bulla_crypto::Role::Successor, &[("kem", &kem), ("public key", recipient.key().as_bytes())])
}

/// The private key of a request, which [`Request::new`] sealed to the enclave `tee`.
///
/// # Errors
/// Those of [`Unsealer::unseal_stream`]; [`Error::BadKey`].
pub fn key(tee: &dyn Tee, secret: &[u8]) -> Result<RecipientKey, Error> {
    let (text, _) = Unsealer::new(SECRET_CONTEXT).machine(tee).require_origin().unseal(secret)?;
    let not_text = Error::BadKey { what: "recipient's private key", why: "it is no text" };
    RecipientKey::from_text(str::from_utf8(text.expose()).map_err(|_| not_text)?)
}

/// Takes an envelope over, as the identity that was let in. The example is [above](self).
#[must_use]
pub struct Adopt<'a> {
    context: String,
    tee: &'a dyn Tee,
    key: &'a RecipientKey,
    policy: Policy,
    floor: Option<&'a Floor>,
    vouch: bool,
}

impl<'a> Adopt<'a> {
    /// Of an envelope of `context`, for the machine `tee`, with the private key of its request.
    pub fn new(context: &str, tee: &'a dyn Tee, key: &'a RecipientKey) -> Self {
        let (policy, floor, vouch) = (Policy::default(), None, false);
        Self { context: context.to_owned(), tee, key, policy, floor, vouch }
    }

    /// What the new slot is bound to; the measurement, if not set.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Refuses to write what is below a floor (R6).
    pub fn floor(mut self, floor: &'a Floor) -> Self {
        self.floor = Some(floor);
        self
    }

    /// As [`Rewrap::vouch`]: this identity says from now on that it wrote the envelope, which it cannot check.
    pub fn vouch(mut self) -> Self {
        self.vouch = true;
        self
    }

    /// Adds a slot for this machine, and drops the temporary ones only after an opening by the new slot (R78). Slots of
    /// earlier identities stay: drop them once those are retired. Doing it again after a crash finishes what was begun.
    ///
    /// # Errors
    /// As [`Rewrap::file`]. Then the envelope opens as before, or also by the new slot.
    pub fn file(&self, path: &Path) -> Result<Changed<Header>, Error> {
        let by_machine = Unsealer::new(&self.context).machine(self.tee);
        if !opens(&by_machine, path) {
            let mut add = self.rewrap().machine(self.tee, self.policy.clone());
            if self.vouch {
                add = add.vouch();
            }
            add.file(&Unsealer::new(&self.context).key(self.key), path)?;
        }
        self.rewrap().drop_successors().file(&by_machine, path)
    }

    fn rewrap(&self) -> Rewrap<'a> {
        match self.floor {
            Some(floor) => Rewrap::new().floor(floor),
            None => Rewrap::new(),
        }
    }
}

/// Whether this machine opens it already. Whatever else is wrong with the file shows when it is changed.
fn opens(by_machine: &Unsealer<'_>, path: &Path) -> bool {
    file::open_sealed(path, u64::MAX).is_ok_and(|mut envelope| by_machine.unlock(&mut envelope).is_ok())
}
