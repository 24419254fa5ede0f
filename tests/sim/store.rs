//! The store of claims as it is over a network: delays, refusals, lost replies, late executions, outages.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_once::adapters::claims::memory::Memory;
use kafka_once::domain::claim::{SessionId, Stored};
use kafka_once::domain::history::History;
use kafka_once::domain::past::Past;
use kafka_once::domain::past_codec::{HEADER, OWNED, Owner, decode, encode};
use kafka_once::domain::producers::Producers;
use kafka_once::domain::record::TopicPartition;
use kafka_once::domain::sequence::{Missing, Tracker};
use kafka_once::domain::time::{Moment, Now, UnixMillis};
use kafka_once::ports::{ClaimBatch, ClaimCommand, ClaimReply, Claims, Keeping, StoreError, StoredPast};
use tokio::time::{Instant, sleep, sleep_until};

use super::host::Host;
use super::plan::{STORE_TIMEOUT, Sabotage};
use super::world::World;

/// One process' client of the store.
#[derive(Clone)]
pub struct SimStore {
    world: Arc<World>,
    host: Arc<Host>,
    /// Which primary its connection leads to.
    primary: Arc<AtomicU64>,
}

/// Work on the store itself. The number: how many thousandths of it are executed.
type Work<T> = Box<dyn FnOnce(Memory, u64) -> Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>> + Send>;

const ALL: u64 = 1000;

/// After this time a commit that followed has been stored.
const TOO_LATE: Duration = Duration::from_millis(600);

/// What becomes of a request to the store.
#[derive(Debug)]
enum Fate {
    Answered,
    Refused,
    /// Executed up to here, and no answer comes.
    Lost(u64),
    /// No answer comes in time, and it is executed at this time.
    Late(Instant),
}

impl SimStore {
    /// The client of a process.
    pub fn new(world: &Arc<World>, host: &Arc<Host>) -> Self {
        let primary = Arc::new(AtomicU64::new(world.weather().fail_overs));
        Self { world: Arc::clone(world), host: Arc::clone(host), primary }
    }

    fn fate(&self) -> Fate {
        let (world, dice) = (&self.world, &self.world.dice.store);
        let planned = Some(world.outage()).filter(|_| world.plan.faults.store_away);
        let until = world.weather().store_away_until;
        let until = planned.filter(|outage| outage.contains(&Instant::now())).map_or(until, |outage| outage.end);
        if until > Instant::now() {
            return if dice.percent(50) { Fate::Refused } else { Fate::Late(until + dice.millis(0, 20)) };
        }
        if !world.may(|faults| faults.store_flaky) {
            return Fate::Answered;
        }
        match dice.below(100) {
            0..=1 => Fate::Refused,
            2..=4 => Fate::Lost(dice.below(ALL + 1)),
            5..=6 => Fate::Late(Instant::now() + STORE_TIMEOUT + dice.millis(0, 2_000)),
            _ => Fate::Answered,
        }
    }

    /// Whether the connection leads to a primary that is gone; then a fresh one follows.
    fn is_cut(&self) -> bool {
        let now = self.world.weather().fail_overs;
        self.primary.swap(now, Ordering::Relaxed) != now
    }

