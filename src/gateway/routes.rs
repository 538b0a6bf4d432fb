//! PURE: which route a call takes.

use http::Uri;
use http::uri::Authority;
use rustls_pki_types::ServerName;

use super::path::{is_below, resolved};
use crate::domain::refusal::{Cause, Refusal};
use crate::domain::unseen;
use crate::relay::Trust;

/// Where calls below a prefix go.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own, and any of them goes with any other")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Whole segments; begins with a slash and ends in none, but for the root's.
    pub prefix: String,
    /// Only calls to this host, as [`name`](super::host::name) has it; `None`: to any.
    pub host: Option<String>,
    /// Only calls of these clients; empty: of all.
    pub clients: Vec<String>,
    /// Its servers.
    pub upstreams: Vec<Upstream>,
    /// Who vouches for those that speak TLS; `None`: none of them does.
    pub trust: Option<Trust>,
    /// HTTP/2 is spoken with its servers: with prior knowledge in clear text, over TLS with those that choose it.
    pub http2: bool,
    /// The prefix does not go on, nor more than one slash behind it.
    pub strip_prefix: bool,
    /// The API hears the host that the client named.
    pub keep_host: bool,
    /// What carries a JWT goes on as it is.
    pub pass_jwt: bool,
    /// What carries no token goes on as it is.
    pub pass_anonymous: bool,
    /// What the API says before its answer goes on to clients of HTTP/1.1.
    pub pass_interim: bool,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `host` or `host:port`, as the configuration has it: what the server hears as its own name.
    pub authority: String,
    /// `host:port`, to connect to.
    pub address: String,
    /// The name that its certificate must have; `None`: clear text.
    pub name: Option<ServerName<'static>>,
}

impl Upstream {
    /// The server that a URL names: `http` or `https`, no path, no user.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let is_secure = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority().filter(|it| !it.as_str().contains('@'))?;
        // The parser drops what stands behind `#`.
        if uri.query().is_some() || url.contains('#') || !matches!(uri.path(), "" | "/") {
            return None;
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = if is_secure { Some(ServerName::try_from(bare.to_owned()).ok()?) } else { None };
        let port = port(authority, is_secure)?;
        Some(Self { authority: authority.to_string(), address: format!("{host}:{port}"), name })
    }
}

/// The port of a server; `None`: what stands for one is none.
#[must_use]
pub fn port(authority: &Authority, is_secure: bool) -> Option<u16> {
    match authority.port_u16() {
        // Nobody listens there.
        Some(0) => None,
        Some(port) => Some(port),
        None if authority.as_str() != authority.host() => None,
        None if is_secure => Some(443),
        None => Some(80),
    }
}

impl Route {
    /// Whether some call could take both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let same_clients = self.clients.is_empty() && other.clients.is_empty()
            || self.clients.iter().any(|client| other.clients.contains(client));
        self.prefix == other.prefix && self.host == other.host && same_clients
    }

    /// Whether whoever this one's clients keep out takes the other, by naming its host.
    #[must_use]
    pub fn is_passed_by(&self, other: &Self) -> bool {
        let lets_more_in =
            other.clients.is_empty() || other.clients.iter().any(|client| !self.clients.contains(client));
        let is_first = self.host.is_none() && other.host.is_some() && is_below(&self.prefix, &other.prefix);
        !self.clients.is_empty() && is_first && lets_more_in
    }

    /// Whether calls of both go to the same servers in the same manner.
    #[must_use]
    pub fn has_servers_of(&self, other: &Self) -> bool {
        (&self.upstreams, &self.trust, self.http2) == (&other.upstreams, &other.trust, other.http2)
    }

    /// Whether a client may take it; `None`: nobody that is known.
    #[must_use]
    pub fn admits(&self, client: Option<&str>) -> bool {
        self.clients.is_empty() || client.is_some_and(|client| self.clients.iter().any(|known| known == client))
    }

    /// Named host before any, longer prefix before shorter, named clients before all.
    fn rank(&self) -> impl Ord + use<> {
        (self.host.is_some(), self.prefix.len(), !self.clients.is_empty())
    }
}

/// The routes, the most particular first.
#[must_use]
pub fn ordered(mut routes: Vec<Route>) -> Vec<Route> {
    routes.sort_by_key(|route| std::cmp::Reverse(route.rank()));
    routes
}

/// The number of the most particular route that a call may take; [`alike`] has those of the same host and prefix.
///
/// # Errors
/// There is none, or the path leaves it once it is resolved.
pub fn find(routes: &[Route], host: Option<&str>, path: &str) -> Result<usize, Refusal> {
    let leaves = || Refusal::client(Cause::InvalidRequest, "the path leaves its route once it is resolved");
    let means = resolved(path).ok_or_else(leaves)?;
    let there = taken(routes, host, path);
    if means.iter().any(|means| taken(routes, host, means) != there) {
        return Err(leaves());
    }
    there.ok_or_else(|| {
        let known = routes.iter().map(|route| route.prefix.as_str());
        let detail = format!("no route has this host and path: {}", unseen::path(path, known));
        Refusal::client(Cause::NotFound, detail)
    })
}

