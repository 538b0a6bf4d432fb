//! Text and bytes that are wiped when they are dropped.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

/// A `String` or a `Vec<u8>`, wiped when dropped, as `Zeroizing` does it byte by byte: this wipes all bytes at once. A login holds
/// ten kilobytes of such, an API call two.
#[derive(Clone, Default)]
pub struct Wiped<T: Default + Into<Vec<u8>>>(T);

impl<T: Default + Into<Vec<u8>>> Wiped<T> {
    /// From now on.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T: Default + Into<Vec<u8>>> Drop for Wiped<T> {
    fn drop(&mut self) {
        wipe(&mut mem::take(&mut self.0).into());
    }
}

/// What it held, and what it held before it became shorter.
fn wipe(bytes: &mut Vec<u8>) {
    bytes.as_mut_slice().zeroize();
    bytes.spare_capacity_mut().zeroize();
}

impl<T: Default + Into<Vec<u8>>> Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Default + Into<Vec<u8>>> DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Default + Into<Vec<u8>> + AsRef<[u8]>> AsRef<[u8]> for Wiped<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl<T: Default + Into<Vec<u8>>> fmt::Debug for Wiped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wiped")
    }
}

/// Bytes of the parts that are joined without an allocation.
const SHORT: usize = 128;

/// Lends out parts one behind the other. Nothing of them stays anywhere.
pub(super) fn joined<R>(parts: &[&[u8]], lend: impl FnOnce(&[u8]) -> R) -> R {
    let mut short = [0; SHORT];
    let mut end = 0;
    for part in parts {
        let Some(room) = short.get_mut(end..end + part.len()) else { return lend(&Wiped::new(parts.concat())) };
        room.copy_from_slice(part);
        end += part.len();
    }
    let lent = lend(short.get(..end).unwrap_or_default());
    short.as_mut_slice().zeroize();
    lent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_lent_one_behind_the_other_however_long_they_are() {
        for long in [0, 1, SHORT - 2, SHORT - 1, SHORT, SHORT * 3] {
            let part = vec![b'a'; long];
            joined(&[b"(", &part, b")"], |whole| assert_eq!(whole, [b"(", &*part, b")"].concat()));
        }
    }

    #[test]
    fn every_byte_is_wiped_and_none_is_shown() {
        let mut bytes = b"a secret".to_vec();
        wipe(&mut bytes);
        assert_eq!(bytes, [0; 8]);
        let text = Wiped::new("a secret".to_owned());
        assert_eq!(text.as_str(), "a secret");
        assert_eq!(format!("{text:?}"), "Wiped");
    }
}
