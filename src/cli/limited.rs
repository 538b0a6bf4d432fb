//! A limit on the size of files (`ulimit -f`, `LimitFSIZE=`) is an error of the write that meets it, as a full disk is.

use std::io;

use rustix::process::Signal;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

/// To be called before anything is written. The kernel does not merely refuse such a write: it sends SIGXFSZ, which ends a process without
/// a word, be it in the middle of a thousand logins.
///
/// It is caught, not ignored: that stays until the process ends, takes no `unsafe`, and a program that this one starts begins as if nothing had
/// been.
pub(super) fn outlive() -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}
