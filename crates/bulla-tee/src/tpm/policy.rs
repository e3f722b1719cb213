//! To what of a machine with a TPM a key is bound.

use std::collections::BTreeMap;
use std::fmt;

use minicbor::{Decode, Encode};

use super::{BRANCHES_MAX, PCRS};
use crate::Error;
use crate::policy::is_label;

/// Some registers of a TPM, by a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PcrSet(u32);

impl PcrSet {
    /// What [`Policy::measurement`](crate::Policy::measurement) means on a TPM: what was measured of firmware (0, 2), boot loader
    /// (4), keys of secure boot (7), kernel, its command line and initial file system (8, 9, 11), and keys of the boot loader (14). None of them
    /// changes once the system runs, or between two starts of the same software.
    pub const MEASUREMENT: Self = Self(1 | 1 << 2 | 1 << 4 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 11 | 1 << 14);
    /// Every register: what a quote is about.
    pub const ALL: Self = Self(0xFF_FFFF);
    /// Those that only a restart sets back (TCG PC Client Platform TPM Profile): any program can set back 16 and 23.
    const BINDING: u32 = 0x7E_FFFF;

    /// The registers of these bits.
    ///
    /// # Errors
    /// [`Error::UnderBoundPolicy`] for none, or for one that any program can set back (R14).
    pub fn new(bits: u32) -> Result<Self, Error> {
        if bits == 0 {
            return Err(Error::UnderBoundPolicy(
                "it names no register, so anyone on this machine could open",
            ));
        }
        if bits & !Self::BINDING != 0 {
            return Err(Error::UnderBoundPolicy("any program can set PCR 16 and 23 back, and there are 24"));
        }
        Ok(Self(bits))
    }

    /// A bit for each.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether this register is among them.
    pub fn contains(self, register: usize) -> bool {
        register < PCRS && self.0 >> register & 1 == 1
    }

    /// The numbers of the registers, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..PCRS).filter(move |register| self.contains(*register))
    }
}

/// For example `4+7+11`.
impl fmt::Display for PcrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(|register| register.to_string()).collect::<Vec<_>>().join("+"))
    }
}

/// Registers of a TPM, with other values that may open besides the present ones.
///
/// As text: `pcr:4+7+11`, then any number of `,or=REGISTER:HEX+REGISTER:HEX`, each a planned state that differs from the
/// present one in these registers, then at most one `,authority=HEX,label=TEXT`, who may approve of states that are not yet known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrPolicy {
    /// Which registers decide.
    pub pcrs: PcrSet,
    /// Planned states: each differs from the present one in these registers, all of them among those that decide.
    pub alternatives: Vec<BTreeMap<usize, [u8; 32]>>,
    /// Who may approve of other states later.
    pub authority: Option<Authority>,
}

/// Who may approve of states of the registers that are not known when sealing (TPM 2.0 Library, part 3, TPM2_PolicyAuthorize).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Authority {
    /// Its key on P-256: x and y.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: [u8; 64],
    /// For which application or tenant: 1 to 64 visible ASCII characters, none of them a comma (R7). What was approved of once stays
    /// approved of, for every secret that is sealed under the same label.
    #[n(1)]
    pub label: String,
}

impl Authority {
    /// Refuses what no policy can name.
    ///
    /// # Errors
    /// [`Error::UnderBoundPolicy`] for zeros as a key, [`Error::InvalidPolicy`] for a label that is none.
    pub fn check(&self) -> Result<(), Error> {
        if self.key == [0; 64] {
            return Err(Error::UnderBoundPolicy("an authority of zeros is nobody's key"));
        }
        if !is_label(&self.label) {
            let rule = "an authority's label has 1 to 64 visible ASCII characters, none of them a comma";
            return Err(Error::InvalidPolicy(rule.into()));
        }
        Ok(())
    }
}

impl PcrPolicy {
    /// The present values of these registers, and no others.
    pub const fn present(pcrs: PcrSet) -> Self {
        Self { pcrs, alternatives: Vec::new(), authority: None }
    }

    /// Refuses what cannot be asked for or binds too little.
    ///
    /// # Errors
    /// [`Error::UnderBoundPolicy`], [`Error::InvalidPolicy`].
    pub fn check(&self) -> Result<(), Error> {
        PcrSet::new(self.pcrs.bits())?;
        let of_the_policy = |state: &BTreeMap<usize, _>| state.keys().all(|pcr| self.pcrs.contains(*pcr));
        if !self.alternatives.iter().all(|state| !state.is_empty() && of_the_policy(state)) {
            return Err(Error::InvalidPolicy(
                "a planned state names registers of its policy, at least one".into(),
            ));
        }
        if 1 + self.alternatives.len() + usize::from(self.authority.is_some()) > BRANCHES_MAX {
            return Err(Error::InvalidPolicy("a TPM takes 8 states at most, the authority counted".into()));
        }
        self.authority.as_ref().map_or(Ok(()), Authority::check)
    }

