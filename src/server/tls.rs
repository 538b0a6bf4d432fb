//! TLS of a listener. Certificates are exchanged on reload without a restart.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::handshake::{Failure, Failures};
use crate::domain::time::Timestamp;

/// What a listener shows, in PEM.
#[derive(Clone)]
pub struct TlsMaterial {
    /// The certificate and its chain.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: zeroize::Zeroizing<Vec<u8>>,
    /// Who must have signed a client's certificate; `None`: none is asked for.
    pub client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsMaterial(redacted)")
    }
}

/// Makes ready for TLS, wherever it is spoken. Who comes second in one process finds it ready, which is as good.
pub fn provide_tls() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The certificate in use.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ArcSwap<ServerConfig>>,
    protocols: Protocols,
    failures: Arc<Failures>,
}

/// What is offered to a client that asks (ALPN, RFC 7301): nothing, or these.
pub(super) type Protocols = &'static [&'static [u8]];

/// Where HTTP/2 is spoken beside HTTP/1.1.
pub(super) const BOTH: Protocols = &[b"h2", b"http/1.1"];

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the material and makes ready. A client may choose one of these protocols.
    ///
    /// # Errors
    /// One sentence about what cannot be used.
    pub(super) fn new(protocols: Protocols, material: &TlsMaterial, failures: Failures) -> Result<Self, String> {
        let config = Arc::new(ArcSwap::new(config(material, protocols)?));
        Ok(Self { config, protocols, failures: Arc::new(failures) })
    }

    /// Shows another certificate from now on.
    ///
    /// # Errors
    /// As [`Tls::new`]; the old one stays.
    pub fn exchange(&self, material: &TlsMaterial) -> Result<(), String> {
        self.config.store(config(material, self.protocols)?);
        Ok(())
    }

    /// Shakes hands within this time; `None`: the caller is turned away, or has gone.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        address: IpAddr,
        patience: Duration,
    ) -> Option<TlsStream<TcpStream>> {
        let mut first = [0];
        let shaken = timeout(patience, async {
            // Whoever says nothing, as who only looks whether somebody listens, has failed in nothing.
            let heard = stream.peek(&mut first).await.is_ok_and(|count| count > 0);
            let acceptor = heard.then(|| TlsAcceptor::from(self.config.load_full()))?;
            Some(acceptor.accept(stream).await)
        });
        let failure = match shaken.await {
            Ok(shaken) => match shaken? {
                Ok(stream) => return Some(stream),
                Err(error) => Failure::of(first[0], &error),
            },
            Err(_elapsed) if first == [0] => return None,
            Err(_elapsed) => Failure::slow(),
        };
        self.failures.tell(address, &failure);
        None
    }
}

fn config(material: &TlsMaterial, protocols: Protocols) -> Result<Arc<ServerConfig>, String> {
    let certificates = certificates(&material.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&material.key).map_err(|_| "the key is no PEM private key".to_owned())?;
    let builder = match &material.client_ca {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(pem).map_err(|reason| format!("`client_ca`: {reason}"))? {
                roots.add(certificate).map_err(|error| format!("`client_ca` cannot be used: {error}"))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .build()
                .map_err(|error| format!("`client_ca` cannot be used: {error}"))?;
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| format!("certificate and key do not fit together: {error}"))?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("there is no PEM certificate in the file".to_owned()),
    }
}

impl TlsMaterial {
    /// When the certificate begins to count; nothing where it cannot be read.
    #[must_use]
    pub fn begins(&self) -> Option<Timestamp> {
        super::certificate::begins(certificates(&self.certificate).ok()?.first()?)
    }

    /// When the certificate ends; nothing where it cannot be read.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        super::certificate::ends(certificates(&self.certificate).ok()?.first()?)
    }

    /// Whether a listener could show it.
    ///
    /// # Errors
    /// One sentence about what cannot be used.
    pub fn check(&self) -> Result<(), String> {
        config(self, &[]).map(drop)
    }
}
