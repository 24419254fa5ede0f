//! What the audit says: the table, and what `--json` prints. The names of the fields are a promise (docs/loss.md).

use serde::Serialize;

use super::super::progress::rate;
use super::reading::Read;
use crate::adapters::kafka::Span;
use crate::domain::audit::{
    Counts, Duplicate, Found, Gap, Listed, MOST_LISTED, MOST_LISTED_PRODUCERS, Producer, worst_first,
};
use crate::domain::percent::{is_visible, percent_encode};
use crate::domain::time::UnixMillis;
use crate::telemetry::rfc3339;

/// Bytes in a mebibyte.
pub(super) const MIB: f64 = 1_048_576.0;

/// What was asked for.
pub(super) struct Asked<'a> {
    pub topic: &'a str,
    pub since: Option<UnixMillis>,
    pub until: Option<UnixMillis>,
    /// Whether sequences are looked at.
    pub sequences: bool,
    /// Whether the topic is compacted, if that could be read.
    pub compacted: Option<bool>,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub topic: String,
    /// RFC 3339, or null: from the log's start.
    pub since: Option<String>,
    /// RFC 3339, or null: up to the log's end when the audit began.
    pub until: Option<String>,
    /// Whether sequences were looked at (`ONCE_SEQUENCE`).
    pub sequences: bool,
    /// Whether the topic is compacted: numbers of records that compaction removed are missing too. Null: not known.
    pub compacted: Option<bool>,
    /// Whether all that is said of sequences is exact: no bound was reached.
    pub sequences_exact: bool,
    /// Whether every duplicate is found: all message IDs were remembered.
    pub duplicates_exact: bool,
    pub total: Numbers,
    pub partitions: Vec<PartitionLine>,
    pub gaps: Vec<GapLine>,
    /// Gaps that are counted and not listed.
    pub gaps_more: u64,
    pub duplicates: Vec<DuplicateLine>,
    /// Duplicates that are counted and not listed.
    pub duplicates_more: u64,
    /// Producers of whom there is something to say, those that miss most first.
    pub producers: Vec<ProducerLine>,
    /// Such producers that are not listed.
    pub producers_more: u64,
    /// Message IDs remembered at the end.
    pub ids_remembered: u64,
    /// Keys and values read.
    pub bytes: u64,
    pub seconds: f64,
    pub records_per_second: f64,
    pub mib_per_second: f64,
}

/// One partition: what of it was read, and what it holds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PartitionLine {
    pub partition: i32,
    /// The log's first offset.
    pub log_start: i64,
    /// The first offset read.
    pub start: i64,
    /// The first offset behind those read.
    pub end: i64,
    #[serde(flatten)]
    pub numbers: Numbers,
}

/// Everything that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Numbers {
    pub records: u64,
    /// Numbers that never came.
    pub missing: u64,
    /// Ranges of such numbers.
    pub gaps: u64,
    /// Records whose message ID a record before had.
    pub duplicates: u64,
    pub without_id: u64,
    /// Records whose message ID is ambiguous or too long.
    pub unusable_id: u64,
    pub without_sequence: u64,
    /// Records whose number cannot be read, or is nobody's.
    pub unreadable_sequence: u64,
    /// Records behind a higher number of their producer.
    pub out_of_order: u64,
    /// Records whose number their producer had used before.
    pub repeated: u64,
    pub restarts: u64,
    pub producers: u64,
    /// Producers forgotten: a bound was reached.
    pub producers_forgotten: u64,
    /// Gaps that no late arrival could have filled any more: a bound was reached.
    pub gaps_given_up: u64,
    /// Records whose message ID was not remembered: a bound was reached.
    pub ids_not_remembered: u64,
    /// Offsets that retention deleted before we came to them.
    pub deleted_while_reading: u64,
}

/// One missing range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct GapLine {
    pub partition: i32,
    /// Bytes that are not printable ASCII stand as %XX.
    pub producer: String,
    pub first: u64,
    pub last: u64,
    pub missing: u64,
    /// Where the producer's last record before the gap stands.
    pub before_offset: i64,
    /// Where the record that showed the gap stands.
    pub after_offset: i64,
}

/// One record whose message ID a record before had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct DuplicateLine {
    pub partition: i32,
    pub offset: i64,
    /// As in `Idempotency-Key`.
    pub id: String,
}

