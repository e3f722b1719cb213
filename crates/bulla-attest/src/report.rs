//! Local reports: a TDX guest's TDREPORT, judged by an enclave on the same machine (R35).
//!
//! The processor itself says whether a TDREPORT was made on it (`ENCLU[EVERIFYREPORT2]`), so no certificate is needed to know
//! which machine the guest is on. That says nothing of how the machine stands: a report is appraised like a quote, by the
//! same levels, the same current collateral and the same policy, and an old TDX module is refused as its quote would be.
//!
//! | in a quote | in a local report |
//! |---|---|
//! | quote signature, attestation key, QE report | the MAC, and two hashes that are recomputed |
//! | PCK certificate: PPID, FMSPC, CPUSVN, PCESVN | that of this machine's own verified quote, if both were made at one CPUSVN |
//! | its revocation, TCB info and QE identity for TDX | the same, of the same age |
//! | status of the TDX quoting enclave, which signed it | status of the enclave that signed this machine's own quote, whose word the platform is known by |
//! | TEE_TCB_SVN2 in TD 1.5 bodies alone | wherever it is filled in: a revoked or unlisted running module is refused in version 0 too |
//!
//! Everything that is signed is verified once, by [`Verifier::this_machine`]. A report then costs two hashes, the
//! instruction, and looking up levels.

use std::sync::Arc;

use bulla_tee::sgx::arch::ReportMac;
use bulla_tee::tdx::{TdInfo, TdReport, TeeTcbInfo};
use bulla_tee::{Identity, LocalVerifier, TdxIdentity, is_simulated};
use dcap_qvl::TcbStatusWithAdvisory;
use zerocopy::{FromBytes, IntoBytes};

use crate::check::{Checked, check, check_platform};
use crate::collateral::Floor;
use crate::endorsement::Window;
use crate::error::{ParseFault, ReportFault};
use crate::levels::{self, TdxModule, guest_level, qe_level};
use crate::pki::Certificate;
use crate::quote::Quote;
use crate::shortfall::{Names, QUOTING_ENCLAVE, Versions, shortfalls};
use crate::{Basis, Claims, Collateral, Error, Policy, Tcb, TcbStatus, TeeKind, TrustAnchor, Verifier};

/// TEE_TCB_INFO.VALID: all fields before TEE_TCB_SVN2, and with it (Intel TDX Module ABI specification).
const VALID_WITHOUT_SVN2: u64 = 0x1FF;
const VALID_WITH_SVN2: u64 = 0x3_01FF;

/// The version of a report whose guest has service TDs. Version 0 has none; later ones are of guests whose quotes are
/// not judged either.
const WITH_SERVICE_TDS: u8 = 1;

/// This machine, as its own verified quote and the collateral for its guests show it: what local reports are judged by.
///
/// Make it with [`Verifier::this_machine`], and again when the collateral is renewed or when a report is refused with
/// `report.cpusvn`. It is stateless and reads no clock.
///
/// ```
/// use bulla_attest::{Claims, Collateral, Error, Policy, Verifier};
/// use bulla_tee::LocalVerifier;
///
/// struct Own<'a> {
///     quote: &'a [u8],
///     collateral: Collateral,
///     collateral_for_guests: Collateral,
/// }
///
/// fn judge(
///     verifier: &Verifier,
///     own: &Own<'_>,
///     processor: &dyn LocalVerifier,
///     td_report: &[u8],
///     now: u64,
/// ) -> Result<Claims, Error> {
///     let policy = Policy::strict();
///     // Once for each set of collateral:
///     let machine =
///         verifier.this_machine(own.quote, &own.collateral, &own.collateral_for_guests, now, &policy)?;
///     // For each report:
///     machine.verify_report(td_report, processor, now, &policy)
/// }
/// ```
#[derive(Clone)]
pub struct ThisMachine {
    claims: Claims,
    cpusvn: [u8; 16],
    guests: Checked,
    names: Names,
    /// Of this machine's own quote.
    qe: TcbStatusWithAdvisory,
    /// The lowest of this machine's own documents.
    evaluation_data_number: u32,
    /// When everything that was verified is good.
    window: Window,
    /// What guests are judged by.
    basis: Basis,
    floor: Option<Arc<Floor>>,
    sources: Sources,
}

/// What all of it was read from: to be checked again where the time is over, for the reason.
#[derive(Clone)]
struct Sources {
    anchor: TrustAnchor,
    quote: Vec<u8>,
    collateral: Collateral,
    for_guests: Collateral,
}

