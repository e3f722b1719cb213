//! How to get a key again, as a slot records it.

use std::sync::LazyLock;

use bulla_crypto::Class;
use bulla_tee::{Floor, Identity, KeyRequest, Outlook, PlatformState, Policy, Tee, TpmIdentity};

use crate::cbor::is_canonical;
use crate::vectors::GOOD;

/// What the first byte of an input says.
pub const KINDS: [&str; 5] = ["sgx", "tdx-provider", "sim", "snp", "tpm"];

/// Of machines of the vectors, SEV-SNP guests among them, and a TPM.
static IDENTITIES: LazyLock<Vec<Identity>> = LazyLock::new(|| {
    let machines = GOOD.iter().filter_map(|vector| vector.reader.machine.as_ref());
    let machines = machines.map(|machine| machine.identity().unwrap());
    let snp = machines.clone().filter(|identity| matches!(identity, Identity::Snp(_)));
    let tpm = TpmIdentity { parent: [1; 32], pcrs: [[4; 32]; 24] };
    machines.take(16).chain(snp).chain([Identity::Tpm(Box::new(tpm))]).collect()
});

/// Reads the bytes after the first as a request of the kind that the first one says.
pub fn key_request(data: &[u8]) {
    let Some((&kind, encoded)) = data.split_first() else { return };
    let kind = KINDS[usize::from(kind) % KINDS.len()];
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
    let registers = policy.pcr_policy().map(|policy| policy.pcrs);
    assert!(
        policy.registers().next().is_some() || policy.guest_binding().is_some() || registers.is_some(),
        "bound to nothing"
    );
    if let Some(registers) = registers {
        assert!(registers.iter().next().is_some() && !registers.contains(16) && !registers.contains(23));
        assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy, "another text");
    }

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
