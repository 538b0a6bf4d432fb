//! The load: so many keep-alive connections, each of which asks again as soon as it was answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::messages::Messages;
use crate::upstream::length;

/// Whom to ask, what, how often.
#[derive(Clone)]
pub struct Load {
    pub to: SocketAddr,
    pub connections: usize,
    pub requests: usize,
    pub messages: Messages,
    /// What every answer must contain.
    pub expect: &'static str,
    /// From one request of a connection to its next; `None`: as soon as it is answered.
    pub pause: Option<Duration>,
}

/// How it went.
#[derive(Clone, Debug, Default)]
pub struct Served {
    pub requests: usize,
    pub wall: Duration,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Served {
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64()
    }

    pub fn percentile(&self, percent: usize) -> Duration {
        self.permille(percent * 10)
    }

    /// Percentiles that need a finer unit: 999 is p99.9, 1000 the longest.
    pub fn permille(&self, permille: usize) -> Duration {
        let index = self.latencies.len().saturating_sub(1) * permille / 1000;
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

/// Runs the load. Every answer is a 200 that contains what is expected, or the rig ends.
pub fn run(load: &Load) -> Served {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut streams = Vec::new();
        for _ in 0..load.connections {
            let stream = TcpStream::connect(load.to).await.unwrap();
            stream.set_nodelay(true).unwrap();
            streams.push(stream);
        }
        let next = Arc::new(AtomicUsize::new(0));
        let begun = Instant::now();
        let clients: Vec<_> =
            streams.into_iter().map(|stream| tokio::spawn(client(stream, load.clone(), Arc::clone(&next)))).collect();
        let mut latencies = Vec::with_capacity(load.requests);
        for client in clients {
            latencies.extend(client.await.unwrap());
        }
        let wall = begun.elapsed();
        latencies.sort_unstable();
        Served { requests: latencies.len(), wall, latencies }
    })
}

async fn client(mut stream: TcpStream, load: Load, next: Arc<AtomicUsize>) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let mut due: Option<Instant> = None;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= load.requests {
            return latencies;
        }
        if let Some(pause) = load.pause {
            // Spread over the pause, so that not all connections ask at once.
            let first = pause.mul_f64((number % load.connections) as f64 / load.connections as f64);
            due = Some(due.map_or_else(|| Instant::now() + first, |due| due + pause));
            tokio::time::sleep_until(due.unwrap().into()).await;
        }
        // Who was kept waiting for his turn was kept waiting by whoever answered late.
        let begun = due.unwrap_or_else(Instant::now);
        stream.write_all(&load.messages.next()).await.unwrap();
        let mut filled = 0;
        let end = loop {
            let read = stream.read(&mut buffer[filled..]).await.unwrap();
            assert!(read > 0, "{} ended a connection after {:?}", load.to, String::from_utf8_lossy(&buffer[..filled]));
            filled += read;
            match length(&buffer[..filled]) {
                Some(length) if filled >= length => break length,
                Some(_) | None => {}
            }
        };
        latencies.push(begun.elapsed());
        let answer = &buffer[..end];
        let good = answer.starts_with(b"HTTP/1.1 200") && memmem::find(answer, load.expect.as_bytes()).is_some();
        assert!(good, "{} answered {:?}", load.to, String::from_utf8_lossy(answer));
        load.messages.answered(answer);
    }
}
