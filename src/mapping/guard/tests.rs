//! The guard against a table of its own, a clock that is turned by hand, and hashes that cost nothing.

use std::time::Duration;

use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::runtime::Runtime;

use super::*;
use crate::document::Findings;
use crate::domain::time::Timestamp;
use crate::mapping::hash::Parameters;
use crate::mapping::{Loaded, Place, load};
use crate::secrets::Environment;
use crate::server::SystemEntropy;

#[derive(Debug, Default)]
struct Hand(Mutex<Duration>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock()
    }
}

struct Site {
    directory: tempfile::TempDir,
    clock: Arc<Hand>,
    guard: Guard,
    snapshot: Snapshot,
    runtime: Runtime,
}

fn cheap(secret: &str) -> String {
    let hash = Parameters::cheap(64, 1).hash(&SecretString::from(secret), &SystemEntropy).unwrap();
    format!("{{ hash = \"{hash}\" }}")
}

/// One client: `id` with these old secrets, as the file has them.
fn client(id: &str, secrets: &str) -> String {
    format!(
        "[[client]]\nlegacy_id = \"{id}\"\nlegacy_secret = {secrets}\nclient_id = \"new-{id}\"\n\
         client_secret = {{ env = \"NEW\" }}\nstage = \"live\"\n"
    )
}

impl Site {
    fn new(clients: &[String]) -> Self {
        Self::limited(clients, 5, 20)
    }

    fn limited(clients: &[String], per_client: u32, per_address: u32) -> Self {
        Self::with_threads(2, clients, per_client, per_address)
    }

    fn with_threads(threads: usize, clients: &[String], per_client: u32, per_address: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("clients")).unwrap();
        let minute = |count| Rate { count, period: Duration::from_secs(60) };
        let limits = GuardLimits { per_client: minute(per_client), per_address: minute(per_address) };
        let clock = Arc::new(Hand::default());
        let guard = Guard::new(limits, threads, Arc::<Hand>::clone(&clock)).unwrap();
        let loaded = loaded(directory.path(), clients);
        let snapshot = Snapshot::new(loaded, &SystemEntropy);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { directory, clock, guard, snapshot, runtime }
    }

    fn reload(&mut self, clients: &[String]) {
        self.snapshot = self.snapshot.followed_by(loaded(self.directory.path(), clients));
    }

    fn ask_from(&self, address: [u8; 4], id: &str, secret: &str) -> Result<String, Refusal> {
        let presented = presented(id, secret);
        let asked = self.guard.authenticate(&self.snapshot, &presented, IpAddr::from(address));
        self.runtime.block_on(asked).map(|client| client.client_id.clone())
    }

    fn ask(&self, id: &str, secret: &str) -> Result<String, Refusal> {
        self.ask_from([192, 0, 2, 1], id, secret)
    }

    /// All of them ask while the one thread is held; `then` is what happens before it goes on.
    fn ask_at_once(&self, asked: &[([u8; 4], Presented)], then: impl FnOnce()) -> Vec<Result<String, Refusal>> {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let holds = move |_: &mut argon::Argon| held.recv().map_or(Outcome::Wrong, |()| Outcome::Wrong);
        let _held = self.guard.pool.run(IpAddr::from([203, 0, 113, 1]), holds).unwrap();
        let all = asked.iter().map(|(from, one)| self.guard.authenticate(&self.snapshot, one, IpAddr::from(*from)));
        let goes_on = async {
            then();
            release.send(()).unwrap();
        };
        let (answers, ()) =
            self.runtime.block_on(futures_util::future::join(futures_util::future::join_all(all), goes_on));
        answers.into_iter().map(|answer| answer.map(|client| client.client_id.clone())).collect()
    }

    /// How many hashes were verified for it.
    fn cost(&self, id: &str, secret: &str) -> u64 {
        let before = self.guard.verifications();
        let _ = self.ask(id, secret);
        self.guard.verifications() - before
    }
}

fn presented(id: &str, secret: &str) -> Presented {
    let reading = Credentials { id: id.to_owned(), secret: SecretString::from(secret) };
    Presented { placement: Placement::Parameters, readings: vec![reading] }
}

