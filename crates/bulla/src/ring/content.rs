//! What is inside a ring's envelope, as `docs/spec/ring.md` says.

use std::collections::BTreeSet;
use std::convert::Infallible;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder, decode, encode};

use bulla_crypto::{Secret, SecretBytes, SystemRandom};

use super::RingKey;
use crate::Error;

const VERSION: u64 = 1;
const CONTEXT: &str = "ring/";
const MAX_NAME: usize = 64;
/// Generations, retired ones included.
const MAX_KEYS: usize = 4096;
/// Bytes around the keys at most, and of one key.
const MAX_AROUND: usize = 256;
const MAX_KEY: usize = 64;

/// A ring as it is sealed. Generation `g` is at place `g - 1`, and there always is one.
pub(super) struct Content {
    pub(super) id: [u8; 16],
    pub(super) name: String,
    pub(super) role: String,
    pub(super) keys: Vec<RingKey>,
}

impl Content {
    /// A new ring with its first key.
    pub(super) fn new(name: &str, role: &str, created: Option<u64>) -> Result<Self, Error> {
        let id = SystemRandom.array()?;
        let mut content = Self { id, name: name.to_owned(), role: role.to_owned(), keys: Vec::new() };
        content.add(created)?;
        Ok(content)
    }

    /// Adds a generation. Its key is random and nothing else: no machine can be asked for it again (R91).
    pub(super) fn add(&mut self, created: Option<u64>) -> Result<(), Error> {
        if self.keys.len() >= MAX_KEYS {
            return Err(Error::Invalid("a ring has at most 4096 generations: begin a new one"));
        }
        let (id, secret) = (SystemRandom.array()?, Some(SystemRandom.secret()?));
        self.keys.push(RingKey { generation: self.newest() + 1, id, created, secret });
        Ok(())
    }

