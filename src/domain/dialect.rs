//! A dialect: the old server's way of speaking, as data (CONTRACT section 3). Read from a file by `mapping::dialect`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::opaque::TokenShape;
use super::refusal::{Cause, Fault};

/// One old server's way of speaking.
#[derive(Clone, Debug)]
pub struct Dialect {
    /// The file's name without its ending.
    pub name: String,
    /// Where it listens.
    pub endpoints: Endpoints,
    /// The parameters that carry a client's credentials.
    pub credentials: CredentialFields,
    /// The grants it takes, by their `grant_type`.
    pub grants: BTreeMap<String, Grant>,
    /// How tokens are written and how long they live.
    pub tokens: TokenRules,
    /// How replies are laid out.
    pub layout: Layout,
    /// How errors are numbered; `None`: they are not.
    pub error_code: Option<ErrorCode>,
    /// What each cause becomes. Complete: every [`Cause`] has its row.
    pub causes: BTreeMap<Cause, CauseRow>,
    /// What the realm's errors mean.
    pub realm: RealmRules,
}

impl Dialect {
    /// Whether a parameter of this name means something at one of its endpoints.
    #[must_use]
    pub fn has_parameter(&self, name: &str) -> bool {
        let is_of =
            |grant: &Grant| grant.scope.as_deref() == Some(name) || grant.fields.iter().any(|field| field.name == name);
        ["grant_type", "token", "token_type_hint"].contains(&name)
            || name == self.credentials.id
            || name == self.credentials.secret
            || self.grants.values().any(is_of)
    }
}

/// Paths of the endpoints, each with a leading `/`.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// Token endpoint (RFC 6749 section 3.2).
    pub token: String,
    /// Revocation endpoint (RFC 7009).
    pub revoke: String,
    /// Introspection endpoint (RFC 7662).
    pub introspect: String,
}

/// What was called: one of a dialect's endpoints, or an API through us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Token endpoint.
    Token,
    /// Revocation endpoint.
    Revoke,
    /// Introspection endpoint.
    Introspect,
    /// An API, through the gateway.
    Api,
    /// An authorization question of another proxy.
    Authz,
}

impl Endpoint {
    /// The word in logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::Introspect => "introspect",
            Self::Api => "api",
            Self::Authz => "authz",
        }
    }
}

/// Parameters that carry a client's credentials in body or query.
#[derive(Clone, Debug)]
pub struct CredentialFields {
    /// Usually `client_id`.
    pub id: String,
    /// Usually `client_secret`.
    pub secret: String,
}

/// A grant of the old server.
#[derive(Clone, Debug)]
pub struct Grant {
    /// What it does.
    pub kind: GrantKind,
    /// Fields of its own, besides `grant_type`, credentials and scope.
    pub fields: Vec<GrantField>,
    /// The parameter that carries the scope; `None` where the grant takes none.
    pub scope: Option<String>,
    /// Fields that the realm is sent whatever the client sends, `grant_type` among them.
    pub fixed: Vec<(String, String)>,
}

impl Grant {
    /// The parameter that says whose passport it is: `certificate` at the realm, else the first that must be there.
    #[must_use]
    pub fn passport_field(&self) -> Option<&str> {
        let certificate = self.fields.iter().find(|field| field.realm_name == "certificate");
        certificate.or_else(|| self.fields.iter().find(|field| field.required)).map(|field| field.name.as_str())
    }

    /// The parameter that carries the refresh UUID, of a grant that has one, and what is told where it is missing.
    #[must_use]
    pub fn refresh_field(&self) -> (&str, Cause) {
        let field = self.fields.iter().find(|field| field.realm_name == "refresh_token");
        field.map_or(("refresh_token", Cause::InvalidRequest), |field| (field.name.as_str(), field.cause))
    }
}

/// What a grant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrantKind {
    /// Begins a family: the realm is asked with the fields.
    Login,
    /// Continues one: the field `refresh_token` is a UUID of ours.
    Refresh,
}

/// A field of a grant.
#[derive(Clone, Debug)]
pub struct GrantField {
    /// Its name in the old request.
    pub name: String,
    /// Its name at the realm: the same, or renamed.
    pub realm_name: String,
    /// Refused when it is missing or empty.
    pub required: bool,
    /// The values that it may have; empty: any.
    pub values: Vec<String>,
    /// What a missing or forbidden value is told as.
    pub cause: Cause,
}

