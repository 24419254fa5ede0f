//! One process' Kafka client, as the real adapter behaves: one loop that polls, obeys and answers the group.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_once::domain::reasons::CommitResult;
use kafka_once::domain::record::{NextOffset, Record, TopicPartition};
use kafka_once::ports::{
    Assigned, Assignment, Commit, HeldBytes, Intake, LogCommand, LogEnd, LogOrder, Looked, Standing, Window,
};
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};

use super::commits::{commit_all, offsets};
use super::group::{Change, MemberId};
use super::host::Host;
use super::plan::{REVOKE, Sabotage};
use super::records::{identifier, record};
use super::sequences::Step;
use super::world::World;

/// With a log that falls silent: after so many records.
const SILENT_AFTER: usize = 10;
/// Records handed over at once.
const BATCH: usize = 16;
/// Between two turns of the loop.
const TURN: Duration = Duration::from_millis(20);
/// Between two words on where logs end.
const ENDS: Duration = Duration::from_millis(500);

/// Windows of the partitions that are owned, for the checks.
pub type Windows = Arc<Mutex<BTreeMap<TopicPartition, Arc<Window>>>>;

#[allow(clippy::struct_excessive_bools)] // each holds the partition by itself
struct Owned {
    assignment: Assignment,
    window: Arc<Window>,
    next: i64,
    begun: bool,
    told: bool,
    full: bool,
    bound: bool,
}

struct Draining {
    open: BTreeSet<TopicPartition>,
    all: Vec<TopicPartition>,
    deadline: Instant,
}

/// Answers to commits, until the loop hears them.
pub type Answers = Arc<Mutex<VecDeque<Intake>>>;

/// The client.
pub struct SimLog {
    world: Arc<World>,
    host: Arc<Host>,
    member: MemberId,
    intake: Sender<Intake>,
    commands: UnboundedReceiver<LogOrder>,
    held: Arc<HeldBytes>,
    windows: Windows,
    waiting: VecDeque<Intake>,
    owned: BTreeMap<TopicPartition, Owned>,
    newest: Assignment,
    draining: Option<Draining>,
    looking: Option<(Instant, Vec<TopicPartition>)>,
    holds: bool,
    commits: UnboundedSender<(MemberId, Assignment, Vec<Commit>)>,
    answers: Answers,
    unanswered: usize,
    ends_at: Instant,
    /// Records handed over so far.
    taken: usize,
}

impl SimLog {
    /// Joins the group and runs until it is told to leave, or until the pipeline is gone.
    pub async fn run(
        world: Arc<World>,
        host: Arc<Host>,
        intake: Sender<Intake>,
        commands: UnboundedReceiver<LogOrder>,
        held: Arc<HeldBytes>,
        windows: Windows,
    ) {
        let (commits, orders) = unbounded_channel();
        let answers = Answers::default();
        tokio::spawn(commit_all(Arc::clone(&world), Arc::clone(&host), orders, Arc::clone(&answers)));
        let member = world.group().join(world.dice.log.below(8));
        let ends_at = Instant::now();
        let (waiting, owned) = (VecDeque::new(), BTreeMap::new());
        let (draining, looking, holds, unanswered) = (None, None, false, 0);
        let mut log = Self {
            world,
            host,
            member,
            intake,
            commands,
            held,
            windows,
            waiting,
            owned,
            newest: Assignment::default(),
            draining,
            looking,
            holds,
            commits,
            answers,
            unanswered,
            ends_at,
            taken: 0,
        };
        log.push(Intake::BrokerUp(true));
        while log.turn().await {}
    }

    async fn turn(&mut self) -> bool {
        self.host.gate().await;
        self.stay_member();
        match self.obey() {
            Some(true) => return self.leave().await,
            Some(false) => return false,
            None => {}
        }
        self.hear_answers();
        self.answer_group();
        self.tell_ends();
        let flushed = self.flush();
        self.apply_bounds();
        if flushed {
            self.poll();
            self.flush();
        }
        sleep(TURN).await;
        true
    }

    fn push(&mut self, message: Intake) {
        self.waiting.push_back(message);
    }

