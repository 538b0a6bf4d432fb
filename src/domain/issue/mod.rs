//! A grant of the realm becomes a family with its first pair of opaque tokens.

mod remembered;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use self::remembered::{MOST_ACCESS, MOST_ENDED, MOST_REFRESH, ended};
use self::remembered::{prolonged, remembered};
use super::chance::{Drawn, Entropy};
use super::client::Client;
use super::family::{
    AccessFate, AccessRecord, Family, FamilyId, FamilyState, Member, NewFamily, RefreshRecord, Replay,
};
use super::grant::RealmGrant;
use super::opaque::{Fingerprint, OpaqueToken, TokenUse};
use super::promise::{self, Promise, RealmLife};
use super::scope;
use super::seal::{Binding, Sealed, SealingKey};
use super::time::Timestamp;

/// What the client is told.
#[derive(Debug)]
pub struct TokenReply {
    /// The `grant_type` of the request.
    pub grant_type: String,
    /// The access UUID.
    pub access: OpaqueToken,
    /// The refresh UUID, where the realm gave a refresh token.
    pub refresh: Option<OpaqueToken>,
    /// How long the access UUID lives.
    pub expires_in: Duration,
    /// Granted scope in legacy words.
    pub scope: String,
}

#[derive(Serialize, Deserialize)]
struct KeptReply<'a> {
    grant_type: &'a str,
    access: &'a str,
    refresh: Option<&'a str>,
    expires_in: u64,
    scope: &'a str,
}

impl TokenReply {
    /// The reply as it is sealed for the grace window.
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let kept = KeptReply {
            grant_type: &self.grant_type,
            access: self.access.expose(),
            refresh: self.refresh.as_ref().map(OpaqueToken::expose),
            expires_in: self.expires_in.as_secs(),
            scope: &self.scope,
        };
        Zeroizing::new(postcard::to_stdvec(&kept).unwrap_or_default())
    }

    /// A reply out of its seal; `None`: these bytes are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let kept: KeptReply<'_> = postcard::from_bytes(bytes).ok()?;
        let refresh = match kept.refresh {
            None => None,
            Some(text) => Some(OpaqueToken::parse(text)?),
        };
        Some(Self {
            grant_type: kept.grant_type.to_owned(),
            access: OpaqueToken::parse(kept.access)?,
            refresh,
            expires_in: Duration::from_secs(kept.expires_in),
            scope: kept.scope.to_owned(),
        })
    }
}

/// A family that was just born: the store keeps the one half, the client hears the other.
#[derive(Debug)]
pub struct Issued {
    /// For the store.
    pub family: NewFamily,
    /// For the client.
    pub reply: TokenReply,
    /// The full legacy promise is kept.
    pub promise_kept: bool,
}

/// What a login asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whose login.
    pub client: &'a Client,
    /// The `grant_type` of the request.
    pub grant_type: &'a str,
    /// The scope in legacy words.
    pub scope: Option<&'a str>,
}

/// A pair that was just minted, with its records.
struct Pair {
    access: OpaqueToken,
    access_entry: (Fingerprint, AccessRecord),
    refresh: Option<OpaqueToken>,
    refresh_entry: Option<(Fingerprint, RefreshRecord)>,
    promise: Promise,
    renewal: Option<Sealed>,
    renewal_until: Timestamp,
}

impl Pair {
    fn members(&self) -> Vec<Member> {
        let (fingerprint, record) = &self.access_entry;
        let access = Member { token_use: TokenUse::Access, fingerprint: *fingerprint, until: record.until };
        let refresh = self.refresh_entry.iter();
        let refresh = refresh.map(|(fingerprint, record)| Member {
            token_use: TokenUse::Refresh,
            fingerprint: *fingerprint,
            until: record.until,
        });
        std::iter::once(access).chain(refresh).collect()
    }

    fn reply(&self, grant_type: &str, scope: &str) -> TokenReply {
        TokenReply {
            grant_type: grant_type.to_owned(),
            access: self.access.clone(),
            refresh: self.refresh.clone(),
            expires_in: self.promise.lifetime,
            scope: scope.to_owned(),
        }
    }
}

/// What a pair is minted for.
struct For<'a> {
    client: &'a Client,
    family: FamilyId,
    data_key: &'a SealingKey,
    generation: u32,
    scope: &'a Arc<str>,
    /// How long it could be refreshed so far.
    renewable_until: Timestamp,
}