/// How tokens are written and how long they live.
#[derive(Clone, Debug)]
pub struct TokenRules {
    /// How new ones are written.
    pub shape: TokenShape,
    /// The `token_type` of a reply.
    pub token_type: String,
    /// The legacy promise where the mapping says nothing.
    pub access_token: Duration,
    /// How long a lost answer of a refresh can be fetched again.
    pub refresh_grace: Duration,
    /// How much missing time of the realm's is ours to carry.
    pub rounding: Duration,
    /// A refresh token used again after its grace window ends the family.
    pub reuse_ends_family: bool,
    /// A refresh ends the access UUID that it replaces.
    pub refresh_ends_old_access: bool,
}

/// How replies are laid out, byte for byte.
#[derive(Clone, Debug)]
pub struct Layout {
    /// `Content-Type` of every reply.
    pub content_type: String,
    /// Headers of every reply.
    pub headers: Vec<(String, String)>,
    /// Stands between members and after the opening brace.
    pub line_end: String,
    /// Stands before each member.
    pub indent: String,
    /// Members of a reply with tokens.
    pub token: Vec<Member>,
    /// Members of an error.
    pub error: Vec<Member>,
    /// Members of the answer to a revocation.
    pub revoked: Vec<Member>,
    /// Members of an introspection of a live token.
    pub active: Vec<Member>,
    /// Members of an introspection of anything else.
    pub inactive: Vec<Member>,
}

/// One line of a reply, e.g. `"expires_in":{expires_in}`: fixed text and places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member(pub Vec<Piece>);

/// A part of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes as they are.
    Text(String),
    /// A value, written as JSON. A member whose value is not there is left out.
    Value(Slot),
}

/// The values that a layout can place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The `grant_type` of the request.
    GrantType,
    /// The access UUID.
    AccessToken,
    /// The refresh UUID; not there where the realm gave no refresh token.
    RefreshToken,
    /// [`TokenRules::token_type`].
    TokenType,
    /// Seconds.
    ExpiresIn,
    /// Granted scope in legacy words.
    Scope,
    /// OAuth error of a cause.
    Error,
    /// Text of a cause; not there where the dialect gives none.
    ErrorDescription,
    /// Legacy client id.
    ClientId,
    /// The user's name at the realm.
    Username,
    /// Subject at the realm.
    Subject,
    /// End, seconds since 1970.
    Exp,
    /// Issue, seconds since 1970.
    Iat,
}

impl Slot {
    /// Every slot with the word that a dialect file uses for it.
    pub const WORDS: [(&'static str, Self); 13] = [
        ("grant_type", Self::GrantType),
        ("access_token", Self::AccessToken),
        ("refresh_token", Self::RefreshToken),
        ("token_type", Self::TokenType),
        ("expires_in", Self::ExpiresIn),
        ("scope", Self::Scope),
        ("error", Self::Error),
        ("error_description", Self::ErrorDescription),
        ("client_id", Self::ClientId),
        ("username", Self::Username),
        ("sub", Self::Subject),
        ("exp", Self::Exp),
        ("iat", Self::Iat),
    ];
}

/// What a cause becomes on the wire.
#[derive(Clone, Debug)]
pub struct CauseRow {
    /// HTTP status.
    pub status: u16,
    /// OAuth error.
    pub error: String,
    /// Text; `None`: the member is left out.
    pub description: Option<String>,
    /// The last three digits of the error code.
    pub code: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

/// The header that carries an error code, and its first four digits by endpoint.
#[derive(Clone, Debug)]
pub struct ErrorCode {
    /// Header name, e.g. `x-ca-err`.
    pub header: String,
    /// First digits at the token endpoint, for introspection and API calls.
    pub token: String,
    /// First digits at the revocation endpoint.
    pub revoke: String,
}

/// What the realm's answers mean.
#[derive(Clone, Debug, Default)]
pub struct RealmRules {
    /// Rows in order: the first that fits decides.
    pub errors: Vec<RealmErrorRow>,
    /// The scopes that the realm has, in its words, where the dialect says so.
    pub scopes: Option<Vec<String>>,
    /// How long a session there lasts at most, where the dialect says so.
    pub longest_session: Option<Duration>,
}

/// What one error of the realm means.
#[derive(Clone, Debug)]
pub struct RealmErrorRow {
    /// Its `error`.
    pub error: String,
    /// Its `error_description` must contain this; `None`: any.
    pub description: Option<String>,
    /// Only for this kind of grant; `None`: for both.
    pub grant: Option<GrantKind>,
    /// What the client hears.
    pub cause: Cause,
    /// Who has to act.
    pub fault: Fault,
    /// What was sent along (passport, refresh token) counts as spent.
    pub spent: bool,
    /// Our own credentials were refused: the second new secret may be tried.
    pub our_credentials: bool,
}
