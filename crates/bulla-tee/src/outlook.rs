//! Whether a request gets its key: three answers, and what is known of the machine that they rest on.

use std::fmt;

use crate::{Error, Identity, Mismatch, SnpTcb};

/// Whether a request would get its key.
#[derive(Debug)]
pub enum Outlook {
    /// It would.
    Opens,
    /// That depends on what nobody but the machine can say.
    MayNot(Doubt),
    /// It would not, and this is the error it would end with.
    DoesNot(Error),
}

/// What only the machine can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// Nothing shows that the request was made on this machine.
    Machine,
    /// The machine may get other keys.
    MachineKeys,
    /// The request was made at another CPUSVN, and which of the two is the higher one is the processor's to say (R5).
    Cpusvn,
    /// The request was made at another TCB than the present one, and how far the machine's would fall is not known.
    Tcb,
    /// The request was made under another TDX module, and which of the two is the newer one is the processor's to say.
    TdxModule,
    /// What runs would have other ATTRIBUTES, and which of them enter a key is for the key provider of a guest to say, and for
    /// the manifest of an enclave that has its key from Gramine.
    Attributes,
    /// The key is not bound to the guest's measurement, and whether another guest may have it is for the key provider to say,
    /// by its owner's manifest or the register policy.
    Entitlement,
    /// The registers of the TPM are in no recorded state, and whether the authority has approved of this one is for an approval
    /// of it to show.
    Approval,
}

/// What is known of a machine besides the registers of what runs on it: its keys, and its security version.
///
/// A plan starts [`here`](Self::here), says whether the machine [`confirmed`](Self::confirmed) the request, and goes on to
/// the change in question.
///
/// ```
/// use bulla_tee::{KeyRequest, Outlook, PlatformState, Tee};
///
/// fn survives_a_downgrade(tee: &dyn Tee, request: &KeyRequest) -> Result<bool, bulla_tee::Error> {
///     tee.derive(request)?;
///     let identity = tee.identity()?;
///     let planned = PlatformState::here(&identity).confirmed().after_microcode_down();
///     Ok(matches!(request.opens_under(&identity, &planned), Outlook::Opens))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformState {
    keys: Keys,
    /// None where what runs does not see it: in a TDX guest.
    version: Option<Version>,
    microcode: Microcode,
}

/// What rises with microcode and firmware, and keys are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Of an SGX machine; opaque.
    Cpusvn([u8; 16]),
    /// The committed TCB of a SEV-SNP machine.
    Tcb(SnpTcb),
}

impl Version {
    const fn register(&self) -> &'static str {
        match self {
            Self::Cpusvn(_) => "CPUSVN",
            Self::Tcb(_) => "TCB",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpusvn(cpusvn) => f.write_str(&hex::encode(cpusvn)),
            Self::Tcb(tcb) => tcb.fmt(f),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    Unknown,
    /// Those of the request, which were there at `PlatformState::version`.
    Confirmed,
    MayEnd,
    Other,
}

/// The microcode, relative to that of `PlatformState::version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Microcode {
    Same,
    Newer,
    Older,
    Unknown,
}

impl PlatformState {
    /// The machine that `identity` runs on, as it is now. Whether a request was made on it is not known.
    pub fn here(identity: &Identity) -> Self {
        let version = match identity {
            Identity::Sgx(enclave) => Some(Version::Cpusvn(enclave.cpusvn)),
            Identity::Snp(guest) => Some(Version::Tcb(guest.committed_tcb)),
            Identity::Tdx(_) | Identity::Tpm(_) => None,
        };
        Self { keys: Keys::Unknown, version, microcode: Microcode::Same }
    }

    /// The same, where [`Tee::derive`](crate::Tee::derive) has just given the key of the request in question: it is this
    /// machine's, and its security version is not below the recorded one.
    #[must_use]
    pub const fn confirmed(mut self) -> Self {
        self.keys = Keys::Confirmed;
        self
    }

    /// After an update of the microcode: CPUSVN rises, or on a SEV-SNP machine the TCB.
    #[must_use]
    pub const fn after_microcode_up(mut self) -> Self {
        self.microcode = match self.microcode {
            Microcode::Same | Microcode::Newer => Microcode::Newer,
            Microcode::Older | Microcode::Unknown => Microcode::Unknown,
        };
        self
    }

    /// After a downgrade of the microcode: CPUSVN falls, or on a SEV-SNP machine the TCB.
    #[must_use]
    pub const fn after_microcode_down(mut self) -> Self {
        self.microcode = match self.microcode {
            Microcode::Same | Microcode::Older => Microcode::Older,
            Microcode::Newer | Microcode::Unknown => Microcode::Unknown,
        };
        self
    }

