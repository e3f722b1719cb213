//! A machine string becomes a machine, here and nowhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bulla_attest::pcs::{PcsClient, PcsSettings};
use bulla_attest::{CollateralSource, Policy, TrustAnchor};
use bulla_crypto::SystemRandom;
use bulla_tee::Tee;
use bulla_tee::sgx::{Enclave, Gramine, Processor};
use bulla_tee::snp::SnpGuest;
use bulla_tee::tdx::{QuotePath, QuoteService, TdxGuest};

use crate::failure::Failure;
use crate::{detect, say};

/// A machine, and how its own evidence and that of its neighbours is judged.
pub(crate) struct Machine {
    pub(crate) tee: Arc<dyn Tee>,
    pub(crate) judge: Option<Judge>,
}

/// What evidence is judged with.
pub(crate) struct Judge {
    pub(crate) anchor: TrustAnchor,
    pub(crate) collateral: Arc<dyn CollateralSource>,
    pub(crate) policy: Policy,
    pub(crate) simulated: bool,
}

/// The machine that the string names.
pub(crate) fn open(machine: Option<&str>) -> Result<Machine, Failure> {
    open_approved(machine, &[])
}

/// The same, with the approvals in some files where it is a TPM.
pub(crate) fn open_approved(machine: Option<&str>, approvals: &[PathBuf]) -> Result<Machine, Failure> {
    let machine =
        machine.ok_or_else(|| Failure::usage(format!("no machine given: add --machine {KINDS}")))?;
    let (kind, parameter) = machine.split_once(':').unwrap_or((machine, ""));
    if !approvals.is_empty() && !["tpm", "auto"].contains(&kind) {
        return Err(Failure::usage(format!("--approval is for a TPM, and the machine is `{kind}`")));
    }
    match kind {
        "auto" if parameter.is_empty() => {
            let kind = detect::choose(Path::new("/"), BACKENDS, say::note)?;
            open_approved(Some(kind.name), approvals)
        }
        "sgx" if parameter.is_empty() => {
            let quotes = Box::new(gramine()?);
            let enclave = Enclave::new(Processor::Real, Box::new(SystemRandom), Some(quotes));
            Ok(Machine { tee: Arc::new(enclave), judge: None })
        }
        "sgx" if parameter == KEY_FILE => {
            let enclave = Enclave::with_key_file(Processor::Real, gramine()?);
            say::note(KEY_FILE_LOSES);
            Ok(Machine { tee: Arc::new(enclave), judge: None })
        }
        "occlum" if parameter.is_empty() => {
            let enclave = Enclave::occlum(Processor::Real, Box::new(SystemRandom), Path::new("/"))?;
            Ok(Machine { tee: Arc::new(enclave), judge: None })
        }
        #[cfg(feature = "tpm")]
        "tpm" => {
            let approvals = approvals.iter().map(|path| approval(path)).collect::<Result<_, _>>()?;
            let tee = Arc::new(tpm_at(parameter)?.with_approvals(approvals));
            Ok(Machine { tee, judge: None })
        }
        #[cfg(not(feature = "tpm"))]
        "tpm" => Err(Failure::usage("this program was built without TPMs: build it with the feature `tpm`")),
        "tdx" => Ok(Machine { tee: Arc::new(tdx(machine, parameter)?), judge: None }),
        "snp" if parameter.is_empty() => {
            let guest = SnpGuest::new(Processor::Real, Box::new(SystemRandom), Path::new("/"));
            guest.snp_identity()?;
            Ok(Machine { tee: Arc::new(guest), judge: None })
        }
        #[cfg(feature = "sim")]
        "sim" if machine == "sim" => {
            Ok(Machine { tee: bulla_sim::surroundings(Path::new("/"))?.into(), judge: None })
        }
        #[cfg(feature = "sim")]
        "sim" => simulated::enclave(parameter),
        #[cfg(feature = "sim")]
        "sim-td" => simulated::guest(parameter),
        #[cfg(feature = "sim")]
        "sim-td-native" => simulated::native_guest(parameter),
        #[cfg(feature = "sim")]
        "sim-snp" => simulated::snp_guest(parameter),
        _ => Err(unknown(machine)),
    }
}

