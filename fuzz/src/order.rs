//! Requests for keys.

use bulla_protocol::Code;
use bulla_protocol::v1::{FutureKey, KEY_LENGTHS, KEYS_MAX, Order, Request, SessionOrder, SessionRequest};

/// Reads an order, the description of a guest, or what is sent for a session and in one; whether it is one of them.
pub fn order(data: &[u8]) -> bool {
    request(data) || session(data)
}

fn session(data: &[u8]) -> bool {
    let (order, request) = (SessionOrder::from_json(data), SessionRequest::from_json(data));
    if let Ok(order) = &order {
        assert_eq!(SessionOrder::from_json(&serde_json::to_vec(order).unwrap()).as_ref(), Ok(order));
    }
    if let Ok(request) = &request {
        assert_eq!(SessionRequest::from_json(&serde_json::to_vec(request).unwrap()).as_ref(), Ok(request));
        assert!((1..=KEYS_MAX).contains(&request.keys.len()));
        assert!(request.keys.iter().all(|key| KEY_LENGTHS.contains(&key.length)));
    }
    for refusal in [order.as_ref().err(), request.as_ref().err()].into_iter().flatten() {
        let coarse = [Code::Malformed, Code::Unsupported, Code::TooLarge];
        assert!(coarse.contains(refusal), "{refusal:?}");
    }
    assert!(order.is_err() || request.is_err(), "nothing is both");
    order.is_ok() || request.is_ok()
}

fn request(data: &[u8]) -> bool {
    let (order, future) = (Order::from_json(data), FutureKey::from_json(data));
    if let Ok(order) = &order {
        let written = serde_json::to_vec(order).unwrap();
        assert_eq!(Order::from_json(&written).as_ref(), Ok(order), "one reading of what was written");
        assert_eq!(order.request.check(), Ok(()));
        assert!((1..=KEYS_MAX).contains(&order.request.keys.len()));
        assert!(order.request.keys.iter().all(|key| KEY_LENGTHS.contains(&key.length)));
        let mut other = order.request.clone();
        other.keys.truncate(1);
        other.keys[0].path.push('x');
        assert_ne!(other.report_data(), order.request.report_data());
        let one_less = Request { instance: None, ..order.request.clone() };
        let same = one_less == order.request;
        assert_eq!(same, one_less.report_data() == order.request.report_data());
    }
    if let Ok(future) = &future {
        assert_eq!(FutureKey::from_json(&serde_json::to_vec(future).unwrap()).as_ref(), Ok(future));
        assert!(future.key.algorithm.is_seed() && future.key.length == 32);
    }
    for refusal in [order.as_ref().err(), future.as_ref().err()].into_iter().flatten() {
        let coarse = [Code::Malformed, Code::Unsupported, Code::TooLarge, Code::BadPublicKey];
        assert!(coarse.contains(refusal), "{refusal:?}");
    }
    assert!(order.is_err() || future.is_err(), "nothing is both");
    order.is_ok() || future.is_ok()
}
