//! How to get a key again, as a slot records it.

use std::sync::LazyLock;

use bulla_crypto::Class;
use bulla_tee::{Floor, Identity, KeyRequest, Outlook, PlatformState, Tee};

use crate::cbor::is_canonical;
use crate::vectors::GOOD;

/// Of machines of the vectors.
static IDENTITIES: LazyLock<Vec<Identity>> = LazyLock::new(|| {
    let machines = GOOD.iter().filter_map(|vector| vector.reader.machine.as_ref());
    machines.take(16).map(|machine| machine.identity().unwrap()).collect()
});

/// Reads the bytes after the first as a request of the kind that the first one says.
pub fn key_request(data: &[u8]) {
    let Some((&kind, encoded)) = data.split_first() else { return };
    let kinds = ["sgx", "tdx-provider", "sim", "snp"];
    let kind = kinds[usize::from(kind) % kinds.len()];
    let request = match KeyRequest::decode(kind, encoded) {
        Ok(request) => request,
        Err(error) => {
            assert_eq!(error.class(), Class::Damaged, "{error}");
            return;
        }
    };
    assert_eq!(request.kind(), kind);
    assert!(is_canonical(encoded), "a request in another encoding was taken");
    assert_eq!(request.encode(), encoded);
    let policy = request.policy();
    assert!(policy.registers().next().is_some() || policy.guest_binding().is_some(), "bound to nothing");

    for identity in &*IDENTITIES {
        let here = PlatformState::here(identity);
        let changed = here.clone().confirmed().after_microcode_down();
        for platform in [here, changed] {
            let outlook = request.opens_under(identity, &platform);
            let fits_kind = matches!(request, KeyRequest::Simulated(_)) == identity.is_simulated();
            assert!(fits_kind || matches!(outlook, Outlook::DoesNot(_)), "simulated and real");
        }
    }
    Floor::default().check(&request).unwrap();
}
