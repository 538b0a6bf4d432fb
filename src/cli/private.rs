//! What a process that has the store leaves on a disk is for its own user alone.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// To be called before anything is written.
pub(super) fn keep() {
    // The store's own files are made by its engine, as open as the mask lets them, maybe in a directory that somebody else made.
    umask(Mode::RWXG | Mode::RWXO);
    // A core has what is in memory: secrets of all clients, and JWTs. Who needs one may raise it again (`prlimit --core`). A program
    // that the kernel pipes cores to (core(5)) is given them all the same, and decides by itself; systemd-coredump heeds the limit.
    let limit = getrlimit(Resource::Core);
    let _as_it_was = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: limit.maximum });
}
