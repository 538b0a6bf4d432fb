//! Sealed secrets in the format of age (age-encryption.org/v1): what its own program seals opens here, and the other way round.
//! Of the format exactly what one recipient needs: X25519 stanzas and the payload. See docs/adr/0008.
//!
//! Must not: know where a sealed value or an identity lies.

mod header;
mod key;
mod stream;
mod text;

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

pub use key::{Identity, MalformedKey, Recipient};
pub use text::{armoured, encoded};

use self::header::Header;
use crate::domain::chance::{Entropy, random};

/// A key of 256 bits, wiped when dropped.
type Key = Zeroizing<[u8; 32]>;

/// The key of one sealed value, wiped when dropped.
type FileKey = Zeroizing<[u8; 16]>;

/// Why a sealed value does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoesNotOpen {
    /// It is not in the format of age.
    Malformed,
    /// It is sealed to others, or not to a key at all.
    ToOthers,
    /// It was changed, or is not whole.
    Damaged,
}

impl fmt::Display for DoesNotOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is not sealed by age",
            Self::ToOthers => "is sealed to another key",
            Self::Damaged => "was changed since it was sealed, or is not whole",
        })
    }
}

impl std::error::Error for DoesNotOpen {}

/// Opens a sealed value that stands as text: armoured, or its bytes in base64.
///
/// # Errors
/// None of the identities opens it, or it is none.
pub fn open(text: &str, identities: &[Identity]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
    open_bytes(&text::bytes(text)?, identities)
}

/// Opens a sealed value as a file holds it.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(bytes: &[u8], identities: &[Identity]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
    let header = header::read(bytes)?;
    let file_key = file_key(&header, identities)?.ok_or(DoesNotOpen::ToOthers)?;
    hmac::verify(&signing_key(&file_key), header.signed, &header.mac).map_err(|_| DoesNotOpen::Damaged)?;
    stream::open(&file_key, header.payload)
}

/// Seals a value, so that each of the recipients can open it.
pub fn seal(plain: &[u8], recipients: &[Recipient], entropy: &dyn Entropy) -> Option<Vec<u8>> {
    let file_key = Zeroizing::new(random(entropy));
    let mut bytes = header::begin();
    for recipient in recipients {
        header::stanza(&mut bytes, &recipient.wrap(&file_key, &Zeroizing::new(random(entropy)))?);
    }
    header::end(&mut bytes, |signed| hmac::sign(&signing_key(&file_key), signed));
    stream::seal(&file_key, random(entropy), plain, &mut bytes)?;
    Some(bytes)
}

