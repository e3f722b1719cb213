//! What the next identity shows to be let in.

use bulla::successor::{Request, Upgrade};
use bulla::{Error, Recipient};
use bulla_tee::{Identity, Tee};

use crate::cbor::is_canonical;
use crate::vectors;

/// Reads the bytes as the request of a successor.
pub fn successor(data: &[u8]) {
    let request = match Request::decode(data) {
        Ok(request) => request,
        Err(Error::BadRequest(_)) => return,
        Err(error) => panic!("{error}"),
    };
    assert!(data.len() <= Request::LIMIT);
    assert!(is_canonical(data), "a request in another encoding was taken");
    assert_eq!(request.encode(), data);
    assert!(data.ends_with(request.quote()));

    let shown = vectors::of_simulated_enclave().reader.machine.as_ref().unwrap().identity().unwrap();
    let Identity::Sgx(enclave) = &shown else { panic!("an enclave") };
    let upgrade = Upgrade::Measurement(enclave.mrenclave);
    let mut carried = *request.report_data().as_bytes();
    let recipient = request.accept(&shown, &carried, &upgrade).unwrap();
    assert_eq!(recipient.to_string().parse::<Recipient>().unwrap(), *recipient);
    let other = Upgrade::Measurement([0; 32]);
    assert!(matches!(request.accept(&shown, &carried, &other), Err(Error::OtherSuccessor { .. })));
    carried[data.len() % 64] ^= 1;
    assert!(matches!(request.accept(&shown, &carried, &upgrade), Err(Error::RequestForOtherKey)));
}
