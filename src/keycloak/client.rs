//! Asks the realm: timeouts, connections, failover, and the rule that nothing is sent twice that may have been spent.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jsonwebtoken::jwk::JwkSet;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, StatusCode, Url};
use secrecy::SecretString;
use tokio::time::timeout;

use super::endpoints::{Endpoints, Urls, is_secure};
use super::kept::Kept;
use super::repeated::Sent;
use super::wire::{self, unknown, unspent};
use crate::domain::client::Client;
use crate::domain::grant::{Fate, NotGranted, RealmGrant, RealmRequest};
use crate::domain::opaque::Fingerprint;
use crate::domain::refusal::{Fault, Refusal, bottom_of};
use crate::domain::time::{Clock, Timestamp};
use crate::domain::wiped::Wiped;
use crate::relay::{BadCertificate, NO_TLS, Trust, speaks_no_tls};

/// How often a realm that speaks HTTP/2 is asked whether it is still there, and how long it may take to say so: all questions of a worker go over one connection.
const PING: Duration = Duration::from_secs(5);

/// No token answer is longer; a longer one is cut off and counts as lost.
const LONGEST_ANSWER: usize = 256 * 1024;

/// So answers a proxy whose realm is away, or a realm that is just starting.
const NOT_THERE: RangeInclusive<u16> = 502..=504;

/// So long whoever looks at a URL that was passed over waits for its keys.
const FOR_KEYS: Duration = Duration::from_secs(1);

/// Whoever wakes so much too late has stood still, and looks for so long at what has come meanwhile.
const LATE: Duration = Duration::from_secs(1);

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Where the realm is and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealmSettings {
    /// Realm URLs (`.../realms/NAME`) in order of preference.
    pub urls: Vec<String>,
    /// For one whole answer.
    pub timeout: Duration,
    /// For a connection.
    pub connect_timeout: Duration,
    /// The realm's public URL: told to it by `X-Forwarded-Host` and `-Proto`, so that tokens carry one issuer.
    pub public_url: Option<String>,
    /// PEM certificates to trust in place of the system's.
    pub trusted: Option<Vec<u8>>,
    /// What tells whether the system's have changed, where those are asked.
    pub system: Option<Fingerprint>,
}

/// What the last answers of the realm say about it; shared by the workers, shown in `/readyz`.
#[derive(Debug, Default)]
pub struct RealmStatus(AtomicU8);

impl RealmStatus {
    /// `unasked`, `reachable` or `unreachable`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.0.load(Ordering::Relaxed) {
            0 => "unasked",
            1 => "reachable",
            _ => "unreachable",
        }
    }

    fn set(&self, reachable: bool) {
        self.0.store(if reachable { 1 } else { 2 }, Ordering::Relaxed);
    }
}

/// One worker's way to the realm. Its connections live and die with the worker.
#[derive(Debug)]
pub struct Keycloak {
    kept: Kept,
    endpoints: Endpoints,
    headers: HeaderMap,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    status: Arc<RealmStatus>,
}

/// The settings cannot be used; one sentence says why.
#[derive(Debug)]
pub struct Unusable(pub String);

impl Keycloak {
    /// Makes ready to ask; asks nothing yet.
    ///
    /// # Errors
    /// A certificate or the public URL cannot be used.
    pub fn new(settings: &RealmSettings, clock: Arc<dyn Clock>, status: Arc<RealmStatus>) -> Result<Self, Unusable> {
        let kept = Kept::new(settings, clock.monotonic())?;
        let headers = headers(settings)?;
        let endpoints =
            Endpoints::new(&settings.urls).ok_or_else(|| Unusable("`realm.urls` has one that is no URL".to_owned()))?;
        Ok(Self { kept, endpoints, headers, timeout: settings.timeout, clock, status })
    }

    /// Asks for a grant.
    ///
    /// # Errors
    /// The realm did not grant; [`NotGranted::fate`] says what became of what was sent.
    pub async fn grant(&self, request: &RealmRequest) -> Result<Granted, NotGranted> {
        let granted = self.by_each_secret(&request.client, |secret| async move {
            let begun = self.clock.monotonic();
            let grant = self.ask(request, secret).await?;
            // By the clock as it is now: whoever set it meanwhile makes no life longer or shorter.
            let took = self.clock.monotonic().saturating_sub(begun);
            Ok((grant, self.clock.now().minus(took)))
        });
        let (slot, (grant, asked)) = granted.await?;
        Ok(Granted { grant, slot, asked })
    }

    async fn ask(&self, request: &RealmRequest, secret: &SecretString) -> Result<RealmGrant, NotGranted> {
        let body = wire::body(request, secret);
        let (status, answer) = self.send(|urls| &urls.token, request.address, body).await?;
        wire::read((status, &answer), request.kind, &request.client.dialect.realm, &Sent::of(request, secret))
    }

