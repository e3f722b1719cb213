//! TLS to a provider. The certificate proves nothing and is not asked for anything but its key; what counts is the evidence
//! that both sides show for this connection afterwards (R42).

use std::sync::Arc;

use bulla_attest::TlsSide;
use bulla_crypto::Secret;
use bulla_tee::ReportData;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

/// TLS 1.3 with the hybrid post-quantum key exchange alone; nothing is resumed, and nothing sent early.
pub(crate) fn config() -> Arc<ClientConfig> {
    let provider =
        Arc::new(CryptoProvider { kx_groups: vec![X25519MLKEM768], ..aws_lc_rs::default_provider() });
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .expect("the library has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unnamed(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The name is not sent, and not compared.
pub(crate) fn name() -> ServerName<'static> {
    "provider".try_into().expect("a word is a name")
}

/// One connection, as the evidence of its two sides names it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Channel {
    pub(crate) client: ReportData,
    pub(crate) server: ReportData,
}

impl Channel {
    /// After the handshake.
    pub(crate) fn of(connection: &ClientConnection) -> Result<Self, Error> {
        let data = |side: TlsSide| {
            let exporter =
                connection.export_keying_material([0; 32], side.exporter_label().as_bytes(), None)?;
            Ok::<_, Error>(side.report_data(&Secret::new(exporter)))
        };
        Ok(Self { client: data(TlsSide::Client)?, server: data(TlsSide::Server)? })
    }
}

/// Takes every certificate whose key made the handshake.
#[derive(Debug)]
struct Unnamed(Arc<CryptoProvider>);

impl ServerCertVerifier for Unnamed {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 alone".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
