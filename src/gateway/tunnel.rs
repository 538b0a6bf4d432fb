//! After `101 Switching Protocols`: bytes to and fro, until one side ends or both are silent.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::task::coop::unconstrained;
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
/// So long a client may take to take what is left, when a drain ends its tunnel.
const LEAVING: Duration = Duration::from_secs(1);

/// One side broke its connection off, or does not get all that was said to it.
struct Cut;

/// Joins the two sides. A drain ends it: nothing says when a tunnel is done. Where one side breaks off, so does the other, and so it does where it
/// has not got all that was said: a client's connection that is let go before its end was told is reset by whoever it is of.
pub(super) async fn dig(client: OnUpgrade, api: Wire, idle: Duration, stop: CancellationToken) {
    let Ok(Ok(client)) = timeout(idle, client).await else { return };
    let (mut from_client, mut to_client) = split(TokioIo::new(client));
    let (mut from_api, mut to_api) = split(api);
    let (seen, passing) = (AtomicU64::new(0), [AtomicBool::new(false), AtomicBool::new(false)]);
    let there = carry(&mut from_client, &mut to_api, idle, (&seen, &passing[0]));
    let back = carry(&mut from_api, &mut to_client, idle, (&seen, &passing[1]));
    let ended = tokio::select! {
        () = stop.cancelled() => None,
        both = async { futures_util::try_join!(there, back) } => Some(both),
    };
    match ended {
        Some(Ok(_)) => {}
        Some(Err(Cut)) => from_api.unsplit(to_api).break_off(),
        None => {
            if !passing[1].load(Ordering::Relaxed) && !says_more(&mut from_api) {
                drop(timeout(LEAVING, to_client.shutdown()).await);
            }
            if passing[0].load(Ordering::Relaxed) || says_more(&mut from_client) {
                from_api.unsplit(to_api).break_off();
            } else {
                drop(timeout(LEAVING, to_api.shutdown()).await);
            }
        }
    }
}

/// Whether more of it is here than was read: the other side has not got all of it.
fn says_more(from: &mut (impl AsyncRead + Unpin)) -> bool {
    // Without tokio's budget: once that is spent, nobody would seem to say anything.
    let read = unconstrained(from.read(&mut [0])).now_or_never();
    read.is_some_and(|read| read.map_or_else(|error| error.kind() != ErrorKind::UnexpectedEof, |read| read > 0))
}

/// One direction; it says when it is passing something on. Its silence counts only where the other is silent too.
async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    idle: Duration,
    (seen, is_passing): (&AtomicU64, &AtomicBool),
) -> Result<(), Cut> {
    let mut piece = vec![0; PIECE];
    loop {
        let before = seen.load(Ordering::Relaxed);
        let read = match timeout(idle, from.read(&mut piece)).await {
            Ok(Ok(read)) => read,
            // Over TLS it closed and did not say so, as many do behind a last word of their own.
            Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => 0,
            Ok(Err(_)) => return Err(Cut),
            Err(_) if seen.load(Ordering::Relaxed) != before => continue,
            Err(_) => 0,
        };
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        seen.fetch_add(1, Ordering::Relaxed);
        // TLS takes a part at once, and only its flush waits for who reads nothing.
        let passing = async {
            to.write_all(bytes).await?;
            to.flush().await
        };
        is_passing.store(true, Ordering::Relaxed);
        let passed = timeout(idle, passing).await;
        is_passing.store(false, Ordering::Relaxed);
        match passed {
            Ok(Ok(())) => {}
            // A part of it may have gone. A client is waited for by its connection too.
            Err(_) => return Err(Cut),
            // Whoever is told of it here is not told again by reading.
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::TimedOut) => {
                return Err(Cut);
            }
            // What it said before it closed may still be on its way.
            Ok(Err(_)) => break,
        }
    }
    let _ = timeout(idle, to.shutdown()).await;
    Ok(())
}
