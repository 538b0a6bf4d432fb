//! Each row of the tables.

use super::*;
use crate::domain::family::{FamilyId, Replay};
use crate::domain::refusal::{Fault, Refusal};
use crate::domain::seal::Sealed;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
/// When the clock was set back.
const NEVER: Timestamp = Timestamp::from_secs(0);
const GRACE: Duration = Duration::from_secs(60);
const ENDINGS: [Ending; 5] =
    [Ending::Revoked, Ending::RevokedByOperator, Ending::SessionEnded, Ending::Reused, Ending::Replaced];
const ROTATIONS: [Rotation; 3] = [Rotation::On, Rotation::Off, Rotation::Unknown];

const fn asking() -> FamilyState {
    FamilyState::Asking { fence: 7, since: NOW }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A family in its third generation, whose newest answer was made so long ago.
fn family(state: FamilyState, answered: Duration) -> Family {
    let since = Timestamp::from_millis(NOW.millis() - u64::try_from(answered.as_millis()).unwrap());
    Family {
        renewal: Some(Sealed::from_bytes(vec![1])),
        renewal_until: NOW.plus(seconds(1800)),
        generation: 2,
        state,
        replay: Some(Replay { reply: Sealed::from_bytes(vec![2]), since }),
        ..Family::resting(FamilyId([1; 16]))
    }
}

fn token(generation: u32) -> RefreshRecord {
    RefreshRecord {
        family: FamilyId([1; 16]),
        client: "l7xx".into(),
        generation,
        key: Sealed::from_bytes(vec![3]),
        issued: Timestamp::from_secs(0),
        until: NOW.plus(seconds(1800)),
    }
}

fn flight(asking: bool, rotation: Rotation) -> Flight {
    Flight { asking, rotation }
}

fn decided(family: &Family, generation: u32, flight: Flight) -> RefreshDecision {
    decide_refresh(family, &token(generation), NOW, GRACE, flight)
}

fn is_refused(decision: RefreshDecision) -> bool {
    matches!(decision, RefreshDecision::Refuse(_))
}

#[test]
fn the_newest_uuid_of_a_resting_family_asks() {
    for rotation in ROTATIONS {
        let decision = decided(&family(FamilyState::Resting, seconds(10)), 2, flight(false, rotation));
        assert_eq!(decision, RefreshDecision::Ask);
    }
}

#[test]
fn while_somebody_asks_the_others_wait() {
    for rotation in ROTATIONS {
        for state in [FamilyState::Resting, asking()] {
            let decision = decided(&family(state, seconds(10)), 2, flight(true, rotation));
            assert_eq!(decision, RefreshDecision::Wait);
        }
    }
}

#[test]
fn after_a_crash_in_mid_question_it_is_asked_again_only_where_the_realm_forgives_it() {
    let family = family(asking(), seconds(10));
    assert_eq!(decided(&family, 2, flight(false, Rotation::Off)), RefreshDecision::Ask);
    assert_eq!(decided(&family, 2, flight(false, Rotation::On)), RefreshDecision::Lose);
    assert_eq!(decided(&family, 2, flight(false, Rotation::Unknown)), RefreshDecision::Lose);
}

#[test]
fn an_unrefreshable_family_refuses_its_newest_uuid_whatever_the_realm_forgives() {
    for rotation in ROTATIONS {
        for somebody in [false, true] {
            let family = family(FamilyState::Unrefreshable, seconds(10));
            assert!(is_refused(decided(&family, 2, flight(somebody, rotation))));
        }
    }
}

#[test]
fn the_uuid_before_fetches_its_answer_again_inside_the_grace_window_in_every_state_but_over() {
    for state in [FamilyState::Resting, asking(), FamilyState::Unrefreshable] {
        for somebody in [false, true] {
            let decision = |ago| decided(&family(state.clone(), ago), 1, flight(somebody, Rotation::On));
            assert_eq!(decision(Duration::ZERO), RefreshDecision::Replay);
            assert_eq!(decision(GRACE.saturating_sub(Duration::from_millis(1))), RefreshDecision::Replay);
            assert_eq!(decision(GRACE), RefreshDecision::Reuse);
            assert_eq!(decision(seconds(3600)), RefreshDecision::Reuse);
        }
    }
}

#[test]
fn a_clock_that_stands_before_the_answer_takes_nothing_from_the_grace_window() {
    let mut family = family(FamilyState::Resting, Duration::ZERO);
    family.replay.as_mut().unwrap().since = NOW.plus(seconds(5));
    assert_eq!(decided(&family, 1, flight(false, Rotation::On)), RefreshDecision::Replay);
}

#[test]
fn an_answer_is_fetched_again_though_the_uuid_would_have_expired_in_the_meantime() {
    let expired = RefreshRecord { until: NOW, ..token(1) };
    let family = family(FamilyState::Resting, seconds(10));
    let decision = decide_refresh(&family, &expired, NOW, GRACE, flight(false, Rotation::On));
    assert_eq!(decision, RefreshDecision::Replay);
}

#[test]
fn an_older_uuid_is_reuse_even_inside_the_grace_window() {
    for state in [FamilyState::Resting, asking(), FamilyState::Unrefreshable] {
        assert_eq!(decided(&family(state, Duration::ZERO), 0, flight(false, Rotation::Off)), RefreshDecision::Reuse);
    }
}

#[test]
fn without_a_kept_answer_the_uuid_before_is_reuse() {
    let family = Family { replay: None, ..family(FamilyState::Resting, Duration::ZERO) };
    assert_eq!(decided(&family, 1, flight(false, Rotation::Off)), RefreshDecision::Reuse);
}

#[test]
fn a_family_that_is_over_refuses_every_uuid_of_it() {
    for ending in ENDINGS {
        for generation in 0..3 {
            let family = family(FamilyState::Over(ending), Duration::ZERO);
            assert!(is_refused(decided(&family, generation, flight(false, Rotation::Off))));
        }
    }
}

#[test]
fn past_its_end_the_newest_uuid_is_refused() {
    let at = |renewal_until| {
        let family = Family { renewal_until, ..family(FamilyState::Resting, Duration::ZERO) };
        decided(&family, 2, flight(false, Rotation::Off))
    };
    assert!(is_refused(at(NOW)));
    assert_eq!(at(NOW.plus(Duration::from_millis(1))), RefreshDecision::Ask);
    assert_eq!(at(Timestamp::NEVER), RefreshDecision::Ask);
}

#[test]
fn the_newest_uuid_ends_with_the_realms_newest_refresh_token_and_not_with_its_first() {
    let first_ended = RefreshRecord { until: NOW.minus(seconds(1)), ..token(2) };
    let family = family(FamilyState::Resting, seconds(3600));
    let decision = decide_refresh(&family, &first_ended, NOW, GRACE, flight(false, Rotation::On));
    assert_eq!(decision, RefreshDecision::Ask);
}

#[test]
fn a_uuid_that_was_never_handed_out_is_refused() {
    assert!(is_refused(decided(&family(FamilyState::Resting, Duration::ZERO), 3, flight(false, Rotation::Off))));
}

#[test]
fn who_needs_the_realm_for_an_access_uuid_is_decided_alike() {
    for rotation in ROTATIONS {
        assert_eq!(decide_asking(&FamilyState::Resting, flight(false, rotation)), RefreshDecision::Ask);
        assert_eq!(decide_asking(&FamilyState::Resting, flight(true, rotation)), RefreshDecision::Wait);
        assert_eq!(decide_asking(&asking(), flight(true, rotation)), RefreshDecision::Wait);
        let alone = if rotation == Rotation::Off { RefreshDecision::Ask } else { RefreshDecision::Lose };
        assert_eq!(decide_asking(&asking(), flight(false, rotation)), alone);
        assert!(is_refused(decide_asking(&FamilyState::Unrefreshable, flight(false, rotation))));
        for ending in ENDINGS {
            assert!(is_refused(decide_asking(&FamilyState::Over(ending), flight(true, rotation))));
        }
    }
}

fn failed(cause: Cause, fate: Fate) -> NotGranted {
    let refusal = Refusal { cause, fault: Fault::Upstream, detail: "".into() };
    NotGranted { refusal, fate, our_credentials: false, session_gone: false }
}

#[test]
fn what_was_surely_not_spent_leaves_the_family_as_it_was() {
    for rotation in ROTATIONS {
        let state = after_failure(&failed(Cause::ServerError, Fate::Unspent), rotation);
        assert_eq!(state, FamilyState::Resting);
    }
}

#[test]
fn a_refresh_token_that_the_realm_will_not_take_any_more_ends_the_family() {
    for rotation in ROTATIONS {
        let state = after_failure(&failed(Cause::RefreshToken, Fate::Settled), rotation);
        assert_eq!(state, FamilyState::Over(Ending::SessionEnded));
    }
}

#[test]
fn any_other_settled_refusal_leaves_the_family_as_it_was() {
    for cause in [Cause::Scope, Cause::GrantForbidden, Cause::ServerError, Cause::ResourceOwner] {
        for rotation in ROTATIONS {
            assert_eq!(after_failure(&failed(cause, Fate::Settled), rotation), FamilyState::Resting);
        }
    }
}

#[test]
fn a_lost_answer_ends_refreshing_unless_the_realm_forgives_asking_twice() {
    let lost = failed(Cause::ServerError, Fate::Unknown);
    assert_eq!(after_failure(&lost, Rotation::Off), FamilyState::Resting);
    assert_eq!(after_failure(&lost, Rotation::On), FamilyState::Unrefreshable);
    assert_eq!(after_failure(&lost, Rotation::Unknown), FamilyState::Unrefreshable);
}

/// An access UUID promised for an hour from `NOW`, over a JWT of so many seconds, looked at so many seconds later.
fn used(jwt: u64, later: u64, recheck_after: u64) -> AccessDecision {
    let sealed = || Sealed::from_bytes(Vec::new());
    let fate =
        AccessFate::Live { jwt: sealed(), jwt_since: NOW, jwt_until: NOW.plus(seconds(jwt)), key: sealed().into() };
    decide_access(&access(fate), NOW.plus(seconds(later)), NEVER, seconds(recheck_after))
}

fn access(fate: AccessFate) -> AccessRecord {
    AccessRecord {
        family: FamilyId([1; 16]),
        client: "l7xx".into(),
        scope: "".into(),
        issued: NOW,
        until: NOW.plus(seconds(3600)),
        fate,
    }
}

#[test]
fn a_good_jwt_is_used() {
    assert_eq!(used(3600, 0, 900), AccessDecision::Use);
    assert_eq!(used(3600, 899, 900), AccessDecision::Use);
    assert_eq!(used(60, 47, 900), AccessDecision::Use);
}

#[test]
fn a_jwt_near_its_end_is_used_and_renewed_ahead() {
    assert_eq!(used(60, 48, 900), AccessDecision::UseAndRenew, "a fifth of its life is left");
    assert_eq!(used(60, 58, 900), AccessDecision::UseAndRenew);
    assert_eq!(used(3000, 2939, 3600), AccessDecision::Use);
    assert_eq!(used(3000, 2940, 3600), AccessDecision::UseAndRenew, "never more than a minute ahead");
}

#[test]
fn a_jwt_that_outlives_the_promise_is_not_renewed_ahead() {
    assert_eq!(used(3600, 3598, 3600), AccessDecision::Use);
    assert_eq!(used(4000, 3599, 4000), AccessDecision::Use);
    assert_eq!(used(3599, 3590, 3600), AccessDecision::Use, "the realm took up to a second to give it");
    assert_eq!(used(3598, 3590, 3600), AccessDecision::UseAndRenew);
}

#[test]
fn a_jwt_that_is_over_or_nearly_is_renewed_first() {
    assert_eq!(used(60, 59, 900), AccessDecision::RenewFirst, "its last second is too short for a call");
    assert_eq!(used(60, 60, 900), AccessDecision::RenewFirst);
    assert_eq!(used(60, 3599, 900), AccessDecision::RenewFirst);
}

#[test]
fn a_session_that_nobody_asked_about_for_long_is_rechecked() {
    assert_eq!(used(3600, 900, 900), AccessDecision::Recheck);
    assert_eq!(used(3600, 3550, 900), AccessDecision::Recheck, "before it is renewed ahead");
    assert_eq!(used(3600, 0, 0), AccessDecision::Recheck, "at every use");
}

#[test]
fn what_a_clock_said_that_was_set_back_since_is_not_believed() {
    let given = |ahead: u64| {
        let sealed = || Sealed::from_bytes(Vec::new());
        let (jwt_since, jwt_until) = (NOW.plus(seconds(ahead)), NOW.plus(seconds(ahead + 300)));
        let fate = AccessFate::Live { jwt: sealed(), jwt_since, jwt_until, key: sealed().into() };
        decide_access(&access(fate), NOW, NEVER, seconds(900))
    };
    assert_eq!(given(3600), AccessDecision::Recheck);
    assert_eq!(given(61), AccessDecision::Recheck);
    assert_eq!(given(60), AccessDecision::Use, "the clocks of two instances differ");
}

#[test]
fn past_its_promise_an_access_uuid_has_expired_whatever_its_jwt() {
    assert_eq!(used(7200, 3600, 900), AccessDecision::Over(Over::Expired));
    assert_eq!(used(60, 3600, 900), AccessDecision::Over(Over::Expired));
}

#[test]
fn what_ended_stays_ended_before_and_after_its_promise() {
    for ending in ENDINGS {
        for later in [0, 3600] {
            let record = access(AccessFate::Over(ending));
            let decision = decide_access(&record, NOW.plus(seconds(later)), NEVER, seconds(900));
            assert_eq!(decision, AccessDecision::Over(Over::Ended(ending)));
        }
    }
}
