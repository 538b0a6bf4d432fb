//! The stage shadow: what the old server said, held against what the bridge would have said (OPERATOR section 5).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::opaque::Fingerprint;
use super::promise::{self, RealmLife};
use super::refusal::{Cause, Fault, Refusal};
use super::time::Timestamp;
use super::unseen::is_unseen;
use super::{client::Client, grant::RealmGrant, scope};

/// So many of the last differing logins are remembered, the newest.
pub const MOST_REMEMBERED: usize = 8;
/// No longer are the words of one.
const LONGEST_WORDS: usize = 240;

/// How far the bridge goes beside the old server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beside {
    /// It looks at the request, and spends nothing.
    #[default]
    Look,
    /// It really asks the realm, and ends that session: passports are reusable.
    Exchange,
}

impl Beside {
    /// Those that a mapping says, with their words.
    pub const WORDS: [(&'static str, Self); 1] = [("exchange", Self::Exchange)];
}

/// What became of comparing one login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Both say the same, as far as can be known.
    Agreed,
    /// The old server gave tokens, and the bridge would refuse before it asked the realm.
    BridgeRefuses,
    /// The old server gave tokens, and the bridge would ask, but the realm would hardly grant it.
    Doubtful,
    /// The old server gave tokens, and the realm refuses.
    RealmRefuses,
    /// The old server gave tokens, and the realm gave no answer.
    NoAnswer,
    /// Both refuse, with another status.
    Status,
    /// Both give tokens, for another scope.
    Scope,
    /// Both give tokens, promised for another time.
    Lifetime,
    /// Nobody can tell: the old server gave no verdict or none that can be read, or it refused what only the realm could judge.
    Undecided,
    /// Not compared: too many were being compared.
    LeftOut,
}

impl Outcome {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 10] = [
        Self::Agreed,
        Self::BridgeRefuses,
        Self::Doubtful,
        Self::RealmRefuses,
        Self::NoAnswer,
        Self::Status,
        Self::Scope,
        Self::Lifetime,
        Self::Undecided,
        Self::LeftOut,
    ];

    /// The word in logs, metrics and what operators are shown.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::BridgeRefuses => "bridge_refuses",
            Self::Doubtful => "doubtful",
            Self::RealmRefuses => "realm_refuses",
            Self::NoAnswer => "no_answer",
            Self::Status => "status",
            Self::Scope => "scope",
            Self::Lifetime => "lifetime",
            Self::Undecided => "undecided",
            Self::LeftOut => "left_out",
        }
    }

    /// Whether a client would notice the move.
    #[must_use]
    pub const fn differs(self) -> bool {
        match self {
            Self::BridgeRefuses
            | Self::Doubtful
            | Self::RealmRefuses
            | Self::NoAnswer
            | Self::Status
            | Self::Scope
            | Self::Lifetime => true,
            Self::Agreed | Self::Undecided | Self::LeftOut => false,
        }
    }

    /// Where it stands in [`Self::ALL`].
    fn place(self) -> usize {
        Self::ALL.iter().position(|other| *other == self).unwrap_or_default()
    }
}

/// What one comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What became of it.
    pub outcome: Outcome,
    /// Why the bridge or the realm refuses, where one does.
    pub cause: Option<Cause>,
    /// One sentence for operators; empty where both agree. Never a token, a secret, a passport or a signature.
    pub words: String,
}

impl Verdict {
    fn new(outcome: Outcome, words: String) -> Self {
        Self { outcome, cause: None, words }
    }

    /// The bridge would refuse with this status before it asked the realm; the old server said `old`.
    #[must_use]
    pub fn refused_here(old: u16, refusal: &Refusal, ours: u16) -> Self {
        let told = match (verdict(old), refusal.fault) {
            (None, _) => Self::no_verdict(old),
            // The bridge could not look, e.g. as too many secrets wait: that says nothing of this login.
            (Some(_), Fault::Ourselves) => Self::new(Outcome::Undecided, refusal.detail.to_string()),
            (Some(true), _) => Self::new(Outcome::BridgeRefuses, refusal.detail.to_string()),
            (Some(false), _) if old == ours => Self::new(Outcome::Agreed, String::new()),
            (Some(false), _) => {
                Self::new(Outcome::Status, format!("the old server says {old}, the bridge {ours}: {}", refusal.detail))
            }
        };
        Self { cause: Some(refusal.cause), ..told }
    }

