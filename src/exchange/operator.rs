//! What an operator may do with logins: find them, and end them. By fingerprint, client or user; never sees a token.

use std::sync::Arc;

use super::revoke::Parted;
use super::{Exchange, store_failed};
use crate::domain::family::{Ending, Family};
use crate::domain::opaque::{Fingerprint, OpaqueToken, TokenUse};
use crate::domain::refusal::{Fault, Refusal};
use crate::store::Find;

/// Which logins are meant.
#[derive(Debug)]
pub enum Selector {
    /// That of this UUID, access or refresh.
    Token(OpaqueToken),
    /// Those whose UUIDs' fingerprints begin so, hexadecimal.
    Fingerprint(String),
    /// All of a legacy client.
    Client(String),
    /// All of a passport user.
    User(String),
}

/// Logins that were found; no more than were asked for.
#[derive(Debug)]
pub struct Found {
    /// The families.
    pub families: Vec<Family>,
    /// There may be more.
    pub more: bool,
}

/// A login that was ended.
#[derive(Debug)]
pub struct Ended {
    /// As it was before.
    pub family: Family,
    /// The realm is being told. Else its session runs out by itself: without a UUID nothing opens its refresh token.
    pub realm_told: bool,
}

/// No more than this many are found or ended at once.
const MOST: usize = 1_000;

impl Exchange {
    /// Finds logins.
    ///
    /// # Errors
    /// The store fails.
    pub async fn find_logins(&self, selector: &Selector) -> Result<Found, Refusal> {
        let store = &self.bridge.store;
        let families = match selector {
            Selector::Token(token) => {
                let mut families = Vec::new();
                for token_use in [TokenUse::Access, TokenUse::Refresh] {
                    let prefix = Find::Prefix(token.fingerprint(token_use).to_string());
                    families.extend(store.find(prefix, 1).await.map_err(store_failed)?);
                }
                families
            }
            Selector::Fingerprint(prefix) => {
                store.find(Find::Prefix(prefix.clone()), MOST).await.map_err(store_failed)?
            }
            Selector::Client(client) => store.find(Find::Client(client.clone()), MOST).await.map_err(store_failed)?,
            Selector::User(user) => {
                let user = Fingerprint::of("user", user.as_bytes());
                store.find(Find::User(user), MOST).await.map_err(store_failed)?
            }
        };
        Ok(Found { more: families.len() >= MOST, families })
    }

    /// Ends logins here, at once. With a UUID the realm is told too.
    ///
    /// # Errors
    /// The store fails.
    pub async fn end_logins(self: &Arc<Self>, selector: &Selector) -> Result<Vec<Ended>, Refusal> {
        let found = self.find_logins(selector).await?;
        let mut ended = Vec::with_capacity(found.families.len());
        for family in found.families {
            let parted = match selector {
                Selector::Token(token) => self.part_by_token(token, &family).await?,
                Selector::Fingerprint(_) | Selector::Client(_) | Selector::User(_) => None,
            };
            let parted = match parted {
                Some(parted) => Some(parted),
                None => {
                    let before = self.bridge.store.end(family.id, Ending::RevokedByOperator).await;
                    before.map_err(store_failed)?.map(|family| Parted { family, realm_told: false })
                }
            };
            ended.extend(parted.map(|Parted { family, realm_told }| Ended { family, realm_told }));
        }
        Ok(ended)
    }

    async fn part_by_token(&self, token: &OpaqueToken, family: &Family) -> Result<Option<Parted>, Refusal> {
        let mut trail = crate::telemetry::Trail::default();
        let Some(named) = self.named(token, &mut trail).await? else { return Ok(None) };
        let snapshot = self.bridge.snapshot.load_full();
        let client = snapshot.table.client(&family.client);
        let client =
            client.ok_or_else(|| Refusal::server(Fault::Operator, "no mapping has this login's client any more"))?;
        self.part(client, &named, Ending::RevokedByOperator).await
    }
}
