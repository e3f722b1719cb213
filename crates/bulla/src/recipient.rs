//! Recipients: holders of a private key, for recovery and for the next identity.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use bulla_crypto::{HpkePrivateKey, HpkePublicKey, Info, Kem, Secret, SecretBytes, sha256};

use crate::Error;
use crate::header::Fixed;

const LABEL: &str = "bulla/envelope/recipient/v1";
const PUBLIC_PREFIX: &str = "bulla-recipient-1:";
const PRIVATE_PREFIX: &str = "bulla-recipient-key-1:";
const CHECKSUM_LEN: usize = 4;
/// Characters of a key's text, prefix included; the longest is an X-Wing public key's.
const MAX_TEXT: usize = 2048;

/// The public key of a recipient: whoever holds the private one opens the slots made for it.
///
/// Its text form is one line, and so is that of the private key:
///
/// ```
/// use bulla::{Recipient, RecipientKey};
///
/// let key = RecipientKey::generate(bulla::Kem::XWing)?;
/// let text = key.recipient().to_string();
/// assert_eq!(text.parse::<Recipient>()?, *key.recipient());
/// # Ok::<(), bulla::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient(HpkePublicKey);

/// The private key of a recipient. It opens what was sealed to it on any machine, so it belongs on none: keep it offline.
///
/// Like every secret here it is wiped when dropped, and is not printed or copied (R96):
///
/// ```compile_fail
/// # let key = bulla::RecipientKey::generate(bulla::Kem::X25519).unwrap();
/// println!("{key:?}");
/// ```
/// ```compile_fail
/// # let key = bulla::RecipientKey::generate(bulla::Kem::X25519).unwrap();
/// let copy = key.clone();
/// ```
pub struct RecipientKey {
    private: HpkePrivateKey,
    recipient: Recipient,
}

/// Why a slot for a recipient was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// To open the envelope when no machine can.
    Recovery,
    /// To hand the envelope over to the next identity; dropped once that has its own slot.
    Successor,
}

impl Role {
    fn id(self) -> u8 {
        match self {
            Self::Recovery => 0,
            Self::Successor => 1,
        }
    }

    fn from_id(id: u8) -> Option<Self> {
        [Self::Recovery, Self::Successor].into_iter().find(|role| role.id() == id)
    }
}

impl Recipient {
    /// How secrets are encrypted to it.
    pub fn kem(&self) -> Kem {
        self.0.kem()
    }

    /// SHA-256 of the public key, to tell recipients apart.
    pub fn id(&self) -> [u8; 32] {
        self.0.id()
    }

    pub(crate) fn key(&self) -> &HpkePublicKey {
        &self.0
    }

    /// A public key as it stands in an opener.
    pub(crate) fn from_parts(kem: u16, bytes: &[u8]) -> Result<Self, Error> {
        let kem = Kem::from_id(kem).ok_or(Error::Malformed("a slot is for an unknown kind of key"))?;
        HpkePublicKey::from_bytes(kem, bytes)
            .map(Self)
            .map_err(|_| Error::Malformed("a slot is for something that is no public key"))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_text(PUBLIC_PREFIX, self.kem(), self.0.as_bytes()))
    }
}

impl FromStr for Recipient {
    type Err = Error;

    /// Reads the text form. Blank lines and lines that begin with `#` are passed over.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::BadKey { what: "recipient's public key", why };
        let (kem, bytes) = from_text(PUBLIC_PREFIX, text).map_err(bad)?;
        let key = HpkePublicKey::from_bytes(kem, &bytes)
            .map_err(|_| bad("its key is of low order or not canonical"))?;
        Ok(Self(key))
    }
}

impl RecipientKey {
    /// A new key.
    ///
    /// # Errors
    /// [`Error::Entropy`].
    pub fn generate(kem: Kem) -> Result<Self, Error> {
        let private = HpkePrivateKey::generate(kem).map_err(|_| bulla_crypto::EntropyFailure)?;
        Ok(Self::of(private))
    }

    /// The public half.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The text form, one line without its end.
    pub fn to_text(&self) -> SecretBytes {
        let text = to_text(PRIVATE_PREFIX, self.recipient.kem(), self.private.seed().expose());
        SecretBytes::new(text.into_bytes())
    }

    /// Reads the text form. Blank lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`Error::BadKey`]; the text itself is not in it.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::BadKey { what: "recipient's private key", why };
        let (kem, bytes) = from_text(PRIVATE_PREFIX, text).map_err(bad)?;
        let seed = Secret::try_from(bytes.as_slice()).map_err(|_| bad("its key has another length"))?;
        Ok(Self::of(HpkePrivateKey::from_seed(kem, seed)))
    }

    fn of(private: HpkePrivateKey) -> Self {
        let recipient = Recipient(private.public_key().clone());
        Self { private, recipient }
    }

    pub(crate) fn export(&self, info: &Info, encapsulated: &[u8], label: &str) -> Result<Secret<32>, Error> {
        self.private.export(info, encapsulated, label.as_bytes()).map_err(|_| Error::HeaderChanged)
    }
}

