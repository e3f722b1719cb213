//! Threshold slots: `k` of `n` holders open together.

use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use bulla_crypto::{Info, Secret, SecretBytes, SystemRandom, sha256, sharing};

use crate::header::{Fixed, Header};
use crate::recipient::{Recipient, RecipientKey, encapsulate};
use crate::wrapped::{WRAPPED_LEN, unwrap, wrap};
use crate::{Error, Opener};

const LABEL: &str = "bulla/envelope/share/v1";
const MAX_SHARES: usize = 16;
const SHARE_LEN: usize = 32;
const SHARE_PREFIX: &str = "bulla-share-1:";

/// The opener of a slot for `k` of `n` recipients.
#[derive(Clone, Debug)]
pub struct ThresholdOpener {
    threshold: u8,
    shares: Vec<EncryptedShare>,
}

#[derive(Clone, Debug)]
struct EncryptedShare {
    recipient: Recipient,
    encapsulated: Vec<u8>,
    ciphertext: [u8; WRAPPED_LEN],
    commitment: [u8; 32],
}

/// One holder's part of what opens a threshold slot. Too few of them say nothing; enough of them open the envelope.
///
/// A holder takes it out of the envelope with [`Share::take`] and gives it to whoever recovers. It is a secret (R96):
///
/// ```compile_fail
/// fn printed(share: bulla::Share) {
///     println!("{share:?}");
/// }
/// ```
/// ```compile_fail
/// fn copied(share: &bulla::Share) -> bulla::Share {
///     share.clone()
/// }
/// ```
pub struct Share {
    /// The salt of the slot that it is for.
    slot: [u8; 32],
    /// From 1.
    index: u8,
    value: Secret<SHARE_LEN>,
}

impl Share {
    /// The share that `header` holds for the owner of `key`.
    ///
    /// # Errors
    /// [`Error::NoOpener`] if it holds none; [`Error::HeaderChanged`] if it was changed since.
    pub fn take(header: &Header, key: &RecipientKey) -> Result<Self, Error> {
        let mut slots = header.slots().iter();
        slots
            .find_map(|slot| match slot.opener() {
                Opener::Threshold(opener) => opener.own_share(key, slot.salt(), header.fixed()),
                _ => None,
            })
            .unwrap_or_else(|| Err(Error::no_opener(header)))
    }

    /// Which share of the slot it is, from 1.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// The salt of the slot that it is for.
    pub fn slot(&self) -> &[u8; 32] {
        &self.slot
    }

    /// The text form: one line without its end, of slot, index and share in hexadecimal.
    pub fn to_text(&self) -> SecretBytes {
        let mut bytes = Zeroizing::new([0; 65]);
        let (slot, rest) = bytes.split_at_mut(32);
        slot.copy_from_slice(&self.slot);
        if let Some((index, value)) = rest.split_first_mut() {
            *index = self.index;
            value.copy_from_slice(self.value.expose());
        }
        let mut text = Vec::with_capacity(SHARE_PREFIX.len() + 2 * bytes.len());
        text.extend_from_slice(SHARE_PREFIX.as_bytes());
        text.resize(SHARE_PREFIX.len() + 2 * bytes.len(), 0);
        if let Some(digits) = text.get_mut(SHARE_PREFIX.len()..) {
            hex::encode_to_slice(bytes.as_slice(), digits).expect("there is room for two digits a byte");
        }
        SecretBytes::new(text)
    }

