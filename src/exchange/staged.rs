//! What the store keeps of how a client fares at one staging. What cannot be read is none.

use serde::de::DeserializeOwned;

use crate::domain::opaque::Fingerprint;
use crate::store::{StoreError, TokenStore};

/// How a client fares.
pub(super) trait Staged: DeserializeOwned {
    /// At this staging.
    fn staging(&self) -> Fingerprint;
}

/// What the store has under this name, of whatever staging.
pub(super) async fn of_any<T: Staged>(store: &TokenStore, name: &str) -> Result<Option<T>, StoreError> {
    Ok(store.memo(name).await?.and_then(|bytes| postcard::from_bytes(&bytes).ok()))
}

/// What it has of this staging.
pub(super) async fn kept<T: Staged>(
    store: &TokenStore,
    name: &str,
    staging: Fingerprint,
) -> Result<Option<T>, StoreError> {
    Ok(of_any::<T>(store, name).await?.filter(|kept| kept.staging() == staging))
}

/// Whether the store has done all that it was asked for so far: what a disk that hangs was asked for in vain it takes once it answers.
pub(super) async fn has_settled(store: &TokenStore) -> bool {
    store.hangs().is_none() && store.try_out().await.is_ok()
}

/// Has the store forget it.
pub(super) async fn forget<T: Staged>(store: &TokenStore, name: &str, staging: Fingerprint) -> Result<(), StoreError> {
    match kept::<T>(store, name, staging).await? {
        Some(_) => store.memo_delete(name).await,
        None => Ok(()),
    }
}
