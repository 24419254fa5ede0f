//! Keeping partitions' pasts, each before the commit that it goes with.

use std::sync::Arc;

use super::chronicle::Stage;
use super::homes::{Home, Phase};
use super::{Pipeline, Report};
use crate::domain::record::TopicPartition;
use crate::ports::{App, Assignment, Claims, Commit, DeadLetters, Keeping, StoreError};

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Commits what is due in those partitions whose phase is `wanted`, once their pasts are kept.
    pub(super) fn commit_homes(&mut self, wanted: impl Fn(Phase) -> bool) {
        let Some(history) = &self.leases.history else { return };
        let (mut pasts, mut kept, mut commits) = (Vec::new(), Vec::new(), Vec::new());
        let free = |home: &&mut Home| wanted(home.phase) && !home.chronicle.keeping;
        for home in self.homes.iter_mut().filter(free) {
            let keeps = home.keeps();
            if keeps && !self.store_up && !matches!(home.phase, Phase::Committing { .. }) {
                continue; // nothing can be settled meanwhile, and a commit must not be ahead of what is kept
            }
            if home.committing.is_none()
                && let Some(next) = home.due()
            {
                home.committing = Some(next);
                let metadata = home.metadata(history);
                commits.push((Commit { partition: home.partition.clone(), next, metadata }, home.assignment));
            }
            if keeps && self.store_up {
                pasts.push((home.partition.clone(), home.chronicle.send()));
                kept.push((home.partition.clone(), home.assignment));
            }
        }
        if pasts.is_empty() {
            return self.send_commits(commits);
        }
        let (claims, reports) = (Arc::clone(&self.claims), self.reports.0.clone());
        tokio::spawn(async move {
            let outcome = claims.keep_pasts(pasts).await;
            let _ = reports.send(Report::Kept { kept, commits, outcome }); // nobody listens: we are at the end
        });
    }

    pub(super) fn pasts_kept(
        &mut self,
        kept: Vec<(TopicPartition, Assignment)>,
        mut commits: Vec<(Commit, Assignment)>,
        outcome: Result<Vec<Keeping>, StoreError>,
    ) {
        let failed = outcome.is_err();
        let outcomes = match outcome {
            Ok(outcomes) => outcomes.into_iter().map(Some).collect(),
            Err(error) => {
                self.store_failed(&error);
                vec![None; kept.len()]
            }
        };
        for ((partition, assignment), outcome) in kept.into_iter().zip(outcomes) {
            let Some(home) = self.homes.named(&partition).filter(|home| home.assignment == assignment) else {
                continue;
            };
            home.chronicle.keeping = false;
            match outcome {
                Some(Keeping::Kept) => {}
                None => home.chronicle.changed = true,
                Some(refused @ (Keeping::NotOurs | Keeping::Foreign)) => {
                    let outdone = refused == Keeping::NotOurs;
                    home.chronicle.stage = if outdone { Stage::Outdone } else { Stage::NotKept };
                    let (topic, partition) = (&home.partition.topic, home.partition.partition);
                    tracing::warn!(%topic, partition, ?refused, "the partition's past is not kept");
                }
            }
        }
        // An order of an earlier assignment says nothing of this one.
        commits.retain(|(commit, assignment)| {
            let home = self.homes.named(&commit.partition).filter(|home| home.assignment == *assignment);
            let Some(home) = home else { return false };
            let goes = !failed || matches!(home.phase, Phase::Committing { .. });
            if !goes {
                home.committing = None;
            }
            goes
        });
        self.send_commits(commits);
    }
}
