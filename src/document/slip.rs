//! Which known word was meant by one that nobody knows.

/// The known word that was meant, if any was, and what to do.
pub(super) fn meant<'k>(known: &[&'k str], found: &str) -> (Option<&'k str>, String) {
    let near = nearest(known, found);
    let hint = near.map_or_else(
        || {
            let mut once: Vec<&str> = Vec::with_capacity(known.len());
            for word in known {
                if !once.contains(word) {
                    once.push(word);
                }
            }
            format!("known here: {}", once.join(", "))
        },
        |near| format!("did you mean `{near}`?"),
    );
    (near, hint)
}

/// The known word that is fewest slips away, where that is a third of its letters or less; else one that the found word
/// begins, or that begins it.
pub(super) fn nearest<'k>(known: &[&'k str], found: &str) -> Option<&'k str> {
    let near = known.iter().map(|word| (distance(word, found), *word)).min();
    let near = near.filter(|(slips, word)| slips * 3 <= word.chars().count().max(3)).map(|(_, word)| word);
    near.or_else(|| {
        let same_beginning = |word: &&&str| found.len() > 2 && (word.starts_with(found) || found.starts_with(**word));
        known.iter().find(same_beginning).copied()
    })
}

/// How many letters must be changed, added, left out, or exchanged with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut next = Vec::with_capacity(last.len());
        next.push(row + 1);
        for (column, there) in other.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX - 1);
            let changed = at(&last, column) + usize::from(letter != there);
            let mut least = changed.min(at(&last, column + 1) + 1).min(at(&next, column) + 1);
            let exchanged =
                row > 0 && column > 0 && one.get(row - 1) == Some(there) && other.get(column - 1) == Some(letter);
            if exchanged {
                least = least.min(at(&before, column - 1) + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut last, next);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_another_word() {
        let known = ["legacy", "realm", "ops", "trusted_proxies", "body", "body_timeout"];
        assert_eq!(nearest(&known, "legcy"), Some("legacy"));
        assert_eq!(nearest(&known, "lagecy"), Some("legacy"));
        assert_eq!(nearest(&known, "raelm"), Some("realm"));
        assert_eq!(nearest(&known, "trusted-proxies"), Some("trusted_proxies"));
        assert_eq!(nearest(&known, "boody"), Some("body"));
        assert_eq!(nearest(&known, "trusted"), Some("trusted_proxies"));
        assert_eq!(nearest(&known, "gateway"), None);
        assert_eq!(nearest(&known, "a"), None);
        assert_eq!(nearest(&[], "a"), None);
    }

    #[test]
    fn slips_are_counted_by_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("имя", "мия"), 1);
        assert_eq!(distance("same", "same"), 0);
    }
}
