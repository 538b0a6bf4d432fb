//! The refresh grant: a refresh UUID for the next pair.

use std::sync::Arc;
use std::time::Duration;

use super::flight::{Landing, Plan, Purpose, Rotation, Waits};
use super::login::token_reply;
use super::revoke::Named;
use super::{Exchange, Known, store_failed};
use crate::domain::dialect::Grant;
use crate::domain::family::{AccessFate, AccessRecord, Ending, Family, RefreshRecord};
use crate::domain::issue::{REFRESH_KEY, REPLY, TokenReply, binding};
use crate::domain::opaque::{OpaqueToken, TokenUse};
use crate::domain::refresh::{Flight, RefreshDecision, decide_refresh};
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::domain::seal::SealingKey;
use crate::domain::translate;
use crate::legacy::reply::Reply;
use crate::telemetry::trail::Note;
use crate::telemetry::{Trail, log};

/// A refresh UUID and what it opened.
struct Presented {
    token: OpaqueToken,
    record: RefreshRecord,
}

impl Exchange {
    pub(super) async fn refresh(
        self: &Arc<Self>,
        known: &Known<'_>,
        grant_type: &str,
        grant: &Grant,
        trail: &mut Trail,
    ) -> Result<Reply, Refusal> {
        let mut came = self.bridge.clock.now(); // whoever comes before a pair is made is no re-user of its UUID, however long that takes
        let presented = self.presented(known, grant, trail).await?;
        let mut has_asked = false;
        let mut waits = Waits::new(self.bridge.policy.load().patience * 2);
        loop {
            let found = self.bridge.store.family(presented.record.family).await.map_err(store_failed)?;
            let family = found.ok_or_else(|| refused("the login is forgotten"))?.value;
            if presented.record.is_over() && !family.is_over() {
                self.end_whole(&family).await;
            }
            let flight =
                Flight { asking: self.bridge.flights.asking(&family.id), rotation: self.bridge.policy.load().rotation };
            let grace = known.client.dialect.tokens.refresh_grace;
            came = came.min(self.bridge.clock.now()); // somebody may set it back meanwhile, and the pair is made by that time
            match decide_refresh(&family, &presented.record, came, grace, flight) {
                RefreshDecision::Replay => {
                    let (told, age) = self.replay(&family, &presented.token)?;
                    trail.token = Some(told.access.fingerprint(TokenUse::Access));
                    trail.notes.extend((told.expires_in < known.client.promise()).then_some(Note::PromiseShort));
                    trail.notes.extend((!has_asked).then_some(Note::Replayed));
                    let expires_in = told.expires_in.saturating_sub(age);
                    return Ok(token_reply(
                        known,
                        &TokenReply { grant_type: grant_type.to_owned(), expires_in, ..told },
                    ));
                }
                RefreshDecision::Reuse => return Err(self.reused(known, presented, trail).await?),
                RefreshDecision::Refuse(reason) => return Err(refused(reason)),
                RefreshDecision::Ask | RefreshDecision::Wait | RefreshDecision::Lose => {}
            }
            let plan = self.plan(known, grant_type, grant, &presented)?;
            let asked_at = self.bridge.clock.monotonic();
            let (landing, is_ours) = self.fly_or_join(plan).await;
            // One question is one, however many wait for its answer.
            if is_ours && !matches!(landing, Landing::Elsewhere | Landing::Overtaken) {
                has_asked = true;
                let took = self.bridge.clock.monotonic().saturating_sub(asked_at);
                trail.realm = Some(trail.realm.unwrap_or_default() + took);
            }
            // It may have joined one flight and begun another: a word is one, however many say it.
            if let Landing::Done(Some(note)) = landing
                && !trail.notes.contains(&note)
            {
                trail.notes.push(note);
            }
            waits.once_more(landing, &self.bridge.store).await?;
        }
    }

