//! The metrics, in the OpenMetrics text format. Names and labels are documented where they are registered.

use std::fmt::Write as _;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labels::{
    AnswerLabels, ClientLabels, ClientOutcomeLabels, EndpointLabels, FaultLabels, HandshakeLabels, ListenerLabels,
    NoteLabels, OutcomeLabels, PassedLabels, RequestLabels, ServerAnswerLabels, ServerLabels,
};
use super::stored::StoreMetrics;
use super::trail::{Trail, class};
use crate::domain::client::STRANGERS;
use crate::domain::dialect::Endpoint;
use crate::domain::refusal::{Cause, Fault};
use crate::domain::shadow::Outcome;
use crate::domain::time::Timestamp;

type Histograms = Family<EndpointLabels, Histogram, fn() -> Histogram>;

/// Every metric of the bridge. Shared by the workers.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    faults: Family<FaultLabels, Counter>,
    notes: Family<NoteLabels, Counter>,
    seconds: Histograms,
    realm_seconds: Histogram,
    passed: Family<PassedLabels, Counter>,
    old_seconds: Histogram,
    old_api: Family<AnswerLabels, Counter>,
    /// Answers of APIs that broke off behind their heads.
    pub answers_cut: Counter,
    api: Family<ServerAnswerLabels, Counter>,
    passed_over: Family<ServerLabels, Counter>,
    stepped_back: Family<ClientLabels, Gauge>,
    compared: Family<ClientOutcomeLabels, Counter>,
    learned: Family<ClientOutcomeLabels, Counter>,
    logouts: Family<OutcomeLabels, Counter>,
    /// Which load of the mappings is in use; counts from 1.
    generation: Gauge,
    /// Clients in the table in use.
    clients: Gauge,
    /// Loads that were refused.
    pub refused_loads: Counter,
    /// Whether the files on disk are what is in use: 1, or 0 after a refused load.
    current: Gauge,
    /// Revocations that the realm has not heard yet.
    pub untold: Gauge,
    /// Records of the audit that were written.
    pub audit_records: Counter,
    /// Records of the audit that found no room.
    pub audit_lost: Counter,
    /// Records of the audit that were left out by rule.
    pub audit_left_out: Counter,
    /// Whether the audit can be written: 1, or 0; 0 too where it is off.
    pub audit_writable: Gauge,
    /// Connections that were closed at once, as there were as many as may be.
    pub turned_away: Counter,
    /// Times that a connection could not be accepted; it waits in the kernel.
    pub not_accepted: Counter,
    handshakes: Family<HandshakeLabels, Counter>,
    certificates: Family<ListenerLabels, Gauge>,
    /// Requests at the ops listener that did not show the ops token.
    pub ops_refused: Counter,
    /// Lines of the log that were left out, as nobody read them.
    pub log_lost: Counter,
    /// Faults of this program that ended what they happened in.
    pub panics: Counter,
    /// Those of the token store.
    pub store: StoreMetrics,
}

