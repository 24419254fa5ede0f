//! The play in five acts: sidecars take their places, messages are sent, one sidecar dies, the other finishes, the curtain.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::app::App;
use super::crew::Member;
use super::planting::{PARTITIONS, Plan};
use super::progress::Progress;
use super::report::{Abortion, Findings, Report};
use super::topic::{Ends, Watcher};
use super::world::World;
use crate::sidecar::Failure;

/// Names of the sidecars: the first one dies half way.
const NAMES: [&str; 2] = ["one", "two"];

/// Requests of the doomed sidecar that are applied and not answered when it dies.
const UNANSWERED: u64 = 12;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(20);

/// Bounds of the acts, far above what each takes: both sidecars have partitions; one has half of its effects;
/// everything is applied; everything is committed.
const PLACES: Duration = Duration::from_secs(60);
const HALF: Duration = Duration::from_secs(60);
const ALL: Duration = Duration::from_secs(120);
const COMMITTED: Duration = Duration::from_secs(30);

/// What every act needs.
struct Stage<'a> {
    world: &'a World,
    app: &'a App,
    progress: &'a Progress,
    crew: Vec<Member>,
}

/// Plays it in that world and says what was found.
pub(super) fn play(world: &World, logs: bool) -> Result<Report, Failure> {
    let (began, plan) = (Instant::now(), Plan::new());
    let app = App::start().map_err(failed)?;
    let progress = Progress::new(plan.distinct(), logs);
    let mut stage = Stage { world, app: &app, progress: &progress, crew: Vec::new() };
    let shares = stage.take_places()?;
    let ends = world.topic.send(&plan.messages).map_err(failed)?;
    let doomed_share = plan.distinct() * shares[0] / PARTITIONS.unsigned_abs() as usize;
    let aborted = stage.abort_half_way(doomed_share / 2)?;
    stage.await_all(&plan)?;
    let committed = stage.await_commits(&ends)?;
    let (survivors, failures) = stage.end()?;
    let books = app.books().clone();
    let findings = Findings {
        world: world.description(),
        topic: &world.topic.name,
        plan: &plan,
        books: &books,
        survivors,
        aborted,
        committed,
        failures,
        took: began.elapsed(),
    };
    Ok(Report::new(&findings))
}

impl Stage<'_> {
    /// Starts the sidecars and waits until the group has given each its partitions; how many each has.
    fn take_places(&mut self) -> Result<Vec<usize>, Failure> {
        self.progress.phase("sidecars join their group");
        for name in NAMES {
            let member = self.world.sidecar(name, self.app)?;
            self.crew.push(member);
        }
        let mut shares = Vec::new();
        let placed = self.until(PLACES, |stage| {
            let counters = stage.crew.iter().map(Member::counters).collect::<anyhow::Result<Vec<_>>>()?;
            shares = counters.iter().map(|counters| usize::try_from(counters.partitions).unwrap_or(0)).collect();
            Ok(!shares.contains(&0) && shares.iter().sum::<usize>() == PARTITIONS.unsigned_abs() as usize)
        })?;
        match placed {
            true => Ok(shares),
            false => Err(Failure::Failed("the sidecars did not get their partitions in time".to_owned())),
        }
    }

    /// Aborts the first sidecar once it has so many effects and some of its requests wait for their answer.
    fn abort_half_way(&mut self, effects: usize) -> Result<Abortion, Failure> {
        self.progress.phase("working");
        let name = NAMES[0];
        let half = self.until(HALF, |stage| Ok(stage.app.books().applied_by(name) >= effects))?;
        self.app.hold(name);
        let held = self.until(HALF, |stage| Ok(stage.app.books().held >= UNANSWERED))?;
        if !(half && held) {
            return Err(Failure::Failed("the sidecars did not get half way in time".to_owned()));
        }
        let aborted = self.crew.remove(0).abort()?;
        self.progress.phase("one sidecar is dead; its lease must end");
        let unanswered = self.app.books().held;
        let by = self.world.way_to_abort();
        Ok(Abortion { by, unanswered, counters: aborted.counters, counters_are_last: aborted.last })
    }

    /// Waits until every message has had its effect. What is missing at the deadline is for the report to say.
    fn await_all(&mut self, plan: &Plan) -> Result<(), Failure> {
        self.until(ALL, |stage| Ok(stage.app.books().applied.len() >= plan.distinct())).map(drop)
    }

    fn await_commits(&mut self, ends: &Ends) -> Result<bool, Failure> {
        self.progress.phase("the last duplicates and commits");
        let watcher = self.world.topic.watcher().map_err(failed)?;
        self.until(COMMITTED, |_| committed_to(&watcher, ends))
    }

    /// Takes the last counters and drains what still runs.
    fn end(&mut self) -> Result<(Vec<super::scrape::Counters>, Vec<String>), Failure> {
        self.progress.phase("draining");
        let (mut counters, mut failures) = (Vec::new(), Vec::new());
        for member in self.crew.drain(..) {
            counters.push(member.counters().map_err(failed)?);
            if let Err(failure) = member.stop() {
                failures.push(format!("a sidecar did not end as asked: {failure}"));
            }
        }
        Ok((counters, failures))
    }

    /// Looks until `done` says so (`true`) or the time is over (`false`).
    fn until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> anyhow::Result<bool>) -> Result<bool, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            if self.world.is_interrupted() {
                return Err(Failure::Failed("interrupted".to_owned()));
            }
            if let Some(at) = self.crew.iter_mut().position(Member::has_ended) {
                self.crew.remove(at).stop()?; // says why
                return Err(Failure::Failed("a sidecar has ended by itself".to_owned()));
            }
            let is_done = done(self).map_err(failed)?;
            self.progress.applied(self.app.books().applied.len());
            if is_done || Instant::now() >= deadline {
                return Ok(is_done);
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn committed_to(watcher: &Watcher, ends: &Ends) -> anyhow::Result<bool> {
    let committed: BTreeMap<i32, i64> = watcher.committed()?;
    Ok(committed == *ends)
}

fn failed(error: anyhow::Error) -> Failure {
    Failure::Failed(format!("{error:#}"))
}
