//! Keys: an identity opens what is sealed to its recipient.

use std::fmt;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use zeroize::Zeroizing;

use super::header::Wrapped;
use super::{FileKey, Key, derived};
use crate::domain::chance::{Entropy, random};

const RECIPIENT: Hrp = Hrp::parse_unchecked("age");
const IDENTITY: Hrp = Hrp::parse_unchecked("AGE-SECRET-KEY-");
const INFO: &[u8] = b"age-encryption.org/v1/X25519";

/// A text is no key of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedKey;

/// To whom something is sealed: a public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bech32::encode_lower_to_fmt::<Bech32, _>(f, RECIPIENT, &self.0).map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

impl Recipient {
    /// Reads `age1...`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(MalformedKey);
        }
        Ok(Self(*bytes(text, RECIPIENT)?))
    }

    /// The key of a value, for this recipient alone.
    pub(super) fn wrap(&self, file_key: &FileKey, ephemeral: &Key) -> Option<Wrapped> {
        let share = public(ephemeral)?;
        let key = wrapping(ephemeral, &self.0, [share, self.0])?;
        let mut body = [0; 32];
        let (wrapped, tag) = body.split_at_mut(file_key.len());
        wrapped.copy_from_slice(&**file_key);
        tag.copy_from_slice(cipher(&key)?.seal_in_place_separate_tag(once(), Aad::empty(), wrapped).ok()?.as_ref());
        Some(Wrapped { share, body })
    }
}

/// A secret key and its recipient. Wiped when dropped, never printed.
pub struct Identity {
    secret: SecretBox<[u8; 32]>,
    recipient: Recipient,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient)
    }
}

impl Identity {
    /// A new one. `None`: the machine's cryptography refuses to work.
    pub fn new(entropy: &dyn Entropy) -> Option<Self> {
        Self::of(&Zeroizing::new(random(entropy)))
    }

    /// Reads `AGE-SECRET-KEY-1...`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(MalformedKey);
        }
        Self::of(&bytes(text, IDENTITY)?).ok_or(MalformedKey)
    }

    fn of(secret: &Key) -> Option<Self> {
        let recipient = Recipient(public(secret)?);
        Some(Self { secret: SecretBox::new(Box::new(**secret)), recipient })
    }

    /// To whom to seal what this shall open.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        self.recipient
    }

    /// As a file keeps it. `None`: never, the text is short.
    #[must_use]
    pub fn text(&self) -> Option<SecretString> {
        let secret = self.secret.expose_secret();
        // As long as it becomes: a text that grows leaves its beginning in memory that nobody wipes.
        let mut text = String::with_capacity(bech32::encoded_length::<Bech32>(IDENTITY, secret).ok()?);
        bech32::encode_upper_to_fmt::<Bech32, _>(&mut text, IDENTITY, secret).ok()?;
        Some(SecretString::from(text))
    }

    /// The key of a value, where it was wrapped for this identity.
    pub(super) fn unwrap_key(&self, Wrapped { share, body }: &Wrapped) -> Option<FileKey> {
        let secret = Zeroizing::new(*self.secret.expose_secret());
        let key = wrapping(&secret, share, [*share, self.recipient.0])?;
        let mut body = Zeroizing::new(*body);
        let plain = cipher(&key)?.open_in_place(once(), Aad::empty(), &mut *body).ok()?;
        plain.try_into().ok().map(Zeroizing::new)
    }
}

/// The bytes of a key in Bech32 (BIP 173).
fn bytes(text: &str, kind: Hrp) -> Result<Key, MalformedKey> {
    let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_| MalformedKey)?;
    if checked.hrp() != kind {
        return Err(MalformedKey);
    }
    let mut key = Zeroizing::new([0; 32]);
    for (place, byte) in key.iter_mut().zip(checked.byte_iter()) {
        *place = byte;
    }
    let whole = checked.byte_iter().len() == key.len();
    if whole { Ok(key) } else { Err(MalformedKey) }
}

fn public(secret: &Key) -> Option<[u8; 32]> {
    let secret = PrivateKey::from_private_key(&X25519, &**secret).ok()?;
    secret.compute_public_key().ok()?.as_ref().try_into().ok()
}

/// The key that wraps the value's key. A share that gives nothing away of the other side is refused by the agreement itself.
fn wrapping(secret: &Key, other: &[u8; 32], salt: [[u8; 32]; 2]) -> Option<Key> {
    let secret = PrivateKey::from_private_key(&X25519, &**secret).ok()?;
    let other = UnparsedPublicKey::new(&X25519, other);
    agree(&secret, other, (), |shared| Ok(derived(shared, &salt.concat(), INFO))).ok()
}

pub(super) fn cipher(key: &Key) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, &**key).ok().map(LessSafeKey::new)
}

/// Each wrapping key is used once.
fn once() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AGE-SECRET-KEY-1U49MGXTX0RYNASVD8JPY2KM94VLN9WK7K873M7X02PXSLFAFN3PQP33VNK";
    const PUBLIC: &str = "age12w89swp4vgqy9ddqhapz29sranaqd4hkf84et0v4m8eh35srr3hqjegd67";

    #[test]
    fn a_key_of_the_age_program_is_read_and_written_the_same() {
        let identity = Identity::parse(SECRET).unwrap();
        assert_eq!(identity.recipient().to_string(), PUBLIC);
        assert_eq!(identity.text().unwrap().expose_secret(), SECRET);
        assert_eq!(format!("{identity:?}"), format!("Identity({PUBLIC})"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "age1",
            PUBLIC,
            &SECRET.to_ascii_lowercase(),
            SECRET.trim_end_matches('K'),
            &SECRET.replacen("U49", "Q49", 1),
        ] {
            assert_eq!(Identity::parse(text).err(), Some(MalformedKey), "{text}");
        }
        let wrong = PUBLIC.replace('q', "p");
        for text in
            ["", "age1", SECRET, &PUBLIC.to_ascii_uppercase(), &wrong, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"]
        {
            assert_eq!(Recipient::parse(text).err(), Some(MalformedKey), "{text}");
        }
    }

    #[test]
    fn a_share_that_agrees_on_nothing_opens_nothing() {
        assert!(Identity::parse(SECRET).unwrap().unwrap_key(&Wrapped { share: [0; 32], body: [0; 32] }).is_none());
    }
}
