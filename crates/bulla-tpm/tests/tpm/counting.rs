//! Counters as anchors, and those who lie about them.

use std::sync::{Arc, Mutex};

use bulla_crypto::Class;
use bulla_tee::{Anchor, Freshness, Tee};
use bulla_tpm::{Counter, Enrolment};
use tss_esapi::attributes::NvIndexAttributesBuilder;
use tss_esapi::handles::NvIndexTpmHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{MaxNvBuffer, NvPublicBuilder};

use crate::middle::{Middle, NV_INCREMENT, NV_READ, PCR_READ, START_AUTH_SESSION, UNSEAL};
use crate::support::SoftwareTpm;

const INDEX: u32 = 0x0150_0016;
const ID: [u8; 16] = [7; 16];

fn enrolled(software: &SoftwareTpm) -> Counter {
    Counter::enrol(software.machine(), INDEX, ID).unwrap()
}

fn delete(software: &SoftwareTpm) {
    let mut tpm = software.context();
    let index = NvIndexTpmHandle::new(INDEX).unwrap();
    let handle = tpm.execute_without_session(|tpm| tpm.tr_from_tpm_public(index.into())).unwrap();
    tpm.execute_with_session(Some(AuthSession::Password), |tpm| {
        tpm.nv_undefine_space(Provision::Owner, handle.into())
    })
    .unwrap();
}

/// R66, R94: the epoch is remembered, across restarts, and never goes down; the answer is authenticated.
#[test]
fn a_counter_remembers_the_highest_epoch() {
    let mut software = SoftwareTpm::new();
    let counter = enrolled(&software);
    let reading = counter.highest(&ID).unwrap();
    assert_eq!((reading.highest, reading.freshness()), (0, Freshness::Anchored));
    for (to, highest) in [(1, 1), (4, 4), (2, 4), (4, 4), (5, 5)] {
        counter.advance(&ID, to).unwrap();
        assert_eq!(counter.highest(&ID).unwrap().highest, highest);
    }
    let pinned = counter.enrolment().encode();
    software.restart();
    let counter = Counter::open(software.machine(), Enrolment::decode(&pinned).unwrap());
    assert_eq!(counter.highest(&ID).unwrap().highest, 5);
    assert_eq!(software.occupied(), 0);
}

/// One counter is for one secret, at one address, in one TPM.
#[test]
fn a_counter_is_for_what_it_was_enrolled_for() {
    let (software, other) = (SoftwareTpm::new(), SoftwareTpm::new());
    let counter = enrolled(&software);
    assert_eq!(counter.highest(&[8; 16]).unwrap_err().code(), "tpm.counter");
    assert_eq!(counter.advance(&[8; 16], 1).unwrap_err().code(), "tpm.counter");
    assert_eq!(counter.advance(&ID, 1025).unwrap_err().code(), "tpm.counter");
    assert_eq!(Counter::enrol(software.machine(), INDEX, ID).err().unwrap().code(), "tpm.command");
    enrolled(&other);
    let moved = Counter::open(other.machine(), counter.enrolment().clone());
    let error = moved.highest(&ID).unwrap_err();
    assert_eq!((error.code(), error.class()), ("tpm.other", Class::Refused));
    let elsewhere = Enrolment { index: INDEX + 1, ..counter.enrolment().clone() };
    assert_eq!(Counter::open(software.machine(), elsewhere).highest(&ID).unwrap_err().code(), "tpm.counter");
    let ahead = Enrolment { base: counter.enrolment().base + 1, ..counter.enrolment().clone() };
    assert_eq!(Counter::open(software.machine(), ahead).highest(&ID).unwrap_err().code(), "tpm.counter");
    assert_eq!((software.occupied(), other.occupied()), (0, 0));
}

