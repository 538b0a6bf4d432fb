//! The mapping table: every legacy client by its old id. A request uses one table from beginning to end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;

use super::client::{Client, Presented};
use super::dialect::{Dialect, Endpoint};
use super::wiped::Wiped;

/// The dialect that a client speaks where its mapping names none, and that a caller hears whom we do not know.
pub const DEFAULT_DIALECT: &str = "otk-passport";

/// So many colons an id has at most: of a stranger's text of nothing else not each part shall be looked up.
const MOST_COLONS: usize = 8;

/// Every mapping and every dialect of one load.
#[derive(Debug)]
pub struct Table {
    clients: HashMap<Arc<str>, Arc<Client>>,
    dialects: BTreeMap<String, Arc<Dialect>>,
    endpoints: HashMap<String, (Endpoint, Vec<Arc<Dialect>>)>,
    default: Arc<Dialect>,
}

impl Table {
    /// Puts a table together. Of two clients with one id the later counts; the loader refuses such a table before.
    #[must_use]
    pub fn new(clients: Vec<Arc<Client>>, dialects: BTreeMap<String, Arc<Dialect>>, default: Arc<Dialect>) -> Self {
        let mut endpoints: HashMap<String, (Endpoint, Vec<Arc<Dialect>>)> = HashMap::new();
        let mut listen = |dialect: &Arc<Dialect>| {
            for (path, endpoint) in [
                (&dialect.endpoints.token, Endpoint::Token),
                (&dialect.endpoints.revoke, Endpoint::Revoke),
                (&dialect.endpoints.introspect, Endpoint::Introspect),
            ] {
                let (there, speakers) = endpoints.entry(path.clone()).or_insert_with(|| (endpoint, Vec::new()));
                if *there == endpoint && !speakers.iter().any(|known| known.name == dialect.name) {
                    speakers.push(Arc::clone(dialect));
                }
            }
        };
        listen(&default);
        dialects.values().for_each(listen);
        let clients = clients.into_iter().map(|client| (Arc::clone(&client.legacy_id), client)).collect();
        Self { clients, dialects, endpoints, default }
    }

    /// The client with this old id.
    #[must_use]
    pub fn client(&self, legacy_id: &str) -> Option<&Arc<Client>> {
        self.clients.get(legacy_id)
    }

    /// The client whose id stands where its secret belongs, while no client's stands where an id does: somebody has exchanged the two.
    #[must_use]
    pub fn exchanged(&self, presented: &Presented) -> Option<&Arc<Client>> {
        let readings = &presented.readings;
        let is_named = readings.iter().any(|reading| self.client(&reading.id).is_some());
        readings.iter().filter(|_| !is_named).find_map(|reading| self.client(reading.secret.expose_secret()))
    }

    /// The client that credentials name, as far as they name one: by an id in any reading, else where the two are exchanged or put together.
    #[must_use]
    pub fn named(&self, presented: &Presented) -> Option<&Arc<Client>> {
        let readings = || presented.readings.iter();
        let by_its_end = |secret: &str| {
            let ends: Vec<_> = secret.rmatch_indices(':').take(MOST_COLONS).collect();
            ends.iter().rev().find_map(|(colon, _)| self.client(secret.get(colon + 1..)?))
        };
        readings()
            .find_map(|reading| self.client(&reading.id))
            .or_else(|| self.exchanged(presented))
            .or_else(|| readings().find_map(|reading| self.whose(&reading.id)))
            // Exchanged, with a colon in the secret.
            .or_else(|| readings().find_map(|reading| by_its_end(reading.secret.expose_secret())))
    }

    /// The client of an id, or of one with its secret behind it: `ID:SECRET`, plain or in base64, as of a pair that was encoded twice.
    #[must_use]
    pub fn whose(&self, id: &str) -> Option<&Arc<Client>> {
        let by_its_beginning = |pair: &str| {
            pair.match_indices(':').take(MOST_COLONS).find_map(|(colon, _)| self.client(pair.get(..colon)?))
        };
        let decoded = || Some(Wiped::new(STANDARD.decode(id.trim()).ok()?));
        self.client(id)
            .or_else(|| by_its_beginning(id))
            .or_else(|| decoded().and_then(|pair| by_its_beginning(std::str::from_utf8(&pair).ok()?)))
    }

    /// All clients, in no order.
    pub fn clients(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.clients.values()
    }

    /// How many clients there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The dialects by name.
    #[must_use]
    pub fn dialects(&self) -> &BTreeMap<String, Arc<Dialect>> {
        &self.dialects
    }

    /// What a caller hears whom we do not know, at a path that no dialect has.
    #[must_use]
    pub fn default_dialect(&self) -> &Arc<Dialect> {
        &self.default
    }

    /// The endpoint at this path and the dialects that have it there, never none. An unknown caller hears the first.
    #[must_use]
    pub fn endpoint(&self, path: &str) -> Option<(Endpoint, &[Arc<Dialect>])> {
        self.endpoints.get(path).map(|(endpoint, speakers)| (*endpoint, speakers.as_slice()))
    }

    /// The paths of all endpoints, in no order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.endpoints.keys().map(String::as_str)
    }
}
