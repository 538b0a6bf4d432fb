//! Whether the old server and its API are there: a connection is opened and closed again, without a word.

use std::sync::Arc;

use super::finding::Finding;
use crate::config::Config;
use crate::domain::table::Table;
use crate::otk::OldServer;
use crate::server::SystemClock;

/// Knocks at the old server, and at the API that honours its UUIDs, where there are such.
pub(super) async fn look(config: &Config, table: &Table) -> Vec<Finding> {
    let (server, api) = tokio::join!(server(config, table), api(config));
    server.into_iter().chain(api).collect()
}

async fn server(config: &Config, table: &Table) -> Option<Finding> {
    let settings = config.otk.as_ref()?;
    let reached = match OldServer::new(settings, Arc::new(SystemClock::new())) {
        Ok(old_server) => old_server.reach().await.map_err(|lost| lost.sentence()),
        Err(unusable) => Err(unusable),
    };
    let Err(sentence) = reached else {
        let hint = "the log's `old_server`, and `passbridge_old_server_total`, say how it answers those who ask it";
        return Some(Finding::unchecked("whether the old server answers: a connection to it was had", hint));
    };
    let waiting = table.clients().filter(|client| client.stage.needs_old_server()).count();
    let message = format!("{}: {sentence}; {waiting} of the clients are answered by it", settings.url());
    let hint = "is `otk.url` right, the way open? Where the old server is switched off, leave [otk] out";
    Some(Finding::error("old-server-unreachable", message, hint))
}

async fn api(config: &Config) -> Option<Finding> {
    let api = config.gateway.old_api.as_ref()?;
    let why = api.reach(config.gateway.bounds).await.err()?;
    let message = format!("{}: the old API cannot be reached: {why}", api.url());
    let hint = "is `otk.api` right, the way open? Where no UUID of the old server is left, leave the key out";
    Some(Finding::error("old-api-unreachable", message, hint))
}
