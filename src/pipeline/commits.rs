//! Commits: low water and nothing else, with the history beside it.

use super::Pipeline;
use super::homes::Phase;
use crate::domain::history::History;
use crate::domain::reasons::CommitResult;
use crate::domain::record::{NextOffset, TopicPartition};
use crate::failpoints::{self, Failpoint};
use crate::ports::{App, Assignment, Claims, Commit, DeadLetters, LogCommand};

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Commits low water of every partition where it has moved, once in a commit interval.
    pub(super) fn commit_when_due(&mut self) {
        self.begin_partitions();
        if self.now.moment < self.commit_at {
            return;
        }
        self.commit_at = self.now.moment.after(self.limits.commit_interval);
        self.commit_homes(|phase| matches!(phase, Phase::Running | Phase::Leaving { .. }));
    }

    /// Sends commits, each of the assignment that it belongs to.
    pub(super) fn send_commits(&mut self, commits: Vec<(Commit, Assignment)>) {
        if !commits.is_empty() {
            failpoints::pass(Failpoint::CommitDue);
            self.tell_log(LogCommand::Commit(commits.into_iter().map(|(commit, _)| commit).collect()));
        }
    }

    /// Begins partitions once there is a session. A group that had committed nothing commits its start first, so that
    /// the history stands beside an offset before anything is forwarded.
    fn begin_partitions(&mut self) {
        if self.homes.all_run() || self.leases.live(self.now.moment).is_none() {
            return;
        }
        let Some(history) = self.leases.history.clone() else { return };
        self.read_pasts();
        let now = self.now.moment;
        let (mut begin, mut commits) = (Vec::new(), Vec::new());
        for index in self.homes.indices() {
            let Some(home) = self.homes.get_mut(index) else { continue };
            if home.phase != Phase::Starting || !home.chronicle.is_read() || home.holds_commits {
                continue; // where it starts is not known yet, or an operator must look at what was lost first
            }
            let before = home.committed_at_start.take().and_then(|(_, metadata)| History::from_metadata(&metadata));
            if let Some(before) = before
                && let Some(extent) = history.forgotten_since(&before)
            {
                let partition = home.partition.clone();
                self.history_differs(&partition, &before, extent);
            }
            let Some(home) = self.homes.get_mut(index) else { continue };
            if home.start_due {
                if now >= home.start_after && !home.start_sent {
                    home.start_sent = true;
                    let (partition, next) = (home.partition.clone(), home.low_water.position());
                    commits.push(Commit { partition, next, metadata: home.metadata(&history) });
                }
                continue;
            }
            home.phase = Phase::Running;
            let (partition, start) = (home.partition.clone(), home.low_water.position());
            self.show_pauses(&partition);
            begin.push((partition, start));
        }
        if !commits.is_empty() {
            self.tell_log(LogCommand::Commit(commits));
        }
        if !begin.is_empty() {
            self.pauses_changed();
            self.tell_log(LogCommand::Begin(begin));
        }
    }

    pub(super) fn committed(
        &mut self,
        seen: Assignment,
        offsets: &[(TopicPartition, NextOffset)],
        result: CommitResult,
    ) {
        if result == CommitResult::Ok {
            failpoints::pass(Failpoint::Committed);
        }
        self.metrics.commit(result);
        if result == CommitResult::Failed
            && let Some(unsaid) = self.repeats.may_say(("commit", "failed"), self.now.moment)
        {
            tracing::warn!(unsaid, "kafka did not take a commit; tried again with the next interval");
        }
        let (mut safe, mut started) = (Vec::new(), Vec::new());
        for (partition, next) in offsets {
            // An answer to what an earlier assignment of the same partition had sent says nothing of this one.
            let Some(index) = self.homes.index(partition) else { continue };
            let Some(home) = self.homes.get_mut(index).filter(|home| home.assignment <= seen) else { continue };
            if home.start_sent {
                if *next == home.low_water.position() {
                    // One that is refused is a reason to wait, but not that the group does not take it from us.
                    home.moves += u64::from(result != CommitResult::NotOwner);
                    home.start_sent = false;
                    home.start_due = result != CommitResult::Ok;
                    if !home.start_due {
                        started.push(index);
                    }
                    home.start_after = self.now.moment.after(self.limits.commit_interval);
                }
                continue;
            }
            if home.committing != Some(*next) {
                continue;
            }
            home.committing = None;
            if result == CommitResult::Ok {
                home.low_water.acknowledged(*next);
                safe.push((index, *next));
            } else if let Phase::Committing { .. } = home.phase {
                home.refused = true; // now, and again: what was settled comes back as redelivery
            }
        }
        if !started.is_empty() {
            self.commit_at = self.now.moment; // what was found at the start is kept at once, with what stands there now
        }
        for index in started {
            self.start_committed(index);
        }
        for (index, next) in safe {
            self.shorten_marks(index, next);
            self.retake_past(index);
        }
    }
}
