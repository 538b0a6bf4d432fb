//! TLS to a listener of the same configuration: the one certificate that counts is the one that stands in it, so that
//! neither its name nor its issuer matters. Where nothing is shown or believed that matters, none is looked at.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::relay::TlsMaterial;

/// A session with whoever holds the key of that certificate.
///
/// # Errors
/// One sentence about what is in the way.
pub(super) fn session(material: &TlsMaterial) -> Result<ClientConnection, String> {
    if material.client_ca.is_some() {
        return Err("the listener asks for a client's certificate, which this command does not have".to_owned());
    }
    begun(Some(CertificateDer::from_pem_slice(&material.certificate).map_err(|error| error.to_string())?))
}

/// A session with whoever is there.
///
/// # Errors
/// One sentence about what is in the way.
pub(super) fn with_anybody() -> Result<ClientConnection, String> {
    begun(None)
}

fn begun(certificate: Option<CertificateDer<'static>>) -> Result<ClientConnection, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pinned = Arc::new(Pinned { certificate, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(pinned)
        .with_no_client_auth();
    let nobody = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
    ClientConnection::new(Arc::new(config), nobody).map_err(|error| error.to_string())
}

#[derive(Debug)]
struct Pinned {
    /// `None`: any will do.
    certificate: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificate.as_ref().is_none_or(|certificate| certificate == end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("it shows another certificate than the configuration names".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
