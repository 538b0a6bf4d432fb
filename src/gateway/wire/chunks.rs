//! PURE: a body in chunks (RFC 9112 section 7.1), taken apart as it comes.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Bytes of the line before a chunk.
const LINE: usize = 4 * 1024;
/// Bytes of the trailers, and how many they may be.
const TRAILERS: (usize, usize) = (16 * 1024, 64);

/// Where in the body the next byte stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In the line before a chunk.
    #[default]
    Line,
    /// In a chunk, of which so many bytes are left.
    Within(u64),
    /// Behind a chunk.
    Behind,
    /// In the trailers.
    Trailers,
}

/// Something of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes.
    Data(Bytes),
    /// The end, and what was said behind the bytes.
    End(Option<HeaderMap>),
}

impl Chunks {
    /// Takes the next piece from what was read. `None`: it is not there yet.
    pub(super) fn next(&mut self, read: &mut BytesMut) -> Result<Option<Piece>, &'static str> {
        loop {
            *self = match self {
                Self::Line => match httparse::parse_chunk_size(read).map_err(|_| "a chunk has no length")? {
                    httparse::Status::Complete((line, length)) => {
                        let line = read.split_to(line);
                        // Nothing is no length of nothing, and where a line ends is not for its extension to say.
                        if !line.first().is_some_and(u8::is_ascii_hexdigit)
                            || memchr::memchr(b'\n', &line) != Some(line.len() - 1)
                        {
                            return Err("a chunk has no length");
                        }
                        if length == 0 { Self::Trailers } else { Self::Within(length) }
                    }
                    httparse::Status::Partial if read.len() > LINE => {
                        return Err("the line before a chunk is too long");
                    }
                    httparse::Status::Partial => return Ok(None),
                },
                Self::Within(left) => {
                    if read.is_empty() {
                        return Ok(None);
                    }
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                    let data = read.split_to(here).freeze();
                    let left = *left - u64::try_from(here).unwrap_or_default();
                    *self = if left == 0 { Self::Behind } else { Self::Within(left) };
                    return Ok(Some(Piece::Data(data)));
                }
                Self::Behind => match read.first_chunk::<2>() {
                    Some(b"\r\n") => {
                        drop(read.split_to(2));
                        Self::Line
                    }
                    Some(_) => return Err("a chunk is longer than its length"),
                    None => return Ok(None),
                },
                Self::Trailers => {
                    let said = trailers(read)?;
                    return Ok(said.map(|said| Piece::End(Some(said).filter(|said| !said.is_empty()))));
                }
            };
        }
    }
}

/// What is said behind the last chunk, if anything is. `None`: it is not all there.
fn trailers(read: &mut BytesMut) -> Result<Option<HeaderMap>, &'static str> {
    const WRONG: &str = "the trailers are none";
    let mut lines = [httparse::EMPTY_HEADER; TRAILERS.1];
    let (length, lines) = match httparse::parse_headers(read, &mut lines).map_err(|_| WRONG)? {
        httparse::Status::Complete(parsed) => parsed,
        httparse::Status::Partial if read.len() > TRAILERS.0 => return Err("the trailers are too long"),
        httparse::Status::Partial => return Ok(None),
    };
    let mut said = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| WRONG)?;
        said.append(name, HeaderValue::from_bytes(line.value).map_err(|_| WRONG)?);
    }
    drop(read.split_to(length));
    Ok(Some(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out where so many bytes are read at once.
    fn taken(body: &[u8], at_once: usize) -> Result<(Vec<u8>, Option<HeaderMap>), &'static str> {
        let (mut chunks, mut read, mut data) = (Chunks::default(), BytesMut::new(), Vec::new());
        let mut rest = body.chunks(at_once);
        loop {
            match chunks.next(&mut read)? {
                Some(Piece::Data(bytes)) => data.extend_from_slice(&bytes),
                Some(Piece::End(said)) => {
                    assert_eq!(read, b"next"[..read.len()], "what follows is left alone");
                    return Ok((data, said));
                }
                None => read.extend_from_slice(rest.next().ok_or("cut")?),
            }
        }
    }

    #[test]
    fn chunks_come_out_whole_however_they_were_cut_on_their_way() {
        let body = b"3;x=\"1\"\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\nnext";
        for at_once in 1..=body.len() {
            assert_eq!(taken(body, at_once), Ok((b"abc0123456789".to_vec(), None)), "{at_once} at once");
        }
    }

    #[test]
    fn trailers_are_told() {
        let (data, said) = taken(b"1\r\na\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n", 3).unwrap();
        assert_eq!(data, b"a");
        assert_eq!(said.unwrap().get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn what_is_no_chunk_is_an_error() {
        for wrong in [
            &b"x\r\na\r\n0\r\n\r\n"[..],
            b"-1\r\na\r\n0\r\n\r\n",
            b"\r\n\r\n",
            b";x\r\n\r\n",
            b"1;x\n\r\na\r\n0\r\n\r\n",
            b"1\r\nab\r\n0\r\n\r\n",
            b"1\ra\r\n",
            b"10000000000000000\r\na\r\n",
            b"0\r\nno trailer\r\n\r\n",
            b"2\r\na",
        ] {
            assert!(taken(wrong, 64).is_err(), "{wrong:?}");
        }
        assert!(taken(&[b"1;".as_slice(), &[b'x'; LINE], b"\r\na\r\n0\r\n\r\n"].concat(), 1).is_err());
    }
}
