//! What the old server answers: found out before anybody has proved anything, or once it is known who asks; and passed on.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};

use super::shadow::{Copied, Said};
use super::stage::{Ask, Look, MOST_TOKENS, Side, at_the_door, once_known};
use super::{Called, Exchange, store_failed};
use crate::domain::client::{Client, Credentials, Presented, Stage};
use crate::domain::opaque::{OpaqueToken, TokenUse};
use crate::domain::refusal::{Fault, Refusal};
use crate::legacy::glance::{Glance, glance};
use crate::legacy::reply::Reply;
use crate::legacy::request::Incoming;
use crate::legacy::sole::sole;
use crate::legacy::told;
use crate::otk::{Lost, OldServer};
use crate::telemetry::Trail;
use crate::telemetry::trail::{Note, Passed};

/// A request, and the old server that may have to answer it.
pub(super) struct Aside<'a> {
    pub(super) old: Arc<OldServer>,
    pub(super) look: Look,
    /// A login that goes to the realm, of a client at stage canary.
    is_chosen: bool,
    called: &'a Called<'a>,
    /// What the one client shows, and nobody else beside it; looked for where that makes a difference.
    shown: Option<&'a Presented>,
}

impl Aside<'_> {
    /// The client at this stage whose login this is.
    fn login_at(&self, stage: Stage) -> Option<&Arc<Client>> {
        self.look.only().filter(|client| client.stage == stage && self.look.ask == Ask::Login)
    }

    /// The client at stage canary whose login this is, where it goes to the realm.
    pub(super) fn chosen(&self) -> Option<&Arc<Client>> {
        self.login_at(Stage::Canary).filter(|_| self.is_chosen)
    }

    /// The request, for who looks at it when its client has its answer.
    fn copy(&self) -> Copied {
        let Called { snapshot, dialects, address, request, .. } = self.called;
        Copied {
            snapshot: Arc::clone(snapshot),
            dialects: dialects.to_vec(),
            address: *address,
            request: request.clone(),
            is_sole: self.shown.is_some(),
        }
    }
}

impl Exchange {
    /// Looks whose a request is; nothing where there is no old server.
    pub(super) async fn aside<'a>(&self, called: &'a Called<'a>) -> Option<Aside<'a>> {
        let old = self.old_server.load_full()?;
        let glance = glance(called.dialects, called.incoming);
        let look = Look::at(&glance, called.endpoint, called.dialects, |id| called.snapshot.table.client(id));
        let (is_chosen, shown) = match look.only() {
            Some(client) => {
                let is_chosen = self.is_chosen(client, look.ask, look.passport.as_deref()).await;
                (is_chosen, shown(called, &glance, look.ask, client))
            }
            None => (false, None),
        };
        Some(Aside { old, look, is_chosen, called, shown })
    }

    /// Whether the old server answers, before anybody has proved anything.
    pub(super) async fn passes_the_door(&self, aside: &Aside<'_>) -> Result<bool, Refusal> {
        let unknown = aside.old.unknown_clients();
        // The store is asked only where that makes a difference.
        let passes = |ours| at_the_door(&aside.look, unknown, ours) == Side::OldServer;
        Ok(passes(aside.is_chosen) && passes(self.is_ours(&aside.look.tokens).await?))
    }

    /// Whether the old server answers this client, which has proved who it is.
    pub(super) async fn passes_known(&self, aside: &Aside<'_>, client: &Client) -> Result<bool, Refusal> {
        let passes = |ours| once_known(client.stage, aside.look.ask, ours) == Side::OldServer;
        Ok(passes(aside.is_chosen) && passes(self.is_ours(&aside.look.tokens).await?))
    }

