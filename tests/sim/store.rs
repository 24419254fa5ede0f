//! The store of claims as it is over a network: delays, refusals, lost replies, late executions, outages.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_once::adapters::claims::memory::Memory;
use kafka_once::domain::claim::{SessionId, Stored};
use kafka_once::domain::history::History;
use kafka_once::domain::past_codec::Owner;
use kafka_once::domain::record::TopicPartition;
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
        self.ask(Box::new(move |memory, _| Box::pin(async move { memory.take_pasts(partitions).await }))).await
    }

    async fn keep_pasts(&self, pasts: Vec<(TopicPartition, Vec<u8>)>) -> Result<Vec<Keeping>, StoreError> {
        self.ask(Box::new(move |memory, _| Box::pin(async move { memory.keep_pasts(pasts).await }))).await
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
