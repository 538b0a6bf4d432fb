//! Whatever clients, realm, time and crashes do in whatever order: what was promised is kept.
//!
//! Real: the whole exchange, the store with its files, the connections to the realm. Played: clients (several threads of each,
//! which hang up and ask twice), a realm that rotates as Keycloak does and loses questions and answers, the clock, and the end
//! of the bridge at any moment. `ledger` says which answers fit to what was told before.

mod bridge;
mod ledger;
mod realm;

use std::time::Duration;

use passbridge::domain::family::FamilyState;
use passbridge::domain::refresh::Rotation;
use passbridge::domain::time::Clock;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use self::bridge::{Asking, Endpoint, Ground, Living, Manner};
use self::ledger::{Kind, Ledger, Question};
use self::realm::{Outcome, Realm};
use crate::support::{OLD_ID, OLD_SECRET, passport};

/// Seconds that a JWT of the realm lives, its refresh token, the promise, and the grace window.
const JWT: u64 = 60;
const REFRESH: u64 = 36_000;
const PROMISE: u64 = 3_600;
const GRACE: u64 = 60;
/// What may be missing at the end of a promise.
const ROUNDING: u64 = 5;
/// Another client.
const STRANGER: &str = "stranger";

const CASES: u32 = 150;

/// What happens next. Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Step {
    Login,
    /// With the newest refresh token but so many.
    Refresh {
        login: usize,
        back: usize,
    },
    Introspect {
        login: usize,
        back: usize,
    },
    Revoke {
        login: usize,
        back: usize,
        refresh: bool,
    },
    /// Another client has got hold of a token.
    Steal {
        login: usize,
        back: usize,
    },
    /// Somebody hangs up.
    HangUp(usize),
    Land(usize, Outcome),
    Turn(u64),
    /// An administrator ends a session; the realm tells nobody.
    Kill(usize),
    /// The bridge ends in mid-sentence. What it was asking the realm is heard, or not.
    Crash {
        heard: bool,
    },
    /// It ends while an answer of the realm comes in; so much of that is still done.
    CrashInLanding {
        which: usize,
        outcome: Outcome,
        polls: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let back = || prop_oneof![6 => Just(0_usize), 3 => Just(1), 1 => Just(2)];
    let outcome = || {
        prop_oneof![
            8 => Just(Outcome::Answered),
            1 => Just(Outcome::AnswerLost),
            1 => Just(Outcome::QuestionLost),
            2 => Just(Outcome::Busy),
        ]
    };
    let time = prop_oneof![Just(1_u64), Just(20), Just(49), Just(61), Just(1_000), Just(3_600), Just(36_000)];
    prop_oneof![
        2 => Just(Step::Login),
        14 => (0..3_usize, back()).prop_map(|(login, back)| Step::Refresh { login, back }),
        9 => (0..3_usize, back()).prop_map(|(login, back)| Step::Introspect { login, back }),
        1 => (0..3_usize, back(), any::<bool>()).prop_map(|(login, back, refresh)| Step::Revoke { login, back, refresh }),
        1 => (0..3_usize, back()).prop_map(|(login, back)| Step::Steal { login, back }),
        3 => (0..8_usize).prop_map(Step::HangUp),
        14 => (0..3_usize, outcome()).prop_map(|(which, outcome)| Step::Land(which, outcome)),
        6 => time.prop_map(Step::Turn),
        1 => (0..3_usize).prop_map(Step::Kill),
        1 => any::<bool>().prop_map(|heard| Step::Crash { heard }),
        1 => (0..3_usize, outcome(), 0..40_usize)
            .prop_map(|(which, outcome, polls)| Step::CrashInLanding { which, outcome, polls }),
    ]
}

fn manner() -> impl Strategy<Value = Manner> {
    let rotation = prop_oneof![Just(Rotation::On), Just(Rotation::Off), Just(Rotation::Unknown)];
    let recheck = prop_oneof![Just(30_u64), Just(900)];
    (rotation, recheck).prop_map(|(rotation, recheck)| Manner { rotation, recheck_after: Duration::from_secs(recheck) })
}

/// Everything that plays together in one case.
struct Play<'a> {
    ground: &'a Ground,
    realm: &'a Realm,
    manner: Manner,
    living: Option<Living>,
    ledger: Ledger,
    open: Vec<(Question, Asking)>,
    asked: u64,
}

