//! `passbridge store`: what is done with a store while no bridge uses it.

use std::error::Error;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime;

use super::{NO, WRONG_USE, configured, show};
use crate::secrets::Environment;
use crate::server::{SystemClock, provide_tls};
use crate::store::{StoreError, TokenStore};

/// Families in one step.
const STEP: usize = 500;

/// What was copied.
#[derive(Default)]
struct Copied {
    logins: usize,
    untold: usize,
}

/// Copies every login of the configured store into the store of another configuration. Both bridges must be stopped: an embedded
/// store says so itself, and what a running one would write in the meantime would be missing.
pub(super) fn copy(path: &Path, environment: &Environment, to: &Path) -> ExitCode {
    let (from, to) = match (configured(path, environment), configured(to, environment)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(status), _) | (_, Err(status)) => return status,
    };
    if from.store == to.store {
        show::complain("both configurations name one store\n  hint: --to names the configuration of the other one");
        return ExitCode::from(WRONG_USE);
    }
    provide_tls();
    let clock = Arc::new(SystemClock::new());
    let opened =
        TokenStore::open(&from.store, clock.clone()).and_then(|from| Ok((from, TokenStore::open(&to.store, clock)?)));
    let copied = opened.and_then(|(from, to)| run(&from, &to));
    match copied {
        Ok(Copied { logins, untold }) => {
            show::say(&format!("{logins} logins copied, and {untold} revocations that the realm must still be told"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            show::complain(&format!("{error}{cause}"));
            ExitCode::from(NO)
        }
    }
}

fn run(from: &TokenStore, to: &TokenStore) -> Result<Copied, StoreError> {
    let no_runtime = |error: std::io::Error| StoreError::CannotWrite { cause: Arc::new(error) };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
    runtime.block_on(async {
        let mut copied = Copied::default();
        let mut after = None;
        loop {
            let bundles = from.export(after, STEP).await?;
            let Some(last) = bundles.last() else { break };
            after = Some(last.family.id);
            for bundle in &bundles {
                to.import(bundle).await?;
            }
            copied.logins += bundles.len();
            if std::io::stderr().is_terminal() {
                show::progress(&format!("{} logins", copied.logins));
            }
        }
        for pending in from.outbox().await? {
            to.outbox_put(&pending).await?;
            copied.untold += 1;
        }
        to.close().await;
        from.close().await;
        Ok(copied)
    })
}
