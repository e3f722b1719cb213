//! Named sets of registers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bulla_tee::Identity;

/// The kind of machine that a set of registers is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Sgx,
    Tdx,
    Snp,
}

impl Kind {
    /// `None` for a machine that has no registers here.
    pub(super) const fn of(identity: &Identity) -> Option<Self> {
        match identity {
            Identity::Sgx(_) => Some(Self::Sgx),
            Identity::Tdx(_) => Some(Self::Tdx),
            Identity::Snp(_) => Some(Self::Snp),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sgx => "an SGX enclave",
            Self::Tdx => "a TDX guest",
            Self::Snp => "a SEV-SNP guest",
        })
    }
}

/// A register of fixed length that is compared with a list of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Register {
    MrEnclave,
    MrSigner,
    ConfigId,
    IsvFamilyId,
    IsvExtProdId,
    MrTd,
    Rtmr0,
    Rtmr1,
    Rtmr2,
    Rtmr3,
    Measurement,
    HostData,
    IdKeyDigest,
    AuthorKeyDigest,
    FamilyId,
    ImageId,
}

impl Register {
    pub(super) const ALL: [Self; 16] = [
        Self::MrEnclave,
        Self::MrSigner,
        Self::ConfigId,
        Self::IsvFamilyId,
        Self::IsvExtProdId,
        Self::MrTd,
        Self::Rtmr0,
        Self::Rtmr1,
        Self::Rtmr2,
        Self::Rtmr3,
        Self::Measurement,
        Self::HostData,
        Self::IdKeyDigest,
        Self::AuthorKeyDigest,
        Self::FamilyId,
        Self::ImageId,
    ];

    /// Kind of machine, name in a policy, length in bytes.
    const fn facts(self) -> (Kind, &'static str, usize) {
        match self {
            Self::MrEnclave => (Kind::Sgx, "mrenclave", 32),
            Self::MrSigner => (Kind::Sgx, "mrsigner", 32),
            Self::ConfigId => (Kind::Sgx, "config_id", 64),
            Self::IsvFamilyId => (Kind::Sgx, "isv_family_id", 16),
            Self::IsvExtProdId => (Kind::Sgx, "isv_ext_prod_id", 16),
            Self::MrTd => (Kind::Tdx, "mrtd", 48),
            Self::Rtmr0 => (Kind::Tdx, "rtmr0", 48),
            Self::Rtmr1 => (Kind::Tdx, "rtmr1", 48),
            Self::Rtmr2 => (Kind::Tdx, "rtmr2", 48),
            Self::Rtmr3 => (Kind::Tdx, "rtmr3", 48),
            Self::Measurement => (Kind::Snp, "measurement", 48),
            Self::HostData => (Kind::Snp, "host_data", 32),
            Self::IdKeyDigest => (Kind::Snp, "id_key_digest", 48),
            Self::AuthorKeyDigest => (Kind::Snp, "author_key_digest", 48),
            Self::FamilyId => (Kind::Snp, "family_id", 16),
            Self::ImageId => (Kind::Snp, "image_id", 16),
        }
    }

    pub(super) const fn kind(self) -> Kind {
        self.facts().0
    }

    pub(super) const fn name(self) -> &'static str {
        self.facts().1
    }

    pub(super) const fn len(self) -> usize {
        self.facts().2
    }

    /// What a machine has in this register.
    pub(super) fn read(self, identity: &Identity) -> Option<&[u8]> {
        match identity {
            Identity::Sgx(enclave) => Some(match self {
                Self::MrEnclave => &enclave.mrenclave,
                Self::MrSigner => &enclave.mrsigner,
                Self::ConfigId => &enclave.config_id,
                Self::IsvFamilyId => &enclave.isv_family_id,
                Self::IsvExtProdId => &enclave.isv_ext_prod_id,
                _ => return None,
            }),
            Identity::Tdx(guest) => {
                let [rtmr0, rtmr1, rtmr2, rtmr3] = &guest.rtmr;
                Some(match self {
                    Self::MrTd => &guest.mrtd,
                    Self::Rtmr0 => rtmr0,
                    Self::Rtmr1 => rtmr1,
                    Self::Rtmr2 => rtmr2,
                    Self::Rtmr3 => rtmr3,
                    _ => return None,
                })
            }
            Identity::Snp(guest) => Some(match self {
                Self::Measurement => &guest.measurement,
                Self::HostData => &guest.host_data,
                Self::IdKeyDigest => &guest.id_key_digest,
                Self::AuthorKeyDigest => &guest.author_key_digest,
                Self::FamilyId => &guest.family_id,
                Self::ImageId => &guest.image_id,
                _ => return None,
            }),
            _ => None,
        }
    }
}

/// A number beside the registers: an exact one, or a lowest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Number {
    IsvProdId,
    MinIsvSvn,
    MinGuestSvn,
}

impl Number {
    pub(super) const ALL: [Self; 3] = [Self::IsvProdId, Self::MinIsvSvn, Self::MinGuestSvn];

    /// Kind of machine, name in a policy, largest value.
    const fn facts(self) -> (Kind, &'static str, u32) {
        match self {
            Self::IsvProdId => (Kind::Sgx, "isv_prod_id", u16::MAX as u32),
            Self::MinIsvSvn => (Kind::Sgx, "min_isv_svn", u16::MAX as u32),
            Self::MinGuestSvn => (Kind::Snp, "min_guest_svn", u32::MAX),
        }
    }

    pub(super) const fn kind(self) -> Kind {
        self.facts().0
    }

    pub(super) const fn name(self) -> &'static str {
        self.facts().1
    }

    pub(super) const fn max(self) -> u32 {
        self.facts().2
    }

    pub(super) fn read(self, identity: &Identity) -> Option<u32> {
        match (self, identity) {
            (Self::IsvProdId, Identity::Sgx(enclave)) => Some(enclave.isv_prod_id.into()),
            (Self::MinIsvSvn, Identity::Sgx(enclave)) => Some(enclave.isv_svn.into()),
            (Self::MinGuestSvn, Identity::Snp(guest)) => Some(guest.guest_svn),
            _ => None,
        }
    }

    pub(super) const fn is_minimum(self) -> bool {
        matches!(self, Self::MinIsvSvn | Self::MinGuestSvn)
    }

    pub(super) const fn accepts(self, wanted: u32, found: u32) -> bool {
        found == wanted || self.is_minimum() && found > wanted
    }
}

/// A named set of registers of one kind of machine, each with the values that are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alias {
    pub(super) kind: Kind,
    pub(super) values: BTreeMap<Register, BTreeSet<Vec<u8>>>,
    pub(super) numbers: BTreeMap<Number, u32>,
}