/// The TPM at an address; the kernel's first one if it is empty.
#[cfg(feature = "tpm")]
pub(crate) fn tpm_at(address: &str) -> Result<bulla_tpm::Tpm, Failure> {
    let address = if address.is_empty() { "device:/dev/tpmrm0" } else { address };
    Ok(bulla_tpm::Tpm::open(address)?)
}

/// The approval in a file.
#[cfg(feature = "tpm")]
fn approval(path: &Path) -> Result<bulla_tpm::Approval, Failure> {
    let bytes = crate::files::read(path, 4096)?;
    bulla_tpm::Approval::decode(&bytes).map_err(|error| Failure::from(error).about(path))
}

/// How evidence of the machines of a provider is judged: simulated ones by their own maker, all others by theirs.
pub(crate) fn judge(own: Option<Judge>) -> Judge {
    own.unwrap_or_else(|| Judge {
        anchor: TrustAnchor::intel(),
        collateral: Arc::new(PcsClient::new(PcsSettings::intel())),
        policy: Policy::strict(),
        simulated: false,
    })
}

/// The same for somebody who is not on that machine, and asks nothing of it.
pub(crate) fn judge_of(machine: &str) -> Result<Judge, Failure> {
    let (kind, _) = machine.split_once(':').unwrap_or((machine, ""));
    match kind {
        "sgx" | "occlum" | "tdx" | "snp" => Ok(judge(None)),
        _ => Ok(judge(open(Some(machine))?.judge)),
    }
}

fn unknown(machine: &str) -> Failure {
    Failure::usage(format!("unknown machine `{machine}`: it is one of {KINDS}"))
}

/// The guest, `native` with the sealing keys of its TDX module, and `qgs=ADDRESS` with a quote generation service of that address.
fn tdx(machine: &str, parameter: &str) -> Result<TdxGuest, Failure> {
    let mut guest = TdxGuest::new(Processor::Real, Path::new("/"));
    let mut native = false;
    for part in parameter.split(',').filter(|_| !parameter.is_empty()) {
        match part.split_once('=') {
            None if part == "native" => native = true,
            Some(("qgs", address)) => {
                let usage = || Failure::usage(format!("`{address}` is not vsock:CID:PORT or unix:PATH"));
                guest = guest.with_quote_service(QuoteService::parse(address).ok_or_else(usage)?);
            }
            _ => return Err(unknown(machine)),
        }
    }
    guest.tdx_identity()?;
    if let [QuotePath::Service(service)] = guest.quote_paths().as_slice() {
        say::note(format_args!("the kernel has no configfs for quotes: they are asked of {service}"));
    }
    Ok(if native { guest.with_native_keys(Box::new(SystemRandom))? } else { guest })
}

/// The parameter of `sgx` that asks for Gramine's key file.
const KEY_FILE: &str = "key-file";
const KEY_FILE_LOSES: &str = "keys are those of Gramine's key file: an update of the microcode, or another feature of the processor, ends them \
     and all that only they open. Use --machine sgx wherever this program may execute ENCLU";

/// The Gramine that this process is in. Refused elsewhere, where `ENCLU` would end the process by a signal.
fn gramine() -> Result<Gramine, bulla_tee::Error> {
    let gramine = Gramine::at(Path::new("/"));
    if gramine.is_here() {
        return Ok(gramine);
    }
    let reason =
        "this process is not inside one; start it under Gramine, or under Occlum with --machine occlum";
    Err(bulla_tee::Error::Unavailable { machine: "SGX enclave", reason: reason.into() })
}

/// The machines that this build can be on.
const BACKENDS: &[&str] = &[
    "sgx",
    "occlum",
    "tdx",
    "snp",
    #[cfg(feature = "tpm")]
    "tpm",
];

#[cfg(feature = "sim")]
const KINDS: &str = "auto, sgx[:key-file], occlum, tdx[:native][,qgs=ADDRESS], snp, tpm[:TCTI], sim[:DIR], sim-td:DIR[,TDFILE] or sim-snp:DIR[,SNPFILE]";
#[cfg(not(feature = "sim"))]
const KINDS: &str = "auto, sgx[:key-file], occlum, tdx[:native][,qgs=ADDRESS], snp or tpm[:TCTI]";

