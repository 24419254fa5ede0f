//! How many requests the app is sent at once: as many as make it faster, and no more.
//!
//! Hill climbing on throughput, as in the Incremental Steps method of Heiss and Wagner (*Adaptive Load Control in
//! Transaction Processing Systems*, VLDB 1991): a step is kept when it pays, else the next one is shorter and goes the
//! other way. Latency needs no baseline for that, so apps with quick and slow messages are no trouble. A step down is
//! kept when it costs nothing: what only waits inside of the app would be in doubt after a crash. To an app that says
//! that it is overloaded the limit falls at once, by a part (multiplicative decrease: Chiu and Jain, *Analysis of the
//! Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks*, 1989).

use std::time::Duration;

use super::time::Moment;

/// Where it begins, if it may: far above what a slow app needs, and few steps from what a quick one can use.
const BEGIN: usize = 64;

/// A level is measured for so long, at least.
const SPAN: Duration = Duration::from_millis(200);

/// And for so many answers for each request that may be open; for one only where that takes long.
const ANSWERS: u64 = 4;
const LONG: Duration = Duration::from_secs(2);

/// Where fewer than so many percent of the answers came while the limit was reached, it was not the limit that held
/// the app back, and the measurement says nothing.
const BINDING: u64 = 80;

/// A step up must bring so much more.
const GAIN: f64 = 1.05;

/// A step down may cost so much.
const COST: f64 = 0.98;

/// Measurements between two searches.
const REST: u32 = 20;

/// Another load, or another app: the search begins anew.
const CHANGE: f64 = 0.7;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// The limit that we have.
    Center,
    /// A higher or lower one.
    Step,
    /// The limit that we have, for so many more measurements.
    Rest(u32),
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Measuring {
    /// Requests that were sent under another limit are still open.
    Settling { left: u64 },
    /// Answers since a moment, and those of them that came while the limit was reached.
    Counting { since: Moment, answers: u64, bound: u64 },
}

/// The limit on open requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limiter {
    most: usize,
    limit: usize,
    center: usize,
    /// Answers a second at the center; 0 before the first measurement.
    rate: f64,
    step: usize,
    up: bool,
    /// Steps that did not pay, in a row.
    vain: u32,
    trial: Trial,
    measuring: Measuring,
    /// Answers that are still about the time before the last fall.
    deaf: u64,
}

impl Limiter {
    /// At most so many, at least 1.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        let limit = most.min(BEGIN);
        let measuring = Measuring::Settling { left: limit as u64 };
        let (step, trial) = (half(limit), Trial::Center);
        Self { most, limit, center: limit, rate: 0.0, step, up: false, vain: 0, trial, measuring, deaf: 0 }
    }

    /// How many requests may be open now.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The app has done what it was asked, or refused it; `bound`: as many requests were open as might be.
    pub fn worked(&mut self, bound: bool, now: Moment) {
        self.deaf = self.deaf.saturating_sub(1);
        match &mut self.measuring {
            Measuring::Settling { left } if *left > 1 => *left -= 1,
            Measuring::Settling { .. } => {
                self.measuring = Measuring::Counting { since: now, answers: 0, bound: 0 };
            }
            Measuring::Counting { since, answers, bound: while_bound } => {
                *answers += 1;
                *while_bound += u64::from(bound);
                let span = now.since(*since);
                let turns = if span >= LONG { 1 } else { ANSWERS };
                if span >= SPAN && *answers >= turns * self.limit as u64 {
                    let (rate, says) = (per_second(*answers, span), *while_bound * 100 >= *answers * BINDING);
                    if says {
                        self.measured(rate);
                    }
                    self.measure();
                }
            }
        }
    }

    /// The app says that it is overloaded.
    pub fn overloaded(&mut self) {
        if self.deaf > 0 {
            self.deaf -= 1;
            return;
        }
        self.deaf = self.limit as u64;
        self.limit = (self.limit * 3 / 4).max(1);
        (self.center, self.rate) = (self.limit, 0.0);
        (self.step, self.up, self.vain, self.trial) = (1, true, 0, Trial::Center);
        self.measure();
    }

    /// Nothing is open: time goes by that is not the app's.
    pub fn idle(&mut self) {
        self.measure();
    }

    fn measure(&mut self) {
        self.measuring = Measuring::Settling { left: self.limit as u64 };
    }

    fn measured(&mut self, rate: f64) {
        match self.trial {
            Trial::Step => self.stepped(rate),
            Trial::Rest(left) => {
                let changed = rate < self.rate * CHANGE || self.rate < rate * CHANGE;
                self.rate = rate;
                if changed {
                    (self.step, self.up, self.vain) = (half(self.center), self.center < self.most, 0);
                    self.go_on();
                } else if left > 0 {
                    self.trial = Trial::Rest(left - 1);
                } else {
                    (self.step, self.vain) = ((self.center / 8).max(1), 0);
                    self.go_on();
                }
            }
            Trial::Center => {
                self.rate = rate;
                self.go_on();
            }
        }
    }

    /// A step was measured: is it kept?
    fn stepped(&mut self, rate: f64) {
        let pays = if self.up { rate > self.rate * GAIN } else { rate >= self.rate * COST };
        if pays {
            // Many steps down that cost a little would cost much: each is compared with the best.
            (self.center, self.rate) = (self.limit, rate.max(self.rate));
            (self.step, self.vain) = ((self.step * 2).min(half(self.center)), 0);
            self.go_on();
        } else {
            self.turn_back();
            if self.vain < 2 || self.step > 1 {
                (self.limit, self.trial) = (self.center, Trial::Center);
            } else {
                (self.limit, self.trial) = (self.center, Trial::Rest(REST));
            }
        }
    }

    fn turn_back(&mut self) {
        (self.up, self.step) = (!self.up, half(self.step));
        self.vain += 1;
    }

    /// The next step, the other way where there is no more room; a limit of one has no room at all.
    fn go_on(&mut self) {
        if self.up && self.center == self.most || !self.up && self.center == 1 {
            self.up = !self.up;
            self.vain += 1;
        }
        self.limit = if self.up { (self.center + self.step).min(self.most) } else { (self.center - self.step).max(1) };
        self.trial = if self.limit == self.center { Trial::Rest(REST) } else { Trial::Step };
    }
}

fn half(count: usize) -> usize {
    (count / 2).max(1)
}

#[allow(clippy::cast_precision_loss)] // counts of one measurement
fn per_second(answers: u64, span: Duration) -> f64 {
    answers as f64 / span.as_secs_f64()
}

#[cfg(test)]
mod tests;
