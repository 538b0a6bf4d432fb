//! Log lines: JSON on standard error, one for each request, written at the edge.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use std::{panic, thread};

use prometheus_client::metrics::counter::Counter;
use tracing::Level;
use tracing_subscriber::EnvFilter;

pub use super::line::Line;
pub use super::spool::Writing;
use super::spool::{Patience, Spool};
use super::trail::Trail;
use crate::document::{Finding, Severity};
use crate::domain::canary::Figures;
use crate::domain::client::Stage;
use crate::domain::dialect::Endpoint;
use crate::domain::family::FamilyId;
use crate::domain::refusal::{Cause, Fault, Refusal, sentence};
use crate::domain::shadow::{Took, Verdict};

/// A login waits no longer for a reader of the log, and no stop.
const PATIENCE: Patience = Patience { line: Duration::from_millis(100), end: Duration::from_secs(2) };

/// Begins to log, as `filter` says (`info`, `passbridge=debug`, ...), until what it answers is dropped. A second call changes nothing.
/// `left_out` counts the lines that find no room, as nobody reads them.
///
/// # Errors
/// The machine gives no thread.
pub fn begin(filter: &str, left_out: &Counter) -> io::Result<Writing> {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let (spool, writing) = Spool::start(io::stderr(), PATIENCE, left_out.clone(), lines_left_out)?;
    let subscriber = tracing_subscriber::fmt().event_format(Line).with_writer(spool).with_env_filter(filter).finish();
    // Tests begin several bridges in one process; the first one's log serves all.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(writing)
}

/// Has each panic counted and told by a line from now on: where it was, and nothing of what it says, which may be anything.
pub fn panics(count: Counter) {
    panic::set_hook(Box::new(move |panicked| {
        count.inc();
        let (place, thread) = (panicked.location(), thread::current());
        let (place, thread) = (place.map(ToString::to_string), thread.name());
        tracing::error!(event = "panic", place, thread, "a fault of this program: please report it");
    }));
}

/// Says how many lines found no room before this one, as nobody read them.
fn lines_left_out(lines: u64) {
    tracing::error!(event = "log", outcome = "lost", lines, "whoever reads standard error had stopped: see why");
}

