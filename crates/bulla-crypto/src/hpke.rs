//! HPKE (RFC 9180) in base mode, classical and post-quantum, and the checks that a public key is one.

use std::convert::Infallible;

use hpke::aead::{AeadCtxR, AeadCtxS, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem as KemOf, X25519HkdfSha256, XWing};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, setup_receiver, setup_sender_with_rng};
use rand_core::{TryCryptoRng, TryRng};

use crate::{EntropyFailure, Info, RandomSource, Secret, SecretBytes, SystemRandom, sha256};

/// Why an HPKE operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HpkeError {
    /// The public key has a wrong length, is of low order, is not canonical, or is not a key at all (R41, B20).
    #[error("the public key is malformed, of low order or not canonical: its owner has to make a new one")]
    BadPublicKey,
    /// The encapsulated key has a wrong length or is of low order: no honest sender makes such a one.
    #[error("the encapsulated key is malformed or of low order: it was damaged or forged by its sender")]
    BadEncapsulatedKey,
    /// The ciphertext is not for this key, info and associated data.
    #[error("the ciphertext was not made for this key and this transcript, or was changed on the way")]
    Decryption,
    /// There is no good randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyFailure),
}

/// A key encapsulation mechanism. The rest of the suite is the same for both: HKDF-SHA256 (0x0001) and AES-256-GCM
/// (0x0002).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kem {
    /// DHKEM(X25519, HKDF-SHA256), RFC 9180, section 7.1.
    X25519,
    /// X-Wing: ML-KEM-768 (FIPS 203) and X25519 together, safe while either of them is. It is draft-connolly-cfrg-xwing-kem-06
    /// at the code point that draft-ietf-hpke-pq-03 gives it under the name MLKEM768-X25519.
    XWing,
}

impl Kem {
    /// The number in the HPKE registry: 0x0020 or 0x647A.
    pub const fn id(self) -> u16 {
        match self {
            Self::X25519 => X25519HkdfSha256::KEM_ID,
            Self::XWing => XWing::KEM_ID,
        }
    }

    /// The mechanism with this number, if it is one of the two.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            X25519HkdfSha256::KEM_ID => Some(Self::X25519),
            XWing::KEM_ID => Some(Self::XWing),
            _ => None,
        }
    }

    /// Bytes of a public key: 32 or 1,216.
    pub const fn public_key_len(self) -> usize {
        match self {
            Self::X25519 => X25519_LEN,
            Self::XWing => 1184 + X25519_LEN,
        }
    }

    /// Bytes of an encapsulated key: 32 or 1,120.
    pub const fn encapsulated_key_len(self) -> usize {
        match self {
            Self::X25519 => X25519_LEN,
            Self::XWing => 1088 + X25519_LEN,
        }
    }
}

const X25519_LEN: usize = 32;

/// A public key that was checked: canonical, and its X25519 part not of low order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HpkePublicKey {
    parsed: Parsed,
    bytes: Box<[u8]>,
}

/// The key as the library has it: reading one takes a tenth of the time of encrypting to it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Parsed {
    X25519(<X25519HkdfSha256 as KemOf>::PublicKey),
    XWing(Box<<XWing as KemOf>::PublicKey>),
}

impl HpkePublicKey {
    /// Takes a public key: for [`Kem::X25519`] the 32 bytes of RFC 7748, for [`Kem::XWing`] the 1,184 bytes of an ML-KEM-768
    /// encapsulation key and then those 32.
    ///
    /// # Errors
    /// [`HpkeError::BadPublicKey`] for a wrong length; for an X25519 part of 0, 1, any other low-order point, or an encoding
    /// at or above 2^255 - 19, which other libraries would reduce silently (R41, B20); and for an ML-KEM part that fails
    /// the modulus check of FIPS 203, section 7.2.
    pub fn from_bytes(kem: Kem, bytes: &[u8]) -> Result<Self, HpkeError> {
        if bytes.len() != kem.public_key_len() {
            return Err(HpkeError::BadPublicKey);
        }
        let point = bytes.last_chunk().ok_or(HpkeError::BadPublicKey)?;
        if !is_canonical(point) || is_low_order(point) {
            return Err(HpkeError::BadPublicKey);
        }
        let parsed = match kem {
            Kem::X25519 => Parsed::X25519(public_key::<X25519HkdfSha256>(bytes)?),
            Kem::XWing => Parsed::XWing(Box::new(public_key::<XWing>(bytes)?)),
        };
        Ok(Self { parsed, bytes: bytes.into() })
    }

