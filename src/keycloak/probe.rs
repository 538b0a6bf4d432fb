//! Questions to the realm that change nothing there: for `doctor`. Each is answered by how the realm refuses it.
//!
//! What each answer means was seen on Keycloak 26.7.3. A login without a passport leaves an error event there and nothing else;
//! a realm that lets one in is asked to end its session again.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::client::{FORM, RealmSettings, Unusable, because, headers, http, lost, read};
use super::repeated::Sent;
use super::wire::{self, summary};
use super::{endpoints, form};
use crate::domain::client::Client;
use crate::domain::dialect::{Grant, GrantKind};
use crate::domain::grant::Fate;
use crate::domain::refusal::Cause;
use crate::domain::wiped::Wiped;
use crate::relay::BadCertificate;

/// A token that nobody issued.
const JUNK: &str = "passbridge-doctor";

/// A way to ask.
#[derive(Debug)]
pub struct Probe {
    http: reqwest::Client,
    headers: HeaderMap,
    timeout: Duration,
}

/// What one URL says about its realm.
#[derive(Debug)]
pub struct Described {
    /// Its issuer.
    pub issuer: String,
    /// The realm's clock, where it tells it.
    pub date: Option<SystemTime>,
    /// The certificate that it showed (DER), where it speaks TLS.
    pub certificate: Option<Vec<u8>>,
}

/// No answer that says what was asked; one sentence, and whether the realm was there at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Somebody answered, but not as a realm does.
    pub heard: bool,
    /// What is wrong with its certificate, where that was the reason.
    pub certificate: Option<BadCertificate>,
    /// What came instead.
    pub sentence: String,
}

/// What the realm says of a client's id and secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// They are right.
    Accepted,
    /// They are not; the realm's words.
    Refused(String),
    /// It holds the client as public: any secret is right.
    Public,
}

/// How far a login without a passport came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// To the step that looks at the passport; what that said.
    Passport(String),
    /// To one that wants a user name: the passport flow is not bound.
    UserName,
    /// Direct access grants are off.
    NoDirectGrants,
    /// A scope was refused; the realm's words.
    Scope(String),
    /// The credentials were refused; the realm's words.
    Credentials(String),
    /// In: the realm gave tokens to somebody without a passport. That session was ended again; or one sentence why that is not known.
    Open(Result<(), String>),
}

impl Probe {
    /// Makes ready to ask.
    ///
    /// # Errors
    /// A certificate or the public URL cannot be used.
    pub fn new(settings: &RealmSettings) -> Result<Self, Unusable> {
        Ok(Self { http: http(settings, true)?, headers: headers(settings)?, timeout: settings.timeout })
    }

