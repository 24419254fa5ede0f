//! What was sent, what the app applied, what the sidecars saw; and whether every promise was kept.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;

use super::app::Books;
use super::planting::{Gap, Plan, Planted};
use super::scrape::{Counters, Duplicates};

/// How many broken messages are named.
const NAMED: usize = 5;

/// Everything that the verdict rests on.
pub(super) struct Findings<'a> {
    pub world: &'static str,
    pub topic: &'a str,
    pub plan: &'a Plan,
    pub books: &'a Books,
    /// Of the sidecars that were drained, taken when everything was committed.
    pub survivors: Vec<Counters>,
    pub aborted: Abortion,
    /// Whether the committed offsets are the ends of the partitions.
    pub committed: bool,
    /// The gaps that are named as lost, in order.
    pub named: Vec<Gap>,
    /// What went wrong when the sidecars were stopped.
    pub failures: Vec<String>,
    pub took: Duration,
}

/// How a sidecar ended half way.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Abortion {
    /// `aborted` or `SIGKILL`.
    pub by: &'static str,
    /// Requests that had been applied and had no answer yet.
    pub unanswered: u64,
    /// Its counters; those of a killed process are as of just before.
    pub counters: Counters,
    /// Whether the counters are its last ones.
    pub counters_are_last: bool,
}

/// The demo's result: the table, and what `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub world: &'static str,
    pub sent: usize,
    pub distinct: usize,
    pub planted_duplicates: Planted,
    pub applied: Applied,
    /// Whether the effects of each key of a partition came in the order of its offsets.
    pub order_per_key_kept: bool,
    /// First attempts that the app answered with 500.
    pub failed_attempts: u64,
    pub detected_duplicates: Duplicates,
    pub possible_repeats: Repeats,
    pub planted_gaps: Gaps,
    pub named_gaps: Gaps,
    /// Messages that were sent later than their number says, and those that were found so.
    pub planted_late: usize,
    pub recovered: u64,
    pub aborted: Abortion,
    pub committed_to_the_end: bool,
    pub books_balance: bool,
    pub seconds: f64,
    /// Broken promises, in words. Empty: exit code 0.
    pub broken: Vec<String>,
}

/// Ranges of numbers, and how many messages they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Gaps {
    pub ranges: usize,
    pub messages: u64,
}

impl Gaps {
    fn of(gaps: &[Gap]) -> Self {
        Self { ranges: gaps.len(), messages: gaps.iter().map(|gap| gap.last - gap.first + 1).sum() }
    }
}

/// Messages by how often their effect happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Applied {
    pub once: usize,
    pub more_than_once: usize,
    pub never: usize,
    /// Effects of messages that nobody sent.
    pub unknown: usize,
}

/// Requests that said `possible-repeat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Repeats {
    pub sent: u64,
    /// Those of them that the app had applied before, and did not apply again.
    pub absorbed: u64,
}

impl Report {
    /// Judges what was found.
    pub(super) fn new(found: &Findings) -> Self {
        let mut all = found.aborted.counters;
        found.survivors.iter().for_each(|counters| all += *counters);
        let mut broken = Vec::new();
        let applied = applied(found, &mut broken);
        let books_balance = books_balance(found, &all);
        let order_per_key_kept = found.books.disordered == 0;
        let mut demand = |kept: bool, otherwise: &str| {
            if !kept {
                broken.push(otherwise.to_owned());
            }
        };
        demand(order_per_key_kept, "effects of one key came out of order");
        demand(found.committed, "not everything is committed");
        demand(books_balance, "the sidecars' books do not balance");
        demand(found.named == found.plan.gaps, "the losses that were named are not those that were planted");
        demand(all.recovered >= found.plan.late as u64, "messages that came late were not recognised");
        demand(found.books.malformed == 0, "requests lacked headers of the contract");
        demand(all.dead_lettered == 0, "records were dead-lettered");
        broken.extend(found.failures.iter().cloned());
        Self {
            world: found.world,
            sent: found.plan.messages.len(),
            distinct: found.plan.distinct(),
            planted_duplicates: found.plan.planted,
            applied,
            order_per_key_kept,
            failed_attempts: found.books.failed,
            detected_duplicates: all.duplicates,
            possible_repeats: Repeats { sent: all.possible_repeats, absorbed: found.books.absorbed },
            planted_gaps: Gaps::of(&found.plan.gaps),
            named_gaps: Gaps::of(&found.named),
            planted_late: found.plan.late,
            recovered: all.recovered,
            aborted: found.aborted.clone(),
            committed_to_the_end: found.committed,
            books_balance,
            seconds: found.took.as_secs_f64(),
            broken,
        }
    }

    /// Whether every effect happened exactly once and every other promise was kept.
    pub(super) fn all_kept(&self) -> bool {
        self.broken.is_empty()
    }
}

