//! What every client was told and what happened to its login; and whether another answer fits to that.
//!
//! Times are bounds: when exactly something was decided inside the bridge nobody outside can know.

use std::collections::HashMap;

use super::bridge::Said;
use super::{GRACE, JWT, PROMISE, REFRESH, ROUNDING};

/// A moment: what happened before what, and the seconds of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub tick: u64,
    pub second: u64,
}

/// A login, as the outside knows it.
#[derive(Debug)]
pub struct Login {
    pub session: usize,
    /// Pairs in the order in which they were told.
    pub pairs: Vec<(String, String)>,
    revoking: Option<Moment>,
    revoked: Option<Moment>,
    died: Option<Moment>,
    /// The realm may have spent a refresh token, and does not forgive that it comes again.
    lost: Option<Moment>,
    /// When the realm did not answer as it should.
    failures: Vec<u64>,
}

/// A token that was told.
#[derive(Debug)]
struct Token {
    login: usize,
    /// It was not made before this, and not told after that.
    since: Moment,
    told: Moment,
    /// Refresh only: who presented it, and when.
    presented: Vec<(u64, Moment)>,
    /// Refresh only: what was told for it, and when first.
    made: Option<(String, String, Moment)>,
    /// Whether it is a refresh token.
    refreshes: bool,
}

/// What a client asks.
#[derive(Clone, Debug)]
pub struct Question {
    pub number: u64,
    pub begun: Moment,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Refresh(String),
    Introspect(String),
    Revoke(String),
    /// A refresh, introspection or revocation by another client: nothing may come of it.
    Foreign,
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub logins: Vec<Login>,
    tokens: HashMap<String, Token>,
    tick: u64,
}

type Fits = Result<(), String>;

fn fits(so: bool, else_say: &str) -> Fits {
    if so { Ok(()) } else { Err(else_say.to_owned()) }
}

impl Ledger {
    pub fn now(&mut self, second: u64) -> Moment {
        self.tick += 1;
        Moment { tick: self.tick, second }
    }

    pub fn login(&mut self, session: usize, pair: (String, String), moment: Moment) -> Fits {
        let login = self.logins.len();
        self.logins.push(Login {
            session,
            pairs: Vec::new(),
            revoking: None,
            revoked: None,
            died: None,
            lost: None,
            failures: Vec::new(),
        });
        self.told(login, pair, moment, moment)
    }

    fn told(&mut self, login: usize, pair: (String, String), since: Moment, told: Moment) -> Fits {
        for (text, refreshes) in [(&pair.0, false), (&pair.1, true)] {
            let token = Token { login, since, told, presented: Vec::new(), made: None, refreshes };
            let known = self.tokens.insert(text.clone(), token);
            fits(known.is_none(), "a token that was told before")?;
        }
        self.logins[login].pairs.push(pair);
        Ok(())
    }

    /// The login of a session.
    fn of_session(&mut self, session: usize) -> Option<&mut Login> {
        self.logins.iter_mut().find(|login| login.session == session)
    }

    /// The session that a question may wait for.
    pub fn session_of(&self, kind: &Kind) -> Option<usize> {
        match kind {
            Kind::Refresh(token) | Kind::Introspect(token) => Some(self.logins[self.tokens[token].login].session),
            Kind::Revoke(_) | Kind::Foreign => None,
        }
    }

    pub fn asked(&mut self, question: &Question) {
        match &question.kind {
            Kind::Refresh(token) => {
                let token = self.tokens.get_mut(token).unwrap();
                token.presented.push((question.number, question.begun));
            }
            Kind::Revoke(token) => {
                let login = self.tokens[token].login;
                self.logins[login].revoking.get_or_insert(question.begun);
            }
            Kind::Introspect(_) | Kind::Foreign => {}
        }
    }

    pub fn failed(&mut self, session: usize, lost: bool, moment: Moment) {
        if let Some(login) = self.of_session(session) {
            login.failures.push(moment.tick);
            if lost {
                login.lost.get_or_insert(moment);
            }
        }
    }

    pub fn lost(&mut self, login: usize, moment: Moment) {
        self.logins[login].lost.get_or_insert(moment);
    }

    pub fn died(&mut self, login: usize, moment: Moment) {
        self.logins[login].died.get_or_insert(moment);
    }

    /// Whether the realm must hear of a login's revocation: its session did not end by itself before.
    pub fn must_be_told(&self, login: usize, second: u64) -> bool {
        let Login { revoked, pairs, .. } = &self.logins[login];
        revoked.is_some() && second < self.tokens[&pairs[0].1].since.second + REFRESH
    }

