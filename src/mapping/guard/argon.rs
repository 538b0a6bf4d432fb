//! One thread's argon2id: its memory is kept between verifications and given back when there are none.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use password_hash::phc::PasswordHash;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Room for so many blocks (33 MiB) is asked for, though most hashes need 19 MiB: what is longer than 32 MiB, glibc maps by
/// itself and gives back to the system at once when it is freed. Pages that nobody touches cost nothing.
const ROOM: usize = 33 * 1024;

/// Verifies hashes.
#[derive(Default)]
pub(super) struct Argon(Vec<Block>);

impl Argon {
    /// Whether it holds no memory.
    pub(super) fn is_empty(&self) -> bool {
        self.0.capacity() == 0
    }

    /// Wipes its memory and gives it back.
    pub(super) fn release(&mut self) {
        self.0.zeroize();
        self.0 = Vec::new();
    }

    /// Whether the secret fits the hash.
    pub(super) fn verifies(&mut self, hash: &str, secret: &SecretString) -> bool {
        self.compare(hash, secret).unwrap_or(false)
    }

    fn compare(&mut self, hash: &str, secret: &SecretString) -> Option<bool> {
        let hash = PasswordHash::new(hash).ok()?;
        let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
        let version = hash.version.map_or(Some(Version::V0x13), |version| Version::try_from(version).ok())?;
        let parameters = Params::try_from(&hash).ok()?;
        let (salt, expected) = (hash.salt?, hash.hash?);
        let blocks = parameters.block_count();
        self.0.reserve_exact(ROOM.max(blocks).saturating_sub(self.0.len()));
        if self.0.len() < blocks {
            self.0.resize(blocks, Block::new());
        }
        let mut output = [0; 64];
        let output = output.get_mut(..expected.len())?;
        let argon = Argon2::new(algorithm, version, parameters);
        argon.hash_password_into_with_memory(secret.expose_secret().as_bytes(), &salt, output, &mut self.0).ok()?;
        Some(output.ct_eq(expected.as_bytes()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::hash::Parameters;
    use super::*;

    #[test]
    fn memory_that_was_used_before_changes_no_answer() {
        let entropy = crate::server::SystemEntropy;
        let hash = |text: &str, memory, passes| {
            let parameters = Parameters::cheap(memory, passes);
            parameters.hash(&SecretString::from(text), &entropy).unwrap()
        };
        let (large, small) = (hash("large", 512, 2), hash("small", 64, 3));
        let mut argon = Argon::default();
        for _ in 0..2 {
            assert!(argon.verifies(&large, &SecretString::from("large")));
            assert!(argon.verifies(&small, &SecretString::from("small")));
            assert!(!argon.verifies(&large, &SecretString::from("small")));
            assert!(!argon.verifies(&small, &SecretString::from("large")));
            argon.release();
            assert!(argon.is_empty());
        }
        assert!(!argon.verifies("no hash", &SecretString::from("large")));
    }
}
