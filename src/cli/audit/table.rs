//! The report as a person reads it.

use std::fmt::Write as _;

use super::super::columns::Align::{Left, Right};
use super::super::columns::write;
use super::report::{Numbers, Report};

/// The whole page. What is listed has bounds (`domain::audit`); what is beyond them is counted on the last line.
pub(super) fn page(report: &Report) -> String {
    let mut page = String::new();
    title(&mut page, report);
    partitions(&mut page, report);
    gaps(&mut page, report);
    producers(&mut page, report);
    duplicates(&mut page, report);
    remarks(&mut page, report);
    verdict(&mut page, report);
    page
}

// Writing to a String cannot fail.

fn title(page: &mut String, report: &Report) {
    let since = report.since.as_ref().map_or_else(String::new, |since| format!(", since {since}"));
    let until = report.until.as_ref().map_or_else(String::new, |until| format!(", until {until}"));
    let _ = writeln!(page, "kafka-once audit: topic {}{since}{until}\n", report.topic);
}

fn partitions(page: &mut String, report: &Report) {
    let row = |name: String, from: String, to: String, numbers: &Numbers| {
        let Numbers { records, missing, duplicates, out_of_order, .. } = numbers;
        [name, from, to, records.to_string(), missing.to_string(), duplicates.to_string(), out_of_order.to_string()]
    };
    let mut rows: Vec<_> = report
        .partitions
        .iter()
        .map(|own| row(own.partition.to_string(), own.start.to_string(), own.end.to_string(), &own.numbers))
        .collect();
    if rows.len() > 1 {
        rows.push(row("all".to_owned(), String::new(), String::new(), &report.total));
    }
    let heads = ["partition", "from", "to", "records", "missing", "duplicates", "out of order"];
    write(page, heads.map(|head| (head, Right)), &rows);
}

fn gaps(page: &mut String, report: &Report) {
    if report.gaps.is_empty() {
        return;
    }
    let _ = writeln!(page, "\nmissing numbers");
    let heads = [
        ("partition", Right),
        ("producer", Left),
        ("first", Right),
        ("last", Right),
        ("missing", Right),
        ("between offsets", Left),
    ];
    let rows = report.gaps.iter().map(|gap| {
        let between = format!("{} and {}", gap.before_offset, gap.after_offset);
        let (first, last, missing) = (gap.first.to_string(), gap.last.to_string(), gap.missing.to_string());
        [gap.partition.to_string(), gap.producer.clone(), first, last, missing, between]
    });
    write(page, heads, &rows.collect::<Vec<_>>());
    more(page, report.gaps_more);
}

fn producers(page: &mut String, report: &Report) {
    if report.producers.is_empty() {
        return;
    }
    let _ = writeln!(page, "\nproducers with gaps, disorder or restarts");
    let heads = [
        ("partition", Right),
        ("producer", Left),
        ("records", Right),
        ("gaps", Right),
        ("missing", Right),
        ("out of order", Right),
        ("repeated", Right),
        ("restarts", Right),
    ];
    let rows = report.producers.iter().map(|own| {
        let numbers = [own.records, own.gaps, own.missing, own.out_of_order, own.repeated, own.restarts];
        let [records, gaps, missing, out_of_order, repeated, restarts] = numbers.map(|number| number.to_string());
        [own.partition.to_string(), own.producer.clone(), records, gaps, missing, out_of_order, repeated, restarts]
    });
    write(page, heads, &rows.collect::<Vec<_>>());
    more(page, report.producers_more);
}

fn duplicates(page: &mut String, report: &Report) {
    if report.duplicates.is_empty() {
        return;
    }
    let _ = writeln!(page, "\nduplicates: a record before had the same message ID");
    let line = |own: &super::report::DuplicateLine| [own.partition.to_string(), own.offset.to_string(), own.id.clone()];
    let rows: Vec<_> = report.duplicates.iter().map(line).collect();
    write(page, [("partition", Right), ("offset", Right), ("message ID", Left)], &rows);
    more(page, report.duplicates_more);
}

fn more(page: &mut String, more: u64) {
    if more > 0 {
        let _ = writeln!(page, "  ... and {more} more");
    }
}

/// What a person should know before believing the table: one line each, where there is something to say.
fn remarks(page: &mut String, report: &Report) {
    let total = &report.total;
    let none_numbered = total.producers == 0 && total.unreadable_sequence == 0;
    let (watched, some) = (report.sequences, total.records > 0);
    let remarks = [
        (!watched, "sequences are not looked at (ONCE_SEQUENCE=off): nothing can be found missing".to_owned()),
        (watched && some && none_numbered, "no record has a sequence number: nothing can be found missing".to_owned()),
        (
            watched && total.without_sequence > 0 && !none_numbered,
            format!("{} without a sequence number", records(total.without_sequence)),
        ),
        (
            report.compacted == Some(true) && total.missing > 0,
            "the topic is compacted: numbers of records that compaction removed are among the missing".to_owned(),
        ),
        (
            total.unreadable_sequence > 0,
            format!("{} with a sequence number that cannot be read", records(total.unreadable_sequence)),
        ),
        (total.without_id > 0, format!("{} without a message ID", records(total.without_id))),
        (
            total.unusable_id > 0,
            format!("{} with a message ID that is ambiguous or too long", records(total.unusable_id)),
        ),
        (
            !report.duplicates_exact,
            format!(
                "not exact: {} message IDs were remembered, {} more were not, so there may be more duplicates; \
                 remember more with --remember",
                report.ids_remembered, total.ids_not_remembered
            ),
        ),
        (
            total.producers_forgotten > 0,
            format!(
                "not exact: {} producers that had been silent were forgotten to make room for others; \
                 what came of them later was taken as a first sight, without a gap",
                total.producers_forgotten
            ),
        ),
        (
            total.gaps_given_up > 0,
            format!(
                "not exact: {} gaps could not be kept open, and count as missing even if they were filled later",
                total.gaps_given_up
            ),
        ),
        (
            total.deleted_while_reading > 0,
            format!("{} offsets were deleted by retention before they could be read", total.deleted_while_reading),
        ),
    ];
    let said: Vec<_> = remarks.into_iter().filter(|(holds, _)| *holds).collect();
    if !said.is_empty() {
        let _ = writeln!(page);
    }
    for (_, remark) in said {
        let _ = writeln!(page, "{remark}");
    }
}

