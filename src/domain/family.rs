//! A family: one login and all that came of it.
//!
//! The records are the nouns that the store keeps. They hold no readable token: UUIDs as fingerprints, everything of the
//! realm sealed.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::chance::{Entropy, random};
use super::opaque::{Fingerprint, TokenUse, hexadecimal};
use super::seal::{Sealed, WrappedKey};
use super::time::Timestamp;

/// Names a family: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FamilyId(pub [u8; 16]);

impl FamilyId {
    /// A new one.
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(random(entropy))
    }
}

impl fmt::Display for FamilyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(&self.0).try_for_each(|digit| f.write_char(digit))
    }
}

impl FromStr for FamilyId {
    type Err = NoFamilyId;

    fn from_str(text: &str) -> Result<Self, NoFamilyId> {
        // The standard library takes a sign for a digit's equal.
        let is_one = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_one.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or(NoFamilyId)
    }
}

/// That is no name of a family: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFamilyId;

impl fmt::Debug for FamilyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FamilyId({self})")
    }
}

/// Why a family is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The client revoked it.
    Revoked,
    /// An operator revoked it.
    RevokedByOperator,
    /// The realm ended its session (back-channel logout, or found at a renewal).
    SessionEnded,
    /// A used refresh UUID came again, and the dialect ends the login for that.
    Reused,
    /// A newer access UUID took its place, and the dialect ends the older one for that.
    Replaced,
}

impl Ending {
    /// Who ended it, for operators.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Revoked => "the client revoked its login",
            Self::RevokedByOperator => "an operator ended the login",
            Self::SessionEnded => "the realm ended the login's session, or takes its user no more",
            Self::Reused => "the login was ended, as a used refresh token came again",
            Self::Replaced => "a newer access token took its place",
        }
    }
}

/// What an access UUID opens. Complete in itself, so that an API call is one look-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRecord {
    /// The family it belongs to.
    pub family: FamilyId,
    /// The legacy client it was issued to.
    #[serde(deserialize_with = "lent")]
    pub client: Arc<str>,
    /// The granted scope in legacy words, separated by blanks.
    #[serde(deserialize_with = "lent")]
    pub scope: Arc<str>,
    /// When the UUID was issued.
    pub issued: Timestamp,
    /// The promise: the UUID is good until then.
    pub until: Timestamp,
    /// Still good, or why not: what ended is remembered until its promised end, so that a client hears *over*, not *unknown*.
    pub fate: AccessFate,
}

/// A text out of the bytes that are read, copied once: serde's own way is by a `String`.
fn lent<'de, D: Deserializer<'de>>(bytes: D) -> Result<Arc<str>, D::Error> {
    <&str>::deserialize(bytes).map(Arc::from)
}

/// Whether an access UUID still opens anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessFate {
    /// Good.
    Live {
        /// The realm's access token (purpose `access-jwt`), under the family's data key.
        jwt: Sealed,
        /// When the realm gave that JWT.
        jwt_since: Timestamp,
        /// When that JWT ends.
        jwt_until: Timestamp,
        /// The data key, wrapped for this UUID.
        key: WrappedKey,
    },
    /// Over: nothing of the realm is kept.
    Over(Ending),
}

/// What a refresh UUID opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshRecord {
    /// The family it belongs to.
    pub family: FamilyId,
    /// The legacy client it was issued to.
    pub client: Arc<str>,
    /// Which rotation of the family this UUID came from: 0 for the login's.
    pub generation: u32,
    /// The data key, wrapped for this UUID.
    pub key: Sealed,
    /// When the UUID was issued.
    pub issued: Timestamp,
    /// When the realm's refresh token behind it ends, as it was then; of the newest one the family knows better
    /// ([`Family::renewal_until`]).
    pub until: Timestamp,
}

impl RefreshRecord {
    /// Whether its family has ended: then nothing is left that it could open.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.key.as_bytes().is_empty()
    }
}

/// A UUID of the family, by fingerprint. Past its own end it is remembered on while the family lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Access or refresh.
    pub token_use: TokenUse,
    /// Which.
    pub fingerprint: Fingerprint,
    /// Remembered until then at least.
    pub until: Timestamp,
}

/// The family itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// Its name.
    pub id: FamilyId,
    /// The legacy client it was issued to.
    pub client: Arc<str>,
    /// When the login was.
    pub born: Timestamp,
    /// The granted scope in legacy words.
    pub scope: Arc<str>,
    /// Fingerprint (purpose `session`) of the realm's `sid`, for back-channel logout.
    pub session: Option<Fingerprint>,
    /// Fingerprint (purpose `user`) of the passport user's name, for `token find`.
    pub user: Option<Fingerprint>,
    /// The realm's refresh token (purpose `realm-refresh`), under the data key; `None` where the realm gave none.
    pub renewal: Option<Sealed>,
    /// When the realm's refresh token ends; [`Timestamp::NEVER`] where it does not end.
    pub renewal_until: Timestamp,
    /// Which rotation is the newest: 0 after the login.
    pub generation: u32,
    /// What may be done with it.
    pub state: FamilyState,
    /// The answer of the newest rotation, for whoever lost it.
    pub replay: Option<Replay>,
    /// Every UUID that is still remembered, in the order in which they were issued; bounded (`issue::MOST_ACCESS`).
    pub members: Vec<Member>,
}

impl Family {
    /// Whether it has ended.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, FamilyState::Over(_))
    }

    /// One that rests and has nothing of the realm, for tests.
    #[cfg(test)]
    pub(crate) fn resting(id: FamilyId) -> Self {
        Self {
            id,
            client: "l7xx".into(),
            born: Timestamp::from_secs(0),
            scope: "".into(),
            session: None,
            user: None,
            renewal: None,
            renewal_until: Timestamp::from_secs(3600),
            generation: 0,
            state: FamilyState::Resting,
            replay: None,
            members: Vec::new(),
        }
    }
}

/// The answer of a rotation, kept for the grace window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The pair (purpose `reply`), readable only with the refresh UUID that it was made for.
    pub reply: Sealed,
    /// When it was made.
    pub since: Timestamp,
}

/// What may be done with a family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FamilyState {
    /// Nobody is asking the realm; the newest refresh UUID may be used.
    Resting,
    /// Its realm refresh token is on its way to the realm, under this fence, since then.
    Asking {
        /// The lease's fencing number.
        fence: u64,
        /// When the question was sent.
        since: Timestamp,
    },
    /// The realm's refresh token may have been spent, and the answer is lost or had none: no refresh any more.
    Unrefreshable,
    /// Over.
    Over(Ending),
}

/// The family as it is born, with its first pair, ready to be kept: all or nothing.
#[derive(Clone, Debug)]
pub struct NewFamily {
    /// The family.
    pub family: Family,
    /// Its access UUID's record.
    pub access: (Fingerprint, AccessRecord),
    /// Its refresh UUID's record, where the realm gave a refresh token.
    pub refresh: Option<(Fingerprint, RefreshRecord)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_named_by_its_own_text_and_by_no_other() {
        let id = FamilyId([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "ab", "+bababababababababababababababab", "-bababababababababababababababab", &"ab".repeat(17)]
        {
            assert_eq!(text.parse::<FamilyId>(), Err(NoFamilyId), "{text}");
        }
    }
}
