//! Why a request is refused: a closed list of causes, and whose fault each is.
//!
//! A cause is what is passed around; a status, an OAuth error and a text are made of it once, at the edge, by the dialect.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;
use std::{io, iter};

use rustix::io::Errno;

/// What a legacy client can be told. Each has a row in every dialect (CONTRACT section 3), but for the one that nobody hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Something failed that is not the client's doing.
    ServerError,
    /// A parameter is missing, comes twice, or cannot be read.
    InvalidRequest,
    /// The endpoint does not answer this method.
    MethodNotAllowed,
    /// Nothing of ours has this path.
    NotFound,
    /// The refresh token is bad, expired or used.
    RefreshToken,
    /// A scope that this client does not have.
    Scope,
    /// The client may not use this grant.
    GrantForbidden,
    /// No such grant.
    GrantUnsupported,
    /// The client's own credentials are wrong.
    ClientCredentials,
    /// Passport or signature refused.
    ResourceOwner,
    /// An API call with a token that was ours and is over.
    TokenOver,
    /// An API call with a token that we never issued.
    TokenUnknown,
    /// The API cannot be reached, or ended its answer before the head was whole.
    ApiDown,
    /// The API did not answer in time.
    ApiSlow,
    /// The caller was gone before his answer. No dialect has a row for it.
    CallerGone,
}

impl Cause {
    /// All that a client hears, in the order of a dialect file.
    pub const ALL: [Self; 14] = [
        Self::ServerError,
        Self::InvalidRequest,
        Self::MethodNotAllowed,
        Self::NotFound,
        Self::RefreshToken,
        Self::Scope,
        Self::GrantForbidden,
        Self::GrantUnsupported,
        Self::ClientCredentials,
        Self::ResourceOwner,
        Self::TokenOver,
        Self::TokenUnknown,
        Self::ApiDown,
        Self::ApiSlow,
    ];

    /// The word in dialect files, logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ServerError => "server_error",
            Self::InvalidRequest => "invalid_request",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotFound => "not_found",
            Self::RefreshToken => "refresh_token",
            Self::Scope => "scope",
            Self::GrantForbidden => "grant_forbidden",
            Self::GrantUnsupported => "grant_unsupported",
            Self::ClientCredentials => "client_credentials",
            Self::ResourceOwner => "resource_owner",
            Self::TokenOver => "token_over",
            Self::TokenUnknown => "token_unknown",
            Self::ApiDown => "api_down",
            Self::ApiSlow => "api_slow",
            Self::CallerGone => "caller_gone",
        }
    }
}

/// Who has to do something about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The legacy client, or the person behind it.
    Client,
    /// Whoever keeps the mapping and the realm's client settings.
    Operator,
    /// The realm, or the way to it.
    Upstream,
    /// This program or the machine below it.
    Ourselves,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Client, Self::Operator, Self::Upstream, Self::Ourselves];

    /// The word in logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Operator => "operator",
            Self::Upstream => "upstream",
            Self::Ourselves => "ourselves",
        }
    }
}

/// A refusal: what the client hears (the cause) and what the log hears (the detail) are two fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the client hears.
    pub cause: Cause,
    /// Who has to act.
    pub fault: Fault,
    /// One sentence for the operator. Never a token, a secret, a passport or a signature.
    pub detail: Cow<'static, str>,
}

impl Refusal {
    /// The client's own doing.
    pub fn client(cause: Cause, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { cause, fault: Fault::Client, detail: detail.into() }
    }

    /// Nobody is there to hear anything.
    #[must_use]
    pub const fn caller_gone() -> Self {
        let detail = Cow::Borrowed("the caller was gone before its answer");
        Self { cause: Cause::CallerGone, fault: Fault::Client, detail }
    }

    /// The same, of one that waited for a server which had not answered after so long. Where that was `in_vain` it is not the caller who has to act.
    #[must_use]
    pub fn left_waiting(server: &str, after: Duration, in_vain: bool) -> Self {
        let fault = if in_vain { Fault::Upstream } else { Fault::Client };
        let detail = format!("the caller was gone after {:.1} s; {server} had not answered", after.as_secs_f64());
        Self { cause: Cause::CallerGone, fault, detail: detail.into() }
    }

    /// A refusal that is somebody else's fault: the client hears `server_error`.
    pub fn server(fault: Fault, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { cause: Cause::ServerError, fault, detail: detail.into() }
    }
}

/// What lies at the bottom of an error: what the system or a server said. `None`: the error itself.
#[must_use]
pub fn bottom_of(error: &dyn Error) -> Option<&(dyn Error + 'static)> {
    iter::successors(error.source(), |&below| below.source()).last()
}

/// What to raise, where an error says that this process met a limit of files or threads which the machine sets it.
#[must_use]
pub fn limit_met(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::MFILE | Errno::NFILE => {
            Some("more files must be allowed to be open: raise that limit (`ulimit -n`, `LimitNOFILE=` of systemd)")
        }
        Errno::AGAIN => Some(
            "more threads must be allowed: raise that limit (`ulimit -u`, `TasksMax=` of systemd, the container's limit of processes)",
        ),
        _ => None,
    }
}

/// The sentence of an error for operators, with that.
#[must_use]
pub fn sentence(error: &dyn Error) -> String {
    bottom_of(error).map_or_else(|| error.to_string(), |reason| format!("{error}: {reason}"))
}
