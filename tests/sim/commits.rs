//! Commits on their way to the group: late, refused, or stored without an answer.

use std::sync::{Arc, PoisonError};

use kafka_once::domain::reasons::CommitResult;
use kafka_once::domain::record::{NextOffset, TopicPartition};
use kafka_once::ports::{Assignment, Commit, Intake};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;

use super::group::MemberId;
use super::host::Host;
use super::log::Answers;
use super::plan::Sabotage;
use super::world::World;

/// What is committed where.
pub fn offsets(commits: &[Commit]) -> Vec<(TopicPartition, NextOffset)> {
    commits.iter().map(|commit| (commit.partition.clone(), commit.next)).collect()
}

/// Sends commits one after another, as the client does on a thread of its own.
pub async fn commit_all(
    world: Arc<World>,
    host: Arc<Host>,
    mut orders: UnboundedReceiver<(MemberId, Assignment, Vec<Commit>)>,
    answers: Answers,
) {
    while let Some((member, seen, commits)) = orders.recv().await {
        host.gate().await;
        let dice = &world.dice.log;
        let troubled = world.may(|faults| faults.commits);
        let generation = world.group().generation;
        sleep(if troubled { dice.millis(1, 800) } else { dice.millis(1, 5) }).await;
        // A broker refuses a commit of an earlier generation. The client puts the present one in when it sends: what it
        // has queued for long may come with a newer one, which only worlds without short marks live through.
        let stale = world.plan.positions && world.group().generation != generation;
        let result = if !world.group().knows(member) || stale {
            CommitResult::NotOwner
        } else if world.weather().commits_away {
            CommitResult::Failed
        } else if troubled && dice.percent(20) {
            dice.pick(&[CommitResult::Failed, CommitResult::Rebalancing])
        } else {
            store(&world, &commits);
            if troubled && dice.percent(10) { CommitResult::Failed } else { CommitResult::Ok }
        };
        host.gate().await;
        let answer = Intake::Committed { seen, offsets: offsets(&commits), result };
        answers.lock().unwrap_or_else(PoisonError::into_inner).push_back(answer);
    }
}

/// The group asks no committer whether the partition is still its own: late commits of members are stored.
fn store(world: &World, commits: &[Commit]) {
    let too_far = i64::from(world.plan.sabotage == Sabotage::CommitsOneTooFar);
    for commit in commits {
        let next = commit.next.0 + too_far;
        world.truth().commits(&commit.partition, next);
        world.group().committed.insert(commit.partition.clone(), (next, commit.metadata.clone()));
    }
}
