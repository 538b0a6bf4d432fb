//! The whole race policy of a refresh, as a function of state and time.
//!
//! ```text
//!   refresh UUID             family               somebody is asking?      decision
//!   ------------             ------               -------------------      --------
//!   any                      Over                 -                        Refuse
//!   over                     any but Over         -                        Refuse  (its family's end was cut short)
//!   of a pair to come        any but Over         -                        Refuse  (nobody was given it)
//!   of the pair before       any but Over         -, inside the grace      Replay  (the answer was lost: the same pair again)
//!                                                 -, after it              Reuse
//!   older                    any but Over         -                        Reuse
//!   of the newest pair,
//!     the realm's past its end any but Over       -                        Refuse
//!     before                 Unrefreshable        -                        Refuse
//!                            Resting, Asking      yes                      Wait
//!                            Resting              no                       Ask
//!                            Asking               no, rotation off         Ask     (a crash; asking twice harms nobody)
//!                            Asking               no, else                 Lose    (a crash; the realm may have heard us)
//! ```
//!
//! A replay's age is counted from zero where it was made later than the UUID was presented: whoever waits for a pair is answered with it, however
//! long it takes. So it is where the clock stands before it: clocks of two instances differ, and are set back by hand, and a client that lost an
//! answer is no thief for that.
//!
//! What happens to a family while it asks:
//!
//! ```text
//!                  lease taken, written down              granted: new pair, one generation later
//!      Resting ─────────────────────────────▶ Asking ───────────────────────────────────────────▶ Resting
//!         ▲                                    │ │ │
//!         └───────── surely not spent ─────────┘ │ └── refused for good ──▶ Over
//!                    (or unknown, rotation off)  └──── unknown, or granted without a refresh token, ──▶ Unrefreshable
//!                                                      rotation on or not known
//! ```

use std::time::Duration;

use super::family::{AccessFate, AccessRecord, Ending, Family, FamilyState, RefreshRecord};
use super::grant::{Fate, NotGranted};
use super::refusal::Cause;
use super::time::{CLOCKS_DIFFER, Timestamp};

/// The realm's "Revoke Refresh Token". With it a used refresh token that comes again ends the whole session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// On.
    On,
    /// Off: a refresh token may be used again.
    Off,
    /// Nobody has said; treated as on.
    Unknown,
}

