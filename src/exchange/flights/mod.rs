//! What one process knows of its questions to the realm, and no store can tell.

mod respite;
mod unspent;

use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::watch;

use self::respite::Respite;
use self::unspent::Unspent;
use super::flight::Landing;
use crate::domain::family::FamilyId;
use crate::telemetry::News;

/// Flights of this process, and what came of them.
#[derive(Debug, Default)]
pub struct Flights {
    under_way: DashMap<FamilyId, watch::Receiver<Option<Landing>>>,
    /// What came of those that spent nothing.
    pub unspent: Unspent,
    /// For whom they are to wait.
    pub(super) respite: Respite,
    /// Clients of which a renewal failed: each of its API calls may begin one.
    told: News<String>,
}

/// Takes the flight out of the list when it ends, in whatever way.
pub(super) struct UnderWay<'a>(&'a Flights, FamilyId);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.remove(&self.1);
    }
}

impl Flights {
    /// How many there are.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Whether somebody of this process asks for the family.
    pub(super) fn asking(&self, family: &FamilyId) -> bool {
        self.under_way.contains_key(family)
    }

    /// Waits for the end of the family's flight, if there is one.
    pub(super) async fn landed(&self, family: &FamilyId) {
        let watch = self.under_way.get(family).map(|there| there.value().clone());
        if let Some(mut watch) = watch {
            let _landing = watch.wait_for(Option::is_some).await;
        }
    }

    /// The family's flight; whoever begins it is to tell how it ends.
    pub(super) fn begin(
        &self,
        family: FamilyId,
    ) -> (watch::Receiver<Option<Landing>>, Option<watch::Sender<Option<Landing>>>) {
        match self.under_way.entry(family) {
            Entry::Occupied(there) => (there.get().clone(), None),
            Entry::Vacant(free) => {
                let (sender, receiver) = watch::channel(None);
                (free.insert(receiver).clone(), Some(sender))
            }
        }
    }

    pub(super) fn until_it_lands(&self, family: FamilyId) -> UnderWay<'_> {
        UnderWay(self, family)
    }

    /// Whether it is time to tell of a renewal of this client that failed.
    pub(super) fn is_to_be_told(&self, client: &str, now: Duration) -> bool {
        self.told.is_news(client.to_owned(), now)
    }
}
