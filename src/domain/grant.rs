//! What is asked of the realm and what it grants.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::client::Client;
use super::dialect::GrantKind;
use super::refusal::Refusal;
use super::time::Timestamp;
use super::wiped::Wiped;

/// The client's wish in the realm's words. Its secrets are added by whoever sends it.
pub struct RealmRequest {
    /// Whose wish it is.
    pub client: Arc<Client>,
    /// Login or refresh.
    pub kind: GrantKind,
    /// The fields, without the client's credentials, in order.
    pub fields: Vec<(String, Wiped<String>)>,
    /// The legacy client's address, for the realm's log and brute-force guard.
    pub address: Option<IpAddr>,
}

impl fmt::Debug for RealmRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealmRequest")
            .field("client", &self.client.client_id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What the realm granted.
#[derive(Debug)]
pub struct RealmGrant {
    /// The access token, a JWT.
    pub access_token: SecretString,
    /// How long it lives, from when the realm gave it.
    pub access_life: Duration,
    /// The refresh token, where there is one.
    pub refresh: Option<RealmRefresh>,
    /// The granted scope in the realm's words; `None`: what was asked for (RFC 6749 section 5.1).
    pub scope: Option<String>,
    /// `session_state`, or the claim `sid`: opaque text.
    pub session: Option<String>,
    /// The user's name at the realm, where the token says it.
    pub user: Option<String>,
}

/// The realm's refresh token.
#[derive(Debug)]
pub struct RealmRefresh {
    /// The token.
    pub token: SecretString,
    /// How long it lives, from when the realm gave it; `None`: it does not end by time.
    pub life: Option<Duration>,
}

impl RealmRefresh {
    /// When it ends; [`Timestamp::NEVER`] where it does not end by time.
    #[must_use]
    pub fn until(&self, given: Timestamp) -> Timestamp {
        self.life.map_or(Timestamp::NEVER, |life| given.plus(life))
    }
}

/// What became of the passport or the refresh token that was sent (CONTRACT section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Surely not spent.
    Unspent,
    /// The realm decided: the question is settled.
    Settled,
    /// Nobody knows. Never to be sent again.
    Unknown,
}

impl Fate {
    /// The word in logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unspent => "unspent",
            Self::Settled => "settled",
            Self::Unknown => "unknown",
        }
    }
}

/// The realm did not grant.
#[derive(Clone, Debug)]
pub struct NotGranted {
    /// What the client hears and what the log hears.
    pub refusal: Refusal,
    /// What became of what was sent.
    pub fate: Fate,
    /// The realm refused our own credentials for this client.
    pub our_credentials: bool,
    /// The realm said that the session of the refresh token is gone, and did not refuse it for another reason while the session may stay.
    pub session_gone: bool,
}
