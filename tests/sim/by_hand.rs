//! A pipeline whose log is the test itself: it says what comes, and sees what is asked.

use std::sync::Arc;
use std::time::Duration;

use kafka_once::domain::past::{Landmark, Past};
use kafka_once::domain::past_codec::{Owner, encode};
use kafka_once::domain::reasons::{CommitResult, LossCause};
use kafka_once::domain::record::{NextOffset, Offset, Position, Record, TopicPartition};
use kafka_once::domain::verdict::Delivery;
use kafka_once::ports::{Assigned, Assignment, Claims as _, Commit, Intake, LogCommand, LogEnd, Window};
use tokio::time::{sleep, timeout};

use super::host::DAWN;
use super::plan::Plan;
use super::records::identifier;
use super::scripts::LONG;
use super::sidecar::{SimSidecar, Wires};
use super::world::World;

/// The one partition.
pub fn orders() -> TopicPartition {
    TopicPartition { topic: Arc::from("orders"), partition: 0 }
}

/// What is known of a log at an assignment.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub committed: Option<i64>,
    pub start: i64,
    pub end: i64,
}

/// The test as the log of one sidecar.
pub struct ByHand {
    pub world: Arc<World>,
    pub sidecar: SimSidecar,
    wires: Wires,
    assignments: u64,
}

impl ByHand {
    /// A sidecar whose brokers are up, and which has no partition yet.
    pub async fn set(plan: Plan) -> Self {
        let world = World::new(plan, false);
        let (sidecar, wires) = SimSidecar::wired(&world, 1);
        let by_hand = Self { world, sidecar, wires, assignments: 0 };
        by_hand.say(Intake::BrokerUp(true)).await;
        by_hand
    }

    /// Somebody has kept that this was the last settled record.
    pub async fn settled_before(&self, landmark: Landmark) {
        let (memory, owner) = (&self.world.memory, Owner([7; 16]));
        let past = Past { settled: Some(landmark), ..Past::none(landmark.offset.next()) };
        memory.take_pasts(vec![(orders(), owner)]).await.expect("a store");
        memory.keep_pasts(vec![(orders(), encode(owner, 1, &past))]).await.expect("a store");
    }

    pub async fn say(&self, intake: Intake) {
        timeout(LONG, self.wires.intake.send(intake)).await.expect("it listens").expect("it runs");
    }

    /// The partition is given to the sidecar; returns which assignment that is.
    pub async fn assign(&mut self, facts: Facts) -> Assignment {
        self.assignments += 1;
        let assignment = Assignment(self.assignments);
        let Facts { committed, start: log_start, end } = facts;
        let start = committed.filter(|next| (log_start..=end).contains(next)).unwrap_or(log_start);
        let assigned = Assigned {
            partition: orders(),
            assignment,
            start: NextOffset(start),
            committed: committed.map(|next| (NextOffset(next), String::new())),
            group_start: None,
            log_start: NextOffset(log_start),
            log_end: NextOffset(end),
            another: false,
            window: Arc::new(Window::default()),
        };
        self.say(Intake::Assigned(vec![assigned])).await;
        assignment
    }

    /// The first thing asked from now on that is wanted; `None`: nothing of the kind comes within that time.
    pub async fn asked_within<T>(
        &mut self,
        time: Duration,
        mut wanted: impl FnMut(LogCommand) -> Option<T>,
    ) -> Option<T> {
        let asked = async {
            loop {
                if let Some(found) = wanted(self.wires.commands.recv().await?.command) {
                    return Some(found);
                }
            }
        };
        timeout(time, asked).await.ok().flatten()
    }

    /// The next commit, which is of one offset.
    pub async fn commit(&mut self) -> NextOffset {
        let commit = |command| match command {
            LogCommand::Commit(commits) => Some(commits),
            _ => None,
        };
        let commits = self.asked_within(LONG, commit).await.expect("a commit");
        let [Commit { next, .. }] = &commits[..] else { panic!("{commits:?}") };
        *next
    }

    pub async fn committed(&self, seen: Assignment, next: NextOffset, result: CommitResult) {
        self.say(Intake::Committed { seen, offsets: vec![(orders(), next)], result }).await;
    }

    /// Where the partition begins; `None`: it does not within that time.
    pub async fn begins_within(&mut self, time: Duration) -> Option<i64> {
        let begin = |command| match command {
            LogCommand::Begin(starts) => Some(starts[0].1.0),
            _ => None,
        };
        self.asked_within(time, begin).await
    }

    /// Waits for the look for a record.
    pub async fn look(&mut self) -> Landmark {
        let look = |command| match command {
            LogCommand::Look(_, landmark) => Some(landmark),
            _ => None,
        };
        self.asked_within(LONG, look).await.expect("a look")
    }

    /// Waits until the partition is given back.
    pub async fn released(&mut self) {
        let release = |command| matches!(command, LogCommand::Release(_)).then_some(());
        self.asked_within(LONG, release).await.expect("it is given back");
    }

    /// Hands one record over.
    pub async fn hand(&self, offset: i64, headers: &[(&[u8], Option<&[u8]>)]) {
        let timestamp = i64::try_from(DAWN).expect("a time");
        let position = Position { partition: 0, offset: Offset(offset), timestamp };
        let value = format!("p{offset}");
        let record = Record::new(orders().topic, position, None, Some(value.as_bytes()), headers);
        let taken = identifier(self.world.plan.positions).name(record);
        self.sidecar.held.taken(taken.record.held_bytes());
        self.say(Intake::Records(vec![taken])).await;
    }

    /// Says for so long, twice a second, where the log ends.
    pub async fn ends(&self, end: i64, fresh: bool, time: Duration) {
        let pause = Duration::from_millis(500);
        for _ in 0..time.as_millis() / pause.as_millis() {
            let end = LogEnd { partition: orders(), end: NextOffset(end), unread: true, fresh };
            self.say(Intake::Ends(vec![end])).await;
            sleep(pause).await;
        }
    }

    /// Counted and told as lost by this cause: offsets, and incidents on the status page.
    pub async fn lost(&self, cause: LossCause) -> (u64, usize) {
        sleep(Duration::from_secs(1)).await; // the page follows
        let incidents = self.sidecar.incidents();
        let told = incidents.iter().filter(|incident| incident.what == cause.as_str()).count();
        (self.sidecar.metrics.lost_sum(cause), told)
    }

    /// What the first request of a message said, once there is one.
    pub async fn delivery(&self, id: &str) -> Delivery {
        let message = ("orders".to_owned(), id.to_owned());
        let first = async {
            loop {
                let seen = self.world.truth().requests.get(&message).map(|requests| requests[0].delivery);
                match seen {
                    Some(delivery) => return delivery,
                    None => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        timeout(LONG, first).await.expect("a request")
    }
}
