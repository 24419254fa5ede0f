//! The polling thread: one loop that polls, obeys and answers, and never waits for anybody for long.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{Sender, UnboundedReceiver};

use super::commit::{Answered, Committer};
use super::config::KafkaConfig;
use super::context::{Context, Event};
use super::errors::{Fate, fate};
use super::handover::{Gone, Handover};
use super::landmarks::{Look, Looks};
use super::lookup;
use super::owned::Partitions;
use super::rebalance::{Group, positions};
use super::record::to_record;
use super::repair::Repairs;
use super::second_look::SecondLook;
use super::statistics::Statistics;
use crate::domain::record::{NextOffset, TopicPartition};
use crate::ports::{Assignment, HeldBytes, Intake, LogCommand, LogOrder, Naming, Taken};

/// Records handed over at once.
const BATCH: usize = 64;
/// How long a poll waits when nothing is expected but records: also the longest a command waits.
const IDLE: Duration = Duration::from_millis(50);
/// How long it waits while something else may change at any moment.
pub(super) const BUSY: Duration = Duration::from_millis(2);
/// How long a full channel keeps us from polling, before all partitions are paused and after.
const ROOM: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(20));

/// Kafka, as the log that the pipeline reads.
pub struct KafkaLog;

/// Why the log could not be started: settings of the client that do not fit together, or no thread.
#[derive(Debug, thiserror::Error)]
#[error("kafka client: {0}")]
pub struct StartError(String);

impl KafkaLog {
    /// Starts the polling thread: it joins the group, says on `intake` what happens, and obeys `commands` until
    /// [`LogCommand::Leave`] or until the pipeline has dropped its ends. It ends within 20 s from then.
    /// `naming` is asked for every record, on that thread; `pulse` is called at every turn of the loop, at least every 300 ms.
    ///
    /// # Errors
    /// The client refuses its settings; brokers that do not answer are no error.
    pub fn start(
        config: KafkaConfig,
        intake: Sender<Intake>,
        commands: UnboundedReceiver<LogOrder>,
        held: Arc<HeldBytes>,
        naming: Naming,
        pulse: impl Fn() + Send + 'static,
    ) -> Result<JoinHandle<()>, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError(error.to_string());
        let (alive, gone) = channel();
        let consumer = subscribed(&config, Context::new(alive)).map_err(|error| failed(&error))?;
        let consumer = Arc::new(consumer);
        let partitions = Partitions::new(config.max_open, config.max_held);
        let config = Arc::new(config);
        let committer = Committer::start(Arc::clone(&consumer), partitions.register());
        let polling = Polling {
            committer: committer.map_err(|error| failed(&error))?,
            looks: Looks::start(&config, partitions.register()).map_err(|error| failed(&error))?,
            consumer,
            handover: Handover::new(intake).map_err(|error| failed(&error))?,
            partitions,
            config,
            group: Group::default(),
            repairs: Repairs::default(),
            gone,
            commands,
            held,
            naming,
            pulse,
            stalled: false,
            broker_up: None,
            was_up: false,
            second_look: SecondLook::default(),
            dead: false,
        };
        let thread = std::thread::Builder::new().name("kafka".into());
        thread.spawn(move || polling.run()).map_err(|error| failed(&error))
    }
}

fn subscribed(config: &KafkaConfig, context: Context) -> Result<BaseConsumer<Context>, KafkaError> {
    let consumer = BaseConsumer::from_config_and_context(&config.consumer(), context)?;
    subscribe(&consumer, config)?;
    Ok(consumer)
}

pub(super) fn subscribe(consumer: &BaseConsumer<Context>, config: &KafkaConfig) -> Result<(), KafkaError> {
    let topics: Vec<&str> = config.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics)
}

/// Everything the polling thread knows.
pub(super) struct Polling<P> {
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) config: Arc<KafkaConfig>,
    pub(super) handover: Handover,
    pub(super) partitions: Partitions,
    pub(super) group: Group,
    pub(super) repairs: Repairs,
    pub(super) committer: Committer,
    /// Disconnected once the client is gone.
    pub(super) gone: Receiver<Infallible>,
    commands: UnboundedReceiver<LogOrder>,
    held: Arc<HeldBytes>,
    naming: Naming,
    pub(super) pulse: P,
    stalled: bool,
    broker_up: Option<bool>,
    /// Whether any broker has ever let us in.
    was_up: bool,
    pub(super) second_look: SecondLook,
    looks: Looks,
    dead: bool,
}

