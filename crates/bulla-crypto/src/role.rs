//! Report data that says what it stands for.

/// 64 bytes of report data, computed as a hash and never chosen.
///
/// Only hashing makes one, so no path of this system can ask a machine to quote bytes that a caller or a peer chose.
/// With the default feature off the type remains, for backends to take, and nothing can make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleHash([u8; 64]);

impl RoleHash {
    /// The bytes to place in the report.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

#[cfg(feature = "aws-lc")]
pub use tagged::Role;

#[cfg(feature = "aws-lc")]
mod tagged {
    use std::iter;

    use aws_lc_rs::digest;

    use super::RoleHash;
    use crate::kdf::prefix;
    use crate::sha256;

    /// What a piece of evidence is made for. A hash for one role is never one for another.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Role {
        /// A provider shows its signing key, authority and policy. The key is fresh in every process (R37).
        ProviderKey,
        /// A guest asks for a key: the whole canonical request.
        GuestRequest,
        /// The next identity of an envelope shows the public key that it is to be handed over to (R79).
        Successor,
        /// A provider without roots shows the public key to which it wants them, and under whose policy (R45, R79).
        ProviderAsk,
        /// A provider hands its roots to the next one (R79).
        ProviderGrant,
        /// The client of a TLS connection shows that it is at its end of exactly that connection (R42).
        TlsClient,
        /// The server of a TLS connection shows that it is at its end of exactly that connection (R42).
        TlsServer,
        /// A machine answers a verifier's nonce.
        Challenge,
    }

    impl Role {
        const fn tag(self) -> &'static str {
            match self {
                Self::ProviderKey => "bulla/report-data/provider-key/v1",
                Self::GuestRequest => "bulla/report-data/guest-request/v1",
                Self::Successor => "bulla/report-data/successor/v1",
                Self::ProviderAsk => "bulla/report-data/provider-ask/v1",
                Self::ProviderGrant => "bulla/report-data/provider-grant/v1",
                Self::TlsClient => "bulla/report-data/tls-client/v1",
                Self::TlsServer => "bulla/report-data/tls-server/v1",
                Self::Challenge => "bulla/report-data/challenge/v1",
            }
        }
    }

    impl RoleHash {
        /// SHA-512 of the role's tag and the named parts, each length-prefixed as in [`Info`](crate::Info).
        ///
        /// ```
        /// use bulla_crypto::{Role, RoleHash};
        ///
        /// let data = RoleHash::new(Role::ProviderKey, &[("nonce", &[7; 32])]);
        /// assert_ne!(data, RoleHash::new(Role::GuestRequest, &[("nonce", &[7; 32])]));
        /// ```
        pub fn new(role: Role, parts: &[(&str, &[u8])]) -> Self {
            // Piece by piece, since keys and challenges are large enough that putting them together first costs as much.
            let mut context = digest::Context::new(&digest::SHA512);
            let named = parts.iter().flat_map(|(name, value)| [name.as_bytes(), value]);
            for bytes in iter::once(role.tag().as_bytes()).chain(named) {
                context.update(&prefix(bytes));
                context.update(bytes);
            }
            let mut bytes = [0; 64];
            bytes.copy_from_slice(context.finish().as_ref());
            Self(bytes)
        }

        /// The report data of a legacy answer: SHA-256 of the sealed box, then 32 zero bytes.
        ///
        /// It carries no tag because the existing clients check exactly this. It cannot be mistaken for a tagged hash,
        /// whose last 32 bytes are zero with probability 2^-256.
        pub fn legacy_answer(sealed_box: &[u8]) -> Self {
            Self::untagged(sealed_box)
        }

        /// The report data of an interoperable RA-TLS certificate: SHA-256 of its claims, then 32 zero bytes.
        ///
        /// It carries no tag because existing verifiers check exactly this. Nor can it be mistaken for
        /// [`RoleHash::legacy_answer`]: claims are CBOR around the hash of a key, and a sealed box is a point and a tag that
        /// its opener recomputes.
        pub fn ra_tls_claims(claims: &[u8]) -> Self {
            Self::untagged(claims)
        }

        fn untagged(content: &[u8]) -> Self {
            let mut bytes = [0; 64];
            if let Some(first) = bytes.first_chunk_mut::<32>() {
                *first = sha256(&[content]);
            }
            Self(bytes)
        }
    }
}
