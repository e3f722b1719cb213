//! The directory that a simulated machine is kept in.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulla_crypto::{Secret, SystemRandom};
use bulla_tee::sgx::{Enclave, Processor};
use bulla_tee::tdx::TdReport;
use bulla_tee::{SIMULATED_MARKER, is_simulated};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use zerocopy::IntoBytes;

use crate::collateral::{TeeType, collateral, window};
use crate::cpu::Cpu;
use crate::enclave::{self, ENCLAVE_TOML, QuotingEnclave};
use crate::enclu::Core;
use crate::gramine::GramineFiles;
use crate::guest_kernel::GuestKernel;
use crate::hexadecimal::Hex;
use crate::history::{Edition, History, Recovery, Revocation};
use crate::occlum::OcclumDevice;
use crate::pki::{self, Pki};
use crate::qgs::SimulatedQuoteService;
use crate::quoting::Quoting;
use crate::snp::vendor::{self, Vcek};
use crate::snp::{Chip, ChipState, SnpKernel};
use crate::trap;
use crate::{
    EnclaveIdentity, Error, SimulatedEnclave, SimulatedGuest, SimulatedSnpGuest, SnpDescription,
    TdDescription, TdxModule,
};

const MACHINE_TOML: &str = "machine.toml";
const HEADER: &str =
    "# A simulated machine of bulla: its processor's fuses and versions. It protects nothing.\n\n";

/// CPUSVN of a new machine: the lowest that its TCB info calls UpToDate.
pub(crate) const INITIAL_CPUSVN: [u8; 16] = marked([5, 5, 2, 2, 3, 1, 0, 3]);
/// PCESVN of a new machine.
pub(crate) const PCESVN: u16 = 13;
/// The features of a new machine: legacy register state.
const INITIAL_XFRM: u64 = 3;
/// FMSPC of every simulated machine: they are all of one model.
const FMSPC: [u8; 6] = [0xB0, 0x11, 0xA5, 0x1A, 0x00, 0x00];
const EPC_BYTES: u64 = 128 << 20;
/// The highest value that microcode updates reach, so that there is always one above.
const HIGHEST_MICROCODE: u8 = 254;

pub(crate) const fn marked(live: [u8; 8]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = live;
    let [i, j, k, l, m, n, o, p] = SIMULATED_MARKER;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// `machine.toml`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    seal_fuses: Hex<32>,
    report_key_seed: Hex<32>,
    tdx_report_key: Hex<32>,
    owner_epoch: Hex<16>,
    cpusvn: Hex<16>,
    tee_tcb_svn: Hex<16>,
    mrseam: Hex<48>,
    mrsignerseam: Hex<48>,
    seam_attributes: Hex<8>,
    xfrm: Hex<8>,
    epc_bytes: u64,
    ppid: Hex<16>,
    platform_instance_id: Hex<16>,
    qe_id: Hex<16>,
    fmspc: Hex<6>,
    pceid: Hex<2>,
    pcesvn: u16,
}

