//! The play in five acts: sidecars take their places, messages are sent, one sidecar dies, the other finishes, the curtain.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};

use super::app::App;
use super::crew::Member;
use super::planting::{Gap, PARTITIONS, Plan};
use super::progress::Progress;
use super::report::{Abortion, Findings, Report};
use super::scrape::{self, Counters};
use super::topic::{Ends, Watcher};
use super::world::World;

/// Names of the sidecars: the first one dies half way.
const NAMES: [&str; 2] = ["one", "two"];

/// Requests of the doomed sidecar that are applied and not answered when it dies.
const UNANSWERED: u64 = 12;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(20);

/// A sidecar that does not answer may be about to end, and then says why.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Bounds of the acts, far above what each takes: both sidecars have partitions; one has half of its effects;
/// everything is applied; everything is committed; every loss is named.
const PLACES: Duration = Duration::from_secs(45);
const HALF: Duration = Duration::from_secs(60);
const ALL: Duration = Duration::from_secs(120);
const COMMITTED: Duration = Duration::from_secs(30);
const NAMED: Duration = Duration::from_secs(30);

/// What every act needs.
struct Stage<'a> {
    world: &'a World,
    app: &'a App,
    progress: &'a Progress,
    crew: Vec<Member>,
}

/// Plays it in that world and says what was found.
pub(super) fn play(world: &World, logs: bool) -> anyhow::Result<Report> {
    let (began, plan) = (Instant::now(), Plan::new());
    let app = App::start()?;
    let progress = Progress::new(plan.distinct(), logs);
    let mut stage = Stage { world, app: &app, progress: &progress, crew: Vec::new() };
    let shares = stage.take_places()?;
    let ends = world.topic.send(&plan.messages)?;
    let doomed_share = plan.distinct() * shares[0] / PARTITIONS.unsigned_abs() as usize;
    let aborted = stage.abort_half_way(doomed_share / 2)?;
    stage.await_all(&plan)?;
    let committed = stage.await_commits(&ends)?;
    let named = stage.await_gaps(&plan)?;
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
        named,
        failures,
        took: began.elapsed(),
    };
    Ok(Report::new(&findings))
}

impl Stage<'_> {
    /// Starts the sidecars and waits until the group has given each its partitions; how many each has.
    fn take_places(&mut self) -> anyhow::Result<Vec<usize>> {
        self.progress.phase("sidecars join their group");
        for name in NAMES {
            let member = self.world.sidecar(name, self.app)?;
            self.crew.push(member);
        }
        let mut shares = Vec::new();
        let placed = self.until(PLACES, |stage| {
            let pages = stage.crew.iter().map(Member::page).collect::<anyhow::Result<Vec<_>>>()?;
            let share = |page: &String| usize::try_from(Counters::read(page).partitions).unwrap_or(0);
            shares = pages.iter().map(share).collect();
            let all_assigned = shares.iter().sum::<usize>() == PARTITIONS.unsigned_abs() as usize;
            Ok(all_assigned && !shares.contains(&0) && pages.iter().all(|page| scrape::away(page).is_empty()))
        })?;
        if placed { Ok(shares) } else { Err(self.too_slow("get their partitions")) }
    }

    /// Aborts the first sidecar once it has so many effects and some of its requests wait for their answer.
    fn abort_half_way(&mut self, effects: usize) -> anyhow::Result<Abortion> {
        self.progress.phase("working");
        let name = NAMES[0];
        let half = self.until(HALF, |stage| Ok(stage.app.books().applied_by(name) >= effects))?;
        self.app.hold(name);
        let held = self.until(HALF, |stage| Ok(stage.app.books().held >= UNANSWERED))?;
        if !(half && held) {
            return Err(self.too_slow("get half way"));
        }
        let aborted = self.crew.remove(0).abort()?;
        self.progress.phase("one sidecar is dead; its lease must end");
        let unanswered = self.app.books().held;
        let by = self.world.way_to_abort();
        Ok(Abortion { by, unanswered, counters: aborted.counters, counters_are_last: aborted.last })
    }

    /// Waits until every message has had its effect. What is missing at the deadline is for the report to say.
    fn await_all(&mut self, plan: &Plan) -> anyhow::Result<()> {
        self.until(ALL, |stage| Ok(stage.app.books().applied.len() >= plan.distinct())).map(drop)
    }

    fn await_commits(&mut self, ends: &Ends) -> anyhow::Result<bool> {
        self.progress.phase("the last duplicates and commits");
        let watcher = self.world.topic.watcher()?;
        self.until(COMMITTED, |_| committed_to(&watcher, ends))
    }

    /// Waits until what never arrived is named as lost; whoever took a partition over knows what was missing before.
    fn await_gaps(&mut self, plan: &Plan) -> anyhow::Result<Vec<Gap>> {
        self.progress.phase("missing numbers become losses");
        let mut named = Vec::new();
        self.until(NAMED, |stage| {
            named = stage.crew.iter().map(Member::lost_gaps).collect::<anyhow::Result<Vec<_>>>()?.concat();
            named.sort();
            Ok(named == plan.gaps)
        })?;
        Ok(named)
    }

    /// Takes the last counters and drains what still runs.
    fn end(&mut self) -> anyhow::Result<(Vec<Counters>, Vec<String>)> {
        self.progress.phase("draining");
        let (mut counters, mut failures) = (Vec::new(), Vec::new());
        for member in self.crew.drain(..) {
            counters.push(member.counters()?);
            if let Err(failure) = member.stop() {
                failures.push(format!("a sidecar did not end as asked: {failure}"));
            }
        }
        Ok((counters, failures))
    }

    /// Why the play cannot go on, with the neighbours that do not answer.
    fn too_slow(&self, what: &str) -> anyhow::Error {
        let pages = self.crew.iter().filter_map(|member| member.page().ok());
        let away: BTreeSet<&str> = pages.flat_map(|page| scrape::away(&page)).collect();
        let away: Vec<&str> = away.into_iter().collect();
        let why = if away.is_empty() { String::new() } else { format!("; no answer from {}", away.join(" and ")) };
        anyhow!("the sidecars did not {what} in time{why}")
    }

    /// An error, which says why, when a sidecar has ended by itself or does so within `patience`.
    fn crew_stands(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(at) = self.crew.iter_mut().position(Member::has_ended) {
                self.crew.remove(at).stop()?;
                bail!("a sidecar has ended by itself");
            }
            if Instant::now() >= deadline {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Looks until `done` says so (`true`) or the time is over (`false`).
    fn until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> anyhow::Result<bool>) -> anyhow::Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            if self.world.is_interrupted() {
                bail!("interrupted");
            }
            self.crew_stands(Duration::ZERO)?;
            let is_done = match done(self) {
                Ok(is_done) => is_done,
                Err(error) => {
                    self.crew_stands(LAST_WORDS)?;
                    return Err(error);
                }
            };
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
