//! How many claims may run ahead of the requests: enough that no courier waits for the store, and not more, because a
//! crash leaves every claimed record in doubt, sent or not.

/// Claims ahead at first and at least.
const LEAST: usize = 32;

/// Claims ahead at most.
const MOST: usize = 256;

/// Doubles when couriers starve, shrinks by a quarter at each tick in which half of it was never needed.
#[derive(Debug)]
pub(super) struct Ahead {
    bound: usize,
    /// The fewest claimed records that waited for a courier since the last tick.
    fewest_waiting: usize,
}

impl Ahead {
    pub(super) fn new() -> Self {
        Self { bound: LEAST, fewest_waiting: 0 }
    }

    /// Claims that may be out or waiting to be sent.
    pub(super) fn bound(&self) -> usize {
        self.bound
    }

    /// So many claimed records wait for a courier, after all that could be sent was sent.
    pub(super) fn waiting(&mut self, waiting: usize) {
        self.fewest_waiting = self.fewest_waiting.min(waiting);
    }

    /// Couriers are free, nothing claimed is left to send, and more could be claimed.
    pub(super) fn starved(&mut self) {
        self.bound = (self.bound * 2).min(MOST);
    }

    /// Called from time to time.
    pub(super) fn tick(&mut self) {
        if self.fewest_waiting > self.bound / 2 {
            self.bound = (self.bound - self.bound / 4).max(LEAST);
        }
        self.fewest_waiting = usize::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_couriers_starve_and_shrinks_when_half_is_never_needed() {
        let mut ahead = Ahead::new();
        for _ in 0..10 {
            ahead.starved();
        }
        assert_eq!(ahead.bound(), MOST);
        ahead.tick();
        ahead.waiting(200);
        ahead.tick();
        assert_eq!(ahead.bound(), MOST - MOST / 4);
        ahead.waiting(10);
        ahead.tick();
        assert_eq!(ahead.bound(), MOST - MOST / 4, "it was needed");
        for _ in 0..20 {
            ahead.waiting(MOST);
            ahead.tick();
        }
        assert_eq!(ahead.bound(), LEAST);
    }
}