    /// Asks a realm URL what it is (OpenID Connect Discovery).
    ///
    /// # Errors
    /// It cannot be reached, or is no realm.
    pub async fn describe(&self, url: &str) -> Result<Described, Unanswered> {
        let url = format!("{}/.well-known/openid-configuration", url.trim_end_matches('/'));
        let response = self.send(self.http.get(url)).await?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).and_then(imf);
        let tls = response.extensions().get::<reqwest::tls::TlsInfo>();
        let certificate = tls.and_then(|tls| tls.peer_certificate()).map(<[u8]>::to_vec);
        let status = response.status().as_u16();
        let body = read(response).await.map_err(|lost| Unanswered::told(lost.refusal.detail))?;
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        match said["issuer"].as_str().filter(|_| status == 200) {
            Some(issuer) => Ok(Described { issuer: issuer.to_owned(), date, certificate }),
            // A proxy whose realm is down, or that lets us not through, or a realm that boots: that its URL is wrong is not said by that.
            None => Err(Unanswered {
                heard: status < 500 && (!matches!(status, 401 | 403 | 429) || said["error"].is_string()),
                ..Unanswered::told(format!("it answered {}", summary(status, &body)))
            }),
        }
    }

    /// Shows a client's credentials, with a question about a token that nobody issued.
    ///
    /// # Errors
    /// The answer says nothing about them.
    pub async fn credentials(&self, url: &str, id: &str, secret: &SecretString) -> Result<Credentials, Unanswered> {
        let (status, body) = self.post(url, "token/introspect", Shown(id, secret), &[("token", JUNK)]).await?;
        match status {
            200 => Ok(Credentials::Accepted),
            401 => Ok(Credentials::Refused(summary(status, &body))),
            // Also a realm that is disabled, or wants HTTPS, answers so: only the words tell.
            403 if summary(status, &body).contains("Client not allowed") => Ok(Credentials::Public),
            _ => Err(Unanswered::told(format!("it answered {} to an introspection", summary(status, &body)))),
        }
    }

    /// Knocks as a login of this client would, with these fields in place of a passport.
    ///
    /// # Errors
    /// The answer says nothing about how far it came.
    pub async fn knock(
        &self,
        url: &str,
        client: &Client,
        secret: &SecretString,
        fields: &[(&str, &str)],
    ) -> Result<Door, Unanswered> {
        let fixed = login(client).into_iter().flat_map(|grant| &grant.fixed);
        let mut all: Vec<(&str, &str)> = fixed.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.extend_from_slice(fields);
        let (status, body) = self.post(url, "token", Shown(&client.client_id, secret), &all).await?;
        let told = summary(status, &body);
        match wire::read((status, &body), GrantKind::Login, &client.dialect.realm, &Sent::default()) {
            Ok(grant) => {
                let refresh = grant.refresh.map(|refresh| refresh.token);
                Ok(Door::Open(self.leave(url, Shown(&client.client_id, secret), refresh).await))
            }
            Err(refused) if refused.our_credentials => Ok(Door::Credentials(told)),
            Err(refused) if refused.refusal.cause == Cause::GrantForbidden => Ok(Door::NoDirectGrants),
            Err(refused) if refused.refusal.cause == Cause::Scope => Ok(Door::Scope(told)),
            Err(_) if told.contains("Missing parameter: username") => Ok(Door::UserName),
            Err(_) if (400..500).contains(&status) && told.contains("invalid_") => Ok(Door::Passport(told)),
            Err(_) => Err(Unanswered::told(format!("it answered {told} to a login without a passport"))),
        }
    }

    /// Ends a session that nobody was to be given.
    ///
    /// # Errors
    /// It may be there still; why.
    async fn leave(&self, url: &str, shown: Shown<'_>, refresh: Option<SecretString>) -> Result<(), String> {
        let refresh = refresh.ok_or("the realm gave no refresh token, by which a session is ended")?;
        match self.post(url, "logout", shown, &[("refresh_token", refresh.expose_secret())]).await {
            Ok((200..=299, _)) => Ok(()),
            Ok((status, body)) => Err(format!("the realm answered {} to its logout", summary(status, &body))),
            Err(lost) => Err(format!("the realm was asked to, and {}", lost.sentence)),
        }
    }

    /// A token of a client that may read the realm's settings. It opens no session there.
    ///
    /// # Errors
    /// The realm gives it none; its words.
    pub async fn reader(&self, url: &str, id: &str, secret: &SecretString) -> Result<SecretString, Unanswered> {
        let (status, body) =
            self.post(url, "token", Shown(id, secret), &[("grant_type", "client_credentials")]).await?;
        let answer: Option<Value> = serde_json::from_slice(&body).ok().filter(|_| status == 200);
        let token = answer.as_ref().and_then(|answer| answer["access_token"].as_str());
        token.map(SecretString::from).ok_or_else(|| Unanswered::told(format!("it answered {}", summary(status, &body))))
    }

    /// Reads something by the realm's administration API; `path` goes on from the realm's own, e.g. `/clients?clientId=a`.
    ///
    /// # Errors
    /// The token does not open it, or it is not there.
    pub async fn administration(&self, url: &str, path: &str, token: &SecretString) -> Result<Value, Unanswered> {
        let parts = url.trim_end_matches('/').rsplit_once("/realms/");
        let (base, name) = parts.ok_or_else(|| Unanswered::told("its URL does not end in /realms/NAME"))?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
            .map_err(|_| Unanswered::told("the token that it gave is no token"))?;
        bearer.set_sensitive(true);
        let response =
            self.send(self.http.get(format!("{base}/admin/realms/{name}{path}")).header(AUTHORIZATION, bearer)).await?;
        let status = response.status().as_u16();
        let body = read(response).await.map_err(|lost| Unanswered::told(lost.refusal.detail))?;
        let answer = serde_json::from_slice(&body).ok().filter(|_| status == 200);
        answer.ok_or_else(|| Unanswered::told(format!("it answered {}", summary(status, &body))))
    }

    async fn post(
        &self,
        url: &str,
        endpoint: &str,
        shown: Shown<'_>,
        fields: &[(&str, &str)],
    ) -> Result<(u16, Wiped<Vec<u8>>), Unanswered> {
        let credentials = [("client_id", shown.0), ("client_secret", shown.1.expose_secret())];
        let body = form::written(credentials.into_iter().chain(fields.iter().copied()));
        let call = self.http.post(endpoints::endpoint(url, endpoint)).header(CONTENT_TYPE, FORM);
        let response = self.send(call.body(Bytes::from_owner(body))).await?;
        let status = response.status().as_u16();
        Ok((status, read(response).await.map_err(|lost| Unanswered::told(lost.refusal.detail))?))
    }

    /// Sends a question, once more where a connection was closed while it lay idle: no question here spends anything.
    async fn send(&self, call: reqwest::RequestBuilder) -> Result<reqwest::Response, Unanswered> {
        let call = call.headers(self.headers.clone()).timeout(self.timeout);
        let again = call.try_clone();
        match (call.send().await, again) {
            (Ok(response), _) => Ok(response),
            (Err(error), Some(again)) if !error.is_connect() && !error.is_timeout() => {
                again.send().await.map_err(|error| gone(&error))
            }
            (Err(error), _) => Err(gone(&error)),
        }
    }
}