/// Writes the one line of a request. What is somebody else's fault than the client's is a warning.
pub fn request(trail: &Trail, status: u16, took: Duration) {
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                $level,
                event = "request",
                endpoint = trail.endpoint.map(Endpoint::word),
                client = trail.client.as_ref().map(|client| &*client.legacy_id),
                claimed = trail.claimed.as_deref().filter(|_| trail.client.is_none()),
                stage = trail.stage().map(Stage::word),
                dialect = trail.client.as_ref().map(|client| client.dialect.name.as_str()),
                grant = trail.grant.as_deref(),
                address = trail.address.map(display),
                status,
                outcome = trail.outcome(),
                fault = trail.refusal.as_ref().map(|refusal| refusal.fault.word()),
                detail = trail.refusal.as_ref().map(|refusal| refusal.detail.as_ref()),
                notes = (!trail.notes.is_empty()).then(|| trail
                    .notes
                    .iter()
                    .map(|note| note.word())
                    .collect::<Vec<_>>()
                    .join(" ")),
                family = trail.family.map(display),
                token = trail.token.map(|token| token.short()),
                old_server = trail.passed.as_ref().map(|passed| match passed.said {
                    Ok(status) => status.to_string(),
                    Err(word) => word.to_owned(),
                }),
                old_ms = trail.passed.as_ref().map(|passed| millis(passed.took)),
                realm_ms = trail.realm.map(millis),
                took_ms = millis(took),
            )
        };
    }
    let blamed = trail.refusal.as_ref().is_some_and(|refusal| refusal.fault != Fault::Client);
    let is_call = matches!(trail.endpoint, Some(Endpoint::Api | Endpoint::Authz));
    if blamed || !trail.notes.is_empty() {
        line!(Level::WARN);
    } else if is_call && trail.refusal.is_none() {
        // Every API call is one: counted always, written only where somebody wants to see them.
        line!(Level::DEBUG);
    } else {
        line!(Level::INFO);
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Says where the bridge listens.
pub fn started(legacy: SocketAddr, realm: Option<SocketAddr>, ops: SocketAddr, workers: usize) {
    let realm = realm.map(|realm| realm.to_string());
    tracing::info!(event = "started", %legacy, realm, %ops, workers, version = env!("CARGO_PKG_VERSION"));
}

/// Says where API calls and authorization questions are taken, where they are.
pub fn gateway(gateway: Option<SocketAddr>, authz: Option<SocketAddr>) {
    if gateway.is_some() || authz.is_some() {
        let (gateway, authz) = (gateway.map(|it| it.to_string()), authz.map(|it| it.to_string()));
        tracing::info!(event = "gateway", gateway, authz);
    }
}

/// Says that the machine allows too few open files for the connections that are configured.
pub fn few_files(files: u64, taken: usize, wanted: usize) {
    tracing::warn!(
        event = "open_files",
        allowed = files,
        connections = taken,
        "{wanted} connections (`limits.connections`) need more open files than this process may have: raise its hard limit (systemd: \
         `LimitNOFILE=`, containers: `--ulimit nofile=`) to twice as many and 4096, or lower `limits.connections`"
    );
}

/// Says that connections are closed unserved, as there are as many as may be, at a listener with a bound of its own or at the others;
/// `count` of them so far. `few_files`: it is open files that allow so many.
pub fn turned_away(listener: Option<&str>, (connections, few_files): (usize, bool), count: u64) {
    let (whose, mend) = match (listener, few_files) {
        (Some(_), _) => ("this listener takes", "see who holds them"),
        (None, false) => {
            ("`limits.connections` allows (API calls: all but an eighth)", "raise it, or see who holds them")
        }
        (None, true) => (
            "there may be open files for (API calls: all but an eighth)",
            "raise the hard limit of these (`open_files` at the start), or see who holds them",
        ),
    };
    tracing::warn!(
        event = "turned_away",
        listener,
        connections = listener.is_none().then_some(connections),
        count,
        "there are as many connections as {whose}, and further ones are closed at once: {mend}"
    );
}

/// Says that a caller could not ask anything, as its TLS handshake failed; `count` of them for this cause at this listener so far.
pub fn handshake_failed(listener: &str, (address, cause): (IpAddr, &str), detail: &str, count: u64) {
    tracing::warn!(
        event = "handshake_failed",
        listener,
        %address,
        cause,
        detail,
        count,
        "a caller was turned away: no TLS with it"
    );
}

/// Says that connections cannot be accepted, as the machine has nothing to make them of; `count` tries so far. They wait in the kernel.
pub fn not_accepted(error: &io::Error, files: Option<u64>, count: u64) {
    tracing::error!(
        event = "not_accepted",
        detail = error.to_string(),
        allowed = files,
        count,
        "connections wait to be accepted: raise the limit of open files (systemd: `LimitNOFILE=`, containers: `--ulimit nofile=`) to twice \
         `limits.connections` and 4096, or lower `limits.connections`"
    );
}

/// Says that an answer was cut behind the head, of which the call's own line knew nothing yet: by this server, or as its client is refused after all.
pub fn answer_cut((call, status): (&Trail, u16), server: Option<&str>, detail: &str) {
    let (client, outcome) = (call.client.as_ref().map(|client| &*client.legacy_id), call.outcome());
    let (address, fault) = (call.address.map(|it| it.to_string()), call.refusal.as_ref().map(|it| it.fault.word()));
    let (family, token) = (call.family.map(|family| family.to_string()), call.token.map(|token| token.short()));
    match server {
        Some(server) => tracing::warn!(event = "answer_cut", client, address, status, family, token, server, detail),
        None => tracing::info!(event = "call_cut", client, address, status, outcome, fault, detail, family, token),
    }
}

/// Says that a server of several is not asked for a while, which no call's own line tells: another answers it.
pub fn server_passed_over(server: &str, detail: &str) {
    tracing::warn!(event = "server_passed_over", server, detail, "calls go to the other servers of its route");
}

/// Says that it answers again.
pub fn server_back(server: &str) {
    tracing::info!(event = "server_back", server);
}

/// Says that no new connections are accepted.
pub fn draining() {
    tracing::info!(event = "draining");
}

/// Says that so many connections, and what goes on beside them, are cut off in the middle of something.
pub fn cut_off(left: usize) {
    tracing::warn!(
        event = "cut_off",
        left,
        "the time to end was over (`server.drain`; 2 s for operators and what the realm says), and these had not: requests of clients that had no answer yet have a line each"
    );
}

/// Says that files were taken into use.
pub fn loaded(generation: u64, digest: &str, clients: usize) {
    tracing::info!(event = "loaded", generation, digest, clients);
}

/// Says that files were refused; what was in use stays in use.
pub fn load_refused(errors: usize) {
    tracing::error!(event = "load_refused", errors, "what was in use stays in use");
}

/// Says that a changed setting needs a restart.
pub fn needs_restart(section: &str) {
    tracing::warn!(event = "needs_restart", section, "this section changed; it takes effect with the next start");
}

/// So many findings of one load are told: a variable that is not set may be one for each of a hundred thousand clients.
const MOST_FINDINGS: usize = 100;

/// Writes findings, each on a line.
pub fn findings(findings: &[Finding]) {
    let of = |severity| findings.iter().filter(move |finding| finding.severity == severity);
    let told = of(Severity::Error).chain(of(Severity::Warning)).take(MOST_FINDINGS);
    for finding in told {
        let (code, place, hint) = (finding.code, finding.origin.to_string(), finding.hint.as_str());
        match finding.severity {
            Severity::Error => tracing::error!(event = "finding", code, place, message = finding.message, hint),
            Severity::Warning => tracing::warn!(event = "finding", code, place, message = finding.message, hint),
        }
    }
    let more = findings.len().saturating_sub(MOST_FINDINGS);
    if more > 0 {
        tracing::warn!(event = "more_findings", more, hint = "`passbridge check` shows all");
    }
}

/// Says what the store could not do beside serving requests.
pub fn store(what: &str, error: &dyn std::error::Error) {
    tracing::error!(event = "store", what, detail = sentence(error));
}

/// Says that the store refuses writes from now on, and why.
pub fn store_refuses(error: &dyn std::error::Error) {
    tracing::error!(event = "store", outcome = "refusing", detail = sentence(error));
}

/// Says that it takes them again.
pub fn store_takes_writes() {
    tracing::info!(event = "store", outcome = "recovered");
}

/// Says how much of a last write opening the store cut off: what a crash had broken off, which nobody was told of. More than that
/// only where the files were changed meanwhile.
pub fn torn(bytes: u64) {
    tracing::warn!(event = "store", what = "opening it: a last write that was broken off was cut off", torn = bytes);
}

/// Says what became of a revocation at the realm: `told`, `untold` (it will be told again) or `dropped`.
pub fn revocation(client: &str, family: FamilyId, outcome: &str, detail: &str) {
    match outcome {
        "told" => tracing::info!(event = "revocation", client, %family, outcome, detail),
        _ => tracing::warn!(event = "revocation", client, %family, outcome, detail),
    }
}

/// Says why a login got no new JWT, where no request says it.
pub fn renewal(client: &str, family: FamilyId, refusal: &Refusal) {
    let (outcome, fault, detail) = (refusal.cause.word(), refusal.fault.word(), refusal.detail.as_ref());
    match refusal.fault {
        Fault::Client => tracing::info!(event = "renewal", client, %family, outcome, fault, detail),
        Fault::Operator | Fault::Upstream | Fault::Ourselves => {
            tracing::warn!(event = "renewal", client, %family, outcome, fault, detail);
        }
    }
}

/// Writes the one line of a logout that the realm announced.
pub fn logout(trail: &Trail) {
    let client = trail.client.as_ref().map(|client| &*client.legacy_id);
    let family = trail.family.map(|family| family.to_string());
    match &trail.refusal {
        None => tracing::info!(event = "logout", client, family, outcome = "ok"),
        Some(it) => tracing::warn!(event = "logout", client, family, outcome = it.cause.word(), detail = &*it.detail),
    }
}

/// Says that an operator ended a login, and from where; and what becomes of its session at the realm.
pub fn ended_by_operator(client: &str, family: FamilyId, realm: &str, by: Option<IpAddr>) {
    tracing::warn!(event = "ended_by_operator", client, %family, realm, address = by.map(display));
}

/// Says that somebody asked at a path of operators without the ops token; `count` requests so far, of whomever.
pub fn operator_refused(address: IpAddr, path: &str, detail: &str, count: u64) {
    tracing::warn!(event = "ops_refused", %address, path, detail, count);
}

/// The store was copied into a directory while it was in use, for an operator who asked from there.
pub fn backed_up(directory: &Path, by: Option<IpAddr>, (records, damaged): (u64, u64)) {
    tracing::info!(event = "backed_up", directory = %directory.display(), records, damaged, address = by.map(display));
}

/// Says that an operator was told the hashes of a client's old secrets that were learned.
pub fn learned_read(client: &str, by: Option<IpAddr>) {
    tracing::info!(event = "learned_read", client, address = by.map(display));
}

/// Says that an operator had them forgotten.
pub fn learned_forgotten(client: &str, by: Option<IpAddr>) {
    tracing::info!(event = "learned_forgotten", client, address = by.map(display));
}

/// Says that an operator asked whether the secrets of so many clients are the same here, and of how many they are not.
pub fn secrets_compared(clients: usize, differ: usize, by: Option<IpAddr>) {
    tracing::info!(event = "secrets_compared", clients, differ, address = by.map(display));
}

/// Says that records were found that are not what was written; they are let alone.
pub fn damaged(what: &'static str, records: usize) {
    tracing::error!(event = "store", what, damaged = records, "these records are not what was written");
}

/// Says that a load brought a client to another stage.
pub fn staged(client: &str, before: &str, stage: &str) {
    tracing::info!(event = "staged", client, before, stage);
}

/// Says that a load left a client out.
pub fn unmapped(client: &str, stage: &str) {
    tracing::warn!(event = "unmapped", client, stage, "no file maps it any more");
}

/// Says that all logins of a client at stage canary go back to the old server.
pub fn stepped_back(client: &str, figures: Figures) {
    let detail = figures.sentence();
    tracing::warn!(event = "stepped_back", client, detail, "its logins go to the old server until it is staged again");
}

/// Says that an old secret of a client was learned, and how many are kept of it now.
pub fn learned(client: &str, kept: usize) {
    tracing::info!(event = "learned", client, kept);
}

/// Tells of a login at stage shadow, where the old server and the bridge would have answered otherwise.
pub fn compared(client: &str, verdict: &Verdict, took: Took) {
    let (outcome, cause, detail) = (verdict.outcome.word(), verdict.cause.map(Cause::word), verdict.words.as_str());
    let Took { old_ms, realm_ms } = took;
    if verdict.outcome.differs() {
        tracing::warn!(event = "shadow", client, outcome, cause, detail, old_ms, realm_ms);
    } else {
        tracing::debug!(event = "shadow", client, outcome, cause, detail, old_ms, realm_ms);
    }
}

/// Says that the audit cannot be written. Logins go on.
pub fn audit_failed(error: &io::Error) {
    let detail = error.to_string();
    tracing::error!(event = "audit", outcome = "failing", detail, "records wait, and are lost when too many do");
}

/// Says that an old file of the audit is still there. It is tried again the next day.
pub fn audit_kept(path: &Path, error: &io::Error) {
    let (file, detail) = (path.display().to_string(), error.to_string());
    tracing::error!(event = "audit", outcome = "kept", file, detail, "this file is old: remove it");
}

/// Says that the audit is written again.
pub fn audit_recovered() {
    tracing::info!(event = "audit", outcome = "recovered");
}

/// Says that records which this process had written are not in the files any more; `seq` is the last that is.
pub fn audit_removed(records: u64, seq: u64) {
    tracing::error!(event = "audit", outcome = "removed", records, seq, "somebody removed or changed them");
}

/// Says how many records were lost at the end of the process, as they could not be written.
pub fn audit_lost(records: usize) {
    tracing::error!(event = "audit", outcome = "lost", records);
}

/// Says where the chain stood when a file was full: kept elsewhere, this proves that nothing before was changed or cut off.
pub fn audit_followed(seq: u64, hash: &str) {
    tracing::info!(event = "audit", outcome = "followed", seq, hash);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Where one event's line goes.
    struct Told(Sender<Vec<u8>>);

    impl io::Write for Told {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.send(line.to_vec()).unwrap();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_a_line_that_says_where_and_nothing_of_what_was_said() {
        let (told, lines) = channel();
        let subscriber = tracing_subscriber::fmt().event_format(Line).with_writer(move || Told(told.clone())).finish();
        let before = panic::take_hook();
        let count = Counter::default();
        panics(count.clone());
        let caught = tracing::subscriber::with_default(subscriber, || {
            panic::catch_unwind(|| {
                let secret = "planted-secret";
                panic!("what was said: {secret}")
            })
        });
        panic::set_hook(before);
        // Other tests may panic meanwhile.
        assert!(caught.is_err() && count.get() >= 1);
        let line = String::from_utf8(lines.recv().unwrap()).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&said["event"], &said["level"]), (&"panic".into(), &"ERROR".into()), "{line}");
        assert!(said["place"].as_str().unwrap().starts_with("src/telemetry/log.rs:"), "{line}");
        assert!(said["thread"].as_str().unwrap().contains("a_panic_is_a_line"), "{line}");
        assert!(!line.contains("planted"), "{line}");
    }
}