    /// After a firmware update or a new registration of the platform, which can end its keys and need not.
    #[must_use]
    pub const fn after_firmware_update(mut self) -> Self {
        if !matches!(self.keys, Keys::Other) {
            self.keys = Keys::MayEnd;
        }
        self
    }

    /// On another host, with another processor, or after an owner epoch reset: other keys, certainly.
    #[must_use]
    pub const fn with_other_keys(mut self) -> Self {
        self.keys = Keys::Other;
        self
    }

    /// What the machine's keys and its security version mean for a request that was made at `recorded`, and whose key a
    /// machine `at_any_later` one has as well or not; a request of a TDX guest has none of its own, and its provider's root has.
    pub(crate) fn outlook(&self, recorded: Option<Version>, at_any_later: bool) -> Outlook {
        let made_at_present = self.version == recorded;
        match (self.keys, self.microcode, recorded) {
            (Keys::Other, _, _) => Outlook::DoesNot(Error::OtherMachine),
            (_, change @ (Microcode::Newer | Microcode::Older), Some(recorded))
                if made_at_present && !at_any_later =>
            {
                let found = if change == Microcode::Newer { "newer" } else { "older" };
                let (claimed, found) = (recorded.to_string(), found.into());
                let register = recorded.register();
                Outlook::DoesNot(Error::OtherIdentity(Mismatch { register, claimed, found }))
            }
            (_, Microcode::Older, Some(recorded)) if made_at_present => Outlook::DoesNot(Error::TcbTooOld {
                register: recorded.register(),
                sealed: recorded.to_string(),
                current: "older".into(),
            }),
            (Keys::MayEnd, _, _) => Outlook::MayNot(Doubt::MachineKeys),
            (Keys::Unknown, _, _) => Outlook::MayNot(Doubt::Machine),
            (Keys::Confirmed, Microcode::Same | Microcode::Newer, _) => Outlook::Opens,
            (Keys::Confirmed, Microcode::Older | Microcode::Unknown, Some(Version::Tcb(_))) => {
                Outlook::MayNot(Doubt::Tcb)
            }
            (Keys::Confirmed, Microcode::Older | Microcode::Unknown, _) => Outlook::MayNot(Doubt::Cpusvn),
        }
    }
}

impl Outlook {
    /// The register that decides, or what stands for one; none where it opens.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Opens => None,
            Self::MayNot(doubt) => Some(doubt.field()),
            Self::DoesNot(Error::OtherIdentity(mismatch)) => Some(mismatch.register),
            Self::DoesNot(Error::TcbTooOld { register, .. }) => Some(register),
            Self::DoesNot(Error::OtherMachine) => Some(Doubt::MachineKeys.field()),
            Self::DoesNot(_) => Some(Doubt::Machine.field()),
        }
    }

    /// Refuses what certainly does not open; what may not open is then for the machine to say.
    ///
    /// # Errors
    /// That of [`Outlook::DoesNot`].
    pub fn into_result(self) -> Result<(), Error> {
        match self {
            Self::Opens | Self::MayNot(_) => Ok(()),
            Self::DoesNot(error) => Err(error),
        }
    }
}

