//! What `doctor` asks the realm about one client.

use secrecy::SecretString;

use super::finding::Finding;
use super::settings::Settings;
use crate::domain::client::Client;
use crate::keycloak::probe::{Credentials, Door, Probe, Unanswered};

/// Looks at one client.
pub(super) async fn look(probe: &Probe, url: &str, client: &Client, settings: Option<&Settings>) -> Vec<Finding> {
    let (good, mut findings) = secrets(probe, url, client).await;
    if let Some(secret) = good {
        findings.extend(door(probe, url, client, secret).await);
    }
    if let Some(settings) = settings {
        match settings.client(probe, url, client).await {
            Ok(found) => findings.extend(found),
            Err(lost) => findings.push(unexpected(&lost)),
        }
    }
    findings.into_iter().map(|finding| finding.of(&client.legacy_id)).collect()
}

/// Shows every secret; answers the first one that is right.
async fn secrets<'c>(probe: &Probe, url: &str, client: &'c Client) -> (Option<&'c SecretString>, Vec<Finding>) {
    let mut good = None;
    let mut refused = Vec::new();
    for (slot, secret) in client.client_secrets.iter().enumerate() {
        match probe.credentials(url, &client.client_id, secret).await {
            Ok(Credentials::Accepted) => good = good.or(Some(secret)),
            Ok(Credentials::Refused(words)) => refused.push((slot, words)),
            Ok(Credentials::Public) => {
                let message = format!("the realm holds `{}` as public: it takes any secret", client.client_id);
                let hint = "in Keycloak, switch on Client authentication";
                return (Some(secret), vec![Finding::error("client-public", message, hint)]);
            }
            Err(lost) => return (good, vec![unexpected(&lost)]),
        }
    }
    if good.is_none()
        && let Some(finding) = only_basic(probe, url, client).await
    {
        return (None, vec![finding]);
    }
    let id = &client.client_id;
    let findings = refused.into_iter().map(|(slot, words)| {
        let which = ["first", "second"].get(slot).copied().unwrap_or("only");
        if good.is_some() {
            let message = format!("the realm refuses the {which} secret of `{id}`; the other one is right");
            let hint = if slot == 0 { "promote" } else { "retire" };
            let hint = format!("passbridge client secret ID {hint} --new, once the rotation is over");
            Finding::warning("secret-refused", message, hint)
        } else {
            let which = if client.client_secrets.len() > 1 { which } else { "new" };
            let hint = "is the client id right, the client enabled, the secret that of its Credentials page?";
            Finding::error(
                "credentials-refused",
                format!("the realm refuses `{id}` with its {which} secret: {words}"),
                hint,
            )
        }
    });
    let findings = findings.collect();
    (good, findings)
}

/// Whether it is the way in which a secret is shown that the realm refuses: introspection does not say so, its token endpoint does.
async fn only_basic(probe: &Probe, url: &str, client: &Client) -> Option<Finding> {
    let secret = client.client_secrets.first()?;
    let Ok(Door::Credentials(told)) = probe.knock(url, client, secret, &[]).await else { return None };
    told.contains("client_secret_basic").then(|| {
        let message = format!(
            "the realm takes the secret of `{}` by Basic alone, and the bridge shows it in the form: {told}",
            client.client_id
        );
        Finding::error("secret-by-basic", message, "in Keycloak, Credentials of this client: leave Allowed authentication method empty, or choose client_secret_post")
    })
}

/// Knocks without a passport, with every scope that the mapping names; where one is refused, with each alone.
async fn door(probe: &Probe, url: &str, client: &Client, secret: &SecretString) -> Vec<Finding> {
    let words: Vec<&str> = client.scopes.iter().map(|(_, realm)| realm.as_str()).collect();
    let all = words.join(" ");
    let asked: &[(&str, &str)] = if words.is_empty() { &[] } else { &[("scope", &all)] };
    let mut findings = Vec::new();
    let mut door = probe.knock(url, client, secret, asked).await;
    if let Ok(Door::Scope(_)) = door {
        for word in words {
            if let Ok(Door::Scope(told)) = probe.knock(url, client, secret, &[("scope", word)]).await {
                let message = format!("the realm refuses the scope `{word}`: {told}");
                let hint = "in Keycloak, add it under Client scopes of this client, as optional";
                findings.push(Finding::error("scope-refused", message, hint));
            }
        }
        door = probe.knock(url, client, secret, &[]).await;
    }
    findings.extend(behind(&client.client_id, door));
    findings
}

fn behind(id: &str, door: Result<Door, Unanswered>) -> Option<Finding> {
    Some(match door {
        Ok(Door::Passport(_)) => return None,
        Ok(Door::NoDirectGrants) => Finding::error(
            "direct-grants-off",
            format!("direct access grants are off for `{id}`"),
            "in Keycloak, switch on Direct access grants; or a client policy prohibits them (reject-ropc-grant)",
        ),
        Ok(Door::UserName) => Finding::error(
            "flow-not-bound",
            format!("a login of `{id}` is asked for a user name, not for a passport"),
            "in Keycloak, bind the passport flow: Advanced, Authentication flow overrides, Direct grant; of all clients at once: Authentication, Bind flow",
        ),
        Ok(Door::Open(ended)) => {
            let (session, hint) = match ended {
                Ok(()) => ("that session was ended".to_owned(), ""),
                Err(why) => (
                    format!("that session may be there still: {why}"),
                    "; end what began just now under Sessions of this client",
                ),
            };
            Finding::error(
                "open-door",
                format!("the realm let `{id}` in without a passport; {session}"),
                format!("its direct grant flow has no step that demands a passport and a signature{hint}"),
            )
        }
        Ok(Door::Scope(told)) => Finding::error(
            "scope-refused",
            format!("the realm refuses `{id}` even without a scope: {told}"),
            "look at the default client scopes of this client",
        ),
        Ok(Door::Credentials(told)) => Finding::error(
            "credentials-refused",
            format!("the realm refuses `{id}` at its token endpoint: {told}"),
            "introspection took these credentials: does the realm have another policy for this grant?",
        ),
        Err(lost) => unexpected(&lost),
    })
}

fn unexpected(lost: &Unanswered) -> Finding {
    let code = if lost.heard { "unexpected-answer" } else { "realm-unreachable" };
    Finding::error(code, format!("the realm was asked, and {}", lost.sentence), "the realm's own log says more")
}
