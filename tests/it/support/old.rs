//! The old server as far as anybody here needs it: tokens of its own, in the old gateway's words, and every byte that it heard.

use std::collections::VecDeque;
use std::sync::{Arc, Barrier};

use parking_lot::Mutex;

use super::api::{Caller, FakeApi};
use super::realm::Seen;
use super::{OLD_ID, OLD_SECRET};

/// How it answers one request in place of what it would say.
#[derive(Clone, Debug)]
pub enum OldMood {
    /// These bytes as they are.
    Says(Vec<u8>),
    /// These bytes, then the connection is closed.
    SaysAndCloses(Vec<u8>),
    /// Nothing, until the other side has had enough.
    Hangs,
    /// What it would say, once the test is here too.
    Waits(Arc<Barrier>),
    /// An answer of this length.
    Long(usize),
}

#[derive(Debug, Default)]
struct State {
    moods: VecDeque<OldMood>,
    /// Client id and secret, as they come in a body.
    clients: Vec<(String, String)>,
    issued: u32,
    /// Tokens that are good.
    live: Vec<String>,
}

/// The old server. It ends with the test binary.
#[derive(Debug)]
pub struct FakeOld {
    api: FakeApi,
    state: Arc<Mutex<State>>,
}

impl FakeOld {
    /// One that knows the usual client.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        state.lock().clients.push((OLD_ID.to_owned(), OLD_SECRET.to_owned()));
        let shared = Arc::clone(&state);
        Self { api: FakeApi::start(move |caller| serve(caller, &shared)), state }
    }

    pub fn url(&self) -> String {
        self.api.url()
    }

    /// Knows one more client.
    pub fn knows(&self, id: &str, secret: &str) {
        self.state.lock().clients.push((id.to_owned(), secret.to_owned()));
    }

    /// Answers the next request so.
    pub fn next(&self, mood: OldMood) {
        self.state.lock().moods.push_back(mood);
    }

    /// How many requests it heard.
    pub fn count(&self) -> usize {
        self.api.seen().len()
    }

    /// The last request.
    #[track_caller]
    pub fn last(&self) -> Seen {
        self.api.seen().pop().expect("the old server was asked")
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.api.connections()
    }

    /// Whether one of its tokens is good.
    pub fn is_live(&self, token: &str) -> bool {
        self.state.lock().live.iter().any(|live| live == token)
    }
}

fn serve(mut caller: Caller, state: &Mutex<State>) {
    while let Some(seen) = caller.request() {
        let mood = state.lock().moods.pop_front();
        match mood {
            None => caller.say(&answer(&seen, &mut state.lock())),
            Some(OldMood::Waits(test)) => {
                test.wait();
                caller.say(&answer(&seen, &mut state.lock()));
            }
            Some(OldMood::Says(bytes)) => caller.say(&bytes),
            Some(OldMood::SaysAndCloses(bytes)) => {
                caller.say(&bytes);
                return;
            }
            Some(OldMood::Hangs) => {
                caller.request();
                return;
            }
            Some(OldMood::Long(length)) => {
                caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
                caller.say(&vec![b'x'; length]);
            }
        }
    }
}

/// What such a gateway says (CONTRACT section 3), by the form of a body or of a DELETE's query.
fn answer(seen: &Seen, state: &mut State) -> Vec<u8> {
    let target = seen.head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let form: Vec<(String, String)> =
        form_urlencoded::parse(if seen.body.is_empty() { query.as_bytes() } else { &seen.body }).into_owned().collect();
    let field = |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let credentials = field("client_id").zip(field("client_secret"));
    if !credentials.is_some_and(|pair| state.clients.contains(&pair)) {
        let body = "{\r\n  \"error\":\"invalid_client\",\r\n  \"error_description\":\"The given client credentials were not valid\"\r\n}";
        return said(
            401,
            "X-Ca-Err: 3003201\r\nWWW-Authenticate: Basic error=\"Invalid or missing credentials\"\r\n",
            body,
        );
    }
    let token = field("token").unwrap_or_default();
    if path.ends_with("/revoke") {
        state.live.retain(|live| *live != token);
        return said(200, "", "{\r\n  \"result\":\"revoked\"\r\n}");
    }
    if path.ends_with("/introspect") {
        let active = state.live.contains(&token);
        return said(200, "", &format!("{{\r\n  \"active\":{active}\r\n}}"));
    }
    let grant_type = field("grant_type").unwrap_or_default();
    if grant_type == "refresh_token" {
        let refresh = field("refresh_token").unwrap_or_default();
        if !state.live.contains(&refresh) {
            let body = "{\r\n  \"error\":\"invalid_grant\",\r\n  \"error_description\":\"The old server knows no such token\"\r\n}";
            return said(400, "X-Ca-Err: 3003113\r\n", body);
        }
        state.live.retain(|live| *live != refresh);
    }
    state.issued += 2;
    let [access, refresh] =
        [state.issued, state.issued + 1].map(|number| format!("01d00000-0000-4000-8000-{number:012}"));
    let body = format!(
        "{{\r\n  \"grant_type\": \"{grant_type}\",\r\n  \"access_token\":\"{access}\",\r\n  \"token_type\":\"Bearer\",\r\n  \"expires_in\":3600,\r\n  \"refresh_token\":\"{refresh}\",\r\n  \"scope\":\"client_registration\"\r\n}}"
    );
    state.live.extend([access, refresh]);
    said(200, "", &body)
}

fn said(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Old\r\nServer: Old-Gateway\r\nContent-Type: application/json;charset=UTF-8\r\nCache-Control: no-store\r\n{headers}Content-Length: {}\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