/// From a quarter of a millisecond to ten seconds.
pub(super) fn histogram() -> Histogram {
    Histogram::new([0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at nothing.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("passbridge");
        let metrics = Self {
            requests: Family::default(),
            faults: Family::default(),
            notes: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            realm_seconds: histogram(),
            passed: Family::default(),
            old_seconds: histogram(),
            old_api: Family::default(),
            answers_cut: Counter::default(),
            api: Family::default(),
            passed_over: Family::default(),
            stepped_back: Family::default(),
            compared: Family::default(),
            learned: Family::default(),
            logouts: Family::default(),
            generation: Gauge::default(),
            clients: Gauge::default(),
            refused_loads: Counter::default(),
            current: Gauge::default(),
            untold: Gauge::default(),
            audit_records: Counter::default(),
            audit_lost: Counter::default(),
            audit_left_out: Counter::default(),
            audit_writable: Gauge::default(),
            turned_away: Counter::default(),
            not_accepted: Counter::default(),
            handshakes: Family::default(),
            certificates: Family::default(),
            ops_refused: Counter::default(),
            log_lost: Counter::default(),
            panics: Counter::default(),
            store: StoreMetrics::default(),
            registry: Registry::default(),
        };
        registry.register(
            "requests",
            "Requests by endpoint, client and outcome (ok, passed, or a cause)",
            metrics.requests.clone(),
        );
        registry.register(
            "faults",
            "Refusals by who has to act (client, operator, upstream, ourselves)",
            metrics.faults.clone(),
        );
        registry.register(
            "notes",
            "Served, but worth a look: over_long_parameter, promise_short, second_secret, ...",
            metrics.notes.clone(),
        );
        registry.register("request_seconds", "From the head of a request to its reply", metrics.seconds.clone());
        metrics.register_realm(&mut registry);
        metrics.register_mappings(&mut registry);
        metrics.register_old_server(&mut registry);
        metrics.register_audit(&mut registry);
        metrics.register_connections(&mut registry);
        metrics.store.register(&mut registry);
        Self { registry, ..metrics }.begun()
    }

    /// Series that can be known beforehand begin at nothing: whoever compares two looks does not see that one grew which was not there.
    fn begun(self) -> Self {
        for fault in Fault::ALL {
            self.faults.get_or_create(&FaultLabels { client: STRANGERS.to_owned(), fault: fault.word() }).inc_by(0);
        }
        for outcome in ["ok", Cause::InvalidRequest.word(), Cause::ServerError.word()] {
            self.logouts.get_or_create(&OutcomeLabels { outcome }).inc_by(0);
        }
        for answer in ["1xx", "2xx", "3xx", "4xx", "5xx", "down", "slow", "gone"] {
            self.old_api.get_or_create(&AnswerLabels { answer }).inc_by(0);
        }
        self
    }

    fn register_realm(&self, registry: &mut Registry) {
        registry.register("realm_seconds", "What the realm took of a request", self.realm_seconds.clone());
        registry.register("logouts", "Logouts that the realm announced, by outcome", self.logouts.clone());
        registry.register("revocations_untold", "Revocations that the realm has not heard yet", self.untold.clone());
    }

    fn register_mappings(&self, registry: &mut Registry) {
        registry.register("mappings_generation", "Which load of the mappings is in use", self.generation.clone());
        registry.register("mappings_clients", "Clients in the table in use", self.clients.clone());
        registry.register("mappings_refused_loads", "Loads that were refused", self.refused_loads.clone());
        registry.register(
            "mappings_current",
            "1: the files are what is in use; 0: the last load was refused",
            self.current.clone(),
        );
    }

    fn register_old_server(&self, registry: &mut Registry) {
        registry.register(
            "old_server",
            "Requests that the old server was to answer, by client (unknown: in no mapping) and answer (2xx, ..., down, slow, huge, broken)",
            self.passed.clone(),
        );
        registry.register(
            "canary_stepped_back",
            "1: the logins of this client at stage canary all went back to the old server; 0: they did not",
            self.stepped_back.clone(),
        );
        registry.register(
            "shadow",
            "Logins of clients at stage shadow by what comparing found (agreed, bridge_refuses, ..., undecided, left_out)",
            self.compared.clone(),
        );
        registry.register(
            "secrets_learned",
            "Old secrets that the old server accepted and a mapping says are learned, by client and outcome (kept, not_kept)",
            self.learned.clone(),
        );
        registry.register("old_server_seconds", "What the old server took", self.old_seconds.clone());
        registry.register(
            "old_api",
            "API calls that the old API was to answer, by answer (2xx, ..., down, slow, gone)",
            self.old_api.clone(),
        );
        registry.register(
            "api_answers",
            "Answers of APIs, the old one included, by server and answer (1xx to 5xx)",
            self.api.clone(),
        );
        registry.register(
            "api_answers_cut",
            "Answers of APIs, the old one included, that broke off behind their heads, and with them the client's",
            self.answers_cut.clone(),
        );
        registry.register(
            "api_servers_passed_over",
            "Times that a server of a route with several was passed over for a while, as it refused calls or hung",
            self.passed_over.clone(),
        );
    }

    fn register_audit(&self, registry: &mut Registry) {
        registry.register("audit_records", "Records of the audit that were written", self.audit_records.clone());
        registry.register("audit_lost", "Records of the audit that found no room", self.audit_lost.clone());
        registry.register(
            "audit_left_out",
            "Refusals beyond what is written of them in a minute",
            self.audit_left_out.clone(),
        );
        registry.register(
            "audit_writable",
            "1: the audit can be written; 0: it cannot, or is off",
            self.audit_writable.clone(),
        );
        registry.register(
            "log_lost",
            "Lines of the log that were left out, as nobody read them",
            self.log_lost.clone(),
        );
        registry.register("panics", "Faults of this program that ended what they happened in", self.panics.clone());
    }

    fn register_connections(&self, registry: &mut Registry) {
        registry.register(
            "connections_turned_away",
            "Connections that were closed at once, as there were as many as limits.connections or their listener allows",
            self.turned_away.clone(),
        );
        registry.register(
            "connections_not_accepted",
            "Times that a connection could not be accepted for want of open files or memory",
            self.not_accepted.clone(),
        );
        registry.register(
            "handshakes_failed",
            "Callers that could ask nothing, as their TLS handshake failed, by listener and cause (no_certificate, certificate_refused, no_tls, ...)",
            self.handshakes.clone(),
        );
        registry.register(
            "certificate_not_after_timestamp_seconds",
            "When the certificate that a listener shows ends, in seconds since 1970",
            self.certificates.clone(),
        );
        registry.register(
            "ops_refused",
            "Requests at the ops listener that are for operators and showed no ops token or a wrong one",
            self.ops_refused.clone(),
        );
    }

    /// Counts one request.
    pub fn request(&self, trail: &Trail, took: Duration) {
        let endpoint = trail.endpoint.map_or("none", Endpoint::word);
        let client = trail.client_label().to_owned();
        self.outcome(trail);
        self.seconds.get_or_create(&EndpointLabels { endpoint }).observe(took.as_secs_f64());
        if let Some(realm) = trail.realm {
            self.realm_seconds.observe(realm.as_secs_f64());
        }
        if let Some(passed) = trail.passed.as_ref().filter(|_| trail.endpoint == Some(Endpoint::Api)) {
            self.old_api.get_or_create(&AnswerLabels { answer: passed.class() }).inc();
        } else if let Some(passed) = &trail.passed {
            self.passed.get_or_create(&PassedLabels { client: client.clone(), answer: passed.class() }).inc();
            self.old_seconds.observe(passed.took.as_secs_f64());
        }
        for note in &trail.notes {
            self.notes.get_or_create(&NoteLabels { client: client.clone(), note: note.word() }).inc();
        }
    }

    /// Counts what became of a request: again where that was another end than its answer's beginning had told.
    pub fn outcome(&self, trail: &Trail) {
        let endpoint = trail.endpoint.map_or("none", Endpoint::word);
        let (client, outcome) = (trail.client_label().to_owned(), trail.outcome());
        self.requests.get_or_create(&RequestLabels { endpoint, client: client.clone(), outcome }).inc();
        if let Some(refusal) = &trail.refusal {
            self.faults.get_or_create(&FaultLabels { client, fault: refusal.fault.word() }).inc();
        }
    }

    /// Shows whether the logins of a client at stage canary all went back to the old server.
    pub fn stepped_back(&self, client: &str, has: bool) {
        let labels = ClientLabels { client: client.to_owned() };
        self.stepped_back.get_or_create(&labels).set(i64::from(has));
    }

    /// Shows nothing of the kind any more: the client is at another stage, or gone.
    pub fn no_canary(&self, client: &str) {
        self.stepped_back.remove(&ClientLabels { client: client.to_owned() });
    }

    /// Counts one login of a client at stage shadow.
    pub fn compared(&self, client: &str, outcome: Outcome) {
        self.compared.get_or_create(&ClientOutcomeLabels { client: client.to_owned(), outcome: outcome.word() }).inc();
    }

    /// Counts one old secret that was learned; `outcome`: `kept`, or `not_kept` where the store failed.
    pub fn learned(&self, client: &str, outcome: &'static str) {
        self.learned.get_or_create(&ClientOutcomeLabels { client: client.to_owned(), outcome }).inc();
    }

    /// Counts one logout that the realm announced.
    pub fn logout(&self, trail: &Trail) {
        self.logouts.get_or_create(&OutcomeLabels { outcome: trail.outcome() }).inc();
    }

    /// Counts one answer of an API's server, old or new.
    pub fn api_answered(&self, server: &str, status: u16) {
        self.api.get_or_create(&ServerAnswerLabels { server: server.to_owned(), answer: class(status) }).inc();
    }

    /// Counts one time that a server was passed over.
    pub fn server_passed_over(&self, server: &str) {
        self.passed_over.get_or_create(&ServerLabels { server: server.to_owned() }).inc();
    }

    /// Counts failed TLS handshakes of this listener from now on, none of any of these causes so far.
    pub fn handshakes(&self, listener: &'static str, causes: impl Iterator<Item = &'static str>) {
        for cause in causes {
            self.handshakes.get_or_create(&HandshakeLabels { listener, cause }).inc_by(0);
        }
    }

    /// Counts one failed TLS handshake; how many there were of this cause at this listener.
    pub fn handshake_failed(&self, listener: &'static str, cause: &'static str) -> u64 {
        self.handshakes.get_or_create(&HandshakeLabels { listener, cause }).inc() + 1
    }

    /// Shows when the certificate of a listener ends.
    pub fn certificate(&self, listener: &'static str, ends: Timestamp) {
        let seconds = i64::try_from(ends.secs()).unwrap_or(i64::MAX);
        self.certificates.get_or_create(&ListenerLabels { listener }).set(seconds);
    }

    /// Says which table is in use, and whether it is what the files say.
    pub fn table(&self, generation: u64, clients: usize, current: bool) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.clients.set(i64::try_from(clients).unwrap_or(i64::MAX));
        self.current.set(i64::from(current));
    }

    /// Everything as text (OpenMetrics 1.0).
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        if encode(&mut text, &self.registry).is_err() {
            let _ = writeln!(text, "# encoding failed");
        }
        text
    }
}
