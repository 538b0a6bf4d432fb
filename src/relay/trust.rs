//! TLS towards a server: who is trusted, and what went wrong, in words.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::domain::opaque::Fingerprint;

/// What tells whether the system has come to trust others; `None`: it trusts nobody. Reads its certificates.
#[must_use]
pub fn trusted_by_the_system() -> Option<Fingerprint> {
    let certificates = of_the_system();
    (!certificates.is_empty()).then(|| fingerprint(&certificates))
}

/// Reads whom the system trusts. While that is nobody, as where its bundle is being exchanged, whoever was trusted before is: no load hangs on that.
fn of_the_system() -> Vec<CertificateDer<'static>> {
    static BEFORE: Mutex<Vec<CertificateDer<'static>>> = Mutex::new(Vec::new());
    let (read, mut before) = (rustls_native_certs::load_native_certs().certs, BEFORE.lock());
    if !read.is_empty() {
        *before = read;
    }
    before.clone()
}

fn fingerprint(certificates: &[CertificateDer<'_>]) -> Fingerprint {
    let bytes: Vec<u8> = certificates.iter().flat_map(|certificate| certificate.iter().copied()).collect();
    Fingerprint::of("trusted by the system", &bytes)
}

/// Whom a server must be vouched for by.
#[derive(Clone)]
pub struct Trust {
    /// Certificates in PEM; `None`: the system's.
    pem: Option<Vec<u8>>,
    /// Which those were.
    system: Option<Fingerprint>,
    config: Arc<ClientConfig>,
    /// The same, offering HTTP/2 first.
    http2: Arc<ClientConfig>,
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        (&self.pem, self.system) == (&other.pem, other.system)
    }
}

impl Eq for Trust {}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.pem.is_some() { "Trust(ca)" } else { "Trust(system)" })
    }
}

impl Trust {
    /// Trusts whom these certificates in PEM vouch for; without them, whom the system trusts.
    ///
    /// # Errors
    /// One sentence about what cannot be used.
    pub fn new(pem: Option<Vec<u8>>) -> Result<Self, String> {
        let (mut roots, mut system) = (RootCertStore::empty(), None);
        match &pem {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|_| "is no PEM file of certificates".to_owned())?;
                    roots
                        .add(certificate)
                        .map_err(|error| format!("has a certificate that cannot be used: {error}"))?;
                }
                if roots.is_empty() {
                    return Err("has no certificate in it".to_owned());
                }
            }
            None => {
                let certificates = of_the_system();
                system = Some(fingerprint(&certificates));
                roots.add_parsable_certificates(certificates);
                if roots.is_empty() {
                    return Err("is needed: this system trusts no certificates of its own".to_owned());
                }
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
        let mut http2 = config.clone();
        http2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { pem, system, config: Arc::new(config), http2: Arc::new(http2) })
    }

    /// The same for who speaks TLS without waiting on a runtime.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Speaks TLS to a server that must be of this name.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub async fn shake_hands(
        &self,
        name: &ServerName<'static>,
        http2: bool,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let connector = TlsConnector::from(Arc::clone(if http2 { &self.http2 } else { &self.config }));
        connector.connect(name.clone(), stream).await.map_err(|error| said(&error))
    }
}

/// What is wrong with the certificate that a server showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadCertificate {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// It is for another name.
    OtherName,
    /// Nobody who is trusted vouches for it.
    UnknownIssuer,
    /// It is one that vouches for others, as most recipes for a self-signed one make it.
    Authority,
    /// Something that seldom happens; in words.
    Other(String),
}

impl BadCertificate {
    /// What is wrong, where that is why TLS failed.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "these are rustls' causes, and it explains the rare ones well enough"
    )]
    pub fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let Some(rustls::Error::InvalidCertificate(fault)) = tls_behind(error) else { return None };
        Some(match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYet,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            // What webpki alone knows is told by its name.
            CertificateError::Other(inner) if inner.0.to_string() == "CaUsedAsEndEntity" => Self::Authority,
            CertificateError::Other(inner) => Self::Other(inner.0.to_string()),
            other => Self::Other(other.to_string()),
        })
    }
}

/// So that somebody knows what to do.
impl fmt::Display for BadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("its certificate has expired"),
            Self::NotYet => f.write_str("its certificate is not valid yet"),
            Self::OtherName => f.write_str("its certificate is for another name than the server's"),
            Self::UnknownIssuer => {
                f.write_str("nobody who is trusted vouches for its certificate; `ca` names who does")
            }
            Self::Authority => {
                f.write_str("its certificate is that of an authority (CA:TRUE), which no server may show")
            }
            Self::Other(words) => write!(f, "its certificate cannot be trusted: {words}"),
        }
    }
}

/// Whether the server answered to TLS with something that is none, as one in clear text does.
#[must_use]
pub fn speaks_no_tls(error: &(dyn Error + 'static)) -> bool {
    matches!(tls_behind(error), Some(rustls::Error::InvalidMessage(_)))
}

/// What TLS says, where it is behind this.
fn tls_behind<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    // What an error of input or output holds is not its source: it stands in its place.
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    tls_behind(held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source())?)
}

/// In the words of every server that is asked over TLS.
pub const NO_TLS: &str = "it speaks no TLS; is it http://?";

fn said(error: &io::Error) -> String {
    match BadCertificate::behind(error) {
        Some(bad) => bad.to_string(),
        None if speaks_no_tls(error) => NO_TLS.to_owned(),
        None => format!("no TLS: {error}"),
    }
}
