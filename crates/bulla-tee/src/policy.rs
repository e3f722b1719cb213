//! What a key is bound to.

use std::fmt;
use std::str::FromStr;

use crate::sgx::arch::{
    KEYPOLICY_CONFIGID, KEYPOLICY_ISVEXTPRODID, KEYPOLICY_ISVFAMILYID, KEYPOLICY_MRENCLAVE,
    KEYPOLICY_MRSIGNER,
};
use crate::{Error, GuestBinding, PcrPolicy};

const LABEL_MAX: usize = 64;

/// What a new key is bound to: some registers of the machine, MRENCLAVE or MRSIGNER among them.
///
/// ```
/// use bulla_tee::{Policy, Register, SignerPolicy};
///
/// let release = SignerPolicy { product: 1, min_svn: 2, label: "acme".into() };
/// let policy = Policy::signer(release).with_register(Register::ConfigId);
/// assert_eq!(policy.to_string(), "registers:MRSIGNER+CONFIGID,product=1,svn=2,label=acme");
/// assert_eq!(policy, policy.to_string().parse()?);
/// assert_eq!(Policy::default(), "measurement".parse()?);
/// # Ok::<(), bulla_tee::Error>(())
/// ```
///
/// As text, a policy is one of these:
///
/// | form | means |
/// |---|---|
/// | `measurement` | [`Policy::measurement`] |
/// | `signer:product=N,svn=N,label=TEXT` | [`Policy::signer`] |
/// | `registers:NAME+NAME…` | those [`Register`]s; with MRSIGNER follow `,product=N,svn=N,label=TEXT` |
/// | `owner:HEX,product=NAME,svn=N`, `register-policy:NAME,version=N` | [`Policy::guest`], of a TDX guest with a key provider |
/// | `pcr:N+N…` | [`Policy::pcrs`], of a TPM; [`PcrPolicy`] has more |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The KEYPOLICY bits of the registers.
    keypolicy: u16,
    signer: Option<SignerPolicy>,
    /// [`GuestBinding::Measurement`] wherever registers are named.
    guest: GuestBinding,
    /// None wherever anything else is named.
    pcrs: Option<Box<PcrPolicy>>,
}

/// A register that a key can be bound to (Intel SDM vol. 3D, KEYPOLICY).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Register {
    /// MRENCLAVE: exactly this program.
    MrEnclave,
    /// MRSIGNER: every program of this signer that the [`SignerPolicy`] admits.
    MrSigner,
    /// CONFIGID, which the loader chose, and CONFIGSVN at or above the present one. Needs KSS.
    ConfigId,
    /// ISVFAMILYID, which the signer chose. Needs KSS.
    IsvFamilyId,
    /// ISVEXTPRODID, which the signer chose. Needs KSS.
    IsvExtProdId,
}

/// Which programs of a signer a key is for (R7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerPolicy {
    /// ISVPRODID. It must be that of the program that seals.
    pub product: u16,
    /// The lowest ISVSVN that may open, at most that of the program that seals.
    pub min_svn: u16,
    /// For which application or tenant: 1 to 64 visible ASCII characters, none of them a comma. It enters every derivation
    /// from the key.
    pub label: String,
}

impl Policy {
    /// Exactly this program: MRENCLAVE, or the bound registers of a TDX guest (R8). The default.
    pub fn measurement() -> Self {
        Self::guest(GuestBinding::Measurement)
    }

    /// Every program of this program's signer that `signer` admits.
    pub fn signer(signer: SignerPolicy) -> Self {
        Self {
            keypolicy: KEYPOLICY_MRSIGNER,
            signer: Some(signer),
            guest: GuestBinding::Measurement,
            pcrs: None,
        }
    }

    /// What the key provider of a TDX guest binds to. Where that is the measurement, it is [`Policy::measurement`].
    pub fn guest(binding: GuestBinding) -> Self {
        let keypolicy = if binding == GuestBinding::Measurement { KEYPOLICY_MRENCLAVE } else { 0 };
        Self { keypolicy, signer: None, guest: binding, pcrs: None }
    }

    /// Registers of a TPM.
    pub fn pcrs(pcrs: PcrPolicy) -> Self {
        Self { keypolicy: 0, signer: None, guest: GuestBinding::Measurement, pcrs: Some(Box::new(pcrs)) }
    }

    /// The same, bound to one more register.
    #[must_use]
    pub fn with_register(mut self, register: Register) -> Self {
        self.keypolicy |= register.keypolicy();
        self
    }

    /// The registers, in the order of their KEYPOLICY bits.
    pub fn registers(&self) -> impl Iterator<Item = Register> {
        Register::ALL.into_iter().filter(|register| self.selects(*register))
    }

