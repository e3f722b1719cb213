//! The backend: a program in a SEV-SNP guest.

use std::path::Path;

use bulla_crypto::{RandomSource, Secret};
use zerocopy::IntoBytes;

use super::arch::{KeyReq, Report, VERSIONS, key_info};
use super::identity::TcbLayout;
use super::request::SnpRequest;
use super::source::Source;
use crate::sgx::Processor;
use crate::{
    DerivedKey, Error, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, SnpIdentity, Tee,
    is_simulated_chip,
};

const DEVICE: &str = "the security processor";

/// A program in a SEV-SNP guest. Its security processor makes reports, and derives keys from a secret of the chip at the TCB
/// that a request names.
pub struct SnpGuest {
    processor: Processor,
    source: Source,
    random: Box<dyn RandomSource>,
}

impl SnpGuest {
    /// The guest that this process runs in, whose device and pseudo-files are below `root`: `/`.
    ///
    /// ```no_run
    /// use std::path::Path;
    ///
    /// use bulla_crypto::RandomSource;
    /// use bulla_tee::sgx::Processor;
    /// use bulla_tee::snp::SnpGuest;
    ///
    /// # fn show(random: Box<dyn RandomSource>) -> Result<(), bulla_tee::Error> {
    /// let guest = SnpGuest::new(Processor::Real, random, Path::new("/"));
    /// println!("{:?}", guest.snp_identity()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(processor: Processor, random: Box<dyn RandomSource>, root: &Path) -> Self {
        Self { processor, source: Source::new(root), random }
    }

    /// Who this guest is, after a report.
    ///
    /// # Errors
    /// As [`Tee::identity`].
    pub fn snp_identity(&self) -> Result<SnpIdentity, Error> {
        Ok(self.own(&[0; 64])?.1)
    }

    /// A report of ours over `data`, and who it says that we are.
    fn own(&self, data: &[u8; 64]) -> Result<(Report, SnpIdentity), Error> {
        let report = self.source.report(data)?;
        let identity = self.check(&report, data)?;
        Ok((report, identity))
    }

    /// The firmware's signature is for others: the guest has it by a channel that only the two can use (R37).
    fn check(&self, report: &Report, data: &[u8; 64]) -> Result<SnpIdentity, Error> {
        let fault = |fault: String| Err(Error::Device { device: DEVICE, fault });
        let version = report.version.get();
        if !VERSIONS.contains(&version) {
            return fault(format!("gave a report of version {version}, and 2, 3 and 5 are known"));
        }
        if report.report_data != *data {
            return Err(Error::SelfEvidence("it carries the report data of another call"));
        }
        let identity = match report.identity(TcbLayout::of(report.cpuid)) {
            Ok(identity) => identity,
            Err(tcb) => return fault(format!("reports the TCB {}, which is none", hex::encode(tcb))),
        };
        match (self.processor, is_simulated_chip(&identity.chip_id)) {
            (Processor::Real, true) => Err(Error::WrongBackend { wanted: "real", found: "simulated" }),
            (Processor::Simulated, false) => Err(Error::WrongBackend { wanted: "simulated", found: "real" }),
            _ if identity.measurement == [0; 48] => Err(Error::Zero("MEASUREMENT")),
            _ => Ok(identity),
        }
    }

    fn derived_key(&self, request: &KeyReq) -> Result<Secret<32>, Error> {
        not_zero(self.source.derived_key(request)?)
    }

    /// The machine tag: a key without anything of this guest in it but its policy.
    fn tag(&self, request: &SnpRequest) -> Result<Secret<16>, Error> {
        let key = self.derived_key(&request.tag_keyreq())?;
        let (tag, _) = key.expose().split_at(16);
        Ok(Secret::try_from(tag).expect("a half of the key"))
    }
}

/// R13: the driver hands over zeros where the firmware gave no key.
fn not_zero(key: Secret<32>) -> Result<Secret<32>, Error> {
    if key.is_zero() { Err(Error::Zero("derived key")) } else { Ok(key) }
}

/// The firmware's key, and behind it the sealing's KEYID, which the firmware has no input for: so no two sealings have the
/// same key (R2).
fn with_keyid(key: &Secret<32>, keyid: &[u8; 32]) -> DerivedKey {
    Secret::<64>::fill_with(|both| {
        let (first, second) = both.split_at_mut(32);
        first.copy_from_slice(key.expose());
        second.copy_from_slice(keyid);
    })
    .into()
}

impl Tee for SnpGuest {
    fn identity(&self) -> Result<Identity, Error> {
        Ok(Identity::Snp(Box::new(self.snp_identity()?)))
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        let (report, identity) = self.own(&[0; 64])?;
        let mut keyid = [0; 32];
        self.random.fill(&mut keyid)?;
        let mut request = SnpRequest::new(policy, &identity, report.committed_tcb, keyid)?;
        request.machine_tag = *self.tag(&request)?.expose();
        request.check()?;
        let key = self.derived_key(&request.keyreq())?;
        Ok((KeyRequest::Snp(Box::new(request)), with_keyid(&key, &keyid)))
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, Error> {
        let KeyRequest::Snp(request) = request else {
            return Err(Error::WrongBackend { wanted: request.kind(), found: "snp" });
        };
        let identity = self.snp_identity()?;
        request.check()?;
        request.fits(&identity)?;
        if !self.tag(request)?.ct_eq(&Secret::new(request.machine_tag)) {
            return Err(Error::OtherMachine);
        }
        Ok(with_keyid(&self.derived_key(&request.keyreq())?, &request.keyid))
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, Error> {
        let EvidenceKind::Quote = kind else {
            let what = "make a report for this machine alone: ask for a quote";
            return Err(Error::Unsupported { machine: "a SEV-SNP guest", what });
        };
        let (report, certificates) = self.source.report_with_certificates(data.as_bytes())?;
        self.check(&report, data.as_bytes())?;
        if report.key_info.get() & key_info::MASK_CHIP_KEY != 0 {
            let reason =
                "the host has its chip's keys hidden (MASK_CHIP_KEY), so reports are not signed".into();
            return Err(Error::Unavailable { machine: "signer of SEV-SNP reports", reason });
        }
        Ok(Evidence::SnpReport { report: report.as_bytes().to_vec(), certificates })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R13.
    #[test]
    fn an_all_zero_key_is_refused() {
        assert!(matches!(not_zero(Secret::new([0; 32])), Err(Error::Zero("derived key"))));
        let mut one = [0; 32];
        one[31] = 1;
        assert!(not_zero(Secret::new(one)).is_ok());
    }

    /// R2, R12: the order and the lengths are frozen.
    #[test]
    fn the_keyid_stands_behind_the_key() {
        let key = with_keyid(&Secret::new([1; 32]), &[2; 32]);
        assert_eq!(key.expose(), [[1; 32], [2; 32]].concat());
    }
}
