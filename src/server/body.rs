//! Reads the body of a request that is answered only once all of it is here, within bounds.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::gateway::{has_left, swallows};

/// Why a body is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is longer than it may be.
    TooLong,
    /// It took longer than it may.
    TooSlow,
    /// It ended before its length, or its framing is broken.
    Broken,
    /// Whoever sent it is gone.
    Gone,
    /// It is in a coding that nobody here takes away.
    Coded,
}

/// All of a body, of at most so many bytes and within so long.
///
/// # Errors
/// It is longer, slower, or broken.
pub(super) async fn whole(
    body: impl Body<Data = Bytes, Error: Error + 'static> + Unpin,
    most: usize,
    patience: Duration,
) -> Result<Bytes, Unread> {
    // A length that is told and too long need not be waited for.
    if usize::try_from(body.size_hint().lower()).map_or(true, |told| told > most) {
        return Err(Unread::TooLong);
    }
    timeout(patience, joined(body, most)).await.unwrap_or(Err(Unread::TooSlow))
}

/// What comes in one part is taken as it is. Of several each is copied and let go at once: a part keeps alive all the memory that it was
/// read into, 8 KiB or more for one byte as for many.
async fn joined(
    mut body: impl Body<Data = Bytes, Error: Error + 'static> + Unpin,
    most: usize,
) -> Result<Bytes, Unread> {
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let broken = |error| if has_left(&error) { Unread::Gone } else { Unread::Broken };
        let frame = frame.map_err(broken)?;
        if swallows(&frame) {
            return Err(Unread::Broken);
        }
        let Ok(part) = frame.into_data() else { continue };
        if part.len() > most - first.len() - all.len() {
            return Err(Unread::TooLong);
        }
        if first.is_empty() && all.is_empty() {
            first = part;
        } else if !part.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&part);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use futures_util::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    /// What was read in one go, for one part; and a share of the count of all that are kept.
    struct Memory([u8; 8 << 10], #[expect(dead_code, reason = "counts by being there")] Arc<()>);

    impl AsRef<[u8]> for Memory {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    type Read = Result<Bytes, Unread>;

    fn read(parts: impl IntoIterator<Item = Result<Bytes, Infallible>>, most: usize) -> Read {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let body = StreamBody::new(stream::iter(parts).map(|part| part.map(Frame::data)));
        runtime.block_on(whole(body, most, Duration::from_secs(10)))
    }

    #[test]
    fn a_body_in_many_parts_keeps_what_it_is_long_and_not_what_they_were_read_into() {
        let count = Arc::new(());
        let counted = Arc::clone(&count);
        let parts = (0..1_000).map(move |_| {
            let kept = Arc::strong_count(&counted) - 2;
            assert!(kept <= 1, "{kept} parts are kept");
            Ok(Bytes::from_owner(Memory([7; 8 << 10], Arc::clone(&counted))).slice(..1))
        });
        assert_eq!(read(parts, 1_000), Ok(Bytes::from(vec![7; 1_000])));
    }

    #[test]
    fn a_body_in_one_part_is_not_copied() {
        for around in [0, 1] {
            let part = Bytes::from(b"whole".to_vec());
            let place = part.as_ptr();
            let empty = || (0..around).map(|_| Ok(Bytes::new()));
            let read = read(empty().chain([Ok(part)]).chain(empty()), 5).unwrap();
            assert_eq!((read.as_ptr(), read.as_ref()), (place, b"whole".as_slice()));
        }
    }

    #[test]
    fn a_body_is_bounded_whatever_its_parts_are() {
        let read = |parts: &[&'static [u8]]| read(parts.iter().map(|part| Ok(Bytes::from_static(part))), 5);
        for parts in [[b"abcde".as_slice(), b""], [b"abcd", b"e"], [b"", b"abcde"]] {
            assert_eq!(read(&parts), Ok(Bytes::from_static(b"abcde")));
        }
        for parts in [[b"abcdef".as_slice(), b""], [b"abcde", b"f"], [b"a", b"bcdef"], [b"", b"abcdef"]] {
            assert_eq!(read(&parts), Err(Unread::TooLong));
        }
        assert_eq!(read(&[]), Ok(Bytes::new()));
    }
}
