//! Hashes of old secrets: argon2id in PHC text, e.g. `$argon2id$v=19$m=19456,t=2,p=1$...`.

use argon2::{Algorithm, Argon2, Params, Version};
use password_hash::PasswordHasher;
use password_hash::phc::PasswordHash;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::chance::{Entropy, random};

/// What one verification costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Parameters {
    /// Memory in KiB.
    memory: u32,
    /// Passes.
    passes: u32,
    /// Lanes.
    lanes: u32,
}

/// What OWASP recommends for argon2id at the least: 19 MiB, two passes, one lane.
impl Default for Parameters {
    fn default() -> Self {
        Self { memory: 19_456, passes: 2, lanes: 1 }
    }
}

/// A hash that a mapping file may not contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is no PHC text, or lacks a part.
    Malformed,
    /// It is one of another algorithm.
    NotArgon2id,
    /// Verifying it would take more memory or time than a login may cost.
    TooCostly,
}

impl Parameters {
    /// Reads a hash as far as its cost.
    pub(super) fn of(hash: &str) -> Result<Self, Unfit> {
        let hash = PasswordHash::new(hash).map_err(|_| Unfit::Malformed)?;
        if hash.algorithm.as_str() != "argon2id" {
            return Err(Unfit::NotArgon2id);
        }
        let number = |name| hash.params.get_decimal(name).ok_or(Unfit::Malformed);
        let parameters = Self { memory: number("m")?, passes: number("t")?, lanes: number("p")? };
        if hash.salt.is_none() || hash.hash.is_none() || parameters.hasher().is_none() {
            return Err(Unfit::Malformed);
        }
        if parameters.memory > 262_144 || parameters.passes > 16 {
            return Err(Unfit::TooCostly);
        }
        Ok(parameters)
    }

    /// Cheaper to guess than it should be.
    pub(super) fn weak(self) -> bool {
        let least = Self::default();
        self.memory < least.memory || self.passes < least.passes
    }

    /// Hashes a secret under a fresh salt.
    pub(super) fn hash(self, secret: &SecretString, entropy: &dyn Entropy) -> Result<String, String> {
        self.with_salt(secret.expose_secret().as_bytes(), &random::<16>(entropy))
    }

    /// A hash that no secret fits: of nothing, which no client may have as its secret.
    pub(super) fn hash_of_nothing(self) -> String {
        self.with_salt(b"", &[0x5a; 16]).unwrap_or_default()
    }

    fn with_salt(self, secret: &[u8], salt: &[u8]) -> Result<String, String> {
        let hasher = self.hasher().ok_or("these parameters fit no argon2id hash")?;
        hasher
            .hash_password_with_salt(secret, salt)
            .map(|hash| hash.to_string())
            .map_err(|error| format!("the secret cannot be hashed: {error}"))
    }

    fn hasher(self) -> Option<Argon2<'static>> {
        let parameters = Params::new(self.memory, self.passes, self.lanes, None).ok()?;
        Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_of_another_kind_or_cost_is_told_apart() {
        let good = Parameters::default().hash_of_nothing();
        assert_eq!(Parameters::of(&good), Ok(Parameters::default()));
        assert!(!Parameters::default().weak());
        let weak = Parameters { memory: 8, passes: 1, lanes: 1 };
        assert_eq!(Parameters::of(&weak.hash_of_nothing()).map(Parameters::weak), Ok(true));
        assert_eq!(Parameters::of(&good.replace("argon2id", "argon2i")), Err(Unfit::NotArgon2id));
        assert_eq!(Parameters::of(&good.replace("m=19456", "m=999999")), Err(Unfit::TooCostly));
        assert_eq!(Parameters::of("$argon2id$v=19$m=19456,t=2,p=1"), Err(Unfit::Malformed));
        assert_eq!(Parameters::of("secret"), Err(Unfit::Malformed));
    }
}
