//! What verified evidence says.

use bulla_tee::Identity;

use crate::{Error, PckCa, Tcb};

/// What verified evidence says: who runs, on which machine, and how that machine stands.
///
/// A quote is not a canonical byte string (ECDSA signatures have two forms, PEM has line breaks), so neither its bytes
/// nor their hash are an identity, a nonce or a cache key: what is here is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who runs: every register of the report.
    pub identity: Identity,
    /// What the evidence was made for: 64 bytes of its maker's choice. Compare them with
    /// [`Claims::require_report_data`].
    pub report_data: [u8; 64],
    /// The machine, from a certificate that its vendor issued for it.
    pub platform: Platform,
    /// How the machine's TCB stands.
    pub tcb: Tcb,
    /// Until when all items and certificates of this verdict are good, in Unix seconds; that second does not count.
    pub valid_until: u64,
    /// Whether the machine is a simulated one, which protects nothing.
    pub simulated: bool,
    /// Whether the evidence was made on the very machine that judged it: its processor knew its own MAC, and `platform` is what
    /// its own verified quote says (R35). Of a quote it is never known this way: compare `platform`.
    pub local: bool,
    /// At which time, with collateral of when, and above which floor it was judged: for whoever asks for a minimum of these.
    /// The TCB evaluation number is in `tcb`.
    pub basis: Basis,
}

/// What a verdict rests on beside evidence and policy. Times are Unix seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// The time that was taken for now: a clock's word (R30).
    pub time: u64,
    /// The latest issue of an item of the collateral: a time that a signature proves. `None` where nothing in it says so.
    pub issued: Option<u64>,
    /// The lowest acceptable time, if the verifier has a floor ([`Verifier::with_floor`](crate::Verifier::with_floor)).
    pub floor: Option<u64>,
}

impl Claims {
    /// Refuses evidence that was made for something else.
    ///
    /// # Errors
    /// `binding.report_data`.
    pub fn require_report_data(&self, wanted: &[u8; 64]) -> Result<(), Error> {
        if self.report_data == *wanted { Ok(()) } else { Err(Error::ReportData) }
    }
}

/// A machine, as its vendor's authorities know it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Platform {
    /// By Intel, of an SGX or a TDX quote.
    Intel(IntelPlatform),
    /// By AMD, of a SEV-SNP report.
    Amd(AmdPlatform),
}

impl Platform {
    /// What names the machine: its PPID or CHIP_ID. `None` where nothing names it: a zero (R13), and SEV-SNP reports of
    /// machines that hide their CHIP_ID or sign with a key of their provider. Never an input of a key.
    ///
    /// Equal names alone are no proof of one machine: [`Platform::same_machine`] compares more.
    pub fn id(&self) -> Option<&[u8]> {
        let id = match self {
            Self::Intel(platform) => platform.ppid.as_slice(),
            Self::Amd(platform) => platform.chip_id.as_ref()?.as_slice(),
        };
        id.iter().any(|byte| *byte != 0).then_some(id)
    }

    /// What Intel knows of the machine.
    pub const fn intel(&self) -> Option<&IntelPlatform> {
        match self {
            Self::Intel(platform) => Some(platform),
            Self::Amd(_) => None,
        }
    }

    /// What AMD knows of the machine.
    pub const fn amd(&self) -> Option<&AmdPlatform> {
        match self {
            Self::Intel(_) => None,
            Self::Amd(platform) => Some(platform),
        }
    }

    /// Whether two pieces of verified evidence are from one machine (R36).
    ///
    /// Intel: equal PPID, FMSPC, PCEID and CA, and equal instance id where either has one. AMD: equal CHIP_ID and product.
    /// What names no machine ([`Platform::id`]) is never from the same one. Security versions may differ: a machine has a
    /// certificate for each TCB level.
    pub fn same_machine(&self, other: &Self) -> bool {
        self.require_same_machine(other).is_ok()
    }

    /// As [`Platform::same_machine`], saying what differs.
    ///
    /// # Errors
    /// `platform.mismatch`.
    pub fn require_same_machine(&self, other: &Self) -> Result<(), Error> {
        let differing = match (self, other) {
            (Self::Intel(one), Self::Intel(other)) => one.difference(other),
            (Self::Amd(one), Self::Amd(other)) => one.difference(other),
            (Self::Intel(_) | Self::Amd(_), _) => Some("their vendors differ"),
        };
        let nameless = || self.id().is_none().then_some("the evidence names no machine");
        differing.or_else(nameless).map_or(Ok(()), |why| Err(Error::OtherMachine(why)))
    }
}

/// A machine, as Intel's authorities know it (the SGX extension of its PCK certificate).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntelPlatform {
    /// Platform provisioning id: names the machine until its firmware or registration changes it. Never an input of a key.
    pub ppid: [u8; 16],
    /// Family, model, stepping, platform type and SKU; shared by many machines.
    pub fmspc: [u8; 6],
    /// Which provisioning certification enclave.
    pub pceid: [u8; 2],
    /// Who issued the certificate.
    pub ca: PckCa,
    /// Names a registration of a machine; from the platform CA only.
    pub instance_id: Option<[u8; 16]>,
    /// The CPUSVN that the certificate is for: a TCB level at or below the processor's own.
    pub cpusvn: [u8; 16],
    /// The SVN of the provisioning certification enclave that the certificate is for.
    pub pcesvn: u16,
}

