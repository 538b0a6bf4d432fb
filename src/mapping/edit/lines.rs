//! Lines of a text that was written anew: those that say what they said stay as they were, to the byte.

/// The text with one kind of line ends, one behind the last line too.
pub(super) fn plain(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
}

/// The text with those lines that differ between the two plain ones. They end as what stood in their place; the last line of all
/// has an end or has none, as before.
pub(super) fn spliced(text: &str, before: &str, after: &str) -> String {
    let kept: Vec<&str> = text.split_inclusive('\n').collect();
    let [old, new]: [Vec<&str>; 2] = [before, after].map(|text| text.split_inclusive('\n').collect());
    let begin = alike(old.iter().zip(&new));
    let end = alike(old.iter().skip(begin).rev().zip(new.iter().skip(begin).rev()));
    // What stands between two changes is looked for behind what was found last.
    let find = |line: &str, from: usize| {
        let mut between = old.iter().enumerate().take(old.len() - end).skip(from);
        between.find(|(_, old)| **old == line).map(|(place, _)| place)
    };
    let (mut spliced, mut place) = (String::with_capacity(text.len() + after.len()), 0);
    for (index, line) in new.iter().enumerate() {
        let found = if index < begin {
            Some(index)
        } else if index + end >= new.len() {
            Some(index + old.len() - new.len())
        } else {
            find(line, place)
        };
        spliced.push_str(line.trim_end_matches('\n'));
        spliced.push_str(end_of(&kept, found.unwrap_or(place)));
        place = found.map_or(place, |found| found + 1);
    }
    let bare = spliced.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text).len());
    if let Some(length) = bare.filter(|_| !text.ends_with('\n')) {
        spliced.truncate(length);
    }
    spliced
}

/// The first line, counted from 1, that is another in the other text.
pub(super) fn first_other(text: &str, other: &str) -> Option<usize> {
    let alike = text.lines().zip(other.lines()).take_while(|(one, other)| one == other).count();
    (text != other).then_some(alike + 1)
}

/// So many pairs from here on are the same.
fn alike<'t>(pairs: impl Iterator<Item = (&'t &'t str, &'t &'t str)>) -> usize {
    pairs.take_while(|(old, new)| old == new).count()
}

/// How a line ends; where it has no end, as the one before it.
fn end_of(lines: &[&str], place: usize) -> &'static str {
    let ended = lines.iter().take(place + 1).rfind(|line| line.ends_with('\n'));
    if ended.is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_say_the_same_stay_as_they_were() {
        let splice = |text: &str, after: &str| spliced(text, &plain(text), after);
        assert_eq!(splice("a\r\nb\nc\r\nd", "a\nB\nc\nD\n"), "a\r\nB\nc\r\nD");
        assert_eq!(splice("a\r\nb\r\n", "a\nx\nb\ny\n"), "a\r\nx\r\nb\r\ny\r\n");
        assert_eq!(splice("a\nb\r\nc", "a\nb\nc\nd\n"), "a\nb\r\nc\r\nd");
        assert_eq!(splice("a\nb\n", "b\n"), "b\n");
        assert_eq!(splice("a\n\n\n", "a\n\n\n"), "a\n\n\n");
    }
}
