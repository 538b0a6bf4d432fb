//! The bytes of a record, and that no change of them goes unseen.

use passbridge::domain::family::{Family, FamilyId};
use passbridge::store::record::{Damage, RECORD_VERSION, decode, encode};
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::world::{BEGIN, Login, Seeded};

fn sample() -> Family {
    Login::new(&Seeded::new(7), BEGIN, "crm").new.family
}

#[test]
fn a_record_comes_back_as_it_was() {
    let family = sample();
    let bytes = encode(b"f1", &family);
    assert_eq!(decode::<Family>(b"f1", &bytes), Ok(family));
}

#[test]
fn every_flipped_bit_is_seen() {
    let bytes = encode(b"f1", &sample());
    for at in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        assert_eq!(decode::<Family>(b"f1", &flipped), Err(Damage::Checksum), "bit {at}");
    }
}

#[test]
fn every_cut_is_seen() {
    let bytes = encode(b"f1", &sample());
    for length in 0..bytes.len() {
        // A version and a checksum are nine bytes.
        let damage = if length < 9 { Damage::Short } else { Damage::Checksum };
        assert_eq!(decode::<Family>(b"f1", &bytes[..length]), Err(damage), "{length} bytes");
    }
}

#[test]
fn a_record_under_another_key_is_seen() {
    let bytes = encode(b"f1", &sample());
    assert_eq!(decode::<Family>(b"f2", &bytes), Err(Damage::Checksum));
}

#[test]
fn a_whole_record_of_a_later_version_is_told_by_its_number_and_not_read() {
    let mut bytes = encode(b"f1", &sample());
    let body = bytes.len() - 8;
    bytes[0] = RECORD_VERSION + 1;
    let checksum = xxh3_64(&bytes[..body]) ^ xxh3_64(b"f1").rotate_left(17);
    bytes[body..].copy_from_slice(&checksum.to_le_bytes());
    let damage = decode::<Family>(b"f1", &bytes).unwrap_err();
    assert_eq!(damage, Damage::Version(RECORD_VERSION + 1));
    assert_eq!(damage.to_string(), "the record has version 2, and this program reads 1");
}

#[test]
fn a_whole_record_of_another_kind_is_no_record() {
    let bytes = encode(b"f1", &(FamilyId([1; 16]), "more"));
    assert_eq!(decode::<FamilyId>(b"f1", &bytes), Err(Damage::Shape));
}

/// Whoever changes what `domain::family` keeps changes these bytes: raise `RECORD_VERSION`, and read the former version too.
#[test]
fn the_bytes_of_a_record_are_pinned() {
    let bytes = encode(b"f1", &sample());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    let digest: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((RECORD_VERSION, bytes.len(), digest.as_str()), (1, 261, "3dbbf2fe10bfe226"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode::<Family>(b"f1", &bytes).is_err());
    }
}