type Fits = Result<(), TestCaseError>;

/// What is asked where, by whom, with which token.
type Asked = (Kind, Endpoint, &'static str, (&'static str, String));

impl<'a> Play<'a> {
    fn new(ground: &'a Ground, realm: &'a Realm, manner: Manner) -> Self {
        let forgives = manner.rotation == Rotation::Off;
        realm.begin(!forgives, forgives);
        let living = Some(Living::born(ground, manner, &realm.bell));
        Self { ground, realm, manner, living, ledger: Ledger::default(), open: Vec::new(), asked: 0 }
    }

    fn living(&self) -> &Living {
        self.living.as_ref().unwrap()
    }

    fn second(&self) -> u64 {
        self.ground.clock.monotonic().as_secs()
    }

    fn moment(&mut self) -> ledger::Moment {
        let second = self.second();
        self.ledger.now(second)
    }

    fn step(&mut self, step: Step) -> Fits {
        match step {
            Step::Login => self.login()?,
            Step::Refresh { login, back } => self.with(login, back, |(_, refresh)| {
                (Kind::Refresh(refresh.clone()), Endpoint::Token, OLD_ID, ("refresh_token", refresh))
            }),
            Step::Introspect { login, back } => self.with(login, back, |(access, _)| {
                (Kind::Introspect(access.clone()), Endpoint::Introspect, OLD_ID, ("token", access))
            }),
            Step::Revoke { login, back, refresh } => self.with(login, back, |pair| {
                let token = if refresh { pair.1 } else { pair.0 };
                (Kind::Revoke(token.clone()), Endpoint::Revoke, OLD_ID, ("token", token))
            }),
            Step::Steal { login, back } => {
                self.with(login, back, |(_, refresh)| {
                    (Kind::Foreign, Endpoint::Token, STRANGER, ("refresh_token", refresh))
                });
                self.with(login, back, |(access, _)| {
                    (Kind::Foreign, Endpoint::Introspect, STRANGER, ("token", access))
                });
                self.with(login, back, |(access, _)| (Kind::Foreign, Endpoint::Revoke, STRANGER, ("token", access)));
            }
            Step::HangUp(which) if !self.open.is_empty() => {
                let (_, asking) = self.open.remove(which % self.open.len());
                asking.hang_up();
            }
            Step::Land(which, outcome) => self.land(which, outcome),
            Step::Turn(seconds) => self.ground.clock.turn(Duration::from_secs(seconds)),
            Step::Kill(login) if !self.ledger.logins.is_empty() => {
                let login = login % self.ledger.logins.len();
                self.realm.kill(self.ledger.logins[login].session);
                let moment = self.moment();
                self.ledger.died(login, moment);
            }
            Step::Crash { heard } => self.crash(heard),
            Step::CrashInLanding { which, outcome, polls } => {
                self.land(which, outcome);
                self.living().go_on(polls);
                self.crash(true);
            }
            Step::HangUp(_) | Step::Kill(_) => {}
        }
        self.settle()
    }

    fn login(&mut self) -> Fits {
        if self.ledger.logins.len() == 3 {
            return Ok(());
        }
        let mut asking = self.living().ask(Endpoint::Token, &passport(OLD_ID, OLD_SECRET));
        let said = self.living().until(|| asking.said());
        let (status, body) = said.ok_or_else(|| TestCaseError::fail("a login is never answered"))?;
        prop_assert_eq!(status, 200);
        let pair =
            (body["access_token"].as_str().unwrap().to_owned(), body["refresh_token"].as_str().unwrap().to_owned());
        let (session, moment) = (self.realm.newest(), self.moment());
        self.ledger.login(session, pair, moment).map_err(TestCaseError::fail)
    }

    /// Asks with one of the pairs that a login's client knows.
    fn with(&mut self, login: usize, back: usize, how: impl Fn((String, String)) -> Asked) {
        if self.ledger.logins.is_empty() {
            return;
        }
        let login = login % self.ledger.logins.len();
        let pairs = &self.ledger.logins[login].pairs;
        let pair = pairs[pairs.len().saturating_sub(1 + back)].clone();
        let (kind, endpoint, client, (name, token)) = how(pair);
        let credentials = [("client_id", client), ("client_secret", OLD_SECRET)];
        let fields = [credentials.as_slice(), &[("grant_type", "refresh_token"), (name, &token)]].concat();
        let asking = self.living().ask(endpoint, &fields);
        self.asked += 1;
        let question = Question { number: self.asked, begun: self.moment(), kind };
        self.ledger.asked(&question);
        self.open.push((question, asking));
    }

