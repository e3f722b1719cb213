//! A guest's local report.

use std::sync::LazyLock;

use bulla_attest::ThisMachine;
use bulla_crypto::sha384;
use bulla_tee::sgx::arch::ReportMac;
use bulla_tee::{Error, Identity, LocalVerifier};

use super::{GOOD, NOW, PKI, loosest, refused, verifier};
use crate::edits::Script;

/// Report MAC with its two hashes, TEE_TCB_INFO, reserved, TD_INFO.
const REPORT: usize = 1024;

/// A processor that made whatever it is asked about.
struct Processor;

impl LocalVerifier for Processor {
    fn verify_report(&self, _: &ReportMac) -> Result<(), Error> {
        Ok(())
    }
}

static MACHINE: LazyLock<ThisMachine> = LazyLock::new(|| {
    let [own, guests, _] = &*GOOD;
    verifier()
        .this_machine(&own.evidence.quote(&PKI), &own.collateral, &guests.collateral, NOW, &loosest())
        .unwrap()
});

static REPORT_IN_ORDER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut report = vec![0; REPORT];
    report[..4].copy_from_slice(&[0x81, 0, 0, 0]);
    report[16..32].fill(2);
    report[128..192].fill(9);
    report[256..264].copy_from_slice(&0x1FF_u64.to_le_bytes());
    report[264..267].copy_from_slice(&[5, 1, 2]);
    report[512 + 3] = 0x10;
    report[512 + 16..512 + 64].fill(7);
    hash(&mut report);
    let verdict = MACHINE.verify_report(&report, &Processor, NOW, &loosest());
    assert!(verdict.is_ok(), "{verdict:?}");
    report
});

/// Judges a report whose MAC is right. The first byte says what the rest is: 0 the report, 1 edits to a good one, 2 edits after
/// which both hashes are made to fit.
pub fn td_report(data: &[u8]) -> bool {
    let Some((&which, rest)) = data.split_first() else { return false };
    let mut report = rest.to_vec();
    if which % 3 > 0 {
        report.clone_from(&REPORT_IN_ORDER);
        Script::new(rest).edit(&mut report);
    }
    if which % 3 == 2 {
        hash(&mut report);
    }
    let claims = match MACHINE.verify_report(&report, &Processor, NOW, &loosest()) {
        Ok(claims) => claims,
        Err(error) => return refused(&error),
    };
    let Identity::Tdx(guest) = &claims.identity else { panic!("not a guest") };
    assert_eq!(report.len(), REPORT);
    assert_eq!(report[32..80], sha384(&[&report[256..495]]), "not what the MAC covers");
    assert_eq!(report[80..128], sha384(&[&report[512..]]), "not what the MAC covers");
    assert!(claims.local);
    assert_eq!(claims.platform, MACHINE.claims().platform);
    assert_eq!(claims.report_data, report[128..192]);
    assert_eq!(guest.attributes.to_le_bytes(), report[512..520]);
    assert_eq!((report[512], report[515] & 0x30), (0, 0x10), "debug, or pages can vanish, or the guest move");
    assert_eq!(guest.mrtd, report[528..576]);
    assert_eq!(guest.rtmr.concat(), report[720..912]);
    true
}

fn hash(report: &mut [u8]) {
    if report.len() != REPORT {
        return;
    }
    let hashes = [sha384(&[&report[256..495]]), sha384(&[&report[512..]])];
    report[32..128].copy_from_slice(hashes.as_flattened());
}
