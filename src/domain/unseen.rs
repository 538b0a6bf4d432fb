//! Other people's text in one line of ours: bounded, and without letters that would act upon the line in place of standing in it.

use std::borrow::Cow;

/// Letters that format text and are not seen (Unicode 16, general category Cf), and those that part lines and paragraphs (Zl, Zp). They hide
/// themselves, or have what follows be read from right to left.
const UNSEEN: [(char, char); 20] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
];

/// Whether a letter is a control, or one of those.
#[must_use]
pub fn is_unseen(letter: char) -> bool {
    letter.is_control() || !letter.is_ascii() && UNSEEN.iter().any(|(first, last)| (*first..=*last).contains(&letter))
}

/// A word that is longer could be a token, or a secret.
const LONGEST_WORD: usize = 60;

/// A text as so many characters of one line, `gap` in place of each letter that is not seen. A word that could be a JWT or another token is not
/// told; any other is told by `worded`.
pub fn one_line<'t>(text: &'t str, most: usize, gap: char, worded: impl Fn(&'t str) -> Cow<'t, str>) -> String {
    let parts = |letter: char| letter == ' ' || is_unseen(letter);
    let mut line = String::new();
    for part in text.split_inclusive(parts) {
        let end = part.chars().next_back().filter(|last| parts(*last));
        let word = part.strip_suffix(parts).unwrap_or(part);
        let is_long = word.len() > LONGEST_WORD || word.starts_with("eyJ");
        line.push_str(&if is_long { Cow::Borrowed("[long word]") } else { worded(word) });
        line.extend(end.map(|end| if end == ' ' { ' ' } else { gap }));
    }
    line.chars().take(most).collect()
}

/// A path for the log that nobody here is called by: its first segment, and on as far as it goes together with one of these that are known.
/// What follows is the caller's own words, and a password can look like any other.
pub fn path<'p>(path: &str, known: impl Iterator<Item = &'p str>) -> String {
    let Some(path) = path.strip_prefix('/') else { return "*".to_owned() };
    let segments = || path.split('/');
    let shared = |known: &str| {
        let known = known.strip_prefix('/').unwrap_or(known);
        segments().zip(known.split('/')).take_while(|(ours, theirs)| ours == theirs).count()
    };
    let known = known.map(shared).max().unwrap_or(0);
    let told = known.max(segments().take(1).filter(|first| is_plain(first)).count());
    let rest = (told < segments().count()).then_some("*");
    segments().take(told).chain(rest).fold(String::new(), |told, segment| told + "/" + segment)
}

/// Whether it could be neither a token nor a piece of one: half a UUID is shorter no more than by a few letters.
fn is_plain(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    segment.len() <= 20 && digits <= 4 && segment.bytes().all(is_usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_path_no_segment_is_told_but_the_first_and_those_that_are_known() {
        let told = |asked| path(asked, ["/auth/oauth/v2/token", "/api/customers", "/"].into_iter());
        for (asked, is) in [
            ("/auth/oauth/v2/token/hunter", "/auth/oauth/v2/token/*"),
            ("/auth/oauth/v2/hunter", "/auth/oauth/v2/*"),
            ("/auth/oauth/v2", "/auth/oauth/v2"),
            ("/api/hunter/customers", "/api/*"),
            ("/billing/v1/hunter", "/billing/*"),
            ("/billing", "/billing"),
            ("/billing/", "/billing/*"),
            ("/", "/"),
            ("//hunter", "//*"),
            ("*", "*"),
            ("hunter/auth", "*"),
            ("", "*"),
        ] {
            assert_eq!(told(asked), is, "{asked}");
        }
    }

    #[test]
    fn of_a_path_the_first_segment_is_not_told_where_it_could_be_a_token() {
        let uuid = "0c8df1ab-6f5c-4b1e-9a51-3f6f0f7b2a11";
        for token in
            [uuid, "0c8df1ab6f5c4b1e9a513f6f0f7b2a11", "%30c8df1ab", "a;token=b", "eyJhbGciOiJSUzI1NiJ9.e30", "x@y"]
        {
            assert_eq!(path(&format!("/{token}/x"), ["/api"].into_iter()), "/*");
        }
    }

    #[test]
    fn letters_that_turn_or_part_a_line_are_not_seen_and_those_of_any_language_are() {
        for letter in ['\u{202e}', '\u{2066}', '\u{2028}', '\u{2029}', '\u{200b}', '\u{feff}', '\u{1b}', '\u{9b}', '\n']
        {
            assert!(is_unseen(letter), "{letter:?}");
        }
        for letter in "l7xx-_ Клиент 顧客 é €".chars() {
            assert!(!is_unseen(letter), "{letter:?}");
        }
    }

    #[test]
    fn a_word_that_could_be_a_token_is_told_nowhere_in_a_line_not_even_at_its_cut() {
        for before in 0..=160 {
            for secret in ["y".repeat(100), "y".repeat(61), format!("eyJ{}", "y".repeat(30))] {
                let text = format!("{}{secret} z", "x ".repeat(before));
                let line = one_line(&text, 160, ' ', Cow::Borrowed);
                assert!(!line.contains('y') && line.chars().count() <= 160, "{line}");
            }
        }
        assert_eq!(one_line("a\nb\u{202e}c  d ", 160, '\u{fffd}', Cow::Borrowed), "a\u{fffd}b\u{fffd}c  d ");
        assert_eq!(one_line("abc", 2, ' ', Cow::Borrowed), "ab");
    }
}
