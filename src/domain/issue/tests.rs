//! Whom a family remembers.

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn member(token_use: TokenUse, number: u64, until: Timestamp) -> Member {
    Member { token_use, fingerprint: Fingerprint::of("test", &number.to_be_bytes()), until }
}

const FAMILY: FamilyId = FamilyId([1; 16]);

#[derive(Debug)]
struct Ascending;

impl Entropy for Ascending {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.iter_mut().zip(0..).for_each(|(byte, number)| *byte = number);
    }
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
fn those_past_their_end_are_remembered_on_the_newest_of_them_and_cost_the_good_ones_no_place() {
    let ends = |number| if number < 100 { NOW } else { NOW.plus(Duration::from_millis(1)) };
    for (token_use, most) in [(TokenUse::Access, MOST_ACCESS - 1), (TokenUse::Refresh, MOST_REFRESH - 1)] {
        let old: Vec<Member> = (0..100 + most as u64).map(|number| member(token_use, number, ends(number))).collect();
        let born_over = member(token_use, 9_999, NOW);
        let (kept, mut forgotten) = remembered(&old, vec![born_over], NOW);
        forgotten.reverse();
        assert_eq!(forgotten, old[..100 - MOST_ENDED]);
        assert_eq!(kept, [&old[100 - MOST_ENDED..], &[born_over]].concat());
    }
}

#[test]
fn of_a_uuid_past_its_end_the_jwt_is_not_kept_and_what_ends_its_family_is() {
    let key =
        SealingKey::random(&Ascending).wrap(&SealingKey::random(&Ascending), binding(ACCESS_KEY, &FAMILY), &Ascending);
    let record =
        |fate| AccessRecord { family: FAMILY, client: "l7xx".into(), scope: "".into(), issued: NOW, until: NOW, fate };
    let live = |jwt: Vec<u8>, until| AccessFate::Live {
        jwt: Sealed::from_bytes(jwt),
        jwt_since: NOW,
        jwt_until: until,
        key: key.clone().into(),
    };
    let left = record(live(Vec::new(), NOW));
    assert_eq!(ended(record(live(vec![7; 2000], NOW.plus(Duration::from_secs(60))))), Some(left.clone()));
    assert_eq!(ended(left), None);
    assert_eq!(ended(record(AccessFate::Over(crate::domain::family::Ending::Replaced))), None);
}
