//! A realm that costs next to nothing: reads a request to its end and answers with a token reply of a real one's size.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::jwt;

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
    const NAME: &[u8] = b"content-length:";
    let end = memmem::find(message, b"\r\n\r\n")?;
    let head = &message[..end];
    let lines = memchr::memchr_iter(b'\n', head).map(|at| &head[at + 1..]);
    let mut lengths = lines.filter_map(|line| {
        let (name, rest) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(rest)
    });
    let body = lengths.next().map_or(0, |told| {
        let digits = told.iter().skip_while(|byte| **byte == b' ');
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
        let body = serde_json::json!({
            "access_token": jwt::access(0), "expires_in": 3600, "refresh_expires_in": 3600, "refresh_token": jwt::refresh(0),
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