    /// Product, lowest version and label, where MRSIGNER is among the registers.
    pub fn signer_policy(&self) -> Option<&SignerPolicy> {
        self.signer.as_ref()
    }

    /// What it means to the key provider of a TDX guest; none where it names what only enclaves have.
    pub fn guest_binding(&self) -> Option<&GuestBinding> {
        let binding = &self.guest;
        (*self == Self::guest(binding.clone())).then_some(binding)
    }

    /// The registers of a TPM, where it names them.
    pub fn pcr_policy(&self) -> Option<&PcrPolicy> {
        self.pcrs.as_deref()
    }

    /// Refuses what binds too little. Every machine does this before it binds a key.
    ///
    /// # Errors
    /// [`Error::UnderBoundPolicy`] without MRENCLAVE and MRSIGNER (R14), or with MRSIGNER and without product, version and
    /// label (R7); [`Error::InvalidPolicy`] for a label with other characters or a longer one.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(pcrs) = &self.pcrs {
            if *self != Self::pcrs(pcrs.as_ref().clone()) {
                let rule = "registers of a TPM and of an enclave do not go together";
                return Err(Error::InvalidPolicy(rule.into()));
            }
            return pcrs.check();
        }
        if self.guest != GuestBinding::Measurement {
            if self.guest_binding().is_none() {
                return Err(Error::InvalidPolicy(
                    "registers of an enclave and an owner do not go together".into(),
                ));
            }
            return self.guest.check();
        }
        if !self.selects(Register::MrEnclave) && !self.selects(Register::MrSigner) {
            return Err(Error::UnderBoundPolicy(
                "it names neither MRENCLAVE nor MRSIGNER, so anyone could open",
            ));
        }
        match &self.signer {
            None if self.selects(Register::MrSigner) => Err(Error::UnderBoundPolicy(
                "MRSIGNER needs product, svn and label, or all that its signer ever signs could open",
            )),
            Some(signer) => signer.check(),
            None => Ok(()),
        }
    }

    /// The policy of a recorded KEYPOLICY, with the signer's terms if it has MRSIGNER.
    pub(crate) fn of_keypolicy(keypolicy: u16, signer: SignerPolicy) -> Self {
        let keypolicy = keypolicy & KEYPOLICY_REGISTERS;
        let signer = (keypolicy & KEYPOLICY_MRSIGNER != 0).then_some(signer);
        Self { keypolicy, signer, guest: GuestBinding::Measurement, pcrs: None }
    }

    pub(crate) fn keypolicy(&self) -> u16 {
        self.keypolicy
    }

    fn selects(&self, register: Register) -> bool {
        self.keypolicy & register.keypolicy() != 0
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::measurement()
    }
}

impl Register {
    const ALL: [Self; 5] =
        [Self::MrEnclave, Self::MrSigner, Self::ConfigId, Self::IsvFamilyId, Self::IsvExtProdId];

    /// The register's name in Intel's manual.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MrEnclave => "MRENCLAVE",
            Self::MrSigner => "MRSIGNER",
            Self::ConfigId => "CONFIGID",
            Self::IsvFamilyId => "ISVFAMILYID",
            Self::IsvExtProdId => "ISVEXTPRODID",
        }
    }

    pub(crate) const fn keypolicy(self) -> u16 {
        match self {
            Self::MrEnclave => KEYPOLICY_MRENCLAVE,
            Self::MrSigner => KEYPOLICY_MRSIGNER,
            Self::ConfigId => KEYPOLICY_CONFIGID,
            Self::IsvFamilyId => KEYPOLICY_ISVFAMILYID,
            Self::IsvExtProdId => KEYPOLICY_ISVEXTPRODID,
        }
    }
}

/// The KEYPOLICY bits of all registers: NOISVPRODID, which would leave the product out, is not among them.
pub(crate) const KEYPOLICY_REGISTERS: u16 = KEYPOLICY_MRENCLAVE
    | KEYPOLICY_MRSIGNER
    | KEYPOLICY_CONFIGID
    | KEYPOLICY_ISVFAMILYID
    | KEYPOLICY_ISVEXTPRODID;

impl SignerPolicy {
    fn check(&self) -> Result<(), Error> {
        if self.label.is_empty() {
            return Err(Error::UnderBoundPolicy("a signer policy has a label, and this one is empty"));
        }
        if !is_label(&self.label) {
            let rule = "a label has 1 to 64 visible ASCII characters, none of them a comma";
            return Err(Error::InvalidPolicy(rule.into()));
        }
        Ok(())
    }
}

