//! A counter in a TPM, as what remembers the highest epoch of one secret.

use bulla_crypto::sha256;
use bulla_tee::{Anchor, Reading};
use minicbor::{Decode, Encode};
use tss_esapi::attributes::NvIndexAttributesBuilder;
use tss_esapi::constants::{NvIndexType, SessionType};
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Auth, NvPublic, NvPublicBuilder};

use crate::connection::{Connection, Protection};
use crate::{Error, Tpm};

/// How far an epoch is raised at once. A TPM counts one by one, slowly, and wears out.
const STEPS_MAX: u64 = 1024;
/// The size of a counter.
const SIZE: u16 = 8;

/// A counter in a TPM. It is an [`Anchor`] for one secret: the epoch is how far the counter is above where it was when enrolled.
///
/// Every reading is authenticated against a fresh nonce to the pinned endorsement key, so neither the host nor anybody on the way
/// can show an old one: it is refused. The host can count further, or delete the counter, which can only ever be made again above
/// all that the TPM counted before; then the latest envelope is refused as too old, and no old one is taken for the latest.
///
/// ```no_run
/// use bulla_tee::Anchor;
/// use bulla_tpm::{Counter, Enrolment, Tpm};
///
/// let id = [7; 16];
/// let counter = Counter::enrol(Tpm::open("device:/dev/tpmrm0")?, 0x0150_0016, id)?;
/// counter.advance(&id, 1)?;
/// let pinned = counter.enrolment().encode(); // keep it where nobody can exchange it
///
/// let counter = Counter::open(Tpm::open("device:/dev/tpmrm0")?, Enrolment::decode(&pinned)?);
/// assert_eq!(counter.highest(&id)?.highest, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Counter {
    tpm: Tpm,
    enrolment: Enrolment,
}

/// Which counter of which TPM stands for which secret. It is no secret, and whoever can exchange it can exchange the anchor.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Enrolment {
    /// The TPM: the digest of the Name of its endorsement key.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub endorsement_key: [u8; 32],
    /// The counter's address in the TPM, 0x01000000 to 0x01ffffff.
    #[n(1)]
    pub index: u32,
    /// The secret whose epochs it counts.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub id: [u8; 16],
    /// Where it stood then: epoch 0.
    #[n(3)]
    pub base: u64,
}

impl Enrolment {
    /// The encoding: deterministic CBOR, an array of four.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to memory does not fail")
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |why| Error::Damaged { what: "the enrolment of a counter", why };
        let enrolment: Self = minicbor::decode(bytes).map_err(|_| damaged("not its CBOR"))?;
        if enrolment.encode() != bytes {
            return Err(damaged("not in its canonical encoding"));
        }
        Ok(enrolment)
    }

    fn not(&self, what: &'static str) -> Error {
        Error::NotTheCounter { index: self.index, what }
    }
}

impl Counter {
    /// Makes a counter at an address that is free, and pins this TPM. Do it where you trust the way to the TPM.
    ///
    /// # Errors
    /// [`Error::Command`], for example where the address is taken.
    pub fn enrol(tpm: Tpm, index: u32, id: [u8; 16]) -> Result<Self, Error> {
        let endorsement_key = tpm.endorsement_key()?;
        let mut counter = Self { tpm, enrolment: Enrolment { endorsement_key, index, id, base: 0 } };
        {
            let (_turn, mut connection) = counter.tpm.connect()?;
            let session = counter.session(&mut connection)?;
            connection.protect(session, Protection::Mac)?;
            let space = space(index).map_err(Error::step("describe a counter"))?;
            connection
                .tpm
                .execute_with_session(Some(session), |tpm| {
                    let handle = tpm.nv_define_space(Provision::Owner, Some(Auth::default()), space)?;
                    tpm.nv_increment(NvAuth::NvIndex(handle), handle) // unreadable until then
                })
                .map_err(Error::step("make a counter"))?;
        }
        counter.enrolment.base = counter.with(|counter, session| counter.read(session))?;
        Ok(counter)
    }

    /// The counter that was enrolled.
    pub const fn open(tpm: Tpm, enrolment: Enrolment) -> Self {
        Self { tpm, enrolment }
    }

