//! The one place that reads the clocks and throws the dice.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::domain::claim::SessionId;
use crate::domain::time::{Moment, Now, UnixMillis};

/// This process' monotonic clock, wall clock and chance. The simulation gives each sidecar its own, skewed and seeded.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// What the wall clock showed then; `None`: the host's own is read each time, as it may be set meanwhile.
    wall_at_start: Option<UnixMillis>,
    chance: SmallRng,
}

impl Clock {
    /// The clocks of this host, and chance from its entropy.
    pub fn of_host() -> Self {
        Self { wall_at_start: None, ..Self::new(UnixMillis(0), rand::random()) }
    }

    /// A clock that shows `wall` now and whose chance follows from `seed`.
    pub fn new(wall: UnixMillis, seed: u64) -> Self {
        use rand::SeedableRng;
        Self { started: Instant::now(), wall_at_start: Some(wall), chance: SmallRng::seed_from_u64(seed) }
    }

    /// The present.
    pub fn now(&self) -> Now {
        let since = self.started.elapsed();
        let moment = Moment(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
        Now { moment, wall: self.wall_at_start.map_or_else(wall_of_host, |wall| wall.after(since)) }
    }

    /// The runtime's instant for a moment; moments beyond a year are as good as never.
    pub fn instant(&self, moment: Moment) -> Instant {
        const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
        self.started + Duration::from_micros(moment.0).min(self.started.elapsed() + NEVER)
    }

    /// Chance, in `0.0..1.0`.
    pub fn chance(&mut self) -> f64 {
        self.chance.random()
    }

    /// A name for a session that no other has.
    pub fn session_id(&mut self) -> SessionId {
        SessionId(self.chance.random())
    }
}

fn wall_of_host() -> UnixMillis {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX))
}
