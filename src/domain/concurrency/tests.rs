//! The limiter in front of model apps: what each does with so many requests at once is a function.
#![allow(clippy::cast_precision_loss)] // small counts

use super::*;

/// Answers a second that an app gives to so many requests at once.
type Model = fn(usize) -> f64;

/// Each request takes 10 ms, whatever there is beside it.
fn steady(open: usize) -> f64 {
    open as f64 * 100.0
}

/// Sixteen workers; what comes beyond only waits.
fn sixteen_workers(open: usize) -> f64 {
    open.min(16) as f64 * 100.0
}

/// Beyond sixteen they get into each other's way.
fn collapses_above_sixteen(open: usize) -> f64 {
    if open <= 16 { steady(open) } else { 1_600.0 * (16.0 / open as f64).powi(2) }
}

struct World {
    limiter: Limiter,
    now: Moment,
    noise: f64,
    dice: u64,
}

impl World {
    fn new(most: usize, noise: f64) -> Self {
        Self { limiter: Limiter::new(most), now: Moment(0), noise, dice: 1 }
    }

    fn chance(&mut self) -> f64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) as f64 / f64::from(u32::MAX >> 1)
    }

    /// Runs for so long with more work than the app can take; answers a second on average.
    fn run(&mut self, model: Model, seconds: u64) -> f64 {
        let (begin, mut answers) = (self.now, 0_u32);
        while self.now.since(begin) < Duration::from_secs(seconds) {
            let wait = 1.0 / model(self.limiter.limit()) * (1.0 + self.noise * (2.0 * self.chance() - 1.0));
            self.now = self.now.after(Duration::from_secs_f64(wait));
            self.limiter.worked(true, self.now);
            answers += 1;
        }
        f64::from(answers) / self.now.since(begin).as_secs_f64()
    }
}

#[test]
fn an_app_that_gains_by_every_request_is_sent_as_many_as_may_be() {
    for (most, noise) in [(64, 0.0), (64, 0.9), (10, 0.0), (1, 0.0), (1_000, 0.0)] {
        let mut world = World::new(most, noise);
        world.run(steady, 5);
        assert!(world.run(steady, 120) > 0.95 * steady(most), "at most {most}, noise {noise}: {:?}", world.limiter);
    }
}

#[test]
fn an_app_that_collapses_keeps_nine_tenths_of_its_best() {
    for (most, noise) in [(64, 0.0), (64, 0.9), (1000, 0.0), (17, 0.0)] {
        let mut world = World::new(most, noise);
        world.run(collapses_above_sixteen, 20);
        let rate = world.run(collapses_above_sixteen, 120);
        assert!(rate > 0.9 * 1_600.0, "at most {most}, noise {noise}: {rate}");
    }
}

#[test]
fn what_would_only_wait_inside_of_the_app_is_not_sent() {
    let mut world = World::new(64, 0.0);
    let rate = world.run(sixteen_workers, 120);
    assert!((15..=20).contains(&world.limiter.limit()), "{:?}", world.limiter);
    assert!(rate > 0.95 * 1_600.0, "{rate}");
}

#[test]
fn an_overloaded_app_is_sent_less_at_once_and_more_again_when_it_is_not() {
    let mut world = World::new(64, 0.0);
    world.limiter.overloaded();
    assert_eq!(world.limiter.limit(), 48);
    (0..63).for_each(|_| world.limiter.overloaded());
    assert_eq!(world.limiter.limit(), 48, "those were sent before");
    (0..10_000).for_each(|_| world.limiter.overloaded());
    assert_eq!(world.limiter.limit(), 1, "never none");
    world.run(steady, 5);
    assert!(world.run(steady, 5) > 0.9 * steady(64), "{:?}", world.limiter);
}

/// Each request takes 20 s: that many turns, not minutes for each level.
#[test]
fn an_app_that_takes_long_for_each_request_is_soon_sent_more_again_too() {
    let slow = |open: usize| open as f64 / 20.0;
    let mut world = World::new(64, 0.0);
    (0..10_000).for_each(|_| world.limiter.overloaded());
    world.run(slow, 20 * 30);
    assert!(world.limiter.limit() > 56, "{:?}", world.limiter);
}

#[test]
fn an_app_that_becomes_slower_or_quicker_is_measured_anew() {
    let mut world = World::new(64, 0.0);
    world.run(sixteen_workers, 60);
    world.run(steady, 10);
    assert!(world.run(steady, 30) > 0.95 * steady(64), "{:?}", world.limiter);
    world.run(collapses_above_sixteen, 15);
    assert!(world.run(collapses_above_sixteen, 60) > 0.9 * 1_600.0, "{:?}", world.limiter);
}

#[test]
fn where_there_is_too_little_to_do_the_limit_stays() {
    let mut limiter = Limiter::new(64);
    let mut now = Moment(0);
    for answer in 0_u32..100_000 {
        now = now.after(Duration::from_millis(1));
        limiter.worked(answer % 2 == 0, now);
    }
    assert_eq!(limiter.limit(), 64);
}

#[test]
fn time_in_which_nothing_is_open_is_not_the_apps() {
    let (mut limiter, mut now) = (Limiter::new(4), Moment(0));
    for _ in 0..1_000 {
        for _ in 0..7 {
            now = now.after(Duration::from_millis(100));
            limiter.worked(true, now);
        }
        limiter.idle();
    }
    assert_eq!((limiter.limit(), limiter.rate), (4, 0.0), "nothing was measured");
}
