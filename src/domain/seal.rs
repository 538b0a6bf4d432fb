//! Sealing: what lies in the store opens only with the UUID that belongs to it.
//!
//! A family has one random *data key*. Whatever is kept of the realm (JWT, refresh token, the sealed reply) is sealed under
//! it; the data key itself is kept only wrapped, once for each UUID, under a key derived from that UUID. The UUID is kept
//! nowhere, so a copy of the store opens nothing (STORE.md, "Records").

use std::fmt;
use std::sync::{LazyLock, OnceLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

use super::chance::{Entropy, random};
use super::opaque::{Fingerprint, OpaqueToken, TokenUse};
use super::packed;
use super::refusal::{Fault, Refusal};
use super::wiped::{Wiped, joined};

/// What a sealed value is, and whose: bound into it, so that no value can be moved to another place.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// What it is, e.g. `access-jwt`.
    pub purpose: &'static str,
    /// Whose it is: a family's id.
    pub owner: &'a [u8],
}

impl Binding<'_> {
    /// Lends out what is bound into a value.
    fn lend<R>(&self, seal_or_open: impl FnOnce(Aad<&[u8]>) -> R) -> R {
        joined(&[b"passbridge:", self.purpose.as_bytes(), b":", self.owner], |bound| seal_or_open(Aad::from(bound)))
    }
}

/// Bytes of a sealed value's nonce.
pub const NONCE: usize = NONCE_LEN;

/// Bytes of its tag.
const TAG: usize = 16;

/// A value that is unreadable without its key: nonce, ciphertext, tag (AES-256-GCM).
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Box<[u8]>);

impl Sealed {
    /// Its bytes, for a store that keeps them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Tells this sealing from every other, of the same value too: its nonce. `None`: it holds nothing.
    #[must_use]
    pub fn nonce(&self) -> Option<[u8; NONCE]> {
        self.0.first_chunk().copied()
    }

    /// From bytes that were kept.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

/// As bytes at once: serde would take a `Vec<u8>` apart one by one, which costs as much as a whole look-up.
impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Self(bytes.into()))
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// The value does not open: another key, another place, or its bytes were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoesNotOpen;

/// What we sealed does not open: nobody else can be at fault.
impl From<DoesNotOpen> for Refusal {
    fn from(_: DoesNotOpen) -> Self {
        Self::server(
            Fault::Ourselves,
            "a sealed value does not open with this key: it was changed, or belongs elsewhere",
        )
    }
}

/// A value that was opened.
pub type Opened = Wiped<Vec<u8>>;

/// Of every derivation; made once. HKDF is two rounds of HMAC (RFC 5869), of which the first has this key.
static SALT: LazyLock<hmac::Key> = LazyLock::new(|| hmac::Key::new(hmac::HMAC_SHA256, b"passbridge"));

/// A 256-bit key. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(redacted)")
    }
}

