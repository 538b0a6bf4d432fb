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
    /// Its scopes, with their mappers.
    scopes: Vec<Value>,
    /// What its client policies are found to do.
    policies: Vec<Finding>,
}

/// What a client policy may do that the bridge or an operator stumbles over.
const DEMANDS: [&str; 5] =
    ["dpop-bind-enforcer", "holder-of-key-enforcer", "reject-ropc-grant", LIGHTWEIGHT, ONE_REFRESH_TOKEN];
const LIGHTWEIGHT: &str = "use-lightweight-access-token";
const ONE_REFRESH_TOKEN: &str = "suppress-refresh-token-rotation";

/// What brings a user's name back into lightweight tokens.
const NAME_USERS: &str = "in Keycloak, Client scopes: switch on Add to lightweight access token of the mapper username of profile, and of sub of basic";

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
        Finding::error("reader-refused", format!("`{id}` may not read the realm's settings: {}", lost.sentence), hint)
    };
    let token = probe.reader(url, id, secret).await.map_err(refused)?;
    let issued = claims(token.expose_secret()).iat.and_then(|iat| Some((Timestamp::from_secs(iat.as_u64()?), now())));
    let realm = probe.administration(url, "", &token).await.map_err(refused)?;
    let scopes = probe.administration(url, "/client-scopes", &token).await.map_err(refused)?;
    let scopes = scopes.as_array().cloned().unwrap_or_default();
    let mut settings = Settings { token, issued, realm, scopes, policies: Vec::new() };
    settings.policies = settings.of_policies(probe, url).await.unwrap_or_else(|lost| {
        vec![Finding::unchecked("the realm's client policies", format!("`{id}` was to read them: {}", lost.sentence))]
    });
    Ok(settings)
}

impl Settings {
    /// Looks for policies that harm whomever their conditions meet: whom they do, the realm alone can say.
    async fn of_policies(&self, probe: &Probe, url: &str) -> Result<Vec<Finding>, Unanswered> {
        let policies = probe.administration(url, "/client-policies/policies", &self.token).await?;
        let profiles = "/client-policies/profiles?include-global-profiles=true";
        let profiles = probe.administration(url, profiles, &self.token).await?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let profiles = [list(&profiles["profiles"]), list(&profiles["globalProfiles"])].concat();
        let mut findings = Vec::new();
        for policy in list(&policies["policies"]).iter().filter(|policy| policy["enabled"] == true) {
            let its = profiles.iter().filter(|profile| list(&policy["profiles"]).contains(&profile["name"]));
            let demanded: Vec<Value> = its.flat_map(|profile| list(&profile["executors"])).collect();
            let name = policy["name"].as_str().unwrap_or_default();
            let those = DEMANDS.iter().filter(|demand| demanded.iter().any(|one| one["executor"] == **demand));
            findings.extend(those.filter_map(|demand| self.of_policy(name, demand)));
        }
        Ok(findings)
    }

    /// What comes of one demand of a policy, as this realm is.
    fn of_policy(&self, name: &str, demand: &str) -> Option<Finding> {
        let told = |what: &str| format!("the realm's client policy `{name}` has `{demand}`: {what}");
        match demand {
            LIGHTWEIGHT if self.scopes.iter().any(names_user) => None,
            LIGHTWEIGHT => {
                let what = "`token find --user` does not find the logins of clients that it meets";
                Some(Finding::warning("no-user-name", told(what), NAME_USERS))
            }
            ONE_REFRESH_TOKEN if self.realm["revokeRefreshToken"] != true => None,
            ONE_REFRESH_TOKEN => {
                let what = "the realm revokes used refresh tokens, so a login of clients that it meets is good for one refresh";
                let hint =
                    "in Keycloak, switch off Revoke Refresh Token, or take the executor out of the policy's profile";
                Some(Finding::warning("refreshed-once", told(what), hint))
            }
            _ => {
                let hint =
                    "in Keycloak, Realm settings, Client policies: have its conditions spare the bridge's clients";
                Some(Finding::warning("policy-forbids", told("clients that it meets cannot log in"), hint))
            }
        }
    }