/// One producer of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ProducerLine {
    pub partition: i32,
    pub producer: String,
    pub records: u64,
    pub missing: u64,
    pub gaps: u64,
    pub out_of_order: u64,
    pub repeated: u64,
    pub restarts: u64,
}

impl Report {
    /// Puts together what was read.
    pub(super) fn new(asked: &Asked, read: Read) -> Self {
        let mut total = Counts::default();
        let mut partitions = Vec::with_capacity(read.parts.len());
        let (mut gaps, mut duplicates) = (Listed::default(), Listed::default());
        let mut producers: Listed<(i32, Producer)> = Listed::default();
        for (span, found) in read.parts {
            total += found.counts;
            partitions.push(PartitionLine::new(&span, &found));
            let at = span.partition;
            take(&mut gaps, found.gaps, |gap| GapLine::new(at, &gap));
            take(&mut duplicates, found.duplicates, |duplicate| DuplicateLine::new(at, &duplicate));
            take(&mut producers, found.producers, |producer| (at, producer));
        }
        gaps.cut(MOST_LISTED);
        duplicates.cut(MOST_LISTED);
        worst_first(&mut producers, MOST_LISTED_PRODUCERS, |(_, producer)| producer);
        Self {
            topic: asked.topic.to_owned(),
            since: asked.since.map(rfc3339),
            until: asked.until.map(rfc3339),
            sequences: asked.sequences,
            compacted: asked.compacted,
            sequences_exact: total.is_exact(),
            duplicates_exact: total.unremembered == 0,
            records_per_second: rate(total.records, read.took),
            mib_per_second: rate(read.bytes, read.took) / MIB,
            total: Numbers::from(total),
            partitions,
            gaps: gaps.items,
            gaps_more: gaps.more,
            duplicates: duplicates.items,
            duplicates_more: duplicates.more,
            producers: producers.items.iter().map(|(at, producer)| ProducerLine::new(*at, producer)).collect(),
            producers_more: producers.more,
            ids_remembered: read.remembered,
            bytes: read.bytes,
            seconds: read.took.as_secs_f64(),
        }
    }

    /// Whether a number is missing; duplicates and disorder alone are not that.
    pub(super) fn is_missing_something(&self) -> bool {
        self.total.missing > 0
    }
}

fn take<T, L>(all: &mut Listed<L>, own: Listed<T>, line: impl Fn(T) -> L) {
    all.items.extend(own.items.into_iter().map(line));
    all.more += own.more;
}

impl PartitionLine {
    fn new(span: &Span, found: &Found) -> Self {
        let Span { partition, log_start, start, end } = *span;
        let numbers = Numbers::from(found.counts);
        Self { partition, log_start: log_start.0, start: start.0, end: end.0, numbers }
    }
}

impl From<Counts> for Numbers {
    fn from(counts: Counts) -> Self {
        Self {
            records: counts.records,
            missing: counts.missing,
            gaps: counts.gaps,
            duplicates: counts.duplicates,
            without_id: counts.without_id,
            unusable_id: counts.unusable_id,
            without_sequence: counts.unnumbered,
            unreadable_sequence: counts.unreadable,
            out_of_order: counts.out_of_order,
            repeated: counts.repeated,
            restarts: counts.restarts,
            producers: counts.producers,
            producers_forgotten: counts.forgotten,
            gaps_given_up: counts.given_up,
            ids_not_remembered: counts.unremembered,
            deleted_while_reading: counts.deleted,
        }
    }
}

impl GapLine {
    fn new(partition: i32, gap: &Gap) -> Self {
        let missing = &gap.missing;
        Self {
            partition,
            producer: shown(&gap.producer),
            first: missing.first,
            last: missing.last,
            missing: missing.count(),
            before_offset: missing.before.0,
            after_offset: missing.after.0,
        }
    }
}

impl DuplicateLine {
    fn new(partition: i32, duplicate: &Duplicate) -> Self {
        Self { partition, offset: duplicate.offset.0, id: duplicate.id.as_str().to_owned() }
    }
}

impl ProducerLine {
    fn new(partition: i32, producer: &Producer) -> Self {
        let tally = &producer.tally;
        Self {
            partition,
            producer: shown(&producer.name),
            records: tally.records,
            missing: tally.missing,
            gaps: tally.gaps,
            out_of_order: tally.out_of_order,
            repeated: tally.repeated,
            restarts: tally.restarts,
        }
    }
}