    fn flush(&mut self) -> bool {
        while let Some(message) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(message)) = self.intake.try_send(message) {
                self.waiting.push_front(message);
                return false;
            }
        }
        true
    }

    /// A client that was stopped for too long finds that it is no member any more.
    fn stay_member(&mut self) {
        if self.world.group().heard(self.member) {
            return;
        }
        let lost: Vec<_> = self.owned.keys().cloned().collect();
        self.disown(&lost);
        if !lost.is_empty() {
            self.push(Intake::Lost(lost));
        }
        (self.draining, self.looking) = (None, None);
        self.member = self.world.group().join(self.world.dice.log.below(8));
    }

    /// `Some(true)`: leave. `Some(false)`: the pipeline is gone.
    fn obey(&mut self) -> Option<bool> {
        loop {
            match self.commands.try_recv() {
                Ok(LogOrder { command: LogCommand::Leave, .. }) => return Some(true),
                Ok(LogOrder { seen, command }) => self.obey_one(seen, command),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => return Some(false),
            }
        }
    }

    fn obey_one(&mut self, seen: Assignment, command: LogCommand) {
        match command {
            LogCommand::Begin(starts) => {
                for (at, start) in starts {
                    self.each(seen, &[at], |owned| (owned.next, owned.begun) = (start.0, true));
                }
            }
            LogCommand::Look(partition, landmark) => {
                let truth = self.world.truth();
                let mut log = truth.log.get(&partition).into_iter().flatten();
                let stands = log.any(|planted| planted.offset == landmark.offset.0);
                drop(truth);
                let standing = if stands { Standing::Same } else { Standing::Other };
                let log = (NextOffset(0), self.end(&partition));
                self.push(Intake::Looked(Looked { seen, partition, standing, log }));
            }
            LogCommand::Pause(partitions) => self.each(seen, &partitions, |owned| owned.told = true),
            LogCommand::Resume(partitions) => self.each(seen, &partitions, |owned| owned.told = false),
            LogCommand::Release(partitions) => {
                let known = |at: &TopicPartition| self.owned.get(at).is_some_and(|owned| owned.assignment <= seen);
                if let Some(draining) = &mut self.draining {
                    draining.open.retain(|at| !partitions.contains(at) || !known(at));
                }
            }
            LogCommand::Commit(commits) => self.commit(seen, commits),
            LogCommand::Leave => {}
        }
    }

    fn each(&mut self, seen: Assignment, partitions: &[TopicPartition], change: impl Fn(&mut Owned)) {
        for at in partitions {
            self.owned.get_mut(at).filter(|owned| owned.assignment <= seen).map(&change);
        }
    }

    fn commit(&mut self, seen: Assignment, commits: Vec<Commit>) {
        let known = |commit: &Commit| self.owned.get(&commit.partition).is_some_and(|owned| owned.assignment <= seen);
        let (ours, gone): (Vec<_>, Vec<_>) = commits.into_iter().partition(known);
        if !gone.is_empty() {
            self.push(Intake::Committed { seen, offsets: offsets(&gone), result: CommitResult::NotOwner });
        }
        if !ours.is_empty() && self.commits.send((self.member, seen, ours)).is_ok() {
            self.unanswered += 1;
        }
    }

    fn hear_answers(&mut self) {
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        self.unanswered -= answers.len();
        self.waiting.extend(answers);
    }

    fn answer_group(&mut self) {
        if let Some((at, partitions)) = self.looking.take_if(|(at, _)| *at <= Instant::now()) {
            let _ = at;
            return self.assigned(&partitions);
        }
        if let Some(draining) = self.draining.take_if(|one| one.open.is_empty() || one.deadline <= Instant::now()) {
            if !draining.open.is_empty() {
                if !self.world.plan.faults.stall {
                    self.world.truth().broken(&format!("{} did not give back in time", self.host.number));
                }
                self.push(Intake::Lost(draining.open.into_iter().collect()));
            }
            self.disown(&draining.all);
            self.world.group().give_up(self.member, &draining.all);
            return;
        }
        if self.draining.is_some() || self.looking.is_some() {
            return;
        }
        let change = self.world.group().mail(self.member);
        match change {
            Some(Change::Assign(partitions)) => {
                self.looking = Some((Instant::now() + self.world.dice.log.millis(1, 200), partitions));
            }
            Some(Change::Revoke(partitions)) => {
                self.world.truth().ledger.leaves(self.host.number, Some(&partitions));
                self.push(Intake::Revoking(partitions.clone()));
                let open = partitions.iter().cloned().collect();
                self.draining = Some(Draining { open, all: partitions, deadline: Instant::now() + REVOKE });
            }
            None => {}
        }
    }

    fn assigned(&mut self, partitions: &[TopicPartition]) {
        let mut news = Vec::new();
        for at in partitions {
            let committed = self.world.group().committed.get(at).cloned();
            let start = committed.as_ref().map_or(0, |(next, _)| *next);
            let window = Arc::new(Window::default());
            self.windows.lock().unwrap_or_else(PoisonError::into_inner).insert(at.clone(), Arc::clone(&window));
            self.newest = Assignment(self.newest.0 + 1);
            let owned = Owned {
                assignment: self.newest,
                window: Arc::clone(&window),
                next: start,
                begun: false,
                told: false,
                full: false,
                bound: false,
            };
            self.owned.insert(at.clone(), owned);
            let mut truth = self.world.truth();
            truth.note(&format!("{at} is assigned to {} from {start} on", self.host.number));
            truth.ledger.assigned(self.host.number, at, start);
            drop(truth);
            news.push(Assigned {
                partition: at.clone(),
                assignment: self.newest,
                start: NextOffset(start),
                committed: committed.map(|(next, metadata)| (NextOffset(next), metadata)),
                group_start: None,
                log_start: NextOffset(0),
                log_end: self.end(at),
                another: false,
                window,
            });
        }
        self.push(Intake::Assigned(news));
    }

    fn disown(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.owned.remove(at);
            self.windows.lock().unwrap_or_else(PoisonError::into_inner).remove(at);
            self.world.truth().note(&format!("{at} is taken from {}", self.host.number));
        }
    }

    fn end(&self, at: &TopicPartition) -> NextOffset {
        NextOffset(self.world.truth().log.get(at).and_then(|log| log.last()).map_or(0, |planted| planted.offset + 1))
    }

    fn tell_ends(&mut self) {
        if self.ends_at > Instant::now() || self.owned.is_empty() || !self.waiting.is_empty() {
            return;
        }
        self.ends_at = Instant::now() + ENDS;
        let end = |at: &TopicPartition| LogEnd { partition: at.clone(), end: self.end(at), unread: true, fresh: true };
        let ends = self.owned.keys().map(end).collect();
        self.push(Intake::Ends(ends));
    }

    fn apply_bounds(&mut self) {
        let (max_open, max_held) = (self.world.plan.max_open, self.world.plan.max_held);
        self.holds &= self.held.sum() > max_held / 2;
        let (mut on, mut off) = (Vec::new(), Vec::new());
        for (at, owned) in &mut self.owned {
            owned.full &= owned.window.size() > max_open / 2;
            let bound = self.holds || owned.full;
            match (std::mem::replace(&mut owned.bound, bound), bound) {
                (false, true) => on.push(at.clone()),
                (true, false) => off.push(at.clone()),
                _ => {}
            }
        }
        for (partitions, bound) in [(on, true), (off, false)] {
            if !partitions.is_empty() {
                self.push(Intake::Bound(partitions, bound));
            }
        }
    }

    fn poll(&mut self) {
        if self.world.plan.sabotage == Sabotage::LogFallsSilent && self.taken >= SILENT_AFTER {
            return;
        }
        let mut batch = Vec::new();
        for at in self.owned.keys().cloned().collect::<Vec<_>>() {
            while batch.len() < BATCH && self.take(&at, &mut batch) {}
        }
        if !batch.is_empty() {
            self.taken += batch.len();
            let identifier = identifier(self.world.plan.positions);
            let named = batch.into_iter().map(|record| identifier.name(record)).collect();
            self.push(Intake::Records(named));
        }
    }

    fn take(&mut self, at: &TopicPartition, batch: &mut Vec<Record>) -> bool {
        let (max_open, max_held) = (self.world.plan.max_open, self.world.plan.max_held);
        let Some(owned) = self.owned.get_mut(at).filter(|one| one.begun && !one.told && !one.full && !self.holds)
        else {
            return false;
        };
        let mut truth = self.world.truth();
        let Some(planted) = truth.log.get(at).and_then(|log| log.iter().find(|one| one.offset >= owned.next)) else {
            return false;
        };
        owned.next = planted.offset + 1;
        let record = record(&self.world, at, planted);
        if planted.stamp.as_ref().is_some_and(|stamp| stamp.step == Step::Late) {
            truth.ledger.handed(self.host.number, at, owned.next - 1);
        }
        drop(truth);
        if self.world.plan.sabotage == Sabotage::LogSkipsRecords && owned.next % 7 == 0 {
            return true;
        }
        let leak = u64::from(self.world.plan.sabotage == Sabotage::HeldBytesLeak);
        self.holds |= self.held.taken(record.held_bytes() + leak) >= max_held;
        owned.full |= owned.window.taken() >= max_open;
        batch.push(record);
        true
    }

    /// Waits for open commits, gives everything back and says so.
    async fn leave(&mut self) -> bool {
        for _ in 0..100 {
            self.hear_answers();
            if self.unanswered == 0 {
                break;
            }
            sleep(TURN).await;
            self.host.gate().await;
        }
        let all: Vec<_> = self.owned.keys().cloned().collect();
        self.disown(&all);
        self.world.group().leave(self.member, self.world.dice.log.below(8));
        self.push(Intake::Left);
        while !self.flush() {
            sleep(TURN).await;
        }
        false
    }
}
