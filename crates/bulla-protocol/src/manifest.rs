//! What the owner of an image grants it.

use std::collections::{BTreeMap, BTreeSet};

use bulla_crypto::Class;
use bulla_tee::{GuestRegisters, TdxIdentity};
use serde::{Deserialize, Serialize};
use toml::value::Datetime;

use crate::text::{is_name, shown_time, unix_time};
use crate::{DocumentRole, Signed, SignedError};

const VERSION: u32 = 1;

/// Entitles an image to the keys of an owner's product, up to a security version. Signed by the owner, it is a grant: what
/// was granted stays granted, and an image is withdrawn by raising the version that data is sealed for.
///
/// ```
/// use bulla_protocol::Manifest;
///
/// let zero = "0".repeat(96);
/// let image = ["rtmr0", "rtmr1", "rtmr2", "mrconfigid", "mrowner", "mrownerconfig", "mrservicetd"];
/// let image: String = image.iter().map(|name| format!("{name} = \"{zero}\"\n")).collect();
/// let manifest = Manifest::from_toml(&format!(
///     "version = 1\nowner = \"{}\"\nproduct = \"wallet\"\nsvn = 3\nexcept = [\"rtmr3\"]\n\
///      [image]\nmrtd = \"{}\"\n{image}",
///     "11".repeat(32),
///     "22".repeat(48),
/// ))?;
/// assert_eq!(manifest.svn(), 3);
/// # Ok::<(), bulla_protocol::ManifestError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    owner: [u8; 32],
    product: String,
    svn: u32,
    not_after: Option<u64>,
    /// By name as in [`GuestRegisters::named`]. Which of the nine is not here is excepted.
    image: BTreeMap<&'static str, [u8; 48]>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    owner: String,
    product: String,
    svn: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<Datetime>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    except: Vec<String>,
    image: BTreeMap<String, String>,
}

impl Manifest {
    /// A manifest for the image that a guest shows, in every register but those that are excepted by name.
    ///
    /// # Errors
    /// [`ManifestError::Invalid`] for a product that is not 1 to 64 letters, digits, `.`, `_` or `-`; for an exception that
    /// is no register or is MRTD, without which no image is named.
    pub fn new(
        owner: [u8; 32],
        product: &str,
        svn: u32,
        guest: &GuestRegisters,
        except: &[&str],
    ) -> Result<Self, ManifestError> {
        let except = excepted(except.iter().copied())?;
        let bound = guest.named().into_iter().filter(|(name, _)| !except.contains(name));
        let image = bound.map(|(name, value)| (name, *value)).collect();
        Self { owner, product: product.to_owned(), svn, not_after: None, image }.checked()
    }

    /// The same with a date, in Unix seconds, after which its owner means not to use it. Advisory: no clock decides.
    #[must_use]
    pub const fn not_after(mut self, unix: u64) -> Self {
        self.not_after = Some(unix);
        self
    }

    /// Reads the TOML form. Who wrote it is for [`Manifest::verify`] to say.
    ///
    /// # Errors
    /// [`ManifestError::Invalid`] for anything unknown, missing, duplicate, of a wrong type, length or version; for a
    /// register that is neither in the image nor excepted, or both (R26).
    pub fn from_toml(text: &str) -> Result<Self, ManifestError> {
        let form: Form = toml::from_str(text).map_err(|error| ManifestError::Invalid(error.to_string()))?;
        if form.version != VERSION {
            return invalid(format!("it has version {}, and only version {VERSION} is known", form.version));
        }
        let except = excepted(form.except.iter().map(String::as_str))?;
        let mut values = form.image;
        let mut image = BTreeMap::new();
        for name in names() {
            match (values.remove(&name.to_lowercase()), except.contains(name)) {
                (Some(text), false) => image.insert(name, digits(name, &text)?),
                (None, true) => None,
                (Some(_), true) => return invalid(format!("{name} is in the image and excepted from it")),
                (None, false) => {
                    return invalid(format!("{name} is missing: an image is named by all nine registers"));
                }
            };
        }
        if let Some(name) = values.keys().next() {
            return invalid(format!("{name:?} is no register: write {}", known()));
        }
        let not_after = form.not_after.map(|date| {
            unix_time(&date)
                .ok_or_else(|| ManifestError::Invalid("not_after is a date, for example 2030-01-31".into()))
        });
        let owner = digits("owner", &form.owner)?;
        let (product, svn, not_after) = (form.product, form.svn, not_after.transpose()?);
        Self { owner, product, svn, not_after, image }.checked()
    }

    /// The TOML form.
    pub fn to_toml(&self) -> String {
        let image = self.image.iter().map(|(name, value)| (name.to_lowercase(), hex::encode(value)));
        let form = Form {
            version: VERSION,
            owner: hex::encode(self.owner),
            product: self.product.clone(),
            svn: self.svn,
            not_after: self.not_after.and_then(|unix| shown_time(unix).parse().ok()),
            except: self.except().map(str::to_lowercase).collect(),
            image: image.collect(),
        };
        toml::to_string(&form).expect("texts, numbers, lists and tables are TOML")
    }

