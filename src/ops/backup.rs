//! `POST /api/v1/store/backup`: a copy of the token store while it is in use, for whoever shows the ops token.
//!
//! The answer is a JSON line every second: how far it is, and in the end what became of it. Whoever hangs up gives it up.

use std::convert::Infallible;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::OpsService;
use super::tokens::{Authorized, Said, denied};
use crate::domain::refusal::sentence;
use crate::lifecycle;
use crate::store::{BackedUp, Backup, Progress, StoreError};
use crate::telemetry::log;

/// Between two lines.
const LINE: Duration = Duration::from_secs(1);

/// Where to put it: the whole path of a directory that is empty or not there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    directory: PathBuf,
}

pub(super) async fn backup(
    Authorized(by): Authorized,
    State(service): State<Arc<OpsService>>,
    Said(body): Said,
) -> Response {
    let Some(Asked { directory }) =
        serde_json::from_slice(&body).ok().filter(|asked: &Asked| asked.directory.is_absolute())
    else {
        let sentence = "say `directory`, the whole path of a directory on the bridge's machine";
        return denied(StatusCode::BAD_REQUEST, sentence);
    };
    let progress = Arc::<Progress>::default();
    let ((known, begins), (done, ended)) = (oneshot::channel(), oneshot::channel());
    let (copying, asked) = (Arc::clone(&progress), Arc::clone(&service));
    // From the first look at that disk on: it may not answer, and operators and the realm are heard on this thread.
    let run = async move {
        let begun = match begin(&asked, &directory) {
            Ok(begun) => begun,
            Err(why) => return drop(known.send(Err(why))),
        };
        let _nobody_listens = known.send(Ok(()));
        let ended = begun.run(&copying);
        match &ended {
            Ok(BackedUp { records, damaged, .. }) => asked.bridge.edge.backed_up(&directory, by, (*records, *damaged)),
            Err(error) => log::store("a backup; what was copied is removed", error),
        }
        let _nobody_listens = done.send(ended);
    };
    if lifecycle::thread("store-backup", || Ok(run)).is_err() {
        return denied(StatusCode::INTERNAL_SERVER_ERROR, "the machine gives no thread");
    }
    // Whoever hangs up meanwhile gives it up too.
    let told = Told { progress, ended: Some(ended), stop: service.stop.clone() };
    match service.stop.run_until_cancelled(begins).await {
        Some(Ok(Err(why))) => return denied(StatusCode::CONFLICT, &why),
        Some(_) => {}
        None => return denied(StatusCode::SERVICE_UNAVAILABLE, "the bridge ends, and that disk does not answer"),
    }
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "application/x-ndjson")];
    (headers, Body::from_stream(unfold(told, next_line))).into_response()
}

/// Settles what is in it, unless it is not to go there.
fn begin(service: &OpsService, directory: &Path) -> Result<Backup, String> {
    if service.own.load().iter().any(|own| lies_in(directory, own)) {
        let directory = directory.display();
        return Err(format!(
            "{directory} is where the bridge keeps files of its own: name a directory that is empty or not there yet, elsewhere"
        ));
    }
    service.bridge.store.backup(directory).map_err(|error| sentence(&error))
}

/// Whether a path leads into a directory, by whichever links. Of one that goes on over what is not there nobody knows.
fn lies_in(path: &Path, directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else { return false };
    let there = path.ancestors().find_map(|there| Some((there, there.canonicalize().ok()?)));
    let Some((there, whole)) = there else { return false };
    let mut rest = path.strip_prefix(there).unwrap_or(path).components();
    whole.starts_with(directory) || rest.any(|part| part == Component::ParentDir)
}

/// A backup as it is told of.
struct Told {
    progress: Arc<Progress>,
    ended: Option<oneshot::Receiver<Result<BackedUp, StoreError>>>,
    stop: CancellationToken,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.progress.give_up();
    }
}

async fn next_line(mut told: Told) -> Option<(Result<Bytes, Infallible>, Told)> {
    let ended = told.ended.as_mut()?;
    let line = match timeout(LINE, ended).await {
        Err(_) => json!({"records": told.progress.records()}),
        Ok(ended) => {
            told.ended = None;
            match ended {
                Ok(Ok(BackedUp { records, damaged, bytes })) => {
                    json!({"done": {"records": records, "damaged": damaged, "bytes": bytes}})
                }
                Ok(Err(error)) => json!({"error": sentence(&error)}),
                Err(_) => json!({"error": "the backup ended without a word"}),
            }
        }
    };
    if told.stop.is_cancelled() {
        told.progress.give_up();
    }
    Some((Ok(Bytes::from(format!("{line}\n"))), told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::SystemClock;
    use crate::store::{StoreSettings, TokenStore};

    #[test]
    fn a_backup_whose_caller_hangs_up_is_given_up() {
        let place = tempfile::tempdir().unwrap();
        let settings = StoreSettings::Embedded { path: place.path().join("data"), cache_bytes: 1 << 20 };
        let store = TokenStore::open(&settings, Arc::new(SystemClock::new())).unwrap();
        let progress = Arc::<Progress>::default();
        let (_ends, ended) = oneshot::channel();
        let told = Told { progress: Arc::clone(&progress), ended: Some(ended), stop: CancellationToken::new() };
        let copy = place.path().join("copy");
        let begun = store.backup(&copy).unwrap();
        drop(Body::from_stream(unfold(told, next_line)));
        assert!(matches!(begun.run(&progress), Err(StoreError::Closed)));
        assert!(!copy.join("engine").exists(), "what was copied is removed");
    }
}
