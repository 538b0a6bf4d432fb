//! A grant of the realm becomes a family with its first pair of opaque tokens.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::chance::Entropy;
use super::client::Client;
use super::family::{AccessFate, AccessRecord, Family, FamilyId, FamilyState, Member, NewFamily, RefreshRecord};
use super::grant::RealmGrant;
use super::opaque::{Fingerprint, OpaqueToken, TokenUse};
use super::promise::{self, RealmLife};
use super::scope;
use super::seal::{Binding, SealingKey};
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

/// Mints the first pair.
pub fn mint(asked: Asked<'_>, grant: &RealmGrant, now: Timestamp, entropy: &dyn Entropy) -> Issued {
    let client = asked.client;
    let rules = &client.dialect.tokens;
    let id = FamilyId::random(entropy);
    let data_key = SealingKey::random(entropy);
    let told_scope = scope::to_legacy(client, asked.scope, grant.scope.as_deref());
    let life = RealmLife { access: grant.access_life, refresh: grant.refresh.as_ref().map(|refresh| refresh.life) };
    let promise = promise::honest(client.promise(), rules.rounding, life);

    let access = OpaqueToken::mint(entropy, rules.shape, now);
    let until = now.plus(promise.lifetime);
    let access_record = AccessRecord {
        family: id,
        client: client.legacy_id.clone(),
        scope: told_scope.clone(),
        issued: now,
        until,
        fate: AccessFate::Live {
            jwt: data_key.seal(grant.access_token.expose_secret().as_bytes(), binding(ACCESS_JWT, &id), entropy),
            jwt_until: now.plus(grant.access_life),
            key: data_key.wrap(&SealingKey::of_token(&access, TokenUse::Access), binding(ACCESS_KEY, &id), entropy),
        },
    };
    let mut members =
        vec![Member { token_use: TokenUse::Access, fingerprint: access.fingerprint(TokenUse::Access), until }];

    let renewal_until =
        grant.refresh.as_ref().map_or(now, |refresh| refresh.life.map_or(Timestamp::NEVER, |life| now.plus(life)));
    let renewal = grant
        .refresh
        .as_ref()
        .map(|refresh| data_key.seal(refresh.token.expose_secret().as_bytes(), binding(REALM_REFRESH, &id), entropy));
    let refresh = grant.refresh.is_some().then(|| OpaqueToken::mint(entropy, rules.shape, now));
    let refresh_record = refresh.as_ref().map(|token| {
        let key = data_key.wrap(&SealingKey::of_token(token, TokenUse::Refresh), binding(REFRESH_KEY, &id), entropy);
        let record = RefreshRecord {
            family: id,
            client: client.legacy_id.clone(),
            generation: 0,
            key,
            issued: now,
            until: renewal_until,
        };
        (token.fingerprint(TokenUse::Refresh), record)
    });
    members.extend(refresh_record.iter().map(|(fingerprint, record)| Member {
        token_use: TokenUse::Refresh,
        fingerprint: *fingerprint,
        until: record.until,
    }));

    let family = Family {
        id,
        client: client.legacy_id.clone(),
        born: now,
        scope: told_scope.clone(),
        session: grant.session.as_ref().map(|session| Fingerprint::of("session", session.as_bytes())),
        user: grant.user.as_ref().map(|user| Fingerprint::of("user", user.as_bytes())),
        renewal,
        renewal_until,
        generation: 0,
        state: FamilyState::Resting,
        members,
    };
    let access_entry = (access.fingerprint(TokenUse::Access), access_record);
    Issued {
        family: NewFamily { family, access: access_entry, refresh: refresh_record },
        reply: TokenReply {
            grant_type: asked.grant_type.to_owned(),
            access,
            refresh,
            expires_in: promise.lifetime,
            scope: told_scope,
        },
        promise_kept: promise.kept,
    }
}

/// Purpose of a sealed access JWT.
pub const ACCESS_JWT: &str = "access-jwt";
/// Purpose of a data key wrapped for an access UUID.
pub const ACCESS_KEY: &str = "access-key";
/// Purpose of a data key wrapped for a refresh UUID.
pub const REFRESH_KEY: &str = "refresh-key";
/// Purpose of the sealed refresh token of the realm.
pub const REALM_REFRESH: &str = "realm-refresh";

/// Binds a sealed value to its family.
#[must_use]
pub fn binding<'a>(purpose: &'static str, id: &'a FamilyId) -> Binding<'a> {
    Binding { purpose, owner: &id.0 }
}
