//! Numbers that producers left out, seen from outside of every sidecar, and what the sidecars told of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_once::domain::record::TopicPartition;
use kafka_once::telemetry::status::{Gap, GapState};
use tokio::time::Instant;

use super::plan::{Faults, GAP_GRACE};
use super::sequences::{Stamp, Step};

/// From a record's hand-over to its observation, at most.
const OBSERVED: Duration = Duration::from_secs(1);
/// The same for a process that may have been stopped meanwhile.
const OBSERVED_IF_STOPPED: Duration = Duration::from_secs(20);

/// What is told is known to the millisecond only.
const A_TICK: Duration = Duration::from_millis(2);

/// Numbers that were left out at one place.
#[derive(Debug)]
struct Hole {
    producer: String,
    life: u32,
    first: u64,
    last: u64,
    before: i64,
    after: i64,
    /// When the record behind it was produced.
    shown: Instant,
    /// Where numbers stand that came late.
    arrived: BTreeMap<u64, i64>,
    /// How often each number was told as lost, and by whom.
    told: BTreeMap<u64, Vec<Telling>>,
}

/// Numbers were told, by one assignment of one process.
#[derive(Clone, Copy, Debug)]
struct Telling {
    host: u32,
    since: Instant,
    when: Instant,
}

/// A partition's past was kept, by one assignment of one process.
#[derive(Clone, Copy, Debug)]
struct Kept {
    host: u32,
    since: Instant,
    asked: Instant,
    done: Instant,
}

/// What one process knows of one partition that is or was its own.
#[derive(Debug)]
struct View {
    since: Instant,
    start: i64,
    /// How far whoever had it before has observed it, by what was kept.
    taken_to: i64,
    taken_at: Instant,
    /// Late numbers handed over, and when.
    handed: Vec<(i64, Instant)>,
    /// It takes nothing in any more.
    leaving: Option<Instant>,
}

/// Numbers that a process tells as lost.
#[derive(Debug)]
pub struct Lost {
    pub host: u32,
    pub at: TopicPartition,
    pub producer: String,
    pub first: u64,
    pub last: u64,
    /// The offset behind them, as its page `/gaps` shows it: that of each life in which just these numbers are lost.
    pub after: Vec<i64>,
    pub when: Instant,
}

/// One line of `/gaps`: partition, producer, first and last number, the neighbours' offsets.
type Line = (TopicPartition, String, u64, u64, i64, i64);

/// All that was left out, and all that was told.
#[derive(Debug)]
pub struct Ledger {
    faults: Faults,
    holes: BTreeMap<TopicPartition, Vec<Hole>>,
    /// Where the highest number of a producer stands.
    highest_at: BTreeMap<(TopicPartition, String), i64>,
    views: BTreeMap<(u32, TopicPartition), View>,
    /// How far the store knows each partition to be observed.
    kept_to: BTreeMap<TopicPartition, i64>,
    /// All that was kept, in the order of time.
    keepings: BTreeMap<TopicPartition, Vec<Kept>>,
    /// Partitions of which a process has passed records that nobody had observed, as far as it could know.
    unobserved: BTreeSet<TopicPartition>,
    /// Numbers told by each process.
    told: BTreeMap<u32, u64>,
    late: u64,
    recovered: u64,
}

