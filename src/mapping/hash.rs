//! Hashes of old secrets: argon2id in PHC text, e.g. `$argon2id$v=19$m=19456,t=2,p=1$...`.

use argon2::{Algorithm, Argon2, Params, Version};
use password_hash::PasswordHasher;
use password_hash::phc::PasswordHash;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::chance::{Entropy, random};

/// What a login may cost at most: 256 MiB, 16 passes.
const MOST_MEMORY: u32 = 262_144;
const MOST_PASSES: u32 = 16;

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
        let params = Params::try_from(&hash).map_err(|_| Unfit::Malformed)?;
        let version = hash.version.is_some_and(|version| Version::try_from(version).is_ok());
        let salted = hash.salt.is_some_and(|salt| salt.len() >= argon2::MIN_SALT_LEN);
        let stated = ["m", "t", "p"].iter().all(|name| hash.params.get(*name).is_some());
        if !version || !salted || !stated || hash.hash.is_none() {
            return Err(Unfit::Malformed);
        }
        let parameters = Self { memory: params.m_cost(), passes: params.t_cost(), lanes: params.p_cost() };
        if parameters.memory > MOST_MEMORY || parameters.passes > MOST_PASSES {
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
        let parameters = Params::new(self.memory, self.passes, self.lanes, None)
            .map_err(|_| "these parameters fit no argon2id hash")?;
        Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
            .hash_password_with_salt(secret.expose_secret().as_bytes(), &random::<16>(entropy))
            .map(|hash| hash.to_string())
            .map_err(|error| format!("the secret cannot be hashed: {error}"))
    }

    /// A hash that nobody made: no secret is known to fit it, and it costs what others of these parameters cost.
    pub(super) fn hash_of_nobody(self) -> String {
        let Self { memory, passes, lanes } = self;
        let (salt, hash) = ("A".repeat(22), "A".repeat(43));
        format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
    }
}

#[cfg(test)]
impl Parameters {
    /// For tests, which have no time.
    pub(super) fn cheap(memory: u32, passes: u32) -> Self {
        Self { memory, passes, lanes: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_of_another_kind_or_cost_is_told_apart() {
        let good = Parameters::default().hash_of_nobody();
        assert_eq!(Parameters::of(&good), Ok(Parameters::default()));
        assert!(!Parameters::default().weak());
        let weak = Parameters { memory: 8, passes: 1, lanes: 1 };
        assert_eq!(Parameters::of(&weak.hash_of_nobody()).map(Parameters::weak), Ok(true));
        assert_eq!(Parameters::of(&good.replace("argon2id", "argon2i")), Err(Unfit::NotArgon2id));
        assert_eq!(Parameters::of(&good.replace("m=19456", "m=999999")), Err(Unfit::TooCostly));
        for part in ["v=19$", "m=19456,", ",t=2", ",p=1"] {
            assert_eq!(Parameters::of(&good.replace(part, "")), Err(Unfit::Malformed), "without {part}");
        }
        assert_eq!(Parameters::of(&good.replace("p=1", "p=1,x=1")), Err(Unfit::Malformed), "nobody knows x");
        assert_eq!(Parameters::of(&good.replace("$AAAAAAAAAAAAAAAAAAAAAA$", "$AAAA$")), Err(Unfit::Malformed));
        assert_eq!(Parameters::of("$argon2id$v=19$m=19456,t=2,p=1"), Err(Unfit::Malformed));
        assert_eq!(Parameters::of("secret"), Err(Unfit::Malformed));
    }
}