    /// Holds configuration and dialects against the realm.
    pub(super) fn look(&self, url: &str, config: &Config, table: &Table) -> Vec<Finding> {
        let mut findings = self.policies.clone();
        findings.extend(self.rotation(config.manner.rotation));
        findings.extend(self.issued.and_then(|(theirs, ours)| realm::skew(url, theirs, ours)));
        for (name, dialect) in table.dialects() {
            let is_known = |word: &str| self.scopes.iter().any(|scope| scope["name"] == word);
            for word in dialect.realm.scopes.iter().flatten().filter(|word| !is_known(word)) {
                let message = format!("the dialect `{name}` says that the realm has the scope `{word}`; it has not");
                findings.push(Finding::error("unknown-scope", message, "correct `[realm] scopes` of the dialect"));
            }
            let (said, real) = (dialect.realm.longest_session, seconds(&self.realm["ssoSessionMaxLifespan"]));
            if let (Some(said), Some(real)) = (said, real)
                && said != real
            {
                let [said, real] = [said, real].map(humantime::format_duration);
                let message = format!("the dialect `{name}` says that a session lasts {said} at most; it is {real}");
                let hint = "correct `[realm] longest_session` of the dialect";
                findings.push(Finding::warning("longest-session", message, hint));
            }
        }
        findings
    }