#[test]
fn an_enrolment_has_one_encoding() {
    let enrolment = Enrolment { endorsement_key: [1; 32], index: INDEX, id: ID, base: 300 };
    let bytes = enrolment.encode();
    let wanted = format!("845820{}1a0150001650{}19012c", "01".repeat(32), "07".repeat(16));
    assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), wanted);
    assert_eq!(Enrolment::decode(&bytes).unwrap(), enrolment);
    for bad in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat()] {
        assert_eq!(Enrolment::decode(bad).unwrap_err().code(), "tpm.damaged");
    }
}

/// R66: whoever deletes the counter and makes it again gets one above all that was counted, never one below.
#[test]
fn a_counter_that_was_made_again_is_not_behind() {
    let software = SoftwareTpm::new();
    let counter = enrolled(&software);
    counter.advance(&ID, 3).unwrap();
    delete(&software);
    assert_eq!(counter.highest(&ID).unwrap_err().code(), "tpm.counter");
    let again = Counter::enrol(software.machine(), INDEX, ID).unwrap();
    assert!(again.enrolment().base > counter.enrolment().base + 3);
    assert!(counter.highest(&ID).unwrap().highest > 3);
}

/// R66: memory that anyone writes is no counter, though it stands at the same address and holds the number.
#[test]
fn a_memory_that_anyone_writes_is_no_counter() {
    let software = SoftwareTpm::new();
    let counter = enrolled(&software);
    counter.advance(&ID, 3).unwrap();
    delete(&software);
    let attributes =
        NvIndexAttributesBuilder::new().with_auth_read(true).with_auth_write(true).with_no_da(true);
    let space = NvPublicBuilder::new()
        .with_nv_index(NvIndexTpmHandle::new(INDEX).unwrap())
        .with_index_name_algorithm(HashingAlgorithm::Sha256)
        .with_index_attributes(attributes.build().unwrap())
        .with_data_area_size(8)
        .build()
        .unwrap();
    let value = MaxNvBuffer::try_from((counter.enrolment().base + 1).to_be_bytes().to_vec()).unwrap();
    software
        .context()
        .execute_with_session(Some(AuthSession::Password), |tpm| {
            let handle = tpm.nv_define_space(Provision::Owner, None, space)?;
            tpm.nv_write(NvAuth::NvIndex(handle), handle, value, 0)
        })
        .unwrap();
    let error = counter.highest(&ID).unwrap_err();
    assert_eq!((error.code(), error.class()), ("tpm.counter", Class::Refused));
}

/// R66, R94: a TPM, or somebody on the way to it, that lies about the counter: every byte of the answer counts.
#[test]
fn a_changed_reading_is_refused() {
    let mut software = SoftwareTpm::new();
    let enrolment = enrolled(&software).enrolment().clone();
    // Header of 10, size of the parameters of 4, size of the value of 2, the value of 8, then the session's part.
    for position in [16, 23, 24 + 2, 24 + 2 + 32 + 1 + 2 + 5] {
        let lie = move |code, answer: &mut Vec<u8>| {
            if code == NV_READ {
                answer[position] ^= 1;
            }
        };
        let middle = Middle::new(&software, Box::new(|_, _| None), Box::new(lie));
        let error = Counter::open(middle.machine(), enrolment.clone()).highest(&ID).unwrap_err();
        assert_eq!((error.code(), error.class()), ("tpm.unauthenticated", Class::Refused), "{position}");
        // libtss2 flushes nothing over a connection on which it was lied to.
        software.restart();
    }
    // Without sessions, as to a question that nobody authenticated: 8 bytes that say 0.
    let bare = |code, answer: &mut Vec<u8>| {
        if code == NV_READ {
            *answer = [&[0x80, 0x01, 0, 0, 0, 20, 0, 0, 0, 0, 0, 8][..], &[0; 8]].concat();
        }
    };
    let middle = Middle::new(&software, Box::new(|_, _| None), Box::new(bare));
    Counter::open(middle.machine(), enrolment.clone()).highest(&ID).unwrap_err();
    software.restart();
    // Who changes nothing is not noticed.
    let middle = Middle::new(&software, Box::new(|_, _| None), Box::new(|_, _| ()));
    assert_eq!(Counter::open(middle.machine(), enrolment).highest(&ID).unwrap().highest, 0);
}

