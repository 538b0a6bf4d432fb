//! What is left of a family that is over, and how long a family is remembered.
//!
//! Pure.

use std::time::Duration;

use super::change::{Bundle, Search};
use crate::domain::family::{AccessFate, AccessRecord, Ending, Family, FamilyState, Member, RefreshRecord};
use crate::domain::seal::Sealed;
use crate::domain::time::Timestamp;

/// So much longer than its last UUID is a family kept: a refresh that began before that end may land after it.
const IN_THE_AIR: Duration = Duration::from_secs(30);

/// When the family itself may be dropped.
pub fn kept_until(family: &Family) -> Timestamp {
    remembered_until(family).plus(IN_THE_AIR)
}

/// What ended before this may be dropped by a sweep.
pub fn droppable(now: Timestamp) -> Timestamp {
    now.minus(IN_THE_AIR)
}

/// When the last UUID of a family is forgotten, and the family with it. A family without one is forgotten at once.
pub fn remembered_until(family: &Family) -> Timestamp {
    family.members.iter().map(|member| member.until).max().unwrap_or(family.born)
}

/// As long as it may be refreshed or a UUID of it is remembered, the realm's session leads to a family.
pub fn session_until(family: &Family) -> Timestamp {
    family.renewal_until.max(remembered_until(family))
}

/// When a family is forgotten that had no end before: only now can it be entered where the sweep looks.
pub fn newly_ends(before: &Family, after: &Family) -> Option<Timestamp> {
    if remembered_until(before).ends().is_some() { None } else { remembered_until(after).ends() }
}

/// The family once it is over: nothing of the realm is left, nor an answer, and none of its UUIDs is remembered without an end.
pub fn over(family: &Family, ending: Ending) -> Family {
    let last = family.members.iter().filter_map(|member| member.until.ends()).max().unwrap_or(family.born);
    let ends = |member: &Member| Member { until: member.until.ends().unwrap_or(last), ..*member };
    Family {
        renewal: None,
        session: None,
        replay: None,
        state: FamilyState::Over(ending),
        members: family.members.iter().map(ends).collect(),
        ..family.clone()
    }
}

/// What is left of an access record: that it was good, until when, and why it is not.
pub fn access_over(record: AccessRecord, ending: Ending) -> AccessRecord {
    AccessRecord { fate: AccessFate::Over(ending), ..record }
}

/// What is left of a refresh record: whose it was, no longer than its family (as it is once it is over) is remembered. Its
/// key opens nothing any more.
pub fn refresh_over(record: RefreshRecord, over: &Family) -> RefreshRecord {
    let until = record.until.min(remembered_until(over));
    RefreshRecord { key: Sealed::from_bytes(Vec::new()), until, ..record }
}

impl Search {
    /// Whether a family that fits is looked for, as far as its end goes.
    pub(super) fn takes(&self, family: &Family) -> bool {
        !self.living || !family.is_over()
    }
}

impl Bundle {
    /// Whether this family stands there in a later state: one that is over is later than any that is not.
    #[must_use]
    pub fn is_behind(&self, there: &Family) -> bool {
        let state = |family: &Family| {
            let answered = family.replay.as_ref().map(|replay| replay.since);
            (family.is_over(), family.generation, family.renewal_until, answered)
        };
        state(&self.family) < state(there)
    }

    /// The family as it moves to another store: where it is over and was given no end (an older version did so), it gets one here.
    /// `None`: it is forgotten by now, and only waits to be swept.
    #[must_use]
    pub fn to_be_moved(self, now: Timestamp) -> Option<Self> {
        let bundle = match self.family.state {
            FamilyState::Over(why) => {
                let family = over(&self.family, why);
                let left = |(print, record)| (print, refresh_over(record, &family));
                let refresh = self.refresh.into_iter().map(left).collect();
                Self { family, refresh, ..self }
            }
            FamilyState::Resting | FamilyState::Asking { .. } | FamilyState::Unrefreshable => self,
        };
        (remembered_until(&bundle.family) > now).then_some(bundle)
    }
}