impl IntelPlatform {
    fn difference(&self, other: &Self) -> Option<&'static str> {
        [
            (self.ppid != other.ppid, "the PPIDs of the two PCK certificates differ"),
            (self.fmspc != other.fmspc, "the FMSPCs of the two PCK certificates differ"),
            (self.pceid != other.pceid, "the PCEIDs of the two PCK certificates differ"),
            (self.ca != other.ca, "the CAs of the two PCK certificates differ"),
            (
                self.instance_id != other.instance_id,
                "the platform instance ids of the two PCK certificates differ",
            ),
        ]
        .into_iter()
        .find_map(|(differs, why)| differs.then_some(why))
    }
}

/// A machine, as AMD's authorities know it (the certificate of the key that signs its reports, and the report).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmdPlatform {
    /// Names the processor, in the certificate and in the report alike; on Turin and later 8 bytes and zeros. `None` where
    /// the machine hides it, and where the report is signed by a key of the machine's provider. Never an input of a key.
    pub chip_id: Option<[u8; 64]>,
    /// The processor family, by the root that the chain leads to.
    pub product: AmdProduct,
    /// The cloud provider that has its own key (VLEK) in its machines and signed with it. Such evidence is of one of many
    /// machines.
    pub csp_id: Option<String>,
    /// Whether AMD's revocation list was there and names none of the issuers.
    pub revocation_checked: bool,
}

impl AmdPlatform {
    fn difference(&self, other: &Self) -> Option<&'static str> {
        [
            (self.chip_id != other.chip_id, "the CHIP_IDs of the two reports differ"),
            (self.product != other.product, "the processor families of the two reports differ"),
        ]
        .into_iter()
        .find_map(|(differs, why)| differs.then_some(why))
    }
}

/// A family of processors with SEV-SNP that has a root certificate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AmdProduct {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004: Genoa, Bergamo and Siena.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl AmdProduct {
    /// Every product.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The name in AMD's certificates and in the addresses of its key distribution service, for example `Milan`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intel(change: impl FnOnce(&mut IntelPlatform)) -> Platform {
        let mut platform = IntelPlatform {
            ppid: [1; 16],
            fmspc: [2; 6],
            pceid: [0; 2],
            ca: PckCa::Platform,
            instance_id: Some([3; 16]),
            cpusvn: [4; 16],
            pcesvn: 5,
        };
        change(&mut platform);
        Platform::Intel(platform)
    }

    fn amd(change: impl FnOnce(&mut AmdPlatform)) -> Platform {
        let mut platform = AmdPlatform {
            chip_id: Some([1; 64]),
            product: AmdProduct::Milan,
            csp_id: None,
            revocation_checked: true,
        };
        change(&mut platform);
        Platform::Amd(platform)
    }

    fn differ(one: &Platform, other: &Platform) {
        assert_eq!(
            one.require_same_machine(other).unwrap_err().code(),
            "platform.mismatch",
            "{one:?} {other:?}"
        );
        assert!(!other.same_machine(one), "{one:?} {other:?}");
    }

    #[test]
    fn r36_one_machine_is_equal_in_every_name_and_may_differ_in_svns() {
        let platform = intel(|_| {});
        let same = intel(|it| (it.cpusvn, it.pcesvn) = ([9; 16], 9));
        assert!(platform.same_machine(&same) && same.same_machine(&platform));
        assert_eq!(platform.id(), Some(&[1; 16][..]));
        let others = [
            intel(|it| it.ppid = [9; 16]),
            intel(|it| it.fmspc = [9; 6]),
            intel(|it| it.pceid = [9; 2]),
            intel(|it| it.ca = PckCa::Processor),
            intel(|it| it.instance_id = Some([9; 16])),
            intel(|it| it.instance_id = None),
        ];
        for other in others {
            differ(&other, &platform);
        }
        // R13: a zero names no machine.
        let zero = intel(|it| it.ppid = [0; 16]);
        differ(&zero, &zero);
        assert_eq!(zero.id(), None);
    }

    #[test]
    fn r36_amd_machines_are_one_by_chip_id_and_nameless_ones_never() {
        let platform = amd(|_| {});
        assert!(platform.same_machine(&platform));
        assert_eq!(platform.id(), Some(&[1; 64][..]));
        differ(&platform, &amd(|it| it.chip_id = Some([9; 64])));
        differ(&platform, &amd(|it| it.product = AmdProduct::Turin));
        differ(&platform, &intel(|_| {}));
        // R13, N65: of one of many machines.
        for nameless in [amd(|it| it.chip_id = None), amd(|it| it.chip_id = Some([0; 64]))] {
            differ(&nameless, &nameless);
            assert_eq!(nameless.id(), None);
        }
    }
}