impl Verifier {
    /// Verifies and appraises this machine's own SGX quote, and the collateral for the TDX guests on it: TCB info and QE
    /// identity for TDX, and revocation lists that this machine's PCK certificate is not on.
    ///
    /// Whether the quote is this machine's is for the caller to know: it compares it with its own EREPORT (R37).
    ///
    /// # Errors
    /// As [`Verifier::verify`] of the quote; what it says of collateral also of `for_guests`. `parse.tee_type` for the quote
    /// of a guest.
    pub fn this_machine(
        &self,
        quote: &[u8],
        collateral: &Collateral,
        for_guests: &Collateral,
        now_unix: u64,
        policy: &Policy,
    ) -> Result<ThisMachine, Error> {
        let claims = self.verify(quote, collateral, now_unix, policy)?;
        let Identity::Sgx(enclave) = &claims.identity else {
            let detail = "this machine's own quote must be of an enclave on it";
            return Err(Error::parse(ParseFault::TeeType, detail));
        };
        let cpusvn = enclave.cpusvn;
        let sources = Sources {
            anchor: self.anchor.clone(),
            quote: quote.to_vec(),
            collateral: collateral.clone(),
            for_guests: for_guests.clone(),
        };
        let [own, guests] = sources.check(now_unix)?;
        let facts = for_guests.facts()?;
        self.check_floor(facts)?;
        let mut window = guests.window;
        window.narrow((own.window.from, own.window.until.min(claims.valid_until)));
        Ok(ThisMachine {
            cpusvn,
            qe: qe_level(&Quote::parse(quote)?.qe_report, &own.qe_identity)?,
            evaluation_data_number: claims.tcb.evaluation_data_number,
            window,
            claims,
            guests,
            names: Names::read(&for_guests.items()?.tcb_info),
            basis: self.basis(now_unix, Some(facts.issued())),
            floor: self.floor.clone(),
            sources,
        })
    }
}

impl ThisMachine {
    /// What this machine's own quote says.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Verifies a TDREPORT (1024 bytes) that was made on this machine, at a time, and appraises it as the guest's quote.
    ///
    /// Its claims are those that the quote would have, but for `local`, which is true. Nothing in a report says when it was
    /// made: what its report data are must be fresh.
    ///
    /// # Errors
    /// `report.*`; what [`Verifier::verify`] says of collateral whose time is over, of TDX modules, of levels and by policy.
    pub fn verify_report(
        &self,
        report: &[u8],
        local: &dyn LocalVerifier,
        now_unix: u64,
        policy: &Policy,
    ) -> Result<Claims, Error> {
        self.check_time(now_unix)?;
        let report = parse(report)?;
        local.verify_report(&report.report_mac).map_err(|error| match error {
            bulla_tee::Error::BadReport => {
                let detail = "this machine did not make it: it is of another machine, or was changed";
                Error::report(ReportFault::Mac, detail)
            }
            error => Error::LocalVerifier(error),
        })?;
        self.check_cpusvn(&report.report_mac)?;

        let claims = Claims {
            identity: identity(&report),
            report_data: report.report_mac.report_data,
            platform: self.claims.platform.clone(),
            tcb: self.tcb(&report)?,
            valid_until: self.window.until,
            simulated: self.claims.simulated || is_marked(&report),
            local: true,
            basis: Basis { time: now_unix, ..self.basis },
        };
        if claims.tcb.status == TcbStatus::Revoked {
            return Err(Error::TcbRevoked(Box::new(claims.tcb)));
        }
        policy.appraise(&claims, now_unix)?;
        Ok(claims)
    }

    fn check_time(&self, now: u64) -> Result<(), Error> {
        self.floor.as_ref().map_or(Ok(()), |floor| floor.check_time(now))?;
        if self.window.contains(now) {
            return Ok(());
        }
        self.sources.check(now)?;
        let Window { from, until } = self.window;
        Err(Error::Unverified(format!(
            "what is known of this machine is good from {from} to {until} (Unix time)"
        )))
    }

    /// The platform is known at one CPUSVN only.
    fn check_cpusvn(&self, report: &ReportMac) -> Result<(), Error> {
        if report.cpusvn == self.cpusvn {
            return Ok(());
        }
        let [found, own] = [report.cpusvn, self.cpusvn].map(hex::encode);
        let detail = format!(
            "it was made at CPUSVN {found}, and this machine's own quote at {own}: quote this machine again"
        );
        Err(Error::report(ReportFault::Cpusvn, detail))
    }

