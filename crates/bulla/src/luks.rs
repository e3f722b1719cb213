//! The header of a LUKS2 volume, judged before it decides how data is encrypted (R92, B41).
//!
//! The header lies on a disk that its host can write, its checksum needs no key, and `cryptsetup` does as it says: a header
//! that names the null cipher makes a guest write in clear (CVE-2025-59054, CVE-2025-58356). So the header is read once, into
//! memory, judged there against a list of what is allowed, and **that copy** is what `cryptsetup` is given:
//!
//! ```text
//! cryptsetup open --header COPY --key-file KEY DEVICE NAME
//! ```
//!
//! What passes is one encrypted segment from the end of the header to the end of the device, under a cipher of the list; key
//! slots and one digest over them; no token, no flag, no re-encryption; and not a field that is not expected. Whoever does not
//! know the passphrase cannot name a volume key of their own in it, as the passphrase has to open a slot, and the digest has
//! to match what was in it: the passphrase must be a random key, never a word. What a copy does **not** show is that it is the
//! newest one: an older header of the same volume, with older passphrases, passes as well. To notice any change, keep the
//! header itself sealed and read it from the envelope; no byte of it has to come from the disk.
//!
//! Source: LUKS2 On-Disk Format Specification, version 1.1.x, and what `cryptsetup` 2.6 to 2.8 writes.

mod allowed;
mod disk;
mod metadata;

use std::io::Read;

use crate::Error;

/// A judged header: what it says, and its bytes.
#[derive(Debug)]
pub struct Volume {
    header: Vec<u8>,
    uuid: String,
    layout: allowed::Layout,
}

impl Volume {
    /// Reads the header from the beginning of a device, once, and judges it.
    ///
    /// At most 72 MiB are read, usually 16 MiB: both binary headers with their metadata, and the key slots.
    ///
    /// ```
    /// let device = [0; 4096];
    /// let refusal = bulla::luks::Volume::read(device.as_slice()).unwrap_err();
    /// assert_eq!(refusal.code(), "volume.untrusted");
    /// ```
    ///
    /// # Errors
    /// [`Error::UntrustedVolumeHeader`] names the first field that is not as it must be, or [`Error::Io`].
    pub fn read(mut device: impl Read) -> Result<Self, Error> {
        let mut header = Vec::new();
        extend(&mut header, disk::BINARY, &mut device)?;
        let size = disk::size(&header)?;
        extend(&mut header, 2 * size, &mut device)?;
        let (uuid, text) = disk::judge(&header, size)?;
        let layout = allowed::judge(text, size)?;
        extend(&mut header, layout.offset, &mut device)?;
        Ok(Self { header, uuid, layout })
    }

    /// The judged bytes, to be given to `cryptsetup` as a detached header: everything before the encrypted data.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The volume's UUID.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The cipher of the data, as `cryptsetup` names it, for example `aes-xts-plain64`.
    pub fn cipher(&self) -> &'static str {
        self.layout.cipher.name
    }

    /// What authenticates the data, as `cryptsetup` names it, for example `hmac(sha256)`; usually nothing does.
    pub fn integrity(&self) -> Option<&'static str> {
        self.layout.cipher.integrity
    }

    /// Bits of the volume key: those of the cipher (for XTS of both halves) and those of the authentication.
    pub fn key_bits(&self) -> u32 {
        8 * self.layout.cipher.key_size
    }

    /// Where the encrypted data begins, in bytes; it goes on to the end of the device.
    pub fn offset(&self) -> u64 {
        self.header.len() as u64
    }

    /// The unit of encryption, in bytes.
    pub fn sector_size(&self) -> u32 {
        self.layout.sector_size
    }
}

/// Reads on until the copy has `length` bytes, which a judged field has bounded.
fn extend(copy: &mut Vec<u8>, length: usize, device: &mut impl Read) -> Result<(), Error> {
    let missing = length.saturating_sub(copy.len());
    device.take(missing as u64).read_to_end(copy).map_err(Error::io("cannot read the volume's header"))?;
    if copy.len() != length {
        return Err(untrusted("device", "it ends within its header"));
    }
    Ok(())
}

/// A refusal. Both texts can hold what an attacker wrote: no more of it than a line, and nothing that moves a cursor.
fn untrusted(field: impl ToString, reason: impl ToString) -> Error {
    let shown = |text: String| {
        let escaped = |character: char| match character {
            '"' => "\"".to_owned(),
            other => other.escape_debug().to_string(),
        };
        text.chars().take(200).map(escaped).collect()
    };
    Error::UntrustedVolumeHeader { field: shown(field.to_string()), reason: shown(reason.to_string()) }
}

#[cfg(test)]
mod tests;