fn taken(routes: &[Route], host: Option<&str>, path: &str) -> Option<usize> {
    let fits = |route: &Route| {
        is_below(path, &route.prefix) && route.host.as_deref().is_none_or(|wanted| Some(wanted) == host)
    };
    routes.iter().position(fits)
}

/// A route that was found, and behind it those of the same host and prefix, with their numbers.
pub fn alike(routes: &[Route], found: usize) -> impl Iterator<Item = (usize, &Route)> {
    let from = routes.iter().enumerate().skip(found);
    let first = routes.get(found);
    from.filter(move |(_, route)| first.is_some_and(|first| route.prefix == first.prefix && route.host == first.host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, host: Option<&str>, clients: &[&str]) -> Route {
        Route {
            prefix: prefix.to_owned(),
            host: host.map(str::to_owned),
            clients: clients.iter().map(|client| (*client).to_owned()).collect(),
            upstreams: Upstream::parse("http://127.0.0.1:1").into_iter().collect(),
            trust: None,
            http2: false,
            strip_prefix: false,
            keep_host: true,
            pass_jwt: false,
            pass_anonymous: false,
            pass_interim: false,
        }
    }

    #[test]
    fn the_most_particular_route_is_taken() {
        let routes = ordered(vec![route("/", None, &[]), route("/api", None, &[]), route("/api", Some("a.org"), &[])]);
        let prefix = |host, path| {
            let found = &routes[find(&routes, host, path).unwrap()];
            (found.host.clone(), found.prefix.clone())
        };
        assert_eq!(prefix(Some("a.org"), "/api/x"), (Some("a.org".to_owned()), "/api".to_owned()));
        assert_eq!(prefix(Some("b.org"), "/api/x"), (None, "/api".to_owned()));
        assert_eq!(prefix(None, "/apis"), (None, "/".to_owned()));
    }

    #[test]
    fn a_route_of_the_called_host_counts_before_a_longer_prefix_without_one() {
        let (narrow, wide) = (route("/api/adm", None, &["root"]), route("/", Some("vip.org"), &[]));
        let routes = ordered(vec![narrow.clone(), wide.clone()]);
        let host = |called| routes[find(&routes, called, "/api/adm/x").unwrap()].host.as_deref();
        assert_eq!((host(Some("vip.org")), host(Some("a.org"))), (Some("vip.org"), None));
        assert!(narrow.is_passed_by(&wide), "anybody names that host");
        for (narrow, wide, why) in [
            (&narrow, route("/", None, &[]), "the longer prefix counts"),
            (&narrow, route("/", Some("vip.org"), &["root"]), "for the same client"),
            (&narrow, route("/files", Some("vip.org"), &[]), "for other paths"),
            (&route("/api/adm", Some("adm.org"), &["root"]), wide.clone(), "for another host"),
            (&route("/api/adm", None, &[]), wide.clone(), "it keeps nobody out"),
        ] {
            assert!(!narrow.is_passed_by(&wide), "{why}");
        }
        assert!(narrow.is_passed_by(&route("/api/adm", Some("vip.org"), &["root", "other"])));
    }

    #[test]
    fn a_path_that_means_another_route_is_refused() {
        let routes = ordered(vec![route("/api", None, &[]), route("/api/admin", None, &["root"])]);
        for path in ["/api/../x", "/api/x/../admin", "/api//admin", "/api/%61dmin", "/api/admin/..", "/api%2fadmin"] {
            assert_eq!(find(&routes, None, path).unwrap_err().cause, Cause::InvalidRequest, "{path}");
        }
        for path in ["/api/x/../y", "/api/a%20b", "/api/x//y", "/api/a;v=1"] {
            assert_eq!(alike(&routes, find(&routes, None, path).unwrap()).count(), 1, "{path}");
        }
        assert_eq!(find(&routes, None, "/apis").unwrap_err().cause, Cause::NotFound);
    }

    #[test]
    fn routes_overlap_where_one_call_could_take_both() {
        assert!(route("/a", None, &[]).overlaps(&route("/a", None, &[])));
        assert!(route("/a", None, &["x", "y"]).overlaps(&route("/a", None, &["y"])));
        assert!(!route("/a", None, &["x"]).overlaps(&route("/a", None, &[])), "the named one goes first");
        assert!(!route("/a", Some("h"), &[]).overlaps(&route("/a", None, &[])));
    }

    #[test]
    fn a_url_names_a_server_and_nothing_else() {
        let read = |url: &str| {
            let read = Upstream::parse(url)?;
            Some((read.authority, read.address, read.name.map(|name| name.to_str().into_owned())))
        };
        let told = |authority: &str, address: &str, name: Option<&str>| {
            Some((authority.to_owned(), address.to_owned(), name.map(str::to_owned)))
        };
        assert_eq!(read("http://a.org"), told("a.org", "a.org:80", None));
        assert_eq!(read("https://a.org/"), told("a.org", "a.org:443", Some("a.org")));
        assert_eq!(read("https://a.org:8443"), told("a.org:8443", "a.org:8443", Some("a.org")));
        assert_eq!(read("https://[::1]:1"), told("[::1]:1", "[::1]:1", Some("::1")));
        for wrong in ["ftp://a.org", "a.org", "http://a.org/x", "http://a.org?q", "http://u@a.org", "https://a_b.org:x"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
