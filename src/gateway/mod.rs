//! API calls: the UUID goes in, the JWT comes out.
//!
//! ```text
//! request -routes (PURE)-> route -swap-> JWT -headers (PURE)-> request for the API -forward-> answer, streamed
//! ```
//!
//! One gateway for each worker: connections to the APIs are its own. Must not: let a client's UUID go on to an API, but to the old
//! one a UUID that the bridge does not know; send again what may have been read; or decide what a UUID is worth (`exchange` does).

mod authz;
mod client_body;
mod copied;
pub mod ext_authz;
mod flag;
mod flow;
mod forward;
mod headers;
pub mod host;
mod http2_body;
mod interim;
mod line;
mod old_api;
mod path;
mod pool;
mod protobuf;
mod request;
mod room;
pub mod routes;
mod routing;
mod stream;
mod swap;
mod tunnel;
mod waiting;
mod wire;

use std::net::IpAddr;
use std::time::Duration;

pub use authz::tells_its_call;
pub use client_body::swallows;
pub use flag::Flag;
pub use flow::{Broken, has_left};
use http::HeaderValue;
pub use interim::Interim;
pub use old_api::OldApi;
pub use room::Room;
pub use stream::{Place, Stream};
pub use swap::Gateway;
pub use tunnel::Switch;

/// What a gateway is born of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Where calls go.
    pub routes: Vec<routes::Route>,
    /// Where calls with UUIDs go that the bridge does not know; `None`: nowhere.
    pub old_api: Option<OldApi>,
    /// What each may cost.
    pub bounds: Bounds,
    /// How long another proxy may keep a yes, in whole seconds: a UUID that was revoked passes there up to so long.
    pub authz_cache: Duration,
}

impl GatewaySettings {
    /// Whether no call can go anywhere.
    #[must_use]
    pub fn leads_nowhere(&self) -> bool {
        self.routes.is_empty() && self.old_api.is_none()
    }
}

/// What one call may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// For a connection to an API, its TLS included.
    pub connect_timeout: Duration,
    /// For the head of an API's answer, once the whole request is sent.
    pub timeout: Duration,
    /// Between two parts of a body, in either direction, while the other is silent too; also how long a tunnel may be silent.
    pub idle_timeout: Duration,
    /// Bytes of a request's body.
    pub body: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            body: 64 << 20,
        }
    }
}

/// Where a call came from.
#[derive(Clone, Debug)]
pub struct From {
    /// Whoever is connected to us, as `X-Forwarded-For` has it.
    pub peer: HeaderValue,
    /// Whoever stands behind the proxies that are trusted.
    pub address: IpAddr,
    /// The peer's `X-Forwarded-*` count.
    pub is_trusted: bool,
    /// TLS is spoken on this listener.
    pub is_secure: bool,
    /// Is set where the caller waits for long; `None`: its leaving is heard of anyway.
    pub waiting: Option<Flag>,
    /// Takes what an API says before its answer; `None`: the client's protocol leaves no place for that, or nobody here could write it.
    pub interim: Option<Interim>,
}
