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
            Ok(pass) => yes(pass),
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

/// The path that the client called: told by a header, else (Envoy) the question's own.
fn original(head: &Parts) -> Result<String, Refusal> {
    let wrong = || Refusal::client(Cause::InvalidRequest, "the original request's target cannot be read");
    for name in [&ORIGINAL_URI, &FORWARDED_URI] {
        let mut told = head.headers.get_all(name).iter();
        let Some(first) = told.next() else { continue };
        if told.next().is_some() {
            return Err(wrong());
        }
        let uri: Uri = first.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        return if uri.path().starts_with('/') { Ok(uri.path().to_owned()) } else { Err(wrong()) };
    }
    Ok(head.uri.path().to_owned())
}

fn yes(pass: Pass) -> Reply {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Pass::Bearer(bearer) = pass {
        headers.insert(header::AUTHORIZATION, bearer);
    }
    Reply { status: StatusCode::OK, headers, body: bytes::Bytes::new() }
}
