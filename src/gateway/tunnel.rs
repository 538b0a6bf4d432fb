//! After `101 Switching Protocols`: bytes to and fro, until one side ends or both are silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::wire::Wire;

/// The right to a connection behind the answer to its request, where hyper gave one with it: it gives one to whoever asks for any protocol, and with the
/// first it leaves the end of the connection to whoever holds the last.
#[derive(Clone, Debug, Default)]
pub struct Switch(Arc<Mutex<Option<OnUpgrade>>>);

impl Switch {
    /// Takes the right of a request in place of the one before it.
    pub fn keep(&self, given: OnUpgrade) {
        *self.0.lock() = Some(given);
    }

    /// Hands it on, once.
    #[must_use]
    pub fn take(&self) -> Option<OnUpgrade> {
        self.0.lock().take()
    }
}

/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;

/// Joins the two sides. A drain ends it: nothing says when a tunnel is done.
pub(super) async fn dig(client: OnUpgrade, api: Wire, idle: Duration, stop: CancellationToken) {
    let Ok(Ok(client)) = timeout(idle, client).await else { return };
    let (from_client, to_client) = split(TokioIo::new(client));
    let (from_api, to_api) = split(api);
    let seen = Arc::new(AtomicU64::new(0));
    let there = carry(from_client, to_api, idle, &seen);
    let back = carry(from_api, to_client, idle, &seen);
    tokio::select! {
        () = stop.cancelled() => {}
        _both = async { futures_util::join!(there, back) } => {}
    }
}

/// One direction. Its silence counts only where the other is silent too.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, idle: Duration, seen: &AtomicU64) {
    let mut piece = vec![0; PIECE];
    loop {
        let before = seen.load(Ordering::Relaxed);
        let read = match timeout(idle, from.read(&mut piece)).await {
            Ok(Ok(read)) => read,
            Err(_) if seen.load(Ordering::Relaxed) != before => continue,
            Ok(Err(_)) | Err(_) => 0,
        };
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        seen.fetch_add(1, Ordering::Relaxed);
        // TLS takes a part at once, and only its flush waits for who reads nothing.
        let passing = async {
            to.write_all(bytes).await?;
            to.flush().await
        };
        if !matches!(timeout(idle, passing).await, Ok(Ok(()))) {
            break;
        }
    }
    let _ = timeout(idle, to.shutdown()).await;
}
