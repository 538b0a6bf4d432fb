//! Whether the old server is there: a connection is opened and closed again, without a word.

use std::sync::Arc;

use super::finding::Finding;
use crate::config::Config;
use crate::domain::table::Table;
use crate::otk::OldServer;
use crate::server::SystemClock;

/// Knocks at the old server, where there is one.
pub(super) async fn look(config: &Config, table: &Table) -> Option<Finding> {
    let settings = config.otk.as_ref()?;
    let reached = match OldServer::new(settings, Arc::new(SystemClock::new())) {
        Ok(old_server) => old_server.reach().await.map_err(|lost| lost.sentence()),
        Err(unusable) => Err(unusable),
    };
    let sentence = reached.err()?;
    let waiting = table.clients().filter(|client| client.stage.needs_old_server()).count();
    let message = format!("{}: {sentence}; {waiting} of the clients are answered by it", settings.url());
    let hint = "is `otk.url` right, the way open? Where the old server is switched off, leave [otk] out";
    Some(Finding::error("old-server-unreachable", message).hint(hint))
}
