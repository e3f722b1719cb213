//! The backend: a program inside an SGX enclave.

use bulla_crypto::{RandomSource, Secret};
use zerocopy::{FromZeros, IntoBytes};

use super::arch::{Keyrequest, Report, ReportMac, Targetinfo};
use super::enclu::{self, Status};
use super::foreign::{self, ForeignKeys};
use super::leaves::{Instruction, Leaves, NoKey};
use super::own;
use super::request::SgxRequest;
#[cfg(target_os = "linux")]
use super::{Gramine, KeyFileRequest, occlum::Occlum};
use crate::{
    DerivedKey, Error, Evidence, EvidenceKind, Identity, KeyRequest, LocalVerifier, Policy, ReportData,
    SgxIdentity, Tee, is_simulated,
};

/// Makes quotes for an enclave: the quoting enclave, behind whatever the host's runtime offers.
pub trait QuoteSource: Send + Sync {
    /// A DCAP quote over `data`. `report` makes this enclave's report for the target that the source names.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the quoting service is not there, [`Error::SelfEvidence`] where it answers something else.
    fn quote(
        &self,
        data: &ReportData,
        report: &dyn Fn(&Targetinfo) -> Result<Report, Error>,
    ) -> Result<Vec<u8>, Error>;
}

/// On which processors an [`Enclave`] is willing to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// Real ones: a CPUSVN with the simulator's marker is refused (R15).
    Real,
    /// Simulated ones: a CPUSVN without the marker is refused.
    Simulated,
}

/// A program inside an SGX enclave. It executes `ENCLU` itself, or has Occlum do it, so it can ask for the keys of recorded
/// security versions.
pub struct Enclave {
    processor: Processor,
    leaves: Box<dyn Leaves>,
    keys: Keys,
    quotes: Option<Box<dyn QuoteSource>>,
}

/// Where its keys come from.
enum Keys {
    /// EGETKEY, at recorded versions, with a KEYID of this randomness.
    Recorded(Box<dyn RandomSource>),
    /// Gramine's file: one key, of the versions that run.
    #[cfg(target_os = "linux")]
    Present(Gramine),
}

impl Enclave {
    /// The enclave that this process runs in. The caller knows that it does: elsewhere the first `ENCLU` ends the process by
    /// a signal.
    pub fn new(
        processor: Processor,
        random: Box<dyn RandomSource>,
        quotes: Option<Box<dyn QuoteSource>>,
    ) -> Self {
        // A simulated processor has it, whatever the one below says.
        let verifies_reports = processor == Processor::Simulated || enclu::has_everifyreport2();
        let leaves = Box::new(Instruction { verifies_reports });
        Self { processor, leaves, keys: Keys::Recorded(random), quotes }
    }

    /// The enclave that this process runs in, in Gramine, where it cannot execute `ENCLU` itself: by the pseudo-files alone,
    /// sealing keys included. Much is lost by that, so nobody chooses it for a caller: the key is the same for every sealing,
    /// it is bound to the measurement and nothing else, and an update of the microcode or another feature of the processor
    /// ends it, and with it the access to everything that it sealed.
    #[cfg(target_os = "linux")]
    pub fn with_key_file(processor: Processor, gramine: Gramine) -> Self {
        Self {
            processor,
            leaves: Box::new(gramine.clone()),
            keys: Keys::Present(gramine.clone()),
            quotes: Some(Box::new(gramine)),
        }
    }

    /// The enclave that this process runs in, in Occlum, by whose device under the folder `root` (which is `/` but in tests)
    /// it has its keys, reports and quotes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where that device is not there.
    #[cfg(target_os = "linux")]
    pub fn occlum(
        processor: Processor,
        random: Box<dyn RandomSource>,
        root: &std::path::Path,
    ) -> Result<Self, Error> {
        let (leaves, quotes) = (Occlum::open(root)?, Occlum::open(root)?);
        let keys = Keys::Recorded(random);
        Ok(Self { processor, leaves: Box::new(leaves), keys, quotes: Some(Box::new(quotes)) })
    }

    /// Who this enclave is, after EREPORT.
    ///
    /// # Errors
    /// As [`Tee::identity`].
    pub fn sgx_identity(&self) -> Result<SgxIdentity, Error> {
        let identity = SgxIdentity::from(&self.leaves.ereport(&Targetinfo::new_zeroed(), &[0; 64])?.body);
        match (self.processor, is_simulated(&identity.cpusvn)) {
            (Processor::Real, true) => Err(Error::WrongBackend { wanted: "real", found: "simulated" }),
            (Processor::Simulated, false) => Err(Error::WrongBackend { wanted: "simulated", found: "real" }),
            _ if identity.mrenclave == [0; 32] => Err(Error::Zero("MRENCLAVE")),
            _ if identity.mrsigner == [0; 32] => Err(Error::Zero("MRSIGNER")),
            _ => Ok(identity),
        }
    }

