//! A thread with a runtime, for a server that a test plays.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use super::eventually;

/// Runs what it is given until this value ends.
#[derive(Debug)]
pub struct OwnRuntime {
    pub handle: Handle,
    /// Ends everything.
    pub end: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl OwnRuntime {
    pub fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (handle, end) = (runtime.handle().clone(), CancellationToken::new());
        let until = end.clone();
        let thread = std::thread::spawn(move || runtime.block_on(until.cancelled()));
        Self { handle, end, thread: Some(thread) }
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Listens at an address, which may just have been somebody's.
pub fn listen(address: SocketAddr) -> TcpListener {
    let mut bound = TcpListener::bind(address);
    eventually("the port is free", || {
        if bound.is_err() {
            bound = TcpListener::bind(address);
        }
        bound.is_ok()
    });
    let listener = bound.unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}
