//! Records that wait for a time: a heap of moments. Bounded by the number of open records.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::table::Token;
use crate::domain::time::Moment;

/// Which record to wake when. A record that has gone meanwhile is not found by its token: nothing is ever cancelled.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Moment, Token)>>);

impl Timers {
    pub(super) fn wake(&mut self, at: Moment, token: Token) {
        self.0.push(Reverse((at, token)));
    }

    pub(super) fn next(&self) -> Option<Moment> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn due(&mut self, now: Moment) -> Option<Token> {
        (self.next()? <= now).then(|| self.0.pop().map(|Reverse((_, token))| token))?
    }
}
