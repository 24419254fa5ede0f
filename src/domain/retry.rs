//! When a record is tried again, and when no more.

use std::time::Duration;

/// The shortest wait before a retry: a failing record never spins, whatever the settings and the dice say.
pub const LEAST_DELAY: Duration = Duration::from_millis(1);

/// How often and how fast to try again (`ONCE_RETRY_ATTEMPTS`, `ONCE_RETRY_BACKOFF`, `ONCE_RETRY_BACKOFF_MAX`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many retries may be spent: each failed or unknown answer spends one. `None` = for ever.
    pub attempts: Option<u32>,
    /// The longest wait after the first failure; it doubles with each further one.
    pub backoff: Duration,
    /// No wait is longer than this, neither ours nor one the app asked for.
    pub backoff_max: Duration,
}

impl RetryPolicy {
    /// The wait before the next request: anything up to `backoff * 2^(spent - 1)`, capped, and at least 1 ms.
    ///
    /// "Full jitter" of Marc Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015: of the ways to
    /// spread retries it costs the least work in all. `retries_spent` counts the answer that this wait follows (for an
    /// answer that spends none: how many of its kind came in a row); `chance` is even in 0..1.
    pub fn delay(&self, retries_spent: u32, chance: f64) -> Duration {
        let chance = if chance.is_nan() { 1.0 } else { chance.clamp(0.0, 1.0) };
        let longest = self.longest_delay(retries_spent);
        // `mul_f64` would panic where the longest duration of all is rounded up.
        let drawn = Duration::try_from_secs_f64(longest.as_secs_f64() * chance).unwrap_or(longest);
        drawn.min(longest).max(LEAST_DELAY)
    }

    /// The wait the app asked for by `Retry-After`: at least 1 ms, at most `backoff_max`.
    pub fn bounded(&self, retry_after: Duration) -> Duration {
        retry_after.min(self.backoff_max).max(LEAST_DELAY)
    }

    /// Whether the last retry is spent: the record goes to the dead-letter topic instead of to the app.
    pub fn exhausted(&self, retries_spent: u32) -> bool {
        self.attempts.is_some_and(|attempts| retries_spent >= attempts)
    }

    /// What full jitter draws from.
    fn longest_delay(&self, retries_spent: u32) -> Duration {
        let doublings = retries_spent.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.backoff.saturating_mul(factor).min(self.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: RetryPolicy =
        RetryPolicy { attempts: Some(10), backoff: Duration::from_millis(100), backoff_max: Duration::from_secs(30) };

    #[test]
    fn the_longest_wait_doubles_from_the_backoff_up_to_the_cap() {
        let expected = [(0, 100), (1, 100), (2, 200), (3, 400), (9, 25_600), (10, 30_000), (33, 30_000), (99, 30_000)];
        for (spent, millis) in expected {
            assert_eq!(POLICY.delay(spent, 1.0), Duration::from_millis(millis), "after {spent}");
        }
    }

    #[test]
    fn the_wait_is_the_drawn_part_of_the_longest_one() {
        for (chance, millis) in [(0.0, 1), (0.25, 50), (0.5, 100), (f64::NAN, 200), (-1.0, 1), (7.0, 200)] {
            assert_eq!(POLICY.delay(2, chance), Duration::from_millis(millis), "chance {chance}");
        }
    }

    #[test]
    fn the_longest_duration_of_all_is_no_panic() {
        let policy = RetryPolicy { attempts: None, backoff: Duration::MAX, backoff_max: Duration::MAX };
        assert_eq!(policy.delay(u32::MAX, 1.0), Duration::MAX);
    }

    #[test]
    fn retries_are_exhausted_exactly_when_all_are_spent() {
        let for_ever = RetryPolicy { attempts: None, ..POLICY };
        for (policy, spent, exhausted) in [
            (POLICY, 0, false),
            (POLICY, 9, false),
            (POLICY, 10, true),
            (POLICY, 11, true),
            (for_ever, u32::MAX, false),
        ] {
            assert_eq!(policy.exhausted(spent), exhausted, "{policy:?} after {spent}");
        }
    }

    #[test]
    fn an_absurd_retry_after_is_bounded() {
        let (ms, secs) = (Duration::from_millis, Duration::from_secs);
        for (asked, given) in [(secs(0), ms(1)), (secs(7), secs(7)), (secs(31), secs(30)), (Duration::MAX, secs(30))] {
            assert_eq!(POLICY.bounded(asked), given);
        }
    }

    proptest! {
        #[test]
        fn no_setting_makes_a_wait_zero_or_longer_than_the_cap(
            spent: u32,
            chance in 0.0..1.0_f64,
            backoff in 0_u64..=u64::MAX,
            backoff_max in 0_u64..=u64::MAX,
        ) {
            let policy = RetryPolicy {
                attempts: None,
                backoff: Duration::from_millis(backoff),
                backoff_max: Duration::from_millis(backoff_max),
            };
            let delay = policy.delay(spent, chance);
            prop_assert!(delay >= LEAST_DELAY);
            prop_assert!(delay <= policy.backoff_max.max(LEAST_DELAY));
        }

        #[test]
        fn a_larger_draw_never_waits_shorter(spent in 0_u32..64, low in 0.0..1.0_f64, high in 0.0..1.0_f64) {
            let (low, high) = if low <= high { (low, high) } else { (high, low) };
            prop_assert!(POLICY.delay(spent, low) <= POLICY.delay(spent, high));
        }
    }
}
