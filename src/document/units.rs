//! Durations and sizes as people write them: `10s`, `250ms`, `64KiB`.

use std::time::Duration;

pub(super) fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text.trim()).ok()
}

/// Bytes, from a bare number or one with `B`, `KiB`, `MiB`, `GiB` (powers of 1024) or `KB`, `MB`, `GB` (of 1000).
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// As people would write it: in the largest unit that leaves a whole number.
pub(super) fn written(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.iter().find(|(factor, _)| bytes >= *factor && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{bytes} bytes"), |(factor, unit)| format!("{}{unit}", bytes / factor))
}

/// What is wanted of a duration, with its bounds.
pub(super) fn between(what: &str, least: Duration, most: Duration) -> String {
    let [least, most] = [least, most].map(humantime::format_duration);
    format!("{what} from {least} to {most}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_the_units_that_people_write() {
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("64 MiB"), Some(67_108_864));
        assert_eq!(size("1MB"), Some(1_000_000));
        assert_eq!(size("12"), Some(12));
        assert_eq!(size("12parsec"), None);
        assert_eq!(size("-1KiB"), None);
        assert_eq!(size("99999999999GiB"), None);
        assert_eq!([1, 1024, 1536, 64 << 20].map(written), ["1 bytes", "1KiB", "1536 bytes", "64MiB"]);
    }
}
