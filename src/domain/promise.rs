//! What `expires_in` we may honestly say (CONTRACT section 4).

use std::time::Duration;

use super::grant::RealmRefresh;

/// A lifetime that can be told to a client, and whether it is what the client was once promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// What is told, whole seconds.
    pub lifetime: Duration,
    /// It is the full legacy promise.
    pub kept: bool,
}

/// How long the realm's tokens live, from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealmLife {
    /// The access token.
    pub access: Duration,
    /// The refresh token.
    pub refresh: RefreshLife,
}

impl RealmLife {
    /// What is left of it so much later. Lives are whole seconds: of one that has begun nothing is missing.
    #[must_use]
    pub fn after(self, late: Duration) -> Self {
        let left = |life: Duration| life.saturating_sub(Duration::from_secs(late.as_secs()));
        let refresh = match self.refresh {
            RefreshLife::Lasts(life) => RefreshLife::Lasts(left(life)),
            RefreshLife::None | RefreshLife::Endless => self.refresh,
        };
        Self { access: left(self.access), refresh }
    }
}

/// How long the realm's refresh token lives, from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshLife {
    /// There is none.
    None,
    /// It does not end by time.
    Endless,
    /// So long.
    Lasts(Duration),
}

impl From<Option<&RealmRefresh>> for RefreshLife {
    fn from(refresh: Option<&RealmRefresh>) -> Self {
        refresh.map_or(Self::None, |refresh| refresh.life.map_or(Self::Endless, Self::Lasts))
    }
}

/// The smaller of the promise and what the realm's chain can keep for a client that comes back only at the end. Up to
/// `rounding` missing are ours to carry.
#[must_use]
pub fn honest(promise: Duration, rounding: Duration, realm: RealmLife) -> Promise {
    let chain = match realm.refresh {
        RefreshLife::None => Some(realm.access),
        RefreshLife::Endless => None,
        RefreshLife::Lasts(refresh) => Some(refresh.max(realm.access)),
    };
    match chain {
        Some(chain) if chain.saturating_add(rounding) < promise => {
            Promise { lifetime: Duration::from_secs(chain.as_secs()), kept: false }
        }
        _ => Promise { lifetime: promise, kept: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use RefreshLife::{Endless, None};

    fn of(seconds: u64) -> RefreshLife {
        RefreshLife::Lasts(Duration::from_secs(seconds))
    }

    fn told(access: u64, refresh: RefreshLife) -> (u64, bool) {
        let realm = RealmLife { access: Duration::from_secs(access), refresh };
        let promise = honest(Duration::from_secs(3600), Duration::from_secs(5), realm);
        (promise.lifetime.as_secs(), promise.kept)
    }

    #[test]
    fn one_second_less_at_the_realm_keeps_the_promise_as_in_the_document() {
        assert_eq!(told(3599, of(3599)), (3600, true));
        assert_eq!(told(3595, None), (3600, true));
    }

    #[test]
    fn a_short_jwt_keeps_it_where_the_refresh_token_lives_long_enough_or_for_ever() {
        assert_eq!(told(60, of(36_000)), (3600, true));
        assert_eq!(told(60, Endless), (3600, true));
    }

    #[test]
    fn what_is_left_of_a_life_is_told_in_whole_seconds() {
        let after = |refresh, millis| {
            let life = RealmLife { access: Duration::from_secs(60), refresh };
            let left = life.after(Duration::from_millis(millis));
            (left.access.as_secs(), left.refresh)
        };
        assert_eq!(after(of(1800), 8_000), (52, of(1792)));
        assert_eq!(after(of(1800), 999), (60, of(1800)));
        assert_eq!(after(of(7), 61_000), (0, of(0)));
        assert_eq!([None, Endless].map(|refresh| after(refresh, 1_000)), [(59, None), (59, Endless)]);
    }

    #[test]
    fn no_more_is_promised_than_the_realm_can_keep() {
        assert_eq!(told(3594, None), (3594, false));
        assert_eq!(told(60, of(1800)), (1800, false));
        assert_eq!(told(600, of(60)), (600, false));
    }
}
