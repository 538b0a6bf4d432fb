//! The end of a family, whatever it is doing.

use std::sync::Arc;

use redis::{Cmd, cmd};

use super::super::ending;
use super::super::error::{CommitError, StoreError};
use super::super::record;
use super::scripts::{self, Next};
use super::{Redis, became, keys, listed, token_in};
use crate::domain::family::{AccessFate, AccessRecord, Ending, Family, FamilyId, FamilyState, RefreshRecord};
use crate::domain::opaque::TokenUse;

/// How often a family that others change is tried to be ended.
const TRIES: usize = 16;

impl Redis {
    /// Tombstones first, then the state: until the state says so the end is not answered, and a change in between begins it again.
    pub(in super::super) async fn end(&self, id: FamilyId, why: Ending) -> Result<Option<Family>, StoreError> {
        for _ in 0..TRIES {
            let Some(known) = self.family(id).await? else { return Ok(None) };
            let before = known.value;
            if let FamilyState::Over(why) = before.state {
                // Its records may have come back by a failover: an end can be repeated until it holds.
                self.bury(&before, &before, why).await?;
                return Ok(Some(before));
            }
            let over = ending::over(&before, why);
            self.bury(&before, &over, why).await?;
            let record = record::encode(keys::state(id).as_bytes(), &over);
            let ttl = self.ttl(ending::kept_until(&over));
            let next = Next { family: id, expected: known.version.0, fence: None, record: &record, ttl };
            let answers = self.write_an_end(vec![scripts::commit(&next, &self.unknown.attempt())], true).await?;
            match became(id, answers) {
                Ok(()) => return Ok(Some(before)),
                Err(CommitError::Conflict | CommitError::Fenced) => {}
                Err(CommitError::Unknown) => return Ok(None),
                Err(CommitError::Store(error)) => return Err(error),
            }
        }
        Err(StoreError::CannotWrite { cause: Arc::new(CommitError::Conflict) })
    }

    async fn bury(&self, before: &Family, over: &Family, why: Ending) -> Result<(), StoreError> {
        let names: Vec<String> =
            before.members.iter().map(|member| keys::token(member.token_use, &member.fingerprint)).collect();
        let reads: Vec<Cmd> = names.iter().map(|name| cmd("GET").arg(name).to_owned()).collect();
        let records = if reads.is_empty() { Vec::new() } else { self.read_all(reads).await? };
        let (mut access, mut refresh, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
        for ((member, name), record) in before.members.iter().zip(&names).zip(records) {
            match member.token_use {
                TokenUse::Access => {
                    let is_live = |record: &AccessRecord| matches!(record.fate, AccessFate::Live { .. });
                    let left = |record| (member.fingerprint, ending::access_over(record, why));
                    match token_in(name, record) {
                        Err(StoreError::Corrupt { .. }) => damaged.push(name),
                        read => access.extend(read?.filter(is_live).map(left)),
                    }
                }
                TokenUse::Refresh => {
                    let left = |record| (member.fingerprint, ending::refresh_over(record, over));
                    match token_in(name, record) {
                        Err(StoreError::Corrupt { .. }) => damaged.push(name),
                        read => refresh.extend(read?.filter(|record: &RefreshRecord| !record.is_over()).map(left)),
                    }
                }
            }
        }
        let mut commands = self.tokens(&access, &refresh, ending::remembered_until(over));
        // It cannot say that it is over; gone it opens nothing either.
        commands.extend(damaged.into_iter().map(|name| cmd("DEL").arg(name).to_owned()));
        commands.extend(before.session.map(|session| cmd("DEL").arg(keys::session(&session)).to_owned()));
        if let Some(until) = ending::newly_ends(before, over) {
            commands.push(listed(before.id, until));
            // Those that were over before were to stay as long as their family: without an end.
            commands.extend(self.stay(&before.members, until));
        }
        if commands.is_empty() { Ok(()) } else { self.write_an_end(commands, false).await.map(drop) }
    }
}
