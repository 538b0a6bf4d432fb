//! What a listener shows by TLS, and what keeps it from being shown.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{Error, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate;
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

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The certificate and its chain.
    Certificate,
    /// Its key.
    Key,
    /// Who must have signed a client's certificate.
    ClientCa,
}

impl Piece {
    /// The key of the configuration that names it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::ClientCa => "client_ca",
        }
    }
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfitMaterial {
    /// Which.
    pub piece: Piece,
    /// Why, to be put behind its name.
    pub reason: String,
    /// What to do.
    pub hint: &'static str,
}

impl UnfitMaterial {
    fn new(piece: Piece, reason: impl Into<String>) -> Self {
        let hint = match piece {
            Piece::Certificate => "name a PEM file with the certificate and those between it and its authority",
            Piece::Key => "name a PEM file with the certificate's own key",
            Piece::ClientCa => "name a PEM file with the certificates of who vouches for clients",
        };
        Self { piece, reason: reason.into(), hint }
    }
}

impl std::fmt::Display for UnfitMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` {}", self.piece.word(), self.reason)
    }
}

impl std::fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsMaterial(redacted)")
    }
}

impl TlsMaterial {
    /// When the certificate begins to count; nothing where it cannot be read.
    #[must_use]
    pub fn begins(&self) -> Option<Timestamp> {
        certificate::begins(certificates(&self.certificate)?.first()?)
    }

    /// When the certificate ends; nothing where it cannot be read.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        certificate::ends(certificates(&self.certificate)?.first()?)
    }

    /// What keeps a listener from showing it: each of the files that cannot be used, or two that do not fit together.
    #[must_use]
    pub fn faults(&self) -> Vec<UnfitMaterial> {
        let each = [shown(self).err(), key(self).err(), verifier(self).err()];
        let faults: Vec<UnfitMaterial> = each.into_iter().flatten().collect();
        if faults.is_empty() { self.config(&[]).err().into_iter().collect() } else { faults }
    }

    /// Makes ready to show it, and to offer these protocols (ALPN, RFC 7301).
    ///
    /// # Errors
    /// What of it cannot be used.
    pub fn config(&self, protocols: &[&[u8]]) -> Result<ServerConfig, UnfitMaterial> {
        let (certificates, key) = (shown(self)?, key(self)?);
        let verifier = verifier(self)?;
        let asks = verifier.is_some();
        let builder = match verifier {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(verifier) => ServerConfig::builder().with_client_cert_verifier(verifier),
        };
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| {
            if matches!(error, Error::InconsistentKeys(_)) {
                return UnfitMaterial::new(Piece::Key, "is the key of another certificate");
            }
            UnfitMaterial::new(Piece::Certificate, format!("cannot be used: {error}"))
        })?;
        // Whoever resumes a session shows no certificate: one that is over by now would let its client in as long as it comes back.
        if asks {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

fn shown(material: &TlsMaterial) -> Result<Vec<CertificateDer<'static>>, UnfitMaterial> {
    let unfit = |reason: String| UnfitMaterial::new(Piece::Certificate, reason);
    let shown = certificates(&material.certificate).ok_or_else(|| unfit(NO_CERTIFICATE.to_owned()))?;
    // Those between it and its authority are for whoever connects to judge.
    if let Some(version @ ..3) = shown.first().and_then(|own| certificate::version(own)) {
        let hint = "have it signed anew with extensions, its names among them: `openssl x509 -req` adds those of -extfile alone";
        return Err(UnfitMaterial { hint, ..unfit(format!("is of X.509 version {version}, and TLS takes 3 alone")) });
    }
    Ok(shown)
}

fn key(material: &TlsMaterial) -> Result<PrivateKeyDer<'static>, UnfitMaterial> {
    let unfit = |reason: &str| UnfitMaterial::new(Piece::Key, reason);
    let Ok(key) = PrivateKeyDer::from_pem_slice(&material.key) else {
        const ENCRYPTED: &[u8] = b"ENCRYPTED";
        if material.key.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED) {
            let hint = "write it without its passphrase, for the bridge's user alone: openssl pkey -in KEY -out PLAIN";
            return Err(UnfitMaterial { hint, ..unfit("is encrypted, and nobody types its passphrase here") });
        }
        return Err(unfit("is no PEM private key"));
    };
    match any_supported_type(&key) {
        Ok(_) => Ok(key),
        Err(_) => Err(unfit("is a key that TLS does not take: RSA from 2048 bits on, ECDSA and Ed25519 will do")),
    }
}

/// Whoever vouches for clients; `None`: nobody is asked to.
fn verifier(material: &TlsMaterial) -> Result<Option<Arc<dyn ClientCertVerifier>>, UnfitMaterial> {
    let Some(pem) = &material.client_ca else { return Ok(None) };
    let unfit = |reason: String| UnfitMaterial::new(Piece::ClientCa, reason);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).ok_or_else(|| unfit(NO_CERTIFICATE.to_owned()))? {
        roots.add(certificate).map_err(|error| unfit(format!("cannot be used: {error}")))?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
    verifier.map(Some).map_err(|error| unfit(format!("cannot be used: {error}")))
}

const NO_CERTIFICATE: &str = "has no PEM certificate in it";

/// `None`: there is none, or one that cannot be read.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.ok().filter(|certificates| !certificates.is_empty())
}
