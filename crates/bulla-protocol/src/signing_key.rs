//! A signer's private key, as the one line of a file.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulla_crypto::{Secret, SecretBytes, SigningKey, sha256};
use zeroize::Zeroizing;

const PREFIX: &str = "bulla-signing-key-1:";
const CHECKSUM_LEN: usize = 4;
/// Room for the prefix and 36 bytes in base64.
const TEXT_MAX: usize = 80;

/// The text form of a private key, one line without its end. It belongs offline.
///
/// ```
/// use bulla_crypto::SigningKey;
/// use bulla_protocol::{signing_key_from_text, signing_key_to_text};
///
/// let key = SigningKey::generate()?;
/// let text = signing_key_to_text(&key);
/// let copy = signing_key_from_text(std::str::from_utf8(text.expose())?)?;
/// assert_eq!(copy.verifying_key(), key.verifying_key());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn signing_key_to_text(key: &SigningKey) -> SecretBytes {
    let seed = key.seed().expose();
    let mut bytes = Zeroizing::new(Vec::with_capacity(seed.len() + CHECKSUM_LEN));
    bytes.extend_from_slice(seed);
    bytes.extend(sha256(&[PREFIX.as_bytes(), seed]).iter().take(CHECKSUM_LEN));
    let mut text = String::with_capacity(TEXT_MAX);
    text.push_str(PREFIX);
    URL_SAFE_NO_PAD.encode_string(&*bytes, &mut text);
    SecretBytes::new(text.into_bytes())
}

/// Reads the text form. Blank lines and lines that begin with `#` are passed over.
///
/// # Errors
/// [`BadSigningKey`]; the text itself is not in it.
pub fn signing_key_from_text(text: &str) -> Result<SigningKey, BadSigningKey> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next().filter(|line| line.len() <= TEXT_MAX);
    let line = line.ok_or(BadSigningKey("it is empty or too long"))?;
    if lines.next().is_some() {
        return Err(BadSigningKey("it has more than one line"));
    }
    let cut = BadSigningKey("it is cut or mistyped");
    let encoded = line.strip_prefix(PREFIX).ok_or(BadSigningKey("it does not begin as one"))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(TEXT_MAX));
    URL_SAFE_NO_PAD.decode_vec(encoded, &mut bytes).map_err(|_| cut)?;
    let (seed, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(cut)?;
    if !sha256(&[PREFIX.as_bytes(), seed]).starts_with(checksum) {
        return Err(cut);
    }
    Secret::try_from(seed).map(SigningKey::from_seed).map_err(|_| cut)
}

/// A text is no signer's private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no signing key: {0}")]
pub struct BadSigningKey(&'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_is_none() {
        let key = SigningKey::generate().unwrap();
        let text = String::from_utf8(signing_key_to_text(&key).expose().to_vec()).unwrap();
        let read = |text: &str| signing_key_from_text(text).map(|key| key.verifying_key());
        assert_eq!(read(&format!("# comment\n\n  {text}\n")), Ok(key.verifying_key()));
        for at in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[at] = if edited[at] == b'A' { b'B' } else { b'A' };
            assert!(read(std::str::from_utf8(&edited).unwrap()).is_err(), "{at}");
            assert!(read(&text[..at]).is_err(), "{at}");
        }
        for bad in [format!("{text}\n{text}"), format!("{text}AAAA"), "A".repeat(81), String::new()] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