impl State {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            seal_fuses: random()?,
            report_key_seed: random()?,
            tdx_report_key: random()?,
            owner_epoch: random()?,
            cpusvn: Hex(INITIAL_CPUSVN),
            tee_tcb_svn: Hex(TdxModule::INITIAL.tee_tcb_svn()),
            mrseam: Hex(TdxModule::INITIAL.mrseam()),
            mrsignerseam: Hex(TdxModule::INITIAL.mrsigner),
            seam_attributes: Hex(TdxModule::INITIAL.attributes),
            xfrm: Hex(INITIAL_XFRM.to_be_bytes()),
            epc_bytes: EPC_BYTES,
            ppid: random()?,
            platform_instance_id: random()?,
            qe_id: random()?,
            fmspc: Hex(FMSPC),
            pceid: Hex([0; 2]),
            pcesvn: PCESVN,
        })
    }

    fn load(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(MACHINE_TOML);
        let text = fs::read_to_string(&path).map_err(|error| {
            Error::unavailable(&path, format_args!("{error}; `bulla sim new DIR` makes a simulated machine"))
        })?;
        let state: Self =
            toml::from_str(&text).map_err(|error| Error::unavailable(&path, error.message()))?;
        if !is_simulated(&state.cpusvn.0) || !is_simulated(&state.tee_tcb_svn.0) {
            return Err(Error::unavailable(
                &path,
                "cpusvn or tee_tcb_svn lacks the marker of a simulated machine",
            ));
        }
        Ok(state)
    }

    fn save(&self, dir: &Path) -> Result<(), Error> {
        let text = toml::to_string(self).expect("hexadecimal and small integers are TOML");
        write_file(&dir.join(MACHINE_TOML), [HEADER, &text].concat().as_bytes())
    }

    fn cpu(&self) -> Cpu {
        Cpu {
            seal_fuses: Secret::new(self.seal_fuses.0),
            report_key_seed: Secret::new(self.report_key_seed.0),
            tdx_report_key: Secret::new(self.tdx_report_key.0),
            owner_epoch: self.owner_epoch.0,
            cpusvn: self.cpusvn.0,
            tee_tcb_svn: self.tee_tcb_svn.0,
            mrseam: self.mrseam.0,
            mrsignerseam: self.mrsignerseam.0,
            seam_attributes: self.seam_attributes.0,
        }
    }

    pub(crate) const fn cpusvn(&self) -> &[u8; 16] {
        &self.cpusvn.0
    }

    pub(crate) const fn ppid(&self) -> &[u8; 16] {
        &self.ppid.0
    }

    pub(crate) const fn instance(&self) -> &[u8; 16] {
        &self.platform_instance_id.0
    }

    pub(crate) const fn fmspc(&self) -> &[u8; 6] {
        &self.fmspc.0
    }

    pub(crate) const fn pceid(&self) -> &[u8; 2] {
        &self.pceid.0
    }

    pub(crate) const fn pcesvn(&self) -> u16 {
        self.pcesvn
    }
}

/// In which direction the microcode changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An update: component 0 of CPUSVN rises by one.
    Up,
    /// A downgrade: it falls by one.
    Down,
}

/// A simulated machine, as its directory said when it was opened.
///
/// A change of the microcode, of the features or of the keys is written to the directory and shows in the next
/// [`open`](Self::open): what runs keeps what it read, as an enclave does not see CPUSVN change under it.
///
/// Nothing here is secret from whoever can read the directory, and everything it makes is labelled as simulated (R110).
pub struct Machine {
    dir: PathBuf,
    state: State,
    pki: Pki,
    cpu: Arc<Cpu>,
    quoting: Arc<Quoting>,
}

impl Machine {
    /// Makes a new machine in `dir`, which is created if it is not there.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] if there is something in `dir`, [`Error::Write`] if it cannot be written.
    pub fn create(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(|error| Error::write(dir, error))?;
        let mut entries = fs::read_dir(dir).map_err(|error| Error::write(dir, error))?;
        if entries.next().is_some() {
            return Err(Error::NotEmpty { path: dir.to_owned() });
        }
        Pki::create(dir)?;
        write_file(&dir.join(ENCLAVE_TOML), enclave::default_toml().as_bytes())?;
        ChipState::new()?.save(dir)?;
        // Last, so that half a machine is none.
        State::new()?.save(dir)?;
        Self::open(dir)
    }

    /// Opens the machine in `dir`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it is not there or damaged: a file is missing, a key in `machine.toml` is unknown, or a
    /// value does not fit.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref().to_owned();
        let state = State::load(&dir)?;
        let pki = Pki::open(&dir)?;
        let cpu = Arc::new(state.cpu());
        let keys = pki.platform_keys()?;
        let [pck, ..] = &keys;
        let pck_chain = pki.pck_chain(&state, pck)?;
        let quoting =
            Arc::new(Quoting::new(&pki, cpu.clone(), state.qe_id.0, state.pcesvn, pck_chain, keys)?);
        Ok(Self { dir, state, pki, cpu, quoting })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The extended features that enclaves run with here (XFRM).
    pub fn xfrm(&self) -> u64 {
        u64::from_be_bytes(self.state.xfrm.0)
    }