fn verdict(page: &mut String, report: &Report) {
    let total = &report.total;
    let words = match (total.missing, total.gaps) {
        (0, _) => "Nothing is missing.".to_owned(),
        (1, _) => "1 message is missing.".to_owned(),
        (missing, 1) => format!("{missing} messages are missing, in 1 gap."),
        (missing, gaps) => format!("{missing} messages are missing, in {gaps} gaps."),
    };
    let _ = writeln!(
        page,
        "\n{words} ({} in {:.1} s: {:.0} records/s, {:.1} MiB/s)",
        records(total.records),
        report.seconds,
        report.records_per_second,
        report.mib_per_second
    );
}

fn records(number: u64) -> String {
    if number == 1 { "1 record".to_owned() } else { format!("{number} records") }
}

#[cfg(test)]
mod tests {
    use super::super::reading::Read;
    use super::super::report::Asked;
    use super::super::report::tests::report;
    use super::*;
    use crate::adapters::kafka::Span;
    use crate::domain::audit::{Named, PartitionAudit};
    use crate::domain::numbering::Numbered;
    use crate::domain::record::{NextOffset, Offset};
    use crate::domain::time::UnixMillis;

    #[test]
    fn a_page_names_what_is_missing_and_where() {
        let first = [1, 2, 6].map(|number| Some(("billing-7", number)));
        let page = page(&report(true, [&first, &[Some(("x", 0)), None]]));
        let expected = "\
kafka-once audit: topic orders, since 1970-01-01T00:00:00.000Z

  partition  from  to  records  missing  duplicates  out of order
          0     0   3        3        3           0             0
          1     0   2        2        0           0             0
        all                  5        3           0             0

missing numbers
  partition  producer   first  last  missing  between offsets
          0  billing-7      3     5        3  1 and 2

producers with gaps, disorder or restarts
  partition  producer   records  gaps  missing  out of order  repeated  restarts
          0  billing-7        3     1        3             0         0         0

1 record without a sequence number

3 messages are missing, in 1 gap. (5 records in 2.0 s: 2 records/s, 1.0 MiB/s)
";
        assert_eq!(page, expected);
    }

    #[test]
    fn the_readme_shows_a_page_as_it_is() {
        // 1 to 9003 without 3001 to 3003; 5001 comes late. At the offsets from 81000 on.
        let mut numbers: Vec<u64> = (1..=9_003).filter(|number| !(3_001..=3_003).contains(number)).collect();
        numbers.swap(4_997, 4_998);
        let mut audit = PartitionAudit::one_of(1);
        for (offset, number) in (81_000..).zip(numbers) {
            let numbered = Numbered::As { producer: b"billing-7".as_slice().into(), number };
            audit.observe(Offset(offset), Named::New, numbered);
        }
        let (start, end) = (NextOffset(81_000), NextOffset(90_000));
        let span = Span { partition: 0, log_start: NextOffset(0), start, end };
        let read = Read {
            parts: vec![(span, audit.finish())],
            bytes: 9_000 * 1_024,
            remembered: 9_000,
            took: std::time::Duration::from_millis(100),
        };
        let since = Some(UnixMillis(1_769_896_799_000));
        let asked = Asked { topic: "orders", since, until: None, sequences: true, compacted: Some(false) };
        let page = page(&Report::new(&asked, read));
        let indented: String =
            page.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") }).collect();
        assert!(include_str!("../../../README.md").contains(&indented), "README.md shows another page than\n{page}");
    }

    type Row<'a> = (bool, [&'a [Option<(&'a str, u64)>]; 2], &'a str);

    #[test]
    fn a_page_says_when_nothing_could_be_found_missing() {
        let table: [Row<'_>; 3] = [
            (false, [&[None], &[]], "sequences are not looked at (ONCE_SEQUENCE=off)"),
            (true, [&[None], &[None]], "no record has a sequence number"),
            (true, [&[Some(("p", 0))], &[]], "Nothing is missing."),
        ];
        for (sequences, records, words) in table {
            let page = page(&report(sequences, records));
            assert!(page.contains(words) && page.contains("Nothing is missing."), "{page}");
        }
        assert!(!page(&report(true, [&[], &[]])).contains("no record has"), "an empty topic");
    }

    #[test]
    fn what_is_not_exact_says_so() {
        let mut found = report(true, [&[Some(("p", 0))], &[]]);
        found.duplicates_exact = false;
        found.total.ids_not_remembered = 17;
        found.total.producers_forgotten = 2;
        found.total.gaps_given_up = 3;
        let page = page(&found);
        assert_eq!(page.matches("not exact: ").count(), 3, "{page}");
        assert!(page.contains("4 message IDs were remembered, 17 more were not"), "{page}");
    }
}
