//! Forward-auth: another proxy asks, and carries the JWT on by itself.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header};

use super::Stream;
use super::routes::{find, host_name};
use super::swap::{Gateway, Pass, whole};
use crate::domain::dialect::Endpoint;
use crate::domain::refusal::{Cause, Refusal};
use crate::exchange::Turned;
use crate::legacy::reply::Reply;
use crate::telemetry::Trail;

const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

impl Gateway {
    /// Answers whether a request may go on: 200 with the bearer that it goes on with, or a refusal in the dialect's words.
    pub async fn authorize(&self, head: &Parts, trail: &mut Trail) -> Response<Stream> {
        trail.endpoint = Some(Endpoint::Authz);
        whole(match self.decide(head, trail).await {
            Ok(Pass::Bearer(bearer)) => yes(Some(bearer)),
            // A proxy that puts our answer's header in the client's place would lose what goes on as it came.
            Ok(Pass::AsItCame) => yes(head.headers.get(header::AUTHORIZATION).cloned()),
            Err(turned) => turned.reply(Endpoint::Authz, trail),
        })
    }

    async fn decide(&self, head: &Parts, trail: &mut Trail) -> Result<Pass, Turned> {
        let stranger = |refusal| self.exchange.turn(None, refusal);
        // Without routes the asking proxy alone decides which calls go where.
        if self.routes.is_empty() {
            return self.any(&head.headers, trail).await;
        }
        let path = original(head).map_err(stranger)?;
        let host = [&FORWARDED_HOST, &header::HOST].into_iter().find_map(|name| head.headers.get(name));
        let name = host.and_then(|host| host.to_str().ok()).map(host_name);
        let found = find(&self.routes, name.as_deref(), &path).map_err(stranger)?;
        self.admit(&found, &head.headers, trail).await.map(|(_, pass)| pass)
    }
}

/// The path that the client called: told by a header, else (Envoy) the question's own. Where a proxy sets one of the two headers and lets
/// the client's other one through, they differ, and nobody knows which of them is true.
fn original(head: &Parts) -> Result<String, Refusal> {
    let [ours, theirs] = [told(head, &ORIGINAL_URI)?, told(head, &FORWARDED_URI)?];
    if let (Some(ours), Some(theirs)) = (&ours, &theirs)
        && ours != theirs
    {
        let detail = "X-Original-URI and X-Forwarded-Uri name different paths: the asking proxy has to remove the one that it does not set";
        return Err(Refusal::client(Cause::InvalidRequest, detail));
    }
    Ok(ours.or(theirs).unwrap_or_else(|| head.uri.path().to_owned()))
}

/// The path in a header that tells the original target.
fn told(head: &Parts, name: &HeaderName) -> Result<Option<String>, Refusal> {
    let wrong = || Refusal::client(Cause::InvalidRequest, "the original request's target cannot be read");
    let mut told = head.headers.get_all(name).iter();
    let Some(first) = told.next() else { return Ok(None) };
    if told.next().is_some() {
        return Err(wrong());
    }
    let uri: Uri = first.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    if uri.path().starts_with('/') { Ok(Some(uri.path().to_owned())) } else { Err(wrong()) }
}

fn yes(bearer: Option<HeaderValue>) -> Reply {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(bearer) = bearer {
        headers.insert(header::AUTHORIZATION, bearer);
    }
    Reply { status: StatusCode::OK, headers, body: bytes::Bytes::new() }
}
