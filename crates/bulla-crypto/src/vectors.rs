//! Published test vectors, run through our own calls.

mod hpke;
mod schedule;
mod wycheproof;

/// Bytes written in hexadecimal.
fn hex(text: &str) -> Vec<u8> {
    ::hex::decode(text).unwrap()
}
