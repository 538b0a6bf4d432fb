//! Revocation (RFC 7009): any UUID of a family ends the whole family, here at once, and at the realm as soon as it hears it.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::access::data_key;
use super::flight::Plan;
use super::{Exchange, Known, store_failed};
use crate::domain::client::Client;
use crate::domain::family::{Ending, Family, FamilyId, RefreshRecord};
use crate::domain::grant::NotGranted;
use crate::domain::issue::{REALM_REFRESH, REFRESH_KEY, binding};
use crate::domain::opaque::{Fingerprint, OpaqueToken, TokenUse};
use crate::domain::refusal::{Fault, Refusal};
use crate::domain::seal::{Binding, SealingKey};
use crate::domain::time::Timestamp;
use crate::legacy::reply::{self, Reply, Says};
use crate::store::PendingRevocation;
use crate::telemetry::Trail;
use crate::telemetry::trail::Note;

/// What a UUID says about its family.
pub(super) struct Named {
    /// The UUID itself.
    pub(super) shown: (TokenUse, Fingerprint),
    pub(super) family: FamilyId,
    pub(super) client: Arc<str>,
    /// Nothing where the family is over.
    data_key: Option<SealingKey>,
}

impl Named {
    pub(super) fn by_refresh(token: &OpaqueToken, record: RefreshRecord) -> Self {
        let wrapping = SealingKey::of_token(token, TokenUse::Refresh);
        let data_key = wrapping.unwrap_key(&record.key, binding(REFRESH_KEY, &record.family)).ok();
        let shown = (TokenUse::Refresh, token.fingerprint(TokenUse::Refresh));
        Self { shown, family: record.family, client: record.client, data_key }
    }
}

/// A family that was ended.
pub(super) struct Parted {
    /// As it was before.
    pub(super) family: Family,
    /// Word was left for the realm.
    pub(super) realm_told: bool,
    /// The UUID had outlived it, and was ended by itself.
    pub(super) had_outlived: bool,
}

impl Parted {
    /// Whether there was anything to end.
    pub(super) fn was_alive(&self) -> bool {
        self.had_outlived || !self.family.is_over()
    }
}

impl Exchange {
    pub(super) async fn revoke(self: &Arc<Self>, known: &Known<'_>, trail: &mut Trail) -> Result<Reply, Refusal> {
        let parameters = &known.request.parameters;
        let text = parameters.value("token").ok_or_else(|| known.request.lacks("token"))?;
        let named = match OpaqueToken::parse(text) {
            None => None,
            Some(token) => self.named(&token, trail).await?,
        };
        // An unknown token and one of another client get the same answer, and nothing happens (CONTRACT section 2).
        match named {
            None => trail.notes.push(Note::UnknownToken),
            Some(named) if named.client != known.client.legacy_id => trail.notes.push(Note::Foreign),
            Some(named) => {
                trail.family = Some(named.family);
                if let Some(it) = self.part(known.client, &named, Ending::Revoked).await? {
                    trail.notes.extend(it.had_outlived.then_some(Note::Outlived));
                    let stays = it.was_alive() && !it.realm_told && !self.has_run_out(&it.family);
                    trail.notes.extend(stays.then_some(Note::RealmUntold));
                }
            }
        }
        Ok(reply::success(&known.client.dialect, Says::Revoked))
    }

    /// The hint only says where to look first; a wrong one is no reason not to find it (RFC 7009 section 2.1).
    pub(super) async fn named(&self, token: &OpaqueToken, trail: &mut Trail) -> Result<Option<Named>, Refusal> {
        let store = &self.bridge.store;
        let fingerprint = token.fingerprint(TokenUse::Access);
        if let Some(record) = store.access(&fingerprint).await.map_err(store_failed)? {
            trail.token = Some(fingerprint);
            return Ok(Some(Named {
                shown: (TokenUse::Access, fingerprint),
                family: record.family,
                data_key: data_key(token, &record).ok(),
                client: record.client,
            }));
        }
        let fingerprint = token.fingerprint(TokenUse::Refresh);
        trail.token = Some(fingerprint);
        let Some(record) = store.refresh(&fingerprint).await.map_err(store_failed)? else { return Ok(None) };
        Ok(Some(Named::by_refresh(token, record)))
    }

