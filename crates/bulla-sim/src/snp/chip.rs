//! The security processor of a simulated chip: reports and derived keys, as pure functions over its state (AMD SEV-SNP
//! Firmware ABI specification, MSG_REPORT_REQ and MSG_KEY_REQ; AMD's published firmware, `nist_kdf`).

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use bulla_crypto::{Secret, hmac, sha384};
use bulla_tee::SIMULATED_MARKER;
use bulla_tee::snp::{KeyReq, Report, field, platform, status};
use serde::{Deserialize, Serialize};
use zerocopy::{FromZeros, IntoBytes};

use super::SnpDescription;
use super::vendor::{self, Vcek};
use crate::hexadecimal::Hex;
use crate::machine::{random, write_file};
use crate::{Error, Step};

const SNP_TOML: &str = "snp.toml";
const HEADER: &str =
    "# The security processor of a simulated machine, for SEV-SNP guests. It protects nothing.\n\n";
/// TCB_VERSION of a new machine, in the layout of Genoa: boot loader 9, TEE 0, SNP 23, microcode 72.
const INITIAL_TCB: [u8; 8] = [9, 0, 0, 0, 0, 0, 23, 72];
/// A Genoa: family, model and stepping.
const CPUID: [u8; 3] = [0x19, 0x11, 1];
/// Build, minor and major version of the firmware.
const FIRMWARE: [u8; 3] = [8, 55, 1];
const ALL_FIELDS: u64 = field::POLICY
    | field::IMAGE_ID
    | field::FAMILY_ID
    | field::MEASUREMENT
    | field::GUEST_SVN
    | field::TCB_VERSION;

/// `snp.toml`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChipState {
    chip_secret: Hex<48>,
    chip_id: Hex<64>,
    current_tcb: Hex<8>,
    committed_tcb: Hex<8>,
    reported_tcb: Hex<8>,
}

impl ChipState {
    /// A new chip with the versions of a new machine.
    pub(crate) fn new() -> Result<Self, Error> {
        let mut chip_id = random()?;
        let Hex::<64>(bytes) = &mut chip_id;
        if let Some(marker) = bytes.last_chunk_mut() {
            *marker = SIMULATED_MARKER;
        }
        let tcb = Hex(INITIAL_TCB);
        let chip_secret = random()?;
        Ok(Self { chip_secret, chip_id, current_tcb: tcb, committed_tcb: tcb, reported_tcb: tcb })
    }

    /// Another chip of the same versions.
    pub(crate) fn replaced(&self) -> Result<Self, Error> {
        let Self { chip_secret, chip_id, .. } = Self::new()?;
        Ok(Self { chip_secret, chip_id, ..self.clone() })
    }

    /// None for a machine that was made before there were such chips.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(SNP_TOML);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::unavailable(&path, error)),
        };
        let state: Self =
            toml::from_str(&text).map_err(|error| Error::unavailable(&path, error.message()))?;
        if !bulla_tee::is_simulated_chip(&state.chip_id.0) {
            return Err(Error::unavailable(&path, "chip_id lacks the marker of a simulated machine"));
        }
        Ok(Some(state))
    }

    pub(crate) fn save(&self, dir: &Path) -> Result<(), Error> {
        let text = toml::to_string(self).expect("hexadecimal is TOML");
        write_file(&dir.join(SNP_TOML), [HEADER, &text].concat().as_bytes())
    }

    pub(crate) const fn chip_id(&self) -> &[u8; 64] {
        &self.chip_id.0
    }

    pub(crate) const fn reported_tcb(&self) -> &[u8; 8] {
        &self.reported_tcb.0
    }

    /// Whether the chip has a key at this TCB.
    pub(crate) fn has_reached(&self, tcb: &[u8; 8]) -> bool {
        tcb.iter().zip(&self.committed_tcb.0).all(|(asked, committed)| asked <= committed)
    }

    /// The microcode rises or falls by one, and with it what the machine has committed to and what it reports.
    pub(crate) fn step(&mut self, step: Step) {
        for Hex([.., microcode]) in [&mut self.current_tcb, &mut self.committed_tcb, &mut self.reported_tcb] {
            *microcode = match step {
                Step::Up => microcode.saturating_add(1),
                Step::Down => microcode.saturating_sub(1),
            };
        }
    }

    /// The host tries newer firmware that it can still take back.
    pub(crate) fn try_newer(&mut self) {
        let Hex([_, _, _, _, _, _, firmware, _]) = &mut self.current_tcb;
        *firmware = firmware.saturating_add(1);
    }

    /// The host lets the machine report a lower microcode than it has.
    pub(crate) fn report_older(&mut self) {
        let Hex([.., microcode]) = &mut self.reported_tcb;
        *microcode = microcode.saturating_sub(1);
    }
}