    /// Whether nothing has happened to a login that could keep it from living on.
    pub fn is_unharmed(&self, login: usize) -> bool {
        let login = &self.logins[login];
        login.revoking.is_none() && login.died.is_none() && login.lost.is_none()
    }

    /// Whether an answer fits to all that was told before.
    pub fn answered(&mut self, question: &Question, said: &Said, end: Moment) -> Fits {
        let (status, body) = said;
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        match (&question.kind, status) {
            (Kind::Foreign, 200) => {
                fits(body["access_token"].is_null() && body["active"] != true, "a stranger was served")
            }
            (Kind::Foreign, 400) => Ok(()),
            (Kind::Refresh(token), 200) => {
                self.gave(question, token, (text("access_token"), text("refresh_token")), end)
            }
            (Kind::Refresh(token), 400) => self.refused(question, token, end),
            (Kind::Introspect(token), 200) if body["active"] == true => self.active(question, token),
            (Kind::Introspect(token), 200) => self.inactive(token, end),
            (Kind::Refresh(token) | Kind::Introspect(token), 500) => {
                let failures = &self.logins[self.tokens[token].login].failures;
                let failed = failures.iter().any(|failure| (question.begun.tick..end.tick).contains(failure));
                fits(failed, "a server_error that the realm did not cause")
            }
            (Kind::Revoke(token), 200) => {
                let known = &self.tokens[token];
                let life = if known.refreshes { REFRESH } else { PROMISE };
                // One that is over may be forgotten, and then nothing happens.
                if end.second < known.since.second + life {
                    self.logins[known.login].revoked.get_or_insert(end);
                }
                Ok(())
            }
            (_, status) => Err(format!("a status of {status}")),
        }
    }

    fn gave(&mut self, question: &Question, token: &str, pair: (String, String), end: Moment) -> Fits {
        let presented = &self.tokens[token];
        let login = presented.login;
        let begun = question.begun;
        let dead = self.logins[login].revoked.is_some_and(|revoked| revoked < begun);
        fits(!dead, "a pair of a revoked login")?;
        let Some((access, refresh, first)) = presented.made.clone() else {
            let since = presented.presented.iter().map(|(_, moment)| *moment).min().unwrap_or(begun);
            fits(since.second < presented.told.second + REFRESH, "an expired refresh token was taken")?;
            self.tokens.get_mut(token).unwrap().made = Some((pair.0.clone(), pair.1.clone(), end));
            return self.told(login, pair, since, end);
        };
        fits((access, &refresh) == (pair.0, &pair.1), "another pair than the first that was told for this token")?;
        let used = self.tokens[&refresh].made.as_ref().is_some_and(|(_, _, told)| *told < begun);
        fits(!used, "the pair of a token whose pair was used")?;
        fits(begun.second < first.second + GRACE, "the same pair after the grace window")
    }

    fn refused(&self, question: &Question, token: &str, end: Moment) -> Fits {
        let presented = &self.tokens[token];
        let login = &self.logins[presented.login];
        if login.revoking.is_some() || login.died.is_some() || login.lost.is_some() {
            return Ok(());
        }
        if end.second >= presented.since.second + REFRESH {
            return Ok(());
        }
        let first = presented.presented.iter().map(|(_, moment)| *moment).min().unwrap_or(end);
        let others = presented.presented.iter().any(|(number, _)| *number != question.number);
        fits(others, "a refresh token that nobody has used")?;
        let pair_used = presented.made.as_ref().is_some_and(|(_, next, _)| !self.tokens[next].presented.is_empty());
        fits(pair_used || end.second >= first.second + GRACE, "a lost answer inside the grace window")
    }

    fn active(&self, question: &Question, token: &str) -> Fits {
        let known = &self.tokens[token];
        let login = &self.logins[known.login];
        let begun = question.begun;
        fits(!known.refreshes, "a refresh token as an access token")?;
        fits(login.revoked.is_none_or(|revoked| revoked >= begun), "a revoked login")?;
        fits(begun.second < known.told.second + PROMISE, "after its promised end")?;
        let dead = login.died.is_some_and(|died| begun.second > died.second + JWT + ROUNDING);
        fits(!dead, "long after its session has ended")
    }

    fn inactive(&self, token: &str, end: Moment) -> Fits {
        let known = &self.tokens[token];
        let login = &self.logins[known.login];
        let over = login.revoking.is_some() || login.died.is_some() || end.second >= known.since.second + PROMISE;
        let lost = login.lost.is_some() && end.second + 1 >= known.since.second + JWT;
        fits(over || lost, "before its promised end")
    }
}