/// The id and the secret of whoever asks.
#[derive(Clone, Copy)]
struct Shown<'a>(&'a str, &'a SecretString);

impl Unanswered {
    fn told(sentence: impl Into<String>) -> Self {
        Self { heard: true, certificate: None, sentence: sentence.into() }
    }
}

/// The grant by which a client of this dialect logs in.
#[must_use]
pub fn login(client: &Client) -> Option<&Grant> {
    client.dialect.grants.values().find(|grant| grant.kind == GrantKind::Login)
}

fn gone(error: &reqwest::Error) -> Unanswered {
    let lost = lost(error);
    let detail = lost.refusal.detail;
    let sentence = match lost.fate {
        // It says already what the system said.
        Fate::Unspent => detail.into_owned(),
        Fate::Settled | Fate::Unknown => because(&detail, error),
    };
    Unanswered { heard: false, certificate: BadCertificate::behind(error), sentence }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
fn imf(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split(", ").nth(1)?.split(' ');
    let (day, month, year, time, zone) = (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|known| *known == month)? + 1;
    let moment = (zone == "GMT").then(|| format!("{year}-{month:02}-{day}T{time}Z"))?;
    humantime::parse_rfc3339(&moment).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_http_is_read_and_nothing_else() {
        let moment = humantime::parse_rfc3339("1994-11-06T08:49:37Z").unwrap();
        assert_eq!(imf("Sun, 06 Nov 1994 08:49:37 GMT"), Some(moment));
        assert_eq!(imf("Sunday, 06-Nov-94 08:49:37 GMT"), None);
        assert_eq!(imf("Sun, 06 Nov 1994 08:49:37 CET"), None);
    }
}
