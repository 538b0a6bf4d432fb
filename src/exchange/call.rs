//! A call with an access UUID: whose it is, and the JWT that goes on in its place.

use std::sync::Arc;

use super::access::{Locked, Standing};
use super::{Exchange, store_failed};
use crate::domain::client::Client;
use crate::domain::dialect::{Dialect, Endpoint};
use crate::domain::family::{AccessFate, AccessRecord};
use crate::domain::opaque::{Fingerprint, OpaqueToken, TokenUse};
use crate::domain::refresh::Over;
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::domain::seal::NONCE;
use crate::legacy::reply::{self, Reply};
use crate::telemetry::Trail;

/// Who calls, and with what the call goes on.
#[derive(Debug)]
pub struct Caller {
    /// The client that the UUID was issued to.
    pub client: Arc<Client>,
    /// The realm's access token.
    pub jwt: Locked,
}

/// Tells one JWT of a UUID from those before and after it, and says nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Which(Option<[u8; NONCE]>);

/// A request or a call that is turned away, and the dialect that its sender hears.
#[derive(Debug)]
pub struct Turned {
    pub(super) dialect: Arc<Dialect>,
    pub(super) refusal: Refusal,
}

impl Turned {
    /// Why.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.refusal.cause
    }

    /// Keeps the refusal for the trail, and says it in the dialect's words: the one place where a cause becomes a reply.
    #[must_use]
    pub fn reply(self, endpoint: Endpoint, trail: &mut Trail) -> Reply {
        let reply = reply::refusal(&self.dialect, endpoint, self.refusal.cause);
        trail.refusal = Some(self.refusal);
        reply
    }
}

impl Exchange {
    /// Turns a call away that nobody of ours has made, or not yet.
    #[must_use]
    pub fn turn(&self, client: Option<&Client>, refusal: Refusal) -> Turned {
        let stranger = || Arc::clone(self.bridge.snapshot.load().table.default_dialect());
        Turned { dialect: client.map_or_else(stranger, |client| Arc::clone(&client.dialect)), refusal }
    }

    /// Finds the JWT behind an access UUID, renewed where that is due.
    ///
    /// # Errors
    /// The UUID is over or unknown, its JWT is over and the realm cannot be asked, or the store fails.
    pub async fn call(self: &Arc<Self>, token: &OpaqueToken, trail: &mut Trail) -> Result<Caller, Turned> {
        let fingerprint = token.fingerprint(TokenUse::Access);
        trail.token = Some(fingerprint);
        let standing = match self.bridge.store.look_up(&fingerprint).await {
            Ok(Some(record)) => self.standing_of(token, record).await,
            Ok(None) => Ok(Standing::Unknown),
            // Whose it is cannot be looked up either: each look at a store that hangs would take as long.
            Err(error) => return Err(self.turn(None, store_failed(error))),
        };
        self.caller(fingerprint, standing, trail).await
    }

    /// Who calls, by what the access UUID stands for.
    pub(super) async fn caller(
        &self,
        fingerprint: Fingerprint,
        standing: Result<Standing, Refusal>,
        trail: &mut Trail,
    ) -> Result<Caller, Turned> {
        let refusal = match standing {
            Ok(Standing::Good(jwt)) => {
                let record = &jwt.record;
                trail.family = Some(record.family);
                if let Some(client) = self.bridge.snapshot.load().table.client(&record.client) {
                    trail.client = Some(Arc::clone(client));
                    return Ok(Caller { client: Arc::clone(client), jwt });
                }
                nobodys(&record.client)
            }
            Ok(Standing::Over(over)) => Refusal::client(Cause::TokenOver, why(over)),
            Ok(Standing::Unknown) => Refusal::client(Cause::TokenUnknown, "nobody was given this token here"),
            Err(refusal) => refusal,
        };
        // Rare enough to look once more whose it was: the answer is to be in that client's dialect.
        if refusal.cause != Cause::TokenUnknown
            && let Ok(Some(record)) = self.bridge.store.access(&fingerprint).await
        {
            trail.family = Some(record.family);
            trail.client = self.bridge.snapshot.load().table.client(&record.client).cloned();
        }
        Err(self.turn(trail.client.clone().as_deref(), refusal))
    }
}

/// Whose client the mapping in use does not have: a slip, or another instance has it by now.
pub(super) fn nobodys(client: &str) -> Refusal {
    Refusal::server(Fault::Operator, format!("the client of this token is in no mapping any more: {client}"))
}

impl Which {
    pub(super) fn of(record: &AccessRecord) -> Self {
        match &record.fate {
            AccessFate::Live { jwt, .. } => Self(jwt.nonce()),
            AccessFate::Over(_) => Self(None),
        }
    }
}

fn why(over: Over) -> &'static str {
    match over {
        Over::Expired => "the token's promised time has passed",
        Over::Refused => "its JWT is over, and the realm gives no other",
        Over::Ended(ending) => ending.sentence(),
    }
}
