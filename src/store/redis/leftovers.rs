//! Logins without an end that an older version ended and gave no end: Redis by itself would keep them for ever. And the UUIDs of those that live, to
//! which it gave their own: past it they would revoke nothing.
//!
//! They stand in the lists without a time, beside those that live without an end. Each sweep looks at some of them, from where
//! the last one stopped; once all have been looked at nothing more is read until the next start. That is enough: only an older
//! program ends logins so, and where it gave way this one started.

use redis::cmd;

use super::super::change::Versioned;
use super::super::ending;
use super::super::error::{CommitError, StoreError};
use super::super::record;
use super::scan::ids;
use super::scripts::Next;
use super::{Redis, keys, listed};
use crate::domain::family::{Family, FamilyId, FamilyState};
use crate::domain::time::Timestamp;

/// So many families does one sweep look at, with one round trip for all their states.
const AT_ONCE: usize = 1000;

/// How far the lists have been looked through.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// In this list, behind so many of those that stay.
    At { list: u8, passed: usize },
    /// To the end of the last one.
    Through,
}

impl Place {
    pub(super) const BEGIN: Self = Self::At { list: 0, passed: 0 };
}

impl Redis {
    /// Gives an end to some of those that are over and have none.
    pub(super) async fn end_leftovers(&self) -> Result<(), StoreError> {
        let mut looked = 0;
        while looked < AT_ONCE {
            let Place::At { list, passed } = *self.leftovers.lock() else { return Ok(()) };
            let found = self.without_a_time(list, passed, AT_ONCE - looked).await?;
            looked += found.len();
            let place = if found.is_empty() {
                list.checked_add(1).map_or(Place::Through, |list| Place::At { list, passed: 0 })
            } else {
                Place::At { list, passed: passed + self.end_those_over(&found).await? }
            };
            *self.leftovers.lock() = place;
        }
        Ok(())
    }

    async fn without_a_time(&self, list: u8, passed: usize, limit: usize) -> Result<Vec<FamilyId>, StoreError> {
        let mut command = cmd("ZRANGEBYSCORE");
        command.arg(keys::list(list)).arg("+inf").arg("+inf").arg("LIMIT").arg(passed).arg(limit);
        Ok(ids(self.read(command).await?)?.families)
    }

    /// Answers how many of them stay without a time.
    async fn end_those_over(&self, found: &[FamilyId]) -> Result<usize, StoreError> {
        let (mut stay, mut members) = (0, Vec::new());
        for known in self.families(found).await? {
            // Not there: it is being born, and its list comes before its state. Or damaged: nobody can tell whether it is over.
            let known = match known {
                Err(StoreError::Corrupt { .. }) => None,
                read => read?,
            };
            let Some(known) = known else {
                stay += 1;
                continue;
            };
            let theirs = self.stay(&known.value.members, Timestamp::NEVER);
            if !self.give_an_end(known).await? {
                members.extend(theirs);
                stay += 1;
            }
        }
        if !members.is_empty() {
            self.write(members, false).await?;
        }
        Ok(stay)
    }

    /// Answers whether the family got an end. Its records first: while its state has none, the next start finds it again.
    async fn give_an_end(&self, known: Versioned<Family>) -> Result<bool, StoreError> {
        let Versioned { value: family, version } = known;
        let why = match family.state {
            FamilyState::Over(why) => why,
            FamilyState::Resting | FamilyState::Asking { .. } | FamilyState::Unrefreshable => return Ok(false),
        };
        let over = ending::over(&family, why);
        let forgotten = ending::remembered_until(&over);
        let mut commands = self.stay(&family.members, forgotten);
        commands.push(listed(family.id, forgotten));
        self.write(commands, false).await?;
        let record = record::encode(keys::state(family.id).as_bytes(), &over);
        let ttl = self.ttl(ending::kept_until(&over));
        match self.next(&Next { family: family.id, expected: version.0, fence: None, record: &record, ttl }).await {
            // Another instance was there before.
            Ok(()) | Err(CommitError::Conflict | CommitError::Fenced | CommitError::Unknown) => Ok(true),
            Err(CommitError::Store(error)) => Err(error),
        }
    }
}
