//! `[store]`.

use std::net::IpAddr;
use std::time::Duration;

use http::uri::Authority;

use super::load::ca;
use crate::document::{Origin, Reader, Spotted};
use crate::secrets::{self, Sources};
use crate::store::{Password, RedisMode, RedisSettings, StoreSettings, Wait, is_redis};

/// Of the embedded store's cache, where nothing is said.
const CACHE: u64 = 64 << 20;

/// For replicas: any command of Redis is given up after 5 s (`store::redis`), and then nobody would say how many had it.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// Where keys of Sentinels mean nothing.
const NO_SENTINEL: &str = "without `mode = \"sentinel\"`";

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
            let path = section.filled("path", "a path").map_or_else(|| "data".to_owned(), |text| text.value);
            let cache = section.size_within("cache", 1 << 20, 1 << 40).unwrap_or(CACHE);
            unused(
                &mut section,
                "to the embedded store",
                &[
                    "urls",
                    "mode",
                    "master",
                    "username",
                    "password",
                    "sentinel_username",
                    "sentinel_password",
                    "ca",
                    "wait",
                ],
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
            tell_unused(section, to_what, (key, &found.origin));
        }
    }
}

fn tell_unused(section: &Reader<'_>, to_what: &str, (key, origin): (&str, &Origin)) {
    let message = format!("`{}` means nothing {to_what}", section.path(key));
    section.findings().warning("unused-key", origin, message, "leave it out, or choose the other `store.kind`");
}

fn redis(section: &mut Reader<'_>, sources: Sources<'_>) -> Option<RedisSettings> {
    let urls = section.required_texts("urls", "urls = [\"redis://127.0.0.1:6379\"]").unwrap_or_default();
    let wanted = urls.len();
    let urls: Vec<Url> = urls.into_iter().filter_map(|text| url(section, text)).collect();
    let mode = mode(section);
    tell_discord(section, &urls, mode.as_ref());
    // Where none is a URL nobody knows.
    let is_secure = urls.is_empty() || urls.iter().any(|url| url.is_secure);
    warn_of_clear_text(section, &urls);
    let urls: Vec<String> = urls.into_iter().map(|url| url.text.value).collect();
    let (username, password) = user(section, sources, ["username", "password"], true);
    let keys = ["sentinel_username", "sentinel_password"];
    let has_sentinels = matches!(mode, Some(RedisMode::Sentinel { .. }));
    let (sentinel_username, sentinel_password) = user(section, sources, keys, has_sentinels);
    let ca = ca(section, is_secure, sources);
    let wait = section.section("wait").and_then(|section| wait(section, mode.as_ref()));
    (wanted > 0 && urls.len() == wanted).then_some(RedisSettings {
        urls,
        mode: mode?,
        username,
        password,
        sentinel_username,
        sentinel_password,
        ca,
        wait,
    })
}

/// Who signs in, and by what.
fn user(
    section: &mut Reader<'_>,
    sources: Sources<'_>,
    [username, password]: [&'static str; 2],
    is_meant: bool,
) -> (Option<String>, Option<Password>) {
    let named = section.text(username);
    if named.is_some() && !section.has(password) {
        // Without one nobody signs in at all, and the default user's rights would count.
        section.missing(password, format!("{password} = {{ file = \"PATH\" }}, or leave `{username}` out"));
    }
    let key = section.path(password);
    let secret = section.take(password);
    if !is_meant {
        let named = named.iter().map(|text| (username, &text.origin));
        let keys = named.chain(secret.iter().map(|value| (password, &value.origin)));
        keys.for_each(|key| tell_unused(section, NO_SENTINEL, key));
    }
    let secret = secret.and_then(|value| secrets::read(value, &key, sources, section.findings()));
    (named.map(|text| text.value), secret.map(Password))
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
        unused(section, NO_SENTINEL, &["master"]);
    }
    match mode {
        Word::Single => Some(RedisMode::Single),
        Word::Cluster => Some(RedisMode::Cluster),
        Word::Sentinel => {
            section.required_filled("master", "a name").map(|name| RedisMode::Sentinel { master: name.value })
        }
    }
}

/// A URL that can be asked, and what it says.
struct Url {
    text: Spotted<String>,
    is_secure: bool,
    /// It names this very machine.
    is_here: bool,
    database: Option<u32>,
}

