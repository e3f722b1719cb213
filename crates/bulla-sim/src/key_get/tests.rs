use bulla_crypto::Secret;
use zerocopy::FromZeros;

use super::*;
use crate::machine::marked;

fn cpu() -> Cpu {
    Cpu {
        seal_fuses: Secret::new([1; 32]),
        report_key_seed: Secret::new([2; 32]),
        tdx_report_key: Secret::new([3; 32]),
        owner_epoch: [4; 16],
        cpusvn: marked([5, 5, 2, 2, 3, 1, 0, 3]),
        tee_tcb_svn: marked([5, 1, 2, 0, 0, 0, 0, 0]),
        mrseam: [6; 48],
        mrsignerseam: [0; 48],
        seam_attributes: [0; 8],
    }
}

fn guest() -> TdInfo {
    let mut guest = TdInfo::new_zeroed();
    guest.attributes = (1 << 28).into();
    guest.xfam = 0xE7.into();
    (guest.mrtd, guest.mrconfigid, guest.mrowner, guest.mrownerconfig) =
        ([0x11; 48], [0x12; 48], [0x13; 48], [0x14; 48]);
    guest.rtmr = [[0x20; 48], [0x21; 48], [0; 48], [0; 48]];
    guest.servtd_hash = [0x15; 48];
    guest
}

fn request() -> TdKeyRequest {
    let mut request = TdKeyRequest::new_zeroed();
    request.keysize = 1;
    request.keypolicy = (1 | 3 << 32).into();
    request.attributes_mask = 0x71.into();
    (request.cpusvn, request.tee_tcb_svn) = (cpu().cpusvn, cpu().tee_tcb_svn);
    request.salt = [9; 32];
    request
}

const BOTH: [SealingKeys; 2] = [SealingKeys::AsInSource, SealingKeys::AsSpecified];

fn key(how: SealingKeys, guest: &TdInfo, request: &TdKeyRequest) -> [u8; 32] {
    cpu().key_get(how, guest, request).unwrap()
}

/// The offsets are those of `tdgetkey_derivation_string_t`.
#[test]
fn the_derivation_string_is_that_of_the_source() {
    let mut everything = request();
    everything.keypolicy = (0x70F | 0xF << 32).into();
    everything.sw_keyname = 7;
    everything.xfam_mask = 0x7.into();
    everything.attributes_mask = (1 << 28 | 1).into();
    let string = derivation_string(false, &guest(), &everything);
    let mut wanted = vec![0; 704];
    wanted[2] = 7;
    wanted[16..24].copy_from_slice(&(1_u64 << 28).to_le_bytes());
    wanted[24..32].copy_from_slice(&(1_u64 << 28 | 1).to_le_bytes());
    wanted[32..40].copy_from_slice(&7_u64.to_le_bytes());
    wanted[40..48].copy_from_slice(&7_u64.to_le_bytes());
    wanted[48..96].fill(0x11);
    // MRCONFIGID and MROWNERCONFIG are selected, and not there.
    wanted[144..192].fill(0x13);
    wanted[240..288].fill(0x20);
    wanted[288..336].fill(0x21);
    wanted[608..640].fill(9);
    assert_eq!(string, wanted);

    let mut migratable = guest();
    migratable.attributes = attributes::MIGRATABLE.into();
    assert_eq!(derivation_string(false, &migratable, &everything)[560..608], [0x15; 48]);
}

/// What makes another key, and what does not: the traps are as in the source.
#[test]
fn a_key_is_a_function_of_what_is_mixed_in() {
    type Change = fn(&mut TdInfo, &mut TdKeyRequest);
    let changes: [(bool, bool, Change); 12] = [
        (true, true, |_, r| r.salt[0] ^= 1),
        (true, true, |_, r| r.sw_keyname = 1),
        (true, true, |_, r| r.attributes_mask = 0x70.into()),
        (true, true, |_, r| r.xfam_mask = 1.into()),
        (true, true, |_, r| r.cpusvn[0] -= 1),
        (true, true, |_, r| r.tee_tcb_svn[0] -= 1),
        (true, true, |g, _| g.mrtd[0] ^= 1),
        (true, true, |g, _| g.rtmr[1][0] ^= 1),
        (true, true, |g, _| g.attributes = (1 << 28 | 1).into()),
        // RTMR2 is zero: selected or not, the key is one, unless the policy itself is mixed in.
        (false, true, |_, r| r.keypolicy = (1 | 7 << 32).into()),
        // DEBUG is not forced in.
        (false, false, |g, _| g.attributes = (1 << 28 | 1 << 63).into()),
        (false, false, |g, _| (g.mrconfigid, g.mrowner) = ([0; 48], [0; 48])),
    ];
    for how in BOTH {
        let reference = key(how, &guest(), &request());
        for (number, (in_source, specified, change)) in changes.into_iter().enumerate() {
            let (mut guest, mut request) = (guest(), request());
            change(&mut guest, &mut request);
            let wanted = if how == SealingKeys::AsInSource { in_source } else { specified };
            assert_eq!(key(how, &guest, &request) != reference, wanted, "{how:?}, {number}");
        }
    }
    assert_eq!(key(SealingKeys::AsInSource, &guest(), &request())[16..], [0; 16]);
    assert_ne!(key(SealingKeys::AsSpecified, &guest(), &request())[16..], [0; 16]);
}

#[test]
fn what_is_refused_and_how() {
    type Change = fn(&mut TdKeyRequest);
    const INVALID: u64 = 0xC000_0100_0000_0000;
    let cases: [(u64, u64, Change); 15] = [
        (INVALID | 100, INVALID | 100, |r| r.keyname = 1.into()),
        (INVALID | 1, INVALID | 1, |r| r.reserved1[3] = 1),
        (INVALID | 1, INVALID | 1, |r| r.reserved2[25] = 1),
        (INVALID | 1, INVALID | 1, |r| r.attributes_mask = 2.into()),
        (INVALID | 1, INVALID | 1, |r| r.attributes_mask = (1 << 7).into()),
        (INVALID | 1, INVALID | 1, |r| r.attributes_mask = (1 << 40).into()),
        (INVALID | 1, INVALID | 1, |r| r.keypolicy = (1 << 5).into()),
        (INVALID | 1, INVALID | 1, |r| r.keypolicy = (1 << 48).into()),
        (0, INVALID | 1, |r| r.keypolicy = (1 | 1 << 1).into()),
        (INVALID | 1, 0, |r| r.keypolicy = (1 | 1 << 4).into()),
        (INVALID | 108, INVALID | 108, |r| r.keysize = 2),
        (0, INVALID | 108, |r| r.keysize = 3),
        (INVALID | 1, INVALID | 1, |r| r.tee_tcb_svn[3] = 1),
        (status::SVN_INVALID, status::SVN_INVALID, |r| r.cpusvn[0] += 1),
        (status::SVN_INVALID, status::SVN_INVALID, |r| r.tee_tcb_svn[0] += 1),
    ];
    for (number, (in_source, specified, change)) in cases.into_iter().enumerate() {
        let mut request = request();
        change(&mut request);
        for (how, wanted) in BOTH.into_iter().zip([in_source, specified]) {
            let found = cpu().key_get(how, &guest(), &request).err().unwrap_or(0);
            assert_eq!(found, wanted, "{how:?}, {number}: {found:#x}");
        }
    }
    for (how, wanted) in
        [(SealingKeys::NoPlatform, INVALID), (SealingKeys::NotEnabled, status::NOT_SUPPORTED)]
    {
        assert_eq!(cpu().key_get(how, &guest(), &request()), Err(wanted));
    }
}
