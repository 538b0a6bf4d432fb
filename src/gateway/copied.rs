//! A small request's body as it passes, kept so that it can be sent once more where its API refuses the JWT.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use super::Stream;
use super::flow::Broken;

/// Bytes of a body that is kept; a longer one is not sent again.
const MOST: usize = 64 << 10;

/// A body on its way, of which a copy is kept as long as it is small and somebody may ask for it.
pub struct Copied {
    body: Stream,
    kept: Weak<Mutex<Parts>>,
}

/// What has passed so far. Whoever holds it may ask for it: the body itself may be under way for as long as its answer.
#[derive(Debug, Default)]
pub(super) struct Kept(Arc<Mutex<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    /// Copied, not shared: a part of one byte may lie in a buffer of thousands, and would keep all of it.
    bytes: Vec<u8>,
    /// Too long, with trailers, or broken off: it is not what it would have to be.
    is_unfit: bool,
    is_whole: bool,
}

impl Copied {
    /// `Err`: it is longer than what is kept.
    pub(super) fn of(body: Stream) -> Result<(Self, Kept), Stream> {
        if body.size_hint().lower() > MOST as u64 {
            return Err(body);
        }
        let kept = Kept::default();
        Ok((Self { body, kept: Arc::downgrade(&kept.0) }, kept))
    }
}

impl Kept {
    /// All of the body, where all of it has passed.
    pub(super) fn whole(&self) -> Option<Bytes> {
        let kept = self.0.lock();
        (kept.is_whole && !kept.is_unfit).then(|| Bytes::copy_from_slice(&kept.bytes))
    }
}

impl Parts {
    fn saw(&mut self, frame: Option<&Result<Frame<Bytes>, Broken>>, is_end: bool) {
        match frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) if self.bytes.len() + data.len() <= MOST => self.bytes.extend_from_slice(data),
                Some(_) | None => self.is_unfit = true,
            },
            Some(Err(_)) => self.is_unfit = true,
            None => self.is_whole = true,
        }
        self.is_whole |= is_end;
        if self.is_unfit {
            self.bytes = Vec::new();
        }
    }
}

impl Body for Copied {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(frame) = &polled
            && let Some(kept) = self.kept.upgrade()
        {
            // Whoever has been told a length does not wait for an end behind it, which over HTTP/2 may come by itself.
            let is_end = self.body.is_end_stream() || self.body.size_hint().exact() == Some(0);
            kept.lock().saw(frame.as_ref(), is_end);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer that somebody read into.
    struct Buffer(Arc<[u8; 8192]>);

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            self.0.as_slice()
        }
    }

    #[test]
    fn what_is_kept_of_a_body_is_as_long_as_what_has_come_of_it() {
        let (mut parts, buffer) = (Parts::default(), Arc::new([b'x'; 8192]));
        for _ in 0..1000 {
            let byte = Bytes::from_owner(Buffer(Arc::clone(&buffer))).slice(..1);
            parts.saw(Some(&Ok(Frame::data(byte))), false);
        }
        assert_eq!(Arc::strong_count(&buffer), 1, "a byte kept is a buffer kept");
        parts.saw(None, true);
        let kept = Kept(Arc::new(Mutex::new(parts)));
        assert_eq!(kept.whole().unwrap(), [b'x'; 1000].as_slice());
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let (copied, kept) = Copied::of(Stream::Whole(Bytes::from_static(b"abc"))).ok().unwrap();
        let memory = Arc::downgrade(&kept.0);
        let mut copied = std::pin::pin!(copied);
        let mut next = || copied.as_mut().poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(matches!(next(), Poll::Ready(Some(Ok(_)))));
        assert_eq!(kept.whole().unwrap(), b"abc".as_slice());
        drop(kept);
        assert!(memory.upgrade().is_none() && matches!(next(), Poll::Ready(None)), "while the body may go on");
    }
}