impl Doubt {
    /// The register that decides, or what stands for one.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::MachineKeys => "machine keys",
            Self::Cpusvn => "CPUSVN",
            Self::Tcb => "TCB",
            Self::TdxModule => "TEE_TCB_SVN",
            Self::Attributes => "ATTRIBUTES",
            Self::Entitlement => "entitlement",
            Self::Approval => "approval",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "nothing shows that it was sealed on this machine: open it here to know",
            Self::MachineKeys => "the machine may get other keys, and those of now are then gone",
            Self::Attributes => {
                "with other ATTRIBUTES, such as DEBUG, a key provider gives a guest another key or none, and so may Gramine"
            }
            Self::Entitlement => {
                "another guest has the key only by a manifest of the owner's, or with the registers that are bound"
            }
            Self::Approval => "the TPM's registers are in no recorded state: it takes an approval of the authority",
            Self::Tcb => "it opens as long as the machine's TCB does not fall below that of the sealing",
            Self::TdxModule => {
                "it was sealed under another TDX module, and only the processor can say which of the two is newer"
            }
            Self::Cpusvn => {
                "it was sealed at another CPUSVN, and only the processor can say which of the two is higher"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{enclave, provider, sgx, sgx_identity, tdx_identity};
    use crate::sgx::SgxRequest;
    use crate::{KeyRequest, Policy, SgxIdentity};

    type Change = fn(PlatformState) -> PlatformState;

    const CHANGES: [(&str, Change); 8] = [
        ("none", |state| state),
        ("up", PlatformState::after_microcode_up),
        ("down", PlatformState::after_microcode_down),
        ("down and up", |state| state.after_microcode_down().after_microcode_up()),
        ("up and down", |state| state.after_microcode_up().after_microcode_down()),
        ("firmware", PlatformState::after_firmware_update),
        ("firmware and down", |state| state.after_firmware_update().after_microcode_down()),
        ("another host", |state| state.with_other_keys().after_firmware_update()),
    ];

    fn check(request: &KeyRequest, start: &PlatformState, identity: &Identity, wanted: [&str; 8]) {
        for ((change, apply), wanted) in CHANGES.into_iter().zip(wanted) {
            let outlook = request.opens_under(identity, &apply(start.clone()));
            let said = match &outlook {
                Outlook::Opens => "opens".to_owned(),
                Outlook::MayNot(doubt) => format!("may not: {}", doubt.field()),
                Outlook::DoesNot(error) => format!("not: {}", error.code()),
            };
            assert_eq!(said, wanted, "{change}");
            assert_eq!(outlook.field().is_none(), wanted == "opens");
            assert_eq!(outlook.into_result().is_err(), wanted.starts_with("not"));
        }
    }

    const OPENS: &str = "opens";
    const MACHINE: &str = "may not: machine";
    const KEYS: &str = "may not: machine keys";
    const CPUSVN: &str = "may not: CPUSVN";
    const TOO_OLD: &str = "not: machine.tcb_too_old";
    const ELSEWHERE: &str = "not: machine.other_machine";

    /// R5, R88.
    #[test]
    fn sealed_at_the_present_cpusvn() {
        let (request, identity) =
            (KeyRequest::Sgx(Box::new(sgx(&Policy::default()))), sgx_identity(enclave()));
        let here = PlatformState::here(&identity);
        let wanted = [MACHINE, MACHINE, TOO_OLD, MACHINE, MACHINE, KEYS, TOO_OLD, ELSEWHERE];
        check(&request, &here, &identity, wanted);
        let wanted = [OPENS, OPENS, TOO_OLD, CPUSVN, CPUSVN, KEYS, TOO_OLD, ELSEWHERE];
        check(&request, &here.confirmed(), &identity, wanted);
    }

    /// R5: what was sealed at another CPUSVN and opens now goes on opening as CPUSVN rises. How far it may fall is not known:
    /// the values are opaque.
    #[test]
    fn sealed_at_another_cpusvn() {
        for cpusvn in [[4; 16], [9; 16]] {
            let sealer = SgxIdentity { cpusvn, ..enclave() };
            let request = SgxRequest::new(&Policy::default(), &sealer, [6; 32]).unwrap();
            let (request, identity) = (KeyRequest::Sgx(Box::new(request)), sgx_identity(enclave()));
            let here = PlatformState::here(&identity);
            let wanted = [MACHINE, MACHINE, MACHINE, MACHINE, MACHINE, KEYS, KEYS, ELSEWHERE];
            check(&request, &here, &identity, wanted);
            let wanted = [OPENS, OPENS, CPUSVN, CPUSVN, CPUSVN, KEYS, KEYS, ELSEWHERE];
            check(&request, &here.confirmed(), &identity, wanted);
        }
    }

    /// The root of a guest's provider has the CPUSVN, and the guest does not see it.
    #[test]
    fn sealed_in_a_guest() {
        let (request, identity) = (KeyRequest::TdxProvider(Box::new(provider())), tdx_identity());
        let here = PlatformState::here(&identity);
        let wanted = [MACHINE, MACHINE, MACHINE, MACHINE, MACHINE, KEYS, KEYS, ELSEWHERE];
        check(&request, &here, &identity, wanted);
        let wanted = [OPENS, OPENS, CPUSVN, CPUSVN, CPUSVN, KEYS, KEYS, ELSEWHERE];
        check(&request, &here.confirmed(), &identity, wanted);
    }

    /// Registers come first: they give the precise reason, whatever the machine.
    #[test]
    fn registers_decide_before_the_machine() {
        let request = KeyRequest::Sgx(Box::new(sgx(&Policy::default())));
        let other = sgx_identity(SgxIdentity { mrenclave: [9; 32], ..enclave() });
        let here = PlatformState::here(&other);
        for (change, apply) in CHANGES {
            assert_eq!(
                request.opens_under(&other, &apply(here.clone())).field(),
                Some("MRENCLAVE"),
                "{change}"
            );
        }
    }
}
