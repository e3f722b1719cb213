//! Takes envelopes apart and puts them together again, as somebody without the key can.

use bulla_crypto::sha256;
use bulla_tee::KeyRequest;
use bulla_tee::sgx::SgxRequest;
use minicbor::{Decode, Encode};

/// Bytes before the header's CBOR: magic, version, length.
pub(crate) const FRAME: usize = 13;
pub(crate) const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) cbor: Vec<u8>,
    pub(crate) mac: Vec<u8>,
    pub(crate) chunks: Vec<Vec<u8>>,
}

impl Parts {
    pub(crate) fn of(envelope: &[u8]) -> Self {
        let length = u32::from_be_bytes(*envelope[9..].first_chunk().unwrap()) as usize;
        let (head, payload) = envelope.split_at(FRAME + length + 16 + 32);
        let (head, mac) = head.split_at(FRAME + length + 16);
        Self {
            cbor: head[FRAME..FRAME + length].to_vec(),
            mac: mac.to_vec(),
            chunks: payload.chunks(CHUNK + TAG).map(<[u8]>::to_vec).collect(),
        }
    }

    /// With a new length and a new checksum, neither of which needs a key.
    pub(crate) fn join(&self) -> Vec<u8> {
        let mut envelope = b"\x93bulla\r\n\x01".to_vec();
        envelope.extend((self.cbor.len() as u32).to_be_bytes());
        envelope.extend(&self.cbor);
        let checksum = sha256(&[&envelope]);
        envelope.extend(&checksum[..16]);
        envelope.extend(&self.mac);
        envelope.extend(self.chunks.concat());
        envelope
    }
}

/// The header as the specification lays it out, with every field open to change.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Fields {
    #[n(0)]
    pub(crate) suite: u16,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) envelope_id: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) salt: Vec<u8>,
    #[n(3)]
    pub(crate) context: String,
    #[n(4)]
    pub(crate) created: Option<u64>,
    #[n(5)]
    pub(crate) slots: Vec<SlotFields>,
    #[n(6)]
    pub(crate) critical: Vec<u64>,
    #[n(8)]
    pub(crate) epoch: Option<u64>,
    /// One of the keys that version 1 reserves.
    #[n(9)]
    pub(crate) anchor: Option<u64>,
    #[n(10)]
    pub(crate) origin: Option<u64>,
    /// An extension.
    #[cbor(n(16), with = "minicbor::bytes")]
    pub(crate) extension: Option<Vec<u8>>,
}

#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub(crate) struct SlotFields {
    #[n(0)]
    pub(crate) kind: String,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) salt: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) opener: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    pub(crate) wrapped: Vec<u8>,
}

/// An envelope whose header was edited and whose checksum fits the edited header.
pub(crate) fn edited(envelope: &[u8], edit: impl FnOnce(&mut Fields)) -> Vec<u8> {
    let mut parts = Parts::of(envelope);
    let mut fields: Fields = minicbor::decode(&parts.cbor).unwrap();
    edit(&mut fields);
    parts.cbor = minicbor::to_vec(&fields).unwrap();
    parts.join()
}

/// As [`edited`], one field of the recorded EGETKEY request.
pub(crate) fn edited_request(envelope: &[u8], edit: impl FnOnce(&mut SgxRequest)) -> Vec<u8> {
    edited(envelope, |fields| {
        let slot = &mut fields.slots[0];
        let KeyRequest::Simulated(inner) = KeyRequest::decode(&slot.kind, &slot.opener).unwrap() else {
            panic!("not simulated")
        };
        let KeyRequest::Sgx(mut request) = *inner else { panic!("not SGX") };
        edit(&mut request);
        slot.opener = KeyRequest::Simulated(Box::new(KeyRequest::Sgx(request))).encode();
    })
}
