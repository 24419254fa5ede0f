//! How many records an app may still give up on: the bound that keeps an outage from draining a topic into the
//! dead-letter topic.

/// So many times the budget can be earned by successes.
const MOST_EARNED: u32 = 10;

/// The budget of dead letters that an app's answers draw on (`ONCE_DEAD_LETTER_BUDGET`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// `None`: unlimited.
    size: Option<u32>,
    left: u32,
}

impl Budget {
    /// A full one; `None` is never spent.
    pub fn new(size: Option<u32>) -> Self {
        Self { size, left: size.unwrap_or(0) }
    }

    /// Whether nothing is left.
    pub fn is_spent(&self) -> bool {
        self.size.is_some() && self.left == 0
    }

    /// A record is dead-lettered because of an answer.
    pub fn draw(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// The app has accepted a record.
    pub fn earn(&mut self) {
        let most = self.size.map_or(0, |size| size.saturating_mul(MOST_EARNED));
        self.left = self.left.saturating_add(1).min(most);
    }

    /// An operator has looked: it is as full as at first, at least.
    pub fn restore(&mut self) {
        self.left = self.left.max(self.size.unwrap_or(0));
    }

    /// What is left; `None`: unlimited.
    pub fn left(&self) -> Option<u32> {
        self.size.map(|_| self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_draw_on_it_successes_earn_one_back_up_to_ten_times_its_size() {
        let mut budget = Budget::new(Some(2));
        budget.draw();
        assert!(!budget.is_spent());
        budget.draw();
        assert!(budget.is_spent());
        budget.draw();
        budget.earn();
        assert_eq!((budget.is_spent(), budget.left()), (false, Some(1)), "one success reopens it");
        (0..100).for_each(|_| budget.earn());
        assert_eq!(budget.left(), Some(20));
        budget.restore();
        assert_eq!(budget.left(), Some(20), "nothing earned is taken away");
        (0..20).for_each(|_| budget.draw());
        budget.restore();
        assert_eq!(budget.left(), Some(2));
    }

    #[test]
    fn an_unlimited_one_is_never_spent() {
        let mut budget = Budget::new(None);
        budget.draw();
        budget.earn();
        budget.restore();
        assert_eq!((budget.is_spent(), budget.left()), (false, None));
    }
}
