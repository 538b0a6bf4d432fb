//! Opens a connection to a server by its name, which may have several addresses.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, ToSocketAddrs, lookup_host};
use tokio::time::timeout;

/// How long one address of a name may be silent until the next is tried beside it (RFC 8305 section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// A server that does not answer for half a minute after a minute's silence is gone.
const ALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(3);

/// How old a connection may be that is used for another request: the name may have moved since.
pub const OLD: Duration = Duration::from_secs(5 * 60);

/// How long a server that refused, or gave no answer, is passed over while there are others, before somebody looks whether it is back.
pub const PASSED_OVER: Duration = Duration::from_secs(5);

/// One that has answered nobody while somebody waited for so long is passed over too; whoever leaves sooner says nothing of it.
pub const IN_VAIN: Duration = Duration::from_secs(2);

/// Bytes of an answer's head.
pub const ANSWER_HEAD: usize = 128 * 1024;

/// Connects to the first address of a name (`host:port`) that answers. `patience`: how long whoever asks will wait; within that each address has its
/// turn.
///
/// # Errors
/// The name has no address, or none of them takes a connection.
pub async fn dial(name: impl ToSocketAddrs, patience: Duration) -> io::Result<TcpStream> {
    let stream = connect(lookup_host(name).await?.collect(), patience).await?;
    let _ = stream.set_nodelay(true);
    // Nobody watches one that waits, and what stands between forgets in silence what is silent for some minutes.
    let _ = SockRef::from(&stream).set_tcp_keepalive(&ALIVE);
    Ok(stream)
}

/// Which of them answers is not told by their order: each may be silent, or refuse, while the next does not.
async fn connect(addresses: Vec<SocketAddr>, patience: Duration) -> io::Result<TcpStream> {
    let each = NEXT_ADDRESS.min(patience / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX));
    let (mut left, mut trying) = (addresses.into_iter(), FuturesUnordered::new());
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        trying.extend(left.next().map(TcpStream::connect));
        let tried = if left.len() == 0 { Ok(trying.next().await) } else { timeout(each, trying.next()).await };
        match tried {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => last = error,
            Ok(None) => return Err(last),
            Err(_silent) => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// Somewhere that takes no connection and refuses none: as many as it lets wait are waiting. They go with what is returned.
    pub(crate) fn silent() -> (SocketAddr, Vec<Socket>) {
        let socket = |_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = socket(0);
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held: Vec<Socket> = (0..4).map(socket).collect();
        for caller in &held {
            caller.set_nonblocking(true).unwrap();
            let _waits = caller.connect(&address);
        }
        held.push(listener);
        (address.as_socket().unwrap(), held)
    }

    #[test]
    fn a_name_is_as_good_as_the_best_of_its_addresses() {
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = (good.local_addr().unwrap(), good);
        let (silent, _held) = silent();
        // No system hands this port out by itself.
        let refusing = SocketAddr::from(([127, 0, 0, 1], 1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reached = |addresses: &[SocketAddr], patience| {
            let (addresses, patience) = (addresses.to_vec(), Duration::from_millis(patience));
            runtime.block_on(async {
                let connected = timeout(patience, connect(addresses, patience)).await;
                connected
                    .map_err(|_| "silent")
                    .and_then(|connected| connected.map_err(|_| "refused"))?
                    .peer_addr()
                    .map_err(|_| "gone")
            })
        };
        for before in [&[][..], &[silent], &[refusing], &[silent, refusing, silent]] {
            for patience in [1_000, 10_000] {
                assert_eq!(reached(&[before, &[good.0]].concat(), patience), Ok(good.0), "behind {before:?}");
            }
        }
        assert_eq!(reached(&[silent, refusing], 400), Err("silent"));
        assert_eq!(reached(&[refusing, refusing], 10_000), Err("refused"));
        assert_eq!(reached(&[], 10_000), Err("refused"));
    }
}
