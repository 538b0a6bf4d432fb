//! The contract, as tests that any variant of the store must pass.
//!
//! `contract!(run)` makes each of them a `#[test]` that hands the function to `run`; `contract!(run, any clock)` those that need not turn the clock
//! by which a lease runs out.

use std::time::Duration;

use passbridge::domain::family::{AccessFate, AccessRecord, Ending, Family, FamilyId, FamilyState, Member, Replay};
use passbridge::domain::opaque::{Fingerprint, TokenUse};
use passbridge::domain::seal::Sealed;
use passbridge::domain::time::Timestamp;
use passbridge::store::{Change, CommitError, Find, Memo, PendingRevocation, Version};

use super::world::{BEGIN, HOUR, Login, World, access_record, refresh_record};

macro_rules! contract {
    ($run:path: $($name:ident,)*) => {
        $(#[test] fn $name() { $run(crate::store::contract::$name); })*
    };
    ($run:path) => {
        crate::store::contract::contract! { $run, any clock }
        crate::store::contract::contract! { $run:
            a_lease_runs_out_and_the_next_has_a_greater_fence,
            a_renewed_lease_does_not_run_out,
            a_lost_lease_cannot_be_renewed_or_released,
            a_change_under_an_old_fence_is_refused,
        }
    };
    ($run:path, any clock) => {
        crate::store::contract::contract! { $run:
            a_family_that_was_put_is_found_by_each_of_its_names,
            what_was_never_put_is_not_found,
            a_family_without_a_refresh_uuid_is_a_family,
            many_logins_at_once_are_all_kept,
            an_access_print_is_no_refresh_print,
            a_change_is_seen_whole,
            a_change_decided_on_an_old_version_is_a_conflict_and_leaves_nothing,
            of_many_changes_of_one_version_one_happens,
            a_change_of_an_unknown_family_is_told,
            a_change_can_forget_members,
            a_change_that_forgets_a_uuid_and_writes_it_keeps_it,
            a_change_that_is_refused_ends_no_uuid,
            a_change_can_move_the_session,
            a_family_that_ended_leaves_a_tombstone_until_its_promised_end,
            an_ended_family_keeps_nothing_of_the_realm,
            the_first_ending_stays,
            of_many_who_end_a_family_at_once_one_has_ended_it,
            ending_an_unknown_family_does_nothing,
            a_change_decided_before_the_end_does_not_bring_the_family_back,
            a_lease_excludes_others_until_it_is_released,
            the_outbox_keeps_a_revocation_until_it_is_deleted,
            a_memo_is_kept_until_it_is_forgotten,
            of_many_who_replace_what_they_read_one_does_and_nothing_is_written_over,
            a_sweep_drops_a_family_after_its_last_uuid_and_not_before,
            a_sweep_does_a_bounded_amount_and_says_that_more_is_due,
            a_family_that_was_extended_is_swept_at_its_new_end,
            a_family_without_an_end_is_swept_once_it_is_over_and_not_before,
            a_family_that_got_an_end_is_swept_at_it,
            a_uuid_past_its_own_end_is_found_as_long_as_its_family_lives,
            a_uuid_past_its_own_end_is_found_though_its_family_was_given_more_time,
            a_refresh_that_is_in_the_air_when_its_family_ends_can_still_land,
            a_clock_that_leaps_ahead_costs_no_session,
            a_leap_that_lasts_is_believed,
            families_are_found_by_client_user_and_prefix,
            those_alive_are_found_in_order_and_from_where_somebody_left_off,
            an_export_is_every_family_once_with_its_records,
            a_closed_store_says_so,
        }
    };
}
pub(crate) use contract;

const TTL: Duration = Duration::from_secs(10);

/// A sweep may come so much late.
const MINUTE: Duration = Duration::from_mins(1);

pub async fn a_family_that_was_put_is_found_by_each_of_its_names(world: &World) {
    let login = world.kept().await;
    let store = &world.store;
    assert_eq!(store.access(&login.access).await.unwrap(), Some(login.new.access.1.clone()));
    assert_eq!(store.refresh(&login.refresh).await.unwrap(), login.new.refresh.as_ref().map(|(_, it)| it.clone()));
    assert_eq!(store.session(&login.session()).await.unwrap(), Some(login.id()));
    let family = store.family(login.id()).await.unwrap().unwrap();
    assert_eq!((family.value, family.version), (login.new.family, Version(1)));
}

pub async fn what_was_never_put_is_not_found(world: &World) {
    world.kept().await;
    let nobody = Fingerprint::of("access", b"nobody");
    assert_eq!(world.store.access(&nobody).await.unwrap(), None);
    assert_eq!(world.store.refresh(&nobody).await.unwrap(), None);
    assert_eq!(world.store.session(&nobody).await.unwrap(), None);
    assert_eq!(world.store.family(FamilyId([7; 16])).await.unwrap(), None);
}

pub async fn a_family_without_a_refresh_uuid_is_a_family(world: &World) {
    let mut login = world.login();
    login.new.refresh = None;
    login.new.family.renewal = None;
    login.new.family.session = None;
    login.new.family.members.truncate(1);
    world.store.put(login.new.clone()).await.unwrap();
    assert_eq!(world.store.access(&login.access).await.unwrap(), Some(login.new.access.1));
    assert_eq!(world.store.refresh(&login.refresh).await.unwrap(), None);
}

pub async fn many_logins_at_once_are_all_kept(world: &World) {
    let logins: Vec<Login> = (0..200).map(|_| world.login()).collect();
    let puts = logins.iter().map(|login| world.store.put(login.new.clone()));
    for put in futures_util::future::join_all(puts).await {
        put.unwrap();
    }
    for login in logins {
        assert_eq!(world.store.access(&login.access).await.unwrap(), Some(login.new.access.1));
    }
}

pub async fn an_access_print_is_no_refresh_print(world: &World) {
    let login = world.kept().await;
    assert_eq!(world.store.refresh(&login.access).await.unwrap(), None);
    assert_eq!(world.store.access(&login.refresh).await.unwrap(), None);
}

/// The family after its first refresh.
pub fn rotated(world: &World, login: &Login) -> Change {
    let (id, now) = (login.id(), world.now());
    let access = access_record(&world.chance, id, "crm", &login.key, now);
    let refresh = refresh_record(&world.chance, id, "crm", &login.key, (now, 1));
    let mut family = Family { generation: 1, ..login.new.family.clone() };
    family.members.push(Member { token_use: TokenUse::Access, fingerprint: access.0, until: access.1.until });
    family.members.push(Member { token_use: TokenUse::Refresh, fingerprint: refresh.0, until: refresh.1.until });
    Change { access: vec![access], refresh: vec![refresh], ..Change::of(Version(1), family) }
}

pub async fn a_change_is_seen_whole(world: &World) {
    let login = world.kept().await;
    let change = rotated(world, &login);
    world.store.commit(change.clone()).await.unwrap();
    let family = world.store.family(login.id()).await.unwrap().unwrap();
    assert_eq!((family.value, family.version), (change.family, Version(2)));
    for (fingerprint, record) in change.access {
        assert_eq!(world.store.access(&fingerprint).await.unwrap(), Some(record));
    }
    for (fingerprint, record) in change.refresh {
        assert_eq!(world.store.refresh(&fingerprint).await.unwrap(), Some(record));
    }
    assert_eq!(world.store.access(&login.access).await.unwrap(), Some(login.new.access.1));
}

pub async fn a_change_decided_on_an_old_version_is_a_conflict_and_leaves_nothing(world: &World) {
    let login = world.kept().await;
    world.store.commit(Change::of(Version(1), login.new.family.clone())).await.unwrap();
    let late = Change { family: Family { generation: 9, ..login.new.family.clone() }, ..rotated(world, &login) };
    assert!(matches!(world.store.commit(late).await, Err(CommitError::Conflict)));
    assert_eq!(world.store.family(login.id()).await.unwrap().unwrap().value.generation, 0);
}

pub async fn of_many_changes_of_one_version_one_happens(world: &World) {
    let login = world.kept().await;
    let commits = (1..=20).map(|generation| {
        let family = Family { generation, ..login.new.family.clone() };
        world.store.commit(Change::of(Version(1), family))
    });
    let done = futures_util::future::join_all(commits).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
    assert!(done.iter().all(|done| matches!(done, Ok(()) | Err(CommitError::Conflict))));
    let winner = done.iter().position(Result::is_ok).unwrap() + 1;
    let family = world.store.family(login.id()).await.unwrap().unwrap();
    assert_eq!((family.value.generation as usize, family.version), (winner, Version(2)));
}

pub async fn a_change_of_an_unknown_family_is_told(world: &World) {
    let login = world.login();
    let done = world.store.commit(Change::of(Version(1), login.new.family)).await;
    assert!(matches!(done, Err(CommitError::Unknown)));
}

pub async fn a_change_can_forget_members(world: &World) {
    let login = world.kept().await;
    let mut change = rotated(world, &login);
    change.removals = login.new.family.members.clone();
    change.family.members.drain(..2);
    world.store.commit(change).await.unwrap();
    assert_eq!(world.store.access(&login.access).await.unwrap(), None);
    assert_eq!(world.store.refresh(&login.refresh).await.unwrap(), None);
}

pub async fn a_change_that_is_refused_ends_no_uuid(world: &World) {
    let login = world.kept().await;
    let late = world.store.lease(login.id(), TTL).await.unwrap().unwrap();
    world.store.release(late).await.unwrap();
    world.store.lease(login.id(), TTL).await.unwrap().unwrap();
    let mut change = rotated(world, &login);
    let replaced = AccessRecord { fate: AccessFate::Over(Ending::Replaced), ..login.new.access.1.clone() };
    change.access.push((login.access, replaced.clone()));
    let fenced = Change { fence: Some(late.fence), ..change.clone() };
    assert!(matches!(world.store.commit(fenced).await, Err(CommitError::Fenced)));
    assert_eq!(world.store.access(&login.access).await.unwrap().as_ref(), Some(&login.new.access.1));
    world.store.commit(change).await.unwrap();
    assert_eq!(world.store.access(&login.access).await.unwrap(), Some(replaced));
}

pub async fn a_change_that_forgets_a_uuid_and_writes_it_keeps_it(world: &World) {
    let login = world.kept().await;
    let mut change = rotated(world, &login);
    let used = login.new.refresh.clone().unwrap();
    change.removals = vec![login.new.family.members[1]];
    change.refresh.push(used.clone());
    world.store.commit(change).await.unwrap();
    assert_eq!(world.store.refresh(&login.refresh).await.unwrap(), Some(used.1));
}

pub async fn a_change_can_move_the_session(world: &World) {
    let login = world.kept().await;
    let other = Fingerprint::of("session", b"other");
    let family = Family { session: Some(other), ..login.new.family.clone() };
    world.store.commit(Change::of(Version(1), family)).await.unwrap();
    assert_eq!(world.store.session(&login.session()).await.unwrap(), None);
    assert_eq!(world.store.session(&other).await.unwrap(), Some(login.id()));
}

pub async fn a_family_that_ended_leaves_a_tombstone_until_its_promised_end(world: &World) {
    let login = world.kept().await;
    world.store.end(login.id(), Ending::Revoked).await.unwrap();
    let record = world.store.access(&login.access).await.unwrap().unwrap();
    assert_eq!(record.fate, AccessFate::Over(Ending::Revoked));
    assert_eq!(record.until, login.new.access.1.until);
    world.clock.pass(HOUR);
    world.store.sweep(world.now()).await.unwrap();
    assert!(world.store.access(&login.access).await.unwrap().is_some(), "the refresh UUID has another hour");
    world.clock.pass(HOUR + 2 * MINUTE);
    world.store.sweep(world.now()).await.unwrap();
    assert_eq!(world.store.access(&login.access).await.unwrap(), None);
}

pub async fn an_ended_family_keeps_nothing_of_the_realm(world: &World) {
    let mut login = world.login();
    login.new.family.replay = Some(Replay { reply: Sealed::from_bytes(vec![7; 99]), since: world.now() });
    world.store.put(login.new.clone()).await.unwrap();
    let former = world.store.end(login.id(), Ending::SessionEnded).await.unwrap().unwrap();
    assert_eq!(former, login.new.family, "whoever ends it is told what it was, with the realm's refresh token");
    let family = world.store.family(login.id()).await.unwrap().unwrap().value;
    assert_eq!(family.state, FamilyState::Over(Ending::SessionEnded));
    assert_eq!((family.renewal, family.session, family.replay), (None, None, None));
    assert_eq!(world.store.session(&login.session()).await.unwrap(), None);
    let refresh = world.store.refresh(&login.refresh).await.unwrap().unwrap();
    assert_eq!((refresh.family, refresh.key), (login.id(), Sealed::from_bytes(Vec::new())));
}

pub async fn the_first_ending_stays(world: &World) {
    let login = world.kept().await;
    world.store.end(login.id(), Ending::Revoked).await.unwrap();
    let former = world.store.end(login.id(), Ending::SessionEnded).await.unwrap().unwrap();
    assert_eq!(former.state, FamilyState::Over(Ending::Revoked));
    let record = world.store.access(&login.access).await.unwrap().unwrap();
    assert_eq!(record.fate, AccessFate::Over(Ending::Revoked));
}

pub async fn of_many_who_end_a_family_at_once_one_has_ended_it(world: &World) {
    let login = world.kept().await;
    let ends = (0..8).map(|_| world.store.end(login.id(), Ending::RevokedByOperator));
    let mut found = Vec::new();
    for ended in futures_util::future::join_all(ends).await {
        found.push(ended.unwrap().unwrap());
    }
    assert_eq!(found.iter().filter(|family| !family.is_over()).count(), 1, "the others heard that it was over");
    assert!(found.contains(&login.new.family), "as it was before");
}

pub async fn ending_an_unknown_family_does_nothing(world: &World) {
    assert_eq!(world.store.end(FamilyId([9; 16]), Ending::Revoked).await.unwrap(), None);
}

pub async fn a_change_decided_before_the_end_does_not_bring_the_family_back(world: &World) {
    let login = world.kept().await;
    let mut change = rotated(world, &login);
    change.access.push(login.new.access.clone());
    world.store.end(login.id(), Ending::Revoked).await.unwrap();
    assert!(matches!(world.store.commit(change).await, Err(CommitError::Conflict)));
    let record = world.store.access(&login.access).await.unwrap().unwrap();
    assert_eq!(record.fate, AccessFate::Over(Ending::Revoked), "a tombstone is never overwritten");
}

pub async fn a_lease_excludes_others_until_it_is_released(world: &World) {
    let id = world.kept().await.id();
    let lease = world.store.lease(id, TTL).await.unwrap().unwrap();
    assert_eq!(world.store.lease(id, TTL).await.unwrap(), None);
    let other = world.kept().await.id();
    assert!(world.store.lease(other, TTL).await.unwrap().is_some());
    world.store.release(lease).await.unwrap();
    assert!(world.store.lease(id, TTL).await.unwrap().unwrap().fence > lease.fence);
}

pub async fn a_lease_runs_out_and_the_next_has_a_greater_fence(world: &World) {
    let id = world.kept().await.id();
    let first = world.store.lease(id, TTL).await.unwrap().unwrap();
    world.clock.pass(TTL);
    let second = world.store.lease(id, TTL).await.unwrap().unwrap();
    assert!(second.fence > first.fence);
}

pub async fn a_renewed_lease_does_not_run_out(world: &World) {
    let id = world.kept().await.id();
    let lease = world.store.lease(id, TTL).await.unwrap().unwrap();
    for _ in 0..5 {
        world.clock.pass(TTL / 2);
        assert!(world.store.renew(lease, TTL).await.unwrap());
        assert_eq!(world.store.lease(id, TTL).await.unwrap(), None);
    }
}

pub async fn a_lost_lease_cannot_be_renewed_or_released(world: &World) {
    let id = world.kept().await.id();
    let lost = world.store.lease(id, TTL).await.unwrap().unwrap();
    world.clock.pass(TTL);
    world.store.lease(id, TTL).await.unwrap().unwrap();
    assert!(!world.store.renew(lost, TTL).await.unwrap());
    world.store.release(lost).await.unwrap();
    assert_eq!(world.store.lease(id, TTL).await.unwrap(), None, "the second lease still holds");
}

pub async fn a_change_under_an_old_fence_is_refused(world: &World) {
    let login = world.kept().await;
    let paused = world.store.lease(login.id(), TTL).await.unwrap().unwrap();
    world.clock.pass(TTL);
    let second = world.store.lease(login.id(), TTL).await.unwrap().unwrap();
    let change = |fence| Change { fence: Some(fence), ..Change::of(Version(1), login.new.family.clone()) };
    assert!(matches!(world.store.commit(change(paused.fence)).await, Err(CommitError::Fenced)));
    world.store.commit(change(second.fence)).await.unwrap();
}

pub async fn a_memo_is_kept_until_it_is_forgotten(world: &World) {
    let memo = |name: &str, value: &[u8]| Memo { name: name.to_owned(), value: value.to_vec() };
    assert_eq!(world.store.memo("a/crm").await.unwrap(), None);
    for one in [memo("a/crm", b"first"), memo("b/crm", b""), memo("a/crm", b"second \xff")] {
        world.store.memo_put(&one).await.unwrap();
    }
    assert_eq!(world.store.memo("a/crm").await.unwrap().as_deref(), Some(&b"second \xff"[..]));
    let mut all = world.store.memos().await.unwrap().records;
    all.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(all, [memo("a/crm", b"second \xff"), memo("b/crm", b"")]);
    world.store.memo_delete("a/crm").await.unwrap();
    world.store.memo_delete("a/crm").await.unwrap();
    assert_eq!(world.store.memos().await.unwrap().records, [memo("b/crm", b"")]);
}

pub async fn of_many_who_replace_what_they_read_one_does_and_nothing_is_written_over(world: &World) {
    let memo = |value: &[u8]| Memo { name: "a/crm".to_owned(), value: value.to_vec() };
    for before in [None, Some(&b"0"[..])] {
        let values = ["1", "2", "3", "4"].map(|number| memo(&[before.unwrap_or_default(), number.as_bytes()].concat()));
        let replaced = values.iter().map(|value| world.store.memo_replace(before, value));
        let replaced = futures_util::future::join_all(replaced).await.into_iter().map(Result::unwrap);
        let done: Vec<Memo> = replaced.zip(&values).filter(|(done, _)| *done).map(|(_, memo)| memo.clone()).collect();
        assert_eq!(world.store.memos().await.unwrap().records, done);
        assert_eq!(done.len(), 1);
        world.store.memo_put(&memo(b"0")).await.unwrap();
    }
    world.store.memo_delete("a/crm").await.unwrap();
    assert!(!world.store.memo_replace(Some(b"0"), &memo(b"1")).await.unwrap(), "what was forgotten is not there");
    assert!(world.store.memos().await.unwrap().records.is_empty());
}

pub async fn the_outbox_keeps_a_revocation_until_it_is_deleted(world: &World) {
    let pending = |byte: u8| PendingRevocation {
        family: FamilyId([byte; 16]),
        client: "crm".to_owned(),
        sealed: Sealed::from_bytes(vec![byte; 40]),
        until: world.now().plus(HOUR),
    };
    for byte in [1, 2] {
        world.store.outbox_put(&pending(byte)).await.unwrap();
    }
    let newer = PendingRevocation { sealed: Sealed::from_bytes(vec![9; 40]), ..pending(1) };
    world.store.outbox_delete(&newer).await.unwrap();
    let mut outbox = world.store.outbox().await.unwrap().records;
    outbox.sort_by_key(|pending| pending.family);
    assert_eq!(outbox, [pending(1), pending(2)]);
    world.store.outbox_put(&newer).await.unwrap();
    world.store.outbox_delete(&pending(1)).await.unwrap();
    assert_eq!(world.store.outbox().await.unwrap().records.len(), 2, "a newer one was not told yet");
    world.store.outbox_delete(&newer).await.unwrap();
    world.store.outbox_delete(&newer).await.unwrap();
    assert_eq!(world.store.outbox().await.unwrap().records, [pending(2)]);
}

pub async fn a_sweep_drops_a_family_after_its_last_uuid_and_not_before(world: &World) {
    let login = world.kept().await;
    world.clock.pass(2 * HOUR);
    world.store.sweep(world.now()).await.unwrap();
    assert!(world.store.refresh(&login.refresh).await.unwrap().is_some(), "its last millisecond has not passed");
    world.clock.pass(2 * MINUTE);
    world.store.sweep(world.now()).await.unwrap();
    assert_eq!(world.store.refresh(&login.refresh).await.unwrap(), None);
    assert_eq!(world.store.access(&login.access).await.unwrap(), None);
    assert_eq!(world.store.session(&login.session()).await.unwrap(), None);
    assert_eq!(world.store.family(login.id()).await.unwrap(), None);
}

pub async fn a_sweep_does_a_bounded_amount_and_says_that_more_is_due(world: &World) {
    let logins: Vec<Login> = (0..1_200).map(|_| world.login()).collect();
    let puts = logins.iter().map(|login| world.store.put(login.new.clone()));
    futures_util::future::join_all(puts).await;
    world.clock.pass(3 * HOUR);
    let mut calls = 0;
    while world.store.sweep(world.now()).await.unwrap().more {
        calls += 1;
        assert!(calls < 100, "every sweep gets on");
    }
    for login in &logins {
        assert_eq!(world.store.access(&login.access).await.unwrap(), None);
        assert_eq!(world.store.family(login.id()).await.unwrap(), None);
    }
}

pub async fn a_family_that_was_extended_is_swept_at_its_new_end(world: &World) {
    let login = world.kept().await;
    world.clock.pass(HOUR);
    let change = rotated(world, &login);
    let newest = change.access[0].0;
    world.store.commit(change).await.unwrap();
    world.clock.pass(HOUR + MINUTE);
    world.store.sweep(world.now()).await.unwrap();
    assert!(world.store.access(&newest).await.unwrap().is_some());
    assert!(world.store.family(login.id()).await.unwrap().is_some());
    world.clock.pass(HOUR + MINUTE);
    world.store.sweep(world.now()).await.unwrap();
    assert_eq!(world.store.family(login.id()).await.unwrap(), None);
    assert_eq!(world.store.access(&newest).await.unwrap(), None);
}

/// A login to which the realm gave a refresh token without an end (`refresh_expires_in: 0`).
async fn kept_without_end(world: &World) -> Login {
    let mut login = world.login();
    login.new.family.renewal_until = Timestamp::NEVER;
    login.new.family.members[1].until = Timestamp::NEVER;
    login.new.refresh.as_mut().unwrap().1.until = Timestamp::NEVER;
    world.store.put(login.new.clone()).await.unwrap();
    login
}

pub async fn a_family_without_an_end_is_swept_once_it_is_over_and_not_before(world: &World) {
    let (lives, over) = (kept_without_end(world).await, kept_without_end(world).await);
    world.clock.pass(HOUR / 2);
    world.store.end(over.id(), Ending::Revoked).await.unwrap();
    world.store.sweep(world.now()).await.unwrap();
    let tombstone = world.store.access(&over.access).await.unwrap().unwrap();
    assert_eq!((tombstone.fate, tombstone.until), (AccessFate::Over(Ending::Revoked), over.new.access.1.until));
    assert_eq!(world.store.refresh(&over.refresh).await.unwrap().unwrap().until, tombstone.until);
    for _ in 0..3 {
        world.clock.pass(10_000 * HOUR);
        world.store.sweep(world.now()).await.unwrap();
    }
    assert_eq!(world.store.access(&over.access).await.unwrap(), None);
    assert_eq!(world.store.refresh(&over.refresh).await.unwrap(), None);
    assert_eq!(world.store.family(over.id()).await.unwrap(), None);
    assert!(world.store.refresh(&lives.refresh).await.unwrap().is_some());
    assert!(world.store.family(lives.id()).await.unwrap().is_some());
}

pub async fn a_family_that_got_an_end_is_swept_at_it(world: &World) {
    let login = kept_without_end(world).await;
    let mut change = rotated(world, &login);
    change.family.members.retain(|member| member.until != Timestamp::NEVER);
    change.removals = vec![login.new.family.members[1]];
    world.store.commit(change).await.unwrap();
    world.clock.pass(HOUR + MINUTE);
    world.store.sweep(world.now()).await.unwrap();
    assert!(world.store.family(login.id()).await.unwrap().is_some(), "its newest refresh UUID has another hour");
    world.clock.pass(HOUR + MINUTE);
    world.store.sweep(world.now()).await.unwrap();
    assert_eq!(world.store.family(login.id()).await.unwrap(), None);
}

/// A login both of whose UUIDs end at once; an end to come is its family's alone.
async fn kept_past_its_end(world: &World) -> Login {
    let mut login = world.login();
    let now = world.now();
    login.new.access.1.until = now;
    login.new.family.members[0].until = now;
    login.new.refresh.as_mut().unwrap().1.until = now;
    world.store.put(login.new.clone()).await.unwrap();
    login
}

pub async fn a_uuid_past_its_own_end_is_found_as_long_as_its_family_lives(world: &World) {
    let login = kept_past_its_end(world).await;
    let mut change = rotated(world, &login);
    let newest = change.access[0].0;
    for (_, record) in &mut change.access {
        record.until = world.now();
    }
    world.store.commit(change).await.unwrap();
    for _ in 0..20 {
        world.kept().await; // a store by another clock than ours has time to forget
    }
    world.clock.pass(HOUR + MINUTE);
    world.store.sweep(world.now()).await.unwrap();
    for access in [login.access, newest] {
        assert_eq!(world.store.access(&access).await.unwrap().map(|record| record.family), Some(login.id()));
    }
    assert_eq!(world.store.refresh(&login.refresh).await.unwrap().map(|record| record.family), Some(login.id()));
    world.store.end(login.id(), Ending::Revoked).await.unwrap();
    for _ in 0..20 {
        world.kept().await;
    }
    let record = world.store.access(&login.access).await.unwrap().unwrap();
    assert_eq!(record.fate, AccessFate::Over(Ending::Revoked));
    world.clock.pass(2 * HOUR);
    while world.store.sweep(world.now()).await.unwrap().more {}
    assert_eq!(world.store.access(&login.access).await.unwrap(), None);
    assert_eq!(world.store.access(&newest).await.unwrap(), None);
    assert_eq!(world.store.refresh(&login.refresh).await.unwrap(), None);
}

pub async fn a_uuid_past_its_own_end_is_found_though_its_family_was_given_more_time(world: &World) {
    let login = kept_past_its_end(world).await;
    let mut family = login.new.family.clone();
    family.members[1].until = world.now().plus(4 * HOUR);
    world.store.commit(Change::of(Version(1), family.clone())).await.unwrap();
    world.clock.pass(3 * HOUR);
    world.store.sweep(world.now()).await.unwrap();
    assert!(world.store.access(&login.access).await.unwrap().is_some());
    assert!(world.store.refresh(&login.refresh).await.unwrap().is_some());
    family.members[1].until = Timestamp::NEVER;
    world.store.commit(Change::of(Version(2), family)).await.unwrap();
    world.clock.pass(10_000 * HOUR);
    world.store.sweep(world.now()).await.unwrap();
    assert!(world.store.access(&login.access).await.unwrap().is_some());
    assert!(world.store.refresh(&login.refresh).await.unwrap().is_some());
}

pub async fn a_refresh_that_is_in_the_air_when_its_family_ends_can_still_land(world: &World) {
    let login = world.kept().await;
    let change = rotated(world, &login);
    world.clock.pass(2 * HOUR + Duration::from_secs(20));
    world.store.sweep(world.now()).await.unwrap();
    world.store.commit(change).await.unwrap();
    world.clock.pass(MINUTE);
    while world.store.sweep(world.now()).await.unwrap().more {}
    assert_eq!(world.store.family(login.id()).await.unwrap(), None, "a minute later it is forgotten");
}

pub async fn a_clock_that_leaps_ahead_costs_no_session(world: &World) {
    let login = world.kept().await;
    world.clock.set(BEGIN.plus(24 * 365 * HOUR));
    world.store.sweep(world.now()).await.unwrap();
    assert!(world.store.access(&login.access).await.unwrap().is_some());
    // Somebody sets it right again.
    world.clock.set(BEGIN.plus(MINUTE));
    world.store.sweep(world.now()).await.unwrap();
    assert!(world.store.access(&login.access).await.unwrap().is_some());
}

pub async fn a_leap_that_lasts_is_believed(world: &World) {
    let login = world.kept().await;
    world.clock.set(BEGIN.plus(24 * 365 * HOUR));
    world.store.sweep(world.now()).await.unwrap();
    world.clock.pass(HOUR);
    world.store.sweep(world.now()).await.unwrap();
    assert_eq!(world.store.access(&login.access).await.unwrap(), None);
}

pub async fn families_are_found_by_client_user_and_prefix(world: &World) {
    let crm = world.kept().await;
    let erp = Login::new(&world.chance, world.now(), "erp");
    world.store.put(erp.new.clone()).await.unwrap();
    let find = |what| async { ids(world.store.find(what, 10).await.unwrap().records) };
    assert_eq!(find(Find::Client("erp".to_owned())).await, [erp.id()]);
    assert_eq!(find(Find::Client("nobody".to_owned())).await, []);
    assert_eq!(find(Find::User(crm.new.family.user.unwrap())).await, sorted(vec![crm.id(), erp.id()]));
    assert_eq!(find(Find::Prefix(crm.access.short())).await, [crm.id()]);
    assert_eq!(find(Find::Prefix(crm.refresh.short()[..7].to_owned())).await, [crm.id()]);
    assert_eq!(find(Find::Prefix(crm.refresh.to_string())).await, [crm.id()]);
    assert_eq!(find(Find::Prefix("not hex".to_owned())).await, []);
    assert_eq!(world.store.find(Find::User(crm.new.family.user.unwrap()), 1).await.unwrap().records.len(), 1);
}

pub async fn those_alive_are_found_in_order_and_from_where_somebody_left_off(world: &World) {
    let mut all = Vec::new();
    for _ in 0..9 {
        all.push(world.kept().await);
    }
    let all_ids = sorted(all.iter().map(Login::id).collect());
    let over = [all_ids[0], all_ids[4]];
    for id in over {
        world.store.end(id, Ending::Revoked).await.unwrap();
    }
    let living: Vec<FamilyId> = all_ids.iter().copied().filter(|id| !over.contains(id)).collect();
    let crm = || Find::Client("crm".to_owned());
    let mut found: Vec<FamilyId> = Vec::new();
    loop {
        let page = world.store.find_living(crm(), found.last().copied(), 3).await.unwrap().records;
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        found.extend(page.into_iter().map(|family| family.id));
    }
    assert_eq!(found, living);
    let of = |login: &Login| Find::Prefix(login.refresh.short());
    for login in &all {
        let there = world.store.find_living(of(login), None, 1).await.unwrap().records.len();
        assert_eq!(there, usize::from(!over.contains(&login.id())));
        let whole =
            world.store.find_living(Find::Prefix(login.access.to_string()), None, 1).await.unwrap().records.len();
        assert_eq!(whole, there);
    }
    assert_eq!(world.store.find(crm(), 20).await.unwrap().records.len(), 9);
}

fn ids(families: Vec<Family>) -> Vec<FamilyId> {
    sorted(families.into_iter().map(|family| family.id).collect())
}

fn sorted(mut ids: Vec<FamilyId>) -> Vec<FamilyId> {
    ids.sort();
    ids
}

pub async fn an_export_is_every_family_once_with_its_records(world: &World) {
    let mut expected = Vec::new();
    for _ in 0..25 {
        expected.push(world.kept().await);
    }
    expected.sort_by_key(Login::id);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = world.store.export(after, 10).await.unwrap().records;
        let Some(last) = page.last() else { break };
        after = Some(last.family.id);
        found.extend(page);
    }
    assert_eq!(found.len(), expected.len());
    for (found, login) in found.into_iter().zip(expected) {
        assert_eq!(found.family, login.new.family);
        assert_eq!(found.access, [login.new.access]);
        assert_eq!(found.refresh.first(), login.new.refresh.as_ref());
    }
}

pub async fn a_closed_store_says_so(world: &World) {
    let login = world.kept().await;
    world.store.close().await;
    world.store.close().await;
    let error = world.store.put(world.login().new).await.unwrap_err();
    assert_eq!(error.to_string(), "the token store is closed");
    assert!(world.store.access(&login.access).await.is_err());
}
