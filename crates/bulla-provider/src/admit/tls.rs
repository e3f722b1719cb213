//! TLS, for attested sessions (R42). The certificate is made by the process and proves nothing; the key that is shared does,
//! once both sides have shown evidence for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{Accept, TlsAcceptor};

use crate::Error;

/// What the certificate names; nobody is asked to compare it.
const NAME: &str = "bulla-provider.invalid";

/// A listener that speaks TLS.
pub(super) struct TlsDoor {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl TlsDoor {
    pub(super) fn new(listener: TcpListener) -> Result<Self, Error> {
        let config = config().map_err(|error| Error::Tls(error.to_string()))?;
        Ok(Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// A connection whose handshake is still to be made.
    pub(super) async fn accept(&self) -> io::Result<Accept<TcpStream>> {
        let (stream, _) = self.listener.accept().await?;
        let _ = stream.set_nodelay(true);
        Ok(self.acceptor.accept(stream))
    }
}

/// A server of TLS 1.3 with the hybrid post-quantum key exchange alone, which resumes nothing and takes no early data: every
/// connection is one whole handshake, whose exporter values are its own. In a session keys travel under nothing else, so
/// who knows no hybrid exchange asks over plain HTTP, where every key is encrypted by itself.
fn config() -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([NAME.to_owned()])?.self_signed(&key)?;
    let private = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = CryptoProvider { kx_groups: vec![X25519MLKEM768], ..aws_lc_rs::default_provider() };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.into()], private.into())?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
