//! To what of a TDX guest its key provider binds a key.

use std::fmt;
use std::str::FromStr;

use minicbor::data::Type;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::Error;

const NAME_MAX: usize = 64;

/// To what of a TDX guest a key from its provider is bound.
///
/// ```
/// use bulla_tee::{GuestBinding, Policy};
///
/// let text = format!("owner:{},product=wallet,svn=3", "ab".repeat(32));
/// let binding: GuestBinding = text.parse()?;
/// assert_eq!(binding, GuestBinding::Owner { owner: [0xAB; 32], product: "wallet".into(), svn: 3 });
/// assert_eq!(Policy::guest(binding).to_string(), text);
/// # Ok::<(), bulla_tee::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GuestBinding {
    /// To all measurement registers: `measurement`.
    #[default]
    Measurement,
    /// To the registers that a named, versioned policy of the provider's names: `register-policy:NAME,version=N`.
    Registers {
        /// 1 to 64 letters, digits, `.`, `_` or `-`.
        name: String,
        /// The register policy's version.
        version: u32,
    },
    /// To whatever its owner entitles to a product at this security version: `owner:HEX,product=NAME,svn=N`.
    Owner {
        /// The id of the owner's descriptor.
        owner: [u8; 32],
        /// 1 to 64 letters, digits, `.`, `_` or `-`.
        product: String,
        /// At most that of the guest's manifest.
        svn: u32,
    },
}

impl GuestBinding {
    /// Refuses what cannot be asked for.
    ///
    /// # Errors
    /// [`Error::InvalidPolicy`] for a name outside its bounds; [`Error::UnderBoundPolicy`] for an owner of zeros.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Measurement => Ok(()),
            Self::Registers { name, .. } => is_name("a register policy's name", name),
            Self::Owner { owner: [0, rest @ ..], .. } if rest == &[0; 31] => {
                Err(Error::UnderBoundPolicy("an owner of zeros is nobody's descriptor"))
            }
            Self::Owner { product, .. } => is_name("a product", product),
        }
    }
}

fn is_name(what: &str, name: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Error::InvalidPolicy(format!("{what} has 1 to 64 letters, digits, '.', '_' or '-'")))
}

impl fmt::Display for GuestBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measurement => f.write_str("measurement"),
            Self::Registers { name, version } => write!(f, "register-policy:{name},version={version}"),
            Self::Owner { owner, product, svn } => {
                write!(f, "owner:{},product={product},svn={svn}", hex::encode(owner))
            }
        }
    }
}

impl FromStr for GuestBinding {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || match text.split_once(':') {
            None if text == "measurement" => Some(Self::Measurement),
            Some(("register-policy", rest)) => {
                let (name, version) = rest.split_once(",version=")?;
                Some(Self::Registers { name: name.into(), version: version.parse().ok()? })
            }
            Some(("owner", rest)) => {
                let (id, terms) = rest.split_once(",product=")?;
                let (product, svn) = terms.split_once(",svn=")?;
                let mut owner = [0; 32];
                hex::decode_to_slice(id, &mut owner).ok()?;
                Some(Self::Owner { owner, product: product.into(), svn: svn.parse().ok()? })
            }
            _ => None,
        };
        let binding = read().ok_or_else(|| {
            let forms = "a guest's key is bound to `measurement`, `owner:HEX,product=NAME,svn=N` or \
                         `register-policy:NAME,version=N`";
            Error::InvalidPolicy(format!("{forms}, and this is {text:?}"))
        })?;
        binding.check()?;
        Ok(binding)
    }
}

/// `null`, which is left out at the end of an array; `[1, name, version]`; `[2, owner, product, svn]`.
impl<C> Encode<C> for GuestBinding {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        match self {
            Self::Measurement => e.null()?,
            Self::Registers { name, version } => e.array(3)?.u8(1)?.str(name)?.u32(*version)?,
            Self::Owner { owner, product, svn } => {
                e.array(4)?.u8(2)?.bytes(owner)?.str(product)?.u32(*svn)?
            }
        };
        Ok(())
    }

    fn is_nil(&self) -> bool {
        *self == Self::Measurement
    }
}

impl<'b, C> Decode<'b, C> for GuestBinding {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        if d.datatype()? == Type::Null {
            d.null()?;
            return Ok(Self::Measurement);
        }
        let length = d.array()?;
        match (d.u8()?, length) {
            (1, Some(3)) => Ok(Self::Registers { name: d.str()?.into(), version: d.u32()? }),
            (2, Some(4)) => {
                let owner =
                    d.bytes()?.try_into().map_err(|_| decode::Error::message("an owner is 32 bytes"))?;
                Ok(Self::Owner { owner, product: d.str()?.into(), svn: d.u32()? })
            }
            _ => Err(decode::Error::message("no binding of a guest")),
        }
    }

    fn nil() -> Option<Self> {
        Some(Self::Measurement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_come_back_from_their_text() {
        let owner = "0f".repeat(32);
        for text in [
            "measurement".into(),
            "register-policy:boot.v2,version=7".into(),
            format!("owner:{owner},product=a-b,svn=0"),
        ] {
            assert_eq!(text.parse::<GuestBinding>().unwrap().to_string(), text);
        }
        for bad in [
            String::new(),
            "owner".into(),
            "register-policy:".into(),
            "register-policy:boot".into(),
            "register-policy:,version=1".into(),
            "register-policy:boot,version=-1".into(),
            "register-policy:a b,version=1".into(),
            format!("owner:{owner}"),
            format!("owner:{owner},svn=1,product=a"),
            format!("owner:{owner},product=,svn=1"),
            format!("owner:{owner},product=a,svn=4294967296"),
            format!("owner:{owner},product=a,svn=1,x=2"),
            format!("owner:{owner},product={},svn=1", "x".repeat(65)),
            format!("owner:{}0,product=a,svn=1", "0f".repeat(31)),
        ] {
            assert_eq!(bad.parse::<GuestBinding>().unwrap_err().code(), "policy.invalid", "{bad}");
        }
        let nobody = format!("owner:{},product=a,svn=1", "00".repeat(32));
        assert_eq!(nobody.parse::<GuestBinding>().unwrap_err().code(), "policy.under_bound");
    }
}
