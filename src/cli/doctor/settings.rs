//! What `doctor` reads of the realm's settings, where somebody may: lifetimes, rotation, scopes, and each client's own.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::super::now;
use super::finding::Finding;
use super::realm;
use crate::config::Config;
use crate::domain::client::Client;
use crate::domain::promise::{RealmLife, RefreshLife, honest};
use crate::domain::refresh::Rotation;
use crate::domain::table::Table;
use crate::domain::time::Timestamp;
use crate::keycloak::probe::{Probe, Unanswered};
use crate::keycloak::wire::claims;

/// The realm's settings, and the way to those of its clients.
pub(super) struct Settings {
    token: SecretString,
    /// When the realm issued it, and when it came here.
    issued: Option<(Timestamp, Timestamp)>,
    realm: Value,
    /// The names of its scopes.
    scopes: Vec<String>,
}

/// Reads them; or a note of what stays unseen.
pub(super) async fn read(
    probe: &Probe,
    url: &str,
    reader: Option<&(String, SecretString)>,
) -> Result<Settings, Finding> {
    const UNSEEN: &str = "the realm's lifetimes against the promised ones, its rotation, its list of scopes";
    let Some((id, secret)) = reader else {
        let hint = "--reader CLIENT_ID, a client of the realm with view-realm and view-clients";
        return Err(Finding::unchecked(UNSEEN, hint));
    };
    let refused = |lost: Unanswered| {
        let hint = "it needs Client authentication, Service accounts, and the roles view-realm and view-clients";
        Finding::error("reader-refused", format!("`{id}` may not read the realm's settings: {}", lost.sentence))
            .hint(hint)
    };
    let token = probe.reader(url, id, secret).await.map_err(refused)?;
    let issued = claims(token.expose_secret()).iat.map(|iat| (Timestamp::from_secs(iat), now()));
    let realm = probe.administration(url, "", &token).await.map_err(refused)?;
    let scopes = probe.administration(url, "/client-scopes", &token).await.map_err(refused)?;
    let names = scopes.as_array().into_iter().flatten().filter_map(|scope| scope["name"].as_str());
    let scopes = names.map(str::to_owned).collect();
    Ok(Settings { token, issued, realm, scopes })
}

impl Settings {
    /// Holds configuration and dialects against the realm.
    pub(super) fn look(&self, url: &str, config: &Config, table: &Table) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.rotation(config.manner.rotation).into_iter().collect();
        findings.extend(self.issued.and_then(|(theirs, ours)| realm::skew(url, theirs, ours)));
        for (name, dialect) in table.dialects() {
            for word in dialect.realm.scopes.iter().flatten().filter(|word| !self.scopes.contains(word)) {
                let message = format!("the dialect `{name}` says that the realm has the scope `{word}`; it has not");
                findings.push(Finding::error("unknown-scope", message).hint("correct `[realm] scopes` of the dialect"));
            }
            let (said, real) = (dialect.realm.longest_session, seconds(&self.realm["ssoSessionMaxLifespan"]));
            if let (Some(said), Some(real)) = (said, real)
                && said != real
            {
                let [said, real] = [said, real].map(humantime::format_duration);
                let message = format!("the dialect `{name}` says that a session lasts {said} at most; it is {real}");
                let hint = "correct `[realm] longest_session` of the dialect";
                findings.push(Finding::warning("longest-session", message).hint(hint));
            }
        }
        findings
    }

    fn rotation(&self, configured: Rotation) -> Option<Finding> {
        let on = self.realm["revokeRefreshToken"].as_bool()?;
        match (configured, on) {
            (Rotation::On, true) | (Rotation::Off, false) => None,
            (Rotation::Off, true) => Some(
                Finding::error(
                    "rotation-differs",
                    "the realm revokes used refresh tokens, and `realm.rotation` is off",
                )
                .hint("set `realm.rotation = \"on\"`: a token sent twice would end its session"),
            ),
            (Rotation::On, false) => Some(
                Finding::warning(
                    "rotation-differs",
                    "the realm does not revoke used refresh tokens; `realm.rotation` is on",
                )
                .hint("set `realm.rotation = \"off\"`: lost answers can then be asked for again"),
            ),
            (Rotation::Unknown, on) => {
                let word = if on { "on" } else { "off" };
                let message = format!("`realm.rotation` is unknown; at the realm it is {word}");
                Some(Finding::warning("rotation-unknown", message).hint(format!("set `realm.rotation = \"{word}\"`")))
            }
        }
    }

    /// Holds a client's promise against what the realm's chain of tokens can keep.
    ///
    /// # Errors
    /// The realm does not tell its settings.
    pub(super) async fn client(&self, probe: &Probe, url: &str, client: &Client) -> Result<Vec<Finding>, Unanswered> {
        let id: String = form_urlencoded::byte_serialize(client.client_id.as_bytes()).collect();
        let told = probe.administration(url, &format!("/clients?clientId={id}"), &self.token).await?;
        let mut findings = Vec::new();
        let Some(own) = told.get(0) else {
            let message = format!("the realm has no client `{}`", client.client_id);
            return Ok(vec![Finding::error("client-unknown", message).hint("is `client_id` of its mapping right?")]);
        };
        if own["enabled"] == false {
            let message = format!("`{}` is switched off at the realm", client.client_id);
            findings.push(Finding::error("client-disabled", message).hint("in Keycloak, enable the client"));
        }
        if let Some(life) = self.life(own) {
            let promise = client.promise();
            let honest = honest(promise, client.dialect.tokens.rounding, life);
            if !honest.kept {
                let [promised, kept] = [promise, honest.lifetime].map(humantime::format_duration);
                let message =
                    format!("{promised} are promised, and the realm's tokens last {kept}: that is told instead");
                let hint = "lengthen the realm's session (idle, max) for this client, or shorten the promise";
                findings.push(Finding::warning("promise-short", message).hint(hint));
            }
        }
        Ok(findings)
    }

    /// The client's own settings, where it has any, else the realm's.
    fn life(&self, own: &Value) -> Option<RealmLife> {
        let attribute = |name: &str| own["attributes"][name].as_str().and_then(|text| text.parse().ok());
        let set = |name: &str| attribute(name).filter(|seconds: &u64| *seconds > 0).map(Duration::from_secs);
        let shorter = |one: Option<Duration>, other: Option<Duration>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let idle = shorter(set("client.session.idle.timeout"), seconds(&self.realm["ssoSessionIdleTimeout"]))?;
        let max = shorter(set("client.session.max.lifespan"), seconds(&self.realm["ssoSessionMaxLifespan"]))?;
        let access = set("access.token.lifespan").or(seconds(&self.realm["accessTokenLifespan"]))?;
        Some(RealmLife { access: access.min(max), refresh: RefreshLife::Lasts(idle.min(max)) })
    }
}

fn seconds(value: &Value) -> Option<Duration> {
    value.as_u64().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}
