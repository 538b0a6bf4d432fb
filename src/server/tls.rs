//! TLS of a listener. Certificates are replaced by a reload without a restart.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::handshake::{Failure, Failures};
use crate::relay::TlsMaterial;

/// Makes ready for TLS, wherever it is spoken. Who comes second in one process finds it ready, which is as good.
pub fn provide_tls() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// What is shown, and to whom.
struct Shown {
    config: Arc<ServerConfig>,
    client_ca: Option<Vec<u8>>,
    /// Said once others than `client_ca` vouch for clients.
    disowned: CancellationToken,
}

impl Shown {
    fn new(material: &TlsMaterial, protocols: Protocols) -> Result<Self, String> {
        let config = material.config(protocols).map_err(|unfit| unfit.to_string())?;
        Ok(Self { config: Arc::new(config), client_ca: material.client_ca.clone(), disowned: CancellationToken::new() })
    }
}

/// The certificate in use.
#[derive(Clone)]
pub struct Tls {
    shown: Arc<ArcSwap<Shown>>,
    protocols: Protocols,
    failures: Arc<Failures>,
}

/// What is offered to a client that asks (ALPN, RFC 7301): nothing, or these.
pub(super) type Protocols = &'static [&'static [u8]];

/// Where HTTP/2 is spoken beside HTTP/1. What is spoken then the caller's first bytes tell.
pub(super) const BOTH: Protocols = &[b"h2", b"http/1.1", b"http/1.0"];

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
        let shown = Arc::new(ArcSwap::from_pointee(Shown::new(material, protocols)?));
        material.ends().inspect(|ends| failures.certificate(*ends));
        Ok(Self { shown, protocols, failures: Arc::new(failures) })
    }

    /// Shows another certificate from now on. Where others vouch for clients, those who were let in before are told to go.
    ///
    /// # Errors
    /// As [`Tls::new`]; the old one stays.
    pub fn replace(&self, material: &TlsMaterial) -> Result<(), String> {
        let mut next = Shown::new(material, self.protocols)?;
        let before = self.shown.load_full();
        let is_other = before.client_ca != next.client_ca;
        if !is_other {
            next.disowned = before.disowned.clone();
        }
        self.shown.store(Arc::new(next));
        material.ends().inspect(|ends| self.failures.certificate(*ends));
        if is_other {
            before.disowned.cancel();
        }
        Ok(())
    }

    /// Shakes hands within this time, and says when he who was let in is to go; `None`: the caller is turned away, or has gone.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        address: IpAddr,
        patience: Duration,
    ) -> Option<(TlsStream<TcpStream>, CancellationToken)> {
        let mut first = [0];
        let shaken = timeout(patience, async {
            // Whoever says nothing, as who only looks whether somebody listens, has failed in nothing.
            let heard = stream.peek(&mut first).await.is_ok_and(|count| count > 0);
            let shown = heard.then(|| self.shown.load_full())?;
            let shaken = TlsAcceptor::from(Arc::clone(&shown.config)).accept(stream).await;
            Some(shaken.map(|stream| (stream, shown.disowned.clone())))
        });
        let failure = match shaken.await {
            Ok(shaken) => match shaken? {
                Ok(shaken) => return Some(shaken),
                Err(error) => Failure::of(first[0], &error),
            },
            Err(_elapsed) if first == [0] => return None,
            Err(_elapsed) => Failure::slow(),
        };
        self.failures.tell(address, &failure);
        None
    }
}
