//! A legacy client as the mapping describes it: who it was in the old world, and who it is in the new one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::canary::Canary;
use super::dialect::Dialect;
use super::last_use::LastUse;
use super::learned::Learned;
use super::opaque::Fingerprint;
use super::shadow::Beside;

/// What metrics call all whom no mapping has, and whoever did not prove to be a client.
pub const STRANGERS: &str = "unknown";

/// Where a client stands in its migration (OPERATOR section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The old server answers.
    Legacy,
    /// The old server answers, and beside it the bridge finds out what it would have answered.
    Shadow,
    /// The realm answers a part of the logins, chosen by passport, and the old server the others.
    Canary,
    /// The realm answers.
    Live,
    /// Refused, and counted.
    Retired,
}

impl Stage {
    /// Every stage with its word in mapping files.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("legacy", Self::Legacy),
        ("shadow", Self::Shadow),
        ("canary", Self::Canary),
        ("live", Self::Live),
        ("retired", Self::Retired),
    ];

    /// Whether it means something only while there is an old server.
    #[must_use]
    pub const fn needs_old_server(self) -> bool {
        match self {
            Self::Legacy | Self::Shadow | Self::Canary => true,
            Self::Live | Self::Retired => false,
        }
    }

    /// Whether the realm is asked at its logins, or is to be next.
    #[must_use]
    pub const fn asks_realm(self) -> bool {
        match self {
            Self::Live | Self::Canary | Self::Shadow => true,
            Self::Legacy | Self::Retired => false,
        }
    }

    /// The word in mapping files, logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Live => "live",
            Self::Retired => "retired",
        }
    }
}

/// What a client's old secret is checked against.
#[derive(Clone)]
pub enum LegacySecret {
    /// An argon2id hash in PHC text. Checked to be well-formed when it was loaded.
    Hash(String),
    /// The secret itself, from the environment or a file.
    Clear(SecretString),
    /// Whatever the old server accepted lately, as hashes.
    Learn(Arc<Learned>),
}

/// No client has more secrets of one kind, learned ones among them.
pub const MOST_SECRETS: usize = 2;

impl LegacySecret {
    /// Whether both are the same, and kept the same way.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hash(one), Self::Hash(other)) => one == other,
            (Self::Clear(one), Self::Clear(other)) => same(one, other),
            (Self::Learn(_), Self::Learn(_)) => true,
            (Self::Hash(_) | Self::Learn(_), Self::Clear(_))
            | (Self::Clear(_) | Self::Learn(_), Self::Hash(_))
            | (Self::Hash(_) | Self::Clear(_), Self::Learn(_)) => false,
        }
    }
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()).into()
}

impl fmt::Debug for LegacySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hash(_) => "Hash(redacted)",
            Self::Clear(_) => "Clear(redacted)",
            Self::Learn(_) => "Learn(redacted)",
        })
    }
}

/// The last change of a client's stage, where a command made it. Decides nothing; told when the stage changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Where it stood before; `None`: what is written there means nothing.
    pub from: Option<Stage>,
    /// When, as the command wrote it (RFC 3339).
    pub at: String,
    /// Why, in somebody's words.
    pub why: String,
}