fn url(section: &Reader<'_>, text: Spotted<String>) -> Option<Url> {
    if text.value.contains('@') {
        let hint = "use username = \"...\" and password = { file = \"PATH\" }";
        section.findings().error(
            "clear-text-secret",
            &text.origin,
            format!("`{}` carries a password", section.path("urls")),
            hint,
        );
        return None;
    }
    let secure = text.value.strip_prefix("rediss://");
    let rest = secure.or_else(|| text.value.strip_prefix("redis://")).unwrap_or_default();
    let (server, database) = rest.split_once('/').unwrap_or((rest, ""));
    let number = Some(database).filter(|digits| !digits.is_empty()).map(str::parse).transpose();
    let Ok(database) = number else {
        let wanted = "a URL that ends in a database's number, such as \"redis://127.0.0.1:6379/2\"";
        section.bad_value("urls", &text.origin, wanted);
        return None;
    };
    // By whoever asks it, too: what is a port, and a server's name, is for that one to say.
    let authority: Option<Authority> = server.parse().ok().filter(|it: &Authority| it.port_u16() != Some(0));
    let Some(authority) = authority.filter(|_| !server.contains(['?', '#']) && is_redis(&text.value)) else {
        section.bad_value("urls", &text.origin, "a URL such as \"redis://127.0.0.1:6379\" or \"rediss://...\"");
        return None;
    };
    let is_secure = secure.is_some();
    Some(Url { text, is_secure, is_here: is_here(authority.host()), database })
}

/// Whether what is said to this host leaves the machine.
fn is_here(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

/// Whoever is between here and there reads the password, and writes what the store then says: once is enough to tell.
fn warn_of_clear_text(section: &Reader<'_>, urls: &[Url]) {
    let Some(url) = urls.iter().find(|url| !url.is_secure && !url.is_here) else { return };
    let message = format!(
        "`{}` names another machine without TLS: all that is said to it, a password too, is said in clear text",
        section.path("urls")
    );
    let hint = "let it begin with rediss://, or trust whoever is on the network between";
    section.findings().warning("clear-text-store", &url.text.origin, message, hint);
}

/// Tells URLs of which each is good, and which are not good together: one would not be asked, or not as it says.
fn tell_discord(section: &Reader<'_>, urls: &[Url], mode: Option<&RedisMode>) {
    let Some((first, others)) = urls.split_first() else { return };
    let key = section.path("urls");
    let tell = |url: &Url, message: String, hint: &str| {
        section.findings().error("bad-value", &url.text.origin, message, hint);
    };
    if let (Some(RedisMode::Single), Some(second)) = (mode, others.first()) {
        let hint = "leave one of them, or say what they are: `mode = \"sentinel\"` or `mode = \"cluster\"`";
        return tell(second, format!("`{key}` names a second server, which nobody would ask"), hint);
    }
    if mode == Some(&RedisMode::Cluster) && first.database.is_some_and(|number| number != 0) {
        tell(first, format!("`{key}` names a database, and a cluster has one alone"), "leave the number out");
    }
    for other in others {
        if other.is_secure != first.is_secure {
            let hint = "begin all of them with the one or the other: TLS is spoken to each of them or to none";
            tell(other, format!("`{key}` has `redis://` and `rediss://`"), hint);
        } else if other.database.is_some_and(|number| number != first.database.unwrap_or(0)) {
            let hint = "leave the number out here: the first URL says it for all";
            tell(other, format!("`{key}` names another database than the first URL does"), hint);
        }
    }
}

fn wait(mut section: Reader<'_>, mode: Option<&RedisMode>) -> Option<Wait> {
    if mode == Some(&RedisMode::Cluster) {
        let message = "`store.wait` is not possible with a cluster";
        section.findings().error("bad-value", section.origin(), message, "leave it out, or name one master");
    }
    section.demand("replicas", "replicas = 1");
    let replicas = section.integer("replicas", 1, 16);
    let timeout =
        section.duration_within("timeout", Duration::from_millis(200), Duration::from_millis(1), LONGEST_WAIT);
    section.finish();
    Some(Wait { replicas: replicas?.value, timeout })
}