    /// The bridge would ask the realm, and does not. `doubt`: why it would hardly grant.
    #[must_use]
    pub fn nothing_wrong_here(old: u16, doubt: Option<String>) -> Self {
        match verdict(old) {
            None => Self::no_verdict(old),
            Some(true) => doubt
                .map_or_else(|| Self::new(Outcome::Agreed, String::new()), |doubt| Self::new(Outcome::Doubtful, doubt)),
            Some(false) => Self::new(
                Outcome::Undecided,
                format!("the old server says {old}; the bridge sees nothing wrong, and the realm was not asked"),
            ),
        }
    }

    /// The old server gave tokens, and the realm does not.
    #[must_use]
    pub fn refused_there(refusal: &Refusal) -> Self {
        let outcome = match refusal.fault {
            Fault::Client | Fault::Operator => Outcome::RealmRefuses,
            Fault::Upstream | Fault::Ourselves => Outcome::NoAnswer,
        };
        Self { cause: Some(refusal.cause), ..Self::new(outcome, refusal.detail.to_string()) }
    }

    /// Both give tokens.
    #[must_use]
    pub fn both_grant(client: &Client, told: &Told, asked_scope: Option<&str>, grant: &RealmGrant) -> Self {
        let life = RealmLife { access: grant.access_life, refresh: grant.refresh.as_ref().into() };
        let rounding = client.dialect.tokens.rounding;
        let ours = promise::honest(client.promise(), rounding, life).lifetime;
        let scope = scope::to_legacy(client, asked_scope, grant.scope.as_deref());
        let words = told.scope.as_deref().map(|old| [old, &scope].map(sorted));
        let scopes = words
            .filter(|[old, ours]| old != ours)
            .map(|both| both.map(|words| words.join(" ")))
            .map(|[old, ours]| format!("scope: the old server says `{old}`, the bridge `{ours}`"));
        let lifetimes = told
            .expires_in
            .filter(|old| old.abs_diff(ours) > rounding)
            .map(|old| format!("expires_in: the old server says {}, the bridge {}", old.as_secs(), ours.as_secs()));
        let outcome = match (&scopes, &lifetimes) {
            (Some(_), _) => Outcome::Scope,
            (None, Some(_)) => Outcome::Lifetime,
            (None, None) => Outcome::Agreed,
        };
        Self::new(outcome, scopes.into_iter().chain(lifetimes).collect::<Vec<_>>().join("; "))
    }

    /// The old server gave no verdict.
    fn no_verdict(status: u16) -> Self {
        Self::new(Outcome::Undecided, format!("the old server says {status}, which is no verdict"))
    }

    /// The old server's answer says nothing that could be compared.
    #[must_use]
    pub fn unreadable(why: &str) -> Self {
        Self::new(Outcome::Undecided, format!("the old server's answer cannot be read: {why}"))
    }

    /// The old server gave no answer at all.
    #[must_use]
    pub fn lost() -> Self {
        Self::new(Outcome::Undecided, "the old server gave no answer".to_owned())
    }

    /// It was not compared.
    #[must_use]
    pub fn left_out() -> Self {
        Self::new(Outcome::LeftOut, String::new())
    }
}

/// Whether a status gives tokens or refuses them; `None`: it does neither.
#[must_use]
pub const fn verdict(status: u16) -> Option<bool> {
    match status {
        200..=299 => Some(true),
        400..=499 => Some(false),
        _ => None,
    }
}

fn sorted(words: &str) -> Vec<&str> {
    let mut words: Vec<&str> = words.split_ascii_whitespace().collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// What a reply of the old server promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// In legacy words; nothing where the dialect's replies have none.
    pub scope: Option<String>,
    /// Where it says one.
    pub expires_in: Option<Duration>,
}

/// How long each side took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// Milliseconds of the old server.
    pub old_ms: u64,
    /// Milliseconds of the realm, where it was asked.
    pub realm_ms: Option<u64>,
}

/// One login that the two would have answered otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differing {
    /// When.
    pub at: Timestamp,
    /// In what.
    pub outcome: Outcome,
    /// The word of the cause, where somebody refuses.
    pub cause: Option<String>,
    /// The sentence.
    pub words: String,
    /// How long each took.
    pub took: Took,
}

/// What was compared of one client since it was staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The staging that it belongs to.
    pub staging: Fingerprint,
    /// When it began.
    pub since: Timestamp,
    counts: [u64; Outcome::ALL.len()],
    /// Logins for which the realm was asked.
    pub asked: u64,
    /// Milliseconds that the old server took for those, all together.
    pub old_ms: u64,
    /// Milliseconds that the realm took for those, all together.
    pub realm_ms: u64,
    /// The last differing ones, the newest last.
    pub last: Vec<Differing>,
}