impl Ledger {
    /// Nothing was left out yet.
    pub fn new(faults: Faults) -> Self {
        let (holes, highest_at, views) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (kept_to, keepings, unobserved, told) =
            (BTreeMap::new(), BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { faults, holes, highest_at, views, kept_to, keepings, unobserved, told, late: 0, recovered: 0 }
    }

    // ---- what happens ----------------------------------------------------------------------------------------------

    /// A numbered record stands in the log.
    pub fn planted(&mut self, at: &TopicPartition, stamp: &Stamp, offset: i64) {
        let Stamp { producer, life, number, step } = stamp;
        let holes = self.holes.entry(at.clone()).or_default();
        match *step {
            Step::Again => return,
            Step::Late => {
                let hole = holes.iter_mut().find(|hole| hole.life == *life && hole.lacks(producer, *number));
                hole.expect("it was left out").arrived.insert(*number, offset);
                self.late += 1;
                return;
            }
            Step::Next => {}
            Step::Over(first) => holes.push(Hole {
                producer: producer.clone(),
                life: *life,
                first,
                last: number - 1,
                before: self.highest_at[&(at.clone(), producer.clone())],
                after: offset,
                shown: Instant::now(),
                arrived: BTreeMap::new(),
                told: BTreeMap::new(),
            }),
        }
        self.highest_at.insert((at.clone(), producer.clone()), offset);
    }

    /// A partition is assigned to a process.
    pub fn assigned(&mut self, host: u32, at: &TopicPartition, start: i64) {
        let (since, handed) = (Instant::now(), Vec::new());
        let view = View { since, start, taken_to: 0, taken_at: since, handed, leaving: None };
        self.views.insert((host, at.clone()), view);
    }

    /// The process takes nothing in of these any more; `None`: of all.
    pub fn leaves(&mut self, host: u32, partitions: Option<&[TopicPartition]>) {
        let of = |at: &TopicPartition| partitions.is_none_or(|partitions| partitions.contains(at));
        for (_, view) in self.views.iter_mut().filter(|((one, at), _)| *one == host && of(at)) {
            view.leaving.get_or_insert_with(Instant::now);
        }
    }

    /// A record that came late is handed over to a process.
    pub fn handed(&mut self, host: u32, at: &TopicPartition, offset: i64) {
        if let Some(view) = self.views.get_mut(&(host, at.clone())) {
            view.handed.push((offset, Instant::now()));
        }
    }

    /// The store keeps what a process had observed of a partition up to here when it asked.
    pub fn kept(&mut self, host: u32, at: &TopicPartition, observed_to: i64, asked: Instant) {
        self.kept_to.insert(at.clone(), observed_to);
        let Some(since) = self.views.get(&(host, at.clone())).map(|view| view.since) else { return };
        let kept = Kept { host, since, asked, done: Instant::now() };
        self.keepings.entry(at.clone()).or_default().push(kept);
    }

    /// A process has asked the store how far its partition was observed. The answer is what was wrong about it.
    pub fn taken(&mut self, host: u32, at: &TopicPartition, observed_to: i64) -> Option<String> {
        let view = self.views.get_mut(&(host, at.clone()))?;
        (view.taken_to, view.taken_at) = (observed_to, Instant::now());
        if observed_to >= view.start {
            return None;
        }
        let start = view.start;
        self.unobserved.insert(at.clone());
        let broken = format!("{at} starts at {start} for {host}, and it was observed to {observed_to} only");
        (!self.store_fails()).then_some(broken)
    }

    /// The group stores a committed offset. The answer is what was wrong about it.
    pub fn committed(&self, at: &TopicPartition, next: i64) -> Option<String> {
        let kept = self.kept_to.get(at).copied().unwrap_or(0);
        let ahead = next > kept && !self.store_fails();
        ahead.then(|| format!("commit {next} of {at} is ahead of what is kept of it, up to {kept}"))
    }

    /// A process tells that numbers are lost. The answers are what was wrong about it.
    pub fn told(&mut self, lost: &Lost) -> Vec<String> {
        *self.told.entry(lost.host).or_default() += lost.last - lost.first + 1;
        let broken: Vec<_> = (lost.first..=lost.last).filter_map(|number| self.told_one(lost, number)).collect();
        // Where the store may forget nothing comes late or twice, so that no gap can be invented behind anything.
        let guessed = self.unobserved.contains(&lost.at) && !self.faults.may_forget();
        if guessed { Vec::new() } else { broken }
    }

    fn told_one(&mut self, lost: &Lost, number: u64) -> Option<String> {
        let Lost { host, at, producer, after, when, .. } = lost;
        let what = format!("{host} tells number {number} of {producer} in {at} as lost");
        let (exact, store_fails) = (self.is_exact(), self.store_fails());
        let view = self.views.get(&(*host, at.clone()));
        let faults = self.faults;
        let meant =
            |hole: &&mut Hole| hole.lacks(producer, number) && (after.is_empty() || after.contains(&hole.after));
        let mut holes: Vec<&mut Hole> = self.holes.get_mut(at).into_iter().flatten().filter(meant).collect();
        if holes.is_empty() {
            return Some(format!("{what}, which was never left out"));
        }
        holes.retain(|hole| hole.shown + GAP_GRACE <= *when);
        if holes.is_empty() {
            return Some(format!("{what} before its grace has ended"));
        }
        let knows = |offset: &i64| view.is_some_and(|view| view.knows(*offset, *when, faults));
        holes.retain(|hole| !hole.arrived.get(&number).is_some_and(knows));
        // In two lives a number may be left out twice.
        let told = |hole: &&mut Hole| (hole.told.get(&number).map(Vec::len), hole.arrived.contains_key(&number));
        let Some(hole) = holes.into_iter().min_by_key(told) else {
            return Some(format!("{what}, which it knows to have arrived"));
        };
        let Some(view) = view else { return Some(format!("{what}, and never had the partition")) };
        let before = hole.told.entry(number).or_default();
        let keepings = self.keepings.get(at).map(Vec::as_slice).unwrap_or_default();
        let kept = before.iter().any(|telling| telling.was_kept_before(keepings, view.taken_at));
        let twice = !before.is_empty() && (exact || (kept && !store_fails));
        before.push(Telling { host: *host, since: view.since, when: *when });
        twice.then(|| format!("{what}, and that was told before"))
    }

    /// A process has ended: what its counters show.
    pub fn closed(&mut self, host: u32, lost: u64, recovered: u64) -> Option<String> {
        self.recovered += recovered;
        let told = self.told.get(&host).copied().unwrap_or(0);
        (told != lost).then(|| format!("{host} has counted {lost} lost numbers and told {told}"))
    }

    // ---- what must be true at the end ------------------------------------------------------------------------------

    /// Whether nothing at all is told or counted twice: every process ends as it should, and its neighbours are well.
    /// `commits` is left out because of a known defect: a past is not kept while a commit is on its way, and a partition
    /// whose last commit is refused is given back without it, so that its next owner tells the same again.
    fn is_exact(&self) -> bool {
        !self.store_fails() && !self.faults.crash && !self.faults.stall
    }

    /// Whether the store may forget or fail: a last commit is not held up by a store that does not answer, and a past that
    /// is written late may overtake a newer one. Whatever of it then passes a partition is found by [`Self::taken`].
    fn store_fails(&self) -> bool {
        self.faults.may_forget() || self.faults.store_flaky || self.faults.store_away
    }

    /// Whether every hole of a partition must be seen. A store that forgets may forget any. Behind records that nobody
    /// observed all is a guess: a late number may be the first that is seen of a producer, one that came late among them
    /// is missing for ever, and the numbers of a life that began there are those of the life before.
    fn must_be_seen(&self, at: &TopicPartition) -> bool {
        !self.faults.may_forget() && !self.unobserved.contains(at)
    }

    /// Compares the pages `/gaps` of all processes with what is missing. `None`: they agree.
    pub fn differs(&self, pages: &[Gap]) -> Option<String> {
        if let Some(gap) = pages.iter().find(|gap| gap.state == GapState::Suspected) {
            return Some(format!("{gap:?} is suspected for ever"));
        }
        if self.faults.may_forget() {
            return None;
        }
        let shown: BTreeSet<Line> = pages.iter().map(line).collect();
        let (mut all, mut wanted) = (BTreeSet::new(), BTreeSet::new());
        for (at, hole) in self.holes.iter().flat_map(|(at, holes)| holes.iter().map(move |hole| (at, hole))) {
            let lines = hole
                .missing()
                .into_iter()
                .map(|(first, last)| (at.clone(), hole.producer.clone(), first, last, hole.before, hole.after));
            let lines: Vec<Line> = lines.collect();
            all.extend(lines.iter().cloned());
            wanted.extend(lines.into_iter().filter(|_| self.must_be_seen(at)));
        }
        if let Some(line) = wanted.difference(&shown).next() {
            return Some(format!("/gaps does not show {line:?}"));
        }
        let invented = shown.difference(&all).find(|line| !self.unobserved.contains(&line.0));
        invented.map(|line| format!("/gaps shows {line:?}, which is not missing"))
    }

    /// Everything that was told and counted, when everything is over.
    pub fn at_the_end(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (at, hole) in self.holes.iter().flat_map(|(at, holes)| holes.iter().map(move |hole| (at, hole))) {
            let untold = |number: &u64| !hole.arrived.contains_key(number) && !hole.told.contains_key(number);
            if let Some(number) = (hole.first..=hole.last).find(untold)
                && self.must_be_seen(at)
            {
                let (producer, after) = (&hole.producer, hole.after);
                broken.push(format!("number {number} of {producer} in {at}, before {after}, was never told as lost"));
            }
        }
        let (late, recovered) = (self.late, self.recovered);
        let enough = recovered >= late || self.faults.may_forget() || !self.unobserved.is_empty();
        if !enough || (self.is_exact() && recovered != late) {
            broken.push(format!("{late} numbers came late, and {recovered} were counted as recovered"));
        }
        broken
    }
}

impl View {
    /// Whether the process knows by then that the number at this offset has arrived.
    fn knows(&self, offset: i64, when: Instant, faults: Faults) -> bool {
        if when < self.since {
            return false; // it was told of an earlier assignment
        }
        let takes = if faults.stall { OBSERVED_IF_STOPPED } else { OBSERVED };
        let in_time = |at: Instant| at + takes < when && self.leaving.is_none_or(|leaving| at + takes < leaving);
        let handed = self.handed.iter().any(|(handed, at)| *handed == offset && in_time(*at));
        handed || offset < self.taken_to.max(self.start)
    }
}

impl Telling {
    /// Whether whoever has read a partition's past then has read of it.
    fn was_kept_before(&self, keepings: &[Kept], read: Instant) -> bool {
        let ours = |kept: &&Kept| kept.host == self.host && kept.since == self.since;
        let holds_it = |kept: &Kept| kept.asked > self.when + A_TICK && kept.done < read;
        keepings.iter().filter(ours).any(holds_it)
    }
}

impl Hole {
    /// Whether it is this producer's, and this number was left out.
    fn lacks(&self, producer: &str, number: u64) -> bool {
        self.producer == producer && (self.first..=self.last).contains(&number)
    }

    /// The ranges of it that have not arrived.
    fn missing(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for number in (self.first..=self.last).filter(|number| !self.arrived.contains_key(number)) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        ranges
    }
}

fn line(gap: &Gap) -> Line {
    let at = TopicPartition { topic: gap.topic.clone(), partition: gap.partition };
    let (before, after) = (gap.before_offset.unwrap_or(-1), gap.after_offset.unwrap_or(-1));
    (at, gap.producer.clone(), gap.first, gap.last, before, after)
}