    fn tcb(&self, report: &TdReport) -> Result<Tcb, Error> {
        let Checked { platform, tcb_info, qe_identity, .. } = &self.guests;
        let info = &report.tee_tcb_info;
        let module = TdxModule {
            tee_tcb_svn: &info.tee_tcb_svn,
            mrsigner: &info.mrsignerseam,
            attributes: &info.attributes,
            running: (info.valid.get() == VALID_WITH_SVN2).then_some(&info.tee_tcb_svn2),
            // The quote of a guest without service TDs does not know of TEE_TCB_SVN2, so nothing is excused by it.
            excused: version(&report.report_mac) == WITH_SERVICE_TDS,
        };
        let versions = Versions { platform, tee_tcb_svn: Some(&info.tee_tcb_svn), qe_isvsvn: None };
        let names = || self.names.clone();
        let missing = || {
            let own = self.claims.tcb.shortfalls.iter().filter(|short| short.component == QUOTING_ENCLAVE);
            shortfalls(&versions, tcb_info, names, qe_identity).into_iter().chain(own.cloned()).collect()
        };
        let found = guest_level(platform, &module, &self.qe, tcb_info).map_err(|error| match error {
            Error::NoMatchingLevel(_) => Error::NoMatchingLevel(missing()),
            error => error,
        })?;
        let tcb = levels::tcb(found, &self.qe, tcb_info, qe_identity);
        let evaluation_data_number = tcb.evaluation_data_number.min(self.evaluation_data_number);
        Ok(Tcb { evaluation_data_number, shortfalls: missing(), ..tcb })
    }
}

impl Sources {
    /// The own checks of this machine's quote, and of what judges its guests.
    fn check(&self, now: u64) -> Result<[Checked; 2], Error> {
        let quote = Quote::parse(&self.quote)?;
        let own = check(&quote, &self.collateral, now, &self.anchor)?;
        let unsigned = |_: &Certificate<'_>| Ok(());
        let guests =
            check_platform(quote.pck_chain, TeeKind::Tdx, unsigned, &self.for_guests, now, &self.anchor)?;
        Ok([own, guests])
    }
}

/// Every byte of a report that no key is needed for: its type, what must be zero, and that both hashes are of what stands
/// beside them (R35).
fn parse(report: &[u8]) -> Result<Box<TdReport>, Error> {
    let fault = |fault, detail: &str| Err(Error::report(fault, detail));
    let Ok(report) = TdReport::read_from_bytes(report).map(Box::new) else {
        let detail = format!("{} bytes, and a TDREPORT has {}", report.len(), size_of::<TdReport>());
        return Err(Error::report(ReportFault::Size, detail));
    };
    let TdReport { report_mac: mac, tee_tcb_info: info, reserved, td_info: td } = report.as_ref();
    let [0x81, 0, version @ 0..=WITH_SERVICE_TDS, 0] = mac.report_type else {
        let detail = format!("type {}; 81000000 and 81000100 are known", hex::encode(mac.report_type));
        return Err(Error::report(ReportFault::Type, detail));
    };
    let zero = [&mac.reserved1[..], &mac.reserved2, &info.reserved, reserved, &td.reserved];
    if zero.concat().iter().any(|byte| *byte != 0) {
        return fault(ReportFault::Reserved, "a reserved byte is not zero");
    }
    let svn2 = match info.valid.get() {
        VALID_WITH_SVN2 => true,
        VALID_WITHOUT_SVN2 => false,
        valid => {
            let detail = format!("VALID is {valid:#x}; 0x1ff and 0x301ff are known");
            return Err(Error::report(ReportFault::Reserved, detail));
        }
    };
    if !svn2 && info.tee_tcb_svn2 != [0; 16] {
        return fault(ReportFault::Reserved, "TEE_TCB_SVN2 is filled in and not valid");
    }
    if version != WITH_SERVICE_TDS && td.servtd_hash != [0; 48] {
        return fault(ReportFault::Reserved, "SERVTD_HASH is filled in, and its version has none");
    }
    if !is_covered(mac, info, td) {
        return fault(ReportFault::Binding, "its MAC is over the hash of something else: it was changed");
    }
    Ok(report)
}

fn is_covered(mac: &ReportMac, info: &TeeTcbInfo, td: &TdInfo) -> bool {
    mac.tee_tcb_info_hash == bulla_crypto::sha384(&[info.as_bytes()])
        && mac.tee_info_hash == bulla_crypto::sha384(&[td.as_bytes()])
}

const fn version(mac: &ReportMac) -> u8 {
    let [_, _, version, _] = mac.report_type;
    version
}

fn identity(report: &TdReport) -> Identity {
    let (info, td) = (&report.tee_tcb_info, &report.td_info);
    Identity::Tdx(Box::new(TdxIdentity {
        mrtd: td.mrtd,
        rtmr: td.rtmr,
        mrconfigid: td.mrconfigid,
        mrowner: td.mrowner,
        mrownerconfig: td.mrownerconfig,
        mrservicetd: td.servtd_hash,
        attributes: td.attributes.get(),
        xfam: td.xfam.get(),
        tee_tcb_svn: info.tee_tcb_svn,
        mrseam: info.mrseam,
    }))
}

/// Whether any security version in the report carries the simulator's marker.
fn is_marked(report: &TdReport) -> bool {
    let info = &report.tee_tcb_info;
    [&report.report_mac.cpusvn, &info.tee_tcb_svn, &info.tee_tcb_svn2].into_iter().any(is_simulated)
}
