//! `[realm]`.

use std::time::Duration;

use super::load::ca;
use crate::document::{Reader, Spotted};
use crate::domain::refresh::Rotation;
use crate::keycloak::{RealmSettings, is_askable, is_secure};
use crate::relay::trusted_by_the_system;
use crate::secrets::Sources;

/// What the realm is like, beside where it is.
#[derive(Clone, Copy, Debug)]
pub struct RealmManner {
    /// Its "Revoke Refresh Token".
    pub rotation: Rotation,
    /// How long a session that it ended without telling us may go unnoticed.
    pub recheck_after: Duration,
}

pub(super) fn read(mut section: Reader<'_>, sources: Sources<'_>) -> Option<(RealmSettings, RealmManner)> {
    let urls =
        section.required_texts("urls", "urls = [\"https://sso.example.org/auth/realms/SSO\"]").unwrap_or_default();
    let urls: Vec<String> = urls.into_iter().filter_map(|text| url(&section, "urls", text)).collect();
    let (short, long) = (Duration::from_millis(100), Duration::from_mins(5));
    let timeout = section.duration_within("timeout", Duration::from_secs(10), short, long);
    let connect_timeout = section.duration_within("connect_timeout", Duration::from_secs(2), short, long);
    let public_url = section.text("public_url").and_then(|text| url(&section, "public_url", text));
    // Where none is a URL nobody knows.
    let is_secure = urls.is_empty() || urls.iter().any(|url| is_secure(url));
    let trusted = ca(&mut section, is_secure, sources);
    let system = (is_secure && trusted.is_none()).then(trusted_by_the_system).flatten();
    let rotation = section.word("rotation", &Rotation::WORDS).map_or(Rotation::Unknown, |word| word.value);
    let (short, long) = (Duration::from_secs(1), Duration::from_hours(24));
    let recheck_after = section.duration_within("recheck_after", Duration::from_mins(15), short, long);
    section.finish();
    let manner = RealmManner { rotation, recheck_after };
    let settings = RealmSettings { urls, timeout, connect_timeout, public_url, trusted, system };
    (!settings.urls.is_empty()).then_some((settings, manner))
}

fn url(section: &Reader<'_>, key: &str, text: Spotted<String>) -> Option<String> {
    let uri: Option<http::Uri> = text.value.parse().ok();
    let good = uri.is_some_and(|uri| {
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("http" | "https"))
            && authority.is_some()
            && uri.query().is_none()
            && uri.port_u16() != Some(0)
    });
    // The parser drops what stands behind `#`, and whoever adds a path would add it there. By whoever asks it, too: to the other an
    // address of 256 and a port of five digits are like any other.
    if good && !text.value.contains('#') && is_askable(&text.value) {
        return Some(text.value);
    }
    section.bad_url(key, &text, "a URL such as \"https://sso.example.org/auth/realms/SSO\"");
    None
}