    /// What follows `pcr:`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let invalid = || {
            let form = "pcr:N+N[,or=N:HEX+N:HEX]…[,authority=HEX,label=TEXT]";
            Error::InvalidPolicy(format!("a policy of registers is `{form}`, and this is \"pcr:{text}\""))
        };
        let mut terms = text.split(',');
        let numbers = terms.next().unwrap_or_default().split('+');
        let bits = numbers
            .map(|number| register(number).map(|register| 1 << register))
            .try_fold(0, |bits, bit: Option<u32>| bit.map(|bit| bits | bit))
            .ok_or_else(invalid)?;
        let mut policy = Self::present(PcrSet::new(bits)?);
        let (mut key, mut label) = (None, None);
        for term in terms {
            let given = match term.split_once('=').ok_or_else(invalid)? {
                ("or", state) => {
                    policy.alternatives.push(planned(state).ok_or_else(invalid)?);
                    None
                }
                ("authority", hex) => key.replace(array(hex).ok_or_else(invalid)?).map(drop),
                ("label", text) => label.replace(text.to_owned()).map(drop),
                _ => return Err(invalid()),
            };
            if given.is_some() {
                return Err(invalid());
            }
        }
        policy.authority = match (key, label) {
            (None, None) => None,
            (Some(key), Some(label)) => Some(Authority { key, label }),
            (Some(_), None) => {
                return Err(Error::UnderBoundPolicy(
                    "an authority approves under a label, as in label=wallet",
                ));
            }
            (None, Some(_)) => return Err(invalid()),
        };
        policy.check()?;
        Ok(policy)
    }
}

fn register(number: &str) -> Option<usize> {
    number.parse().ok().filter(|register| *register < PCRS)
}

fn planned(state: &str) -> Option<BTreeMap<usize, [u8; 32]>> {
    let mut values = BTreeMap::new();
    for pair in state.split('+') {
        let (number, hex) = pair.split_once(':')?;
        if values.insert(register(number)?, array(hex)?).is_some() {
            return None;
        }
    }
    Some(values)
}

fn array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Display for PcrPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pcr:{}", self.pcrs)?;
        for state in &self.alternatives {
            let values: Vec<_> =
                state.iter().map(|(pcr, value)| format!("{pcr}:{}", hex::encode(value))).collect();
            write!(f, ",or={}", values.join("+"))?;
        }
        match &self.authority {
            Some(Authority { key, label }) => write!(f, ",authority={},label={label}", hex::encode(key)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Policy, Register};

    #[test]
    fn policies_of_registers_come_back_from_their_text() {
        let (a, b, key) = ("aa".repeat(32), "bb".repeat(32), "cd".repeat(64));
        for text in [
            "pcr:7".to_owned(),
            "pcr:0+2+4+7+8+9+14".into(),
            format!("pcr:4+7,or=4:{a}+7:{b},or=7:{a}"),
            format!("pcr:11,or=11:{a},authority={key},label=acme/db"),
        ] {
            let policy: Policy = text.parse().unwrap();
            assert_eq!(policy.to_string(), text);
            assert!(policy.guest_binding().is_none() && policy.registers().next().is_none());
        }
        let pcrs = "pcr:0+2+4+7+8+9+11+14".parse::<Policy>().unwrap();
        assert_eq!(pcrs, Policy::pcrs(super::PcrPolicy::present(super::PcrSet::MEASUREMENT)));
        assert_eq!(pcrs.with_register(Register::MrEnclave).check().unwrap_err().code(), "policy.invalid");
        for bad in [
            "pcr:x".to_owned(),
            "pcr:24".into(),
            "pcr:7,or=".into(),
            format!("pcr:7,or=4:{a}"),
            format!("pcr:7,or=7:{a}+7:{b}"),
            format!("pcr:7,or=7:{}", &a[2..]),
            "pcr:7,label=x".into(),
            format!("pcr:7,authority={key},label="),
            format!("pcr:7,authority={key},label=a,label=b"),
            format!("pcr:7{}", format!(",or=7:{a}").repeat(8)),
            format!("pcr:7{},authority={key},label=x", format!(",or=7:{a}").repeat(7)),
        ] {
            assert_eq!(bad.parse::<Policy>().unwrap_err().code(), "policy.invalid", "{bad}");
        }
        format!("pcr:7{},authority={key},label=x", format!(",or=7:{a}").repeat(6)).parse::<Policy>().unwrap();
    }

    /// R14, R7: what any program can bring about binds to nothing.
    #[test]
    fn registers_that_anyone_sets_back_do_not_bind() {
        let zero = "00".repeat(64);
        for bad in [
            "pcr:16".to_owned(),
            "pcr:7+23".into(),
            format!("pcr:7,authority={zero},label=x"),
            format!("pcr:7,authority={}", "cd".repeat(64)),
        ] {
            assert_eq!(bad.parse::<Policy>().unwrap_err().code(), "policy.under_bound", "{bad}");
        }
        assert_eq!(super::PcrSet::new(0).unwrap_err().code(), "policy.under_bound");
    }
}