    /// What was pinned.
    pub const fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }

    /// A session with the pinned TPM, and with no other.
    fn session(&self, connection: &mut Connection) -> Result<AuthSession, Error> {
        let key = connection.endorsement_key()?;
        if key.name != self.enrolment.endorsement_key {
            let (pinned, found) = (hex::encode(self.enrolment.endorsement_key), hex::encode(key.name));
            return Err(Error::OtherTpm { pinned, found });
        }
        connection.session(&key, SessionType::Hmac)
    }

    fn with<T>(
        &self,
        act: impl FnOnce(&mut Counting<'_>, AuthSession) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (_turn, mut connection) = self.tpm.connect()?;
        let session = self.session(&mut connection)?;
        let address = NvIndexTpmHandle::new(self.enrolment.index)
            .map_err(|_| self.enrolment.not("is no address of a counter"))?;
        let handle = connection
            .tpm
            .execute_without_session(|tpm| tpm.tr_from_tpm_public(address.into()))
            .map_err(|_| self.enrolment.not("is not there: it was deleted"))?;
        let name = connection.tpm.tr_get_name(handle).map_err(Error::step("name its counter"))?;
        // Only a counter has this Name, and every command below is authenticated together with it.
        if name.value() != name_of(self.enrolment.index) {
            return Err(self.enrolment.not("is something else than the counter that was enrolled"));
        }
        act(&mut Counting { connection, handle: handle.into(), enrolment: &self.enrolment }, session)
    }

    fn is_of(&self, id: &[u8; 16]) -> Result<(), Error> {
        if *id == self.enrolment.id {
            Ok(())
        } else {
            Err(self.enrolment.not("was enrolled for another secret"))
        }
    }
}

impl Anchor for Counter {
    fn highest(&self, id: &[u8; 16]) -> Result<Reading, bulla_tee::Error> {
        self.is_of(id)?;
        let highest = self.with(|counter, session| counter.epoch(session))?;
        Ok(Reading { highest, authenticated: true })
    }

    fn advance(&self, id: &[u8; 16], to: u64) -> Result<(), bulla_tee::Error> {
        self.is_of(id)?;
        self.with(|counter, session| {
            let from = counter.epoch(session)?;
            let steps = to.saturating_sub(from);
            if steps > STEPS_MAX {
                return Err(self.enrolment.not("counts one by one, and that epoch is more than 1024 away"));
            }
            for _ in 0..steps {
                counter.increment(session)?;
            }
            if counter.epoch(session)? < to {
                return Err(self.enrolment.not("did not count"));
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// A counter whose Name is the expected one, over a connection.
struct Counting<'a> {
    connection: Connection,
    handle: NvIndexHandle,
    enrolment: &'a Enrolment,
}

impl Counting<'_> {
    fn epoch(&mut self, session: AuthSession) -> Result<u64, Error> {
        self.read(session)?
            .checked_sub(self.enrolment.base)
            .ok_or_else(|| self.enrolment.not("is below where it was when it was enrolled"))
    }

    fn read(&mut self, session: AuthSession) -> Result<u64, Error> {
        let handle = self.handle;
        self.connection.protect(session, Protection::MacAndAnswer)?;
        let read = self
            .connection
            .tpm
            .execute_with_session(Some(session), |tpm| tpm.nv_read(NvAuth::NvIndex(handle), handle, SIZE, 0));
        let value = read.map_err(Error::step("read its counter"))?;
        let bytes = value.value().try_into().map_err(|_| self.enrolment.not("does not hold 8 bytes"))?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn increment(&mut self, session: AuthSession) -> Result<(), Error> {
        let handle = self.handle;
        self.connection.protect(session, Protection::Mac)?;
        let counted = self
            .connection
            .tpm
            .execute_with_session(Some(session), |tpm| tpm.nv_increment(NvAuth::NvIndex(handle), handle));
        counted.map_err(Error::step("count"))
    }
}

/// What the TPM is asked to make: read and counted by anyone on the machine, who could as well delete it.
fn space(index: u32) -> tss_esapi::Result<NvPublic> {
    let attributes = NvIndexAttributesBuilder::new()
        .with_nv_index_type(NvIndexType::Counter)
        .with_auth_read(true)
        .with_auth_write(true)
        .with_no_da(true)
        .build()?;
    NvPublicBuilder::new()
        .with_nv_index(NvIndexTpmHandle::new(index)?)
        .with_index_name_algorithm(HashingAlgorithm::Sha256)
        .with_index_attributes(attributes)
        .with_data_area_size(SIZE.into())
        .build()
}

/// The Name of a counter that was counted: its algorithm, and the digest of index, algorithm, attributes, no policy and size
/// (TPM 2.0 Library, part 2, TPMS_NV_PUBLIC).
fn name_of(index: u32) -> Vec<u8> {
    const SHA256: [u8; 2] = 0x000B_u16.to_be_bytes();
    /// TPMA_NV_AUTHWRITE, TPM_NT_COUNTER, TPMA_NV_AUTHREAD, TPMA_NV_NO_DA, TPMA_NV_WRITTEN.
    const ATTRIBUTES: u32 = 1 << 2 | 1 << 4 | 1 << 18 | 1 << 25 | 1 << 29;
    let digest =
        sha256(&[&index.to_be_bytes(), &SHA256, &ATTRIBUTES.to_be_bytes(), &[0, 0], &SIZE.to_be_bytes()]);
    [&SHA256[..], &digest].concat()
}
