//! Whom a family remembers.

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn member(token_use: TokenUse, number: u64, until: Timestamp) -> Member {
    Member { token_use, fingerprint: Fingerprint::of("test", &number.to_be_bytes()), until }
}

fn pair(number: u64) -> Vec<Member> {
    let until = NOW.plus(Duration::from_secs(3600));
    vec![member(TokenUse::Access, number, until), member(TokenUse::Refresh, number, until)]
}

#[test]
fn a_client_that_refreshes_without_end_does_not_make_its_family_grow_without_end() {
    let mut members = Vec::new();
    let mut forgotten = 0;
    for number in 0..2_000 {
        let (kept, dropped) = remembered(&members, pair(number), NOW);
        forgotten += dropped.len();
        members = kept;
    }
    let of = |token_use| members.iter().filter(|member| member.token_use == token_use).copied().collect::<Vec<_>>();
    assert_eq!((of(TokenUse::Access).len(), of(TokenUse::Refresh).len()), (MOST_ACCESS, MOST_REFRESH));
    assert_eq!(members.len() + forgotten, 4_000, "each is remembered, or forgotten with its record");
    for token_use in [TokenUse::Access, TokenUse::Refresh] {
        let newest = of(token_use);
        let first = 2_000 - u64::try_from(newest.len()).unwrap();
        let expected: Vec<Member> = (first..2_000).flat_map(pair).filter(|one| one.token_use == token_use).collect();
        assert_eq!(newest, expected, "the newest stay, in the order of their issue");
    }
}

#[test]
fn what_is_over_is_forgotten_and_the_new_pair_never_is() {
    let gone = member(TokenUse::Access, 1, NOW);
    let stays = member(TokenUse::Refresh, 1, NOW.plus(Duration::from_millis(1)));
    let born_over = member(TokenUse::Access, 2, NOW);
    let (kept, forgotten) = remembered(&[gone, stays], vec![born_over], NOW);
    assert_eq!(kept, [stays, born_over]);
    assert_eq!(forgotten, [gone]);
}
