//! Long files in parts, read side by side: 100,000 clients are loaded in a second, and with little memory besides.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};

/// A part is about so long: half a millisecond's work.
const LENGTH: usize = 16 * 1024;

/// No more threads than this, whatever the machine has: a reload runs beside the workers.
const THREADS: usize = 4;

/// Where a part may begin: at a line that says this and nothing else.
const BEGIN: &str = "\n[[client]]\n";

/// A part of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'t> {
    pub(super) text: &'t str,
    pub(super) lines_before: usize,
}

/// Splits a text before clients. Within a text of several lines such a line would be none of ours, so that a file that has any
/// stays whole. The first part has the first client too: if `client` is something else before it, that part is no TOML, as the whole.
pub(super) fn of(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut rest, mut lines_before) = (text, 0);
    let mut least = text.find(BEGIN).map_or(text.len(), |first| LENGTH.max(first + 1));
    let splits = !text.contains("\"\"\"") && !text.contains("'''");
    while splits && rest.len() > 2 * LENGTH {
        // Bytes, as the middle of a text may be the middle of a character.
        let (_, behind) = rest.as_bytes().split_at(least);
        let Some(begin) = behind.windows(BEGIN.len()).position(|window| window == BEGIN.as_bytes()) else { break };
        let Some((part, more)) = rest.split_at_checked(least + begin + 1) else { break };
        least = LENGTH;
        parts.push(Part { text: part, lines_before });
        lines_before += part.bytes().filter(|byte| *byte == b'\n').count();
        rest = more;
    }
    parts.push(Part { text: rest, lines_before });
    parts
}

/// Does the same work on each item, on a few threads that end before this returns; the results in the items' order.
pub(super) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS).min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            done.push((index, work(item)));
            // Whoever waits for this core need not wait for a tick of the kernel's clock.
            thread::yield_now();
        }
    };
    let mut done = thread::scope(|scope| {
        // Where the machine gives none, those that there are do the work.
        let others: Vec<_> = (1..threads).filter_map(|_| Builder::new().spawn_scoped(scope, some).ok()).collect();
        let mut done = some();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(client: &str, count: usize) -> String {
        format!("# начало\n{}", format!("[[client]]\n{client}\n\n").repeat(count))
    }

    #[test]
    fn parts_make_up_the_whole_and_know_their_lines() {
        let text = long("legacy_id = \"клиент\" # [[client]]", 20_000);
        let parts = of(&text);
        assert!(parts.len() > 5);
        assert_eq!(parts.iter().map(|part| part.text).collect::<String>(), text);
        let mut lines = 0;
        for part in &parts {
            assert_eq!(part.lines_before, lines);
            assert!(lines == 0 || part.text.starts_with("[[client]]\n"));
            lines += part.text.lines().count();
        }
    }

    #[test]
    fn a_short_file_and_one_with_texts_of_several_lines_stay_whole() {
        assert_eq!(of("a").len(), 1);
        assert_eq!(of("").len(), 1);
        assert_eq!(of(&long("a = \"\"\"\n[[client]]\n\"\"\"", 20_000)).len(), 1);
        assert_eq!(of(&"# no client\n".repeat(100_000)).len(), 1);
    }

    #[test]
    fn the_first_part_has_the_first_client_however_far_behind_that_stands() {
        let client = "[[client]]\nlegacy_id = \"x\"\n";
        let text = format!("client = []\n{}{}", "# no client\n".repeat(5_000), client.repeat(5_000));
        let parts = of(&text);
        assert!(parts.len() > 5 && parts[0].text.ends_with(client), "{}", parts.len());
        assert_eq!(parts.iter().map(|part| part.text).collect::<String>(), text);
    }

    #[test]
    fn results_stand_in_the_order_of_their_items() {
        let items: Vec<u32> = (0..1_000).collect();
        assert_eq!(each(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(each(&[] as &[u32], |item| *item), [0; 0]);
    }
}
