//! HTTP/2 by hand, frame by frame, for what no client library would send (RFC 9113 section 4.1, RFC 7541 section 6.2.2).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{FakeApi, PATIENCE};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags of HEADERS: nothing follows of the stream; nothing follows of the head.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// Flag of PING: it answers one.
pub const ACK: u8 = 1;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame that was read.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub body: Vec<u8>,
}

impl Frame {
    /// The code in it: of a reset, or of the connection's end.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.body[at..at + 4].try_into().unwrap())
    }
}

/// A connection that has said its preface.
#[derive(Debug)]
pub struct Frames(TcpStream);

impl Frames {
    pub fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut frames = Self(stream);
        frames.0.write_all(PREFACE).unwrap();
        assert!(frames.send(SETTINGS, 0, 0, b""));
        frames
    }

    /// Whoever does not wait where nobody listens to him: what he sends then fails.
    pub fn impatient(self) -> Self {
        self.0.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        self
    }

    /// An API that has each request's head, by its stream, answered by this; where that says `false` it closes.
    pub fn api(play: impl Fn(&mut Self, u32) -> bool + Send + Sync + 'static) -> FakeApi {
        FakeApi::start(move |caller| {
            let mut frames = Self(caller.stream.into_inner());
            if frames.0.read_exact(&mut [0; PREFACE.len()]).is_err() {
                return;
            }
            frames.send(SETTINGS, 0, 0, b"");
            while let Some(frame) = frames.next() {
                if frame.kind == HEADERS && !play(&mut frames, frame.stream) {
                    return;
                }
            }
        })
    }

    /// `false`: the other side has closed.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, body: &[u8]) -> bool {
        self.say(&frame(kind, flags, stream, body))
    }

    /// Several at once.
    pub fn say(&mut self, frames: &[u8]) -> bool {
        self.0.write_all(frames).is_ok()
    }

    /// The next frame; `None`: the other side has closed.
    #[track_caller]
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut body = vec![0; length as usize];
        self.fill(&mut body)?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        Some(Frame { kind: head[3], stream, body })
    }

    #[track_caller]
    fn fill(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.0.read_exact(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no whole frame within {PATIENCE:?}"),
            read => read.ok(),
        }
    }

    /// The next frame of this kind; others are passed over.
    #[track_caller]
    pub fn until(&mut self, kind: u8) -> Option<Frame> {
        std::iter::from_fn(|| self.next()).find(|frame| frame.kind == kind)
    }
}

/// One frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
}

/// A head as HPACK may write it most simply: each field whole, and not to be remembered.
pub fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let length = text.len();
        let mut bytes = if length < 127 { vec![length as u8] } else { vec![127] };
        let mut rest = length.saturating_sub(127);
        if length >= 127 {
            while rest >= 128 {
                bytes.push((rest % 128) as u8 | 0x80);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
        [bytes, text.as_bytes().to_vec()].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}
