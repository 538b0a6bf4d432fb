//! Listening sockets: one for each worker at the same address, so that the kernel spreads connections over them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::time::Duration;

/// Connections that the kernel may hold for a worker that is busy.
pub(super) const BACKLOG: i32 = 1024;

/// Opens `count` sockets at one address. Port 0 is chosen once, by the first.
///
/// # Errors
/// The address is in use, not of this machine, or not ours to take.
pub fn listen(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    unshared(address)?;
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(count);
    for _ in 0..count {
        let address = match listeners.first() {
            Some(first) => first.local_addr()?,
            None => address,
        };
        listeners.push(socket(address)?);
    }
    Ok(listeners)
}

/// Listening sockets with what each is for, as the runtime of this thread has them.
///
/// # Errors
/// The kernel watches no more of them.
pub(super) fn taken<T>(listeners: Vec<(TcpListener, T)>) -> io::Result<Vec<(tokio::net::TcpListener, T)>> {
    let taken = |(listener, what)| Ok((tokio::net::TcpListener::from_std(listener)?, what));
    listeners.into_iter().map(taken).collect()
}

/// Fails where somebody listens already. Our own sockets share an address (`SO_REUSEPORT`), and so would those of another
/// bridge of the same user, unseen: the kernel would give each half of the clients.
fn unshared(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // What a bridge that ended has left of its connections is in nobody's way.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_mins(1)))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