    /// The size of the enclave page cache, in bytes.
    pub fn epc_bytes(&self) -> u64 {
        self.state.epc_bytes
    }

    /// The certificate at the root of the quotes and collateral of all simulated machines, in DER. Its private key is
    /// public.
    pub fn root_der(&self) -> Vec<u8> {
        Pki::root_der()
    }

    /// Updates or downgrades the microcode, in the directory: component 0 of CPUSVN, and that of SEV-SNP's TCB.
    ///
    /// # Errors
    /// [`Error::LowestMicrocode`] below the lowest; [`Error::Unavailable`] or [`Error::Write`] if the directory cannot be
    /// read or written.
    pub fn microcode(&self, step: Step) -> Result<(), Error> {
        let mut state = State::load(&self.dir)?;
        let [component, ..] = &mut state.cpusvn.0;
        *component = match step {
            Step::Up => component.saturating_add(1).min(HIGHEST_MICROCODE),
            Step::Down => component.checked_sub(1).ok_or(Error::LowestMicrocode)?,
        };
        if let Some(mut chip) = ChipState::load(&self.dir)? {
            chip.step(step);
            chip.save(&self.dir)?;
        }
        state.save(&self.dir)
    }

    /// Lets the host try newer SEV-SNP firmware, in the directory: it runs, and the machine has not committed to it, so that the
    /// host can take it back.
    ///
    /// # Errors
    /// As [`report_older_tcb`](Self::report_older_tcb).
    pub fn try_newer_firmware(&self) -> Result<(), Error> {
        let mut chip = self.chip()?;
        chip.try_newer();
        chip.save(&self.dir)
    }

    /// Lets the host report a lower TCB of the SEV-SNP firmware than the machine has, in the directory: by one microcode.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Write`] if the directory cannot be read or written.
    pub fn report_older_tcb(&self) -> Result<(), Error> {
        let mut chip = self.chip()?;
        chip.report_older();
        chip.save(&self.dir)
    }

    fn chip(&self) -> Result<ChipState, Error> {
        ChipState::load(&self.dir)?.ok_or_else(|| {
            Error::unavailable(&self.dir, "it was made before there were SEV-SNP guests: make a new machine")
        })
    }

    /// Installs another TDX module, in the directory: newer, older, or not the vendor's.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Write`] if the directory cannot be read or written.
    pub fn install_tdx_module(&self, module: &TdxModule) -> Result<(), Error> {
        let state = State {
            tee_tcb_svn: Hex(module.tee_tcb_svn()),
            mrseam: Hex(module.mrseam()),
            mrsignerseam: Hex(module.mrsigner),
            seam_attributes: Hex(module.attributes),
            ..State::load(&self.dir)?
        };
        state.save(&self.dir)
    }

    /// Lets the vendor announce a TCB recovery, in the directory: collateral for times after it knows of it. Recoveries are
    /// announced in the order of their times.
    ///
    /// ```
    /// use bulla_sim::{Edition, Machine, Recovery, TeeType};
    ///
    /// # let parent = tempfile::tempdir()?;
    /// let machine = Machine::create(parent.path().join("machine"))?;
    /// let (at, week) = (1_800_000_000, 7 * 86_400);
    /// let advisory = "SIM-SA-00002".to_owned();
    /// machine.tcb_recovery(&Recovery { at, standard_at: at + week, microcode: 6, tdx_module: 5, advisory })?;
    /// let early = machine.collateral_of(TeeType::Tdx, Edition::Early, at)?;
    /// let standard = machine.collateral_of(TeeType::Tdx, Edition::Standard, at)?;
    /// assert!(early.contains("SIM-SA-00002") && !standard.contains("SIM-SA-00002"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::History`] if it is out of order; [`Error::Unavailable`] or [`Error::Write`] if the directory cannot be
    /// read or written.
    pub fn tcb_recovery(&self, recovery: &Recovery) -> Result<(), Error> {
        History::recover(&self.dir, recovery)
    }

