//! Bytes as standard base64 in JSON, for `#[serde(with = "b64")]`; [`option`] for bytes that may be absent.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(bytes: impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Base64Display::new(bytes.as_ref(), &STANDARD))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Decoded(PhantomData))
}

/// Decodes the text where it stands: evidence is the largest part of a message.
struct Decoded<T>(PhantomData<T>);

impl<T: TryFrom<Vec<u8>>> Visitor<'_> for Decoded<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard base64")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let bytes = STANDARD.decode(text).map_err(|_| E::custom("not standard base64"))?;
        let found = bytes.len();
        T::try_from(bytes).map_err(|_| E::custom(format_args!("{found} bytes are not the right number here")))
    }
}

pub(crate) mod option {
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        bytes: &Option<impl AsRef<[u8]>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::serialize(bytes, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}

/// Secret bytes, whose text is wiped as they are.
pub(crate) mod secret {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use bulla_crypto::SecretBytes;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &SecretBytes, serializer: S) -> Result<S::Ok, S::Error> {
        let text = SecretBytes::new(STANDARD.encode(bytes.expose()).into_bytes());
        serializer.serialize_str(str::from_utf8(text.expose()).expect("base64 is ASCII"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretBytes, D::Error> {
        let text = SecretBytes::new(String::deserialize(deserializer)?.into_bytes());
        STANDARD
            .decode(text.expose())
            .map(SecretBytes::new)
            .map_err(|_| D::Error::custom("not standard base64"))
    }
}
