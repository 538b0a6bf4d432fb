//! `[store]`.

use std::time::Duration;

use super::load::ca;
use crate::document::{Reader, Spotted};
use crate::secrets::{self, Sources};
use crate::store::{Password, RedisMode, RedisSettings, StoreSettings, Wait};

/// Of the embedded store's cache, where nothing is said.
const CACHE: u64 = 64 << 20;

/// For replicas: any command of Redis is given up after 5 s (`store::redis`), and then nobody would say how many had it.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

#[derive(Clone, Copy)]
enum Kind {
    Embedded,
    Redis,
}

pub(super) fn read(section: Option<Reader<'_>>, sources: Sources<'_>) -> Option<StoreSettings> {
    let embedded =
        |path: &str, cache_bytes| StoreSettings::Embedded { path: sources.directory.join(path), cache_bytes };
    let Some(mut section) = section else { return Some(embedded("data", CACHE)) };
    let named = section.has("kind");
    let kind = section.word("kind", &[("embedded", Kind::Embedded), ("redis", Kind::Redis)]);
    if named && kind.is_none() {
        // What the other keys mean nobody knows.
        return None;
    }
    let settings = match kind.map_or(Kind::Embedded, |kind| kind.value) {
        Kind::Embedded => {
            let path = section.text("path").map_or_else(|| "data".to_owned(), |text| text.value);
            let cache = section.size_within("cache", 1 << 20, 1 << 40).unwrap_or(CACHE);
            unused(
                &mut section,
                "to the embedded store",
                &["urls", "mode", "master", "username", "password", "ca", "wait"],
            );
            Some(embedded(&path, cache))
        }
        Kind::Redis => {
            unused(&mut section, "to the redis store", &["path", "cache"]);
            redis(&mut section, sources).map(StoreSettings::Redis)
        }
    };
    section.finish();
    settings
}

/// Keys of another kind of store: one variable of the environment may have chosen this one.
fn unused(section: &mut Reader<'_>, to_what: &str, keys: &[&'static str]) {
    for key in keys {
        if let Some(found) = section.take(key) {
            let message = format!("`{}` means nothing {to_what}", section.path(key));
            section.findings().warning(
                "unused-key",
                &found.origin,
                message,
                "leave it out, or choose the other `store.kind`",
            );
        }
    }
}

fn redis(section: &mut Reader<'_>, sources: Sources<'_>) -> Option<RedisSettings> {
    let urls = section.required_texts("urls", "urls = [\"redis://127.0.0.1:6379\"]").unwrap_or_default();
    let wanted = urls.len();
    let urls: Vec<String> = urls.into_iter().filter_map(|text| url(section, text)).collect();
    let mode = mode(section);
    let username = section.text("username").map(|text| text.value);
    let key = section.path("password");
    let password = section
        .take("password")
        .and_then(|value| secrets::read(value, &key, sources, section.findings()))
        .map(Password);
    let ca = ca(section, sources);
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
    let mode = section.word("mode", &words).map_or(Word::Single, |word| word.value);
    if !matches!(mode, Word::Sentinel) {
        unused(section, "without `mode = \"sentinel\"`", &["master"]);
    }
    match mode {
        Word::Single => Some(RedisMode::Single),
        Word::Cluster => Some(RedisMode::Cluster),
        Word::Sentinel => section.required_text("master").map(|name| RedisMode::Sentinel { master: name.value }),
    }
}

fn url(section: &Reader<'_>, text: Spotted<String>) -> Option<String> {
    if text.value.contains('@') {
        let hint = "use username = \"...\" and password = { file = \"PATH\" }".to_owned();
        section.findings().error(
            "clear-text-secret",
            &text.origin,
            format!("`{}` carries a password", section.path("urls")),
            hint,
        );
        return None;
    }
    let rest = text.value.strip_prefix("redis://").or_else(|| text.value.strip_prefix("rediss://"));
    if rest.is_none_or(str::is_empty) {
        section.bad_value("urls", &text.origin, "a URL such as \"redis://127.0.0.1:6379\" or \"rediss://...\"");
        return None;
    }
    Some(text.value)
}

fn wait(mut section: Reader<'_>) -> Option<Wait> {
    let replicas = section.integer("replicas", 1, 16);
    let timeout =
        section.duration_within("timeout", Duration::from_millis(200), Duration::from_millis(1), LONGEST_WAIT);
    section.finish();
    Some(Wait { replicas: replicas?.value, timeout })
}
