//! Evidence for one end of one TLS connection.

use bulla_crypto::{Role, RoleHash, Secret};

use super::RaTlsFault;
use crate::{Claims, Error};

/// Which end of a TLS connection evidence stands for (R42).
///
/// After the handshake, each side takes 32 bytes from TLS under the [label](Self::exporter_label) of the side that shows
/// evidence, with an empty context, and puts their [hash](Self::report_data) into the report data of a fresh quote. The
/// peer takes the same 32 bytes from its own end and [compares](Self::require_report_data). Evidence of one connection fits
/// no other, and that of a client is never that of a server.
///
/// TLS 1.3 only: before it, two connections could be made to share a secret. Not from early data, whose secret does not
/// cover the whole handshake.
///
/// ```
/// use bulla_attest::TlsSide;
/// use bulla_crypto::Secret;
///
/// // From the TLS library, by `TlsSide::Server.exporter_label()`.
/// let exporter = Secret::new([7; 32]);
/// let data = TlsSide::Server.report_data(&exporter);
/// assert_ne!(data, TlsSide::Client.report_data(&exporter));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsSide {
    /// Who connected.
    Client,
    /// Who was connected to.
    Server,
}

impl TlsSide {
    /// The label to take the exporter value by (RFC 8446, section 7.5). Those of a private use begin with EXPERIMENTAL
    /// (RFC 5705, section 4).
    pub const fn exporter_label(self) -> &'static str {
        match self {
            Self::Client => "EXPERIMENTAL-bulla-client-evidence-v1",
            Self::Server => "EXPERIMENTAL-bulla-server-evidence-v1",
        }
    }

    /// The report data of this side's evidence.
    pub fn report_data(self, exporter: &Secret<32>) -> RoleHash {
        let role = match self {
            Self::Client => Role::TlsClient,
            Self::Server => Role::TlsServer,
        };
        RoleHash::new(role, &[("exporter", exporter.expose())])
    }

    /// Whether the peer's evidence, now verified, was made for this side of this connection. The exporter value must come
    /// from one's own end, never from the peer.
    ///
    /// # Errors
    /// `binding.tls_exporter`.
    pub fn require_report_data(self, exporter: &Secret<32>, verified: &Claims) -> Result<(), Error> {
        if verified.report_data == *self.report_data(exporter).as_bytes() {
            return Ok(());
        }
        let detail =
            "the evidence was made for another connection, or for its other side: somebody stands in between";
        Err(Error::ra_tls(RaTlsFault::OtherConnection, detail))
    }
}
