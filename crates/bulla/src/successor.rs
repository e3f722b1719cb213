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
//! Both identities are SGX enclaves or TDX guests, each of either kind. A guest is a [`Tee`] with a key of its own, which its key
//! provider gives it (`bulla_client::ProviderTee`), and the upgrade names all its registers: [`Upgrade::Guest`].
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
use bulla_tee::tdx::attributes;
use bulla_tee::{
    Evidence, EvidenceKind, Floor, GuestRegisters, Identity, Policy, ReportData, SgxIdentity, TdxIdentity,
    Tee,
};

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

/// Whom the present identity lets in. Debug enclaves and debug guests are in none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Upgrade {
    /// Exactly this enclave, by its MRENCLAVE.
    Measurement([u8; 32]),
    /// The enclaves of one product of a signer, from a version on.
    Signer {
        /// MRSIGNER.
        signer: [u8; 32],
        /// ISVPRODID.
        product: u16,
        /// The lowest ISVSVN.
        min_svn: u16,
    },
    /// Exactly this TDX guest, by all the registers that its sealing key is bound to (R26). A register that is left out would
    /// let in whatever the host puts there.
    Guest(Box<GuestRegisters>),
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

    /// A request of the enclave or guest `tee`, with a new key. Also returns the private key, sealed to exactly this enclave or
    /// guest: [`key`] opens it. A guest that extends a run-time register afterwards is another one from then on.
    ///
    /// # Errors
    /// [`Error::Machine`] where the machine gets no quote, or no key, as a TDX guest without its provider; [`Error::Entropy`].
    pub fn new(tee: &dyn Tee) -> Result<(Self, Vec<u8>), Error> {
        let key = RecipientKey::generate(Kem::XWing)?;
        let data = report_data(key.recipient());
        let evidence = match tee.attest(&data, EvidenceKind::Quote)? {
            Evidence::Simulated(evidence) => *evidence,
            evidence => evidence,
        };
        let (Evidence::SgxQuote(quote) | Evidence::TdxQuote(quote)) = evidence else {
            let (machine, what) = ("a machine without DCAP quotes", "ask to be a successor");
            return Err(bulla_tee::Error::Unsupported { machine, what }.into());
        };
        let secret = Sealer::new(SECRET_CONTEXT)
            .machine(tee, Policy::measurement())
            .prove_origin()
            .seal(key.to_text().expose())?;
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

    /// Refuses a quote that was made for another key, or for anything else. `carried` is its report data. Before somebody looks
    /// at whom a quote shows, and part of [`accept`](Self::accept).
    ///
    /// # Errors
    /// [`Error::RequestForOtherKey`].
    pub fn require_report_data(&self, carried: &[u8; 64]) -> Result<(), Error> {
        if carried == self.report_data().as_bytes() { Ok(()) } else { Err(Error::RequestForOtherKey) }
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
        self.require_report_data(carried)?;
        upgrade.admits(shown)?;
        Ok(&self.recipient)
    }
}

impl Upgrade {
    /// Refuses whom it is not for. `shown` is what *verified* evidence says.
    ///
    /// # Errors
    /// [`Error::OtherSuccessor`] naming the register; [`Error::SuccessorTooOld`].
    pub fn admits(&self, shown: &Identity) -> Result<(), Error> {
        match (self, shown) {
            (Self::Measurement(wanted), Identity::Sgx(shown)) => {
                refuse_debug_enclave(shown)?;
                same("MRENCLAVE", &shown.mrenclave, wanted)
            }
            (Self::Signer { signer, product, min_svn }, Identity::Sgx(shown)) => {
                refuse_debug_enclave(shown)?;
                same("MRSIGNER", &shown.mrsigner, signer)?;
                if shown.isv_prod_id != *product {
                    return Err(other("ISVPRODID", &shown.isv_prod_id.to_string(), &product.to_string()));
                }
                if shown.isv_svn < *min_svn {
                    return Err(Error::SuccessorTooOld { found: shown.isv_svn, wanted: *min_svn });
                }
                Ok(())
            }
            (Self::Guest(wanted), Identity::Tdx(shown)) => {
                refuse_debug_guest(shown)?;
                let found = GuestRegisters::from(shown.as_ref());
                let mut pairs = found.named().into_iter().zip(wanted.named());
                pairs.try_for_each(|((register, found), (_, wanted))| same(register, found, wanted))
            }
            (Self::Measurement(_) | Self::Signer { .. }, _) => {
                Err(other("kind of machine", "not an SGX enclave", "an SGX enclave"))
            }
            (Self::Guest(_), _) => Err(other("kind of machine", "not a TDX guest", "a TDX guest")),
        }
    }
}

/// R23, whatever the caller's verifier let through; so the next one.
fn refuse_debug_enclave(shown: &SgxIdentity) -> Result<(), Error> {
    let found = shown.attributes.flags;
    if found & flags::DEBUG != 0 || found & flags::INIT == 0 {
        return Err(other("ATTRIBUTES", &format!("{found:016x}"), "an enclave without DEBUG"));
    }
    Ok(())
}

