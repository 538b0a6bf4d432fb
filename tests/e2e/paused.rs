//! An instance that is stopped for half a minute while it asks the realm, with leases as long as they are.

use std::time::{Duration, Instant};

use super::store::line::{Line, signal};
use super::store::servers::Server;
use super::support::{Answer, Bridge, Keycloak, Old, eventually};

/// Twice as long as a lease lives.
const PAUSE: Duration = Duration::from_secs(30);

/// Two instances on one Redis. A line lies between them and the realm.
struct Two {
    paused: Bridge,
    other: Bridge,
    line: Line,
    _redis: Server,
}

/// What the clients of both heard: that of the other one within the pause, that of the paused one after it.
struct Heard {
    within: Answer,
    after: Answer,
}

impl Two {
    fn before(keycloak: &Keycloak, rotation: &str) -> Self {
        let redis = Server::start();
        let line = Line::to(keycloak.port);
        let store = format!("[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]", redis.port);
        let rotation = format!("rotation = \"{rotation}\"");
        // The realm calls itself as it is called, and takes no token of another name: so both go through the line.
        let url = keycloak.url().replace(&keycloak.port.to_string(), &line.port.to_string());
        let bridge = || Bridge::configured(&url, &[Old::of("test_api")], &rotation, &store);
        Self { paused: bridge(), other: bridge(), line, _redis: redis }
    }

    /// Both are asked to refresh the same token; the first is stopped as soon as the realm has its question.
    fn refresh(&self, token: &str) -> Heard {
        let Self { paused, other, line, .. } = self;
        line.stop_at("grant_type=refresh_token", paused.id());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| paused.refresh("test_api", token));
            eventually("it is stopped while the realm is asked", || is_stopped(paused.id()));
            let begun = Instant::now();
            let within = other.refresh("test_api", token);
            let taken_over = begun.elapsed();
            assert!(taken_over > Duration::from_secs(10), "before the lease was over: {taken_over:?}");
            assert!(taken_over < PAUSE, "the other one goes on without it: {taken_over:?}");
            while let Some(left) = PAUSE.checked_sub(begun.elapsed()) {
                std::thread::park_timeout(left);
            }
            assert!(is_stopped(paused.id()) && !waiting.is_finished());
            signal("-CONT", paused.id());
            Heard { within, after: waiting.join().unwrap() }
        })
    }

    #[track_caller]
    fn logs(&self) -> String {
        format!("{}\n{}", self.paused.log(), self.other.log())
    }
}

fn is_stopped(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| stat.contains(") T "))
}

/// With rotation off the realm is asked again: one pair comes of it, and the paused instance hands out no other.
fn one_pair_lives() {
    let keycloak = Keycloak::shared();
    let two = Two::before(keycloak, "off");
    let (_, token) = two.paused.pair("test_api", "90517");
    let sessions = keycloak.sessions("90517").len();
    let Heard { within, after } = two.refresh(&token);
    assert_eq!(within.status, 200, "{within:?}\n{}", two.logs());
    // The time that is left is less by now.
    for token in ["access_token", "refresh_token"] {
        assert_eq!(after.text(token), within.text(token), "what it made of its own answer is nobody's\n{}", two.logs());
    }
    let next = two.paused.refresh("test_api", &within.text("refresh_token"));
    assert_eq!(next.status, 200, "{next:?}\n{}", two.logs());
    assert_eq!(two.other.refresh("test_api", &token).refusal().1, "3003113", "older than the newest exchange");
    assert!(two.other.active("test_api", &next.text("access_token")));
    assert_eq!(keycloak.sessions("90517").len(), sessions, "the late answer has ended nobody's session");
}

/// With rotation on nobody may ask again: the login cannot be refreshed, whatever the paused instance hears of the realm.
fn no_pair_is_made() {
    let keycloak = Keycloak::rotating();
    let two = Two::before(keycloak, "on");
    let (access, token) = two.paused.pair("test_api", "90516");
    let sessions = keycloak.sessions("90516").len();
    let Heard { within, after } = two.refresh(&token);
    for answer in [&within, &after] {
        assert_eq!(answer.refusal(), (400, "3003113".to_owned(), "invalid_grant".to_owned()), "{}", two.logs());
    }
    assert!(two.paused.active("test_api", &access) && two.other.active("test_api", &access));
    assert_eq!(keycloak.sessions("90516").len(), sessions);
}

#[test]
fn an_instance_paused_for_half_a_minute_in_mid_refresh_cannot_overwrite_what_another_decided() {
    std::thread::scope(|scope| {
        scope.spawn(one_pair_lives);
        scope.spawn(no_pair_is_made);
    });
}
