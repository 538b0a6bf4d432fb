//! Chance, as a thing that the core is handed.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use zeroize::Zeroizing;

/// Where randomness comes from. The one real implementation stands in `server`; tests bring a seeded one.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills the whole slice with bytes that nobody can guess.
    fn fill(&self, bytes: &mut [u8]);
}

/// Chance that was drawn at once and is handed out piece by piece, each byte once: what a draw costs hardly depends on how much is
/// drawn. Where it is used up, more is drawn.
pub struct Drawn<'a, const N: usize> {
    bytes: Zeroizing<[u8; N]>,
    used: AtomicUsize,
    more: &'a dyn Entropy,
}

impl<const N: usize> fmt::Debug for Drawn<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Drawn(redacted)")
    }
}

impl<'a, const N: usize> Drawn<'a, N> {
    /// Draws.
    pub fn from(entropy: &'a dyn Entropy) -> Self {
        Self { bytes: Zeroizing::new(random(entropy)), used: AtomicUsize::new(0), more: entropy }
    }
}

impl<const N: usize> Entropy for Drawn<'_, N> {
    fn fill(&self, bytes: &mut [u8]) {
        let begin = self.used.fetch_add(bytes.len(), Ordering::Relaxed);
        match self.bytes.get(begin..begin.saturating_add(bytes.len())) {
            Some(drawn) => bytes.copy_from_slice(drawn),
            None => self.more.fill(bytes),
        }
    }
}

/// So many random bytes.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it is drawn from; no byte comes twice in 256.
    #[derive(Debug, Default)]
    struct Counted(AtomicUsize, AtomicUsize);

    impl Entropy for Counted {
        fn fill(&self, bytes: &mut [u8]) {
            self.0.fetch_add(1, Ordering::Relaxed);
            for byte in bytes {
                *byte = self.1.fetch_add(1, Ordering::Relaxed).to_le_bytes()[0];
            }
        }
    }

    #[test]
    fn no_byte_is_handed_out_twice_and_more_is_drawn_where_it_is_used_up() {
        let source = Counted::default();
        let drawn = Drawn::<48>::from(&source);
        let all = [random::<16>(&drawn), random(&drawn), random(&drawn), random(&drawn), random(&drawn)].concat();
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!((once.len(), all.len()), (80, 80));
        assert_eq!(source.0.load(Ordering::Relaxed), 3, "one draw for three, then one for each");
        assert!(!format!("{drawn:?}").contains('['));
    }
}
