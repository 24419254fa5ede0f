//! Maps and sets whose keys are hashes already: hashing them once more would cost and help nobody.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map from keys that are (or begin with) at least 64 evenly spread bits.
pub type ByHash<K, V> = HashMap<K, V, BuildHasherDefault<Taken>>;

/// A set of such keys.
pub type SetByHash<K> = HashSet<K, BuildHasherDefault<Taken>>;

/// Takes the first eight bytes of a key for its hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken(u64);

impl Hasher for Taken {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn write_usize(&mut self, _length: usize) {} // of a key's bytes: always the same

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::claim::IdHash;

    #[test]
    fn keys_that_differ_in_their_first_bytes_are_spread_and_found() {
        let key = |number: u64| {
            let mut bytes = [7; 16];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            IdHash(bytes)
        };
        let mut map = ByHash::default();
        for number in 0..1000 {
            map.insert(key(number), number);
        }
        assert!((0..1000).all(|number| map.get(&key(number)) == Some(&number)));
        let hash = |number| {
            let mut hasher = Taken::default();
            std::hash::Hash::hash(&key(number), &mut hasher);
            hasher.finish()
        };
        assert_ne!(hash(1), hash(2));
    }
}
