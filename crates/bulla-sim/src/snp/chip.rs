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
mod tests;
