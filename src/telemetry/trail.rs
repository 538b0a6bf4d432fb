//! The trail of one request: every fact that an operator may ask for, gathered on the way and written once at the edge.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::client::{Client, STRANGERS, Stage};
use crate::domain::dialect::Endpoint;
use crate::domain::family::FamilyId;
use crate::domain::opaque::{Fingerprint, OpaqueToken, TokenUse};
use crate::domain::refusal::Refusal;
use crate::domain::unseen::{is_unseen, one_line};

/// What happened, before it is written down.
#[derive(Debug, Default)]
pub struct Trail {
    /// When it began, by the monotonic clock.
    pub began: Duration,
    /// The endpoint, where the path has one.
    pub endpoint: Option<Endpoint>,
    /// The legacy client's address.
    pub address: Option<IpAddr>,
    /// The client, once its secret was right.
    pub client: Option<Arc<Client>>,
    /// The id that a stranger claimed, cut to what a log line can bear.
    pub claimed: Option<String>,
    /// The grant, where it is one of the dialect's.
    pub grant: Option<String>,
    /// The family that the request was about.
    pub family: Option<FamilyId>,
    /// The access UUID that was handed out or asked about.
    pub token: Option<Fingerprint>,
    /// How long the realm took, all its answers together.
    pub realm: Option<Duration>,
    /// What the old server said, or the old API to an API call, where it was asked.
    pub passed: Option<Passed>,
    /// What ops should look at though the client was served.
    pub notes: Vec<Note>,
    /// Why it was refused; `None`: it was not.
    pub refusal: Option<Refusal>,
}

/// A request that the old server was to answer.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The one client that it names, where a mapping has it. Whether it is that client the old server knows.
    pub client: Option<Arc<Client>>,
    /// The status; or the word for why there is none.
    pub said: Result<u16, &'static str>,
    /// How long it took.
    pub took: Duration,
}

impl Passed {
    /// Why there is no answer to whoever did not wait for it.
    pub const GONE: &str = "gone";

    /// `2xx` and so on; or why there is no answer.
    #[must_use]
    pub fn class(&self) -> &'static str {
        self.said.map_or_else(|word| word, class)
    }
}

/// The class of a status: `1xx` to `5xx`.
pub(super) const fn class(status: u16) -> &'static str {
    match status {
        ..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// Something that ops should look at though the client was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// A field was longer than the realm's cap, and was sent whole.
    OverLong,
    /// The legacy promise cannot be kept: the realm's tokens live too short, or came too late.
    PromiseShort,
    /// The realm refused the first new secret and took the second.
    SecondSecret,
    /// The same reply was fetched again inside the grace window.
    Replayed,
    /// A used refresh token came again after its grace window.
    Reuse,
    /// A token that nobody knows was to be revoked.
    UnknownToken,
    /// A token of another client was named, and nothing happened to it.
    Foreign,
    /// An API refused the JWT behind a good UUID, and the realm was asked for another.
    ApiRefused,
    /// An API found a head too long that had a JWT in place of a UUID.
    ApiHead,
    /// A login was revoked whose session the realm cannot be told to end: nothing here opens its refresh token.
    RealmUntold,
    /// A UUID was revoked that was good though its login was over, or gone: the store had lost a part of what it had.
    Outlived,
    /// A login that the canary had chosen for the realm was passed on: the bridge did not find out who it was.
    Unproved,
    /// It was served, and the caller was gone before its answer: what was done for it stands.
    Unheard,
}

impl Note {
    /// The word in logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::OverLong => "over_long_parameter",
            Self::PromiseShort => "promise_short",
            Self::SecondSecret => "second_secret",
            Self::Replayed => "replayed",
            Self::Reuse => "refresh_reuse",
            Self::UnknownToken => "unknown_token",
            Self::Foreign => "foreign_token",
            Self::ApiRefused => "api_refused_jwt",
            Self::ApiHead => "api_refused_head",
            Self::RealmUntold => "realm_untold",
            Self::Outlived => "outlived_login",
            Self::Unproved => "unproved",
            Self::Unheard => "unheard",
        }
    }
}

/// Characters of a stranger's id that a line bears.
const LONGEST_CLAIM: usize = 80;

/// Where a sign follows that ids seldom have. Blanks in front are of it.
fn end_of_id(text: &str) -> usize {
    let id = text.trim_start();
    let is_usual = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
    text.len() - id.trim_start_matches(is_usual).len()
}

fn by_fingerprints(token: &OpaqueToken) -> String {
    let [access, refresh] = [TokenUse::Access, TokenUse::Refresh].map(|token_use| token.fingerprint(token_use).short());
    format!("[UUID {access}/{refresh}]")
}

impl Trail {
    /// Remembers who a stranger claims to be, bounded and without letters that nobody sees. Unless it is known to be a client's id a token may have
    /// strayed there, which is not told: a UUID by its fingerprints, as access and as refresh token. Nor is what follows a sign that ids seldom have:
    /// a secret that was put behind the id.
    pub fn claim(&mut self, id: &str, is_known: bool) {
        const GAP: char = char::REPLACEMENT_CHARACTER;
        let named = |word: &str| OpaqueToken::parse(word).map(|token| by_fingerprints(&token));
        self.claimed = Some(if is_known {
            id.chars().map(|letter| if is_unseen(letter) { GAP } else { letter }).take(LONGEST_CLAIM).collect()
        } else {
            let (id, behind) = id.split_at(end_of_id(id));
            let told = |word| named(word).map_or(Cow::Borrowed(word), Cow::Owned);
            let hidden = |word: &str| match named(word) {
                Some(named) => Cow::Owned(named),
                None if word.is_empty() => Cow::Borrowed(""),
                None => Cow::Borrowed("*"),
            };
            let told = one_line(id, LONGEST_CLAIM, GAP, told) + &one_line(behind, LONGEST_CLAIM, GAP, hidden);
            told.chars().take(LONGEST_CLAIM).collect()
        });
    }

    /// The client's id as metrics name it: known clients by id, all strangers by one word.
    #[must_use]
    pub fn client_label(&self) -> &str {
        self.whose().map_or(STRANGERS, |client| &*client.legacy_id)
    }

    /// The client's stage, where it is known.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        self.whose().map(|client| client.stage)
    }

    /// The client that proved to be it, or that the old server was told of.
    fn whose(&self) -> Option<&Arc<Client>> {
        self.client.as_ref().or_else(|| self.passed.as_ref()?.client.as_ref())
    }

    /// `ok`, `passed` where the old server answered, or the word of the cause.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        let served = if self.passed.is_some() { "passed" } else { "ok" };
        self.refusal.as_ref().map_or(served, |refusal| refusal.cause.word())
    }
}
