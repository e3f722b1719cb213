//! Which key, and how it is written down for a program.

use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;

use bulla::Ring;
use bulla_crypto::SecretBytes;

use crate::args::KeyName;
use crate::failure::Failure;

/// The value of `--key`: `RING[:ID][=FORM]`.
///
/// What follows the last `=` is the form, so the path of a ring that has one in it must be followed by a form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyOption {
    /// The ring's file.
    pub(crate) ring: PathBuf,
    /// Which of its keys.
    pub(crate) which: Which,
    /// How to write it down.
    pub(crate) form: Form,
}

/// The value of `--request`: `PATH:PURPOSE[,ALGORITHM[,LENGTH]][=FORM]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequestOption {
    /// The key.
    pub(crate) key: KeyName,
    /// How to write it down.
    pub(crate) form: Form,
}

impl FromStr for RequestOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Neither a purpose nor what follows it has an equals sign, and a path may have one.
        let end = text.rfind(':').unwrap_or_default();
        let (name, form) =
            match text.rfind('=').filter(|at| *at > end).and_then(|at| text.split_at_checked(at)) {
                None => (text, Form::Raw),
                Some((name, form)) => {
                    let form = form.trim_start_matches('=');
                    (name, Form::from_str(form, false).map_err(|_| unknown(form))?)
                }
            };
        Ok(Self { key: name.parse()?, form })
    }
}

/// What stands for ID.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Which {
    /// Nothing: the newest key, or all where the form takes all.
    Newest,
    /// The number of a generation.
    Generation(u32),
    /// The key's id, in hexadecimal.
    Id([u8; 16]),
}

impl KeyOption {
    /// Writes down the key, or the keys, that it names.
    ///
    /// # Errors
    /// Those of the ring for a key that it does not have, and of [`Form::render`].
    pub(crate) fn written(&self, ring: &Ring<'_>) -> Result<SecretBytes, Failure> {
        let keys = match &self.which {
            Which::Newest if self.form.takes_all() => ring.active().map(|(key, _)| key).collect(),
            Which::Newest => vec![ring.current()],
            Which::Generation(generation) => vec![ring.key(*generation)?],
            Which::Id(id) => vec![ring.key_by_id(id)?],
        };
        let keys: Result<Vec<_>, bulla::Error> =
            keys.into_iter().map(|key| Ok((key.generation(), key.secret()?.expose().as_slice()))).collect();
        self.form.render(&keys?)
    }
}

impl FromStr for KeyOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, form) = match text.rsplit_once('=') {
            None => (text, Form::Raw),
            Some((rest, form)) => (rest, Form::from_str(form, false).map_err(|_| unknown(form))?),
        };
        let named = rest.rsplit_once(':').and_then(|(ring, id)| Some((ring, which(id)?)));
        let (ring, which) = named.unwrap_or((rest, Which::Newest));
        if ring.is_empty() {
            return Err("name the file of a ring".into());
        }
        Ok(Self { ring: ring.into(), which, form })
    }
}

/// `None` if it belongs to the path.
fn which(id: &str) -> Option<Which> {
    if let Ok(generation) = id.parse() {
        return Some(Which::Generation(generation));
    }
    let mut bytes = [0; 16];
    hex::decode_to_slice(id, &mut bytes).ok()?;
    Some(Which::Id(bytes))
}

fn unknown(form: &str) -> String {
    let names = Form::value_variants().iter().filter_map(Form::to_possible_value);
    let names: Vec<_> = names.map(|value| value.get_name().to_owned()).collect();
    format!("{form:?} is not a form: there are {}", names.join(", "))
}

/// How a key is written down.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Form {
    /// The bytes
    Raw,
    /// Hexadecimal digits and a newline
    Hex,
    /// Base64 and a newline
    Base64,
    /// Hexadecimal digits without a newline: for programs that take a whole file for a passphrase
    Passphrase,
    /// The statement that opens an SQLCipher database with it
    Sqlcipher,
    /// The statement that gives an open SQLCipher database this key
    SqlcipherRekey,
    /// The key file of MariaDB's file_key_management: without an ID every key of the ring, each with its number
    Mariadb,
}

impl Form {
    /// Whether it takes all keys of a ring, if none is named.
    pub(crate) fn takes_all(self) -> bool {
        self == Self::Mariadb
    }

    /// Writes down keys, each with its number: one, or several where the form takes them.
    ///
    /// # Errors
    /// `usage` if the program could not use the keys.
    pub(crate) fn render(self, keys: &[(u32, &[u8])]) -> Result<SecretBytes, Failure> {
        if !self.takes_all() && keys.len() != 1 {
            return Err(Failure::usage("this form takes exactly one key"));
        }
        // Room for all of it at once: a vector that grows leaves copies behind.
        let mut written = Vec::with_capacity(keys.iter().map(|(_, key)| 64 + 2 * key.len()).sum());
        for (id, key) in keys {
            match self {
                Self::Raw => written.extend_from_slice(key),
                Self::Passphrase => extend_hex(&mut written, key),
                Self::Hex => {
                    extend_hex(&mut written, key);
                    written.push(b'\n');
                }
                Self::Base64 => {
                    let start = written.len();
                    written.resize(start + key.len().div_ceil(3) * 4, 0);
                    let space = written.get_mut(start..).unwrap_or_default();
                    STANDARD
                        .encode_slice(key, space)
                        .expect("there are four characters' room for three bytes");
                    written.push(b'\n');
                }
                Self::Sqlcipher | Self::SqlcipherRekey => {
                    if key.len() != 32 {
                        return Err(Failure::usage("SQLCipher takes keys of 32 bytes"));
                    }
                    let pragma = if self == Self::Sqlcipher { "key" } else { "rekey" };
                    written.extend_from_slice(format!("PRAGMA {pragma} = \"x'").as_bytes());
                    extend_hex(&mut written, key);
                    written.extend_from_slice(b"'\";\n");
                }
                Self::Mariadb => {
                    if *id == 0 || ![16, 24, 32].contains(&key.len()) {
                        return Err(Failure::usage(
                            "MariaDB takes keys of 16, 24 or 32 bytes, numbered from 1",
                        ));
                    }
                    written.extend_from_slice(format!("{id};").as_bytes());
                    extend_hex(&mut written, key);
                    written.push(b'\n');
                }
            }
        }
        Ok(SecretBytes::new(written))
    }
}