fn to_text(prefix: &str, kem: Kem, key: &[u8]) -> String {
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 + key.len() + CHECKSUM_LEN));
    bytes.extend_from_slice(&kem.id().to_be_bytes());
    bytes.extend_from_slice(key);
    let checksum = sha256(&[prefix.as_bytes(), &bytes]);
    bytes.extend(checksum.iter().take(CHECKSUM_LEN));
    let mut text = String::with_capacity(MAX_TEXT);
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(&*bytes, &mut text);
    text
}

fn from_text(prefix: &str, text: &str) -> Result<(Kem, Zeroizing<Vec<u8>>), &'static str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next().filter(|line| line.len() <= MAX_TEXT).ok_or("it is empty or too long")?;
    if lines.next().is_some() {
        return Err("it has more than one line");
    }
    let encoded = line.strip_prefix(prefix).ok_or("it does not begin as one")?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TEXT));
    URL_SAFE_NO_PAD.decode_vec(encoded, &mut bytes).map_err(|_| "it is cut or mistyped")?;
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or("it is cut or mistyped")?;
    if !sha256(&[prefix.as_bytes(), content]).starts_with(checksum) {
        return Err("it is cut or mistyped");
    }
    let (kem, key) = content.split_first_chunk().ok_or("it is cut or mistyped")?;
    let kem =
        Kem::from_id(u16::from_be_bytes(*kem)).ok_or("it is of a kind that this program does not know")?;
    Ok((kem, Zeroizing::new(key.to_vec())))
}

/// The opener of a slot for one recipient.
#[derive(Clone, Debug)]
pub struct RecipientOpener {
    recipient: Recipient,
    encapsulated: Vec<u8>,
    role: Role,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct RecipientCbor<'a> {
    #[n(0)]
    kem: u16,
    #[cbor(b(1), with = "minicbor::bytes")]
    public_key: &'a [u8],
    #[cbor(b(2), with = "minicbor::bytes")]
    encapsulated: &'a [u8],
    #[n(3)]
    role: u8,
}

impl RecipientOpener {
    pub(crate) const KIND: &'static str = "recipient";

    /// For whom it is.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// Why it was made.
    pub fn role(&self) -> Role {
        self.role
    }

    /// An opener for `recipient`, and its key.
    pub(crate) fn make(
        recipient: &Recipient,
        role: Role,
        fixed: &Fixed,
    ) -> Result<(Self, Secret<32>), Error> {
        let (encapsulated, key) = encapsulate(recipient, &info(role, fixed), LABEL)?;
        Ok((Self { recipient: recipient.clone(), encapsulated, role }, key))
    }

    /// Its key, for the holder of the private key.
    pub(crate) fn key(&self, key: &RecipientKey, fixed: &Fixed) -> Result<Secret<32>, Error> {
        key.export(&info(self.role, fixed), &self.encapsulated, LABEL)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let cbor = RecipientCbor {
            kem: self.recipient.kem().id(),
            public_key: self.recipient.key().as_bytes(),
            encapsulated: &self.encapsulated,
            role: self.role.id(),
        };
        minicbor::to_vec(cbor).expect("writing to memory does not fail")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let cbor: RecipientCbor<'_> = minicbor::decode(bytes)
            .map_err(|_| Error::Malformed("a recipient slot is not the CBOR of one"))?;
        let recipient = Recipient::from_parts(cbor.kem, cbor.public_key)?;
        let role =
            Role::from_id(cbor.role).ok_or(Error::Malformed("a recipient slot has an unknown role"))?;
        if cbor.encapsulated.len() != recipient.kem().encapsulated_key_len() {
            return Err(Error::Malformed("a recipient slot has an encapsulated key of another length"));
        }
        let opener = Self { recipient, encapsulated: cbor.encapsulated.to_vec(), role };
        if opener.encode() != bytes {
            return Err(Error::Malformed("a recipient slot is not in its canonical encoding"));
        }
        Ok(opener)
    }
}

/// A fresh encapsulation to `recipient`, and its secret.
pub(crate) fn encapsulate(
    recipient: &Recipient,
    info: &Info,
    label: &str,
) -> Result<(Vec<u8>, Secret<32>), Error> {
    recipient.key().export(info, label.as_bytes()).map_err(|error| match error {
        bulla_crypto::HpkeError::Entropy(failure) => failure.into(),
        _ => Error::BadKey { what: "recipient's public key", why: "nothing can be encrypted to it" },
    })
}

fn info(role: Role, fixed: &Fixed) -> Info {
    Info::new(LABEL)
        .part("envelope id", &fixed.envelope_id)
        .part("context hash", &sha256(&[fixed.context.as_bytes()]))
        .part("role", &[role.id()])
}
