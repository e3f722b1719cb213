//! Floors.

use bulla_crypto::Class;
use bulla_tee::Floor;

use crate::cbor::is_canonical;

/// Reads the bytes as a floor.
pub fn floor(data: &[u8]) {
    match Floor::decode(data) {
        Ok(floor) => {
            assert!(is_canonical(data), "a floor in another encoding was taken");
            assert_eq!(floor.encode(), data);
            assert_eq!(floor.raise(&floor).unwrap(), floor);
            assert_eq!(Floor::default().raise(&floor).unwrap(), floor);
            assert_eq!(floor.raise(&Floor::default()).is_ok(), floor == Floor::default());
            floor.check_epoch(floor.epoch).unwrap();
        }
        Err(error) => assert_eq!(error.class(), Class::Damaged, "{error}"),
    }
}
