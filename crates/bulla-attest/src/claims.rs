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
    /// The machine, from its PCK certificate.
    pub platform: Platform,
    /// How the machine's TCB stands.
    pub tcb: Tcb,
    /// Until when all items and certificates of this verdict are good, in Unix seconds; that second does not count.
    pub valid_until: u64,
    /// Whether the machine is a simulated one, which protects nothing.
    pub simulated: bool,
    /// The QE ID of the quote's header. The host chooses it, machines share it and one machine has several: it decides
    /// nothing (R36).
    pub qe_id: [u8; 16],
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

/// A machine, as Intel's authorities know it (the SGX extension of its PCK certificate).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
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

impl Platform {
    /// Whether two verified quotes are from one machine: equal PPID, FMSPC, PCEID and CA, and equal instance id where
    /// either has one. A PPID of zero names no machine (R13, R36). SVNs may differ: a machine has a certificate for each
    /// TCB level.
    pub fn same_machine(&self, other: &Self) -> bool {
        self.require_same_machine(other).is_ok()
    }

    /// As [`Platform::same_machine`], saying what differs.
    ///
    /// # Errors
    /// `platform.mismatch`.
    pub fn require_same_machine(&self, other: &Self) -> Result<(), Error> {
        let differing = if self.ppid != other.ppid || self.ppid == [0; 16] {
            "PPIDs"
        } else if self.fmspc != other.fmspc {
            "FMSPCs"
        } else if self.pceid != other.pceid {
            "PCEIDs"
        } else if self.ca != other.ca {
            "CAs"
        } else if self.instance_id != other.instance_id {
            "platform instance ids"
        } else {
            return Ok(());
        };
        Err(Error::OtherMachine(differing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r36_one_machine_is_equal_in_every_name_and_may_differ_in_svns() {
        let platform = Platform {
            ppid: [1; 16],
            fmspc: [2; 6],
            pceid: [0; 2],
            ca: PckCa::Platform,
            instance_id: Some([3; 16]),
            cpusvn: [4; 16],
            pcesvn: 5,
        };
        let same = Platform { cpusvn: [9; 16], pcesvn: 9, ..platform };
        assert!(platform.same_machine(&same) && same.same_machine(&platform));
        let others = [
            Platform { ppid: [9; 16], ..platform },
            Platform { fmspc: [9; 6], ..platform },
            Platform { pceid: [9; 2], ..platform },
            Platform { ca: PckCa::Processor, ..platform },
            Platform { instance_id: Some([9; 16]), ..platform },
            Platform { instance_id: None, ..platform },
        ];
        for other in others {
            assert_eq!(
                platform.require_same_machine(&other).unwrap_err().code(),
                "platform.mismatch",
                "{other:?}"
            );
            assert!(!other.same_machine(&platform), "{other:?}");
        }
        // R13: a zero names no machine.
        let zero = Platform { ppid: [0; 16], ..platform };
        assert!(!zero.same_machine(&zero.clone()));
    }
}