    /// Ends a family, and leaves word for the realm. `None`: there is no such family, and its UUID is over too.
    pub(super) async fn part(&self, client: &Client, named: &Named, why: Ending) -> Result<Option<Parted>, Refusal> {
        let found = self.bridge.store.family(named.family).await.map_err(store_failed)?;
        // Before the end: a crash between the two forgets nothing.
        let mut realm_told = match &found {
            Some(family) => self.word_for(client, &family.value, named).await?,
            None => false,
        };
        let ended = self.bridge.store.end(named.family, why).await.map_err(store_failed)?;
        let family = match ended {
            Some(family) if !family.is_over() => family,
            over => return self.bury(named, over, why).await,
        };
        // A refresh that landed in between has left the session with a newer token.
        if found.is_none_or(|found| found.value.renewal != family.renewal) {
            realm_told |= self.word_for(client, &family, named).await?;
        }
        Ok(Some(Parted { family, realm_told, had_outlived: false }))
    }

    /// Leaves word of a family where there is anything to tell. Answers whether there was.
    async fn word_for(&self, client: &Client, family: &Family, named: &Named) -> Result<bool, Refusal> {
        let opens = named.data_key.as_ref().filter(|_| !self.has_run_out(family));
        let token = opens.and_then(|data_key| open_renewal(family, data_key));
        let Some(token) = token else { return Ok(false) };
        self.leave_word(client, family.id, &token, family.renewal_until).await?;
        Ok(true)
    }

    /// Whether its session at the realm has ended by itself: its UUIDs may be remembered for longer.
    fn has_run_out(&self, family: &Family) -> bool {
        family.renewal.is_some() && self.bridge.store.believed(self.bridge.clock.now()) >= family.renewal_until
    }

    /// A realm that refuses a refresh for another reason than its session's end may keep the session, and count it among those of its user: it is told
    /// that the login is over here. Before that end: a crash between the two forgets nothing.
    pub(super) async fn word_of_what_stays(
        &self,
        plan: &Plan,
        family: &Family,
        refused: &NotGranted,
    ) -> Result<(), Refusal> {
        match open_renewal(family, &plan.data_key).filter(|_| !refused.session_gone) {
            Some(token) => self.leave_word(&plan.client, family.id, &token, family.renewal_until).await,
            None => Ok(()),
        }
    }

    /// Leaves word for the realm, durably: `tell` passes it on at once, or when the realm is back. The session ends by itself at
    /// `until`.
    pub(super) async fn leave_word(
        &self,
        client: &Client,
        family: FamilyId,
        token: &SecretString,
        until: Timestamp,
    ) -> Result<(), Refusal> {
        let Some(secret) = client.client_secrets.first() else {
            return Err(Refusal::server(Fault::Operator, "the mapping holds no secret for the realm"));
        };
        let sealed = outbox_key(secret).seal_token(token, outbox_binding(&family), &*self.bridge.entropy);
        let pending = PendingRevocation { family, client: client.legacy_id.to_string(), sealed, until };
        self.bridge.store.outbox_put(&pending).await.map_err(store_failed)?;
        self.bridge.untold.notify_one();
        Ok(())
    }
}

/// The realm's refresh token, where there is one and it opens.
pub(super) fn open_renewal(family: &Family, data_key: &SealingKey) -> Option<SecretString> {
    data_key.open_token(family.renewal.as_ref()?, binding(REALM_REFRESH, &family.id)).ok()
}

/// What waits in the outbox opens with the client's new secret, which is in no file of the store (STORE.md).
pub(super) fn outbox_key(secret: &SecretString) -> SealingKey {
    SealingKey::derive(secret.expose_secret().as_bytes(), "outbox")
}

pub(super) fn outbox_binding(family: &FamilyId) -> Binding<'_> {
    binding("outbox", family)
}