    /// Reads the text form. Blank space around it is passed over.
    ///
    /// # Errors
    /// [`Error::BadKey`]; the text itself is not in it. Whether it is the share that was made shows when it is used.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let bad = || Error::BadKey { what: "share", why: "it is cut or mistyped" };
        let mut bytes = Zeroizing::new([0; 65]);
        let read =
            text.trim().strip_prefix(SHARE_PREFIX).map(|digits| hex::decode_to_slice(digits, &mut *bytes));
        if !matches!(read, Some(Ok(()))) {
            return Err(bad());
        }
        let Some((slot, [index, value @ ..])) = bytes.split_first_chunk() else { return Err(bad()) };
        Ok(Self { slot: *slot, index: *index, value: Secret::try_from(value).map_err(|_| bad())? })
    }
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct ThresholdCbor<'a> {
    #[n(0)]
    threshold: u8,
    #[b(1)]
    shares: Vec<ShareCbor<'a>>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct ShareCbor<'a> {
    #[n(0)]
    kem: u16,
    #[cbor(b(1), with = "minicbor::bytes")]
    public_key: &'a [u8],
    #[cbor(b(2), with = "minicbor::bytes")]
    encapsulated: &'a [u8],
    #[cbor(n(3), with = "minicbor::bytes")]
    ciphertext: [u8; WRAPPED_LEN],
    #[cbor(n(4), with = "minicbor::bytes")]
    commitment: [u8; 32],
}

impl ThresholdOpener {
    pub(crate) const KIND: &'static str = "threshold";

    /// How many shares open it.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// The holders, in the order of their shares.
    pub fn recipients(&self) -> impl ExactSizeIterator<Item = &Recipient> {
        self.shares.iter().map(|share| &share.recipient)
    }

    /// An opener for `threshold` of `recipients`, and its key. `salt` is that of the slot.
    pub(crate) fn make(
        threshold: u8,
        recipients: &[Recipient],
        salt: &[u8; 32],
        fixed: &Fixed,
    ) -> Result<(Self, Secret<32>), Error> {
        let count = check_shape(threshold, recipients.iter()).map_err(Error::Invalid)?;
        let key = SystemRandom.secret()?;
        let values = sharing::split(&key, threshold, count).map_err(|error| match error {
            sharing::SharingError::Entropy(failure) => failure.into(),
            _ => Error::Invalid(SHAPE),
        })?;
        let shares = recipients.iter().zip(&values).zip(1..).map(|((recipient, value), index)| {
            let place = Place { threshold, count, index };
            let (encapsulated, share_key) = encapsulate(recipient, &place.info(fixed), LABEL)?;
            let ciphertext = wrap(value, &share_key);
            let commitment = commitment(value, index, salt, fixed);
            Ok(EncryptedShare { recipient: recipient.clone(), encapsulated, ciphertext, commitment })
        });
        let shares = shares.collect::<Result<_, Error>>()?;
        Ok((Self { threshold, shares }, key))
    }

    /// The share of the holder of `key`; `None` if the slot has none for it.
    pub(crate) fn own_share(
        &self,
        key: &RecipientKey,
        salt: &[u8; 32],
        fixed: &Fixed,
    ) -> Option<Result<Share, Error>> {
        let (share, index) =
            self.shares.iter().zip(1..).find(|(share, _)| share.recipient == *key.recipient())?;
        let place = Place { threshold: self.threshold, count: self.count(), index };
        Some(share.decrypt(key, &place, fixed).map(|value| Share { slot: *salt, index, value }))
    }

    /// The key of the slot, out of shares of which each is checked against what was recorded when sealing: a wrong one is named,
    /// unless there are enough others.
    pub(crate) fn key(&self, shares: &[&Share], salt: &[u8; 32], fixed: &Fixed) -> Result<Secret<32>, Error> {
        let mut good: Vec<(u8, &Secret<SHARE_LEN>)> = Vec::new();
        let mut wrong = None;
        for share in shares.iter().filter(|share| share.slot == *salt) {
            if good.iter().any(|(index, _)| *index == share.index) {
                continue;
            }
            let recorded = share.index.checked_sub(1).and_then(|place| self.shares.get(usize::from(place)));
            let made = commitment(&share.value, share.index, salt, fixed);
            match recorded {
                Some(recorded) if recorded.commitment == made => good.push((share.index, &share.value)),
                _ => wrong = Some(share.index),
            }
        }
        let have = u8::try_from(good.len()).unwrap_or(u8::MAX);
        if have < self.threshold {
            return Err(match wrong {
                Some(index) => Error::ShareWrong { index },
                None => Error::SharesMissing { have, need: self.threshold },
            });
        }
        good.truncate(usize::from(self.threshold));
        sharing::combine(&good).map_err(|_| Error::HeaderChanged)
    }