/// The host's clock, in seconds since 1970: a hint, which whoever judges by it knows.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(feature = "sim")]
pub(crate) use simulated::Provisioning;

#[cfg(feature = "sim")]
mod simulated {
    use bulla_attest::{Collateral, CollateralId, Error, TeeKind};
    use bulla_sim::{EnclaveIdentity, SealingKeys, SimulatedGuest, TeeType};

    use super::*;
    use crate::command::sim;

    /// `DIR`: this process, as an enclave of the simulated machine.
    pub(super) fn enclave(dir: &str) -> Result<Machine, Failure> {
        let machine = bulla_sim::Machine::open(dir)?;
        let tee = Arc::new(machine.enclave(&EnclaveIdentity::of_this_process(&machine)?)?);
        Ok(Machine { tee, judge: Some(judge(machine)?) })
    }

    /// `DIR[,TDFILE]`: a TDX guest of the simulated machine.
    pub(super) fn guest(parameter: &str) -> Result<Machine, Failure> {
        let (guest, machine) = started(parameter)?;
        Ok(Machine { tee: Arc::new(guest), judge: Some(judge(machine)?) })
    }

    /// The same, with the sealing keys of its TDX module.
    pub(super) fn native_guest(parameter: &str) -> Result<Machine, Failure> {
        let (guest, machine) = started(parameter)?;
        let guest = guest.with_native_keys(SealingKeys::AsInSource)?;
        Ok(Machine { tee: Arc::new(guest), judge: Some(judge(machine)?) })
    }

    fn started(parameter: &str) -> Result<(SimulatedGuest, bulla_sim::Machine), Failure> {
        let (dir, td) = parameter.split_once(',').unwrap_or((parameter, "default"));
        let machine = bulla_sim::Machine::open(dir)?;
        Ok((machine.guest(sim::guest(td)?)?, machine))
    }

    /// `DIR[,SNPFILE]`: a SEV-SNP guest of the simulated machine.
    pub(super) fn snp_guest(parameter: &str) -> Result<Machine, Failure> {
        let (dir, guest) = parameter.split_once(',').unwrap_or((parameter, "default"));
        let machine = bulla_sim::Machine::open(dir)?;
        let tee = Arc::new(machine.snp_guest(sim::snp_guest(guest)?)?);
        Ok(Machine { tee, judge: Some(judge(machine)?) })
    }

    fn judge(machine: bulla_sim::Machine) -> Result<Judge, Failure> {
        let anchor = TrustAnchor::from_der(&machine.root_der())?;
        let policy = Policy::strict().allow_simulated();
        Ok(Judge { anchor, policy, collateral: Arc::new(Provisioning(machine)), simulated: true })
    }

    /// The provisioning services of a simulated machine.
    pub(crate) struct Provisioning(pub(crate) bulla_sim::Machine);

    impl CollateralSource for Provisioning {
        fn collateral(&self, id: &CollateralId) -> Result<Collateral, Error> {
            let unavailable = |error: bulla_sim::Error| Error::CollateralUnavailable(error.to_string());
            let machine = &self.0;
            let tee = match id {
                CollateralId::Amd(id) => {
                    let leaf =
                        machine.vcek_certificate(&id.chip_id, &id.reported_tcb).map_err(unavailable)?;
                    let crl = machine.vcek_crl(now()).map_err(unavailable)?;
                    return Ok(Collateral::snp(leaf, machine.vcek_issuers(), Some(crl)));
                }
                id => match id.intel().map(|id| id.tee) {
                    Some(TeeKind::Sgx) => TeeType::Sgx,
                    Some(TeeKind::Tdx) => TeeType::Tdx,
                    _ => {
                        return Err(Error::CollateralUnavailable(
                            "a simulated machine has none of that kind".into(),
                        ));
                    }
                },
            };
            let json = machine.collateral_for(tee, now()).map_err(unavailable)?;
            Collateral::from_json(json.as_bytes())
        }
    }
}
