//! Captured pairs out of a HAR file (HTTP Archive 1.2), as browsers and proxies write it.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;

use super::super::unmarked;
use super::capture::{self, Capture, Pair};
use super::wire::Reply;

#[derive(Deserialize)]
struct Archive {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    /// Each is read by itself: programs write odd ones for what was cached, broken off or no HTTP at all.
    entries: Vec<Value>,
}

#[derive(Deserialize)]
struct Entry {
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    url: String,
    headers: Vec<Named>,
    post_data: Option<Posted>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Posted {
    #[serde(default)]
    text: String,
    #[serde(default)]
    params: Vec<Named>,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    headers: Vec<Named>,
    content: Content,
}

#[derive(Deserialize)]
struct Content {
    /// How long the body is; programs that do not know say -1.
    #[serde(default)]
    size: Option<f64>,
    /// Not there, or empty, where a program has not kept it.
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    encoding: String,
}

/// The connection's own; we say them anew.
const OURS: [&str; 6] = ["host", "connection", "content-length", "transfer-encoding", "accept-encoding", "expect"];

const HINT: &str = "hint: HTTP Archive 1.2, as a browser's network page or a proxy saves it, whole";

/// Reads all entries, in their order.
pub(super) fn read(path: &Path) -> Result<Vec<Capture>, String> {
    let bytes = capture::bytes(path)?;
    let archive: Archive = serde_json::from_slice(unmarked(&bytes)).map_err(|error| {
        // Its own words may repeat a value.
        let place = format!("line {}, column {}", error.line(), error.column());
        format!("{} is no HAR file ({place})\n  {HINT}", path.display())
    })?;
    let name = |number: usize| format!("{} #{number}", path.display());
    Ok(archive.log.entries.into_iter().zip(1..).map(|(entry, number)| of_entry(entry, &name(number))).collect())
}

fn of_entry(entry: Value, name: &str) -> Capture {
    let skipped = |why: &str| Capture::Skipped { name: name.to_owned(), why: why.to_owned() };
    let Ok(entry) = serde_json::from_value::<Entry>(entry) else {
        return skipped("its request, its reply or a body of theirs is not as HTTP Archive 1.2 has it");
    };
    if entry.response.status == 0 {
        return skipped("it had no reply");
    }
    let Some((host, target)) = parts(&entry.request.url) else { return skipped("its URL is none of HTTP") };
    let content = entry.response.content;
    let text = content.text.unwrap_or_default();
    if text.is_empty() && content.size.is_some_and(|size| size > 0.0) {
        return skipped("the body of its reply was not saved");
    }
    let body = if content.encoding == "base64" { BASE64.decode(&text).ok() } else { Some(text.into_bytes()) };
    let Some(body) = body else { return skipped("the body of its reply is no base64") };
    let lower = |header: &Named| (header.name.to_ascii_lowercase(), header.value.trim().to_owned());
    let headers = entry.response.headers.iter().map(lower).collect();
    let reply = Reply { status: entry.response.status, headers, body };
    Capture::Pair(Box::new(Pair { name: name.to_owned(), request: request(&entry.request, host, target), reply }))
}

/// `example.org:8080` and `/path?query`.
fn parts(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let rest = rest.split('#').next().unwrap_or(rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, target) = rest.split_at_checked(end)?;
    (!host.is_empty() && target.starts_with('/')).then_some((host, target))
}

fn request(request: &Request, host: &str, target: &str) -> Vec<u8> {
    let mut head = format!("{} {target} HTTP/1.1\r\nHost: {host}\r\n", request.method);
    let is_theirs = |header: &&Named| {
        let name = header.name.to_ascii_lowercase();
        !name.starts_with(':') && !OURS.contains(&name.as_str()) && !header.value.contains(['\r', '\n'])
    };
    for header in request.headers.iter().filter(is_theirs) {
        let _infallible = write!(head, "{}: {}\r\n", header.name, header.value);
    }
    let body = request.post_data.as_ref().map(body);
    if let Some(body) = &body {
        let _infallible = write!(head, "Content-Length: {}\r\n", body.len());
    }
    (head + "\r\n" + &body.unwrap_or_default()).into_bytes()
}

fn body(posted: &Posted) -> String {
    if posted.params.is_empty() || !posted.text.is_empty() {
        return posted.text.clone();
    }
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(posted.params.iter().map(|field| (&field.name, &field.value)));
    form.finish()
}