fn pair(what: &For<'_>, grant: &RealmGrant, moment: Moment<'_>) -> Pair {
    let Moment { given, now, entropy, .. } = moment;
    let (client, id, data_key) = (what.client, what.family, what.data_key);
    let rules = &client.dialect.tokens;
    let life = RealmLife { access: grant.access_life, refresh: grant.refresh.as_ref().into() };
    let promise = promise::honest(client.promise(), rules.rounding, life.after(now.since(given)));
    let renewal_until = renewable_until(grant, &moment, what.renewable_until);

    let access = OpaqueToken::mint(entropy, rules.shape, now);
    let access_record = AccessRecord {
        family: id,
        client: client.legacy_id.clone(),
        scope: Arc::clone(what.scope),
        issued: now,
        until: now.plus(promise.lifetime),
        fate: AccessFate::Live {
            jwt: data_key.seal_token(&grant.access_token, binding(ACCESS_JWT, &id), entropy),
            jwt_since: now,
            jwt_until: given.plus(grant.access_life),
            key: data_key
                .wrap(&SealingKey::of_token(&access, TokenUse::Access), binding(ACCESS_KEY, &id), entropy)
                .into(),
        },
    };
    let refresh = grant.refresh.is_some().then(|| OpaqueToken::mint(entropy, rules.shape, now));
    let refresh_entry = refresh.as_ref().map(|token| {
        let key = data_key.wrap(&SealingKey::of_token(token, TokenUse::Refresh), binding(REFRESH_KEY, &id), entropy);
        let client = client.legacy_id.clone();
        let record =
            RefreshRecord { family: id, client, generation: what.generation, key, issued: now, until: renewal_until };
        (token.fingerprint(TokenUse::Refresh), record)
    });
    Pair {
        access_entry: (access.fingerprint(TokenUse::Access), access_record),
        access,
        refresh,
        refresh_entry,
        promise,
        renewal: renewal(grant, &id, data_key, entropy),
        renewal_until,
    }
}

/// The realm's refresh token as it is kept.
fn renewal(grant: &RealmGrant, id: &FamilyId, data_key: &SealingKey, entropy: &dyn Entropy) -> Option<Sealed> {
    let token = &grant.refresh.as_ref()?.token;
    Some(data_key.seal_token(token, binding(REALM_REFRESH, id), entropy))
}

/// When it ends; at once, where there is none. Where the clock was set back no sooner than the one before it: that may be right again before long, and what
/// is over the realm itself refuses. One without an end gives no other that.
fn renewable_until(grant: &RealmGrant, moment: &Moment<'_>, before: Timestamp) -> Timestamp {
    let given = moment.given;
    let least = before.ends().filter(|_| moment.was_set_back).unwrap_or(given);
    grant.refresh.as_ref().map_or(given, |refresh| refresh.until(given).max(least))
}

/// Random bytes that a login takes: the family's id, its data key, two UUIDs, and the nonces of four seals.
const FOR_A_LOGIN: usize = 16 + 32 + 2 * 16 + 4 * 12;

/// Mints the first pair of a new family.
pub fn mint(asked: Asked<'_>, grant: &RealmGrant, moment: Moment<'_>) -> Issued {
    let client = asked.client;
    let entropy = &Drawn::<FOR_A_LOGIN>::from(moment.entropy);
    let moment = Moment { entropy, ..moment };
    let id = FamilyId::random(entropy);
    let data_key = SealingKey::random(entropy);
    let scope: Arc<str> = scope::to_legacy(client, asked.scope, grant.scope.as_deref()).into();
    let what =
        For { client, family: id, data_key: &data_key, generation: 0, scope: &scope, renewable_until: moment.given };
    let pair = pair(&what, grant, moment);
    let family = Family {
        id,
        client: client.legacy_id.clone(),
        born: moment.now,
        scope: scope.clone(),
        session: grant.session.as_ref().map(|session| Fingerprint::of("session", session.as_bytes())),
        user: grant.user.as_ref().map(|user| Fingerprint::of("user", user.as_bytes())),
        renewal: pair.renewal.clone(),
        renewal_until: pair.renewal_until,
        generation: 0,
        state: FamilyState::Resting,
        replay: None,
        members: pair.members(),
    };
    Issued {
        reply: pair.reply(asked.grant_type, &scope),
        promise_kept: pair.promise.kept,
        family: NewFamily { family, access: pair.access_entry, refresh: pair.refresh_entry },
    }
}

/// What a rotation changes: the family as it will be, and the records of its new pair.
#[derive(Debug)]
pub struct Rotated {
    /// The family, one generation later.
    pub family: Family,
    /// The new access UUID's record.
    pub access: (Fingerprint, AccessRecord),
    /// The new refresh UUID's record.
    pub refresh: Option<(Fingerprint, RefreshRecord)>,
    /// Members that are not remembered any more: too many (see [`MOST_ACCESS`], [`MOST_ENDED`]).
    pub forgotten: Vec<Member>,
}