/// Why the loop ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The pipeline said so.
    Leave,
    /// The pipeline is gone.
    Gone,
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl<P: Fn() + Send> Polling<P> {
    fn run(mut self) {
        let end = loop {
            if let Err(end) = self.turn() {
                break end;
            }
        };
        tracing::info!(target: "kafka", ?end, "leaving the group");
        self.leave();
    }

    fn turn(&mut self) -> Result<(), End> {
        (self.pulse)();
        self.obey()?;
        self.heed_events();
        self.look_twice();
        self.answer_group();
        self.repair();
        self.hand_over()?;
        self.apply_bounds();
        self.poll();
        Ok(())
    }

    // ---- commands --------------------------------------------------------------------------------------------------

    fn obey(&mut self) -> Result<(), End> {
        loop {
            match self.commands.try_recv() {
                Ok(LogOrder { seen, command }) => self.obey_one(seen, command)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(End::Gone),
            }
        }
    }

    fn obey_one(&mut self, seen: Assignment, command: LogCommand) -> Result<(), End> {
        match command {
            LogCommand::Begin(starts) => self.begin(&starts, seen),
            LogCommand::Look(at, landmark) => self.looks.look(Look { seen, at, landmark }),
            LogCommand::Pause(partitions) => self.partitions.tell(&self.partitions.known(partitions, seen), true),
            LogCommand::Resume(partitions) => self.partitions.tell(&self.partitions.known(partitions, seen), false),
            LogCommand::Release(partitions) => self.group.released(&self.partitions.known(partitions, seen)),
            LogCommand::Commit(commits) => self.committer.send(seen, commits),
            LogCommand::Leave => return Err(End::Leave),
        }
        Ok(())
    }

    fn begin(&mut self, starts: &[(TopicPartition, NextOffset)], seen: Assignment) {
        let moves = self.partitions.begin(starts, seen);
        self.repairs.moves(moves);
    }

    // ---- what callbacks noted -------------------------------------------------------------------------------------

    pub(super) fn heed_events(&mut self) {
        while let Some(Answered { seen, ended }) = self.committer.answered() {
            for (result, offsets) in ended {
                self.handover.push(Intake::Committed { seen, offsets, result });
            }
        }
        while let Some(looked) = self.looks.answer() {
            self.handover.push(Intake::Looked(looked));
        }
        for event in self.consumer.context().take_events() {
            match event {
                Event::Rebalance(change) => self.group.changed(change),
                Event::Statistics(statistics) => self.statistics(statistics),
                Event::Error(code, reason) => self.error(code, &reason),
            }
        }
    }

    fn statistics(&mut self, statistics: Statistics) {
        if statistics.any_broker_up {
            self.tell_broker_up(true);
        }
        let mut ends = statistics.ends;
        ends.retain(|log| self.partitions.contains(&log.partition));
        // While the client waits for our answer to the group it reads nothing, and what it knows grows old.
        let keeps_still = self.group.is_owed();
        for log in &mut ends {
            log.fresh &= !keeps_still;
        }
        // A pipeline that takes nothing needs no news of this kind, and they must not pile up.
        if !ends.is_empty() && !self.stalled {
            self.handover.push(Intake::Ends(ends));
        }
    }

    fn error(&mut self, code: RDKafkaErrorCode, reason: &str) {
        match fate(code, self.was_up) {
            Fate::Fatal => {
                let detail = self.consumer.client().fatal_error().map(|(_, text)| text);
                self.fatal(detail.as_deref().unwrap_or(reason));
            }
            Fate::Refused => self.refused(reason),
            Fate::UnknownTopic if !self.group.was_assigned => self.unknown_topic(reason),
            Fate::AllBrokersDown => self.tell_broker_up(false),
            Fate::OutOfRange => {
                tracing::error!(target: "kafka", reason, "a partition's next record is not in its log");
                self.repairs.suspect();
            }
            Fate::UnknownTopic => {
                tracing::warn!(target: "kafka", ?code, reason, "a topic of ours is not known");
                self.repairs.suspect_another();
            }
            Fate::Warn => tracing::warn!(target: "kafka", ?code, reason, "client error"),
            Fate::Note => tracing::debug!(target: "kafka", ?code, reason, "client error"),
        }
    }

    /// Tells the pipeline, once, that only a new process can go on. The loop goes on turning until it is left.
    pub(super) fn fatal(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.dead, true) {
            tracing::error!(target: "kafka", reason, "client is beyond healing");
            self.handover.push(Intake::Fatal(reason.to_owned()));
        }
    }

    /// Tells the pipeline, once, that somebody must change settings first.
    pub(super) fn refused(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.dead, true) {
            self.handover.push(Intake::Refused(format!("kafka refuses us: {reason}")));
        }
    }

    fn tell_broker_up(&mut self, up: bool) {
        self.was_up |= up;
        if self.broker_up.replace(up) != Some(up) {
            tracing::info!(target: "kafka", up, "brokers");
            self.handover.push(Intake::BrokerUp(up));
        }
    }

    // ---- bounds ----------------------------------------------------------------------------------------------------

    /// A full channel stops the polling for a moment; a pipeline that takes nothing for longer pauses all partitions.
    fn hand_over(&mut self) -> Result<(), Gone> {
        let patience = if self.stalled { ROOM.1 } else { ROOM.0 };
        self.stalled = !self.handover.flush_within(patience)?;
        self.partitions.stall(self.stalled);
        Ok(())
    }

    /// Pauses before the next poll what has reached a bound: the client hands out nothing of it from then on.
    fn apply_bounds(&mut self) {
        self.partitions.relax(self.held.sum());
        let pauses = self.partitions.pause_changes();
        self.pause(&pauses.on);
        self.resume(&pauses.off);
        let bounds = self.partitions.bound_changes();
        for (partitions, bound) in [(bounds.on, true), (bounds.off, false)] {
            if !partitions.is_empty() {
                self.handover.push(Intake::Bound(partitions, bound));
            }
        }
    }

    pub(super) fn pause(&self, partitions: &[TopicPartition]) {
        if !partitions.is_empty()
            && let Err(error) = self.consumer.pause(&lookup::list(partitions))
        {
            tracing::warn!(target: "kafka", %error, "pause");
        }
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        if !partitions.is_empty()
            && let Err(error) = self.consumer.resume(&lookup::list(partitions))
        {
            tracing::warn!(target: "kafka", %error, "resume");
        }
        self.wake(partitions);
    }

    /// A resume, ours or the client's own after a rebalance, wakes nobody: a broker's thread with nothing else to fetch
    /// sleeps for up to a second more. A seek wakes it, unless it goes to offset 0 (`rd_kafka_toppar_set_fetch_state` in
    /// `rdkafka_partition.c`). It goes where we stand, so nothing is skipped or read twice, and waits for nothing.
    pub(super) fn wake(&self, partitions: &[TopicPartition]) {
        let places: Vec<_> = partitions.iter().filter_map(|at| Some((at.clone(), self.partitions.next(at)?))).collect();
        if places.is_empty() {
            return;
        }
        let sought = positions(&places).and_then(|places| self.consumer.seek_partitions(places, Duration::ZERO));
        if let Err(error) = sought {
            tracing::warn!(target: "kafka", %error, "seek to where we stand");
        }
    }

    // ---- records ---------------------------------------------------------------------------------------------------

    fn poll(&mut self) {
        let consumer = Arc::clone(&self.consumer);
        let mut batch = Vec::new();
        let mut patience = self.patience();
        while batch.len() < BATCH {
            let Some(polled) = consumer.poll(patience) else { break };
            patience = Duration::ZERO;
            match polled {
                Ok(message) => {
                    if self.take(&message, &mut batch) {
                        break;
                    }
                }
                Err(error) => self.poll_error(&error),
            }
        }
        if !batch.is_empty() {
            self.handover.push(Intake::Records(batch));
        }
    }

    fn patience(&self) -> Duration {
        if self.stalled {
            Duration::ZERO
        } else if self.partitions.waits() || self.group.is_owed() || self.repairs.is_busy() || self.committer.open() > 0
        {
            BUSY
        } else {
            IDLE
        }
    }

    /// Takes a message in; whether a bound is reached by it.
    fn take(&mut self, message: &BorrowedMessage<'_>, batch: &mut Vec<Taken>) -> bool {
        let Some(topic) = self.partitions.topic(message.topic(), message.partition()) else {
            return false; // handed out before its partition was taken away
        };
        let taken = (self.naming)(to_record(topic, message));
        let held = self.held.taken(taken.record.held_bytes());
        let bound = self.partitions.taken(taken.record.topic(), taken.record.position(), held);
        batch.push(taken);
        if self.broker_up != Some(true) {
            self.tell_broker_up(true);
        }
        bound
    }

    /// Errors come here a second time, after their callback: only what the callback cannot tell is new.
    fn poll_error(&mut self, error: &KafkaError) {
        match error {
            KafkaError::MessageConsumptionFatal(code) => self.fatal(&format!("{code}")),
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.repairs.suspect();
            }
            other => tracing::debug!(target: "kafka", error = %other, "poll"),
        }
    }
}