    /// Which mechanism the key is for.
    pub const fn kem(&self) -> Kem {
        match self.parsed {
            Parsed::X25519(_) => Kem::X25519,
            Parsed::XWing(_) => Kem::XWing,
        }
    }

    /// The bytes, [`Kem::public_key_len`] of them.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name of the key: SHA-256 of its bytes.
    pub fn id(&self) -> [u8; 32] {
        sha256(&[&self.bytes])
    }

    /// Encrypts `plaintext` to this key.
    ///
    /// `info` is the whole transcript that sender and receiver must agree on.
    ///
    /// # Errors
    /// [`HpkeError::Entropy`] when there is no good randomness.
    pub fn seal(&self, info: &Info, aad: &[u8], plaintext: &[u8]) -> Result<HpkeSealed, HpkeError> {
        match &self.parsed {
            Parsed::X25519(to) => seal::<X25519HkdfSha256>(to, info, aad, plaintext),
            Parsed::XWing(to) => seal::<XWing>(to, info, aad, plaintext),
        }
    }

    /// Agrees on a fresh secret with the owner of this key (RFC 9180, section 5.3): the encapsulated key to send, and the
    /// secret that [`HpkePrivateKey::export`] finds with it.
    ///
    /// # Errors
    /// [`HpkeError::Entropy`] when there is no good randomness.
    pub fn export(&self, info: &Info, exporter_context: &[u8]) -> Result<(Vec<u8>, Secret<32>), HpkeError> {
        self.export_with(&SystemRandom, info, exporter_context)
    }

    /// As [`HpkePublicKey::export`], with randomness from elsewhere, which only tests have.
    pub(crate) fn export_with(
        &self,
        random: &dyn RandomSource,
        info: &Info,
        exporter_context: &[u8],
    ) -> Result<(Vec<u8>, Secret<32>), HpkeError> {
        match &self.parsed {
            Parsed::X25519(to) => export_to::<X25519HkdfSha256>(to, random, info, exporter_context),
            Parsed::XWing(to) => export_to::<XWing>(to, random, info, exporter_context),
        }
    }
}

/// A private key for one or more HPKE openings. It has no `Clone`, `Debug` or `Serialize` (R96).
///
/// ```
/// use bulla_crypto::{HpkePrivateKey, Info, Kem};
///
/// let key = HpkePrivateKey::generate(Kem::XWing)?;
/// let info = Info::new("example/v1");
/// let sealed = key.public_key().seal(&info, b"", b"secret")?;
/// assert_eq!(key.open(&info, b"", &sealed)?.expose(), b"secret");
///
/// let (encapsulated_key, ours) = key.public_key().export(&info, b"example")?;
/// assert!(key.export(&info, &encapsulated_key, b"example")?.ct_eq(&ours));
/// # Ok::<(), bulla_crypto::HpkeError>(())
/// ```
/// ```compile_fail
/// let key = bulla_crypto::HpkePrivateKey::generate(bulla_crypto::Kem::X25519).unwrap();
/// println!("{key:?}");
/// ```
/// ```compile_fail
/// let key = bulla_crypto::HpkePrivateKey::generate(bulla_crypto::Kem::X25519).unwrap();
/// let copy = key.clone();
/// ```
pub struct HpkePrivateKey {
    seed: Secret<32>,
    public: HpkePublicKey,
}

