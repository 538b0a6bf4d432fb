//! What makes a directory of an older format one of today's.
//!
//! What has to be changed may be cut off and is then done again from its beginning, because the format is raised once all of it is durable; so it
//! finds its own work done without harm.

use super::super::ending;
use super::super::error::StoreError;
use super::directory::{Directory, FORMAT};
use super::expiry::ExpiryIndex;
use super::files::{Entry, Files};
use super::job::StoredFamily;
use super::keys;
use crate::domain::family::{Family, FamilyId, FamilyState, RefreshRecord};
use crate::domain::opaque::TokenUse;
use crate::domain::time::Timestamp;

/// Does what is missing, and writes that down.
pub(super) fn upgrade(directory: &Directory, files: &Files, expiry: &mut ExpiryIndex) -> Result<(), StoreError> {
    let found = directory.format();
    if found == 1 {
        endless_families_are_not_indexed(files, expiry)?;
    }
    // Format 2 kept the realm's tokens as they came, and they are found so; but who knows no other must not read what is packed.
    if found < FORMAT { directory.raise_to(FORMAT) } else { Ok(()) }
}

/// Format 1 entered families without an end at the end of time, where no sweep looks. Format 2 enters them when they get an
/// end; those that are over by now get theirs here.
fn endless_families_are_not_indexed(files: &Files, expiry: &mut ExpiryIndex) -> Result<(), StoreError> {
    let first = keys::expiry(Timestamp::NEVER, 0).to_vec();
    let mut end = keys::expiry(Timestamp::NEVER, u64::MAX).to_vec();
    end.push(0);
    let at_the_end_of_time: Vec<_> = files.records::<Vec<FamilyId>>(first..end).collect::<Result<_, _>>()?;
    for (key, families) in at_the_end_of_time {
        let families = families?;
        let mut entries = vec![Entry::remove(&key)];
        let mut ending = Vec::new();
        for id in families {
            let Some((version, family)) = files.get::<StoredFamily>(&keys::family(id))? else { continue };
            let family = match family.state {
                FamilyState::Over(why) => {
                    let over = ending::over(&family, why);
                    entries.extend(shortened(files, version, &over)?);
                    over
                }
                FamilyState::Resting | FamilyState::Asking { .. } | FamilyState::Unrefreshable => family,
            };
            ending.push((ending::remembered_until(&family), id));
        }
        entries.extend(expiry.enter(ending));
        files.write(entries)?;
    }
    Ok(())
}

/// A family that is over, and its refresh records, once it has an end.
fn shortened(files: &Files, version: u64, over: &Family) -> Result<Vec<Entry>, StoreError> {
    let mut entries = vec![Entry::record(&keys::family(over.id), &(version + 1, over))];
    for member in over.members.iter().filter(|member| member.token_use == TokenUse::Refresh) {
        let key = keys::token(TokenUse::Refresh, &member.fingerprint);
        let record = files.get::<RefreshRecord>(&key)?;
        entries.extend(record.map(|record| Entry::record(&key, &ending::refresh_over(record, over))));
    }
    Ok(entries)
}
