//! The report as a person reads it.

use std::fmt::Write as _;

use super::planting::PARTITIONS;
use super::report::Report;

/// Width of the first column and of the numbers behind it.
const LABEL: usize = 26;
const NUMBER: usize = 8;

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut page = format!("\nkafka-once demo: {}\n", report.world);
    sent(&mut page, report);
    applied(&mut page, report);
    seen(&mut page, report);
    verdict(&mut page, report);
    page
}

fn sent(page: &mut String, report: &Report) {
    let planted = report.planted_duplicates;
    title(page, "sent to Kafka");
    row(page, "records", report.sent, &format!("in {PARTITIONS} partitions"));
    row(page, "distinct messages", report.distinct, "");
    let where_planted =
        format!("{} adjacent, {} later, {} in another partition", planted.adjacent, planted.later, planted.elsewhere);
    row(page, "planted duplicates", planted.sum(), &where_planted);
    let gaps = report.planted_gaps;
    row(
        page,
        "planted gaps",
        gaps.ranges,
        &format!("{} numbers of the producers' sequences never sent", gaps.messages),
    );
    row(page, "planted late fills", report.planted_late, "sent behind later numbers");
}

fn applied(page: &mut String, report: &Report) {
    title(page, "applied by the app");
    row(page, "once", report.applied.once, "");
    row(page, "more than once", report.applied.more_than_once, "");
    row(page, "never", report.applied.never, "");
    row(page, "order per key", if report.order_per_key_kept { "kept" } else { "BROKEN" }, "");
}

fn seen(page: &mut String, report: &Report) {
    let (found, repeats, aborted) = (report.detected_duplicates, report.possible_repeats, &report.aborted);
    title(page, "seen by the sidecars");
    row(page, "duplicates", found.sum(), "records read again after the abort are judged again");
    row(page, "  producer", found.producer, "the first one was settled");
    row(page, "  in flight", found.in_flight, "the first one was open: they waited for its outcome");
    row(page, "  redelivery", found.redelivery, "settled by the aborted one, which had not committed yet");
    row(page, "failed attempts", report.failed_attempts, "the app answered 500; sent again");
    row(page, "sidecars ended half way", 1, &format!("{}: no drain, no release, no commit", aborted.by));
    row(page, "  with requests open", aborted.unanswered, "applied by the app, not answered");
    row(page, "possible repeats sent", repeats.sent, "claims of the aborted one, taken over in doubt");
    row(page, "  absorbed by the app", repeats.absorbed, "it looked, and had applied them");
    if !aborted.counters_are_last {
        let _ = writeln!(page, "  (counters of the killed one are as of just before)");
    }
    let gaps = report.named_gaps;
    row(
        page,
        "gaps named as lost",
        gaps.ranges,
        &format!("{} messages, each range by producer and numbers", gaps.messages),
    );
    row(page, "late fills recovered", report.recovered, "missing for a while, not lost");
    row(page, "offsets committed", if report.committed_to_the_end { "all" } else { "NOT ALL" }, "");
    row(page, "books", if report.books_balance { "balance" } else { "DIFFER" }, "");
}

fn verdict(page: &mut String, report: &Report) {
    let _ = writeln!(page);
    for broken in &report.broken {
        let _ = writeln!(page, "BROKEN: {broken}");
    }
    let words = if report.all_kept() {
        "Every effect happened exactly once, and every planted loss was named."
    } else {
        "A promise was broken."
    };
    let _ = writeln!(page, "{words} ({:.1} s)", report.seconds);
}

// Writing to a String cannot fail.

fn title(page: &mut String, text: &str) {
    let _ = writeln!(page, "\n{text}");
}

fn row(page: &mut String, label: &str, value: impl std::fmt::Display, note: &str) {
    let line = format!("  {label:<LABEL$}{:>NUMBER$}  {note}", value.to_string());
    let _ = writeln!(page, "{}", line.trim_end());
}
