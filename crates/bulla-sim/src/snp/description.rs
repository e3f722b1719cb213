//! Who a SEV-SNP guest of a simulated machine is.

use bulla_crypto::sha384;
use bulla_tee::snp::policy;
use serde::Deserialize;

use crate::Error;
use crate::hexadecimal::Hex;

/// What a SEV-SNP guest was launched with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpDescription {
    /// The measurement of the initial memory.
    pub measurement: [u8; 48],
    /// Chosen by the host at launch.
    pub host_data: [u8; 32],
    /// SHA-384 of the key that signed the ID block; zero without one.
    pub id_key_digest: [u8; 48],
    /// SHA-384 of the key that certified the ID key; zero without one.
    pub author_key_digest: [u8; 48],
    /// From the ID block.
    pub family_id: [u8; 16],
    /// From the ID block.
    pub image_id: [u8; 16],
    /// From the ID block.
    pub guest_svn: u32,
    /// See [`bulla_tee::snp::policy`].
    pub policy: u64,
    /// The privilege level that its kernel runs at.
    pub vmpl: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnpToml {
    measurement: Option<Hex<48>>,
    host_data: Option<Hex<32>>,
    id_key_digest: Option<Hex<48>>,
    author_key_digest: Option<Hex<48>>,
    product: Option<u16>,
    image_id: Option<Hex<16>>,
    svn: Option<u32>,
    policy: Option<u64>,
    vmpl: Option<u32>,
    #[serde(default)]
    debug: bool,
}

impl SnpDescription {
    /// The fixed guest that is called `default`: the same on every simulated machine. It has an ID block, with product 1 and
    /// SVN 1.
    pub fn default_guest() -> Self {
        let digest = |name: &str| sha384(&[b"bulla simulated guest ", name.as_bytes()]);
        let guest = Self {
            measurement: digest("MEASUREMENT"),
            host_data: [0; 32],
            id_key_digest: digest("ID_KEY"),
            author_key_digest: [0; 48],
            family_id: [0; 16],
            image_id: [0; 16],
            guest_svn: 1,
            // Firmware interface 0.31 or later.
            policy: policy::RESERVED_ONE | 0x1F,
            vmpl: 0,
        };
        guest.with_product(1)
    }

    /// Reads a TOML description. `measurement`, `id_key_digest` and `author_key_digest` are 96 hexadecimal digits, `host_data`
    /// 64 and `image_id` 32; `product` (the number in FAMILY_ID), `svn`, `policy` and `vmpl` are integers; `debug = true` adds
    /// the DEBUG bit of the policy. What is left out is as in [`default_guest`](Self::default_guest).
    ///
    /// ```
    /// use bulla_sim::SnpDescription;
    ///
    /// let guest = SnpDescription::from_toml("product = 7\nsvn = 3\ndebug = true")?;
    /// assert_eq!((guest.family_id[0], guest.guest_svn), (7, 3));
    /// # Ok::<(), bulla_sim::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Description`] for anything else.
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        let file: SnpToml =
            toml::from_str(text).map_err(|error| Error::Description(error.message().into()))?;
        let default = Self::default_guest();
        let guest = Self {
            measurement: file.measurement.map_or(default.measurement, |value| value.0),
            host_data: file.host_data.map_or(default.host_data, |value| value.0),
            id_key_digest: file.id_key_digest.map_or(default.id_key_digest, |value| value.0),
            author_key_digest: file.author_key_digest.map_or(default.author_key_digest, |value| value.0),
            family_id: default.family_id,
            image_id: file.image_id.map_or(default.image_id, |value| value.0),
            guest_svn: file.svn.unwrap_or(default.guest_svn),
            policy: file.policy.unwrap_or(default.policy),
            vmpl: file.vmpl.unwrap_or(default.vmpl),
        };
        if guest.vmpl > 3 {
            return Err(Error::Description("vmpl is 0 to 3".into()));
        }
        let guest = guest.with_product(file.product.unwrap_or(1));
        Ok(if file.debug { guest.with_debug() } else { guest })
    }

    /// The same, of another product: the number in FAMILY_ID.
    #[must_use]
    pub fn with_product(mut self, product: u16) -> Self {
        self.family_id = [0; 16];
        self.family_id.iter_mut().zip(product.to_le_bytes()).for_each(|(to, from)| *to = from);
        self
    }

    /// The same, with the DEBUG bit of the policy.
    #[must_use]
    pub const fn with_debug(mut self) -> Self {
        self.policy |= policy::DEBUG;
        self
    }
}
