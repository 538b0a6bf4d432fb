//! What the store keeps of how a client fares at one staging. What it has of another, or what cannot be read, is none.

use serde::de::DeserializeOwned;

use crate::domain::opaque::Fingerprint;
use crate::store::{StoreError, TokenStore};

/// How a client fares.
pub(super) trait Staged: DeserializeOwned {
    /// At this staging.
    fn staging(&self) -> Fingerprint;
}

/// What the store has under this name of this staging.
pub(super) async fn kept<T: Staged>(
    store: &TokenStore,
    name: &str,
    staging: Fingerprint,
) -> Result<Option<T>, StoreError> {
    let bytes = store.memo(name).await?;
    let kept = bytes.and_then(|bytes| postcard::from_bytes::<T>(&bytes).ok());
    Ok(kept.filter(|kept| kept.staging() == staging))
}

/// Has the store forget it.
pub(super) async fn forget<T: Staged>(store: &TokenStore, name: &str, staging: Fingerprint) -> Result<(), StoreError> {
    match kept::<T>(store, name, staging).await? {
        Some(_) => store.memo_delete(name).await,
        None => Ok(()),
    }
}