    /// Finds what the presented UUID opens; another client's is as good as none.
    async fn presented(&self, known: &Known<'_>, grant: &Grant, trail: &mut Trail) -> Result<Presented, Refusal> {
        let (name, cause) = grant.refresh_field();
        let text = known.request.parameters.value(name);
        let text = text.ok_or_else(|| Refusal::client(cause, format!("`{name}` is missing")))?;
        let token = OpaqueToken::parse(text).ok_or_else(|| refused("the refresh token is none of ours"))?;
        let fingerprint = token.fingerprint(TokenUse::Refresh);
        trail.token = Some(fingerprint);
        let record = self.bridge.store.refresh(&fingerprint).await.map_err(store_failed)?;
        let record = record.ok_or_else(|| refused("the refresh token is unknown"))?;
        trail.family = Some(record.family);
        if record.client != known.client.legacy_id {
            trail.notes.push(Note::Foreign);
            return Err(refused("the refresh token belongs to another client"));
        }
        Ok(Presented { token, record })
    }

    /// Redis ends UUIDs before their family: what a crash in between has left is ended now, for the cause that they have. Its client hears the same
    /// where that fails.
    async fn end_whole(&self, family: &Family) {
        let store = &self.bridge.store;
        let mut why = Ending::SessionEnded;
        for member in family.members.iter().rev().filter(|member| member.token_use == TokenUse::Access) {
            let record = store.access(&member.fingerprint).await.ok().flatten();
            if let Some(AccessRecord { fate: AccessFate::Over(ending), .. }) = record
                && ending != Ending::Replaced
            {
                why = ending;
                break;
            }
        }
        if let Err(error) = store.end(family.id, why).await {
            log::store("ending a login whose tokens are over", &error);
        }
    }

    /// A used UUID after its time. The family lives, unless the dialect says otherwise: then it ends as if it were revoked.
    async fn reused(
        self: &Arc<Self>,
        known: &Known<'_>,
        presented: Presented,
        trail: &mut Trail,
    ) -> Result<Refusal, Refusal> {
        trail.notes.push(Note::Reuse);
        if known.client.dialect.tokens.reuse_ends_family {
            let named = Named::by_refresh(&presented.token, presented.record);
            self.part(known.client, &named, Ending::Reused).await?;
        }
        Ok(refused("the refresh token was already used"))
    }

    /// What is asked of the realm on behalf of this UUID.
    fn plan(&self, known: &Known<'_>, grant_type: &str, grant: &Grant, presented: &Presented) -> Result<Plan, Refusal> {
        let record = &presented.record;
        let wrapping = SealingKey::of_token(&presented.token, TokenUse::Refresh);
        let data_key = wrapping.unwrap_key(&record.key, binding(REFRESH_KEY, &record.family))?;
        let asked = translate::asked_scope(grant, &known.request.parameters);
        let limit = self.bridge.policy.load().parameter;
        let wish = Rotation {
            token: presented.token.clone(),
            record: record.clone(),
            grant_type: grant_type.to_owned(),
            address: known.address,
            scope: asked.map(str::to_owned),
            realm_scope: asked.map(|asked| translate::scope(known.client, asked, limit)).transpose()?,
        };
        Ok(Plan { client: Arc::clone(known.client), family: record.family, data_key, purpose: Purpose::Rotate(wish) })
    }

    /// The answer that was made for this UUID, out of its seal, and how old it is: in whole seconds, as it says for how long it holds.
    fn replay(&self, family: &Family, token: &OpaqueToken) -> Result<(TokenReply, Duration), Refusal> {
        let ours = |reason: &'static str| Refusal::server(Fault::Ourselves, reason);
        let kept = family.replay.as_ref().ok_or_else(|| ours("a kept reply is missing"))?;
        let opened = SealingKey::of_reply(token).open(&kept.reply, binding(REPLY, &family.id));
        let bytes = opened.map_err(|_| ours("a kept reply does not open"))?;
        let told = TokenReply::from_bytes(&bytes).ok_or_else(|| ours("a kept reply cannot be read"))?;
        Ok((told, Duration::from_secs(self.bridge.clock.now().since(kept.since).as_secs())))
    }
}

fn refused(reason: &'static str) -> Refusal {
    Refusal::client(Cause::RefreshToken, reason)
}