pub(crate) fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    (1..=LABEL_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pcrs) = &self.pcrs {
            return pcrs.fmt(f);
        }
        if self.guest != GuestBinding::Measurement {
            return self.guest.fmt(f);
        }
        let names: Vec<_> = self.registers().map(Register::name).collect();
        let form = match (names.as_slice(), &self.signer) {
            (["MRENCLAVE"], None) => "measurement".to_owned(),
            (["MRSIGNER"], Some(signer)) => format!("signer:{signer}"),
            (_, None) => format!("registers:{}", names.join("+")),
            (_, Some(signer)) => format!("registers:{},{signer}", names.join("+")),
        };
        f.write_str(&form)
    }
}

impl fmt::Display for SignerPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "product={},svn={},label={}", self.product, self.min_svn, self.label)
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let policy = match text.split_once(':') {
            None if text == "measurement" => Self::measurement(),
            Some(("signer", terms)) => Self::signer(terms.parse()?),
            Some(("registers", rest)) => {
                let (names, terms) = rest.split_once(',').map_or((rest, None), |(a, b)| (a, Some(b)));
                let keypolicy = names
                    .split('+')
                    .try_fold(0, |bits, name| register(name).map(|register| bits | register.keypolicy()))?;
                if terms.is_some() && keypolicy & KEYPOLICY_MRSIGNER == 0 {
                    return Err(Error::InvalidPolicy("product, svn and label go with MRSIGNER".into()));
                }
                let signer = terms.map(str::parse).transpose()?;
                Self { keypolicy, signer, guest: GuestBinding::Measurement, pcrs: None }
            }
            Some(("pcr", rest)) => Self::pcrs(PcrPolicy::parse(rest)?),
            Some(("owner" | "register-policy", _)) => Self::guest(text.parse()?),
            _ => {
                let forms = "a policy is `measurement`, `signer:product=N,svn=N,label=TEXT`, `registers:NAME+NAME`, `pcr:N+N`, \
                             `owner:HEX,product=NAME,svn=N` or `register-policy:NAME,version=N`";
                return Err(Error::InvalidPolicy(format!("{forms}, and this is {text:?}")));
            }
        };
        policy.check()?;
        Ok(policy)
    }
}

fn register(name: &str) -> Result<Register, Error> {
    Register::ALL.into_iter().find(|register| register.name() == name).ok_or_else(|| {
        let names = Register::ALL.map(Register::name).join(", ");
        Error::InvalidPolicy(format!("{name:?} is not a register: there are {names}"))
    })
}

impl FromStr for SignerPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (mut product, mut min_svn, mut label) = (None, None, None);
        for field in text.split(',').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let before = match name {
                "product" => product.replace(number(name, value)?).is_some(),
                "svn" => min_svn.replace(number(name, value)?).is_some(),
                "label" => label.replace(value.to_owned()).is_some(),
                _ => {
                    let fields = "a signer policy has product, svn and label";
                    return Err(Error::InvalidPolicy(format!("{fields}, and not {name:?}")));
                }
            };
            if before {
                return Err(Error::InvalidPolicy(format!("{name} is given twice")));
            }
        }
        let missing = Error::UnderBoundPolicy;
        Ok(Self {
            product: product.ok_or(missing("a signer policy names the product, as in product=1"))?,
            min_svn: min_svn.ok_or(missing("a signer policy names the lowest version, as in svn=1"))?,
            label: label.ok_or(missing("a signer policy names the application, as in label=wallet"))?,
        })
    }
}