fn loaded(directory: &std::path::Path, clients: &[String]) -> Loaded {
    std::fs::write(directory.join("clients/all.toml"), clients.concat()).unwrap();
    let environment: Environment = [("NEW", "new"), ("OLD", "clear")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    let findings = Findings::new();
    load(&Place::new(directory), &environment, &findings).unwrap_or_else(|| panic!("{:?}", findings.into_sorted()))
}

fn refused(answer: Result<String, Refusal>) -> (Cause, String) {
    answer.map_err(|refusal| (refusal.cause, refusal.detail.into_owned())).unwrap_err()
}

/// Whether it was left unverified for this reason, as nobody's fault here and without a word about the secret.
fn is_unverified(answer: Result<String, Refusal>, why: &str) -> bool {
    answer.is_err_and(|refusal| refusal == Refusal::server(Fault::Client, why.to_owned()))
}

fn detail(answer: Result<String, Refusal>) -> String {
    refused(answer).1
}

#[test]
fn the_second_login_of_a_client_verifies_nothing() {
    let site = Site::new(&[client("a", &cheap("right"))]);
    assert_eq!((site.cost("a", "right"), site.cost("a", "right")), (1, 0));
    assert_eq!(site.ask("a", "right").unwrap(), "new-a");
}

#[test]
fn a_wrong_secret_and_an_unknown_client_cost_the_same_and_are_refused_by_one_cause() {
    let site = Site::new(&[client("a", &cheap("right")), client("clear", "{ env = \"OLD\" }")]);
    for (id, said) in
        [("a", "the secret is wrong"), ("clear", "the secret is wrong"), ("nobody", "no mapping has this client id")]
    {
        assert_eq!(site.cost(id, "wrong"), 1, "{id}");
        assert_eq!(refused(site.ask(id, "wrong")), (Cause::ClientCredentials, said.to_owned()));
    }
}

#[test]
fn while_a_client_has_two_hashes_every_wrong_secret_costs_two() {
    let two = format!("[{}, {}]", cheap("old"), cheap("older"));
    let site = Site::new(&[client("two", &two), client("one", &cheap("right")), client("clear", "{ env = \"OLD\" }")]);
    for id in ["two", "one", "clear", "nobody"] {
        assert_eq!(site.cost(id, "wrong"), 2, "{id}");
    }
    assert_eq!((site.cost("two", "old"), site.cost("two", "older")), (1, 2));
    assert_eq!(
        (site.ask("two", "old").unwrap(), site.ask("two", "older").unwrap()),
        ("new-two".into(), "new-two".into())
    );
}

#[test]
fn invented_hashes_cost_what_most_of_the_table_costs() {
    let costly = Parameters::cheap(128, 3).hash(&SecretString::from("x"), &SystemEntropy).unwrap();
    let clients: Vec<_> = ["b", "c"].map(|id| client(id, &cheap("x"))).into_iter().collect();
    let site = Site::new(&[clients, vec![client("a", &format!("{{ hash = \"{costly}\" }}"))]].concat());
    assert!(site.snapshot.decoy.hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
    assert!(Parameters::of(&site.snapshot.decoy.hash).is_ok());
    let none = Site::new(&[client("clear", "{ env = \"OLD\" }")]);
    assert!(none.snapshot.decoy.hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
}

#[test]
fn a_secret_of_one_client_is_nobody_elses() {
    let site =
        Site::new(&[client("a", &cheap("right")), client("b", &cheap("other")), client("clear", "{ env = \"OLD\" }")]);
    assert!(site.ask("a", "right").is_ok() && site.ask("clear", "clear").is_ok());
    assert_eq!(detail(site.ask("b", "right")), "the secret is wrong");
    assert_eq!(detail(site.ask("a", "")), "the secret is wrong");
    assert_eq!(detail(site.ask("clear", "")), "the secret is wrong");
    assert_eq!(site.ask("clear", "clear").unwrap(), "new-clear");
}

#[test]
fn beyond_the_limit_of_a_client_secrets_are_left_unverified_wherever_they_come_from() {
    let site = Site::new(&[client("a", &cheap("right"))]);
    for number in 0..5 {
        assert_eq!(detail(site.ask_from([192, 0, 2, number], "a", "wrong")), "the secret is wrong");
    }
    assert!(is_unverified(site.ask_from([192, 0, 2, 9], "a", "wrong"), OF_CLIENT));
    assert!(is_unverified(site.ask_from([192, 0, 2, 9], "a", "right"), OF_CLIENT), "nobody says that it is wrong");
    assert_eq!(site.guard.verifications(), 5);
    *site.clock.0.lock() += Duration::from_secs(12);
    assert_eq!(detail(site.ask("a", "wrong")), "the secret is wrong", "one is forgotten after a fifth of the minute");
    assert_eq!(detail(site.ask("a", "wrong")), OF_CLIENT);
}

#[test]
fn an_id_that_is_nobodys_is_limited_like_one_that_is_somebodys() {
    let site = Site::new(&[client("a", &cheap("right"))]);
    for id in ["a", "nobody"] {
        let of_one: Vec<_> = (0..5).map(|_| is_unverified(site.ask(id, "wrong"), OF_BOTH)).collect();
        assert_eq!(of_one, [false, false, false, true, true], "{id}");
        let of_another: Vec<_> =
            (0..4).map(|_| is_unverified(site.ask_from([192, 0, 2, 2], id, "wrong"), OF_CLIENT)).collect();
        assert_eq!(of_another, [false, false, true, true], "{id}");
    }
}

#[test]
fn wrong_secrets_from_one_address_keep_out_nobody_who_has_the_right_one_at_another() {
    let site = Site::limited(&[client("a", &cheap("right"))], 60, 300);
    for _ in 0..120 {
        *site.clock.0.lock() += Duration::from_secs(1);
        for number in 0..20 {
            assert!(site.ask_from([192, 0, 2, 1], "a", &format!("wrong-{number}")).is_err());
        }
    }
    assert!(is_unverified(site.ask_from([192, 0, 2, 1], "a", "right"), OF_BOTH), "it may have been guessed there");
    assert_eq!(site.ask_from([192, 0, 2, 2], "a", "right").unwrap(), "new-a");
    assert_eq!(site.ask_from([192, 0, 2, 1], "a", "right").unwrap(), "new-a", "as a secret that was right before");
}

#[test]
fn beyond_the_limit_of_an_address_invented_ids_are_left_unverified_and_others_are_not_concerned() {
    let site = Site::new(&[client("a", &cheap("right"))]);
    for number in 0..20 {
        assert_eq!(detail(site.ask(&format!("invented-{number}"), "wrong")), "no mapping has this client id");
    }
    assert_eq!(detail(site.ask("another", "wrong")), OF_ADDRESS);
    assert_eq!(detail(site.ask("a", "right")), OF_ADDRESS, "never verified, from that address");
    let keys = ["`limits.wrong_secrets.per_address`", "`server.trusted_proxies`"];
    assert!(
        keys.iter().all(|key| OF_ADDRESS.contains(key)),
        "the operator hears which budget it is, and why it may be everybody's"
    );
    assert!(site.ask_from([192, 0, 2, 2], "a", "right").is_ok());
}

#[test]
fn a_flood_of_wrong_secrets_stops_nobody_who_was_right_before() {
    let site = Site::new(&[client("a", &cheap("right"))]);
    assert!(site.ask("a", "right").is_ok());
    for number in 0..50 {
        assert!(site.ask("a", &format!("wrong-{number}")).is_err());
    }
    assert_eq!(site.guard.verifications(), 4, "one right, three wrong");
    assert_eq!(site.ask("a", "right").unwrap(), "new-a");
}

#[test]
fn of_many_first_logins_at_once_one_is_verified() {
    let site = Site::new(&[client("a", &cheap("right"))]);
    let reading = || Credentials { id: "a".to_owned(), secret: SecretString::from("right") };
    let presented = Presented { placement: Placement::Parameters, readings: vec![reading()] };
    let all = (0..100).map(|_| site.guard.authenticate(&site.snapshot, &presented, IpAddr::from([192, 0, 2, 1])));
    let answers = site.runtime.block_on(futures_util::future::join_all(all));
    assert!(answers.iter().all(Result::is_ok));
    assert!(site.guard.verifications() <= 2, "one for each thread at most: {}", site.guard.verifications());
}

#[test]
fn more_logins_of_a_client_at_once_than_may_wait_are_all_let_in_by_one_verification() {
    let site = Site::with_threads(1, &[client("a", &cheap("right")), client("b", &cheap("other"))], 5, 20);
    // More than may wait from one network, and more than may wait from all together.
    let one = (0..300).map(|_| [192, 0, 2, 1]);
    let many = (0..600_u16).map(u16::to_be_bytes).map(|[high, low]| [198, 51, high, low]);
    let asked: Vec<_> = one.chain(many).map(|from| (from, presented("a", "right"))).collect();
    let answers = site.ask_at_once(&asked, || ());
    assert!(answers.iter().all(|answer| answer.as_deref() == Ok("new-a")));
    assert_eq!(site.guard.verifications(), 1);
    assert!(site.ask("b", "right").is_err(), "and nobody else by it");
}

#[test]
fn of_one_wrong_secret_that_comes_many_times_at_once_each_counts_whether_or_not_the_id_is_anybodys() {
    for (id, said) in [("a", "the secret is wrong"), ("nobody", "no mapping has this client id")] {
        let site = Site::with_threads(1, &[client("a", &cheap("right"))], 5, 20);
        let asked: Vec<_> = (0..100).map(|number| ([192, 0, 2, number], presented(id, "wrong"))).collect();
        let answers: Vec<_> = site.ask_at_once(&asked, || ()).into_iter().map(detail).collect();
        let count = |words: &str| answers.iter().filter(|detail| *detail == words).count();
        assert_eq!((count(said), count(OF_CLIENT), site.guard.verifications()), (5, 95, 1), "{id}");
        assert_eq!(detail(site.ask_from([192, 0, 2, 200], id, "wrong")), OF_CLIENT, "{id}");
    }
}

#[test]
fn of_one_wrong_secret_that_comes_many_times_at_once_each_counts_for_its_own_address() {
    let site = Site::with_threads(1, &[client("a", &cheap("right"))], 1_000, 20);
    let from = |number: u8| [192, 0, 2, number % 2];
    let asked: Vec<_> = (0..100).map(|number| (from(number), presented("a", "wrong"))).collect();
    let answers: Vec<_> = site.ask_at_once(&asked, || ()).into_iter().map(detail).collect();
    for parity in [0, 1] {
        let of_one = answers.iter().skip(parity).step_by(2);
        assert_eq!(of_one.filter(|said| *said == "the secret is wrong").count(), 20, "{parity}");
    }
    assert_eq!(site.guard.verifications(), 1);
}

#[test]
fn too_many_wrong_ones_from_the_address_of_one_stop_nobody_who_asks_the_same_from_another() {
    let site = Site::with_threads(1, &[client("a", &cheap("right"))], 5, 20);
    let (flooding, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let asked: Vec<_> = [flooding, other, flooding, other].map(|from| (from, presented("a", "right"))).into();
    let flood =
        || (0..20).for_each(|number| site.guard.books.failed(&number.to_string().into(), IpAddr::from(flooding)));
    let said: Vec<_> =
        site.ask_at_once(&asked, flood).into_iter().map(|it| it.map_err(|it| it.detail.into_owned())).collect();
    let (let_in, stopped) = (Ok("new-a".to_owned()), Err(OF_ADDRESS.to_owned()));
    assert_eq!(said, [stopped.clone(), let_in.clone(), stopped, let_in]);
    assert_eq!(site.guard.verifications(), 1);
}

#[test]
fn many_wrong_ones_at_once_are_verified_up_to_the_limit() {
    let site = Site::new(&[client("a", &cheap("right"))]);
    let wrong: Vec<_> = (0..100)
        .map(|number| {
            let reading = Credentials { id: "a".to_owned(), secret: SecretString::from(format!("wrong-{number}")) };
            Presented { placement: Placement::Parameters, readings: vec![reading] }
        })
        .collect();
    let all = wrong.iter().map(|one| site.guard.authenticate(&site.snapshot, one, IpAddr::from([192, 0, 2, 1])));
    let answers = site.runtime.block_on(futures_util::future::join_all(all));
    assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(|refusal| refusal.fault == Fault::Client)));
    assert!(
        site.guard.verifications() <= 4,
        "three, and what the other thread had begun: {}",
        site.guard.verifications()
    );
}

#[test]
fn what_cannot_wait_is_refused_as_our_own_fault_and_counts_as_no_wrong_secret() {
    let site = Site::with_threads(1, &[client("a", &cheap("right"))], 100_000, 100_000);
    let wrong: Vec<_> =
        (0..2_000).map(|number| ([192, 0, 2, 1], presented(&format!("invented-{number}"), "wrong"))).collect();
    let answers = site.ask_at_once(&wrong, || ());
    let shed = answers.iter().filter(|answer| answer.as_ref().is_err_and(|refusal| refusal.fault == Fault::Ourselves));
    let shed = shed.count() as u64;
    assert!(shed > 0, "2,000 at once are more than wait");
    assert_eq!(site.guard.verifications(), 2_000 - shed, "all others, and no secret of those");
}

#[test]
fn a_reload_forgets_the_secrets_that_it_changes_and_no_others() {
    let (kept, old) = (client("kept", &cheap("right")), client("changed", &cheap("before")));
    let mut site = Site::new(&[kept.clone(), old]);
    assert!(site.ask("kept", "right").is_ok() && site.ask("changed", "before").is_ok());
    site.reload(&[kept.replace("new-kept", "renamed"), client("changed", &cheap("after"))]);
    assert_eq!((site.snapshot.generation, site.cost("kept", "right")), (2, 0));
    assert_eq!(site.ask("kept", "right").unwrap(), "renamed");
    assert_eq!(detail(site.ask("changed", "before")), "the secret is wrong");
    assert!(site.ask("changed", "after").is_ok());
    site.reload(&[kept]);
    assert_eq!(detail(site.ask("changed", "after")), "no mapping has this client id");
}

#[test]
fn a_retired_client_is_known_so_that_its_tokens_can_be_ended() {
    let site = Site::new(&[client("a", &cheap("right")).replace("live", "retired")]);
    assert!(site.ask("a", "right").is_ok());
}