    /// Lets the vendor take back the PCK certificate that this machine has at its present TCB level, in the directory: it
    /// is on the revocation lists for times from `at` on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Write`] if the directory cannot be read or written.
    pub fn revoke_pck(&self, at: u64) -> Result<(), Error> {
        History::revoke(&self.dir, Revocation { at, serial: Hex(Pki::pck_serial(&self.state)) })
    }

    /// Gives the machine new seal fuses, PPID, platform instance id and QE ID, in the directory, as a firmware update or
    /// a new registration can do.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Write`] if the directory cannot be read or written; [`Error::Entropy`].
    pub fn platform_reset(&self) -> Result<(), Error> {
        let state = State {
            seal_fuses: random()?,
            ppid: random()?,
            platform_instance_id: random()?,
            qe_id: random()?,
            ..State::load(&self.dir)?
        };
        state.save(&self.dir)
    }

    /// Wipes the owner epoch, in the directory, as somebody can in the firmware's menu: it and the QE ID are new.
    ///
    /// # Errors
    /// As [`platform_reset`](Self::platform_reset).
    pub fn owner_epoch_reset(&self) -> Result<(), Error> {
        let state = State { owner_epoch: random()?, qe_id: random()?, ..State::load(&self.dir)? };
        state.save(&self.dir)
    }

    /// Puts another processor of the same model and microcode into the machine, in the directory: all its secrets, its
    /// PPID, platform instance id, QE ID and PCK are new. The owner epoch stays, since the firmware holds it.
    ///
    /// # Errors
    /// As [`platform_reset`](Self::platform_reset).
    pub fn replace_processor(&self) -> Result<(), Error> {
        let state = State {
            seal_fuses: random()?,
            report_key_seed: random()?,
            tdx_report_key: random()?,
            ppid: random()?,
            platform_instance_id: random()?,
            qe_id: random()?,
            ..State::load(&self.dir)?
        };
        self.pki.replace_pck()?;
        if let Some(chip) = ChipState::load(&self.dir)? {
            chip.replaced()?.save(&self.dir)?;
        }
        state.save(&self.dir)
    }

    /// Turns on extended features, in the directory, as a new kernel or firmware setting can do: enclaves run with these
    /// bits of XFRM besides those that they had.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Write`] if the directory cannot be read or written.
    pub fn add_features(&self, xfrm: u64) -> Result<(), Error> {
        let mut state = State::load(&self.dir)?;
        state.xfrm = Hex((u64::from_be_bytes(state.xfrm.0) | xfrm).to_be_bytes());
        state.save(&self.dir)
    }

    /// An enclave on this machine: from now on, this process answers `ENCLU` for it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the process cannot handle SIGILL and SIGSEGV.
    pub fn enclave(&self, identity: &EnclaveIdentity) -> Result<SimulatedEnclave, Error> {
        let quotes = Box::new(QuotingEnclave(self.quoting.clone()));
        self.run(identity, Enclave::new(Processor::Simulated, Box::new(SystemRandom), Some(quotes)))
    }

    /// The same, with the backend that the caller has made: that of a library OS.
    ///
    /// # Errors
    /// As [`enclave`](Self::enclave).
    pub fn run(&self, identity: &EnclaveIdentity, enclave: Enclave) -> Result<SimulatedEnclave, Error> {
        trap::install().map_err(|error| Error::unavailable(&self.dir, error))?;
        let core = Core { cpu: self.cpu.clone(), enclave: identity.clone() };
        Ok(SimulatedEnclave::new(core, enclave))
    }

    /// The pseudo-files that Gramine shows to an enclave on this machine.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where FUSE is not: it needs `/dev/fuse`, and root or `fusermount3`.
    pub fn gramine(&self, identity: &EnclaveIdentity) -> Result<GramineFiles, Error> {
        GramineFiles::new(self.cpu.clone(), self.quoting.clone(), identity.clone())
            .map_err(|error| Error::unavailable(Path::new("/dev/fuse"), error))
    }

