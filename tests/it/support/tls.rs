//! Certificates, and a front that speaks TLS for a server that does not.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::pem::pem;
use super::runtime::{self, OwnRuntime};

/// Who vouches for certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
    /// The same, as a server would show it that has no other.
    pub own: Shown,
}

/// A certificate and its key, in DER.
#[derive(Debug)]
pub struct Shown {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut wish = CertificateParams::new(Vec::new()).unwrap();
        // Two of one name would be taken for one.
        wish.distinguished_name.push(DnType::CommonName, format!("{:?}", &key.der_bytes()[..16]));
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = wish.self_signed(&key).unwrap();
        let own = Shown { certificate: certificate.der().clone(), key: key.serialize_der() };
        Self { issuer: Issuer::new(wish, key), pem: pem("CERTIFICATE", certificate.der()), own }
    }

    /// A certificate for this name, which ended so long ago where it says so.
    pub fn shown(&self, name: &str, ended_in: Option<i32>) -> Shown {
        self.shown_between(name, None, ended_in.map(|year| (year, 1, 1)))
    }

    /// A certificate for this name, which counts from the beginning of a year on.
    pub fn shown_from(&self, name: &str, year: i32) -> Shown {
        self.shown_between(name, Some((year, 1, 1)), None)
    }

    /// A certificate for this name, which ends in so many days.
    pub fn shown_for(&self, name: &str, days: i64) -> Shown {
        self.shown_between(name, None, Some(day(days)))
    }

    fn shown_between(&self, name: &str, begin: Option<(i32, u8, u8)>, end: Option<(i32, u8, u8)>) -> Shown {
        let key = KeyPair::generate().unwrap();
        let mut wish = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if let Some((year, month, day)) = begin {
            wish.not_before = rcgen::date_time_ymd(year, month, day);
        }
        if let Some((year, month, day)) = end {
            wish.not_after = rcgen::date_time_ymd(year, month, day);
        }
        let certificate = wish.signed_by(&key, &self.issuer).unwrap().der().clone();
        Shown { certificate, key: key.serialize_der() }
    }
}

/// Year, month and day, so many days from today by the system's clock.
pub fn day(days_from_today: i64) -> (i32, u8, u8) {
    let now = passbridge::server::SystemClock::new();
    let today = i64::try_from(passbridge::domain::time::Clock::now(&now).secs() / 86_400).unwrap();
    let since = std::time::Duration::from_secs(u64::try_from(today + days_from_today).unwrap() * 86_400);
    let day = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string();
    (day[0..4].parse().unwrap(), day[5..7].parse().unwrap(), day[8..10].parse().unwrap())
}

impl Shown {
    /// Certificate and key in PEM, as a configuration names them.
    pub fn pem(&self) -> (String, String) {
        (pem("CERTIFICATE", &self.certificate), pem("PRIVATE KEY", &self.key))
    }

    /// The certificate in PEM as one of X.509 version 1, which names no version and has no extensions (RFC 5280 section 4.1): `openssl x509 -req` makes such.
    /// Nobody vouches for it.
    pub fn of_first_version(&self) -> String {
        let outer = elements(content(&self.certificate));
        let body = elements(content(outer[0]));
        let is_of_later = |element: &&&[u8]| [0xa0, 0xa3].contains(&element[0]);
        let body: Vec<&[u8]> = body.iter().filter(|element| !is_of_later(element)).copied().collect();
        let body = sequence(&body);
        pem("CERTIFICATE", &sequence(&[&body, outer[1], outer[2]]))
    }

    /// What a server shows it with.
    pub fn config(&self, protocols: &[&str]) -> ServerConfig {
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let builder = ServerConfig::builder().with_no_client_auth();
        let mut config = builder.with_single_cert(vec![self.certificate.clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

/// Where the content of a value in DER begins, and its length.
fn head(value: &[u8]) -> (usize, usize) {
    match value[1] {
        short @ ..0x80 => (2, usize::from(short)),
        long => {
            let begin = 2 + usize::from(long & 0x7f);
            (begin, value[2..begin].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
    }
}

fn content(value: &[u8]) -> &[u8] {
    let (begin, length) = head(value);
    &value[begin..begin + length]
}

/// The values that stand one behind the other, whole.
fn elements(mut values: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !values.is_empty() {
        let (begin, length) = head(values);
        let (one, rest) = values.split_at(begin + length);
        found.push(one);
        values = rest;
    }
    found
}

fn sequence(values: &[&[u8]]) -> Vec<u8> {
    let values = values.concat();
    let length = u16::try_from(values.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82][..], &length, &values].concat()
}

/// Speaks TLS before a server until it ends.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    _runtime: OwnRuntime,
}

impl TlsFront {
    pub fn start(shown: &Shown, behind: SocketAddr) -> Self {
        passbridge::server::provide_tls();
        let runtime = OwnRuntime::start();
        let listener = runtime::listen(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(shown.config(&[])));
        let handle = runtime.handle.clone();
        runtime.handle.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                handle.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut inner = TcpStream::connect(behind).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut inner).await;
                });
            }
        });
        Self { address, _runtime: runtime }
    }

    /// Its URL by this host name.
    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }
}