/// A name from outside must not reach a terminal as it is.
fn shown(name: &[u8]) -> String {
    percent_encode(name, is_visible)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::audit::{Named, PartitionAudit};
    use crate::domain::identity::MessageId;
    use crate::domain::numbering::Numbered;
    use crate::domain::record::{NextOffset, Offset};

    /// A report on records of two partitions: producer and number, or nothing.
    pub(in super::super) fn report(sequences: bool, records: [&[Option<(&str, u64)>]; 2]) -> Report {
        let part = |(partition, records): (i32, &[Option<(&str, u64)>])| {
            let mut audit = PartitionAudit::one_of(2);
            for (offset, record) in (0..).zip(records) {
                let numbered = record.map_or(Numbered::Not, |(producer, number)| Numbered::As {
                    producer: producer.as_bytes().into(),
                    number,
                });
                audit.observe(Offset(offset), Named::New, numbered);
            }
            let end = NextOffset(i64::try_from(records.len()).expect("few"));
            let span = Span { partition, log_start: NextOffset(0), start: NextOffset(0), end };
            (span, audit.finish())
        };
        let read = Read {
            parts: (0..).zip(records).map(part).collect(),
            bytes: 2 * 1_048_576,
            remembered: 4,
            took: Duration::from_secs(2),
        };
        let asked = Asked { topic: "orders", since: Some(UnixMillis(0)), until: None, sequences, compacted: None };
        Report::new(&asked, read)
    }

    #[test]
    fn partitions_add_up_and_gaps_say_where_they_are() {
        let report = report(true, [&[Some(("a b", 1)), Some(("a b", 4)), None], &[Some(("c", 0)), Some(("c", 2))]]);
        assert_eq!((report.total.records, report.total.missing, report.total.gaps), (5, 3, 2));
        assert_eq!((report.total.producers, report.total.without_sequence), (2, 1));
        let gap = |partition, producer: &str, first, last| GapLine {
            partition,
            producer: producer.to_owned(),
            first,
            last,
            missing: last - first + 1,
            before_offset: 0,
            after_offset: 1,
        };
        assert_eq!(report.gaps, [gap(0, "a%20b", 2, 3), gap(1, "c", 1, 1)]);
        assert_eq!(report.producers.iter().map(|line| line.missing).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((report.records_per_second, report.mib_per_second), (2.5, 1.0));
        assert_eq!((report.since.as_deref(), report.until.as_deref()), (Some("1970-01-01T00:00:00.000Z"), None));
        assert!(report.is_missing_something() && report.sequences_exact && report.duplicates_exact);
    }

    #[test]
    fn duplicates_disorder_and_restarts_alone_are_nothing_missing() {
        let numbers = [0, 2, 1, 2, 0].map(|number| Some(("p", number)));
        let mut report = report(true, [&numbers, &[]]);
        report.total.duplicates = 7;
        let Numbers { missing, out_of_order, repeated, restarts, .. } = report.total;
        assert_eq!((missing, out_of_order, repeated, restarts), (0, 1, 1, 1));
        assert!(!report.is_missing_something());
    }

    #[test]
    fn lists_of_many_partitions_stay_bounded_together() {
        let numbers: Vec<_> = (0..800).map(|place| Some(("p", 2 * place))).collect();
        let report = report(true, [&numbers, &numbers]);
        assert_eq!((report.gaps.len(), report.gaps_more), (1_000, 598));
        assert_eq!(report.total.gaps, 1_598);
    }

    #[test]
    fn the_fields_of_the_json_are_those_that_are_documented() {
        let json = serde_json::to_value(report(true, [&[Some(("p", 0)), Some(("p", 2))], &[]])).expect("json");
        let page = include_str!("../../../docs/loss.md");
        let mut lines = vec![&json, &json["total"], &json["partitions"][0], &json["gaps"][0], &json["producers"][0]];
        let duplicate =
            Duplicate { id: crate::domain::identity::WireId::of(&MessageId::Plain([1].into())), offset: Offset(3) };
        let duplicate = serde_json::to_value(DuplicateLine::new(1, &duplicate)).expect("json");
        lines.push(&duplicate);
        for name in lines.iter().flat_map(|line| line.as_object().expect("an object").keys()) {
            assert!(page.contains(&format!("`{name}`")), "docs/loss.md does not name {name}");
        }
        assert_eq!(duplicate["id"], "%01");
    }
}
