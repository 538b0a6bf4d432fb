//! A realm with sessions: one that rotates refresh tokens as Keycloak does, and holds each refresh until the test says what
//! becomes of it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::support::realm::{Seen, read_request};
use crate::support::runtime::{self, OwnRuntime};
use crate::support::{Granting, jwt};

/// What becomes of a refresh that reached the realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is answered.
    Answered,
    /// The realm does it, and its answer is lost.
    AnswerLost,
    /// The realm never hears it, and the bridge cannot know.
    QuestionLost,
    /// The realm boots: nothing was spent.
    Busy,
}

/// A refresh that waits at the realm.
#[derive(Debug)]
struct Held {
    session: usize,
    token: String,
    land: oneshot::Sender<Outcome>,
}

#[derive(Debug, Default)]
struct Session {
    ended: bool,
    used: HashSet<String>,
}

#[derive(Debug, Default)]
struct State {
    /// Its "Revoke Refresh Token".
    rotates: bool,
    /// The bridge may send a refresh token twice.
    forgives: bool,
    sessions: Vec<Session>,
    owners: HashMap<String, usize>,
    /// Refresh tokens that may have been spent by what was sent.
    spent: HashSet<String>,
    held: Vec<Held>,
    granted: u64,
    faults: Vec<String>,
}

impl State {
    fn grant(&mut self, session: usize) -> String {
        self.granted += 1;
        let name = format!("session-{session}");
        let refresh = jwt::refresh(self.granted);
        self.owners.insert(refresh.clone(), session);
        let granting = Granting { expires_in: super::JWT, session: name.clone(), ..Granting::default() };
        json!({
            "access_token": jwt::access(&granting, self.granted), "expires_in": super::JWT, "token_type": "Bearer",
            "refresh_token": refresh, "refresh_expires_in": super::REFRESH, "session_state": name,
            "scope": "client_registration",
        })
        .to_string()
    }

    /// What Keycloak does with a refresh token: with rotation a used one ends its whole session.
    fn refresh(&mut self, token: &str) -> (u16, String) {
        let refused =
            |description| (400, json!({"error": "invalid_grant", "error_description": description}).to_string());
        let Some(number) = self.owners.get(token).copied() else { return refused("Invalid refresh token") };
        let session = &mut self.sessions[number];
        if session.ended {
            return refused("Session not active");
        }
        if !session.used.insert(token.to_owned()) && self.rotates {
            session.ended = true;
            self.faults.push(format!("session {number} was ended by a refresh token that came twice"));
            return refused("Maximum allowed refresh token reuse exceeded");
        }
        (200, self.grant(number))
    }
}

/// The realm: a thread of its own.
#[derive(Debug)]
pub struct Realm {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Rung whenever a refresh arrives.
    pub bell: Arc<Notify>,
    runtime: OwnRuntime,
    connections: Mutex<CancellationToken>,
}