impl Rotation {
    /// The words of the configuration.
    pub const WORDS: [(&'static str, Self); 3] = [("on", Self::On), ("off", Self::Off), ("unknown", Self::Unknown)];

    /// Whether the same refresh token may go to the realm twice.
    #[must_use]
    pub fn forgives(self) -> bool {
        match self {
            Self::Off => true,
            Self::On | Self::Unknown => false,
        }
    }
}

/// What is to be done about a refresh UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshDecision {
    /// Ask the realm, alone.
    Ask,
    /// Somebody is asking for this family; decide again when they have done.
    Wait,
    /// Whoever was asking is gone, and the realm may have heard it: the family cannot be refreshed any more.
    Lose,
    /// The answer was made before; hand it out again.
    Replay,
    /// A used UUID after its time.
    Reuse,
    /// No.
    Refuse(&'static str),
}

/// Decides. `came`: when it was presented. `grace` is the dialect's.
#[must_use]
pub fn decide_refresh(
    family: &Family,
    record: &RefreshRecord,
    came: Timestamp,
    grace: Duration,
    flight: Flight,
) -> RefreshDecision {
    match family.state {
        FamilyState::Over(ending) => return RefreshDecision::Refuse(ending.sentence()),
        FamilyState::Resting | FamilyState::Asking { .. } | FamilyState::Unrefreshable => {}
    }
    if record.is_over() {
        return RefreshDecision::Refuse("the login is over");
    }
    if record.generation > family.generation {
        return RefreshDecision::Refuse("the token was never handed out");
    }
    if record.generation < family.generation {
        let before = record.generation + 1 == family.generation;
        let replay = family
            .replay
            .as_ref()
            .filter(|replay| before && (came <= replay.since || came.since(replay.since) < grace));
        return if replay.is_some() { RefreshDecision::Replay } else { RefreshDecision::Reuse };
    }
    // Its record says when the realm's first refresh token behind it would have ended; renewals underneath have brought newer ones.
    if came >= family.renewal_until {
        return RefreshDecision::Refuse("the refresh token has expired");
    }
    decide_asking(&family.state, flight)
}

/// Who asks, and whether asking twice is forgiven.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// Somebody holds the family's lease.
    pub asking: bool,
    /// The realm's setting.
    pub rotation: Rotation,
}

/// The same for whoever has the newest UUIDs and needs the realm: a refresh, or a renewal of the JWT behind an access UUID.
#[must_use]
pub fn decide_asking(state: &FamilyState, flight: Flight) -> RefreshDecision {
    match state {
        FamilyState::Over(ending) => RefreshDecision::Refuse(ending.sentence()),
        FamilyState::Unrefreshable => RefreshDecision::Refuse(
            "an answer of the realm was lost, or had no refresh token; the login cannot be refreshed any more",
        ),
        FamilyState::Resting | FamilyState::Asking { .. } if flight.asking => RefreshDecision::Wait,
        FamilyState::Resting => RefreshDecision::Ask,
        FamilyState::Asking { .. } if flight.rotation.forgives() => RefreshDecision::Ask,
        FamilyState::Asking { .. } => RefreshDecision::Lose,
    }
}

/// What becomes of a family whose question was not granted.
#[must_use]
pub fn after_failure(failure: &NotGranted, rotation: Rotation) -> FamilyState {
    match failure.fate {
        // The realm will never again grant with this refresh token: its session is over, whatever it calls that.
        Fate::Settled if failure.refusal.cause == Cause::RefreshToken => FamilyState::Over(Ending::SessionEnded),
        Fate::Unspent | Fate::Settled => FamilyState::Resting,
        Fate::Unknown if rotation.forgives() => FamilyState::Resting,
        Fate::Unknown => FamilyState::Unrefreshable,
    }
}

/// What is to be done about an access UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessDecision {
    /// Its JWT is good.
    Use,
    /// Its JWT is good, and shall be renewed ahead, without anybody waiting.
    UseAndRenew,
    /// The realm was not asked for so long that the session may have ended unseen, or nobody knows for how long: renew first; use the JWT
    /// where the realm cannot be asked.
    Recheck,
    /// Its JWT is over: renew first.
    RenewFirst,
    /// It is over.
    Over(Over),
}

/// Why an access UUID is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Its promised time has passed.
    Expired,
    /// The JWT behind it is over, and the realm gives it no other.
    Refused,
    /// Its family ended.
    Ended(Ending),
}

/// Nobody waits whose JWT is good for another second.
const GOOD_ENOUGH: Duration = Duration::from_secs(1);
/// The JWT is renewed ahead when a fifth of its life, at most this, is left.
const RENEW_AHEAD: Duration = Duration::from_secs(60);

/// Decides. `set_back`: what the clock said when it was last found set back. `recheck_after`: how long a session that the realm ended without telling us
/// may go unnoticed.
#[must_use]
pub fn decide_access(
    record: &AccessRecord,
    now: Timestamp,
    set_back: Timestamp,
    recheck_after: Duration,
) -> AccessDecision {
    let (jwt_since, jwt_until) = match &record.fate {
        AccessFate::Over(ending) => return AccessDecision::Over(Over::Ended(*ending)),
        AccessFate::Live { jwt_since, jwt_until, .. } => (*jwt_since, *jwt_until),
    };
    if now >= record.until {
        return AccessDecision::Over(Over::Expired);
    }
    if now.plus(GOOD_ENOUGH) >= jwt_until {
        return AccessDecision::RenewFirst;
    }
    // Where the clock was set back since it was given, nobody knows when it ends.
    let is_of_another_time = jwt_since < set_back || jwt_since > now.plus(CLOCKS_DIFFER);
    if now.since(jwt_since) >= recheck_after || is_of_another_time {
        return AccessDecision::Recheck;
    }
    let ahead = (jwt_until.since(jwt_since) / 5).min(RENEW_AHEAD);
    // A JWT that outlives the promise, or nearly so, need not be renewed.
    if now.plus(ahead) >= jwt_until && record.until > jwt_until.plus(GOOD_ENOUGH) {
        AccessDecision::UseAndRenew
    } else {
        AccessDecision::Use
    }
}

#[cfg(test)]
mod tests;
