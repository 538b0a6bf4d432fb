//! What an operator may do with logins: find them, and end them. By fingerprint, client or user; never sees a token.

use std::net::IpAddr;
use std::sync::Arc;

use super::revoke::{Named, Parted};
use super::{Exchange, store_failed};
use crate::domain::family::{Ending, Family, FamilyState};
use crate::domain::opaque::{Fingerprint, OpaqueToken, TokenUse};
use crate::domain::refusal::Refusal;
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

impl Selector {
    /// What the store is asked for, one after the other.
    fn searches(&self) -> Vec<Find> {
        match self {
            Self::Token(token) => [TokenUse::Access, TokenUse::Refresh]
                .map(|token_use| Find::Prefix(token.fingerprint(token_use).to_string()))
                .into(),
            Self::Fingerprint(prefix) => vec![Find::Prefix(prefix.clone())],
            Self::Client(client) => vec![Find::Client(client.clone())],
            Self::User(user) => vec![Find::User(Fingerprint::of("user", user.as_bytes()))],
        }
    }
}

/// Logins that were found; no more than were asked for.
#[derive(Debug)]
pub struct Found {
    /// The families.
    pub families: Vec<Family>,
    /// Records on the way that are damaged: whose they are nobody can tell.
    pub damaged: usize,
    /// There may be more.
    pub more: bool,
}

/// A login that was ended.
#[derive(Debug)]
pub struct Ended {
    /// As it is now.
    pub family: Family,
    /// A word to the realm lies in the store; whether it has heard is told by `revocation` in the log. Else its session runs out by itself: without
    /// a UUID nothing opens its refresh token.
    pub realm_told: bool,
}

impl Ended {
    /// What becomes of its session at the realm, as far as is known when it is ended here.
    #[must_use]
    pub fn realm(&self) -> &'static str {
        if self.realm_told { "being told" } else { "its session runs out by itself" }
    }
}

/// Logins of which none is alive any more.
#[derive(Debug, Default)]
pub struct Revoked {
    /// Those that were ended; the first of them, where they are many.
    pub logins: Vec<Ended>,
    /// How many were ended.
    pub ended: usize,
    /// Those that were over before, where none was alive.
    pub over: Vec<Family>,
    /// Records on the way that are damaged: a login that was meant may be among them.
    pub damaged: usize,
}

/// No more than this many are found, or named, at once.
const MOST: usize = 1_000;

impl Exchange {
    /// Finds logins.
    ///
    /// # Errors
    /// The store fails.
    pub async fn find_logins(&self, selector: &Selector) -> Result<Found, Refusal> {
        let (mut families, mut damaged) = (Vec::new(), 0);
        for what in selector.searches() {
            let found = self.bridge.store.find(what, MOST).await.map_err(store_failed)?;
            families.extend(found.records);
            damaged += found.damaged;
        }
        Ok(Found { more: families.len() >= MOST, families, damaged })
    }

    /// Ends all of these logins here, at once, however many they are, for an operator who asks from there. With a UUID the realm is told too.
    ///
    /// # Errors
    /// The store fails. What was ended before that is ended, and was written down.
    pub async fn end_logins(self: &Arc<Self>, selector: &Selector, by: Option<IpAddr>) -> Result<Revoked, Refusal> {
        let mut revoked = Revoked::default();
        for what in selector.searches() {
            let mut after = None;
            loop {
                let living = self.bridge.store.find_living(what.clone(), after, MOST).await.map_err(store_failed)?;
                revoked.damaged += living.damaged;
                let Some(last) = living.records.last() else { break };
                after = Some(last.id);
                let more = living.records.len() >= MOST;
                for family in living.records {
                    let parted = self.end_login(selector, family).await?;
                    self.add(&mut revoked, parted, by);
                }
                if !more {
                    break; // else what is damaged behind the last one would be counted twice
                }
            }
        }
        if let (Selector::Token(token), 0) = (selector, revoked.ended) {
            let parted = self.end_outlived(token).await?;
            self.add(&mut revoked, parted, by);
        }
        if revoked.ended == 0 {
            revoked.over = self.find_logins(selector).await?.families;
        }
        Ok(revoked)
    }

    /// Writes down one that was ended; none where somebody else did so meanwhile.
    fn add(&self, revoked: &mut Revoked, parted: Option<Parted>, by: Option<IpAddr>) {
        let Some(parted) = parted.filter(Parted::was_alive) else { return };
        let state = FamilyState::Over(Ending::RevokedByOperator);
        let ended = Ended { family: Family { state, ..parted.family }, realm_told: parted.realm_told };
        self.bridge.edge.ended_by_operator(&ended.family, ended.realm(), by);
        revoked.ended += 1;
        if revoked.logins.len() < MOST {
            revoked.logins.push(ended);
        }
    }

    /// Ends one.
    async fn end_login(self: &Arc<Self>, selector: &Selector, family: Family) -> Result<Option<Parted>, Refusal> {
        let parted = match selector {
            Selector::Token(token) => self.part_by_token(token, &family).await?,
            Selector::Fingerprint(_) | Selector::Client(_) | Selector::User(_) => None,
        };
        if parted.is_some() {
            return Ok(parted);
        }
        let before = self.bridge.store.end(family.id, Ending::RevokedByOperator).await.map_err(store_failed)?;
        Ok(before.map(|family| Parted { family, realm_told: false, had_outlived: false }))
    }

    /// Ends a UUID whose login is not alive.
    async fn end_outlived(&self, token: &OpaqueToken) -> Result<Option<Parted>, Refusal> {
        let Some(named) = self.named_to_operator(token).await? else { return Ok(None) };
        let found = self.bridge.store.family(named.family).await.map_err(store_failed)?.map(|found| found.value);
        match found {
            Some(family) if !family.is_over() => Ok(None),
            over => self.bury(&named, over, Ending::RevokedByOperator).await,
        }
    }

    async fn named_to_operator(&self, token: &OpaqueToken) -> Result<Option<Named>, Refusal> {
        self.named(token, &mut crate::telemetry::Trail::default()).await
    }

    /// `None` where it must be ended without a word to the realm: no mapping has its client any more, whose secret such a word needs.
    async fn part_by_token(&self, token: &OpaqueToken, family: &Family) -> Result<Option<Parted>, Refusal> {
        let Some(named) = self.named_to_operator(token).await? else { return Ok(None) };
        let snapshot = self.bridge.snapshot.load_full();
        let Some(client) = snapshot.table.client(&family.client) else { return Ok(None) };
        self.part(client, &named, Ending::RevokedByOperator).await
    }
}