impl HpkePrivateKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`HpkeError::Entropy`] when there is no good randomness.
    pub fn generate(kem: Kem) -> Result<Self, HpkeError> {
        Ok(Self::from_seed(kem, SystemRandom.secret()?))
    }

    /// The key with this [seed](Self::seed). Every 32 bytes are one; for X25519 they are clamped first (RFC 7748, section 5).
    pub fn from_seed(kem: Kem, seed: Secret<32>) -> Self {
        match kem {
            Kem::X25519 => key_pair::<X25519HkdfSha256>(&seed, Parsed::X25519),
            Kem::XWing => key_pair::<XWing>(&seed, |key| Parsed::XWing(Box::new(key))),
        }
    }

    /// The whole private key, to be kept: RFC 9180's `SerializePrivateKey`. For X25519 it is the clamped scalar, for X-Wing
    /// the 32 bytes from which both of its keys are expanded.
    pub const fn seed(&self) -> &Secret<32> {
        &self.seed
    }

    /// The public half.
    pub const fn public_key(&self) -> &HpkePublicKey {
        &self.public
    }

    /// Decrypts what was sealed to the public half under the same `info` and `aad`.
    ///
    /// # Errors
    /// [`HpkeError::BadEncapsulatedKey`] if no honest sender made it, [`HpkeError::Decryption`] if anything else differs by
    /// one bit.
    pub fn open(&self, info: &Info, aad: &[u8], sealed: &HpkeSealed) -> Result<SecretBytes, HpkeError> {
        self.check(&sealed.encapsulated_key)?;
        match self.public.kem() {
            Kem::X25519 => open::<X25519HkdfSha256>(&self.seed, info, aad, sealed),
            Kem::XWing => open::<XWing>(&self.seed, info, aad, sealed),
        }
    }

    /// The secret that the sender of `encapsulated_key` agreed on with [`HpkePublicKey::export`].
    ///
    /// Nothing shows here whether it is the same: if the sender used another key, `info` or context, the secret is another.
    ///
    /// # Errors
    /// [`HpkeError::BadEncapsulatedKey`] if no honest sender made it.
    pub fn export(
        &self,
        info: &Info,
        encapsulated_key: &[u8],
        exporter_context: &[u8],
    ) -> Result<Secret<32>, HpkeError> {
        self.check(encapsulated_key)?;
        match self.public.kem() {
            Kem::X25519 => {
                export_from::<X25519HkdfSha256>(&self.seed, info, encapsulated_key, exporter_context)
            }
            Kem::XWing => export_from::<XWing>(&self.seed, info, encapsulated_key, exporter_context),
        }
    }

    /// X-Wing's definition leaves open whether a receiver accepts an X25519 part of low order; this one does not (R41).
    fn check(&self, encapsulated_key: &[u8]) -> Result<(), HpkeError> {
        let malformed = HpkeError::BadEncapsulatedKey;
        if encapsulated_key.len() != self.public.kem().encapsulated_key_len() {
            return Err(malformed);
        }
        match encapsulated_key.last_chunk() {
            Some(point) if !is_low_order(point) => Ok(()),
            _ => Err(malformed),
        }
    }
}

/// An HPKE ciphertext with its encapsulated key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HpkeSealed {
    /// What the receiver needs to find the key: [`Kem::encapsulated_key_len`] bytes.
    pub encapsulated_key: Vec<u8>,
    /// The ciphertext with its 16-byte tag.
    pub ciphertext: Vec<u8>,
}