impl Tally {
    /// Of nothing yet.
    #[must_use]
    pub fn new(staging: Fingerprint, since: Timestamp) -> Self {
        Self { staging, since, counts: [0; Outcome::ALL.len()], asked: 0, old_ms: 0, realm_ms: 0, last: Vec::new() }
    }

    /// Whether nothing was compared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// How many had this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.counts.get(outcome.place()).copied().unwrap_or_default()
    }

    /// How many would have been answered otherwise.
    #[must_use]
    pub fn differing(&self) -> u64 {
        Outcome::ALL.into_iter().filter(|outcome| outcome.differs()).map(|outcome| self.count(outcome)).sum()
    }

    /// Counts one.
    pub fn add(&mut self, at: Timestamp, verdict: &Verdict, took: Took) {
        if let Some(count) = self.counts.get_mut(verdict.outcome.place()) {
            *count += 1;
        }
        if let Some(realm_ms) = took.realm_ms {
            self.asked += 1;
            self.old_ms += took.old_ms;
            self.realm_ms += realm_ms;
        }
        if verdict.outcome.differs() {
            let cause = verdict.cause.map(|cause| cause.word().to_owned());
            self.last.push(Differing { at, outcome: verdict.outcome, cause, words: bounded(&verdict.words), took });
            self.forget();
        }
    }

    /// Counts what was counted elsewhere, or later.
    pub fn join(&mut self, other: Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.asked += other.asked;
        self.old_ms += other.old_ms;
        self.realm_ms += other.realm_ms;
        self.last.extend(other.last);
        self.last.sort_by_key(|one| one.at);
        self.forget();
    }

    fn forget(&mut self) {
        let surplus = self.last.len().saturating_sub(MOST_REMEMBERED);
        self.last.drain(..surplus);
    }
}

/// Words that may hold what somebody sent: cut, and without letters that nobody sees.
fn bounded(words: &str) -> String {
    words.chars().map(|c| if is_unseen(c) { '\u{fffd}' } else { c }).take(LONGEST_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bridge_refuses_is_held_against_what_the_old_server_said() {
        let refusal = Refusal::client(Cause::ClientCredentials, "the secret is wrong");
        for (old, outcome) in [
            (200, Outcome::BridgeRefuses),
            (401, Outcome::Agreed),
            (400, Outcome::Status),
            (503, Outcome::Undecided),
            (302, Outcome::Undecided),
        ] {
            assert_eq!(Verdict::refused_here(old, &refusal, 401).outcome, outcome, "{old}");
        }
        let busy = Refusal::server(Fault::Ourselves, "too many wait");
        assert_eq!(Verdict::refused_here(200, &busy, 500).outcome, Outcome::Undecided);
    }

    #[test]
    fn what_the_bridge_finds_good_and_the_old_server_refuses_only_the_realm_could_judge() {
        let outcomes = [200, 401, 500].map(|old| Verdict::nothing_wrong_here(old, None).outcome);
        assert_eq!(Verdict::nothing_wrong_here(200, Some("too long".to_owned())).outcome, Outcome::Doubtful);
        assert_eq!(outcomes, [Outcome::Agreed, Outcome::Undecided, Outcome::Undecided]);
    }

    #[test]
    fn a_tally_is_joined_out_of_parts_and_remembers_the_newest() {
        let at = Timestamp::from_millis;
        let part = |times: std::ops::Range<u64>| {
            let mut tally = Tally::new(Fingerprint::of("staging", b"one"), at(times.start));
            for time in times {
                let verdict = Verdict::new(Outcome::Scope, format!("{time}\n{}", "x".repeat(500)));
                tally.add(at(time), &verdict, Took { old_ms: 2, realm_ms: Some(3) });
            }
            tally.add(at(0), &Verdict::left_out(), Took::default());
            tally
        };
        let mut whole = part(5..11);
        whole.join(part(1..5));
        assert_eq!((whole.differing(), whole.count(Outcome::LeftOut), whole.since), (10, 2, at(5)));
        assert_eq!((whole.asked, whole.old_ms, whole.realm_ms), (10, 20, 30));
        let words: Vec<&str> = whole.last.iter().map(|one| one.words.split('\u{fffd}').next().unwrap()).collect();
        assert_eq!(words, ["3", "4", "5", "6", "7", "8", "9", "10"]);
        assert!(whole.last.iter().all(|one| one.words.chars().count() == LONGEST_WORDS));
    }
}