    /// The device that Occlum shows to an enclave on this machine.
    ///
    /// # Errors
    /// As [`gramine`](Self::gramine).
    pub fn occlum(&self, identity: &EnclaveIdentity) -> Result<OcclumDevice, Error> {
        OcclumDevice::new(self.cpu.clone(), self.quoting.clone(), identity.clone())
            .map_err(|error| Error::unavailable(Path::new("/dev/fuse"), error))
    }

    pub(crate) fn quoting(&self) -> &Quoting {
        &self.quoting
    }

    /// What every enclave and guest here is made of.
    pub(crate) fn parts(&self) -> (Arc<Cpu>, Arc<Quoting>) {
        (self.cpu.clone(), self.quoting.clone())
    }

    /// A TDX guest on this machine.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where its kernel's files cannot be served: it takes `/dev/fuse`, and root or `fusermount3`.
    pub fn guest(&self, td: TdDescription) -> Result<SimulatedGuest, Error> {
        let kernel = GuestKernel::new(self.cpu.clone(), self.quoting.clone(), td);
        SimulatedGuest::new(kernel).map_err(|error| self.no_fuse(&error))
    }

    /// A SEV-SNP guest on this machine.
    ///
    /// # Errors
    /// As [`guest`](Self::guest); [`Error::Unavailable`] for a machine that was made before there were such guests.
    pub fn snp_guest(&self, guest: SnpDescription) -> Result<SimulatedSnpGuest, Error> {
        SimulatedSnpGuest::new(self.snp_kernel(guest)?).map_err(|error| self.no_fuse(&error))
    }

    /// What the kernel of a SEV-SNP guest shows.
    pub(crate) fn snp_kernel(&self, guest: SnpDescription) -> Result<SnpKernel, Error> {
        Ok(SnpKernel::new(self.security_processor()?, guest))
    }

    /// A SEV-SNP report of a guest over report data that the caller chooses.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a machine that was made before there were such guests; [`Error::Signing`] where signing fails.
    pub fn snp_report(&self, guest: &SnpDescription, report_data: &[u8; 64]) -> Result<Vec<u8>, Error> {
        let report = self.security_processor()?.report(guest, report_data, guest.vmpl);
        report.map(|report| report.as_bytes().to_vec()).map_err(Error::signing)
    }

    fn security_processor(&self) -> Result<Chip, Error> {
        let state = self.chip()?;
        let vcek = self.vcek(&state, state.reported_tcb())?;
        Chip::new(state, vcek)
    }

    fn vcek(&self, chip: &ChipState, tcb: &[u8; 8]) -> Result<Vcek, Error> {
        Vcek::of(&self.dir.join(pki::FOLDER), chip.chip_id(), tcb)
    }

    /// The certificate of the chip's key at a TCB of SEV-SNP, as it is in a report, in DER: what AMD's key distribution service
    /// would answer.
    ///
    /// # Errors
    /// [`Error::NotAQuote`] for another chip or a TCB that it has not reached; [`Error::Unavailable`], [`Error::Write`] and
    /// [`Error::Signing`] where it cannot be made.
    pub fn vcek_certificate(&self, chip_id: &[u8; 64], tcb: &[u8; 8]) -> Result<Vec<u8>, Error> {
        let chip = self.chip()?;
        if chip.chip_id() != chip_id || !chip.has_reached(tcb) {
            return Err(Error::NotAQuote("this machine's chip has no such key"));
        }
        Ok(self.vcek(&chip, tcb)?.certificate)
    }

    /// The issuers of that certificate, in PEM: ASK, then ARK.
    pub fn vcek_issuers(&self) -> String {
        vendor::issuers_pem()
    }

    /// The revocation list of its root, in DER: issued a day before `now_unix`, valid for 30 days.
    ///
    /// # Errors
    /// [`Error::Time`] beyond the years of certificates, [`Error::Signing`] where signing fails.
    pub fn vcek_crl(&self, now_unix: u64) -> Result<Vec<u8>, Error> {
        let [from, until] = window(now_unix)?;
        vendor::crl(from, until)
    }

    /// The certificate at the root of the SEV-SNP reports of all simulated machines, in DER. Its private key is public.
    pub fn snp_root_der(&self) -> Vec<u8> {
        vendor::root_der()
    }

