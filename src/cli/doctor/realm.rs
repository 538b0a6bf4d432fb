//! What `doctor` asks each URL of the realm, and what holds for all clients there.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::super::now;
use super::finding::Finding;
use super::here;
use crate::config::Config;
use crate::domain::client::Client;
use crate::domain::time::Timestamp;
use crate::keycloak::probe::{Described, Door, Probe, Unanswered, login};
use crate::relay::BadCertificate;
use crate::relay::certificate::ends;

/// Clocks that differ by more are told.
const SKEW: Duration = Duration::from_secs(5);

/// Asks every URL. The first one that answers is asked everything else.
///
/// Keycloak 26.7 tells its time in no answer but a token: a reader's tells it (`settings`).
pub(super) async fn look<'a>(probe: &Probe, config: &'a Config, with_reader: bool) -> (Option<&'a str>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut answering: Option<(&str, Described)> = None;
    for url in &config.realm.urls {
        let described = match probe.describe(url).await {
            Ok(described) => described,
            Err(gone) if gone.heard => {
                let hint = "the URL ends in /realms/NAME; older realms have /auth before that";
                findings.push(Finding::error("not-a-realm", format!("{url} is no realm: {}", gone.sentence), hint));
                continue;
            }
            Err(gone) => {
                findings.push(unreachable(url, &gone));
                continue;
            }
        };
        findings.extend(one(url, &described, config));
        if described.date.is_none() && !with_reader {
            let hint = "its answers carry no Date: --reader CLIENT_ID, or compare the machines' clocks";
            findings.push(Finding::unchecked(format!("the clock of {url}"), hint));
        }
        match &answering {
            Some((first, other)) if other.issuer != described.issuer => {
                let message = format!("{first} issues as {}, {url} as {}", other.issuer, described.issuer);
                let hint = "set `realm.public_url`, or the realm's own host name: the URLs must be one realm";
                findings.push(Finding::error("issuers-differ", message, hint));
            }
            Some(_) => {}
            None => answering = Some((url, described)),
        }
    }
    (answering.map(|(url, _)| url), findings)
}

fn unreachable(url: &str, gone: &Unanswered) -> Finding {
    let (code, hint) = match &gone.certificate {
        None => ("realm-unreachable", "is the address right, the realm up, the way open?"),
        Some(BadCertificate::Expired) => ("certificate-expired", "put the next one in its place, at the realm"),
        Some(BadCertificate::UnknownIssuer) => {
            ("certificate-refused", "name in `realm.ca` the file with the certificates of whoever vouches for it")
        }
        Some(BadCertificate::OtherName) => {
            ("certificate-refused", "say in `realm.urls` the name that stands in its certificate")
        }
        Some(BadCertificate::Authority) => (
            "certificate-refused",
            "make it anew with basicConstraints=CA:FALSE, or have that authority sign another one for the server",
        ),
        Some(BadCertificate::NotYet | BadCertificate::Other(_)) => {
            ("certificate-refused", "is this machine's clock right, the certificate the realm's?")
        }
    };
    Finding::error(code, format!("{url}: {}", gone.sentence), hint)
}

fn one(url: &str, described: &Described, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !config.policy().issuers.contains(&described.issuer) {
        let message = format!("{url} issues as {}, which the configuration does not know", described.issuer);
        let hint = format!("set `realm.public_url = \"{}\"`, or its announced logouts are refused", described.issuer);
        findings.push(Finding::warning("issuer-unknown", message, hint));
    }
    if let Some(theirs) = described.date.and_then(Timestamp::of) {
        findings.extend(skew(url, theirs, now()));
    }
    if let Some(end) = described.certificate.as_deref().and_then(ends) {
        findings.extend(here::certificate(&format!("the certificate of {url}"), end));
    }
    findings
}

/// Whether two clocks differ.
pub(super) fn skew(url: &str, theirs: Timestamp, ours: Timestamp) -> Option<Finding> {
    let apart = theirs.since(ours).max(ours.since(theirs));
    let (ahead, behind) = if theirs > ours { ("realm", "bridge") } else { ("bridge", "realm") };
    let message = || format!("the {ahead}'s clock is {} s ahead of the {behind}'s ({url})", apart.as_secs());
    (apart > SKEW).then(|| Finding::warning("clock-skew", message(), "let both machines follow one time server"))
}

/// Whether the realm hands passports and signatures of the configured length to the step that looks at them: an over-long field
/// must be refused for what it is, not for being absent.
pub(super) async fn parameters(probe: &Probe, url: &str, config: &Config, clients: &[Arc<Client>]) -> Option<Finding> {
    let long = "A".repeat(config.limits.parameter.characters + 1);
    for client in clients {
        let Some(grant) = login(client) else { continue };
        let short: Vec<(&str, &str)> = grant
            .fields
            .iter()
            .map(|field| (field.realm_name.as_str(), field.values.first().map_or("AAAA", String::as_str)))
            .collect();
        let Some((secret, usual)) = at_its_passport(probe, url, client, &short).await else { continue };
        for field in grant.fields.iter().filter(|field| field.values.is_empty()) {
            let fields: Vec<(&str, &str)> = short
                .iter()
                .map(|(name, value)| (*name, if *name == field.realm_name { long.as_str() } else { value }))
                .collect();
            let heard = probe.knock(url, client, secret, &fields).await;
            if heard.as_ref() != Ok(&usual) {
                let name = &field.realm_name;
                let message = format!("the realm takes `{name}` of {} characters for something else", long.len());
                let hint = "a real one of that length may be refused: raise the realm's limit for parameters";
                return Some(Finding::warning("long-parameter", message, hint));
            }
        }
        return None;
    }
    Some(Finding::unchecked("how long a parameter may be", "no client of these comes as far as its passport"))
}

/// The first secret of a client with which it comes as far as its passport, and what the realm says there.
async fn at_its_passport<'c>(
    probe: &Probe,
    url: &str,
    client: &'c Client,
    fields: &[(&str, &str)],
) -> Option<(&'c SecretString, Door)> {
    for secret in &client.client_secrets {
        match probe.knock(url, client, secret, fields).await {
            Ok(door @ Door::Passport(_)) => return Some((secret, door)),
            Ok(Door::Credentials(_)) => {}
            Ok(Door::UserName | Door::NoDirectGrants | Door::Scope(_) | Door::Open(_)) | Err(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_by_more_than_five_seconds_are_told_with_who_is_ahead() {
        let at = |seconds: u64| Timestamp::from_secs(1_000 + seconds);
        assert!(skew("u", at(0), at(5)).is_none() && skew("u", at(5), at(0)).is_none());
        assert!(skew("u", at(0), at(7)).unwrap().message.contains("the bridge's clock is 7 s ahead of the realm's"));
        assert!(skew("u", at(9), at(0)).unwrap().message.contains("the realm's clock is 9 s ahead of the bridge's"));
    }
}
