//! Whether an attestation key is one of a known TPM (TPM 2.0 Library, part 1, "Credential Protection").

use aws_lc_rs::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::cipher::{AES_128, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use bulla_crypto::{EntropyFailure, Secret, SecretBytes, hmac, sha256};

use super::{EndorsementKey, attestation_key_name};

/// What the seed of a credential is for.
const LABEL: &[u8] = b"IDENTITY\0";

/// A question that only the TPM with a certain endorsement key can answer, and only where it holds a certain attestation key.
///
/// ```
/// use bulla_attest::tpm::Activation;
/// # let (endorsement_key, attestation_key) = ([0; 64], [0; 64]);
/// // The endorsement key is known from its certificate or its owner; both come from the TPM.
/// let asked = Activation::new(&endorsement_key, &attestation_key);
/// # assert!(asked.is_err()); // zeros are no point of the curve
/// // asked?.credential() goes to the TPM, and asked?.accept(&answer) is the name to pin.
/// ```
pub struct Activation {
    pending: Pending,
    credential: Credential,
}

/// What the answer to a question has to be. It stays with whoever asked.
pub struct Pending {
    secret: Secret<32>,
    attestation_key: [u8; 32],
}

/// What the TPM is asked to decrypt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// TPMS_ID_OBJECT: MAC and ciphertext.
    pub blob: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET without its size: a one-time point, or the seed under RSA.
    pub seed: Vec<u8>,
}

impl Activation {
    /// For keys on P-256 (x and y each).
    ///
    /// # Errors
    /// [`EntropyFailure`], also where the endorsement key is no point of the curve.
    pub fn new(endorsement_key: &[u8; 64], attestation_key: &[u8; 64]) -> Result<Self, EntropyFailure> {
        let one_time =
            EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).map_err(|_| EntropyFailure)?;
        let point = one_time.compute_public_key().map_err(|_| EntropyFailure)?;
        let (x, y) =
            point.as_ref().get(1..).and_then(|point| point.split_at_checked(32)).ok_or(EntropyFailure)?;
        let (x, y) = (x.to_vec(), y.to_vec());
        let peer = UnparsedPublicKey::new(&ECDH_P256, [&[4], &endorsement_key[..]].concat());
        let (endorsement_x, _) = endorsement_key.split_at(32);
        let seed = agree_ephemeral(one_time, peer, EntropyFailure, |shared| {
            // KDFe: one round of a hash.
            Ok(sha256(&[&1_u32.to_be_bytes(), shared, LABEL, &x, endorsement_x]))
        })?;
        Self::with_seed(&Secret::new(seed), [sized(&x), sized(&y)].concat(), attestation_key)
    }

    /// For an endorsement key of a certificate, of either kind, and an attestation key on P-256.
    ///
    /// # Errors
    /// [`EntropyFailure`], also where the endorsement key is none that can be encrypted to.
    pub fn by(endorsement_key: &EndorsementKey, attestation_key: &[u8; 64]) -> Result<Self, EntropyFailure> {
        let info = match endorsement_key {
            EndorsementKey::Ecc(point) => return Self::new(point, attestation_key),
            EndorsementKey::Rsa(info) => info,
        };
        let key = PublicEncryptingKey::from_der(info).map_err(|_| EntropyFailure)?;
        let key = OaepPublicEncryptingKey::new(key).map_err(|_| EntropyFailure)?;
        let seed: Secret<32> = bulla_crypto::SystemRandom.secret()?;
        let mut encrypted = vec![0; key.ciphertext_size()];
        key.encrypt(&OAEP_SHA256_MGF1SHA256, seed.expose(), &mut encrypted, Some(LABEL))
            .map_err(|_| EntropyFailure)?;
        Self::with_seed(&seed, encrypted, attestation_key)
    }

    /// The secret, under keys from a seed that only the endorsement key opens.
    fn with_seed(
        seed: &Secret<32>,
        encrypted: Vec<u8>,
        attestation_key: &[u8; 64],
    ) -> Result<Self, EntropyFailure> {
        let secret: Secret<32> = bulla_crypto::SystemRandom.secret()?;
        let name = [&[0x00, 0x0B][..], &attestation_key_name(attestation_key)].concat();
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] =
            kdfa(seed.expose(), b"STORAGE\0", &name, 128);
        let mut sealed = [&32_u16.to_be_bytes()[..], secret.expose()].concat();
        encrypt(&[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p], &mut sealed)?;
        let mac = hmac(&kdfa(seed.expose(), b"INTEGRITY\0", &[], 256), &[&sealed, &name]);
        let credential = Credential { blob: [sized(&mac), sealed].concat(), seed: encrypted };
        let pending = Pending { secret, attestation_key: attestation_key_name(attestation_key) };
        Ok(Self { pending, credential })
    }

    /// What goes to the TPM.
    pub const fn credential(&self) -> &Credential {
        &self.credential
    }

    /// What the answer has to be.
    pub const fn pending(&self) -> &Pending {
        &self.pending
    }

    /// As [`Pending::accept`].
    pub fn accept(&self, answer: &Secret<32>) -> Option<[u8; 32]> {
        self.pending.accept(answer)
    }
}

impl Pending {
    /// The name of the attestation key, to be pinned, where this is the answer.
    pub fn accept(&self, answer: &Secret<32>) -> Option<[u8; 32]> {
        self.secret.ct_eq(answer).then_some(self.attestation_key)
    }

    /// For whoever waits in another process: the name of the attestation key and the secret, 64 bytes.
    pub fn to_bytes(&self) -> SecretBytes {
        SecretBytes::new([&self.attestation_key[..], self.secret.expose()].concat())
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: &SecretBytes) -> Option<Self> {
        let (name, secret) = bytes.expose().split_first_chunk()?;
        Some(Self { attestation_key: *name, secret: Secret::try_from(secret).ok()? })
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// KDFa with SHA-256: one round of HMAC.
fn kdfa(seed: &[u8; 32], label: &[u8], context: &[u8], bits: u32) -> [u8; 32] {
    hmac(seed, &[&1_u32.to_be_bytes(), label, context, &bits.to_be_bytes()])
}

/// AES-128-CFB from a zero initial value, as the specification has it: each key is used once.
fn encrypt(key: &[u8; 16], bytes: &mut [u8]) -> Result<(), EntropyFailure> {
    let run = || {
        let key = UnboundCipherKey::new(&AES_128, key)?;
        let context = EncryptionContext::Iv128(FixedLength::from([0; 16]));
        let mut stream = StreamingEncryptingKey::less_safe_cfb128(key, context)?;
        let mut out = vec![0; bytes.len() + 16];
        let written = stream.update(bytes, &mut out)?.written().len();
        let (_, rest) = out.split_at_mut(written);
        let more = stream.finish(rest)?.1.written().len();
        bytes.iter_mut().zip(out.iter().take(written + more)).for_each(|(to, from)| *to = *from);
        Ok::<_, aws_lc_rs::error::Unspecified>(())
    };
    let mut run = run;
    run().map_err(|_| EntropyFailure)
}
