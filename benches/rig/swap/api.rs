//! An API that costs next to nothing: reads a request to its end and says how long its bearer was.

use std::net::SocketAddr;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::upstream::{length, listen_on_a_thread};

/// Bytes of an answer below `/api/large`, and of the bodies that are sent there.
pub const LARGE: usize = 100_000;

/// Starts it on a thread of its own, which lives as long as the rig.
pub fn start() -> SocketAddr {
    listen_on_a_thread("api", |stream| async move { serve(stream).await.unwrap_or_default() })
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let (mut filled, mut wanted) = (0, None);
        while wanted.is_none_or(|wanted| filled < wanted) {
            let read = stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
            wanted = wanted.or_else(|| length(&buffer[..filled]));
        }
        stream.write_all(&answer(&buffer[..filled])).await?;
    }
}

fn answer(request: &[u8]) -> Vec<u8> {
    let is_large = memmem::find(&request[..request.len().min(64)], b"/large ").is_some();
    let bearer = memmem::find(request, b"Bearer ")
        .map_or(0, |at| request[at + 7..].iter().position(|byte| *byte == b'\r').unwrap_or_default());
    let body = format!("{{\"bearer\":{bearer},\"filler\":\"{}\"}}", "x".repeat(if is_large { LARGE } else { 200 }));
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}