impl SealingKey {
    /// A new data key.
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(Zeroizing::new(random(entropy)))
    }

    /// The key that a UUID stands for in one use. Derived, never stored.
    #[must_use]
    pub fn of_token(token: &OpaqueToken, token_use: TokenUse) -> Self {
        match token_use {
            TokenUse::Access => Self::derive(token.expose().as_bytes(), "wrap access"),
            TokenUse::Refresh => Self::derive(token.expose().as_bytes(), "wrap refresh"),
        }
    }

    /// The key that a used refresh UUID stands for: opens the answer that was made for it.
    #[must_use]
    pub fn of_reply(token: &OpaqueToken) -> Self {
        Self::derive(token.expose().as_bytes(), "reply")
    }

    /// A key derived from other secret bytes for one purpose (HKDF-SHA-256, RFC 5869).
    #[must_use]
    pub fn derive(secret: &[u8], purpose: &str) -> Self {
        let extracted = hmac::sign(&SALT, secret);
        let mut expanded = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref()));
        for part in [b"passbridge:".as_slice(), purpose.as_bytes(), &[1]] {
            expanded.update(part);
        }
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(expanded.sign().as_ref());
        Self(key)
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &*self.0).ok().map(LessSafeKey::new)
    }

    /// Seals a value.
    pub fn seal(&self, plain: &[u8], binding: Binding<'_>, entropy: &dyn Entropy) -> Sealed {
        let nonce: [u8; NONCE_LEN] = random(entropy);
        let mut bytes = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(plain);
        let body = bytes.get_mut(NONCE_LEN..).unwrap_or_default();
        let tag = self.cipher().and_then(|cipher| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            binding.lend(|bound| cipher.seal_in_place_separate_tag(nonce, bound, body)).ok()
        });
        debug_assert!(tag.is_some(), "a 256-bit key and a short value always seal");
        let Some(tag) = tag else {
            bytes.zeroize();
            return Sealed(Box::default());
        };
        bytes.extend_from_slice(tag.as_ref());
        Sealed(bytes.into())
    }

    /// Opens a sealed value.
    ///
    /// # Errors
    /// The key, the binding or the bytes are not those that sealed it.
    pub fn open(&self, sealed: &Sealed, binding: Binding<'_>) -> Result<Opened, DoesNotOpen> {
        let (nonce, body) = sealed.0.split_at_checked(NONCE_LEN).ok_or(DoesNotOpen)?;
        let (body, tag) = body.split_last_chunk::<TAG>().ok_or(DoesNotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DoesNotOpen)?;
        let cipher = self.cipher().ok_or(DoesNotOpen)?;
        let mut opened = Opened::new(vec![0; body.len()]);
        let done = binding.lend(|bound| cipher.open_separate_gather(nonce, bound, body, tag, &mut opened));
        done.map(|()| opened).map_err(|_| DoesNotOpen)
    }

    /// Seals a token of the realm.
    pub fn seal_token(&self, token: &SecretString, binding: Binding<'_>, entropy: &dyn Entropy) -> Sealed {
        self.seal(&packed::pack(token.expose_secret().as_bytes()), binding, entropy)
    }

    /// Opens a token of the realm.
    ///
    /// # Errors
    /// As [`SealingKey::open`]; or it is no text.
    pub fn open_token(&self, sealed: &Sealed, binding: Binding<'_>) -> Result<SecretString, DoesNotOpen> {
        let mut token = Opened::default();
        self.open_token_behind(sealed, binding, &mut token)?;
        std::str::from_utf8(&token).map(SecretString::from).map_err(|_| DoesNotOpen)
    }

    /// Opens a token of the realm behind what the bytes are already. Where it does not open, they stay as they were.
    ///
    /// # Errors
    /// As [`SealingKey::open`].
    pub fn open_token_behind(
        &self,
        sealed: &Sealed,
        binding: Binding<'_>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), DoesNotOpen> {
        packed::unpack(&self.open(sealed, binding)?, bytes).ok_or(DoesNotOpen)
    }

    /// Seals this key under another.
    pub fn wrap(&self, under: &Self, binding: Binding<'_>, entropy: &dyn Entropy) -> Sealed {
        under.seal(&*self.0, binding, entropy)
    }

    /// Opens a key that was wrapped under this one.
    ///
    /// # Errors
    /// As [`SealingKey::open`].
    pub fn unwrap_key(&self, wrapped: &Sealed, binding: Binding<'_>) -> Result<Self, DoesNotOpen> {
        let bytes = self.open(wrapped, binding)?;
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(bytes.as_array::<32>().ok_or(DoesNotOpen)?);
        Ok(Self(key))
    }
}

/// A data key, wrapped for one access UUID. Once the UUID has opened it, it is at hand: beside what is kept, in memory alone, under a mask that
/// nothing but the UUID makes, so that the next use costs one hash, and memory tells no more than before.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WrappedKey {
    wrapped: Sealed,
    #[serde(skip)]
    masked: OnceLock<[u8; 32]>,
}

impl WrappedKey {
    /// What is kept.
    #[must_use]
    pub const fn wrapped(&self) -> &Sealed {
        &self.wrapped
    }