    /// The manifest in a signed document: its owner has signed it, and nobody else can have.
    ///
    /// # Errors
    /// [`ManifestError::Signed`] if it is not signed as it has to be, [`ManifestError::OtherOwner`] if those who signed are
    /// not the owner that it names, [`ManifestError::Invalid`].
    pub fn verify(signed: &Signed) -> Result<Self, ManifestError> {
        let verified = signed.verify(DocumentRole::Manifest)?;
        let manifest = Self::from_toml(verified.document)?;
        if manifest.owner != verified.id {
            return Err(ManifestError::OtherOwner);
        }
        Ok(manifest)
    }

    /// Whether a guest runs the image.
    ///
    /// # Errors
    /// The name of the first register that differs.
    pub fn check(&self, guest: &TdxIdentity) -> Result<(), &'static str> {
        let shown = GuestRegisters::from(guest);
        let differs = |&(name, value): &(&'static str, &[u8; 48])| {
            self.image.get(name).is_some_and(|wanted| wanted != value)
        };
        shown.named().into_iter().find(differs).map_or(Ok(()), |(name, _)| Err(name))
    }

    /// Whether a guest gets the keys of an owner's product at a security version.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn entitles(
        &self,
        guest: &TdxIdentity,
        owner: &[u8; 32],
        product: &str,
        svn: u32,
    ) -> Result<(), NotEntitled> {
        if *owner != self.owner {
            return Err(NotEntitled::Owner);
        }
        if product != self.product {
            return Err(NotEntitled::Product);
        }
        if svn > self.svn {
            return Err(NotEntitled::Svn);
        }
        self.check(guest).map_err(NotEntitled::Register)
    }

    /// The owner's [id](crate::Descriptor::id).
    pub const fn owner(&self) -> &[u8; 32] {
        &self.owner
    }

    /// The owner's product.
    pub fn product(&self) -> &str {
        &self.product
    }

    /// The highest security version whose keys the image gets.
    pub const fn svn(&self) -> u32 {
        self.svn
    }

    /// When its owner means to stop using it, in Unix seconds. Advisory.
    pub const fn expires(&self) -> Option<u64> {
        self.not_after
    }

    /// The registers that name the image, with their values.
    pub fn image(&self) -> impl Iterator<Item = (&'static str, &[u8; 48])> {
        names().into_iter().filter_map(|name| self.image.get(name).map(|value| (name, value)))
    }

    /// The registers that may have any value.
    pub fn except(&self) -> impl Iterator<Item = &'static str> {
        names().into_iter().filter(|name| !self.image.contains_key(name))
    }

    fn checked(self) -> Result<Self, ManifestError> {
        if !is_name(&self.product) {
            return invalid("the product must be 1 to 64 letters, digits, '.', '_' or '-'");
        }
        if self.image.get(MRTD).is_none_or(|value| *value == [0; 48]) {
            return invalid("MRTD is zero, which no guest has");
        }
        Ok(self)
    }
}

const MRTD: &str = "MRTD";

fn names() -> [&'static str; 9] {
    GuestRegisters::NAMES
}

fn known() -> String {
    names().map(str::to_lowercase).join(", ")
}

fn excepted<'a>(texts: impl Iterator<Item = &'a str>) -> Result<BTreeSet<&'static str>, ManifestError> {
    let mut except = BTreeSet::new();
    for text in texts {
        let Some(name) = names().into_iter().find(|name| name.to_lowercase() == text) else {
            return invalid(format!("{text:?} is no register that can be excepted: write {}", known()));
        };
        if name == MRTD {
            return invalid("MRTD cannot be excepted: without it no image is named");
        }
        if !except.insert(name) {
            return invalid(format!("{name} is excepted twice"));
        }
    }
    Ok(except)
}

fn digits<const N: usize>(name: &str, text: &str) -> Result<[u8; N], ManifestError> {
    let mut bytes = [0; N];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => invalid(format!("{name} is not {N} bytes in hexadecimal")),
    }
}

fn invalid<T>(why: impl Into<String>) -> Result<T, ManifestError> {
    Err(ManifestError::Invalid(why.into()))
}

/// Why a manifest does not give a guest what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotEntitled {
    /// The manifest is another owner's.
    #[error("the manifest is another owner's")]
    Owner,
    /// The manifest is for another product.
    #[error("the manifest is for another product")]
    Product,
    /// A higher security version than the manifest grants.
    #[error("the manifest is for a lower security version")]
    Svn,
    /// The guest runs another image; this register differs.
    #[error("the manifest is for another image: {0} differs")]
    Register(&'static str),
}

/// Why something is no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It does not say what a manifest says.
    #[error("the manifest is wrong: {0}")]
    Invalid(String),

    /// It is not signed as it has to be.
    #[error(transparent)]
    Signed(#[from] SignedError),

    /// It was signed by others than the owner that it names.
    #[error("the manifest names another owner than those who signed it")]
    OtherOwner,
}

impl ManifestError {
    /// A stable name for this kind of failure.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "manifest.invalid",
            Self::Signed(error) => error.code(),
            Self::OtherOwner => "manifest.other_owner",
        }
    }

    /// The class of this failure.
    pub const fn class(&self) -> Class {
        match self {
            Self::Invalid(_) => Class::Usage,
            Self::Signed(error) => error.class(),
            Self::OtherOwner => Class::Refused,
        }
    }
}