fn seal<K: KemOf>(
    to: &K::PublicKey,
    info: &Info,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<HpkeSealed, HpkeError> {
    let (encapsulated_key, ciphertext) = send::<K, _>(to, &SystemRandom, info, |mut context| {
        context.seal(plaintext, aad).expect("the first message of a context, and below 64 GiB")
    })?;
    Ok(HpkeSealed { encapsulated_key, ciphertext })
}

fn export_to<K: KemOf>(
    to: &K::PublicKey,
    random: &dyn RandomSource,
    info: &Info,
    exporter_context: &[u8],
) -> Result<(Vec<u8>, Secret<32>), HpkeError> {
    send::<K, _>(to, random, info, |context| {
        Secret::fill_with(|out| {
            context.export(exporter_context, out).expect("HKDF-SHA256 gives 32 bytes");
        })
    })
}

fn open<K: KemOf>(
    seed: &Secret<32>,
    info: &Info,
    aad: &[u8],
    sealed: &HpkeSealed,
) -> Result<SecretBytes, HpkeError> {
    let mut context = receive::<K>(seed, info, &sealed.encapsulated_key)?;
    context.open(&sealed.ciphertext, aad).map(SecretBytes::new).map_err(|_| HpkeError::Decryption)
}

fn export_from<K: KemOf>(
    seed: &Secret<32>,
    info: &Info,
    encapsulated_key: &[u8],
    exporter_context: &[u8],
) -> Result<Secret<32>, HpkeError> {
    let context = receive::<K>(seed, info, encapsulated_key)?;
    Ok(Secret::fill_with(|out| {
        context.export(exporter_context, out).expect("HKDF-SHA256 gives 32 bytes");
    }))
}

/// Sets up a context with a fresh encapsulated key and uses it once.
fn send<K: KemOf, T>(
    to: &K::PublicKey,
    random: &dyn RandomSource,
    info: &Info,
    once: impl FnOnce(AeadCtxS<AesGcm256, HkdfSha256, K>) -> T,
) -> Result<(Vec<u8>, T), HpkeError> {
    let mut random = Draws { from: random, failed: false };
    let (encapsulated_key, context) = setup_sender_with_rng(&OpModeS::Base, to, info.as_bytes(), &mut random)
        .map_err(|_| HpkeError::BadPublicKey)?;
    if random.failed {
        return Err(EntropyFailure.into());
    }
    Ok((K::EncappedKey::to_bytes(&encapsulated_key).to_vec(), once(context)))
}

fn receive<K: KemOf>(
    seed: &Secret<32>,
    info: &Info,
    encapsulated_key: &[u8],
) -> Result<AeadCtxR<AesGcm256, HkdfSha256, K>, HpkeError> {
    let encapsulated_key =
        K::EncappedKey::from_bytes(encapsulated_key).map_err(|_| HpkeError::BadEncapsulatedKey)?;
    setup_receiver(&OpModeR::Base, &private_key::<K>(seed), &encapsulated_key, info.as_bytes())
        .map_err(|_| HpkeError::BadEncapsulatedKey)
}

fn key_pair<K: KemOf>(seed: &Secret<32>, parsed: impl FnOnce(K::PublicKey) -> Parsed) -> HpkePrivateKey {
    let key = private_key::<K>(seed);
    let public = K::sk_to_pk(&key);
    let bytes = public.to_bytes().as_slice().into();
    HpkePrivateKey {
        seed: Secret::fill_with(|seed| key.write_exact(seed)),
        public: HpkePublicKey { parsed: parsed(public), bytes },
    }
}

fn private_key<K: KemOf>(seed: &Secret<32>) -> K::PrivateKey {
    K::PrivateKey::from_bytes(seed.expose()).expect("every 32 bytes are a private key of both kinds")
}

fn public_key<K: KemOf>(bytes: &[u8]) -> Result<K::PublicKey, HpkeError> {
    K::PublicKey::from_bytes(bytes).map_err(|_| HpkeError::BadPublicKey)
}

/// Below 2^255 - 19, top bit clear.
fn is_canonical(bytes: &[u8; X25519_LEN]) -> bool {
    bytes.iter().rev().lt(ends(0xED, 0xFF, 0x7F).iter().rev())
}

/// Whether a point gives an all-zero secret with every private key (RFC 7748, section 6.1). No other does with any: a clamped
/// scalar is 8 times a number below the prime orders of curve and twist.
fn is_low_order(point: &[u8; X25519_LEN]) -> bool {
    let mut point = *point;
    point[31] &= 0x7F; // which X25519 ignores
    LOW_ORDER.contains(&point)
}

/// Every encoding below 2^255 of the points whose order divides 8, on curve and twist: 0, 1, p - 1 and the two of order 8; p
/// and p + 1 are 0 and 1 once more.
const LOW_ORDER: [[u8; X25519_LEN]; 7] = [
    [0; X25519_LEN],
    ends(1, 0, 0),
    ends(0xEC, 0xFF, 0x7F),
    ends(0xED, 0xFF, 0x7F),
    ends(0xEE, 0xFF, 0x7F),
    [
        0xE0, 0xEB, 0x7A, 0x7C, 0x3B, 0x41, 0xB8, 0xAE, 0x16, 0x56, 0xE3, 0xFA, 0xF1, 0x9F, 0xC4, 0x6A, 0xDA,
        9, 0x8D, 0xEB, 0x9C, 0x32, 0xB1, 0xFD, 0x86, 0x62, 5, 0x16, 0x5F, 0x49, 0xB8, 0,
    ],
    [
        0x5F, 0x9C, 0x95, 0xBC, 0xA3, 0x50, 0x8C, 0x24, 0xB1, 0xD0, 0xB1, 0x55, 0x9C, 0x83, 0xEF, 0x5B, 4,
        0x44, 0x5C, 0xC4, 0x58, 0x1C, 0x8E, 0x86, 0xD8, 0x22, 0x4E, 0xDD, 0xD0, 0x9F, 0x11, 0x57,
    ],
];

/// The bytes of a number: the lowest, all between, and the highest.
const fn ends(first: u8, between: u8, last: u8) -> [u8; X25519_LEN] {
    let mut bytes = [between; X25519_LEN];
    (bytes[0], bytes[X25519_LEN - 1]) = (first, last);
    bytes
}

/// Feeds a [`RandomSource`] to a library that cannot be told of failure; whoever used it looks at `failed` afterwards.
struct Draws<'a> {
    from: &'a dyn RandomSource,
    failed: bool,
}