    async fn ask<T: Send + 'static>(&self, work: Work<T>) -> Result<T, StoreError> {
        self.host.gate().await;
        let (memory, dice) = (self.world.memory.clone(), &self.world.dice.store);
        let timeout = Instant::now() + STORE_TIMEOUT;
        let answer = match self.fate() {
            Fate::Answered => {
                sleep(dice.millis(0, 3)).await;
                if self.is_cut() {
                    return Err(StoreError::Away("connection closed".to_owned()));
                }
                let answer = work(memory, ALL).await;
                sleep(dice.millis(0, 3)).await;
                answer
            }
            Fate::Refused => {
                sleep(dice.millis(0, 3)).await;
                Err(StoreError::Away("refused".to_owned()))
            }
            Fate::Lost(part) => {
                sleep(dice.millis(0, 3)).await;
                let _ = work(memory, part).await;
                sleep_until(timeout).await;
                Err(StoreError::Away("timeout".to_owned()))
            }
            Fate::Late(at) => {
                tokio::spawn(async move {
                    sleep_until(at).await;
                    let _ = work(memory, ALL).await;
                });
                sleep_until(timeout).await;
                Err(StoreError::Away("timeout".to_owned()))
            }
        };
        self.host.gate().await;
        answer
    }

    /// What a lying store does to a batch before it is executed.
    fn before(&self, commands: &mut [ClaimCommand]) {
        if self.world.plan.sabotage == Sabotage::MarksAreNotWritten {
            for command in commands {
                if let ClaimCommand::Mark { id, .. } = *command {
                    *command = ClaimCommand::Look { id };
                }
            }
        }
    }

    /// What a lying store makes of its answers.
    fn after(&self, commands: &[ClaimCommand], batch: &mut ClaimBatch) {
        for (command, reply) in commands.iter().zip(&mut batch.replies) {
            match (self.world.plan.sabotage, command) {
                (Sabotage::EveryClaimIsNew, ClaimCommand::Claim { .. }) => *reply = ClaimReply::Was(Stored::Nothing),
                (Sabotage::EveryClaimIsNew, ClaimCommand::Replace { .. }) => *reply = ClaimReply::Replaced,
                (Sabotage::SessionsLiveForEver, ClaimCommand::IsAlive { .. }) => *reply = ClaimReply::Alive(true),
                (Sabotage::SessionsLookDead, ClaimCommand::IsAlive { .. }) => *reply = ClaimReply::Alive(false),
                _ => {}
            }
        }
    }
}

impl Claims for SimStore {
    async fn batch(&self, mut commands: Vec<ClaimCommand>) -> Result<ClaimBatch, StoreError> {
        self.before(&mut commands);
        let asked = commands.clone();
        let work: Work<ClaimBatch> = Box::new(|memory, part| Box::pin(execute(memory, commands, part)));
        let mut batch = self.ask(work).await?;
        self.after(&asked, &mut batch);
        Ok(batch)
    }

    async fn open_session(&self, session: SessionId, lease: Duration) -> Result<(), StoreError> {
        self.ask(Box::new(move |memory, _| Box::pin(async move { memory.open_session(session, lease).await }))).await
    }

    async fn renew_session(&self, session: SessionId, lease: Duration) -> Result<bool, StoreError> {
        self.ask(Box::new(move |memory, _| Box::pin(async move { memory.renew_session(session, lease).await }))).await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.ask(Box::new(move |memory, _| Box::pin(async move { memory.close_session(session).await }))).await
    }

    async fn history(&self) -> Result<History, StoreError> {
        self.ask(Box::new(move |memory, _| Box::pin(async move { memory.history().await }))).await
    }

    async fn take_pasts(&self, partitions: Vec<(TopicPartition, Owner)>) -> Result<Vec<StoredPast>, StoreError> {
        let (world, host) = (Arc::clone(&self.world), self.host.number);
        self.ask(Box::new(move |memory, _| Box::pin(async move { take(&world, host, &memory, partitions).await })))
            .await
    }

    async fn keep_pasts(&self, pasts: Vec<(TopicPartition, Vec<u8>)>) -> Result<Vec<Keeping>, StoreError> {
        let keeper = Keeper { world: Arc::clone(&self.world), host: Arc::clone(&self.host), asked: Instant::now() };
        self.ask(Box::new(move |memory, _| Box::pin(async move { keeper.keep(memory, pasts).await }))).await
    }
}

/// Executes the first commands of a batch one after another: between any two, others have their turn.
async fn execute(memory: Memory, commands: Vec<ClaimCommand>, part: u64) -> Result<ClaimBatch, StoreError> {
    let count = commands.len() * usize::try_from(part).expect("small") / usize::try_from(ALL).expect("small");
    let mut whole = ClaimBatch { replies: Vec::new(), sentinel: None };
    for command in commands.into_iter().take(count) {
        whole.replies.extend(memory.batch(vec![command]).await?.replies);
        tokio::task::yield_now().await;
    }
    whole.sentinel = memory.batch(Vec::new()).await?.sentinel;
    Ok(whole)
}