fn file_key(header: &Header<'_>, identities: &[Identity]) -> Result<Option<FileKey>, DoesNotOpen> {
    for stanza in &header.stanzas {
        let Some(wrapped) = stanza.x25519()? else { continue };
        if let Some(key) = identities.iter().find_map(|identity| identity.unwrap_key(&wrapped)) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn signing_key(file_key: &FileKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &*derived(&**file_key, b"", b"header"))
}

/// HKDF-SHA-256 (RFC 5869), one block.
fn derived(secret: &[u8], salt: &[u8], info: &[u8]) -> Key {
    let mut key = Zeroizing::new([0; 32]);
    let filled =
        Salt::new(HKDF_SHA256, salt).extract(secret).expand(&[info], HKDF_SHA256).and_then(|okm| okm.fill(&mut *key));
    debug_assert!(filled.is_ok(), "32 bytes are one block of SHA-256");
    key
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use aws_lc_rs::aead::Aad;
    use proptest::prelude::*;

    use super::*;

    /// Not random at all, and never the same twice.
    #[derive(Debug, Default)]
    struct Counter(AtomicU64);

    impl Entropy for Counter {
        fn fill(&self, bytes: &mut [u8]) {
            let seed = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            let block = derived(&seed, b"", b"test");
            bytes.iter_mut().zip(block.iter().cycle()).for_each(|(byte, random)| *byte = *random);
        }
    }

    fn identity(entropy: &Counter) -> Identity {
        Identity::new(entropy).unwrap()
    }

    /// Made by the age program, version 1.1.1: `printf %s planted-by-age | age -r RECIPIENT | base64 -w0`.
    const BY_AGE: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBUaGNSN3h5clZKUDdpTDRsTmQyK1pBOFV5OEtHcW43bHU4cHg1Q0plb0drCnl1RjNwQUEyS1MxaHQ0MDdTa1dZSTJlRUZHOGpBV0xsVWR4Uzg5TmFyZE0KLS0tIEhuVm4vcmlvTWFPZFF4bEc2WXp5bG9JSXc4djZkdzBINnZLcGhmSFFmSk0KugIiu6ZUUboMMxjgdv9V2zgaOIVVnvWCQPdYJ8G7hf128TQl5CRRXYicx5JI6Q==";

    const ITS_KEY: &str = "AGE-SECRET-KEY-1U49MGXTX0RYNASVD8JPY2KM94VLN9WK7K873M7X02PXSLFAFN3PQP33VNK";

    #[test]
    fn what_the_program_itself_sealed_opens() {
        let identity = Identity::parse(ITS_KEY).unwrap();
        assert_eq!(*open(BY_AGE, &[identity]).unwrap(), b"planted-by-age");
    }

    #[test]
    fn every_recipient_opens_it_and_nobody_else() {
        let entropy = Counter::default();
        let [first, second, third] = [(); 3].map(|()| identity(&entropy));
        let sealed = seal(b"planted", &[first.recipient(), second.recipient()], &entropy).unwrap();
        for who in [&first, &second] {
            assert_eq!(*open_bytes(&sealed, std::slice::from_ref(who)).unwrap(), b"planted");
        }
        assert_eq!(open_bytes(&sealed, &[third]), Err(DoesNotOpen::ToOthers));
        assert_eq!(open_bytes(&sealed, &[]), Err(DoesNotOpen::ToOthers));
    }

    /// Of age's own format: nobody makes one, and one plain text has one sealed form.
    #[test]
    fn an_empty_last_chunk_behind_a_whole_one_is_damage() {
        let file_key = FileKey::new([7; 16]);
        let cipher = key::cipher(&derived(&*file_key, &[0; 16], b"payload")).unwrap();
        let sealed = |ends: &[(usize, bool)]| {
            let mut payload = vec![0; 16];
            for (number, (length, last)) in (0_u64..).zip(ends) {
                let mut chunk = vec![1; *length];
                cipher.seal_in_place_append_tag(stream::nonce(number, *last), Aad::empty(), &mut chunk).unwrap();
                payload.extend(chunk);
            }
            stream::open(&file_key, &payload).map(|plain| plain.len())
        };
        assert_eq!(sealed(&[(stream::CHUNK, true)]), Ok(stream::CHUNK));
        assert_eq!(sealed(&[(stream::CHUNK, false), (0, true)]), Err(DoesNotOpen::Damaged));
        assert_eq!(sealed(&[(0, true)]), Ok(0), "of nothing at all");
    }

    #[test]
    fn what_is_longer_than_a_chunk_opens_whole_and_only_whole() {
        let entropy = Counter::default();
        let identity = identity(&entropy);
        for length in [0, 1, stream::CHUNK - 1, stream::CHUNK, stream::CHUNK + 1, 2 * stream::CHUNK] {
            let plain: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect();
            let sealed = seal(&plain, &[identity.recipient()], &entropy).unwrap();
            assert_eq!(*open_bytes(&sealed, std::slice::from_ref(&identity)).unwrap(), plain, "{length}");
            let cut = &sealed[..sealed.len() - 1];
            assert_eq!(open_bytes(cut, std::slice::from_ref(&identity)), Err(DoesNotOpen::Damaged), "{length}");
            if length > stream::CHUNK {
                let cut = &sealed[..sealed.len() - (length - stream::CHUNK) - 16];
                assert_eq!(open_bytes(cut, std::slice::from_ref(&identity)), Err(DoesNotOpen::Damaged), "{length}");
            }
            let longer = [&sealed[..], &sealed[sealed.len() - 16..]].concat();
            assert_eq!(open_bytes(&longer, std::slice::from_ref(&identity)), Err(DoesNotOpen::Damaged), "{length}");
        }
    }

    #[test]
    fn a_stanza_of_another_kind_is_passed_over_and_a_malformed_one_of_ours_is_not() {
        let entropy = Counter::default();
        let identity = identity(&entropy);
        let file_key = Zeroizing::new([7; 16]);
        let with = |stanza: &str| {
            let mut bytes = header::begin();
            bytes.extend_from_slice(stanza.as_bytes());
            header::stanza(&mut bytes, &identity.recipient().wrap(&file_key, &Zeroizing::new([9; 32])).unwrap());
            header::end(&mut bytes, |signed| hmac::sign(&signing_key(&file_key), signed));
            stream::seal(&file_key, [3; 16], b"planted", &mut bytes).unwrap();
            open_bytes(&bytes, std::slice::from_ref(&identity)).map(|plain| plain.to_vec())
        };
        assert_eq!(with("").unwrap(), b"planted");
        assert_eq!(with("-> something-else a b c\nAAAA\n").unwrap(), b"planted");
        assert_eq!(with("-> grease\n\n").unwrap(), b"planted");
        assert_eq!(with("-> X25519\n\n"), Err(DoesNotOpen::Malformed));
        assert_eq!(with("-> X25519 AAAA\nAAAA\n"), Err(DoesNotOpen::Malformed));
        assert_eq!(with("-> \n\n"), Err(DoesNotOpen::Malformed));
        assert_eq!(with("nothing\n"), Err(DoesNotOpen::Malformed));
        assert_eq!(with("-> two  blanks\n\n"), Err(DoesNotOpen::Malformed));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_again_by_text_and_armour(plain: Vec<u8>) {
            let entropy = Counter::default();
            let identity = identity(&entropy);
            let sealed = seal(&plain, &[identity.recipient()], &entropy).unwrap();
            let read = Identity::parse(secrecy::ExposeSecret::expose_secret(&identity.text().unwrap())).unwrap();
            for text in [encoded(&sealed), armoured(&sealed)] {
                prop_assert_eq!(&*open(&text, std::slice::from_ref(&read)).unwrap(), &plain);
            }
            prop_assert_eq!(Recipient::parse(&identity.recipient().to_string()).unwrap(), identity.recipient());
        }

        #[test]
        fn no_changed_byte_opens(plain: Vec<u8>, place: prop::sample::Index, change in 1_u8..=255) {
            let entropy = Counter::default();
            let identity = identity(&entropy);
            let mut sealed = seal(&plain, &[identity.recipient()], &entropy).unwrap();
            let place = place.index(sealed.len());
            sealed[place] ^= change;
            prop_assert!(open_bytes(&sealed, &[identity]).is_err());
        }

        #[test]
        fn whatever_comes_is_answered(text: String, bytes: Vec<u8>) {
            let identity = identity(&Counter::default());
            prop_assert!(open(&text, std::slice::from_ref(&identity)).is_err());
            prop_assert!(open_bytes(&bytes, std::slice::from_ref(&identity)).is_err());
            let begun = [b"age-encryption.org/v1\n-> X25519 ".as_slice(), &bytes].concat();
            prop_assert!(open_bytes(&begun, &[identity]).is_err());
            prop_assert!(Recipient::parse(&text).is_err() && Identity::parse(&text).is_err());
        }
    }
}