    /// The number of the newest generation.
    pub(super) fn newest(&self) -> u32 {
        u32::try_from(self.keys.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn key(&self, generation: u32) -> Option<&RingKey> {
        self.keys.get(place(generation)?)
    }

    pub(super) fn key_mut(&mut self, generation: u32) -> Option<&mut RingKey> {
        self.keys.get_mut(place(generation)?)
    }

    /// The payload.
    pub(super) fn encode(&self) -> SecretBytes {
        // Enough that it never grows, which would leave a copy of the keys behind.
        let mut encoder = Encoder::new(Vec::with_capacity(MAX_AROUND + MAX_KEY * self.keys.len()));
        self.encode_into(&mut encoder).expect("writing to memory does not fail");
        SecretBytes::new(encoder.into_writer())
    }

    fn encode_into(&self, to: &mut Encoder<Vec<u8>>) -> Result<(), encode::Error<Infallible>> {
        to.array(5)?.u64(VERSION)?.bytes(&self.id)?.str(&self.name)?.str(&self.role)?;
        to.array(self.keys.len() as u64)?;
        for key in &self.keys {
            to.array(3)?.bytes(&key.id)?;
            match key.created {
                Some(created) => to.u64(created)?,
                None => to.null()?,
            };
            to.bytes(key.secret.as_ref().map_or(&[], |secret| secret.expose()))?;
        }
        Ok(())
    }

    /// Reads a payload: all of it and in its one encoding, or not at all.
    pub(super) fn decode(bytes: &SecretBytes) -> Result<Self, Error> {
        let content = parse(bytes.expose())?;
        // minicbor is lenient: other encodings of the same, and what comes behind, show here.
        if !content.encode().ct_eq(bytes) {
            return Err(Error::MalformedRing("not in its canonical encoding"));
        }
        content.check()?;
        Ok(content)
    }

    fn check(&self) -> Result<(), Error> {
        if !is_name(&self.name) || !is_name(&self.role) {
            return Err(Error::MalformedRing("its name or role cannot be one"));
        }
        if self.keys.last().is_none_or(RingKey::is_retired) {
            return Err(Error::MalformedRing("its newest generation has no key"));
        }
        let ids: BTreeSet<_> = self.keys.iter().map(|key| key.id).collect();
        if ids.len() != self.keys.len() {
            return Err(Error::MalformedRing("two of its keys have one id"));
        }
        Ok(())
    }
}

/// The context of a ring's envelope (R90).
pub(super) fn context(name: &str, role: &str) -> Result<String, Error> {
    if !is_name(name) || !is_name(role) {
        return Err(Error::Invalid("a ring's name and role are 1 to 64 visible ASCII characters, and no /"));
    }
    Ok(format!("{CONTEXT}{name}/{role}"))
}

/// Name and role in a context, if it is a ring's.
pub(super) fn of_context(context: &str) -> Option<(&str, &str)> {
    context.strip_prefix(CONTEXT)?.split_once('/').filter(|(name, role)| is_name(name) && is_name(role))
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

fn place(generation: u32) -> Option<usize> {
    usize::try_from(generation.checked_sub(1)?).ok()
}

fn parse(bytes: &[u8]) -> Result<Content, Error> {
    let not_cbor = |_: decode::Error| Error::MalformedRing("not its CBOR");
    let mut from = Decoder::new(bytes);
    let version = version(&mut from).map_err(not_cbor)?;
    if version != VERSION {
        return Err(Error::Unsupported { what: "key ring version", value: version });
    }
    let mut head = || Ok((array(&mut from)?, from.str()?.to_owned(), from.str()?.to_owned(), from.array()?));
    let (id, name, role, count) = head().map_err(not_cbor)?;
    let count = count.and_then(|count| usize::try_from(count).ok()).filter(|count| *count <= MAX_KEYS);
    let count = count.ok_or(Error::MalformedRing("it claims more than 4096 generations"))?;
    let mut keys = Vec::new(); // what is claimed allocates nothing
    for generation in (1..).take(count) {
        keys.push(key(generation, &mut from).map_err(not_cbor)?);
    }
    Ok(Content { id, name, role, keys })
}

/// The version stands first, so that a later one may change everything behind it.
fn version(from: &mut Decoder<'_>) -> Result<u64, decode::Error> {
    from.array()?;
    from.u64()
}

fn key(generation: u32, from: &mut Decoder<'_>) -> Result<RingKey, decode::Error> {
    from.array()?;
    let id = array(from)?;
    let created = match from.datatype()? {
        Type::Null => from.null().map(|()| None)?,
        _ => Some(from.u64()?),
    };
    let secret = match from.bytes()? {
        [] => None,
        bytes => Some(Secret::try_from(bytes).map_err(|_| decode::Error::message("not 32 bytes"))?),
    };
    Ok(RingKey { generation, id, created, secret })
}

fn array<const N: usize>(from: &mut Decoder<'_>) -> Result<[u8; N], decode::Error> {
    from.bytes()?.try_into().map_err(|_| decode::Error::message("a byte string of another length"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(generations: usize) -> Content {
        let mut content = Content::new("orders", "data", Some(1_700_000_000)).unwrap();
        while content.keys.len() < generations {
            content.add(None).unwrap();
        }
        content
    }

    fn decoded(bytes: &[u8]) -> Result<Content, Error> {
        Content::decode(&SecretBytes::new(bytes.to_vec()))
    }

    /// R96: the buffer for the keys is never moved, which would leave a copy behind.
    #[test]
    fn the_largest_ring_fits_where_it_is_written() {
        let name = "n".repeat(MAX_NAME);
        let mut largest = Content { name: name.clone(), role: name, ..ring(MAX_KEYS) };
        largest.keys.iter_mut().for_each(|key| key.created = Some(u64::MAX));
        for keys in [1, 2, MAX_KEYS] {
            largest.keys.truncate(keys);
            assert!(largest.encode().expose().len() <= MAX_AROUND + MAX_KEY * keys);
        }
    }

    #[test]
    fn a_full_ring_takes_no_more_generations() {
        let mut full = ring(MAX_KEYS);
        assert_eq!(full.add(None).unwrap_err().code(), "usage.invalid");
        let decoded = Content::decode(&full.encode()).unwrap();
        assert_eq!(decoded.newest(), 4096);
        assert!(decoded.encode().ct_eq(&full.encode()));

        full.keys.push(ring(1).keys.remove(0));
        assert_eq!(Content::decode(&full.encode()).err().unwrap().code(), "ring.malformed");
    }

    #[test]
    fn every_truncation_is_refused() {
        let payload = ring(3).encode();
        for length in 0..payload.expose().len() {
            let error = decoded(&payload.expose()[..length]).err().unwrap();
            assert_eq!(error.code(), "ring.malformed", "{length} bytes");
        }
    }

    /// A flipped bit gives another ring, as a bit of a key does, or none; never one that is written otherwise than it was read.
    #[test]
    fn every_bit_flip_is_refused_or_is_what_it_says() {
        let payload = ring(3).encode();
        let mut refused = 0;
        for bit in 0..payload.expose().len() * 8 {
            let mut bytes = payload.expose().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match decoded(&bytes) {
                Ok(content) => assert_eq!(content.encode().expose(), bytes),
                Err(Error::MalformedRing(_) | Error::Unsupported { .. }) => refused += 1,
                Err(other) => panic!("bit {bit}: {other}"),
            }
        }
        assert!(refused > 150, "{refused}");
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(decoded(&bytes).is_err());
        }

        #[test]
        fn no_edit_does_harm(
            generations in 1..6_usize,
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..8),
        ) {
            let mut bytes = ring(generations).encode().expose().to_vec();
            for (place, byte, kind) in edits {
                let place = place.index(bytes.len());
                match kind {
                    0 => bytes[place] = byte,
                    1 => bytes.insert(place, byte),
                    _ => drop(bytes.remove(place)),
                }
            }
            if let Ok(content) = decoded(&bytes) {
                let again = content.encode();
                prop_assert_eq!(again.expose(), bytes.as_slice());
            }
        }
    }

    #[test]
    fn a_context_names_one_ring() {
        assert_eq!(context("orders", "data").unwrap(), "ring/orders/data");
        assert_eq!(of_context("ring/orders/data"), Some(("orders", "data")));
        for (name, role) in [("", "data"), ("a/b", "c"), ("a", "b/c"), ("a b", "c"), ("a", "ö"), ("a\n", "c")]
        {
            assert!(context(name, role).is_err(), "{name} {role}");
            assert_eq!(of_context(&format!("ring/{name}/{role}")), None);
        }
        assert!(context(&"n".repeat(64), "r").is_ok() && context(&"n".repeat(65), "r").is_err());
        assert_eq!(of_context("wallet"), None);
    }
}
