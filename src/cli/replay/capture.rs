//! Captured pairs from files: `NAME.request` and `NAME.reply`, raw bytes as they went over the wire.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::show::words;
use super::template::find;

/// No captured file is longer.
const LONGEST: u64 = 16 * 1024 * 1024;

const HINT: &str = "hint: name NAME.request, with NAME.reply beside it, a folder of such, or a .har file";

const RAW: &str = "hint: the bytes as they went over the wire; an editor may have changed the ends of its lines";

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

/// A reply, captured or given now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// Out of a head without its empty line; the body is to be filled in.
    pub(super) fn of_head(head: &[u8]) -> Option<Self> {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        };
        Some(Self { status, headers: lines.filter_map(header).collect(), body: Vec::new() })
    }

    /// The value of a header; of several, all of them.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
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
    if path.with_extension("realm").exists() {
        let why = "it needs a realm that answers as its .realm file says".to_owned();
        return Ok(Capture::Skipped { name, why });
    }
    let reply_path = path.with_extension("reply");
    let reply = raw(&bytes(&reply_path)?);
    let reply = reply.ok_or_else(|| format!("{} is no reply of HTTP/1.x\n  {RAW}", reply_path.display()))?;
    if find(&request, b"\r\n\r\n").is_none() {
        return Err(format!("{} is no request: its head must end with an empty line, CR LF\n  {RAW}", path.display()));
    }
    Ok(Capture::Pair(Box::new(Pair { name, request, reply })))
}

pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("{} cannot be read: {}\n  {HINT}", path.display(), words(&error));
    if fs::metadata(path).map_err(unreadable)?.len() > LONGEST {
        let hint = "hint: send it in parts: a folder of pairs, or several HAR files";
        return Err(format!("{} is longer than 16 MiB\n  {hint}", path.display()));
    }
    fs::read(path).map_err(unreadable)
}

/// A reply whose body is all that follows its head.
fn raw(bytes: &[u8]) -> Option<Reply> {
    let end = find(bytes, b"\r\n\r\n")?;
    let (head, body) = bytes.split_at_checked(end)?;
    let body = body.get(4..)?.to_vec();
    Some(Reply { body, ..Reply::of_head(head)? })
}