    /// Whether one of these texts is a UUID that the bridge made and remembers, blanks about it or a line's end left aside, as another server might.
    /// A crowd of them is looked up nowhere: one of ours may be among them, so the bridge answers.
    async fn is_ours(&self, texts: &[String]) -> Result<bool, Refusal> {
        if texts.len() > MOST_TOKENS {
            return Ok(true);
        }
        for token in texts.iter().filter_map(|text| OpaqueToken::parse(text.trim_ascii())) {
            if self.remembers(&token).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the bridge remembers to have made this token, for whatever use; it may be over.
    ///
    /// # Errors
    /// The store fails.
    pub async fn remembers(&self, token: &OpaqueToken) -> Result<bool, Refusal> {
        let store = &self.bridge.store;
        let access = store.access(&token.fingerprint(TokenUse::Access)).await.map_err(store_failed)?;
        if access.is_some() {
            return Ok(true);
        }
        let refresh = store.refresh(&token.fingerprint(TokenUse::Refresh)).await.map_err(store_failed)?;
        Ok(refresh.is_some())
    }

    /// Whether a login that went to the old server is surely this client's. Nobody else's counts at stage canary, on neither side: who has proved
    /// nothing brings nobody back, and holds nobody up. It is, where the request names this client alone, with one secret, and that is right: so say
    /// the tokens that the old server `gave` for it, or the bridge, which has seen it right before.
    fn is_the_clients(&self, aside: &Aside<'_>, client: &Client, gave: bool) -> bool {
        let knows = |reading: &Credentials| self.bridge.guard.knows(aside.called.snapshot, client, &reading.secret);
        aside.shown.is_some_and(|shown| gave || shown.readings.iter().any(knows))
    }

    /// Whether the mapping is wrong about what the old server has given tokens for. What cannot be found out is not.
    async fn is_wrong_here(&self, aside: &Aside<'_>) -> bool {
        let Some(shown) = aside.shown else { return false };
        let looked = self.bridge.guard.look_at_accepted(aside.called.snapshot, shown, aside.called.address).await;
        looked.is_err_and(|refusal| refusal.fault == Fault::Client)
    }

    /// Has the old server answer a login that was to go to the realm, of somebody who has proved nothing here: nothing of it is spent. Where it gives
    /// tokens for what is wrong here, the mapping is wrong, and that counts. Else it may be anybody's, and counts for nothing.
    pub(super) async fn pass_unproved(
        self: &Arc<Self>,
        aside: &Aside<'_>,
        client: &Client,
        trail: &mut Trail,
    ) -> Result<Reply, Refusal> {
        trail.notes.push(Note::Unproved);
        let reply = self.pass(aside, trail).await?;
        if gives_tokens(client, reply.status, &reply.headers, &reply.body) && self.is_wrong_here(aside).await {
            self.went_to_the_realm(client, false).await;
        }
        Ok(reply)
    }

    /// Has the old server answer.
    pub(super) async fn pass(self: &Arc<Self>, aside: &Aside<'_>, trail: &mut Trail) -> Result<Reply, Refusal> {
        let meant = aside.called.meant(&aside.look.ids);
        if let Some(meant) = meant {
            aside.called.claim(meant, trail);
        }
        let clock = &self.bridge.clock;
        let asked_at = clock.monotonic();
        let answer = aside.old.pass(unchanged(aside.called.incoming), &self.tasks).await;
        // A client is named here by who it says to be: the old server finds out whether that is so.
        let client = aside.look.only().cloned();
        let said = answer.as_ref().map(|answer| answer.status.as_u16()).map_err(Lost::word);
        let gave = client.as_deref().zip(answer.as_ref().ok());
        let gave = gave.is_some_and(|(client, it)| gives_tokens(client, it.status, &it.headers, &it.body));
        if let Some(client) = aside.login_at(Stage::Canary).filter(|_| !aside.is_chosen)
            && self.is_the_clients(aside, client, gave)
        {
            self.went_to_the_old_server(client, said.is_ok_and(|status| (400..500).contains(&status)));
        }
        let took = clock.monotonic().saturating_sub(asked_at);
        if let (Some((id, _)), Ok(200)) = (meant, said) {
            trail.claim(id, true);
        }
        let first = aside.shown.and_then(|shown| shown.readings.first());
        if let (Some(client), Some(first), true) = (&client, first, gave) {
            self.learn(client, first.secret.clone(), aside.called.address);
        }
        if let Some(client) = aside.login_at(Stage::Shadow) {
            let heard = answer.as_ref().map(|answer| (answer.headers.clone(), answer.body.clone()));
            let (headers, body) = heard.unwrap_or_default();
            self.compare_beside(client, aside.copy(), Said { status: said.ok(), headers, body, took });
        }
        trail.passed = Some(Passed { client, said, took });
        let answer = answer.map_err(|lost| Refusal::server(Fault::Upstream, lost.sentence()))?;
        Ok(Reply { status: answer.status, headers: answer.headers, body: answer.body })
    }
}

/// Whether the old server has accepted a client's credentials. Its status says little: so it may answer whoever asks for something else.
fn gives_tokens(client: &Client, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> bool {
    status == StatusCode::OK && told::has_token(&client.dialect, headers, body)
}

/// The credentials of a request for tokens that names this client alone, with one secret: what the old server will have accepted if it gives any.
/// Looked for of a client that learns or is watched.
fn shown<'a>(called: &'a Called<'_>, glance: &Glance, ask: Ask, client: &Client) -> Option<&'a Presented> {
    let asks_for_tokens = match ask {
        Ask::Login | Ask::Refresh => true,
        Ask::Odd | Ask::About => false,
    };
    let is_looked_at = client.learned().is_some() || matches!(client.stage, Stage::Canary | Stage::Shadow);
    if !asks_for_tokens || !is_looked_at {
        return None;
    }
    let shown = sole(called.dialects, called.incoming, called.request.as_ref().ok()?, glance)?;
    shown.readings.iter().all(|reading| *reading.id == *client.legacy_id).then_some(shown)
}

/// The request as it came. Its target is a path here, whatever it was to us.
fn unchanged(incoming: &Incoming<'_>) -> Request<Bytes> {
    let mut request = Request::new(Bytes::copy_from_slice(incoming.body));
    request.method_mut().clone_from(incoming.method);
    *request.uri_mut() = incoming.uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
    request.headers_mut().clone_from(incoming.headers);
    request
}
