//! A small request's body as it passes, kept so that it can be sent once more where its API refuses the JWT.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use super::Stream;
use super::flow::Broken;

/// Bytes of a body that is kept; a longer one is not sent again.
const MOST: u64 = 64 << 10;

/// A body on its way, of which a copy is kept as long as it is small. The parts are shared, not copied.
pub struct Copied {
    body: Stream,
    kept: Kept,
}

/// What has passed so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Arc<Mutex<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    pieces: Vec<Bytes>,
    length: u64,
    /// Too long, with trailers, or broken off: it is not what it would have to be.
    is_unfit: bool,
    is_whole: bool,
}

impl Copied {
    /// `Err`: it is longer than what is kept.
    pub(super) fn of(body: Stream) -> Result<(Self, Kept), Stream> {
        if body.size_hint().lower() > MOST {
            return Err(body);
        }
        let kept = Kept::default();
        Ok((Self { body, kept: kept.clone() }, kept))
    }
}

impl Kept {
    /// All of the body, where all of it has passed.
    pub(super) fn whole(&self) -> Option<Bytes> {
        let kept = self.0.lock();
        if !kept.is_whole || kept.is_unfit {
            return None;
        }
        match kept.pieces.as_slice() {
            [only] => Some(only.clone()),
            pieces => {
                let mut whole = BytesMut::new();
                for piece in pieces {
                    whole.extend_from_slice(piece);
                }
                Some(whole.freeze())
            }
        }
    }
}

impl Parts {
    fn saw(&mut self, frame: Option<&Result<Frame<Bytes>, Broken>>, is_end: bool) {
        match frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) if !self.is_unfit => {
                    self.length += u64::try_from(data.len()).unwrap_or(u64::MAX);
                    self.pieces.push(data.clone());
                }
                Some(_) => {}
                None => self.is_unfit = true,
            },
            Some(Err(_)) => self.is_unfit = true,
            None => self.is_whole = true,
        }
        self.is_whole |= is_end;
        self.is_unfit |= self.length > MOST;
        if self.is_unfit {
            self.pieces = Vec::new();
        }
    }
}

impl Body for Copied {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(frame) = &polled {
            self.kept.0.lock().saw(frame.as_ref(), self.body.is_end_stream());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
