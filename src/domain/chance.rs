//! Chance, as a thing that the core is handed.

use std::fmt;

/// Where randomness comes from. The one real implementation stands in `server`; tests bring a seeded one.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills the whole slice with bytes that nobody can guess.
    fn fill(&self, bytes: &mut [u8]);
}

/// So many random bytes.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}