    fn count(&self) -> u8 {
        u8::try_from(self.shares.len()).unwrap_or(u8::MAX)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let shares = self.shares.iter().map(|share| ShareCbor {
            kem: share.recipient.kem().id(),
            public_key: share.recipient.key().as_bytes(),
            encapsulated: &share.encapsulated,
            ciphertext: share.ciphertext,
            commitment: share.commitment,
        });
        let cbor = ThresholdCbor { threshold: self.threshold, shares: shares.collect() };
        minicbor::to_vec(cbor).expect("writing to memory does not fail")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let cbor: ThresholdCbor<'_> = minicbor::decode(bytes)
            .map_err(|_| Error::Malformed("a threshold slot is not the CBOR of one"))?;
        let shares = cbor.shares.iter().map(EncryptedShare::from_cbor).collect::<Result<Vec<_>, _>>()?;
        check_shape(cbor.threshold, shares.iter().map(|share| &share.recipient)).map_err(Error::Malformed)?;
        let opener = Self { threshold: cbor.threshold, shares };
        if opener.encode() != bytes {
            return Err(Error::Malformed("a threshold slot is not in its canonical encoding"));
        }
        Ok(opener)
    }
}

impl EncryptedShare {
    fn from_cbor(cbor: &ShareCbor<'_>) -> Result<Self, Error> {
        let recipient = Recipient::from_parts(cbor.kem, cbor.public_key)?;
        if cbor.encapsulated.len() != recipient.kem().encapsulated_key_len() {
            return Err(Error::Malformed("a threshold slot has an encapsulated key of another length"));
        }
        let (ciphertext, commitment) = (cbor.ciphertext, cbor.commitment);
        Ok(Self { recipient, encapsulated: cbor.encapsulated.to_vec(), ciphertext, commitment })
    }

    fn decrypt(&self, key: &RecipientKey, place: &Place, fixed: &Fixed) -> Result<Secret<SHARE_LEN>, Error> {
        let wrong = || Error::ShareWrong { index: place.index };
        let share_key = key.export(&place.info(fixed), &self.encapsulated, LABEL).map_err(|_| wrong())?;
        unwrap(&self.ciphertext, &share_key).map_err(|_| wrong())
    }
}

/// Which share of how many.
struct Place {
    threshold: u8,
    count: u8,
    index: u8,
}

impl Place {
    fn info(&self, fixed: &Fixed) -> Info {
        Info::new(LABEL)
            .part("envelope id", &fixed.envelope_id)
            .part("context hash", &sha256(&[fixed.context.as_bytes()]))
            .part("threshold", &[self.threshold])
            .part("shares", &[self.count])
            .part("index", &[self.index])
    }
}

const SHAPE: &str = "a threshold slot is for 2 to 16 different recipients, of whom 2 to all have to agree";

/// How many recipients there are, if they and the threshold make sense.
fn check_shape<'a>(
    threshold: u8,
    recipients: impl ExactSizeIterator<Item = &'a Recipient> + Clone,
) -> Result<u8, &'static str> {
    let count = u8::try_from(recipients.len()).map_err(|_| SHAPE)?;
    let twice =
        recipients.clone().enumerate().any(|(at, one)| recipients.clone().take(at).any(|other| other == one));
    if twice || usize::from(count) > MAX_SHARES || threshold < 2 || threshold > count {
        return Err(SHAPE);
    }
    Ok(count)
}

/// Tells the share that was made from any other, and nothing about it: a share is 32 random bytes.
fn commitment(value: &Secret<SHARE_LEN>, index: u8, salt: &[u8; 32], fixed: &Fixed) -> [u8; 32] {
    let info = Info::new("bulla/envelope/share-commitment/v1")
        .part("envelope id", &fixed.envelope_id)
        .part("salt", salt)
        .part("index", &[index]);
    // The last part goes straight into the hash, so that no copy of the share is left behind.
    let (name, value) = (b"share", value.expose());
    let lengths = [name.len(), value.len()].map(|length| (length as u32).to_be_bytes());
    let [name_len, value_len] = &lengths;
    sha256(&[info.as_bytes(), name_len, name, value_len, value])
}
