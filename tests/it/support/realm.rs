//! A fake realm with moods: a real server on a real socket, for what a real Keycloak cannot be put into.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::runtime::{self, OwnRuntime};
use super::{eventually, jwt, raw};

/// How the realm answers one request.
#[derive(Clone, Debug)]
pub enum Mood {
    /// Grants, as [`Granting`] says.
    Grant(Granting),
    /// An OAuth error.
    Refuse(u16, &'static str, &'static str),
    /// These bytes as they are, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing more.
    BytesThenHang(Vec<u8>),
    /// Reads the request and resets the connection.
    Reset,
    /// Reads the request and never answers.
    Hang,
    /// An answer that does not end.
    Endless,
    /// Waits until the test opens the gate, then answers in the mood within.
    Gate(Arc<Notify>, Box<Mood>),
}

/// What a grant says.
#[derive(Clone, Debug)]
pub struct Granting {
    pub expires_in: u64,
    pub refresh_expires_in: Option<u64>,
    pub refresh: bool,
    /// `None`: the realm does not say it.
    pub scope: Option<&'static str>,
    pub username: &'static str,
    pub session: String,
}

impl Default for Granting {
    fn default() -> Self {
        Self {
            expires_in: 3599,
            refresh_expires_in: Some(3599),
            refresh: true,
            scope: Some("2F_CA_Auth client_registration profile email"),
            username: "90417",
            session: "9b3ffe4a-0000-4987-a279-a8d13bbf2b35".to_owned(),
        }
    }
}

impl Mood {
    /// The answer to a logout. It says that the connection ends with it: a second word on its way down a closed one were lost.
    pub fn ended() -> Self {
        Self::Bytes(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec())
    }

    /// An answer with a status and a body of its own.
    pub fn answer(status: u16, content_type: &str, body: &str) -> Self {
        let head = format!(
            "HTTP/1.1 {status} Mood\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nset-cookie: realm=secret-of-the-realm\r\n\r\n",
            body.len()
        );
        Self::Bytes([head.as_bytes(), body.as_bytes()].concat())
    }
}

/// A request as it came: head and body, byte for byte.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    /// The form's pairs, decoded, in their order.
    pub fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The last word of the path.
    pub fn endpoint(&self) -> &str {
        let path = self.head.split(' ').nth(1).unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }

    /// The value of a form field.
    pub fn field(&self, name: &str) -> Option<String> {
        self.form().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        raw::header(&self.head, name)
    }
}

#[derive(Debug, Default)]
struct State {
    next: VecDeque<Mood>,
    usual: Option<Mood>,
    /// Moods of one endpoint, by the last word of its path.
    at: BTreeMap<String, (VecDeque<Mood>, Option<Mood>)>,
    seen: Vec<Seen>,
    tokens: Vec<String>,
    granted: u64,
}

/// The fake realm: a thread of its own, which ends with this value.
#[derive(Debug)]
pub struct FakeRealm {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    runtime: OwnRuntime,
    /// Ends the listener and its connections.
    open: Mutex<(CancellationToken, Arc<AtomicBool>)>,
}

impl FakeRealm {
    pub fn start() -> Self {
        let mut realm = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            state: Arc::default(),
            runtime: OwnRuntime::start(),
            open: Mutex::default(),
        };
        realm.address = realm.listen();
        realm
    }

    /// Begins to listen, again at the same address where it did before.
    pub fn listen(&self) -> SocketAddr {
        let listener = runtime::listen(self.address);
        let address = listener.local_addr().unwrap();
        let (closed, gone) = (self.runtime.end.child_token(), Arc::new(AtomicBool::new(false)));
        *self.open.lock() = (closed.clone(), Arc::clone(&gone));
        let state = Arc::clone(&self.state);
        self.runtime.handle.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut connections = JoinSet::new();
            let accept = async {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(closed.clone().run_until_cancelled_owned(serve(Arc::clone(&state), stream)));
                }
            };
            closed.run_until_cancelled(accept).await;
            drop(listener);
            // A connection that is cut a moment later would take a request with it.
            while connections.join_next().await.is_some() {}
            gone.store(true, Ordering::SeqCst);
        });
        address
    }

    /// Stops listening and cuts every connection: from now on connections are refused.
    pub fn close(&self) {
        let (closed, gone) = self.open.lock().clone();
        closed.cancel();
        eventually("the realm has gone", || gone.load(Ordering::SeqCst));
    }

    pub fn url(&self) -> String {
        format!("http://{}/auth/realms/SSO", self.address)
    }

    /// The next request is answered in this mood; several are answered in their order.
    pub fn next(&self, mood: Mood) {
        self.state.lock().next.push_back(mood);
    }

    /// Every request without a mood of its own is answered in this one.
    pub fn usually(&self, mood: Mood) {
        self.state.lock().usual = Some(mood);
    }

    /// The next request to one endpoint (`token`, `logout`, `certs`) is answered in this mood.
    pub fn next_at(&self, endpoint: &str, mood: Mood) {
        self.state.lock().at.entry(endpoint.to_owned()).or_default().0.push_back(mood);
    }

    /// Every request to one endpoint without a mood of its own is answered in this one.
    pub fn usually_at(&self, endpoint: &str, mood: Mood) {
        self.state.lock().at.entry(endpoint.to_owned()).or_default().1 = Some(mood);
    }

    /// Everything that one endpoint was asked so far.
    pub fn asked(&self, endpoint: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.endpoint() == endpoint).collect()
    }

    /// Everything that was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().seen.clone()
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.seen().last().expect("the realm was asked").clone()
    }

    /// The last request, which is forgotten: for those who ask thousands of times.
    pub fn take_last(&self) -> Seen {
        let mut state = self.state.lock();
        let last = state.seen.pop().expect("the realm was asked");
        state.tokens.clear();
        last
    }

    /// Every JWT and refresh token that was handed out: none of them may reach a legacy client or a log.
    pub fn tokens(&self) -> Vec<String> {
        self.state.lock().tokens.clone()
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        self.state.lock().seen.len()
    }
}