/// The refresh UUID that is being used, and what it opened.
#[derive(Clone, Copy, Debug)]
pub struct Used<'a> {
    /// The UUID.
    pub token: &'a OpaqueToken,
    /// The family's data key.
    pub data_key: &'a SealingKey,
}

/// Mints the next pair of a family. Whoever loses the answer can fetch it again with the same refresh UUID.
pub fn rotate(family: &Family, asked: Asked<'_>, used: Used<'_>, grant: &RealmGrant, moment: Moment<'_>) -> Rotated {
    let Moment { now, believed, entropy, .. } = moment;
    let scope: Arc<str> = match asked.scope {
        Some(_) => scope::to_legacy(asked.client, asked.scope, grant.scope.as_deref()),
        None => scope::still_granted(asked.client, &family.scope, grant.scope.as_deref()),
    }
    .into();
    let generation = family.generation.saturating_add(1);
    let data_key = used.data_key;
    let (client, renewable_until) = (asked.client, family.renewal_until);
    let pair =
        pair(&For { client, family: family.id, data_key, generation, scope: &scope, renewable_until }, grant, moment);
    let reply = pair.reply(asked.grant_type, &scope);
    let sealed = SealingKey::of_reply(used.token).seal(&reply.to_bytes(), binding(REPLY, &family.id), entropy);
    // Every UUID is remembered as long as its family lives: any of them ends it, and reuse is told from nonsense.
    let (members, forgotten) = remembered(&family.members, pair.members(), believed);
    let family = Family {
        generation,
        replay: Some(Replay { reply: sealed, since: now }),
        members,
        ..behind(family, pair.renewal.clone(), pair.renewal_until)
    };
    Rotated { family, access: pair.access_entry, refresh: pair.refresh_entry, forgotten }
}

/// The family with what the realm gave behind it. Where that was no refresh token, the one that was asked with ends the session, and nothing else.
fn behind(family: &Family, renewal: Option<Sealed>, renewal_until: Timestamp) -> Family {
    match renewal {
        Some(renewal) => {
            Family { renewal: Some(renewal), renewal_until, state: FamilyState::Resting, ..family.clone() }
        }
        None => Family { state: FamilyState::Unrefreshable, ..family.clone() },
    }
}

/// A new JWT behind the access UUIDs that there are; the pair stays the client's.
pub fn renew(
    family: &Family,
    access: Vec<(Fingerprint, AccessRecord)>,
    data_key: &SealingKey,
    grant: &RealmGrant,
    moment: Moment<'_>,
) -> (Family, Vec<(Fingerprint, AccessRecord)>) {
    let Moment { given, now, entropy, .. } = moment;
    let jwt = data_key.seal_token(&grant.access_token, binding(ACCESS_JWT, &family.id), entropy);
    let renewed = |(fingerprint, record): (Fingerprint, AccessRecord)| {
        let fate = match record.fate {
            AccessFate::Live { key, .. } => {
                AccessFate::Live { jwt: jwt.clone(), jwt_since: now, jwt_until: given.plus(grant.access_life), key }
            }
            over @ AccessFate::Over(_) => over,
        };
        (fingerprint, AccessRecord { fate, ..record })
    };
    let until = renewable_until(grant, &moment, family.renewal_until);
    let family = behind(family, renewal(grant, &family.id, data_key, entropy), until);
    let family = Family { members: prolonged(&family.members, family.renewal_until), ..family };
    (family, access.into_iter().map(renewed).collect())
}

/// When something happens, and the chance it happens with.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// When the realm was asked: what it gave lives from then at the earliest, however late its answer comes or is kept.
    pub given: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// What of that is believed where somebody is forgotten for good (`domain/horizon.rs`).
    pub believed: Timestamp,
    /// Whether this process has found the clock set back (`domain/set_back.rs`).
    pub was_set_back: bool,
    /// Chance.
    pub entropy: &'a dyn Entropy,
}

/// Purpose of a sealed access JWT.
pub const ACCESS_JWT: &str = "access-jwt";
/// Purpose of a data key wrapped for an access UUID.
pub const ACCESS_KEY: &str = "access-key";
/// Purpose of a data key wrapped for a refresh UUID.
pub const REFRESH_KEY: &str = "refresh-key";
/// Purpose of the sealed refresh token of the realm.
pub const REALM_REFRESH: &str = "realm-refresh";
/// Purpose of a sealed reply.
pub const REPLY: &str = "reply";

/// Binds a sealed value to its family.
#[must_use]
pub fn binding<'a>(purpose: &'static str, id: &'a FamilyId) -> Binding<'a> {
    Binding { purpose, owner: &id.0 }
}

#[cfg(test)]
mod tests;