impl TryRng for Draws<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.failed |= self.from.fill(bytes).is_err();
        Ok(())
    }
}

impl TryCryptoRng for Draws<'_> {}

#[cfg(test)]
mod tests {
    use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
    use proptest::prelude::*;

    use super::*;

    const KEMS: [Kem; 2] = [Kem::X25519, Kem::XWing];

    fn key(kem: Kem) -> HpkePrivateKey {
        HpkePrivateKey::generate(kem).unwrap()
    }

    fn with_point(bytes: &[u8], point: &[u8]) -> Vec<u8> {
        [&bytes[..bytes.len() - X25519_LEN], point].concat()
    }

    /// R41, B20: points of low order and every kind of non-canonical encoding, alone and as a part of X-Wing.
    #[test]
    fn low_order_and_non_canonical_keys_are_refused() {
        let mut bad: Vec<_> = LOW_ORDER.map(Vec::from).to_vec();
        bad.push(ends(0xEF, 0xFF, 0x7F).to_vec());
        bad.push(vec![0xFF; 32]);
        let mut high_bit = key(Kem::X25519).public_key().as_bytes().to_vec();
        high_bit[31] |= 0x80;
        bad.push(high_bit);
        let base_point = [&[9][..], &[0; 31]].concat();
        for kem in KEMS {
            let good = key(kem).public_key().clone();
            assert_eq!(HpkePublicKey::from_bytes(kem, good.as_bytes()), Ok(good.clone()));
            for point in &bad {
                let result = HpkePublicKey::from_bytes(kem, &with_point(good.as_bytes(), point));
                assert_eq!(result, Err(HpkeError::BadPublicKey), "{}", hex::encode(point));
            }
            assert!(HpkePublicKey::from_bytes(kem, &with_point(good.as_bytes(), &base_point)).is_ok());
        }
    }

    /// R41: AWS-LC refuses to agree on zero, and so says of any point whether it is of low order.
    fn gives_zero(point: &[u8; X25519_LEN]) -> bool {
        let any = PrivateKey::from_private_key(&X25519, &[1; X25519_LEN]).unwrap();
        agreement::agree(&any, UnparsedPublicKey::new(&X25519, point), (), |_| Ok(())).is_err()
    }

