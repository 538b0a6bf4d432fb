//! What is left out: how many refusals are written, and what a record says of the rest.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::entry::Entry;

/// Refusals of callers who proved nothing, and of one client's calls and questions, that are written in a minute, at most.
const MOST: u32 = 600;

/// Those of one login: whoever has one UUID hides no other login's by them.
const OF_A_LOGIN: u32 = 10;

/// Why records are left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// There was no room for what changes something.
    Full,
    /// There was no room for a refusal: they get a part of it only.
    FullOfRefusals,
    /// Too many refusals of callers who proved nothing.
    Strangers,
    /// Too many of this client's calls and questions.
    Calls(Arc<str>),
}

impl Why {
    /// Whether nothing is wrong: so many are not to be written.
    pub(super) fn is_a_rule(&self) -> bool {
        matches!(self, Self::Strangers | Self::Calls(_))
    }

    /// Whose records they are, where they are one client's.
    pub(super) fn client(&self) -> Option<Arc<str>> {
        match self {
            Self::Calls(client) => Some(Arc::clone(client)),
            Self::Full | Self::FullOfRefusals | Self::Strangers => None,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self {
            Self::Full => return f.write_str("the queue was full: records came faster than they could be written"),
            Self::FullOfRefusals => {
                return f.write_str("refusals came faster than they could be written; each is in the log");
            }
            Self::Strangers => "strangers",
            Self::Calls(_) => "this client's calls and questions",
        };
        write!(f, "refusals of {whose} beyond {MOST} a minute, or {OF_A_LOGIN} of one login; each is in the log")
    }
}

/// How many were left out since a record said so.
#[derive(Debug, Default)]
pub(super) struct Missing(Mutex<BTreeMap<Why, u64>>);

impl Missing {
    pub(super) fn one(&self, why: Why) {
        *self.0.lock().entry(why).or_default() += 1;
    }

    pub(super) fn take(&self) -> BTreeMap<Why, u64> {
        mem::take(&mut self.0.lock())
    }
}

/// How many refusals were written in this minute: of a client, or of strangers, and of each login of theirs.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    minute: u64,
    written: HashMap<(Option<Arc<str>>, Option<String>), u32>,
}

impl Bounds {
    /// Whether this one is still written; if so it counts.
    ///
    /// # Errors
    /// It is not, and why.
    pub(super) fn take(&mut self, entry: &Entry, now: Duration) -> Result<(), Why> {
        let minute = now.as_secs() / 60;
        if self.minute != minute {
            *self = Self { minute, ..Self::default() };
        }
        let all = ((entry.client.clone(), None), MOST);
        let login = entry.family.clone().map(|family| ((entry.client.clone(), Some(family)), OF_A_LOGIN));
        let counts = [Some(all), login];
        let is_full = |(whose, most): &(_, u32)| self.written.get(whose).is_some_and(|count| count >= most);
        if counts.iter().flatten().any(is_full) {
            return Err(entry.client.clone().map_or(Why::Strangers, Why::Calls));
        }
        // Not more logins than refusals are written, so that these are no more than there are.
        for (whose, _) in counts.into_iter().flatten() {
            *self.written.entry(whose).or_default() += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn refused(client: Option<&str>, login: Option<usize>) -> Entry {
        let family = login.map(|login| login.to_string());
        Entry { client: client.map(Arc::from), family, ..Entry::new(Timestamp::default(), "api_call") }
    }

    #[test]
    fn one_login_hides_no_other_and_one_client_no_other_and_the_next_minute_is_another() {
        let mut bounds = Bounds::default();
        let mut written = |client, login, times: u32, seconds| {
            let now = Duration::from_secs(seconds);
            (0..times).filter(|_| bounds.take(&refused(client, login), now).is_ok()).count()
        };
        assert_eq!(written(Some("a"), Some(0), 1_000, 0), 10);
        assert_eq!(written(Some("a"), Some(1), 1, 0), 1);
        let of_many_logins: usize = (2..1_000).map(|login| written(Some("a"), Some(login), 1, 59)).sum();
        assert_eq!((of_many_logins, written(Some("a"), None, 1, 59)), (600 - 11, 0));
        assert_eq!(written(Some("b"), Some(1_000), 1, 59), 1);
        assert_eq!((written(None, Some(0), 20, 59), written(None, None, 1_000, 59)), (10, 590));
        assert_eq!(written(Some("a"), Some(0), 20, 60), 10);
    }

    #[test]
    fn what_is_remembered_of_a_minute_is_no_more_than_what_is_written() {
        let mut bounds = Bounds::default();
        for login in 0..10_000 {
            let _full = bounds.take(&refused(Some("a"), Some(login)), Duration::ZERO);
        }
        assert_eq!(bounds.written.len(), 601);
    }
}