    fn egetkey(&self, request: &Keyrequest, identity: &SgxIdentity) -> Result<Secret<16>, Error> {
        let mut result = Ok(());
        let key = Secret::fill_with(|key| result = self.leaves.egetkey(request, key));
        match result {
            Ok(()) => not_zero(key),
            Err(NoKey::Status(Status::INVALID_CPUSVN)) => Err(Error::TcbTooOld {
                register: "CPUSVN",
                sealed: hex::encode(request.cpusvn),
                current: hex::encode(identity.cpusvn),
            }),
            Err(NoKey::Status(Status::INVALID_ISVSVN)) => Err(Error::TcbTooOld {
                register: "ISVSVN",
                sealed: request.isvsvn.to_string(),
                current: identity.isv_svn.to_string(),
            }),
            Err(NoKey::Status(Status(status))) => Err(Error::Instruction { leaf: "EGETKEY", status }),
            Err(NoKey::Way(error)) => Err(error),
        }
    }
}

/// R13: what a broken processor would give to everyone.
fn not_zero(key: Secret<16>) -> Result<Secret<16>, Error> {
    if key.is_zero() { Err(Error::Zero("sealing key")) } else { Ok(key) }
}

impl Tee for Enclave {
    fn identity(&self) -> Result<Identity, Error> {
        Ok(Identity::Sgx(Box::new(self.sgx_identity()?)))
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        let identity = self.sgx_identity()?;
        match &self.keys {
            Keys::Recorded(random) => {
                let mut keyid = [0; 32];
                random.fill(&mut keyid)?;
                let mut request = SgxRequest::new(policy, &identity, keyid)?;
                request.machine_tag = *self.egetkey(&request.tag_keyrequest(), &identity)?.expose();
                request.check()?;
                let key = self.egetkey(&request.keyrequest(), &identity)?;
                Ok((KeyRequest::Sgx(Box::new(request)), key.into()))
            }
            #[cfg(target_os = "linux")]
            Keys::Present(file) => {
                let request = KeyFileRequest::new(policy, &identity)?;
                request.check()?;
                Ok((KeyRequest::SgxKeyFile(Box::new(request)), not_zero(file.key()?)?.into()))
            }
        }
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, Error> {
        match (&self.keys, request) {
            (Keys::Recorded(_), KeyRequest::Sgx(request)) => {
                let identity = self.sgx_identity()?;
                request.check()?;
                request.fits(&identity)?;
                let tag = self.egetkey(&request.tag_keyrequest(), &identity)?;
                if !tag.ct_eq(&Secret::new(request.machine_tag)) {
                    return Err(Error::OtherMachine);
                }
                Ok(self.egetkey(&request.keyrequest(), &identity)?.into())
            }
            #[cfg(target_os = "linux")]
            (Keys::Present(file), KeyRequest::SgxKeyFile(request)) => {
                request.check()?;
                request.fits(&self.sgx_identity()?)?;
                Ok(not_zero(file.key()?)?.into())
            }
            (Keys::Recorded(_), request) => Err(Error::WrongBackend { wanted: request.kind(), found: "sgx" }),
            #[cfg(target_os = "linux")]
            (Keys::Present(_), request) => {
                Err(Error::WrongBackend { wanted: request.kind(), found: KeyRequest::KEY_FILE })
            }
        }
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, Error> {
        self.sgx_identity()?;
        let report = |target: &Targetinfo| self.leaves.ereport(target, data.as_bytes());
        match (kind, &self.quotes) {
            (EvidenceKind::Quote, Some(quotes)) => {
                let quote = quotes.quote(data, &report)?;
                own::check(&quote, &report(&Targetinfo::new_zeroed())?.body)?;
                Ok(Evidence::SgxQuote(quote))
            }
            (EvidenceKind::Quote, None) => {
                let reason = "no quoting service is connected to it".into();
                Err(Error::Unavailable { machine: "source of SGX quotes", reason })
            }
            (EvidenceKind::TdReport, _) => {
                Err(Error::Unsupported { machine: "an SGX enclave", what: "make a TDREPORT" })
            }
            (EvidenceKind::Report(target), _) => Ok(Evidence::SgxReport(report(target)?.as_bytes().to_vec())),
        }
    }

    fn foreign_keys(&self) -> Option<&dyn ForeignKeys> {
        Some(self)
    }

    fn local_verifier(&self) -> Option<&dyn LocalVerifier> {
        self.leaves.verifies_reports().then_some(self as &dyn LocalVerifier)
    }
}

impl ForeignKeys for Enclave {
    fn foreign_key(&self, request: &Keyrequest) -> Result<Secret<16>, Error> {
        let identity = self.sgx_identity()?;
        foreign::check(request, &identity)?;
        self.egetkey(request, &identity)
    }
}

impl LocalVerifier for Enclave {
    fn verify_report(&self, report: &ReportMac) -> Result<(), Error> {
        self.sgx_identity()?;
        if !self.leaves.verifies_reports() {
            let what = "check TDX reports (EVERIFYREPORT2)";
            return Err(Error::Unsupported { machine: "this processor", what });
        }
        match self.leaves.everifyreport2(report) {
            Ok(()) => Ok(()),
            // Another machine's may have a CPUSVN that this one has not reached.
            Err(Status::INVALID_REPORTMACSTRUCT | Status::INVALID_CPUSVN) => Err(Error::BadReport),
            Err(Status(status)) => Err(Error::Instruction { leaf: "EVERIFYREPORT2", status }),
        }
    }
}

#[cfg(test)]
mod tests {
    use bulla_crypto::SystemRandom;

    use super::*;
    use crate::samples;

    /// What EGETKEY and EVERIFYREPORT2 answer to everything: this key, or this status.
    struct Answers(Result<[u8; 16], u32>);

    impl Leaves for Answers {
        fn ereport(&self, _: &Targetinfo, _: &[u8; 64]) -> Result<Report, Error> {
            let mut report = Report::new_zeroed();
            let (own, body) = (samples::enclave(), &mut report.body);
            (body.mrenclave, body.mrsigner, body.cpusvn) = (own.mrenclave, own.mrsigner, own.cpusvn);
            body.attributes = own.attributes;
            Ok(report)
        }

        fn egetkey(&self, _: &Keyrequest, key: &mut [u8; 16]) -> Result<(), NoKey> {
            *key = self.0.map_err(|status| NoKey::Status(Status(status)))?;
            Ok(())
        }

        fn verifies_reports(&self) -> bool {
            self.0 != Ok([0; 16])
        }

        fn everifyreport2(&self, _: &ReportMac) -> Result<(), Status> {
            self.0.map(|_| ()).map_err(Status)
        }
    }

    fn enclave(answer: Result<[u8; 16], u32>) -> Enclave {
        let keys = Keys::Recorded(Box::new(SystemRandom));
        Enclave { processor: Processor::Real, leaves: Box::new(Answers(answer)), keys, quotes: None }
    }

    /// Every way to a key.
    fn refusals(enclave: &Enclave) -> [Error; 3] {
        let (request, _) = enclave_with_keys().bind(&Policy::measurement()).unwrap();
        let KeyRequest::Sgx(of_sgx) = &request else { panic!("{request:?}") };
        [
            enclave.bind(&Policy::measurement()).err().unwrap(),
            enclave.derive(&request).err().unwrap(),
            enclave.foreign_key(&of_sgx.keyrequest()).err().unwrap(),
        ]
    }

    fn enclave_with_keys() -> Enclave {
        enclave(Ok([1; 16]))
    }

    /// R13, by whichever way there are keys.
    #[test]
    fn an_all_zero_key_is_refused() {
        for error in refusals(&enclave(Ok([0; 16]))) {
            assert!(matches!(error, Error::Zero("sealing key")), "{error}");
        }
    }

    /// R5, R53: what the processor refuses has its name.
    #[test]
    fn every_status_has_its_name() {
        for (status, said) in [(32, "CPUSVN"), (64, "ISVSVN"), (2, "EGETKEY failed with status 2")] {
            for error in refusals(&enclave(Err(status))) {
                let code = if status == 2 { "machine.instruction" } else { "machine.tcb_too_old" };
                assert!(error.code() == code && error.to_string().contains(said), "{status}: {error}");
            }
        }
    }

    /// R35. A processor without EVERIFYREPORT2 is not asked for it, which would end the process.
    #[test]
    fn reports_are_checked_where_the_processor_can() {
        let report = ReportMac::new_zeroed();
        let verified = |answer| enclave(answer).verify_report(&report).map_err(|error| error.code());
        assert_eq!(verified(Ok([1; 16])), Ok(()));
        for (answer, code) in [
            (Err(28), Error::BadReport.code()),
            (Err(32), Error::BadReport.code()),
            (Err(1), "machine.instruction"),
            (Ok([0; 16]), "machine.unsupported"),
        ] {
            assert_eq!(verified(answer), Err(code), "{answer:?}");
        }
        assert!(enclave_with_keys().local_verifier().is_some());
        assert!(enclave(Ok([0; 16])).local_verifier().is_none());
    }
}
