//! Who a report is of, by the layout that the processor's family has for versions.

use super::arch::Report;
use crate::{SnpIdentity, SnpTcb};

/// How TCB_VERSION is laid out (AMD SEV-SNP Firmware ABI specification, TCB_VERSION). In both layouts each byte is a part of
/// its own, and what is reserved is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcbLayout {
    /// Milan and Genoa.
    Milan,
    /// Turin and later.
    Turin,
}

impl TcbLayout {
    /// That of the processor that a report names. Reports before version 3 name none, and are of Milan or Genoa.
    pub const fn of([family, ..]: [u8; 3]) -> Self {
        if family < 0x1A { Self::Milan } else { Self::Turin }
    }

    /// Reads TCB_VERSION; none where a reserved byte is not zero.
    pub const fn read(self, raw: [u8; 8]) -> Option<SnpTcb> {
        match (self, raw) {
            (Self::Milan, [bootloader, tee, 0, 0, 0, 0, snp, microcode]) => {
                Some(SnpTcb { fmc: 0, bootloader, tee, snp, microcode })
            }
            (Self::Turin, [fmc, bootloader, tee, snp, 0, 0, 0, microcode]) => {
                Some(SnpTcb { fmc, bootloader, tee, snp, microcode })
            }
            _ => None,
        }
    }
}

impl Report {
    /// Who it is of. Nothing of it is verified.
    ///
    /// # Errors
    /// The TCB_VERSION that is not of this layout.
    pub fn identity(&self, layout: TcbLayout) -> Result<SnpIdentity, [u8; 8]> {
        let tcb = |raw| layout.read(raw).ok_or(raw);
        Ok(SnpIdentity {
            measurement: self.measurement,
            host_data: self.host_data,
            id_key_digest: self.id_key_digest,
            author_key_digest: self.author_key_digest,
            family_id: self.family_id,
            image_id: self.image_id,
            guest_svn: self.guest_svn.get(),
            policy: self.policy.get(),
            vmpl: self.vmpl.get(),
            platform_info: self.platform_info.get(),
            reported_tcb: tcb(self.reported_tcb)?,
            current_tcb: tcb(self.current_tcb)?,
            committed_tcb: tcb(self.committed_tcb)?,
            launch_tcb: tcb(self.launch_tcb)?,
            report_id: self.report_id,
            report_id_ma: self.report_id_ma,
            chip_id: self.chip_id,
            cpuid: self.cpuid,
            launch_mitigations: self.launch_mitigations.get(),
            current_mitigations: self.current_mitigations.get(),
        })
    }
}

impl SnpTcb {
    /// Whether no part of it is below that of `other`.
    pub fn reaches(&self, other: &Self) -> bool {
        self.fmc >= other.fmc
            && self.bootloader >= other.bootloader
            && self.tee >= other.tee
            && self.snp >= other.snp
            && self.microcode >= other.microcode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_layout() {
        let raw = [1, 2, 0, 0, 0, 0, 7, 8];
        let milan = SnpTcb { fmc: 0, bootloader: 1, tee: 2, snp: 7, microcode: 8 };
        assert_eq!(TcbLayout::of([0x19, 1, 1]).read(raw), Some(milan));
        assert_eq!(TcbLayout::of([0; 3]).read(raw), Some(milan));
        let turin = SnpTcb { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 8 };
        assert_eq!(TcbLayout::of([0x1A, 2, 1]).read([1, 2, 3, 4, 0, 0, 0, 8]), Some(turin));
        for at in 2..6 {
            let mut bad = raw;
            bad[at] = 1;
            assert_eq!(TcbLayout::Milan.read(bad), None, "{at}");
        }
        for at in 4..7 {
            let mut bad = [1, 2, 3, 4, 0, 0, 0, 8];
            bad[at] = 1;
            assert_eq!(TcbLayout::Turin.read(bad), None, "{at}");
        }
    }

    /// R5: a component alone decides.
    #[test]
    fn a_tcb_is_reached_by_every_part() {
        let tcb = SnpTcb { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 5 };
        assert!(tcb.reaches(&tcb));
        let above = [
            SnpTcb { fmc: 2, ..tcb },
            SnpTcb { bootloader: 3, ..tcb },
            SnpTcb { tee: 4, ..tcb },
            SnpTcb { snp: 5, ..tcb },
            SnpTcb { microcode: 6, ..tcb },
        ];
        for above in above {
            assert!(above.reaches(&tcb) && !tcb.reaches(&above), "{above}");
        }
    }
}
