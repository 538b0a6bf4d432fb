//! The store's contract on real Redis servers: single, with TLS and an access control list, by Sentinel, as a cluster.

mod cluster;
#[path = "../../it/store/contract.rs"]
#[expect(dead_code, reason = "Redis itself measures how long a lease lives, so the quick suite alone turns that clock")]
pub mod contract;
mod faults;
mod leftovers;
pub mod line;
mod round_trips;
mod sentinel;
pub mod servers;
mod single;
#[path = "../../it/store/world.rs"]
pub mod world;

/// The part of the contract that needs no clock but ours: how long a lease lives, Redis itself measures.
macro_rules! contract_of_redis {
    ($run:path) => {
        $crate::store::contract::contract! { $run:
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
            ending_an_unknown_family_does_nothing,
            a_change_decided_before_the_end_does_not_bring_the_family_back,
            a_lease_excludes_others_until_it_is_released,
            the_outbox_keeps_a_revocation_until_it_is_deleted,
            a_memo_is_kept_until_it_is_forgotten,
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
pub(crate) use contract_of_redis;
