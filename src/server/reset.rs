//! The end of a connection that is no end of what was said on it: the kernel tells it by a reset.

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What can be closed so that its other side hears of a failure.
pub(super) trait Reset {
    /// Whatever closes it from now on breaks it off.
    fn reset(&self);
}

impl Reset for TcpStream {
    fn reset(&self) {
        let _closed_already = self.set_zero_linger();
    }
}

impl Reset for TlsStream<TcpStream> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}
