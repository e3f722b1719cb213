//! Keys and shares as text.

use bulla::{Error, Recipient, RecipientKey, Share};

use crate::vectors::{PRIVATE_PREFIX, PUBLIC_PREFIX, SHARE_PREFIX, checked_text};

/// Reads the bytes as the text of a public and of a private key, and then as what is in such a text: the number of the kind and
/// the key.
pub fn recipient_text(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        public(text);
        private(text);
    }
    if let Some((kem, key)) = data.split_first_chunk() {
        let kem = u16::from_be_bytes(*kem);
        public(&checked_text(PUBLIC_PREFIX, kem, key));
        private(&checked_text(PRIVATE_PREFIX, kem, key));
    }
}

fn public(text: &str) {
    match text.parse::<Recipient>() {
        Ok(recipient) => {
            assert_eq!(recipient.to_string(), line(text));
            assert_eq!(line(text).parse::<Recipient>().unwrap().id(), recipient.id());
        }
        Err(error) => refused(&error, text),
    }
}

fn private(text: &str) {
    match RecipientKey::from_text(text) {
        Ok(key) => {
            // Some bits of an X25519 key mean nothing, and are not written as they were read.
            let own = String::from_utf8(key.to_text().expose().to_vec()).unwrap();
            let again = RecipientKey::from_text(&own).unwrap();
            assert_eq!(again.to_text().expose(), own.as_bytes());
            assert_eq!(again.recipient(), key.recipient());
            assert_eq!(key.recipient().to_string().parse::<Recipient>().unwrap(), *key.recipient());
        }
        Err(error) => refused(&error, text),
    }
}

/// Reads the bytes as the text of a share, and then as what is in it: slot, index and value.
pub fn share_text(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        share(text);
    }
    share(&(SHARE_PREFIX.to_owned() + &hex::encode(data)));
}

fn share(text: &str) {
    match Share::from_text(text) {
        Ok(share) => {
            let own = String::from_utf8(share.to_text().expose().to_vec()).unwrap();
            assert!(own.eq_ignore_ascii_case(text.trim()), "another share");
            assert!(own.contains(&hex::encode(share.slot())));
        }
        Err(error) => refused(&error, text),
    }
}

/// A refusal says nothing of the key.
fn refused(error: &Error, text: &str) {
    assert!(matches!(error, Error::BadKey { .. }), "{error}");
    assert!(text.len() < 64 || !error.to_string().contains(text));
}

/// The line that counts.
fn line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap()
}
