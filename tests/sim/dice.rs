//! Chance by seed: each part of the world throws its own dice, so that one more throw here changes nothing there.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Dice that several tasks may throw.
pub struct Dice(Mutex<SmallRng>);

impl Dice {
    /// Dice of the part of the world called `name`.
    pub fn new(seed: u64, name: &str) -> Self {
        let hash = blake3::hash(format!("{seed}/{name}").as_bytes());
        let mut half = [0; 8];
        half.copy_from_slice(&hash.as_bytes()[..8]);
        Self(Mutex::new(SmallRng::seed_from_u64(u64::from_le_bytes(half))))
    }

    /// `true` so many times out of a hundred.
    pub fn percent(&self, percent: u32) -> bool {
        percent > 0 && self.below(100) < u64::from(percent)
    }

    /// A number below `end`; 0 when that is 0.
    pub fn below(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.throw().random_range(0..end) }
    }

    /// One of them.
    pub fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).expect("a small number")]
    }

    /// Some milliseconds, `from` to `to`.
    pub fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }

    fn throw(&self) -> std::sync::MutexGuard<'_, SmallRng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