fn number(name: &str, value: &str) -> Result<u16, Error> {
    value.parse().map_err(|_| {
        Error::InvalidPolicy(format!("{name} is a number between 0 and 65535, and this is {value:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> &'static str {
        text.parse::<Policy>().unwrap_err().code()
    }

    /// R8.
    #[test]
    fn measurement_is_the_default() {
        assert_eq!(Policy::default(), Policy::measurement());
        assert_eq!(Policy::default().to_string(), "measurement");
        assert_eq!(Policy::default().registers().collect::<Vec<_>>(), [Register::MrEnclave]);
    }

    #[test]
    fn policies_come_back_from_their_text() {
        let signer = || SignerPolicy { product: 1, min_svn: 2, label: "acme/wallet:7=a".into() };
        let policies = [
            (Policy::measurement(), "measurement"),
            (Policy::signer(signer()), "signer:product=1,svn=2,label=acme/wallet:7=a"),
            (
                Policy::measurement().with_register(Register::IsvExtProdId).with_register(Register::ConfigId),
                "registers:MRENCLAVE+CONFIGID+ISVEXTPRODID",
            ),
            (
                Policy::signer(signer()).with_register(Register::IsvFamilyId),
                "registers:MRSIGNER+ISVFAMILYID,product=1,svn=2,label=acme/wallet:7=a",
            ),
            (
                Policy::signer(signer()).with_register(Register::MrEnclave),
                "registers:MRENCLAVE+MRSIGNER,product=1,svn=2,label=acme/wallet:7=a",
            ),
        ];
        for (policy, text) in policies {
            assert_eq!(policy.to_string(), text);
            assert_eq!(text.parse::<Policy>().unwrap(), policy);
        }
        // One policy has several texts, and writes one.
        assert_eq!("registers:MRENCLAVE".parse::<Policy>().unwrap(), Policy::measurement());
        let other_order = "signer:label=acme/wallet:7=a,svn=2,product=1";
        assert_eq!(other_order.parse::<Policy>().unwrap(), Policy::signer(signer()));
    }

    /// R14: without MRENCLAVE or MRSIGNER any program could have the key.
    #[test]
    fn a_policy_without_an_identity_is_refused() {
        for text in ["registers:CONFIGID", "registers:ISVFAMILYID+ISVEXTPRODID+CONFIGID"] {
            assert_eq!(code(text), "policy.under_bound", "{text}");
        }
        let policy = Policy { keypolicy: 0, signer: None, guest: GuestBinding::Measurement, pcrs: None };
        let error = policy.check().unwrap_err();
        assert_eq!((error.code(), error.class()), ("policy.under_bound", bulla_crypto::Class::Usage));
    }

    /// R7: nothing of a signer policy has a default.
    #[test]
    fn a_signer_policy_names_product_version_and_label() {
        let fields = ["product=1", "svn=2", "label=acme"];
        for missing in 0..fields.len() {
            let given: Vec<_> =
                fields.iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, f)| *f).collect();
            for start in ["signer:", "registers:MRSIGNER,", "registers:MRSIGNER+CONFIGID,"] {
                let text = format!("{start}{}", given.join(","));
                assert_eq!(code(&text), "policy.under_bound", "{text}");
            }
        }
        let none = ["signer:", "registers:MRSIGNER", "registers:MRENCLAVE+MRSIGNER", "registers:MRSIGNER,"];
        for text in none {
            assert_eq!(code(text), "policy.under_bound", "{text}");
        }
        assert_eq!(code("signer:product=1,svn=2,label="), "policy.under_bound");
        let policy = Policy::measurement().with_register(Register::MrSigner);
        assert_eq!(policy.check().unwrap_err().code(), "policy.under_bound");
    }

    /// What a provider binds a guest to is a policy of its own, and nothing that an enclave has is added to it.
    #[test]
    fn a_guests_binding_is_a_policy() {
        let text = format!("owner:{},product=wallet,svn=3", "ab".repeat(32));
        let policy: Policy = text.parse().unwrap();
        assert_eq!(policy.to_string(), text);
        assert_eq!(policy.registers().count(), 0);
        assert_eq!(policy.guest_binding(), Some(&text.parse().unwrap()));
        assert_eq!(Policy::measurement().guest_binding(), Some(&GuestBinding::Measurement));
        assert_eq!(code(&text.replace("ab", "00")), "policy.under_bound");
        for register in [Register::MrEnclave, Register::ConfigId] {
            let mixed = policy.clone().with_register(register);
            assert_eq!(mixed.check().unwrap_err().code(), "policy.invalid");
            assert_eq!(mixed.guest_binding(), None);
        }
        assert_eq!("registers:MRENCLAVE+CONFIGID".parse::<Policy>().unwrap().guest_binding(), None);
    }

    #[test]
    fn anything_else_is_not_a_policy() {
        let texts = [
            "",
            "measurement:",
            "Measurement",
            "signer",
            "registers",
            "registers:",
            "registers:mrenclave",
            "registers:MRENCLAVE+",
            "registers:MRENCLAVE CONFIGID",
            "registers:MRENCLAVE+NOISVPRODID",
            "registers:MRENCLAVE,product=1,svn=2,label=acme",
            "signer:product=1,svn=2,label=acme,tenant=x",
            "signer:product=1,svn=2,label=acme,more",
            "signer:product=1,product=1,svn=2,label=acme",
            "signer:product=65536,svn=2,label=acme",
            "signer:product=1,svn=-1,label=acme",
            "signer:product=1,svn=,label=acme",
            "signer:product=1,svn=2,label=two words",
            "signer:product=1,svn=2,label=\u{e9}",
        ];
        for text in texts {
            assert_eq!(code(text), "policy.invalid", "{text}");
        }
        let label = |length| SignerPolicy { product: 1, min_svn: 2, label: "x".repeat(length) };
        assert!(label(64).check().is_ok());
        assert_eq!(label(65).check().unwrap_err().code(), "policy.invalid");
    }
}
