//! A realm that costs next to nothing: reads a request to its end and answers with a token reply of a real one's size.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The digits of a session's id that differ from answer to answer.
const NUMBER: &str = "000000000000";

/// Starts it on a thread of its own, which lives as long as the rig.
pub fn start() -> SocketAddr {
    let answer = Arc::new(Answer::new());
    listen_on_a_thread("upstream", move |stream| {
        let answer = Arc::clone(&answer);
        async move { serve(stream, &answer).await.unwrap_or_default() }
    })
}

/// The same, as the URL of a realm.
pub fn realm() -> String {
    format!("http://{}/auth/realms/SSO", start())
}

/// Serves each connection, all on one thread, which lives as long as the rig.
pub fn listen_on_a_thread<F>(name: &str, serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let run = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(stream));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(run)).unwrap();
    address
}

async fn serve(mut stream: TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    let mut reply = answer.bytes.clone();
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        if whole(&buffer[..filled]) {
            filled = 0;
            let number = format!("{:012}", answer.given.fetch_add(1, Ordering::Relaxed));
            reply[answer.number_at..answer.number_at + NUMBER.len()].copy_from_slice(number.as_bytes());
            stream.write_all(&reply).await?;
        }
    }
}

/// Whether a message is complete with its body. Nobody pipelines here.
pub fn whole(message: &[u8]) -> bool {
    length(message).is_some_and(|length| message.len() >= length)
}

/// Bytes of head and body together, once the head is there.
pub fn length(message: &[u8]) -> Option<usize> {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = &message[..end];
    let name = b"\r\ncontent-length:";
    let at = head.windows(name.len()).position(|window| window.eq_ignore_ascii_case(name));
    let body = at.map_or(0, |at| {
        let digits = head[at + name.len()..].iter().skip_while(|byte| **byte == b' ');
        digits.take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
    });
    Some(end + 4 + body)
}

/// The canned answer: 2.7 KB of JSON, of which 1.5 KB are the access token.
pub struct Answer {
    pub bytes: Vec<u8>,
    number_at: usize,
    given: AtomicU64,
}

impl Answer {
    pub fn new() -> Self {
        let claims = serde_json::json!({
            "exp": 1_764_000_000, "iat": 1_763_996_400, "iss": "http://realm.example/auth/realms/SSO", "aud": ["ca", "account"],
            "sub": "f:4f1c2a3e-0c6e-4f77-9d5e-2f8f4c7d1a11:90417", "typ": "Bearer", "azp": "test_api",
            "sid": "9b3ffe4a-0000-4987-a279-a8d13bbf2b35", "scope": "2F_CA_Auth client_registration profile email",
            "preferred_username": "90417", "name": "Анна Ветрова", "email": "vetrova@example.org",
        });
        let access =
            jwt(r#"{"alg":"RS256","typ":"JWT","kid":"rLKhNMWcLwRxvDWfeMVAwo1lHGGhd3xGyj4v0YbFH5I"}"#, claims, 1500);
        let refresh = jwt(r#"{"alg":"HS512","typ":"JWT"}"#, serde_json::json!({ "typ": "Refresh" }), 850);
        let body = serde_json::json!({
            "access_token": access, "expires_in": 3600, "refresh_expires_in": 3600, "refresh_token": refresh,
            "token_type": "Bearer", "not-before-policy": 0, "session_state": format!("9b3ffe4a-0000-4987-a279-{NUMBER}"),
            "scope": "2F_CA_Auth client_registration profile email",
        })
        .to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: application/json\r\nPragma: no-cache\r\n\
             Referrer-Policy: no-referrer\r\nStrict-Transport-Security: max-age=31536000; includeSubDomains\r\n\
             X-Content-Type-Options: nosniff\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let text = head + &body;
        let number_at = text.find(&format!("279-{NUMBER}")).unwrap() + 4;
        Self { bytes: text.into_bytes(), number_at, given: AtomicU64::new(0) }
    }
}

/// Something of a JWT's form and of this length; the claims are filled up and the signature is none.
fn jwt(header: &str, mut claims: serde_json::Value, length: usize) -> String {
    let text = |claims: &serde_json::Value| {
        let parts = [header, &claims.to_string(), &"s".repeat(256)].map(|part| URL_SAFE_NO_PAD.encode(part));
        parts.join(".")
    };
    let missing = length.saturating_sub(text(&claims).len());
    claims["filler"] = "x".repeat(missing * 3 / 4).into();
    text(&claims)
}