async fn serve(state: Arc<Mutex<State>>, mut stream: TcpStream) {
    let _ended_by_the_other_side = serve_all(&state, &mut stream).await;
}

async fn serve_all(state: &Mutex<State>, stream: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(seen) = read_request(stream, &mut buffer).await? else { return Ok(()) };
        let mood = {
            let mut state = state.lock();
            let own = state.at.get_mut(seen.endpoint()).and_then(|(next, usual)| next.pop_front().or(usual.clone()));
            // Whoever puts the realm into a mood means its grants.
            let own = own.or_else(|| (seen.endpoint() == "logout").then(Mood::ended));
            state.seen.push(seen);
            let usual = state.usual.clone();
            own.or_else(|| state.next.pop_front()).or(usual).unwrap_or(Mood::Grant(Granting::default()))
        };
        if !answer(state, stream, mood).await? {
            return Ok(());
        }
    }
}

async fn answer(state: &Mutex<State>, stream: &mut TcpStream, mood: Mood) -> std::io::Result<bool> {
    match mood {
        Mood::Grant(granting) => {
            let body = grant(state, &granting);
            send(stream, 200, &body).await?;
            Ok(true)
        }
        Mood::Refuse(status, error, description) => {
            let body = serde_json::json!({"error": error, "error_description": description}).to_string();
            send(stream, status, &body).await?;
            Ok(true)
        }
        Mood::Bytes(bytes) => {
            stream.write_all(&bytes).await?;
            Ok(false)
        }
        Mood::BytesThenHang(bytes) => {
            stream.write_all(&bytes).await?;
            Box::pin(answer(state, stream, Mood::Hang)).await
        }
        Mood::Reset => {
            socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
            Ok(false)
        }
        Mood::Hang => {
            // Until the other side gives up.
            let mut rest = [0; 64];
            while stream.read(&mut rest).await? > 0 {}
            Ok(false)
        }
        Mood::Endless => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head).await?;
            loop {
                stream.write_all(b"400\r\n").await?;
                stream.write_all(&[b' '; 1024]).await?;
                stream.write_all(b"\r\n").await?;
            }
        }
        Mood::Gate(gate, within) => {
            gate.notified().await;
            Box::pin(answer(state, stream, *within)).await
        }
    }
}

fn grant(state: &Mutex<State>, granting: &Granting) -> String {
    let mut state = state.lock();
    state.granted += 1;
    let number = state.granted;
    let access = jwt::access(granting, number);
    let refresh = jwt::refresh(number);
    state.tokens.push(access.clone());
    let mut answer = serde_json::json!({
        "access_token": access, "expires_in": granting.expires_in, "token_type": "Bearer", "not-before-policy": 0,
        "session_state": granting.session,
    });
    if let Some(scope) = granting.scope {
        answer["scope"] = scope.into();
    }
    if granting.refresh {
        answer["refresh_token"] = refresh.clone().into();
        state.tokens.push(refresh);
    }
    if let Some(seconds) = granting.refresh_expires_in {
        answer["refresh_expires_in"] = seconds.into();
    }
    answer.to_string()
}

async fn send(stream: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} OK\r\ncontent-type: application/json\r\nset-cookie: AUTH_SESSION_ID=secret-of-the-realm\r\nx-realm: secret-of-the-realm\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await
}

pub async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Seen>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let seen = Seen { head, body: Vec::new() };
            let length: usize = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Ok(Some(Seen { body, ..seen }));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