    fn land(&mut self, which: usize, outcome: Outcome) {
        // First it is written down: what is landed is answered at once.
        let moment = self.moment();
        let Some(session) = self.realm.land(which, outcome) else { return };
        let lost = matches!(outcome, Outcome::AnswerLost | Outcome::QuestionLost);
        if outcome != Outcome::Answered {
            self.ledger.failed(session, lost && self.manner.rotation != Rotation::Off, moment);
        }
    }

    fn crash(&mut self, heard: bool) {
        self.open.clear();
        self.living.take().unwrap().die();
        self.realm.cut(heard);
        let living = Living::born(self.ground, self.manner, &self.realm.bell);
        // Who was being asked for when it ended is lost, unless the realm forgives it.
        let moment = self.moment();
        for login in 0..self.ledger.logins.len() {
            let mut pairs = self.ledger.logins[login].pairs.iter();
            let state = pairs.find_map(|(_, refresh)| living.state(refresh));
            if matches!(state, Some(FamilyState::Asking { .. } | FamilyState::Unrefreshable)) {
                self.ledger.lost(login, moment);
            }
        }
        self.living = Some(living);
    }

    /// Until everybody was answered, or waits for a refresh that the realm holds; and each answer fits.
    fn settle(&mut self) -> Fits {
        let living = self.living.as_ref().unwrap();
        let (realm, ledger, open) = (self.realm, &mut self.ledger, &mut self.open);
        let second = self.ground.clock.monotonic().as_secs();
        let settled = living.until(|| {
            let mut fault = Ok(());
            open.retain_mut(|(question, asking)| {
                let Some(said) = asking.said() else { return true };
                let end = ledger.now(second);
                if let Err(what) = ledger.answered(question, &said, end) {
                    fault = Err(TestCaseError::fail(format!("{what}: {question:?} was answered {said:?}")));
                }
                false
            });
            if fault.is_err() {
                return Some(fault);
            }
            let held = realm.held();
            let waits = |kind: &Kind| ledger.session_of(kind).is_some_and(|session| held.contains(&session));
            (living.flights() == held.len() && open.iter().all(|(question, _)| waits(&question.kind))).then_some(Ok(()))
        });
        let said = settled.unwrap_or_else(|| {
            let open: Vec<_> = self.open.iter().map(|(question, _)| question).collect();
            Err(TestCaseError::fail(format!("somebody is never answered: {open:?}")))
        });
        let faults = self.realm.faults();
        prop_assert!(faults.is_empty(), "{:?}", faults);
        said
    }

    /// In the end the realm answers everybody, and whoever was not harmed lives on.
    fn end(mut self) -> Fits {
        while !self.open.is_empty() || !self.realm.held().is_empty() {
            self.land(0, Outcome::Answered);
            self.settle()?;
        }
        for login in 0..self.ledger.logins.len() {
            let session = self.ledger.logins[login].session;
            if self.ledger.must_be_told(login, self.second()) {
                let told = self.living().until(|| self.realm.is_ended(session).then_some(()));
                prop_assert!(told.is_some(), "the realm is never told of a revocation");
            }
            for step in [Step::Refresh { login, back: 0 }, Step::Introspect { login, back: 0 }] {
                self.step(step)?;
                while !self.open.is_empty() {
                    self.land(0, Outcome::Answered);
                    self.settle()?;
                }
            }
            prop_assert!(!self.ledger.is_unharmed(login) || !self.realm.is_ended(session), "nobody asked for its end");
        }
        self.living.take().unwrap().die();
        Ok(())
    }
}

#[test]
fn whatever_happens_in_whatever_order_what_was_promised_is_kept() {
    let realm = Realm::start();
    let ground = Ground::new(realm.address);
    let config = Config {
        cases: CASES,
        max_shrink_iters: 500,
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let life = (manner(), prop::collection::vec(step(), 1..60));
    let played = runner.run(&life, |(manner, steps)| {
        let mut play = Play::new(&ground, &realm, manner);
        play.step(Step::Login)?;
        for step in steps {
            play.step(step)?;
        }
        play.end()
    });
    if let Err(error) = played {
        panic!("{error}");
    }
}
