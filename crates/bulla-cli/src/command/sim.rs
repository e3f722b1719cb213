//! `bulla sim`: simulated machines.

mod mount;
mod pcs;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use bulla_attest::{CollateralId, CollateralSource as _};
use bulla_sim::{Guise, Machine, Recovery, SealingKeys, SnpDescription, TdDescription, TdxModule};
use bulla_tee::{SnpIdentity, TdxIdentity};
use pcs::Clock;

use crate::args::{GuiseKind, GuiseOptions, Sim, SimRun, Step};
use crate::failure::Failure;
use crate::{files, machine, say};

/// Runs a subcommand, which may end with the exit code of another program.
pub(crate) fn run(subcommand: &Sim) -> Result<ExitCode, Failure> {
    match subcommand {
        Sim::Run(options) => return run_program(options),
        Sim::New { dir } => {
            Machine::create(dir)?;
            say::note(format_args!(
                "simulated machine in {}: its evidence and keys prove nothing",
                dir.display()
            ));
            Ok(())
        }
        Sim::Microcode { dir, step } => {
            let step = match step {
                Step::Up => bulla_sim::Step::Up,
                Step::Down => bulla_sim::Step::Down,
            };
            Ok(Machine::open(dir)?.microcode(step)?)
        }
        Sim::TdxModule { dir, version } => {
            Ok(Machine::open(dir)?.install_tdx_module(&TdxModule::new(version.major, version.minor))?)
        }
        Sim::Recovery { dir, at, standard_at, microcode, tdx_module, advisory } => {
            let at = at.unwrap_or_else(machine::now);
            let recovery = Recovery {
                at,
                standard_at: standard_at.unwrap_or(at),
                microcode: *microcode,
                tdx_module: *tdx_module,
                advisory: advisory.clone(),
            };
            Ok(Machine::open(dir)?.tcb_recovery(&recovery)?)
        }
        Sim::Revoke { dir, at } => Ok(Machine::open(dir)?.revoke_pck(at.unwrap_or_else(machine::now))?),
        Sim::PlatformReset { dir } => Ok(Machine::open(dir)?.platform_reset()?),
        Sim::Quote { dir, td, snp, report_data, debug, output } => {
            let (machine, data) = (Machine::open(dir)?, parse_report_data(report_data.as_deref())?);
            let evidence = if let Some(name) = snp {
                let guest = snp_guest(name)?;
                let guest = if *debug { guest.with_debug() } else { guest };
                machine.snp_report(&guest, &data)?
            } else {
                let guest = guest(td.as_deref().unwrap_or("default"))?;
                let guest = if *debug { guest.with_debug() } else { guest };
                machine.td_quote(&guest, &data)?
            };
            write(output, &evidence)
        }
        Sim::Collateral { dir, quote, output } => {
            let quote = files::read(quote, bulla_protocol::QUOTE_MAX as u64)?;
            let provisioning = machine::Provisioning(Machine::open(dir)?);
            let collateral = match CollateralId::of_quote(&quote) {
                Ok(id @ CollateralId::Amd(_)) => provisioning.collateral(&id)?.to_json(),
                _ => provisioning.0.collateral(&quote, machine::now())?,
            };
            write(output, collateral.as_bytes())
        }
        Sim::Pcs { dir, listen, at, clock } => {
            let clock = match (at, clock) {
                (Some(at), _) => Clock::Still(*at),
                (None, Some(file)) => Clock::File(file.clone()),
                (None, None) => Clock::System,
            };
            pcs::serve(dir, *listen, &clock)
        }
        Sim::Mount(options) => mount::serve(options),
        Sim::Root { dir, snp, output } => {
            let machine = Machine::open(dir)?;
            write(output, &if *snp { machine.snp_root_der() } else { machine.root_der() })
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn run_program(options: &SimRun) -> Result<ExitCode, Failure> {
    let machine = Machine::open(&options.dir)?;
    let guise = guise(&options.guise)?;
    say::note(
        "SIMULATED machine: what this program proves is worth nothing, and what it seals is protected from nobody",
    );
    Ok(ExitCode::from(machine.run_program(&guise, &options.guise.fault, &options.command)?))
}

/// A guest by its name on the command line: `default`, or a TOML file.
pub(crate) fn guest(td: &str) -> Result<TdDescription, Failure> {
    described(td, TdDescription::default_guest, TdDescription::from_toml)
}

/// The same for a SEV-SNP guest.
pub(crate) fn snp_guest(guest: &str) -> Result<SnpDescription, Failure> {
    described(guest, SnpDescription::default_guest, SnpDescription::from_toml)
}

fn described<T>(
    name: &str,
    default: fn() -> T,
    read: fn(&str) -> Result<T, bulla_sim::Error>,
) -> Result<T, Failure> {
    if name == "default" {
        return Ok(default());
    }
    let text = String::from_utf8(files::read(Path::new(name), 64 * 1024)?)
        .map_err(|_| Failure::usage(format!("{name} is not a text file")))?;
    Ok(read(&text)?)
}

/// As what something runs, by its options.
fn guise(options: &GuiseOptions) -> Result<Guise, Failure> {
    let is_enclave = matches!(options.kind, GuiseKind::Sgx | GuiseKind::Gramine | GuiseKind::Occlum);
    if options.guest != "default" && is_enclave {
        return Err(Failure::usage("--guest describes a guest: add --as tdx or snp"));
    }
    let tdx = |keys| Ok::<_, Failure>(Guise::Tdx(Box::new(guest(&options.guest)?), keys));
    Ok(match options.kind {
        GuiseKind::Sgx => Guise::Sgx,
        GuiseKind::Gramine => Guise::Gramine,
        GuiseKind::Occlum => Guise::Occlum,
        GuiseKind::Tdx => tdx(SealingKeys::NoCommand)?,
        GuiseKind::TdxNative => tdx(SealingKeys::AsInSource)?,
        GuiseKind::Snp => Guise::Snp(Box::new(snp_guest(&options.guest)?)),
    })
}

/// Who the guest of a file is on a machine whose present guest is `present`.
pub(crate) fn guest_identity(file: &Path, present: &TdxIdentity) -> Result<TdxIdentity, Failure> {
    let td = guest(&file.display().to_string())?;
    Ok(TdxIdentity {
        mrtd: td.mrtd,
        rtmr: td.rtmr,
        mrconfigid: td.mrconfigid,
        mrowner: td.mrowner,
        mrownerconfig: td.mrownerconfig,
        attributes: td.attributes,
        xfam: td.xfam,
        ..present.clone()
    })
}

/// The same for a SEV-SNP guest.
pub(crate) fn snp_guest_identity(file: &Path, present: &SnpIdentity) -> Result<SnpIdentity, Failure> {
    let SnpDescription {
        measurement,
        host_data,
        id_key_digest,
        author_key_digest,
        family_id,
        image_id,
        guest_svn,
        policy,
        vmpl,
    } = snp_guest(&file.display().to_string())?;
    Ok(SnpIdentity {
        measurement,
        host_data,
        id_key_digest,
        author_key_digest,
        family_id,
        image_id,
        guest_svn,
        policy,
        vmpl,
        ..present.clone()
    })
}

fn parse_report_data(hex: Option<&str>) -> Result<[u8; 64], Failure> {
    let mut data = [0; 64];
    if let Some(digits) = hex {
        hex::decode_to_slice(digits, &mut data)
            .map_err(|_| Failure::usage("--report-data takes 64 bytes: 128 hexadecimal digits"))?;
    }
    Ok(data)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    files::output(Some(path), |output| output.write_all(bytes))
}