    /// Ends the realm's session of a refresh token (OpenID Connect logout). Harmless when it is asked twice.
    ///
    /// # Errors
    /// The realm could not be asked, or refused our own credentials.
    pub async fn end_session(&self, client: &Client, refresh_token: &SecretString) -> Result<(), NotGranted> {
        let ended = self.by_each_secret(client, |secret| async move {
            let body = wire::logout_body(client, secret, refresh_token);
            let (status, answer) = self.send(|urls| &urls.logout, None, body).await?;
            wire::read_logout(status, &answer, &client.dialect.realm, &Sent::with(secret, refresh_token))
        });
        ended.await.map(|_| ())
    }

    /// Asks with the first of the mapping's new secrets; with the second where the realm says that the first is wrong: nothing was spent then. The
    /// answer, and which of them the realm took.
    async fn by_each_secret<'c, A, F: Future<Output = Result<A, NotGranted>>>(
        &self,
        client: &'c Client,
        ask: impl Fn(&'c SecretString) -> F,
    ) -> Result<(usize, A), NotGranted> {
        let mut wrong = None;
        for (slot, secret) in client.client_secrets.iter().enumerate() {
            match ask(secret).await {
                Ok(answer) => {
                    client.client_uses.mark(slot, self.clock.now());
                    return Ok((slot, answer));
                }
                Err(refused) if refused.our_credentials => wrong = Some(refused),
                Err(refused) => return Err(refused),
            }
        }
        Err(wrong.unwrap_or_else(|| unspent(Fault::Operator, "the mapping holds no secret for the realm")))
    }