    fn rotation(&self, configured: Rotation) -> Option<Finding> {
        let on = self.realm["revokeRefreshToken"].as_bool()?;
        match (configured, on) {
            (Rotation::On, true) | (Rotation::Off, false) => None,
            (Rotation::Off, true) => Some(Finding::error(
                "rotation-differs",
                "the realm revokes used refresh tokens, and `realm.rotation` is off",
                "set `realm.rotation = \"on\"`: a token sent twice would end its session",
            )),
            (Rotation::On, false) => Some(Finding::warning(
                "rotation-differs",
                "the realm does not revoke used refresh tokens; `realm.rotation` is on",
                "set `realm.rotation = \"off\"`: lost answers can then be asked for again",
            )),
            (Rotation::Unknown, on) => {
                let word = if on { "on" } else { "off" };
                let message = format!("`realm.rotation` is unknown; at the realm it is {word}");
                Some(Finding::warning("rotation-unknown", message, format!("set `realm.rotation = \"{word}\"`")))
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
            return Ok(vec![Finding::error("client-unknown", message, "is `client_id` of its mapping right?")]);
        };
        if own["enabled"] == false {
            let message = format!("`{}` is switched off at the realm", client.client_id);
            findings.push(Finding::error("client-disabled", message, "in Keycloak, enable the client"));
        }
        findings.extend(switches(&client.client_id, own));
        if own["attributes"]["client.use.lightweight.access.token.enabled"] == "true" && !self.names_users(own) {
            let id = &client.client_id;
            let message = format!(
                "the realm gives `{id}` lightweight tokens, which name no user: `token find --user` does not find its logins"
            );
            findings.push(Finding::warning("no-user-name", message, NAME_USERS));
        }
        let promise = client.promise();
        let lives = self.lives(own, client).into_iter();
        let told = lives.map(|life| honest(promise, client.dialect.tokens.rounding, life));
        if let Some(short) = told.filter(|told| !told.kept).min_by_key(|told| told.lifetime) {
            let [promised, kept] = [promise, short.lifetime].map(humantime::format_duration);
            let message = format!("{promised} are promised, and the realm's tokens last {kept}: that is told instead");
            let hint = "lengthen the realm's session (idle, max) for this client, or shorten the promise";
            findings.push(Finding::warning("promise-short", message, hint));
        }
        Ok(findings)
    }

    /// Whether lightweight tokens of a client name their user: by a mapper of its own or of a scope that it always has.
    fn names_users(&self, own: &Value) -> bool {
        let always = own["defaultClientScopes"].as_array();
        let has = |scope: &&Value| always.is_some_and(|always| always.contains(&scope["name"]));
        names_user(own) || self.scopes.iter().filter(has).any(names_user)
    }

    /// How long the logins of a client live there: those without an end and the others have settings of their own.
    fn lives(&self, own: &Value, client: &Client) -> Vec<RealmLife> {
        const OFFLINE: &str = "offline_access";
        let always = own["defaultClientScopes"].as_array().into_iter().flatten().any(|scope| scope == OFFLINE);
        let asked = client.scopes.iter().any(|(_, words)| words.split(' ').any(|word| word == OFFLINE));
        let online = (!always).then(|| self.online(own));
        let offline = (always || asked).then(|| self.offline(own));
        online.into_iter().chain(offline).flatten().collect()
    }

    /// The client's own settings, where it has any, else the realm's.
    fn online(&self, own: &Value) -> Option<RealmLife> {
        let of_client = |its: &str, realms: &str| set(own, its).or(self.seconds(realms));
        let idle = of_client("client.session.idle.timeout", "clientSessionIdleTimeout");
        let max = of_client("client.session.max.lifespan", "clientSessionMaxLifespan");
        let idle = shorter(idle, self.seconds("ssoSessionIdleTimeout"))?;
        let max = shorter(max, self.seconds("ssoSessionMaxLifespan"))?;
        let access = self.access(own)?.min(max);
        Some(RealmLife { access, refresh: refresh(own, RefreshLife::Lasts(idle.min(max))) })
    }

    /// The same of those that ask for `offline_access`: the realm tells them no end but by its switch for one.
    fn offline(&self, own: &Value) -> Option<RealmLife> {
        let access = self.access(own)?;
        if self.realm["offlineSessionMaxLifespanEnabled"] != true {
            return Some(RealmLife { access, refresh: refresh(own, RefreshLife::Endless) });
        }
        let of_client = |its: &str, realms: &str| set(own, its).or(self.seconds(realms));
        let idle = of_client("client.offline.session.idle.timeout", "clientOfflineSessionIdleTimeout");
        let max = of_client("client.offline.session.max.lifespan", "clientOfflineSessionMaxLifespan");
        let idle = shorter(idle, self.seconds("offlineSessionIdleTimeout"));
        let max = shorter(max, self.seconds("offlineSessionMaxLifespan"))?;
        let lasts = shorter(idle, Some(max))?;
        Some(RealmLife { access: access.min(max), refresh: refresh(own, RefreshLife::Lasts(lasts)) })
    }

    fn access(&self, own: &Value) -> Option<Duration> {
        set(own, "access.token.lifespan").or(self.seconds("accessTokenLifespan"))
    }

    fn seconds(&self, name: &str) -> Option<Duration> {
        seconds(&self.realm[name])
    }
}

/// What a client is told to do that the bridge does not, and what it is not given.
fn switches(id: &str, own: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (attribute, what, switch) in [
        ("dpop.bound.access.tokens", "proofs of a key (DPoP)", "Require DPoP bound tokens"),
        (
            "tls.client.certificate.bound.access.tokens",
            "a client's certificate (mutual TLS)",
            "OAuth 2.0 Mutual TLS Certificate Bound Access Tokens",
        ),
    ] {
        if own["attributes"][attribute] == "true" {
            let message = format!("the realm binds tokens of `{id}` to {what}, which the bridge does not show");
            let hint = format!("in Keycloak, Advanced of this client: switch off {switch}");
            findings.push(Finding::error("tokens-bound", message, hint));
        }
    }
    if is_without_refresh(own) {
        let message = format!("the realm gives `{id}` no refresh tokens, and hears of no revocation of its logins");
        let hint = "in Keycloak, Advanced of this client: switch on Use refresh tokens";
        findings.push(Finding::warning("no-refresh-tokens", message, hint));
    }
    findings
}

/// Whether a scope or a client has a mapper that puts the user's name into lightweight tokens.
fn names_user(holder: &Value) -> bool {
    let mut mappers = holder["protocolMappers"].as_array().into_iter().flatten().map(|mapper| &mapper["config"]);
    mappers.any(|config| config["claim.name"] == "preferred_username" && config["lightweight.claim"] == "true")
}

fn is_without_refresh(own: &Value) -> bool {
    own["attributes"]["use.refresh.tokens"] == "false"
}

fn refresh(own: &Value, life: RefreshLife) -> RefreshLife {
    if is_without_refresh(own) { RefreshLife::None } else { life }
}

/// A time among a client's own settings.
fn set(own: &Value, name: &str) -> Option<Duration> {
    let seconds = own["attributes"][name].as_str()?.parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

fn seconds(value: &Value) -> Option<Duration> {
    value.as_u64().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}
