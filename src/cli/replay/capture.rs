//! Captured pairs from files: `NAME.request` and `NAME.reply`, raw bytes as they went over the wire.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::show::{counted, words};
use super::template::{find, lengths};
use super::wire::{EMPTY_LINE, Framing, Received, Reply};

/// No captured file is longer.
const LONGEST: u64 = 16 * 1024 * 1024;

const HINT: &str = "hint: name NAME.request, with NAME.reply beside it, a folder of such, or a .har file";

const RAW: &str = "hint: the bytes as they went over the wire; an editor may have changed the ends of its lines";

const CUT: &str = "its captured reply is cut";

/// Something to send again, or why it cannot be.
pub(super) enum Capture {
    Pair(Box<Pair>),
    Skipped { name: String, why: String },
}

/// A request, and the reply that it had.
pub(super) struct Pair {
    pub(super) name: String,
    /// Raw, with places.
    pub(super) request: Vec<u8>,
    pub(super) reply: Reply,
}

/// Reads a pair, by either half, or all pairs of a folder by name.
pub(super) fn read(path: &Path) -> Result<Vec<Capture>, String> {
    if !path.is_dir() {
        return Ok(vec![pair(&path.with_extension("request"))?]);
    }
    let unreadable = |error: io::Error| format!("{} cannot be read: {}\n  {HINT}", path.display(), words(&error));
    let entries = fs::read_dir(path).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let mut requests: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    requests.retain(|path| path.extension().is_some_and(|ending| ending == "request"));
    requests.sort();
    if requests.is_empty() {
        return Err(format!("{} has no NAME.request in it\n  {HINT}", path.display()));
    }
    requests.iter().map(|request| pair(request)).collect()
}

fn pair(path: &Path) -> Result<Capture, String> {
    let name = path.with_extension("").display().to_string();
    let request = bytes(path)?;
    let skipped = |why: String| Ok(Capture::Skipped { name: name.clone(), why });
    if path.with_extension("realm").exists() {
        return skipped("it needs a realm that answers as its .realm file says".to_owned());
    }
    let reply_path = path.with_extension("reply");
    if fs::symlink_metadata(&reply_path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return skipped("no .reply file with what was answered stands beside it".to_owned());
    }
    let reply = raw(&bytes(&reply_path)?, request.starts_with(b"HEAD "));
    let reply = reply.ok_or_else(|| format!("{} is no reply of HTTP/1.x\n  {RAW}", reply_path.display()))?;
    if find(&request, EMPTY_LINE).is_none() {
        return Err(format!("{} is no request: its head must end with an empty line, CR LF\n  {RAW}", path.display()));
    }
    match reply {
        Ok(reply) => Ok(Capture::Pair(Box::new(Pair { name, request, reply }))),
        Err(why) => skipped(why),
    }
}

pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("{} cannot be read: {}\n  {HINT}", path.display(), words(&error));
    if fs::metadata(path).map_err(unreadable)?.len() > LONGEST {
        let hint = "hint: send it in parts: a folder of pairs, or several HAR files";
        return Err(format!("{} is longer than 16 MiB\n  {hint}", path.display()));
    }
    fs::read(path).map_err(unreadable)
}

/// A captured reply.
///
/// # Errors
/// It begins as one, and is not whole; why.
fn raw(bytes: &[u8], was_head: bool) -> Option<Result<Reply, String>> {
    let mut received = Received::of(bytes);
    match received.head() {
        Ok(reply) => Some(whole(reply, received, was_head)),
        Err(_) if !bytes.is_empty() && received.is_taken() => {
            Some(Err(format!("{CUT}: nothing follows `100 Continue`")))
        }
        Err(_) => None,
    }
}

fn whole(reply: Reply, mut received: Received<&[u8]>, was_head: bool) -> Result<Reply, String> {
    let unfit = |error: io::Error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            format!("{CUT}: its chunks have no end")
        } else {
            format!("its captured reply cannot be read: {}", words(&error))
        }
    };
    let framing = reply.framing(was_head).map_err(unfit)?;
    let Framing::Length(length) = framing else {
        let body = received.body(framing).map_err(unfit)?;
        let behind = received.rest().map_err(unfit)?;
        return if behind.is_empty() { Ok(Reply { body, ..reply }) } else { Err(longer(behind.len())) };
    };
    // Places stand in it for what may be longer or shorter.
    let body = received.rest().map_err(unfit)?;
    let (shortest, longest) = lengths(&body);
    if longest.is_some_and(|longest| longest < length) {
        return Err(format!(
            "{CUT} or was changed: its body has {shortest} bytes, and its Content-Length says {length}"
        ));
    }
    if shortest > length { Err(longer(shortest - length)) } else { Ok(Reply { body, ..reply }) }
}

fn longer(bytes: usize) -> String {
    let bytes = counted(bytes, "byte");
    format!("its captured reply has {bytes} behind its end: is that another one, or was it changed?")
}
