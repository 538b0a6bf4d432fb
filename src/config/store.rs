//! `[store]`.

use std::fs;
use std::time::Duration;

use crate::document::{Reader, Spotted};
use crate::secrets::{self, Sources};
use crate::store::{Password, RedisMode, RedisSettings, StoreSettings, Wait};

/// Of the embedded store's cache, where nothing is said.
const CACHE: u64 = 64 << 20;

#[derive(Clone, Copy)]
enum Kind {
    Embedded,
    Redis,
}

pub(super) fn read(section: Option<Reader<'_>>, sources: Sources<'_>) -> Option<StoreSettings> {
    let embedded =
        |path: &str, cache_bytes| StoreSettings::Embedded { path: sources.directory.join(path), cache_bytes };
    let Some(mut section) = section else { return Some(embedded("data", CACHE)) };
    let kind = section.word("kind", &[("embedded", Kind::Embedded), ("redis", Kind::Redis)]);
    let settings = match kind.map_or(Kind::Embedded, |kind| kind.value) {
        Kind::Embedded => {
            let path = section.text("path").map_or_else(|| "data".to_owned(), |text| text.value);
            let cache = section.size("cache");
            if let Some(found) = cache.as_ref().filter(|found| found.value < 1 << 20) {
                section.bad_value("cache", &found.origin, "at least 1MiB");
            }
            Some(embedded(&path, cache.map_or(CACHE, |found| found.value)))
        }
        Kind::Redis => redis(&mut section, sources).map(StoreSettings::Redis),
    };
    section.finish();
    settings
}

fn redis(section: &mut Reader<'_>, sources: Sources<'_>) -> Option<RedisSettings> {
    let urls = section.texts("urls").unwrap_or_default();
    if urls.is_empty() {
        let message = format!("`{}` names no server", section.path("urls"));
        section.findings().error(
            "missing-key",
            section.origin(),
            message,
            "urls = [\"redis://127.0.0.1:6379\"]".to_owned(),
        );
    }
    let wanted = urls.len();
    let urls: Vec<String> = urls.into_iter().filter_map(|text| url(section, text)).collect();
    let mode = mode(section);
    let username = section.text("username").map(|text| text.value);
    let key = section.path("password");
    let password = section
        .take("password")
        .and_then(|value| secrets::read(value, &key, sources, section.findings()))
        .map(Password);
    let ca = section.text("ca").and_then(|text| certificate(section, &text, sources));
    let wait = section.section("wait").and_then(wait);
    if wait.is_some() && mode == Some(RedisMode::Cluster) {
        section.bad_value("wait", section.origin(), "possible with a cluster");
    }
    (wanted > 0 && urls.len() == wanted).then_some(RedisSettings { urls, mode: mode?, username, password, ca, wait })
}

fn mode(section: &mut Reader<'_>) -> Option<RedisMode> {
    #[derive(Clone, Copy)]
    enum Word {
        Single,
        Cluster,
        Sentinel,
    }
    let words = [("single", Word::Single), ("cluster", Word::Cluster), ("sentinel", Word::Sentinel)];
    match section.word("mode", &words).map_or(Word::Single, |word| word.value) {
        Word::Single => Some(RedisMode::Single),
        Word::Cluster => Some(RedisMode::Cluster),
        Word::Sentinel => section.required_text("master").map(|name| RedisMode::Sentinel { master: name.value }),
    }
}

fn url(section: &Reader<'_>, text: Spotted<String>) -> Option<String> {
    let rest = text.value.strip_prefix("redis://").or_else(|| text.value.strip_prefix("rediss://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
        section.bad_value("urls", &text.origin, "a URL such as \"redis://127.0.0.1:6379\" or \"rediss://...\"");
        return None;
    };
    if rest.contains('@') {
        let hint = "use username = \"...\" and password = { file = \"PATH\" }".to_owned();
        section.findings().error(
            "clear-text-secret",
            &text.origin,
            format!("`{}` carries a password", section.path("urls")),
            hint,
        );
        return None;
    }
    Some(text.value)
}

fn certificate(section: &Reader<'_>, text: &Spotted<String>, sources: Sources<'_>) -> Option<Vec<u8>> {
    let path = sources.directory.join(&text.value);
    let read = fs::read(&path);
    if let Err(error) = &read {
        section.findings().error(
            "unreadable-file",
            &text.origin,
            format!("{} cannot be read: {error}", path.display()),
            None,
        );
    }
    read.ok()
}

fn wait(mut section: Reader<'_>) -> Option<Wait> {
    let replicas = section.integer("replicas", 1, 16);
    let timeout = section.duration("timeout").map_or(Duration::from_millis(200), |found| found.value);
    section.finish();
    Some(Wait { replicas: replicas?.value, timeout })
}