/// A security processor, for one guest.
pub(crate) struct Chip {
    state: ChipState,
    /// The key that signs reports, at the reported TCB.
    vcek: Vcek,
    /// The guest's migration root, another for each launch.
    vmrk: Secret<32>,
    report_id: [u8; 32],
}

impl Chip {
    pub(crate) fn new(state: ChipState, vcek: Vcek) -> Result<Self, Error> {
        let Hex::<32>(vmrk) = random()?;
        let Hex(report_id) = random()?;
        Ok(Self { state, vcek, vmrk: Secret::new(vmrk), report_id })
    }

    /// The certificates that the host hands over with reports.
    pub(crate) fn certificates(&self) -> Vec<u8> {
        vendor::table(&self.vcek.certificate)
    }

    /// MSG_REPORT_REQ by the channel of the guest's own privilege level.
    pub(crate) fn report(&self, guest: &SnpDescription, data: &[u8; 64], vmpl: u32) -> Result<Report, u32> {
        if vmpl < guest.vmpl || vmpl > 3 {
            return Err(status::INVALID_PARAM);
        }
        let ChipState { chip_id, current_tcb, committed_tcb, reported_tcb, .. } = &self.state;
        let mut report = Report {
            version: 3.into(),
            guest_svn: guest.guest_svn.into(),
            policy: guest.policy.into(),
            family_id: guest.family_id,
            image_id: guest.image_id,
            vmpl: vmpl.into(),
            signature_algo: 1.into(),
            current_tcb: current_tcb.0,
            platform_info: (platform::ECC | platform::ALIAS_CHECK_COMPLETE).into(),
            key_info: u32::from(guest.author_key_digest != [0; 48]).into(),
            report_data: *data,
            measurement: guest.measurement,
            host_data: guest.host_data,
            id_key_digest: guest.id_key_digest,
            author_key_digest: guest.author_key_digest,
            report_id: self.report_id,
            report_id_ma: [0xFF; 32],
            reported_tcb: reported_tcb.0,
            cpuid: CPUID,
            chip_id: chip_id.0,
            committed_tcb: committed_tcb.0,
            current_version: FIRMWARE,
            committed_version: FIRMWARE,
            launch_tcb: current_tcb.0,
            ..Report::new_zeroed()
        };
        self.vcek.sign(&mut report).map_err(|_| status::INVALID_KEY)?;
        Ok(report)
    }

    /// MSG_KEY_REQ by the same channel. There is no provider's key (VLEK) here.
    pub(crate) fn derived_key(&self, guest: &SnpDescription, request: &KeyReq) -> Result<Secret<32>, u32> {
        let (select, root) = (request.guest_field_select.get(), request.root_key_select.get());
        let selects = |field| select & field != 0;
        if root & !0b111 != 0 || request.reserved != [0; 4] {
            return Err(status::INVALID_PARAM);
        }
        let is_vmrk = root & 1 != 0;
        if !is_vmrk && ![0, 1].contains(&(root >> 1)) {
            return Err(status::INVALID_KEY);
        }
        if request.vmpl.get() < guest.vmpl
            || select & !ALL_FIELDS != 0
            || selects(field::TCB_VERSION) && !self.state.has_reached(&request.tcb_version)
            || selects(field::GUEST_SVN) && request.guest_svn.get() > guest.guest_svn
        {
            return Err(status::INVALID_PARAM);
        }
        let root_key = match (is_vmrk, selects(field::TCB_VERSION)) {
            (true, _) => self.vmrk.expose().to_vec(),
            (false, true) => self.vcek(&request.tcb_version).to_vec(),
            (false, false) => self.vcek(&self.state.reported_tcb.0).to_vec(),
        };
        let mix = mix(guest, request);
        let parts: [&[u8]; 5] = [&1_u32.to_le_bytes(), b"gmsg-keyreq", &[0], &mix, &256_u32.to_le_bytes()];
        Ok(Secret::new(hmac(&root_key, &parts)))
    }

