//! Which UUIDs a family remembers, for how long, and what is left of those whose end has passed.

use crate::domain::family::{AccessFate, AccessRecord, Member};
use crate::domain::opaque::TokenUse;
use crate::domain::seal::Sealed;
use crate::domain::time::Timestamp;

/// As many access UUIDs of a family are remembered, the newest: one for each eight seconds of an hour. A client that refreshes
/// faster than that all the time ends its own oldest ones early; without a bound its family's record, written with every
/// refresh, would grow for as long as it goes on.
pub const MOST_ACCESS: usize = 448;
/// As many refresh UUIDs, the newest. An older one that comes again is refused all the same, as unknown and no longer as used.
pub const MOST_REFRESH: usize = 64;
/// As many of either use whose own end has passed, the newest. An older one revokes nothing any more.
pub const MOST_ENDED: usize = 16;

/// Whom a family remembers once it has a new pair, and whom no more, in the order of their issue.
pub(super) fn remembered(old: &[Member], pair: Vec<Member>, now: Timestamp) -> (Vec<Member>, Vec<Member>) {
    let of = |token_use: TokenUse| pair.iter().filter(|member| member.token_use == token_use).count();
    let mut access = (MOST_ACCESS.saturating_sub(of(TokenUse::Access)), MOST_ENDED);
    let mut refresh = (MOST_REFRESH.saturating_sub(of(TokenUse::Refresh)), MOST_ENDED);
    let stays = |member: &Member| {
        let (good, ended) = match member.token_use {
            TokenUse::Access => &mut access,
            TokenUse::Refresh => &mut refresh,
        };
        let left = if member.until > now { good } else { ended };
        let stays = *left > 0;
        *left -= usize::from(stays);
        stays
    };
    let (mut kept, forgotten): (Vec<Member>, Vec<Member>) = old.iter().rev().copied().partition(stays);
    kept.reverse();
    kept.extend(pair);
    (kept, forgotten)
}

/// What is left of the record of an access UUID once its end has passed: as much as ends its family. Its JWT, which is nearly all
/// of it, opens nothing that anybody may have; where the end was none, as the clock was wrong, another is due.
/// `None`: nothing more is to be taken.
#[must_use]
pub fn ended(record: AccessRecord) -> Option<AccessRecord> {
    match record.fate {
        AccessFate::Live { jwt, jwt_since, key, .. } if !jwt.as_bytes().is_empty() => {
            let fate = AccessFate::Live { jwt: Sealed::from_bytes(Vec::new()), jwt_since, jwt_until: jwt_since, key };
            Some(AccessRecord { fate, ..record })
        }
        AccessFate::Live { .. } | AccessFate::Over(_) => None,
    }
}

/// The newest refresh UUID stands for the realm's refresh token, and is remembered as long as that which there is now.
pub(super) fn prolonged(members: &[Member], until: Timestamp) -> Vec<Member> {
    let mut members = members.to_vec();
    if let Some(newest) = members.iter_mut().rfind(|member| member.token_use == TokenUse::Refresh) {
        newest.until = until;
    }
    members
}
