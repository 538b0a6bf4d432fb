//! What is left of a family that is over, and how long a family is remembered.
//!
//! Pure.

use crate::domain::family::{AccessFate, AccessRecord, Ending, Family, FamilyState, RefreshRecord};
use crate::domain::seal::Sealed;
use crate::domain::time::Timestamp;

/// When the last UUID of a family is forgotten, and the family with it. A family without one is forgotten at once.
pub fn remembered_until(family: &Family) -> Timestamp {
    family.members.iter().map(|member| member.until).max().unwrap_or(family.born)
}

/// Whether the family is over.
pub const fn is_over(family: &Family) -> bool {
    matches!(family.state, FamilyState::Over(_))
}

/// The family once it is over: nothing of the realm is left.
pub fn over(family: &Family, ending: Ending) -> Family {
    Family { renewal: None, session: None, state: FamilyState::Over(ending), ..family.clone() }
}

/// What is left of an access record: that it was good, until when, and why it is not.
pub fn access_over(record: AccessRecord, ending: Ending) -> AccessRecord {
    AccessRecord { fate: AccessFate::Over(ending), ..record }
}

/// What is left of a refresh record: whose it was. Its key opens nothing any more.
pub fn refresh_over(record: RefreshRecord) -> RefreshRecord {
    RefreshRecord { key: Sealed::from_bytes(Vec::new()), ..record }
}
