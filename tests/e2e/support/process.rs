//! Children that end with the test binary, however it ends.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// A child that the kernel kills when the thread that began it ends; that thread lives as long as the binary.
pub fn bound_to_us(program: &str, arguments: &[String]) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig").arg("KILL").arg(program).args(arguments);
    command.stdin(Stdio::null());
    command
}

/// Does something on a thread that does not end before the binary does, so that children begun there live as long.
pub fn for_good<T: Send + 'static>(begin: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        sender.send(begin()).unwrap();
        let (_forever, never): (Sender<()>, _) = channel();
        let _ = never.recv();
    });
    receiver.recv().expect("what was begun has not failed")
}

/// Begins a child that lives as long as the binary.
pub fn begin_for_good(mut command: Command) -> Child {
    for_good(move || command.spawn().expect("the program starts"))
}

/// The top of the repository.
pub fn repository() -> &'static str {
    env!("CARGO_MANIFEST_DIR")
}

/// A directory that goes with whoever holds it. A server that lasts as long as the binary leaves it under the build's, where `cargo clean` finds it.
pub fn place() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Ports that were free a moment ago.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: [std::net::TcpListener; N] = std::array::from_fn(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// Whether nothing but the exit status of a child is left. A process of several threads calls itself a zombie before the last of
/// them has let go of its files.
pub fn ended(id: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).map_or(0, Iterator::count);
    threads == 1 && std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}