/// R66, R94: an earlier answer, which the TPM did make, is none to a new question; nor is that to another increment.
#[test]
fn a_replayed_answer_is_refused() {
    for code in [NV_READ, NV_INCREMENT] {
        let software = SoftwareTpm::new();
        let counter = enrolled(&software);
        let first: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
        let (kept, keep) = (Arc::clone(&first), Arc::clone(&first));
        let before = move |asked, _: &[u8]| if asked == code { kept.lock().unwrap().clone() } else { None };
        let after = move |asked, answer: &mut Vec<u8>| {
            if asked == code {
                keep.lock().unwrap().get_or_insert_with(|| answer.clone());
            }
        };
        let middle = Middle::new(&software, Box::new(before), Box::new(after));
        let replayed = Counter::open(middle.machine(), counter.enrolment().clone());
        if code == NV_READ {
            assert_eq!(replayed.highest(&ID).unwrap().highest, 0, "recorded, not yet replayed");
            counter.advance(&ID, 2).unwrap();
            assert_eq!(replayed.highest(&ID).unwrap_err().code(), "tpm.unauthenticated");
        } else {
            replayed.advance(&ID, 1).unwrap();
            assert_eq!(replayed.advance(&ID, 2).unwrap_err().code(), "tpm.unauthenticated");
            assert_eq!(counter.highest(&ID).unwrap().highest, 1);
        }
    }
}

/// Somebody on the way who shows a storage key or an endorsement key of their own is trusted with no session: they would know its
/// secret, and with it everything.
#[test]
fn no_session_is_begun_with_another_key() {
    let (software, other) = (SoftwareTpm::new(), SoftwareTpm::new());
    let (request, _) = software.machine().bind(&"pcr:4".parse().unwrap()).unwrap();
    let enrolment = enrolled(&software).enrolment().clone();
    let begun: Arc<Mutex<u32>> = Arc::default();
    let count = Arc::clone(&begun);
    let after = move |code, _: &mut Vec<u8>| *count.lock().unwrap() += u32::from(code == START_AUTH_SESSION);
    let middle = Middle::new(&other, Box::new(|_, _| None), Box::new(after));
    assert_eq!(middle.machine().derive(&request).err().unwrap().code(), "machine.other_machine");
    assert_eq!(Counter::open(middle.machine(), enrolment).highest(&ID).unwrap_err().code(), "tpm.other");
    assert_eq!(*begun.lock().unwrap(), 0);
    middle.machine().identity().unwrap();
    assert_eq!(*begun.lock().unwrap(), 1);
}

/// Somebody on the way can neither read a key nor have one sealed to registers of their choice.
#[test]
fn a_key_is_neither_read_nor_bound_to_other_registers_on_the_way() {
    let mut software = SoftwareTpm::new();
    let middle = Middle::new(&software, Box::new(|_, _| None), Box::new(|_, _| ()));
    let (request, key) = middle.machine().bind(&"pcr:4".parse().unwrap()).unwrap();
    assert!(middle.machine().derive(&request).unwrap().ct_eq(&key));
    let seen = middle.seen.lock().unwrap().clone();
    assert!(seen.len() > 1000 && !seen.windows(32).any(|bytes| bytes == key.expose()));
    for (command, position, seals) in [(PCR_READ, 60, false), (PCR_READ, 60, true), (UNSEAL, 20, false)] {
        let lie = move |code, answer: &mut Vec<u8>| {
            if code == command {
                answer[position] ^= 1;
            }
        };
        let middle = Middle::new(&software, Box::new(|_, _| None), Box::new(lie));
        let refused = if seals {
            middle.machine().bind(&"pcr:4".parse().unwrap()).err()
        } else {
            middle.machine().derive(&request).err()
        };
        assert_eq!(refused.unwrap().code(), "tpm.unauthenticated", "{command:#x} {seals}");
        software.restart();
    }
}
