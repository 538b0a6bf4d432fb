//! The payload: chunks, each sealed with its number and whether it is the last, so that none can be moved or left out.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, NONCE_LEN, Nonce};
use zeroize::Zeroizing;

use super::key::cipher;
use super::{DoesNotOpen, FileKey, Key, derived};

/// Every chunk but the last has so many bytes.
pub(super) const CHUNK: usize = 64 * 1024;

/// Makes the key of a payload another one, though the value's key were the same.
const SALT: usize = 16;

fn key(file_key: &FileKey, salt: &[u8]) -> Key {
    derived(&**file_key, salt, b"payload")
}

/// The chunk's number in 11 bytes, and 1 where it is the last.
pub(super) fn nonce(number: u64, last: bool) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    for (place, byte) in nonce.iter_mut().skip(3).zip(number.to_be_bytes()) {
        *place = byte;
    }
    nonce[NONCE_LEN - 1] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

/// Opens all of it.
pub(super) fn open(file_key: &FileKey, payload: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
    let (salt, sealed) = payload.split_at_checked(SALT).ok_or(DoesNotOpen::Damaged)?;
    let cipher = cipher(&key(file_key, salt)).ok_or(DoesNotOpen::Damaged)?;
    let whole = CHUNK + CHACHA20_POLY1305.tag_len();
    let count = sealed.len().div_ceil(whole) as u64;
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    for (number, chunk) in (0_u64..).zip(sealed.chunks(whole)) {
        let mut chunk = Zeroizing::new(chunk.to_vec());
        let opened = cipher.open_in_place(nonce(number, number + 1 == count), Aad::empty(), &mut chunk);
        let opened = opened.map_err(|_| DoesNotOpen::Damaged)?;
        if opened.is_empty() && number > 0 {
            return Err(DoesNotOpen::Damaged);
        }
        plain.extend_from_slice(opened);
    }
    if count == 0 { Err(DoesNotOpen::Damaged) } else { Ok(plain) }
}

/// Seals, behind what is there.
pub(super) fn seal(file_key: &FileKey, salt: [u8; SALT], plain: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    let cipher = cipher(&key(file_key, &salt))?;
    bytes.extend_from_slice(&salt);
    let chunks: Vec<&[u8]> = if plain.is_empty() { vec![&[]] } else { plain.chunks(CHUNK).collect() };
    for (number, chunk) in (0_u64..).zip(&chunks) {
        let last = number + 1 == chunks.len() as u64;
        // Long enough for the tag: a copy that is left behind would not be wiped.
        let mut body = Zeroizing::new(Vec::with_capacity(chunk.len() + CHACHA20_POLY1305.tag_len()));
        body.extend_from_slice(chunk);
        cipher.seal_in_place_append_tag(nonce(number, last), Aad::empty(), &mut *body).ok()?;
        bytes.extend_from_slice(&body);
    }
    Some(())
}
