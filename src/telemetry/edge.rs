//! The edge: what happened becomes, from one source, a log line, metrics and a row of the audit.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::audit::{Audit, Entry, Then};
use super::{Metrics, News, Trail, log};
use crate::domain::canary::Figures;
use crate::domain::client::Stage;
use crate::domain::family::Family;
use crate::domain::shadow::{Took, Verdict};

/// Writes down what happened.
#[derive(Debug)]
pub struct Edge {
    metrics: Arc<Metrics>,
    audit: Option<Audit>,
    /// That a server of an API is passed over.
    servers: News<String>,
    /// Those of which the log has told that, and not since that they are back.
    passed_over: Mutex<HashSet<String>>,
}

impl Edge {
    /// With or without an audit.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, audit: Option<Audit>) -> Self {
        Self { metrics, audit, servers: News::default(), passed_over: Mutex::default() }
    }

    /// A request was answered.
    pub fn request(&self, trail: &Trail, status: u16, took: Duration) {
        log::request(trail, status, took);
        self.metrics.request(trail, took);
        self.record_request(trail);
    }

    /// An API broke its answer to this call off, when its client had heard this status.
    pub fn answer_cut(&self, call: (&Trail, u16), server: &str, why: &str) {
        log::answer_cut(call, Some(server), why);
        self.metrics.answers_cut.inc();
    }

    /// The answer to this call, which its client had heard this status of, was cut for what he did: it is refused after all.
    pub fn call_cut(&self, (call, status): (&Trail, u16), why: &str) {
        log::answer_cut((call, status), None, why);
        self.metrics.outcome(call);
        self.record_request(call);
    }

    /// Calls go to other servers of an API in the place of this one, as it refuses them or hangs.
    pub fn server_passed_over(&self, server: &str, why: &str, now: Duration) {
        self.metrics.server_passed_over(server);
        if self.servers.is_news(server.to_owned(), now) {
            self.passed_over.lock().insert(server.to_owned());
            log::server_passed_over(server, why);
        }
    }

    /// One that was passed over answers again.
    pub fn server_back(&self, server: &str) {
        if self.passed_over.lock().remove(server) {
            log::server_back(server);
        }
    }

    /// The realm announced a logout.
    pub fn logout(&self, trail: &Trail) {
        log::logout(trail);
        self.metrics.logout(trail);
        self.record("logout", |entry| Entry::of(entry.at, entry.what, trail));
    }

    /// An operator ended a login, from there; and what becomes of its session at the realm.
    pub fn ended_by_operator(&self, family: &Family, realm: &'static str, by: Option<IpAddr>) {
        log::ended_by_operator(&family.client, family.id, realm, by);
        self.record("operator_revocation", |entry| Entry {
            outcome: "ok",
            client: Some(Arc::clone(&family.client)),
            family: Some(family.id.to_string()),
            realm: Some(realm),
            address: by,
            ..entry
        });
    }

    /// Somebody asked there what only operators may, without the ops token.
    pub fn operator_refused(&self, address: IpAddr, path: &str, why: &str) {
        log::operator_refused(address, path, why, self.metrics.ops_refused.get());
        let (address, why) = (Some(address), Some(why.to_owned()));
        self.record("ops_refused", |entry| Entry { outcome: "refused", address, why, ..entry });
    }

    /// An operator copied the store into a directory, while it was in use; so many records, and so many that are damaged.
    pub fn backed_up(&self, directory: &Path, by: Option<IpAddr>, (records, damaged): (u64, u64)) {
        log::backed_up(directory, by, (records, damaged));
        let directory = Some(directory.display().to_string());
        self.record("backup", |entry| Entry { outcome: "ok", address: by, directory, ..entry });
    }

    /// An operator was told the hashes of a client's old secrets that were learned.
    pub fn learned_read(&self, client: &str, by: Option<IpAddr>) {
        log::learned_read(client, by);
        self.record("learned_read", |entry| of_an_operator(entry, client, by));
    }

    /// An operator asked whether the secrets of so many clients are the same here, and of how many they are not.
    pub fn secrets_compared(&self, clients: usize, differ: usize, by: Option<IpAddr>) {
        log::secrets_compared(clients, differ, by);
        self.record("secrets_compared", |entry| Entry { outcome: "ok", clients: Some(clients), address: by, ..entry });
    }

    /// An operator had them forgotten.
    pub fn learned_forgotten(&self, client: &str, by: Option<IpAddr>) {
        log::learned_forgotten(client, by);
        self.record("learned_forgotten", |entry| of_an_operator(entry, client, by));
    }

    /// Files were taken into use by a reload.
    pub fn loaded(&self, generation: u64, digest: &str, clients: usize) {
        log::loaded(generation, digest, clients);
        self.began(generation, digest, clients);
    }

    /// Files were taken into use at the start, of which the log tells otherwise.
    pub fn began(&self, generation: u64, digest: &str, clients: usize) {
        self.record("load", |entry| Entry {
            outcome: "ok",
            generation: Some(generation),
            digest: Some(digest.to_owned()),
            clients: Some(clients),
            ..entry
        });
    }

    /// Files were refused; generation and digest are those that stay in use.
    pub fn load_refused(&self, errors: usize, generation: u64, digest: &str) {
        log::load_refused(errors);
        self.metrics.refused_loads.inc();
        self.record("load", |entry| Entry {
            outcome: "refused",
            errors: Some(errors),
            generation: Some(generation),
            digest: Some(digest.to_owned()),
            ..entry
        });
    }

    /// A load brought a client to another stage; why, where the command that moved it was told.
    pub fn staged(&self, client: &str, (before, now): (Stage, Stage), why: Option<&str>) {
        log::staged(client, before.word(), now.word());
        self.record("stage", |entry| Entry {
            outcome: "ok",
            client: Some(client.into()),
            stage: Some(now.word()),
            stage_before: Some(before.word()),
            why: why.map(str::to_owned),
            ..entry
        });
    }

    /// A load left a client out.
    pub fn unmapped(&self, client: &str, stage: Stage) {
        log::unmapped(client, stage.word());
        self.record("unmapped", |entry| Entry {
            outcome: "ok",
            client: Some(client.into()),
            stage: Some(stage.word()),
            ..entry
        });
    }

    /// Whether all logins of a client at stage canary went back to the old server.
    pub fn canary(&self, client: &str, has_stepped_back: bool) {
        self.metrics.stepped_back(client, has_stepped_back);
    }

    /// All logins of a client go back to the old server, as it went badly at the realm.
    pub fn stepped_back(&self, client: &str, figures: Figures) {
        log::stepped_back(client, figures);
        self.metrics.stepped_back(client, true);
        self.record("step_back", |entry| Entry {
            outcome: "ok",
            client: Some(client.into()),
            stage: Some(Stage::Canary.word()),
            why: Some(figures.sentence()),
            ..entry
        });
    }

    /// An old secret of a client was learned and kept, so that it has so many now: from here on it lets in at the realm's side.
    pub fn learned(&self, client: &str, kept: usize) {
        log::learned(client, kept);
        self.metrics.learned(client, "kept");
        self.record("learned", |entry| Entry { outcome: "ok", client: Some(client.into()), ..entry });
    }

    /// An old secret of a client could not be kept, of which the log tells with the store's reason: it is not learned.
    pub fn lesson_lost(&self, client: &str) {
        self.metrics.learned(client, "not_kept");
    }

    /// A login of a client at stage shadow was compared.
    pub fn compared(&self, client: &str, verdict: &Verdict, took: Took) {
        log::compared(client, verdict, took);
        self.metrics.compared(client, verdict.outcome);
    }

    /// `writing`, `failing` or `off`.
    #[must_use]
    pub fn audit_word(&self) -> &'static str {
        match (&self.audit, self.metrics.audit_writable.get()) {
            (None, _) => "off",
            (Some(_), 0) => "failing",
            (Some(_), _) => "writing",
        }
    }

    /// To be asked every second: whether the audit's disk hangs.
    pub fn look_at_audit(&self) {
        self.audit.iter().for_each(Audit::look);
    }

    /// This was all: the audit ends.
    pub fn close(&self) {
        self.audit.iter().for_each(Audit::close);
    }

    /// Does something once the audit, where there is one, has all of the above on disk.
    pub fn then(&self, then: Then) {
        if let Some(audit) = &self.audit {
            audit.then(then);
        }
    }

    /// Waits for the end of the audit's thread, as long as its disk is worth it.
    ///
    /// # Errors
    /// It ended by a panic.
    pub fn wait(&self, audit: JoinHandle<()>) -> thread::Result<()> {
        self.audit.as_ref().map_or(Ok(()), |there| there.wait(audit))
    }

    fn record_request(&self, trail: &Trail) {
        if let Some(audit) = &self.audit
            && let Some(entry) = Entry::of_request(audit.now(), trail)
        {
            audit.record(entry);
        }
    }

    fn record(&self, what: &'static str, fill: impl FnOnce(Entry) -> Entry) {
        if let Some(audit) = &self.audit {
            audit.record(fill(Entry::new(audit.now(), what)));
        }
    }
}

fn of_an_operator(entry: Entry, client: &str, by: Option<IpAddr>) -> Entry {
    Entry { outcome: "ok", client: Some(client.into()), address: by, ..entry }
}