async fn take(
    world: &World,
    host: u32,
    memory: &Memory,
    partitions: Vec<(TopicPartition, Owner)>,
) -> Result<Vec<StoredPast>, StoreError> {
    let names: Vec<_> = partitions.iter().map(|(partition, _)| partition.clone()).collect();
    let mut stored = memory.take_pasts(partitions).await?;
    let mut truth = world.truth();
    for (partition, past) in names.iter().zip(&mut stored) {
        let observed_to = if let StoredPast::Bytes(bytes) = past { observed_to(bytes) } else { 0 };
        truth.note(&format!("{host} takes {partition}, observed to {observed_to}"));
        let broken = truth.ledger.taken(host, partition, observed_to);
        truth.all_broken(broken);
        match (world.plan.sabotage, &mut *past) {
            (Sabotage::PastsAreNotRead, _) => *past = StoredPast::Nothing,
            (Sabotage::LossesAreForgotten, StoredPast::Bytes(bytes)) => suspect_again(bytes),
            _ => {}
        }
    }
    Ok(stored)
}

/// Whoever asked for pasts to be kept.
struct Keeper {
    world: Arc<World>,
    host: Arc<Host>,
    asked: Instant,
}

impl Keeper {
    async fn keep(self, memory: Memory, pasts: Vec<(TopicPartition, Vec<u8>)>) -> Result<Vec<Keeping>, StoreError> {
        let kept = vec![Keeping::Kept; pasts.len()];
        match self.world.plan.sabotage {
            Sabotage::PastsAreNotWritten => return Ok(kept),
            Sabotage::PastsComeAfterCommits => {
                tokio::spawn(async move {
                    sleep(TOO_LATE).await;
                    self.host.gate().await;
                    self.write(&memory, pasts).await
                });
                return Ok(kept);
            }
            Sabotage::PastsAreNotFenced => {
                memory.take_pasts(pasts.iter().map(|(at, bytes)| (at.clone(), owner(bytes))).collect()).await?;
            }
            _ => {}
        }
        self.write(&memory, pasts).await
    }

    async fn write(&self, memory: &Memory, pasts: Vec<(TopicPartition, Vec<u8>)>) -> Result<Vec<Keeping>, StoreError> {
        let known: Vec<_> = pasts.iter().map(|(partition, bytes)| (partition.clone(), observed_to(bytes))).collect();
        let outcomes = memory.keep_pasts(pasts).await?;
        let mut truth = self.world.truth();
        for ((partition, observed_to), outcome) in known.iter().zip(&outcomes) {
            truth.note(&format!("{} keeps {partition}, observed to {observed_to}: {outcome:?}", self.host.number));
            if *outcome == Keeping::Kept {
                truth.ledger.kept(self.host.number, partition, *observed_to, self.asked);
            }
        }
        Ok(outcomes)
    }
}

fn observed_to(bytes: &[u8]) -> i64 {
    read(bytes).map_or(0, |past| past.observed_to.0)
}

fn read(bytes: &[u8]) -> Option<Past> {
    let now = Now { moment: Moment(0), wall: UnixMillis(0) };
    decode(bytes, now).expect("a past")
}

fn owner(bytes: &[u8]) -> Owner {
    Owner(bytes[1..OWNED].try_into().expect("a header"))
}

/// Makes whatever is lost in a past suspected.
fn suspect_again(bytes: &mut Vec<u8>) {
    let Some(past) = read(bytes) else { return };
    let mut producers = Producers::default();
    for (producer, tracker, unseen) in past.producers.by_silence() {
        let missing = tracker.missing().iter().map(|missing| Missing { lost: false, ..*missing }).collect();
        let tracker = Tracker::restore(tracker.run(), tracker.former(), tracker.as_of(), missing);
        producers.restore(producer.into(), tracker, unseen);
    }
    let turn = u64::from_be_bytes(bytes[OWNED..HEADER].try_into().expect("a header"));
    *bytes = encode(owner(bytes), turn, &Past { producers, ..past });
}