    /// The data key, as its UUID opens it. One that it has opened before is not checked again: with a wrong one nothing opens.
    ///
    /// # Errors
    /// As [`SealingKey::open`].
    pub fn open(&self, token: &OpaqueToken, binding: Binding<'_>) -> Result<SealingKey, DoesNotOpen> {
        if let Some(masked) = self.masked.get() {
            return Ok(SealingKey(Zeroizing::new(under_mask(token, masked))));
        }
        let key = SealingKey::of_token(token, TokenUse::Access).unwrap_key(&self.wrapped, binding)?;
        let _by_somebody = self.masked.set(under_mask(token, &key.0));
        Ok(key)
    }
}

/// Puts the mask on, or takes it off. A UUID masks its family's one data key, and nothing else.
fn under_mask(token: &OpaqueToken, bytes: &[u8; 32]) -> [u8; 32] {
    let mut mask = *Fingerprint::of("mask", token.expose().as_bytes()).as_bytes();
    mask.iter_mut().zip(bytes).for_each(|(mask, byte)| *mask ^= byte);
    mask
}

impl From<Sealed> for WrappedKey {
    fn from(wrapped: Sealed) -> Self {
        Self { wrapped, masked: OnceLock::new() }
    }
}

impl PartialEq for WrappedKey {
    fn eq(&self, other: &Self) -> bool {
        self.wrapped == other.wrapped
    }
}

impl Eq for WrappedKey {}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wrapped.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hkdf;

    use super::*;

    #[test]
    fn a_derived_key_is_that_of_hkdf() {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"passbridge").extract(b"secret");
        let mut key = [0; 32];
        let okm = extracted.expand(&[b"passbridge:wrap access"], hkdf::HKDF_SHA256).unwrap();
        okm.fill(&mut key).unwrap();
        assert_eq!(*SealingKey::derive(b"secret", "wrap access").0, key);
    }

    /// Chance that is none.
    #[derive(Debug)]
    struct Fixed;

    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    const BINDING: Binding<'_> = Binding { purpose: "access-key", owner: b"a family" };

    #[test]
    fn what_does_not_open_leaves_the_bytes_as_they_were() {
        let key = SealingKey::random(&Fixed);
        let sealed = key.seal_token(&"a value".into(), BINDING, &Fixed);
        let mut bytes = b"Bearer ".to_vec();
        let other = Binding { purpose: "access-jwt", ..BINDING };
        assert_eq!(key.open_token_behind(&sealed, other, &mut bytes), Err(DoesNotOpen));
        assert_eq!(bytes, b"Bearer ");
        let short = Sealed::from_bytes(sealed.as_bytes()[..NONCE_LEN + 3].to_vec());
        assert_eq!(key.open_token_behind(&short, BINDING, &mut bytes), Err(DoesNotOpen));
        key.open_token_behind(&sealed, BINDING, &mut bytes).unwrap();
        assert_eq!(bytes, b"Bearer a value");
    }

    #[test]
    fn a_key_at_hand_is_that_which_was_wrapped_and_opens_with_its_own_uuid_alone() {
        let token = |last: char| OpaqueToken::parse(&format!("b018f31a-c2ef-4274-9fc8-7e3bf99dd3b{last}")).unwrap();
        let (ours, other) = (token('a'), token('b'));
        let data_key = SealingKey::random(&Fixed);
        let wrapped = data_key.wrap(&SealingKey::of_token(&ours, TokenUse::Access), BINDING, &Fixed);
        let key = WrappedKey::from(wrapped.clone());
        assert!(key.open(&other, BINDING).is_err());
        assert!(key.masked.get().is_none(), "who does not open it leaves nothing at hand");
        for _ in 0..2 {
            assert_eq!(*key.open(&ours, BINDING).unwrap().0, *data_key.0);
        }
        assert!(key.masked.get().is_some_and(|masked| *masked != *data_key.0), "it lies there masked");
        assert_ne!(*key.open(&other, BINDING).unwrap().0, *data_key.0);
        let kept = postcard::to_stdvec(&key).unwrap();
        assert_eq!(kept, postcard::to_stdvec(&wrapped).unwrap(), "what is kept is what was wrapped");
        assert!(postcard::from_bytes::<WrappedKey>(&kept).unwrap().masked.get().is_none());
    }
}