/// A legacy client.
#[derive(Debug)]
pub struct Client {
    /// The old client id: any text, compared exactly.
    pub legacy_id: Arc<str>,
    /// One or two old secrets.
    pub legacy_secrets: Vec<LegacySecret>,
    /// The client id at the realm.
    pub client_id: String,
    /// One or two secrets at the realm, the preferred one first.
    pub client_secrets: Vec<SecretString>,
    /// Where it stands.
    pub stage: Stage,
    /// How it is watched at stage canary. There at that stage, and whenever the mapping says it.
    pub canary: Option<Canary>,
    /// How far the bridge goes at stage shadow.
    pub shadow: Beside,
    /// Since when, and why.
    pub moved: Option<Moved>,
    /// How it speaks.
    pub dialect: Arc<Dialect>,
    /// Legacy word and realm's word of a scope, where they differ or are listed. Empty: every word passes as it is.
    pub scopes: Vec<(String, String)>,
    /// The legacy promise, where it is not the dialect's.
    pub access_token_lifetime: Option<Duration>,
    /// It may ask about every client's tokens.
    pub may_introspect: bool,
    /// It may put its credentials into the query of a POST.
    pub allow_query_credentials: bool,
    /// It forgets to escape `+`: blanks in certificate and signature are turned back (CONTRACT section 4).
    pub mend_unescaped_plus: bool,
    /// When each old secret was last shown.
    pub legacy_uses: LastUse,
    /// When the realm last took each new secret.
    pub client_uses: LastUse,
}

impl Client {
    /// What the stage was set to, and when: another one each time that an operator stages the client.
    #[must_use]
    pub fn staging(&self) -> Fingerprint {
        let canary = self.canary.map(|canary| (canary.percent, canary.step_back_at));
        let moved = self.moved.as_ref().map(|moved| (&moved.at, &moved.why));
        Fingerprint::of("staging", format!("{:?} {canary:?} {moved:?}", self.stage).as_bytes())
    }

    /// Names what is counted of it at that staging, and at no other.
    #[must_use]
    pub fn staged(&self) -> (Arc<str>, Fingerprint) {
        (Arc::clone(&self.legacy_id), self.staging())
    }

    /// How long an access UUID of this client is promised to live.
    #[must_use]
    pub fn promise(&self) -> Duration {
        self.access_token_lifetime.unwrap_or(self.dialect.tokens.access_token)
    }

    /// What is learned of its old secrets, where its mapping says so, and which slot that is.
    #[must_use]
    pub fn learned(&self) -> Option<(usize, &Learned)> {
        self.legacy_secrets.iter().enumerate().find_map(|(slot, secret)| match secret {
            LegacySecret::Learn(learned) => Some((slot, &**learned)),
            LegacySecret::Hash(_) | LegacySecret::Clear(_) => None,
        })
    }

    /// How many hashes may be learned: as many as a mapping file may have in place of `{ learn = true }`.
    #[must_use]
    pub fn learnable(&self) -> usize {
        self.learned().map_or(0, |_| (MOST_SECRETS + 1).saturating_sub(self.legacy_secrets.len()))
    }

    /// Takes over what was learned and when secrets were last used from the same client of the table before, whichever slots they have now.
    pub fn continues(&self, before: &Self) {
        if let (Some((_, learned)), Some((_, was))) = (self.learned(), before.learned()) {
            learned.continues(was, self.learnable());
        }
        for (slot, secret) in self.legacy_secrets.iter().enumerate() {
            let was = before.legacy_secrets.iter().position(|other| other.same(secret));
            if let Some(at) = was.and_then(|was| before.legacy_uses.at(was)) {
                self.legacy_uses.was(slot, at);
            }
        }
        for (slot, secret) in self.client_secrets.iter().enumerate() {
            let was = before.client_secrets.iter().position(|other| same(other, secret));
            if let Some(at) = was.and_then(|was| before.client_uses.at(was)) {
                self.client_uses.was(slot, at);
            }
        }
    }
}

/// Where a caller's credentials stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In the body; of a DELETE, in the query too.
    Parameters,
    /// `Authorization: Basic`.
    Basic,
    /// In the query of a POST: only where the mapping allows it.
    Query,
}

/// An id and the secret that came with it.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The id.
    pub id: String,
    /// The secret.
    pub secret: SecretString,
}

/// What a request says about its sender.
#[derive(Clone, Debug)]
pub struct Presented {
    /// Where it stood.
    pub placement: Placement,
    /// As it came, and, where that makes a difference, form-decoded (Basic only: RFC 6749 section 2.3.1). Never empty.
    pub readings: Vec<Credentials>,
}