    fn no_fuse(&self, error: &std::io::Error) -> Error {
        let reason = format!("its guest needs FUSE (/dev/fuse, and root or fusermount3): {error}");
        Error::unavailable(&self.dir, reason)
    }

    /// The quote generation service of this machine, for guests that ask it themselves.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it cannot listen.
    pub fn quote_service(&self) -> Result<SimulatedQuoteService, Error> {
        SimulatedQuoteService::new(self.cpu.clone(), self.quoting.clone())
            .map_err(|error| Error::unavailable(&self.dir, format_args!("its quote service: {error}")))
    }

    /// The TDREPORT of a guest over `report_data`, for an enclave on this machine to check locally.
    pub fn td_report(&self, td: &TdDescription, report_data: &[u8; 64]) -> TdReport {
        self.cpu.tdreport(&td.td_info(), report_data)
    }

    /// A TDX quote (version 4) of a guest over report data that the caller chooses, which only a simulator lets it.
    ///
    /// # Errors
    /// [`Error::Signing`] where signing fails.
    pub fn td_quote(&self, td: &TdDescription, report_data: &[u8; 64]) -> Result<Vec<u8>, Error> {
        self.quoting.td_quote(&self.td_report(td, report_data))
    }

    /// The collateral for a quote of a simulated machine, as the JSON that `dcap-qvl` reads (`QuoteCollateralV3`): issued
    /// a day before `now_unix`, valid for 30 days, and knowing all that was [published](Self::tcb_recovery) until `now_unix`.
    ///
    /// ```
    /// use bulla_sim::{Machine, TdDescription};
    ///
    /// # let parent = tempfile::tempdir()?;
    /// # let dir = parent.path().join("machine");
    /// let machine = Machine::create(&dir)?;
    /// let quote = machine.td_quote(&TdDescription::default_guest(), &[7; 64])?;
    /// let collateral = machine.collateral(&quote, 1_800_000_000)?;
    /// assert!(collateral.contains("tcb_info_signature"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotAQuote`], and as [`collateral_for`](Self::collateral_for).
    pub fn collateral(&self, quote: &[u8], now_unix: u64) -> Result<String, Error> {
        self.collateral_for(TeeType::of(quote)?, now_unix)
    }

    /// As [`collateral`](Self::collateral), for every quote of that kind.
    ///
    /// # Errors
    /// [`Error::Time`] beyond the years of certificates, [`Error::Signing`] where signing fails, [`Error::Unavailable`] if
    /// the directory cannot be read.
    pub fn collateral_for(&self, tee: TeeType, now_unix: u64) -> Result<String, Error> {
        self.collateral_of(tee, Edition::Standard, now_unix)
    }

    /// As [`collateral_for`](Self::collateral_for), of another edition than the standard one. What the vendor published is
    /// read from the directory each time.
    ///
    /// # Errors
    /// As [`collateral_for`](Self::collateral_for); [`Error::RetiredEdition`] and [`Error::NoEdition`] for numbers that are
    /// not valid any more or not yet; [`Error::Unavailable`] if the directory cannot be read.
    pub fn collateral_of(&self, tee: TeeType, edition: Edition, now_unix: u64) -> Result<String, Error> {
        collateral(&self.pki, &self.state, &History::load(&self.dir)?, tee, edition, now_unix)
    }

    /// The model of the platform, by which TCB info is asked for.
    pub(crate) const fn fmspc(&self) -> [u8; 6] {
        *self.state.fmspc()
    }

    /// The vendor's signature over a document about TCB: r and s in hexadecimal.
    pub(crate) fn sign_document(&self, text: &str) -> Result<String, Error> {
        self.pki.tcb_signing.sign(text.as_bytes()).map(hex::encode)
    }
}

pub(crate) fn random<const N: usize>() -> Result<Hex<N>, Error> {
    Ok(Hex(SystemRandom.array()?))
}

/// Writes a file for its owner alone, whole or not at all.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |error| Error::write(path, error);
    let mut file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