    /// The realm's public keys.
    ///
    /// # Errors
    /// They cannot be had now.
    pub async fn keys(&self) -> Result<JwkSet, NotGranted> {
        let mut last = unspent(Fault::Operator, "no realm URL is configured");
        for (index, urls) in self.endpoints.in_order(None, self.clock.monotonic()) {
            let answer = self.in_time(async {
                let response = self.ask_for_keys(urls).await.map_err(|error| lost(&error))?;
                match response.status().as_u16() {
                    200 => read(response).await,
                    status => Err(unspent(Fault::Upstream, format!("the realm answered {status}"))),
                }
            });
            let no_keys = |_| unspent(Fault::Upstream, "the realm answered no set of keys");
            match answer.await.and_then(|bytes| serde_json::from_slice(&bytes).map_err(no_keys)) {
                Ok(keys) => {
                    self.endpoints.answered(index);
                    return Ok(keys);
                }
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// Posts to the first URL that can be reached. What may have been heard is never sent again; but whoever asks next begins at
    /// another URL where this one gave no answer of the realm itself.
    async fn send(
        &self,
        endpoint: impl Fn(&Urls) -> &Url,
        address: Option<IpAddr>,
        body: Wiped<String>,
    ) -> Result<(u16, Wiped<Vec<u8>>), NotGranted> {
        // Shared by all tries, and wiped with the last of them.
        let body = Bytes::from_owner(body);
        let mut last = unspent(Fault::Operator, "no realm URL is configured");
        let there = self.look_at_one_passed_over().await;
        for (index, urls) in self.endpoints.in_order(there, self.clock.monotonic()) {
            let waiting = self.endpoints.asked(index, self.clock.monotonic());
            let answered = self.post(endpoint(urls), address, body.clone()).await;
            drop(waiting);
            match answered {
                Ok(answer) => {
                    if NOT_THERE.contains(&answer.0) {
                        self.endpoints.failed(index, self.clock.monotonic());
                    } else {
                        self.endpoints.answered(index);
                    }
                    self.status.set(true);
                    return Ok(answer);
                }
                Err(lost) => {
                    self.status.set(false);
                    self.endpoints.failed(index, self.clock.monotonic());
                    if lost.fate != Fate::Unspent {
                        return Err(lost);
                    }
                    last = lost;
                }
            }
        }
        Err(last)
    }

    /// Where a URL was passed over for long enough, the caller whose turn it is asks it for its keys first: what hangs there costs him a second and not
    /// his login. `None`: there is none, or it is not there.
    async fn look_at_one_passed_over(&self) -> Option<usize> {
        let (index, urls) = self.endpoints.to_be_looked_at(self.clock.monotonic())?;
        let answer = timeout(FOR_KEYS.min(self.timeout), self.ask_for_keys(urls)).await.ok()?.ok()?;
        (answer.status() == StatusCode::OK).then_some(index)
    }

    async fn ask_for_keys(&self, urls: &Urls) -> reqwest::Result<reqwest::Response> {
        let mut question = Request::new(Method::GET, urls.certs.clone());
        question.headers_mut().clone_from(&self.headers);
        self.kept.ask(question, self.clock.monotonic()).await
    }

    async fn post(&self, url: &Url, address: Option<IpAddr>, body: Bytes) -> Result<(u16, Wiped<Vec<u8>>), NotGranted> {
        let mut question = Request::new(Method::POST, url.clone());
        *question.body_mut() = Some(body.into());
        let headers = question.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(CONTENT_TYPE, FORM);
        if let Some(address) = address.and_then(|address| HeaderValue::try_from(address.to_string()).ok()) {
            headers.insert(FORWARDED_FOR, address);
        }
        self.in_time(async {
            let response = self.kept.ask(question, self.clock.monotonic()).await.map_err(|error| lost(&error))?;
            let status = response.status().as_u16();
            Ok((status, read(response).await?))
        })
        .await
    }

    /// Waits for an answer as long as is configured. A process that has stood still meanwhile looks first at what has come to it: its time is over when
    /// it wakes, and the realm may long have answered.
    async fn in_time<A>(&self, answer: impl Future<Output = Result<A, NotGranted>>) -> Result<A, NotGranted> {
        let (begun, mut answer) = (self.clock.monotonic(), pin!(answer));
        if let Ok(answer) = timeout(self.timeout, answer.as_mut()).await {
            return answer;
        }
        let stood = self.clock.monotonic().saturating_sub(begun) > self.timeout + LATE;
        let later = if stood { LATE } else { Duration::ZERO };
        timeout(later, answer).await.unwrap_or_else(|_| Err(unknown("the realm did not answer in time")))
    }
}

/// Reads an answer whole, within bounds: the realm's tokens, as a rule.
pub(super) async fn read(mut response: reqwest::Response) -> Result<Wiped<Vec<u8>>, NotGranted> {
    let expected = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let mut answer = Wiped::new(Vec::with_capacity(expected.min(LONGEST_ANSWER)));
    while let Some(chunk) = response.chunk().await.map_err(|_| unknown("the realm's answer was cut off or too slow"))? {
        if answer.len() + chunk.len() > LONGEST_ANSWER {
            return Err(unknown("the realm's answer is longer than 256 KiB"));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

/// A grant, and which of the mapping's new secrets the realm took.
#[derive(Debug)]
pub struct Granted {
    /// The grant.
    pub grant: RealmGrant,
    /// 0: the first secret.
    pub slot: usize,
    /// When the realm was asked.
    pub asked: Timestamp,
}

/// Before the connection stood, nothing was spent; after that nobody knows.
pub(super) fn lost(error: &reqwest::Error) -> NotGranted {
    if error.is_connect() || error.is_builder() {
        return match BadCertificate::behind(error) {
            Some(bad) => unspent(Fault::Upstream, format!("the realm cannot be reached: {bad}")),
            None if speaks_no_tls(error) => unspent(Fault::Upstream, format!("the realm cannot be reached: {NO_TLS}")),
            None if error.is_timeout() => {
                unspent(Fault::Upstream, "the realm cannot be reached: no connection in time (`realm.connect_timeout`)")
            }
            None => unspent(Fault::Upstream, because("the realm cannot be reached", error)),
        };
    }
    if error.is_timeout() {
        return unknown("the realm did not answer in time");
    }
    unknown("the connection to the realm was lost before its answer")
}

/// A sentence with what the system said.
pub(super) fn because(sentence: &str, error: &reqwest::Error) -> String {
    match bottom_of(error) {
        Some(reason) => format!("{sentence}: {}", wire::printable(&reason.to_string())),
        None => sentence.to_owned(),
    }
}

/// A client that speaks to nobody but the realm: no proxy, no redirects, and only the certificates that are trusted. How long it waits for an answer
/// is for whoever asks.
#[expect(clippy::disallowed_methods, reason = "the realm is asked from this room and nowhere else")]
pub(super) fn http(settings: &RealmSettings, shows_certificates: bool) -> Result<reqwest::Client, Unusable> {
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(Duration::from_secs(20))
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING)
        .http2_keep_alive_while_idle(true)
        .tls_info(shows_certificates)
        .tcp_nodelay(true);
    let read = settings.trusted.as_deref().map(reqwest::Certificate::from_pem_bundle).transpose();
    let certificates =
        read.map_err(|error| Unusable(format!("a trusted certificate of the realm cannot be read: {error}")))?;
    if certificates.as_ref().is_some_and(Vec::is_empty) {
        return Err(Unusable("`realm.ca` has no certificate in it".to_owned()));
    }
    // Without TLS no certificates are needed, and a machine without any is no reason not to start.
    if certificates.is_some() || !settings.urls.iter().any(|url| is_secure(url)) {
        builder = builder.tls_certs_only(certificates.unwrap_or_default());
    }
    builder.build().map_err(|error| {
        let untrusting = Trust::new(None).err().filter(|_| settings.trusted.is_none());
        Unusable(match untrusting {
            Some(reason) => format!("`realm.ca` {reason}"),
            None => because("no client for the realm can be made", &error),
        })
    })
}

pub(super) fn headers(settings: &RealmSettings) -> Result<HeaderMap, Unusable> {
    let mut headers = HeaderMap::new();
    if let Some(url) = &settings.public_url {
        let bad = || Unusable("`realm.public_url` is no URL".to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let host = rest.split('/').next().unwrap_or_default();
        headers.insert("x-forwarded-proto", HeaderValue::from_str(scheme).map_err(|_| bad())?);
        headers.insert("x-forwarded-host", HeaderValue::from_str(host).map_err(|_| bad())?);
    }
    Ok(headers)
}

impl From<NotGranted> for Refusal {
    fn from(not_granted: NotGranted) -> Self {
        not_granted.refusal
    }
}