/// Compares what was sent with what the app applied.
fn applied(found: &Findings, broken: &mut Vec<String>) -> Applied {
    let mut applied = Applied::default();
    let (mut repeated, mut lost) = (Vec::new(), Vec::new());
    let ids: HashSet<&str> = found.plan.messages.iter().map(|message| message.id.as_str()).collect();
    for id in &ids {
        let name = (found.topic.to_owned(), (*id).to_owned());
        match found.books.applied.get(&name).copied().unwrap_or(0) {
            0 => lost.push(*id),
            1 => applied.once += 1,
            _ => repeated.push(*id),
        }
    }
    (applied.never, applied.more_than_once) = (lost.len(), repeated.len());
    applied.unknown = found.books.applied.len() - applied.once - applied.more_than_once;
    for (mut ids, what) in [(lost, "never applied"), (repeated, "applied more than once")] {
        if !ids.is_empty() {
            ids.sort_unstable();
            let more = if ids.len() > NAMED { ", ..." } else { "" };
            broken.push(format!("{what}: {}{more}", ids[..ids.len().min(NAMED)].join(", ")));
        }
    }
    if applied.unknown > 0 {
        broken.push(format!("{} effects of messages that nobody sent", applied.unknown));
    }
    applied
}

/// Each sidecar's counters add up, nothing is open in those that were drained, and together they settled every record
/// (some twice: what the aborted one had settled and not committed).
fn books_balance(found: &Findings, all: &Counters) -> bool {
    let each = found.survivors.iter().chain([&found.aborted.counters]).all(Counters::balance);
    let nothing_open = found.survivors.iter().all(|counters| counters.open == 0);
    let all_settled = all.settled() >= found.plan.messages.len() as u64;
    each && nothing_open && (all_settled || !found.aborted.counters_are_last)
}

#[cfg(test)]
mod tests {
    use super::super::app::tests::delivered;
    use super::super::planting::Message;
    use super::*;

    fn message(id: &str) -> Message {
        Message { partition: 0, key: String::new(), id: id.to_owned(), value: String::new(), number: None }
    }

    /// The words of what is broken when these first requests reached the app, each applied without looking.
    fn broken(applied: &[&str], change: impl FnOnce(&mut Findings)) -> String {
        let planted = Planted { adjacent: 1, ..Planted::default() };
        let plan = Plan { messages: ["a", "b", "b"].map(message).to_vec(), planted, gaps: Vec::new(), late: 0 };
        let deliveries: Vec<_> = applied.iter().map(|id| delivered(id, true)).collect();
        let books = Books::after(&deliveries);
        let duplicates = Duplicates { producer: 1, ..Duplicates::default() };
        let counters = Counters { received: 3, delivered: 2, duplicates, ..Counters::default() };
        let aborted = Counters { received: 1, open: 1, ..Counters::default() };
        let mut found = Findings {
            world: "a test",
            topic: "t",
            plan: &plan,
            books: &books,
            survivors: vec![counters],
            aborted: Abortion { by: "aborted", unanswered: 1, counters: aborted, counters_are_last: true },
            committed: true,
            named: Vec::new(),
            failures: Vec::new(),
            took: Duration::from_secs(1),
        };
        change(&mut found);
        let report = Report::new(&found);
        assert_eq!(report.all_kept(), report.broken.is_empty());
        report.broken.join("; ")
    }

    #[test]
    fn a_lost_or_repeated_effect_breaks_the_promise() {
        let table: [(&[&str], &str); 5] = [
            (&["a", "b"], ""),
            (&["a"], "never applied: b"),
            (&["a", "b", "b"], "effects of one key"),
            (&["a", "b", "b"], "applied more than once: b"),
            (&["a", "b", "c"], "1 effects of messages that nobody sent"),
        ];
        for (applied, expected) in table {
            let said = broken(applied, |_| {});
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{applied:?}: {said}");
        }
    }

    type Change = fn(&mut Findings, Counters);

    #[test]
    fn whatever_else_goes_wrong_breaks_it_too() {
        let open = Counters { received: 3, delivered: 2, open: 1, ..Counters::default() };
        let uneven = Counters { received: 5, delivered: 3, ..Counters::default() };
        let too_few = Counters { received: 2, delivered: 2, ..Counters::default() };
        let invented = |found: &mut Findings, _| {
            found.named.push(Gap { producer: "p".to_owned(), first: 1, last: 1 });
        };
        let table: [(Change, Counters, &str); 7] = [
            (invented, open, "not those that were planted"),
            (|found, _| found.committed = false, open, "not everything is committed"),
            (|found, _| found.failures.push("it crashed".to_owned()), open, "it crashed"),
            (|found, counters| found.survivors[0] = counters, open, "books do not balance"),
            (|found, counters| found.survivors[0] = counters, uneven, "books do not balance"),
            (|found, counters| found.survivors[0] = counters, too_few, "books do not balance"),
            (|found, counters| found.aborted.counters = counters, uneven, "books do not balance"),
        ];
        for (change, counters, expected) in table {
            let said = broken(&["a", "b"], |found| change(found, counters));
            assert!(said.contains(expected), "{said}");
        }
        let killed = broken(&["a", "b"], |found| {
            found.survivors[0] = too_few;
            found.aborted.counters_are_last = false; // what it settled after the scrape cannot be known
        });
        assert_eq!(killed, "");
    }
}