fn refuse_debug_guest(shown: &TdxIdentity) -> Result<(), Error> {
    let found = shown.attributes;
    if found & attributes::TUD != 0 {
        return Err(other(
            "ATTRIBUTES",
            &format!("{found:016x}"),
            "a guest without DEBUG or another TUD bit",
        ));
    }
    Ok(())
}

fn same<const N: usize>(register: &'static str, found: &[u8; N], wanted: &[u8; N]) -> Result<(), Error> {
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

/// The private key of a request, which [`Request::new`] sealed to the enclave or guest `tee`.
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

#[cfg(test)]
mod tests {
    use bulla_sim::{EnclaveIdentity, Machine, TdDescription};

    use super::*;

    /// `docs/spec/successor.md`: the key `09` and 31 zero bytes, and a quote of five bytes.
    fn known() -> Request {
        let mut key = [0; 32];
        key[0] = 9;
        Request { recipient: Recipient::from_parts(0x20, &key).unwrap(), quote: b"quote".to_vec() }
    }

    fn enclave(change: impl FnOnce(&mut SgxIdentity)) -> Identity {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::create(folder.path().join("machine")).unwrap();
        let tee = machine.enclave(&EnclaveIdentity::new([1; 32], [2; 32], 3, 4)).unwrap();
        let Identity::Sgx(mut identity) = tee.identity().unwrap() else { panic!("an enclave") };
        change(&mut identity);
        Identity::Sgx(identity)
    }

    fn guest(change: impl FnOnce(&mut TdxIdentity)) -> Identity {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::create(folder.path().join("machine")).unwrap();
        let tee = machine.guest(TdDescription::default_guest()).unwrap();
        let Identity::Tdx(mut identity) = tee.identity().unwrap() else { panic!("a guest") };
        change(&mut identity);
        Identity::Tdx(identity)
    }

    /// The registers that its key is bound to.
    fn bound(guest: &mut TdxIdentity) -> [&mut [u8; 48]; 9] {
        let [rtmr0, rtmr1, rtmr2, rtmr3] = &mut guest.rtmr;
        [
            &mut guest.mrtd,
            rtmr0,
            rtmr1,
            rtmr2,
            rtmr3,
            &mut guest.mrconfigid,
            &mut guest.mrowner,
            &mut guest.mrownerconfig,
            &mut guest.mrservicetd,
        ]
    }

    /// For exactly the guest above.
    fn exactly_the_guest() -> Upgrade {
        let Identity::Tdx(shown) = guest(|_| {}) else { panic!("a guest") };
        Upgrade::Guest(Box::new(GuestRegisters::from(shown.as_ref())))
    }

    fn code(shown: &Identity, upgrade: &Upgrade) -> &'static str {
        let request = known();
        let carried = *request.report_data().as_bytes();
        request.accept(shown, &carried, upgrade).map_or_else(|error| error.code(), |_| "ok")
    }

    /// The formats are frozen.
    #[test]
    fn the_specifications_example() {
        let request = known();
        let expected = "84781a62756c6c612f737563636573736f722d726571756573742f76311820582009000000000000000000000000000000000000000000000000000000000000004571756f7465";
        assert_eq!(hex::encode(request.encode()), expected);
        assert_eq!(Request::decode(&request.encode()).unwrap().quote(), b"quote");
        let report_data = "97fdcbd18311df8a0d6884e49d8dec4149972faace49972b4d413eb52893de8725317a90afda4176d15256ba713e9b051f5b907bde4a73d520c2ad189f1e90a9";
        assert_eq!(hex::encode(request.report_data().as_bytes()), report_data);
    }

    /// R31, R41: only what `encode` writes is read.
    #[test]
    fn other_encodings_are_refused() {
        let good = known().encode();
        let key = good.len() - 6 - 32;
        let edited = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let longer_kem = [&good[..key - 4], &[0x19, 0, 0x20], &good[key - 2..]].concat();
        for bytes in [
            good[..good.len() - 1].to_vec(),
            [&good[..], &[0]].concat(),
            longer_kem,
            edited(0, 0x85),
            edited(10, b'X'),
            edited(key - 3, 0x21),
            edited(key, 1),         // of low order
            edited(key + 31, 0x80), // not canonical
            vec![0x84; Request::LIMIT + 1],
            Vec::new(),
        ] {
            assert_eq!(Request::decode(&bytes).unwrap_err().code(), "successor.malformed", "{bytes:02x?}");
        }
    }

    /// R79: whom an upgrade is for, register by register.
    #[test]
    fn r79_only_whom_the_upgrade_names_is_admitted() {
        let exactly = Upgrade::Measurement([1; 32]);
        let family = Upgrade::Signer { signer: [2; 32], product: 3, min_svn: 4 };
        assert_eq!((code(&enclave(|_| {}), &exactly), code(&enclave(|_| {}), &family)), ("ok", "ok"));
        let later = enclave(|shown| (shown.mrenclave, shown.isv_svn) = ([9; 32], 5));
        assert_eq!((code(&later, &exactly), code(&later, &family)), ("successor.other_identity", "ok"));
        let resigned = enclave(|shown| shown.mrsigner = [9; 32]);
        assert_eq!((code(&resigned, &exactly), code(&resigned, &family)), ("ok", "successor.other_identity"));
        let product = enclave(|shown| shown.isv_prod_id = 4);
        assert_eq!(code(&product, &family), "successor.other_identity");
        let earlier = enclave(|shown| shown.isv_svn = 3);
        assert_eq!(code(&earlier, &family), "successor.too_old");
    }

    /// R23, R79: whatever the verifier let through.
    #[test]
    fn r23_a_debug_enclave_is_never_admitted() {
        for upgrade in
            [Upgrade::Measurement([1; 32]), Upgrade::Signer { signer: [2; 32], product: 3, min_svn: 4 }]
        {
            let debug = enclave(|shown| shown.attributes.flags |= flags::DEBUG);
            assert_eq!(code(&debug, &upgrade), "successor.other_identity");
            let unborn = enclave(|shown| shown.attributes.flags &= !flags::INIT);
            assert_eq!(code(&unborn, &upgrade), "successor.other_identity");
        }
    }

    /// R26, R79: all nine registers, each bit of them.
    #[test]
    fn r26_a_guest_is_admitted_by_every_bound_register() {
        let upgrade = exactly_the_guest();
        assert_eq!(code(&guest(|_| {}), &upgrade), "ok");
        let names = [
            "MRTD",
            "RTMR0",
            "RTMR1",
            "RTMR2",
            "RTMR3",
            "MRCONFIGID",
            "MROWNER",
            "MROWNERCONFIG",
            "MRSERVICETD",
        ];
        let request = known();
        let carried = *request.report_data().as_bytes();
        for (index, name) in names.iter().enumerate() {
            for at in [0, 47] {
                let other = guest(|guest| bound(guest)[index][at] ^= 0x10);
                let refused = request.accept(&other, &carried, &upgrade).unwrap_err();
                assert_eq!(refused.code(), "successor.other_identity");
                assert!(refused.to_string().contains(&format!("its {name} is")), "{refused}");
            }
        }
        // An update of the TDX module makes no other guest.
        let updated = guest(|guest| (guest.mrseam, guest.tee_tcb_svn) = ([9; 48], [9; 16]));
        assert_eq!(code(&updated, &upgrade), "ok");
    }

    /// R23, R79: DEBUG and the other bits of its group.
    #[test]
    fn r23_a_debug_guest_is_never_admitted() {
        let upgrade = exactly_the_guest();
        for bit in 0..8 {
            let debug = guest(|guest| guest.attributes |= 1 << bit);
            assert_eq!(code(&debug, &upgrade), "successor.other_identity", "{bit}");
        }
    }

    /// An upgrade is for one kind of machine, and a machine is of one kind.
    #[test]
    fn an_enclave_is_no_guest_and_a_guest_no_enclave() {
        let family = Upgrade::Signer { signer: [2; 32], product: 3, min_svn: 0 };
        for upgrade in [Upgrade::Measurement([1; 32]), family] {
            assert_eq!(code(&guest(|_| {}), &upgrade), "successor.other_identity");
        }
        assert_eq!(code(&enclave(|_| {}), &exactly_the_guest()), "successor.other_identity");
    }

    /// A guest without its provider has no key to keep a secret with.
    #[test]
    fn a_guest_without_a_key_asks_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::create(folder.path().join("machine")).unwrap();
        let refused = Request::new(&machine.guest(TdDescription::default_guest()).unwrap()).unwrap_err();
        assert_eq!(refused.code(), "machine.unsupported");
    }

    /// R79: a quote is for one key and for one role.
    #[test]
    fn r79_evidence_for_another_key_is_refused() {
        let request = known();
        let other = RecipientKey::generate(Kem::X25519).unwrap();
        let enclave = (enclave(|_| {}), Upgrade::Measurement([1; 32]));
        let guest = (guest(|_| {}), exactly_the_guest());
        for carried in [
            report_data(other.recipient()),
            RoleHash::new(
                bulla_crypto::Role::GuestRequest,
                &[("kem", &[0, 0x20]), ("public key", request.recipient.key().as_bytes())],
            ),
        ] {
            for (shown, upgrade) in [&enclave, &guest] {
                let refused = request.accept(shown, carried.as_bytes(), upgrade);
                assert_eq!(refused.unwrap_err().code(), "successor.other_key");
            }
            assert_eq!(
                request.require_report_data(carried.as_bytes()).unwrap_err().code(),
                "successor.other_key"
            );
        }
    }
}
