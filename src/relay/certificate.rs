//! A certificate's version, and when it begins and ends (RFC 5280 section 4.1). Pure; reads no more of it than that.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// An end that is nearer than this deserves a look.
pub const NEAR: Duration = Duration::from_hours(24 * 30);

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The `notAfter` of a certificate in DER; nothing where it is none.
#[must_use]
pub fn ends(certificate: &[u8]) -> Option<Timestamp> {
    let mut validity = validity(certificate)?;
    let _begins = validity.next()?;
    time(validity.next()?)
}

/// The `notBefore` of a certificate in DER; nothing where it is none.
#[must_use]
pub fn begins(certificate: &[u8]) -> Option<Timestamp> {
    time(validity(certificate)?.next()?)
}

/// The version of a certificate in DER, 1 where it says none; nothing where it is none.
#[must_use]
pub fn version(certificate: &[u8]) -> Option<u8> {
    let mut body = Der(certificate).within(SEQUENCE)?.within(SEQUENCE)?;
    match body.next()? {
        (VERSION, said) => match Der(said).next()? {
            (INTEGER, [counted_from_zero]) => counted_from_zero.checked_add(1),
            _ => None,
        },
        (_serial, _) => Some(1),
    }
}

fn validity(certificate: &[u8]) -> Option<Der<'_>> {
    let mut outer = Der(certificate).within(SEQUENCE)?;
    let mut body = outer.within(SEQUENCE)?;
    if body.0.first() == Some(&VERSION) {
        body.next()?;
    }
    let (_serial, _algorithm, _issuer) = (body.next()?, body.next()?, body.next()?);
    body.within(SEQUENCE)
}

fn time((tag, time): (u8, &[u8])) -> Option<Timestamp> {
    let text = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    let (century, rest) = match tag {
        // RFC 5280 section 4.1.2.5.1: two digits of the year, 50 is 1950.
        UTC_TIME => (if text.as_bytes().first()? < &b'5' { "20" } else { "19" }, text),
        GENERALIZED_TIME => text.split_at_checked(2)?,
        _ => return None,
    };
    let digits = format!("{century}{rest}");
    let part = |from: usize, to: usize| digits.get(from..to).filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let moment = humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()?;
    Timestamp::of(moment)
}

/// The rest of a text in DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value, with its tag.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, value))
    }

    /// What stands within the next value, if it has this tag.
    fn within(&mut self, wanted: u8) -> Option<Der<'a>> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, value)| Der(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(year: i32) -> Vec<u8> {
        let mut wish = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        wish.not_after = rcgen::date_time_ymd(year, 3, 5);
        let key = rcgen::KeyPair::generate().unwrap();
        wish.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn begin_and_end_of_a_certificate_are_read_in_either_century() {
        let since = humantime::parse_rfc3339("1975-01-01T00:00:00Z").unwrap();
        for year in [1999, 2027, 2049, 2050, 2175] {
            let wanted = humantime::parse_rfc3339(&format!("{year}-03-05T00:00:00Z")).unwrap();
            let certificate = until(year);
            assert_eq!(ends(&certificate).unwrap().system(), wanted, "{year}");
            assert_eq!(begins(&certificate).unwrap().system(), since, "{year}");
            assert_eq!(version(&certificate), Some(3));
        }
    }

    #[test]
    fn what_is_cut_off_or_no_certificate_has_no_end() {
        let whole = until(2027);
        let end = ends(&whole).unwrap();
        for length in 0..whole.len() {
            assert_eq!(ends(&whole[..length]), None, "the outermost length is not there at {length}");
        }
        for index in 0..whole.len() {
            let mut bent = whole.clone();
            bent[index] ^= 0x81;
            let _no_panic = (ends(&bent), version(&bent));
        }
        assert_eq!(end.secs() % 86_400, 0);
        assert_eq!(ends(b""), None);
    }
}
