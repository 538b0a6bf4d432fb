//! Calls with UUIDs that the bridge does not know: to the old API, unchanged, while there is one (OPERATOR section 5).

use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};

use super::forward::{Failed, Way};
use super::headers::Origin;
use super::pool::Server;
use super::request::{Asking, Carried, carried, unchanged};
use super::routes::Upstream;
use super::routing::Routing;
use super::swap::{crowded, refusal};
use super::tunnel::Switch;
use super::{Bounds, From, Gateway, Stream};
use crate::domain::opaque::TokenUse;
use crate::domain::refusal::{Cause, Refusal};
use crate::exchange::Turned;
use crate::relay::Trust;
use crate::telemetry::Trail;
use crate::telemetry::trail::Passed;

/// The server that honours the UUIDs of the old server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldApi {
    /// Where it is.
    pub upstream: Upstream,
    /// Who vouches for it; `None`: it does not speak TLS.
    pub trust: Option<Trust>,
}

impl OldApi {
    /// Opens a connection and closes it again, without a word of HTTP.
    ///
    /// # Errors
    /// It cannot be reached, or its certificate is no good; why.
    pub async fn reach(&self, bounds: Bounds) -> Result<(), String> {
        Server::new(self.upstream.clone(), self.trust.clone(), false).try_out(bounds.connect_timeout).await
    }

    /// Its URL, for people.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.upstream.name.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.upstream.authority)
    }

    pub(super) fn way(&self, bounds: Bounds) -> Way {
        Way::new(std::slice::from_ref(&self.upstream), self.trust.as_ref(), false, bounds)
    }
}

impl Gateway {
    /// Has the old API answer what is turned away here, where it carries a UUID that the bridge does not know. No route is needed.
    pub(super) async fn pass_on_or(
        &self,
        turned: Turned,
        routing: &Routing,
        (head, body, host): (&mut Parts, Stream, Option<HeaderValue>),
        (from, trail): (&From, &mut Trail),
    ) -> Result<Response<Stream>, Turned> {
        let Some(way) = routing.old_api() else { return Err(turned) };
        // It is known by then, or nobody can say: a store that has just failed would be waited for once more.
        if turned.cause() == Cause::ServerError {
            return Err(turned);
        }
        match self.carries_a_stranger(&head.headers, trail).await {
            Ok(true) => {
                let _waiting = match routing.wait(way, &self.room, self.exchange.bridge().clock.monotonic()) {
                    Ok(waiting) => waiting,
                    Err(failed) => {
                        let turned = self.exchange.turn(None, unanswered(failed));
                        return Ok(crowded(turned, head.version, trail));
                    }
                };
                self.pass_on(way, (head, body), host.as_ref(), (from, trail)).await
            }
            Ok(false) => Err(turned),
            Err(refusal) => Err(self.exchange.turn(trail.client.as_deref(), refusal)),
        }
    }

    /// Whether the call carries a UUID, and one that the bridge does not remember to have made for any use.
    async fn carries_a_stranger(&self, headers: &HeaderMap, trail: &mut Trail) -> Result<bool, Refusal> {
        let Ok(Carried::Token(token)) = carried(headers) else { return Ok(false) };
        trail.token = Some(token.fingerprint(TokenUse::Access));
        Ok(!self.exchange.remembers(&token).await?)
    }

    async fn pass_on(
        &self,
        way: &Way,
        (head, body): (&mut Parts, Stream),
        host: Option<&HeaderValue>,
        (from, trail): (&From, &mut Trail),
    ) -> Result<Response<Stream>, Turned> {
        let client = head.extensions.remove::<Switch>();
        let upgrade = unchanged(head).map_err(|refusal| self.exchange.turn(None, refusal))?;
        let clock = &self.exchange.bridge().clock;
        let asked_at = clock.monotonic();
        let asking = Asking {
            head,
            host,
            origin: &Origin::default(),
            bearer: None,
            waiting: from.waiting.as_ref(),
            interim: None,
        };
        // So it is where nobody is left to hear an answer.
        trail.passed = Some(Passed { client: None, said: Err(Passed::GONE), took: Duration::ZERO });
        let answer = way.send(asking, body, (&self.exchange, &mut *trail)).await;
        let said = match &answer {
            Ok((response, _)) => Some(Ok(response.status().as_u16())),
            Err(Failed::Down(_) | Failed::Unheard(_)) => Some(Err("down")),
            Err(Failed::Slow(_)) => Some(Err("slow")),
            // That says nothing of the old API.
            Err(Failed::Client(_) | Failed::Unfit(_)) => None,
        };
        let took = clock.monotonic().saturating_sub(asked_at);
        trail.passed = said.map(|said| Passed { client: None, said, took });
        let answer = answer.and_then(|answered| self.answer(answered, client.filter(|_| upgrade.is_some())));
        answer.map_err(|failed| self.exchange.turn(None, unanswered(failed)))
    }
}

/// The same as of any API, and which one it was.
fn unanswered(failed: Failed) -> Refusal {
    let of = |why: &str| format!("the old API (`otk.api`): {why}");
    match failed {
        Failed::Down(why) | Failed::Unheard(why) => refusal(Failed::Down(of(&why))),
        Failed::Slow(why) => refusal(Failed::Slow(of(&why))),
        failed @ (Failed::Client(_) | Failed::Unfit(_)) => refusal(failed),
    }
}