    /// R41, B20: the list is complete, as far as neighbours, other encodings and chance can tell, and holds nothing else.
    #[test]
    fn points_of_low_order_are_those_that_give_zero() {
        for listed in LOW_ORDER {
            for bit in 0..256 {
                let mut point = listed;
                assert!(is_low_order(&point) && gives_zero(&point));
                point[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(is_low_order(&point), gives_zero(&point), "{}", hex::encode(point));
            }
        }
        for small in 0..=255 {
            for point in [ends(small, 0, 0), ends(small, 0xFF, 0x7F), ends(small, 0xFF, 0xFF)] {
                assert_eq!(is_low_order(&point), gives_zero(&point), "{}", hex::encode(point));
            }
        }
    }

    proptest! {
        #[test]
        fn no_other_point_is_of_low_order(point in any::<[u8; X25519_LEN]>()) {
            prop_assert!(!is_low_order(&point) && !gives_zero(&point));
        }
    }

    /// R41: 3329 is no coefficient modulo 3329 (FIPS 203, section 7.2).
    #[test]
    fn an_ml_kem_key_that_is_not_reduced_is_refused() {
        let mut bytes = key(Kem::XWing).public_key().as_bytes().to_vec();
        (bytes[0], bytes[1]) = (0x00, bytes[1] & 0xF0 | 0x0D);
        assert!(HpkePublicKey::from_bytes(Kem::XWing, &bytes).is_ok());
        bytes[0] = 0x01;
        assert_eq!(HpkePublicKey::from_bytes(Kem::XWing, &bytes), Err(HpkeError::BadPublicKey));
    }

    #[test]
    fn lengths_are_those_of_the_kem() {
        for kem in KEMS {
            assert_eq!(Kem::from_id(kem.id()), Some(kem));
            let (key, info) = (key(kem), Info::new("test"));
            let (encapsulated_key, _) = key.public_key().export(&info, b"").unwrap();
            assert_eq!(key.public_key().as_bytes().len(), kem.public_key_len());
            assert_eq!(encapsulated_key.len(), kem.encapsulated_key_len());
            for bytes in [vec![], vec![1; kem.public_key_len() - 1], vec![1; kem.public_key_len() + 1]] {
                assert_eq!(HpkePublicKey::from_bytes(kem, &bytes), Err(HpkeError::BadPublicKey));
            }
            let long = [&encapsulated_key[..], &[0]].concat();
            for bytes in [&[][..], &encapsulated_key[1..], &long] {
                let bad = Some(HpkeError::BadEncapsulatedKey);
                assert_eq!(key.export(&info, bytes, b"").err(), bad);
                let sealed = HpkeSealed { encapsulated_key: bytes.to_vec(), ciphertext: vec![0; 48] };
                assert_eq!(key.open(&info, b"", &sealed).err(), bad);
            }
        }
        assert_eq!((Kem::X25519.id(), Kem::XWing.id()), (0x0020, 0x647A));
        assert_eq!([0, 0x0010, 0x0021, 0x6479].map(Kem::from_id), [None; 4]);
    }

    /// R41: a sender that takes the X25519 part out of the agreement is refused, not only its recipient's key.
    #[test]
    fn an_encapsulated_key_of_low_order_is_refused() {
        for kem in KEMS {
            let (key, info) = (key(kem), Info::new("test"));
            let sealed = key.public_key().seal(&info, b"", b"secret").unwrap();
            for point in LOW_ORDER {
                let encapsulated_key = with_point(&sealed.encapsulated_key, &point);
                let bad = Some(HpkeError::BadEncapsulatedKey);
                assert_eq!(key.export(&info, &encapsulated_key, b"").err(), bad);
                assert_eq!(
                    key.open(&info, b"", &HpkeSealed { encapsulated_key, ..sealed.clone() }).err(),
                    bad
                );
            }
        }
    }

    /// R41: key, transcript and every byte count.
    #[test]
    fn opening_needs_the_same_key_transcript_and_bytes() {
        for kem in KEMS {
            let (key, other) = (key(kem), key(kem));
            let info = Info::new("test").part("a", b"b");
            let sealed = key.public_key().seal(&info, b"aad", b"secret").unwrap();
            assert_eq!(key.open(&info, b"aad", &sealed).unwrap().expose(), b"secret");
            assert!(other.open(&info, b"aad", &sealed).is_err());
            assert!(key.open(&Info::new("test").part("a", b"c"), b"aad", &sealed).is_err());
            assert!(key.open(&info, b"AAD", &sealed).is_err());
            for byte in 0..sealed.ciphertext.len() {
                let mut changed = sealed.clone();
                changed.ciphertext[byte] ^= 1;
                assert_eq!(key.open(&info, b"aad", &changed).err(), Some(HpkeError::Decryption));
            }
            for byte in [0, 1, kem.encapsulated_key_len() / 2, kem.encapsulated_key_len() - 2] {
                let mut changed = sealed.clone();
                changed.encapsulated_key[byte] ^= 4;
                assert!(key.open(&info, b"aad", &changed).is_err());
            }
        }
    }

    /// R10, R41: an exported secret is one of the key, the transcript, the context and the encapsulated key, and fresh.
    #[test]
    fn an_exported_secret_depends_on_everything() {
        for kem in KEMS {
            let (key, other) = (key(kem), key(kem));
            let info = Info::new("test");
            let (encapsulated_key, secret) = key.public_key().export(&info, b"context").unwrap();
            assert!(key.export(&info, &encapsulated_key, b"context").unwrap().ct_eq(&secret));
            assert!(!other.export(&info, &encapsulated_key, b"context").unwrap().ct_eq(&secret));
            assert!(!key.export(&info, &encapsulated_key, b"contex").unwrap().ct_eq(&secret));
            assert!(!key.export(&Info::new("tes"), &encapsulated_key, b"context").unwrap().ct_eq(&secret));
            let mut changed = encapsulated_key.clone();
            changed[0] ^= 1;
            assert!(!key.export(&info, &changed, b"context").unwrap().ct_eq(&secret));
            let (again, fresh) = key.public_key().export(&info, b"context").unwrap();
            assert!(again != encapsulated_key && !fresh.ct_eq(&secret));
        }
    }

    /// R61: without good randomness nothing is sent, whatever the library made of what it got.
    #[test]
    fn no_entropy_is_an_error() {
        struct Broken;
        impl RandomSource for Broken {
            fn fill(&self, _: &mut [u8]) -> Result<(), EntropyFailure> {
                Err(EntropyFailure)
            }
        }
        for kem in KEMS {
            let result = key(kem).public_key().export_with(&Broken, &Info::new("test"), b"");
            assert_eq!(result.err(), Some(HpkeError::Entropy(EntropyFailure)));
        }
    }

    #[test]
    fn a_seed_is_the_whole_key() {
        for kem in KEMS {
            let (key, info) = (key(kem), Info::new("test"));
            let copy = HpkePrivateKey::from_seed(kem, Secret::new(*key.seed().expose()));
            assert!(copy.public_key() == key.public_key() && copy.seed().ct_eq(key.seed()));
            let sealed = key.public_key().seal(&info, b"", b"secret").unwrap();
            assert_eq!(copy.open(&info, b"", &sealed).unwrap().expose(), b"secret");
            assert_eq!(key.public_key().id(), sha256(&[key.public_key().as_bytes()]));
        }
    }

    /// The scalar that comes back is the one that is used: clamped.
    #[test]
    fn an_x25519_seed_is_clamped() {
        let key = HpkePrivateKey::from_seed(Kem::X25519, Secret::new([0xFF; 32]));
        let mut clamped = [0xFF; 32];
        (clamped[0], clamped[31]) = (0xF8, 0x7F);
        assert_eq!(key.seed().expose(), &clamped);
    }

    proptest! {
        /// R41: no bytes make a panic, of whatever length.
        #[test]
        fn any_bytes_are_a_key_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
            for kem in KEMS {
                let _ = HpkePublicKey::from_bytes(kem, &bytes);
                let secret = HpkePrivateKey::from_seed(kem, Secret::new([1; 32])).export(&Info::new("test"), &bytes, b"");
                prop_assert!(secret.is_err() || bytes.len() == kem.encapsulated_key_len());
            }
        }
    }
}