impl Realm {
    pub fn start() -> Self {
        let runtime = OwnRuntime::start();
        let mut realm = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            state: Arc::default(),
            bell: Arc::default(),
            connections: Mutex::new(runtime.end.child_token()),
            runtime,
        };
        realm.address = realm.listen();
        realm
    }

    fn listen(&self) -> SocketAddr {
        let listener = runtime::listen(self.address);
        let address = listener.local_addr().unwrap();
        let (state, bell, until) = (Arc::clone(&self.state), Arc::clone(&self.bell), self.connections.lock().clone());
        self.runtime.handle.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let accept = async {
                while let Ok((stream, _)) = listener.accept().await {
                    let serving = serve(Arc::clone(&state), Arc::clone(&bell), stream);
                    tokio::spawn(until.clone().run_until_cancelled_owned(serving));
                }
            };
            until.run_until_cancelled(accept).await;
        });
        address
    }

    /// Another life: other sessions, and rotation as it is said. No refresh token is granted again: what the bridge still has
    /// to tell of an earlier life's must end no session of this one.
    pub fn begin(&self, rotates: bool, forgives: bool) {
        self.cut(false);
        let mut state = self.state.lock();
        *state = State { rotates, forgives, granted: state.granted, ..State::default() };
    }

    /// Whoever called has gone; what waited here was heard, or not.
    pub fn cut(&self, heard: bool) {
        std::mem::replace(&mut *self.connections.lock(), self.runtime.end.child_token()).cancel();
        let mut state = self.state.lock();
        for held in std::mem::take(&mut state.held) {
            if heard {
                state.refresh(&held.token);
            }
        }
        drop(state);
        self.listen();
    }

    /// Which sessions' refreshes wait here.
    pub fn held(&self) -> Vec<usize> {
        self.state.lock().held.iter().map(|held| held.session).collect()
    }

    /// Says what becomes of one of them. Answers whose it was.
    pub fn land(&self, which: usize, outcome: Outcome) -> Option<usize> {
        let mut state = self.state.lock();
        if state.held.is_empty() {
            return None;
        }
        let which = which % state.held.len();
        let held = state.held.remove(which);
        if outcome == Outcome::Busy {
            state.spent.remove(&held.token);
        }
        held.land.send(outcome).ok();
        Some(held.session)
    }

    /// Ends a session, and tells nobody.
    pub fn kill(&self, session: usize) {
        self.state.lock().sessions[session].ended = true;
    }

    pub fn is_ended(&self, session: usize) -> bool {
        self.state.lock().sessions[session].ended
    }

    /// The newest session.
    pub fn newest(&self) -> usize {
        self.state.lock().sessions.len() - 1
    }

    pub fn faults(&self) -> Vec<String> {
        self.state.lock().faults.clone()
    }
}

async fn serve(state: Arc<Mutex<State>>, bell: Arc<Notify>, mut stream: TcpStream) {
    let mut buffer = Vec::new();
    while let Ok(Some(seen)) = read_request(&mut stream, &mut buffer).await {
        let answer = if seen.endpoint() == "logout" {
            Some(logout(&state, &seen))
        } else if seen.field("grant_type").as_deref() == Some("refresh_token") {
            refresh(&state, &bell, &seen).await
        } else {
            let mut state = state.lock();
            state.sessions.push(Session::default());
            let newest = state.sessions.len() - 1;
            Some((200, state.grant(newest)))
        };
        let Some((status, body)) = answer else {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return;
        };
        let head = format!(
            "HTTP/1.1 {status} OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn logout(state: &Mutex<State>, seen: &Seen) -> (u16, String) {
    let token = seen.field("refresh_token").unwrap_or_default();
    let mut state = state.lock();
    match state.owners.get(&token).copied() {
        Some(session) => {
            state.sessions[session].ended = true;
            (200, String::new())
        }
        None => (400, json!({"error": "invalid_grant", "error_description": "Invalid refresh token"}).to_string()),
    }
}

/// The answer to a refresh; `None`: the connection is reset.
async fn refresh(state: &Mutex<State>, bell: &Notify, seen: &Seen) -> Option<(u16, String)> {
    let token = seen.field("refresh_token").unwrap_or_default();
    let (land, landed) = oneshot::channel();
    {
        let mut state = state.lock();
        let session = state.owners.get(&token).copied().unwrap_or(usize::MAX);
        if !state.spent.insert(token.clone()) && !state.forgives {
            state.faults.push(format!("a refresh token of session {session} was sent twice"));
        }
        if state.held.iter().any(|held| held.session == session) {
            state.faults.push(format!("two at once ask for session {session}"));
        }
        state.held.push(Held { session, token: token.clone(), land });
    }
    bell.notify_one();
    match landed.await {
        Ok(Outcome::Answered) => Some(state.lock().refresh(&token)),
        Ok(Outcome::AnswerLost) => {
            state.lock().refresh(&token);
            None
        }
        Ok(Outcome::QuestionLost) | Err(_) => None,
        Ok(Outcome::Busy) => Some((503, String::new())),
    }
}
