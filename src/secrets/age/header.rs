//! The header of a sealed value: a version, a stanza for each recipient, and a signature under the value's own key.

use aws_lc_rs::hmac::Tag;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::DoesNotOpen;

const VERSION: &str = "age-encryption.org/v1";

/// Columns of a stanza's body; a line that is shorter is its last.
const COLUMNS: usize = 64;

/// What stands before the payload.
pub(super) struct Header<'b> {
    pub(super) stanzas: Vec<Stanza<'b>>,
    /// From the first byte to the three dashes.
    pub(super) signed: &'b [u8],
    pub(super) mac: Vec<u8>,
    pub(super) payload: &'b [u8],
}

/// What is said to one recipient.
pub(super) struct Stanza<'b> {
    words: Vec<&'b str>,
    body: Vec<u8>,
}

/// A wrapped key, and the share by which its receiver finds what unwraps it.
pub(super) struct Wrapped {
    pub(super) share: [u8; 32],
    pub(super) body: [u8; 32],
}

impl Stanza<'_> {
    /// The wrapped key, where the recipient is a key of the kind that we have.
    pub(super) fn x25519(&self) -> Result<Option<Wrapped>, DoesNotOpen> {
        match self.words.as_slice() {
            ["X25519", share] => {
                let share = BASE64.decode(share).map_err(|_| DoesNotOpen::Malformed)?;
                let bytes = |bytes: &[u8]| bytes.try_into().map_err(|_| DoesNotOpen::Malformed);
                Ok(Some(Wrapped { share: bytes(&share)?, body: bytes(&self.body)? }))
            }
            ["X25519", ..] => Err(DoesNotOpen::Malformed),
            _ => Ok(None),
        }
    }
}

/// Reads it.
pub(super) fn read(bytes: &[u8]) -> Result<Header<'_>, DoesNotOpen> {
    let mut rest = bytes;
    if line(&mut rest)? != VERSION {
        return Err(DoesNotOpen::Malformed);
    }
    let mut stanzas = Vec::new();
    loop {
        let before = bytes.len() - rest.len();
        let first = line(&mut rest)?;
        if let Some(mac) = first.strip_prefix("--- ") {
            let mac = BASE64.decode(mac).map_err(|_| DoesNotOpen::Malformed)?;
            let signed = bytes.get(..before + "---".len()).ok_or(DoesNotOpen::Malformed)?;
            let whole = mac.len() == 32 && !stanzas.is_empty();
            return if whole {
                Ok(Header { stanzas, signed, mac, payload: rest })
            } else {
                Err(DoesNotOpen::Malformed)
            };
        }
        stanzas.push(read_stanza(first, &mut rest)?);
    }
}

fn read_stanza<'b>(first: &'b str, rest: &mut &'b [u8]) -> Result<Stanza<'b>, DoesNotOpen> {
    let words: Vec<&str> = first.strip_prefix("-> ").ok_or(DoesNotOpen::Malformed)?.split(' ').collect();
    let graphic = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    if !words.iter().all(graphic) {
        return Err(DoesNotOpen::Malformed);
    }
    let mut text = String::new();
    loop {
        let line = line(rest)?;
        text.push_str(line);
        if line.len() > COLUMNS {
            return Err(DoesNotOpen::Malformed);
        }
        if line.len() < COLUMNS {
            break;
        }
    }
    let body = BASE64.decode(text).map_err(|_| DoesNotOpen::Malformed)?;
    Ok(Stanza { words, body })
}

/// Takes a line of ASCII.
fn line<'b>(rest: &mut &'b [u8]) -> Result<&'b str, DoesNotOpen> {
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(DoesNotOpen::Malformed)?;
    let (line, behind) = rest.split_at_checked(end).ok_or(DoesNotOpen::Malformed)?;
    *rest = behind.get(1..).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| DoesNotOpen::Malformed)?;
    if line.is_ascii() { Ok(line) } else { Err(DoesNotOpen::Malformed) }
}

/// The first line.
pub(super) fn begin() -> Vec<u8> {
    format!("{VERSION}\n").into_bytes()
}

/// Says to one recipient how it gets the key. Its 43 digits are one line.
pub(super) fn stanza(bytes: &mut Vec<u8>, Wrapped { share, body }: &Wrapped) {
    bytes.extend_from_slice(format!("-> X25519 {}\n{}\n", BASE64.encode(share), BASE64.encode(body)).as_bytes());
}

/// The last line, signed up to its dashes.
pub(super) fn end(bytes: &mut Vec<u8>, sign: impl FnOnce(&[u8]) -> Tag) {
    bytes.extend_from_slice(b"---");
    let mac = sign(bytes);
    bytes.extend_from_slice(format!(" {}\n", BASE64.encode(mac)).as_bytes());
}