    /// The root of keys at a TCB. Whoever has that of a TCB can compute those of all lower ones, and of none above.
    fn vcek(&self, tcb: &[u8; 8]) -> [u8; 48] {
        let mut stick = self.state.chip_secret.0;
        for (part, version) in (0_u8..).zip(tcb) {
            stick = sha384(&[&stick, &[part]]);
            for _ in *version..u8::MAX {
                stick = sha384(&[&stick]);
            }
        }
        stick
    }
}

/// What of guest and request enters a key, 168 bytes: what is not selected is zero, host data and signer always enter.
fn mix(guest: &SnpDescription, request: &KeyReq) -> [u8; 168] {
    let select = request.guest_field_select.get();
    let (signer, signer_kind) = match (guest.author_key_digest, guest.id_key_digest) {
        (author, _) if author != [0; 48] => (author, 2_u32),
        (_, id) if id != [0; 48] => (id, 1),
        _ => ([0; 48], 0),
    };
    let fields: [(u64, &[u8]); 12] = [
        (0, &(request.root_key_select.get() & 1 | signer_kind << 1).to_le_bytes()),
        (0, &[0; 4]),
        (0, &select.to_le_bytes()),
        (0, request.vmpl.as_bytes()),
        (field::GUEST_SVN, request.guest_svn.as_bytes()),
        (field::TCB_VERSION, &request.tcb_version),
        (field::POLICY, &guest.policy.to_le_bytes()),
        (field::IMAGE_ID, &guest.image_id),
        (field::FAMILY_ID, &guest.family_id),
        (field::MEASUREMENT, guest.measurement.split_at(32).0),
        (0, &guest.host_data),
        (0, signer.split_at(32).0),
    ];
    let mut mix = [0; 168];
    let mut rest = mix.as_mut_slice();
    for (field, value) in fields {
        let (place, after) = rest.split_at_mut(value.len());
        if field == 0 || select & field != 0 {
            place.copy_from_slice(value);
        }
        rest = after;
    }
    mix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(select: u64) -> KeyReq {
        KeyReq {
            root_key_select: 2.into(),
            reserved: [0; 4],
            guest_field_select: select.into(),
            vmpl: 1.into(),
            guest_svn: 2.into(),
            tcb_version: [3, 0, 0, 0, 0, 0, 4, 5],
        }
    }

    fn guest() -> SnpDescription {
        SnpDescription {
            measurement: [0x11; 48],
            host_data: [0x22; 32],
            id_key_digest: [0x33; 48],
            author_key_digest: [0; 48],
            family_id: [0x44; 16],
            image_id: [0x55; 16],
            guest_svn: 6,
            policy: 0x2_0077,
            vmpl: 0,
        }
    }

    fn chip() -> Chip {
        let tcb = Hex(INITIAL_TCB);
        let mut chip_id = Hex([7; 64]);
        *chip_id.0.last_chunk_mut().unwrap() = SIMULATED_MARKER;
        let state = ChipState {
            chip_secret: Hex([8; 48]),
            chip_id,
            current_tcb: tcb,
            committed_tcb: tcb,
            reported_tcb: tcb,
        };
        let folder = tempfile::tempdir().unwrap();
        let vcek = Vcek::of(folder.path(), state.chip_id(), state.reported_tcb()).unwrap();
        Chip { state, vcek, vmrk: Secret::new([9; 32]), report_id: [10; 32] }
    }

    /// The layout of AMD's published firmware (`snp_mix_data`), written by hand.
    #[test]
    fn what_is_mixed_into_a_key() {
        let all = [
            "02000000",
            "00000000",
            "3f00000000000000",
            "01000000",
            "02000000",
            "0300000000000405",
            "7700020000000000",
            &"55".repeat(16),
            &"44".repeat(16),
            &"11".repeat(32),
            &"22".repeat(32),
            &"33".repeat(32),
        ];
        assert_eq!(hex::encode(mix(&guest(), &request(ALL_FIELDS))), all.concat());
        // Host data and signer enter whatever is selected, and so does the selection.
        let always = [
            "02000000",
            "00000000",
            &"00".repeat(8),
            "01000000",
            &"00".repeat(84),
            &"22".repeat(32),
            &"33".repeat(32),
        ];
        assert_eq!(hex::encode(mix(&guest(), &request(0))), always.concat());
        for (author, id, kind) in [([1; 48], [2; 48], 4), ([0; 48], [2; 48], 2), ([0; 48], [0; 48], 0)] {
            let guest = SnpDescription { author_key_digest: author, id_key_digest: id, ..guest() };
            assert_eq!(mix(&guest, &request(0))[0], kind);
        }
    }

    /// The firmware's refusals, in its own words.
    #[test]
    fn what_is_not_given() {
        let all = request(ALL_FIELDS);
        let status = |request: &KeyReq| chip().derived_key(&guest(), request).err().unwrap_or(0);
        assert_eq!(status(&all), 0);
        for (request, wanted) in [
            (KeyReq { root_key_select: 0.into(), ..all }, 0),
            (KeyReq { root_key_select: 1.into(), ..all }, 0),
            (KeyReq { root_key_select: 4.into(), ..all }, status::INVALID_KEY),
            (KeyReq { root_key_select: 6.into(), ..all }, status::INVALID_KEY),
            (KeyReq { root_key_select: 8.into(), ..all }, status::INVALID_PARAM),
            (KeyReq { reserved: [1, 0, 0, 0], ..all }, status::INVALID_PARAM),
            (KeyReq { guest_field_select: (1 << 6).into(), ..all }, status::INVALID_PARAM),
            (KeyReq { guest_svn: 7.into(), ..all }, status::INVALID_PARAM),
            (KeyReq { guest_svn: 7.into(), ..request(field::MEASUREMENT) }, 0),
            (KeyReq { tcb_version: [9, 0, 0, 0, 0, 0, 23, 73], ..all }, status::INVALID_PARAM),
            (KeyReq { tcb_version: [9, 0, 1, 0, 0, 0, 23, 72], ..all }, status::INVALID_PARAM),
            (KeyReq { tcb_version: [0xFF; 8], ..request(field::MEASUREMENT) }, 0),
        ] {
            assert_eq!(status(&request), wanted, "{:02x?}", request.as_bytes());
        }
        let inner = SnpDescription { vmpl: 2, ..guest() };
        assert_eq!(chip().derived_key(&inner, &all).err(), Some(status::INVALID_PARAM));
    }

    /// The key of a guest that does not name a TCB moves with what the host lets the machine report; the other stays.
    #[test]
    fn a_named_tcb_pins_the_key() {
        let key = |chip: &Chip, select| *chip.derived_key(&guest(), &request(select)).unwrap().expose();
        let (here, mut older) = (chip(), chip());
        older.state.report_older();
        assert_ne!(key(&here, field::MEASUREMENT), key(&older, field::MEASUREMENT));
        assert_eq!(key(&here, ALL_FIELDS), key(&older, ALL_FIELDS));
    }

    /// R12: frozen, and computed by a second implementation.
    #[test]
    fn the_keys_equal_their_vectors() {
        let key = |root: u32, select| {
            let request = KeyReq { root_key_select: root.into(), ..request(select) };
            hex::encode(chip().derived_key(&guest(), &request).unwrap().expose())
        };
        assert_eq!(key(2, 0x29), "af436b045babb89fe101883f0ea1e33594a7963a5b0f4631b1ee0c2835fafdf8");
        assert_eq!(key(0, 0x35), "deb0e1c95a54922191c28408f71b158920b281b12447d075a41d3fa4d056ebed");
        assert_eq!(key(2, 0x08), "45c9cca06512d348db1d1fb6f25b6fd7a8e157671ee9dcb0bf7e4cf063882fc7");
        assert_eq!(key(1, 0x3F), "9d6bc5be0dee2c1f169df593024599f686145d6ca986ec1c2671138e13e7cab6");
    }
}