fn extend_hex(written: &mut Vec<u8>, key: &[u8]) {
    let start = written.len();
    written.resize(start + 2 * key.len(), 0);
    let space = written.get_mut(start..).unwrap_or_default();
    hex::encode_to_slice(key, space).expect("there are two digits' room for each byte");
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [0xA5; 32];

    fn written(form: Form, keys: &[(u32, &[u8])]) -> Result<String, &'static str> {
        let written = form.render(keys).map_err(|failure| failure.code)?;
        Ok(String::from_utf8(written.expose().to_vec()).unwrap())
    }

    #[test]
    fn each_form_is_what_its_program_reads() {
        let digits = "a5".repeat(32);
        let one = [(7, KEY.as_slice())];
        assert_eq!(written(Form::Hex, &one), Ok(format!("{digits}\n")));
        assert_eq!(written(Form::Passphrase, &one), Ok(digits.clone()));
        assert_eq!(written(Form::Base64, &one), Ok(format!("{}\n", STANDARD.encode(KEY))));
        assert_eq!(written(Form::Base64, &[(1, b"ab")]), Ok("YWI=\n".into()));
        assert_eq!(written(Form::Raw, &[(1, b"a\0")]), Ok("a\0".into()));
        assert_eq!(written(Form::Sqlcipher, &one), Ok(format!("PRAGMA key = \"x'{digits}'\";\n")));
        assert_eq!(written(Form::SqlcipherRekey, &one), Ok(format!("PRAGMA rekey = \"x'{digits}'\";\n")));
        let all = [(1, [1; 16].as_slice()), (20, &KEY)];
        assert_eq!(written(Form::Mariadb, &all), Ok(format!("1;{}\n20;{digits}\n", "01".repeat(16))));
    }

    #[test]
    fn keys_that_the_program_would_not_take_are_refused() {
        for form in [Form::Sqlcipher, Form::SqlcipherRekey] {
            assert_eq!(written(form, &[(1, &KEY[..16])]), Err("usage"));
        }
        assert_eq!(written(Form::Mariadb, &[(0, &KEY)]), Err("usage"));
        assert_eq!(written(Form::Mariadb, &[(1, &KEY[..31])]), Err("usage"));
        assert_eq!(written(Form::Raw, &[]), Err("usage"));
        assert_eq!(written(Form::Hex, &[(1, &KEY), (2, &KEY)]), Err("usage"), "never two keys as one");
    }

    #[test]
    fn a_request_names_a_key_and_a_form() {
        let option = |text: &str| text.parse::<RequestOption>();
        let wanted = |key: &str, form| Ok(RequestOption { key: key.parse().unwrap(), form });
        assert_eq!(option("app/db:disk"), wanted("app/db:disk", Form::Raw));
        assert_eq!(option("a=b:disk,hkdf-sha384,48=hex"), wanted("a=b:disk,hkdf-sha384,48", Form::Hex));
        assert_eq!(option("a=b:disk"), wanted("a=b:disk", Form::Raw));
        assert!(option("a:disk=hexa").unwrap_err().contains("passphrase"));
        assert!(option("a=hex").is_err());
    }

    #[test]
    fn an_option_names_ring_number_and_form() {
        let option = |text: &str| text.parse::<KeyOption>();
        let wanted = |ring: &str, which, form| Ok(KeyOption { ring: ring.into(), which, form });
        assert_eq!(option("db.ring"), wanted("db.ring", Which::Newest, Form::Raw));
        assert_eq!(option("db.ring=sqlcipher"), wanted("db.ring", Which::Newest, Form::Sqlcipher));
        assert_eq!(
            option("db.ring:2=sqlcipher-rekey"),
            wanted("db.ring", Which::Generation(2), Form::SqlcipherRekey)
        );
        assert_eq!(option("/a=b:c/x.ring:12=raw"), wanted("/a=b:c/x.ring", Which::Generation(12), Form::Raw));
        let id = "00112233445566778899aabbccddeeff";
        let bytes =
            [0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF];
        assert_eq!(option(&format!("db.ring:{id}=hex")), wanted("db.ring", Which::Id(bytes), Form::Hex));
        assert_eq!(option("a:b"), wanted("a:b", Which::Newest, Form::Raw));
        assert!(option("db.ring=sqlciper").unwrap_err().contains("sqlcipher-rekey"));
        assert!(option("=raw").is_err());
        assert!(option("").is_err());
    }
}
