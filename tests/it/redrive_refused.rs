//! `kafka-once redrive` where a source topic does not take a record any more: that one stays, and the run goes on.

use serde_json::{Value, json};

use crate::redrive::assert_counts;
use crate::support::letters::{Letter, Letters, now};
use crate::support::topics;

/// What stands on a topic.
fn values(letters: &Letters, topic: &str) -> Vec<String> {
    let reads = topics::read_all(&letters.scene.bootstrap, topic).expect("records");
    reads.iter().map(|read| String::from_utf8_lossy(read.value.as_deref().unwrap_or_default()).into_owned()).collect()
}

/// Source topics with these settings and letters of them: what is sent, and which offsets stay.
fn stays(name: &str, config: (&str, &str), all: &[Letter<'_>], sent: &[&str], offsets: &[i64]) {
    let Some(letters) = Letters::new(name) else { return };
    let source = format!("{}-strict", letters.scene.topic);
    topics::create(&letters.scene.bootstrap, &source, 1, 1, &[config]).expect("a topic");
    letters.write_as(&source, &letters.scene.group, all);
    let (sent_now, kept) = (sent.len() as u64, offsets.len() as u64);
    let report = letters.redrive(&["--topic", &source]);
    assert_counts(&report, &[("sent", sent_now), ("topic_refuses", kept)]);
    assert_eq!(values(&letters, &source), sent);
    let places = report["topic_refuses_at"].as_array().expect("a list");
    let of = |place: &Value| (place["topic"].clone(), place["partition"].clone(), place["offset"].clone());
    let expected: Vec<_> = offsets.iter().map(|offset| (json!(source), json!(0), json!(offset))).collect();
    assert_eq!(places.iter().map(of).collect::<Vec<_>>(), expected, "{report:#}");
    assert!(places.iter().all(|place| place["why"].as_str().is_some_and(|why| !why.is_empty())), "{report:#}");

    let (code, page) = letters.run(&["--topic", &source], &[]);
    assert!(code == 0 && page.contains(&format!("topic {source}, partition 0, offset {}: ", offsets[0])), "{page}");
    assert!(page.contains("not sent back: the source topic does not take the record that stood at"), "{page}");
    let again = letters.redrive(&["--topic", &source]);
    assert_counts(&again, &[("sent_before", sent_now), ("topic_refuses", kept)]);
    assert_eq!(values(&letters, &source), sent, "nothing twice, and no marker for what stays");
}

/// Two of them are copies of one letter: the second one is no copy of a letter that was sent.
#[test]
fn records_larger_than_their_topic_takes_now_stay_and_all_others_go_back() {
    let large = "v".repeat(5_000);
    let all = [
        Letter::new("a", "a", 0),
        Letter::new("large", &large, 1),
        Letter::new("large", &large, 1),
        Letter::new("b", "b", 2),
    ];
    stays("redrive-large", ("max.message.bytes", "2000"), &all, &["a", "b"], &[1, 1]);
}

#[test]
fn records_whose_timestamps_their_topic_refuses_stay_and_all_others_go_back() {
    let at = |ahead: i64| i64::try_from(now()).expect("a time") + ahead;
    let of = |id: &'static str, offset, ahead| Letter { stood: (0, offset, at(ahead)), ..Letter::new(id, id, offset) };
    let hour = 3_600_000;
    let all = [of("a", 0, 0), of("old", 1, -2 * hour), of("older", 2, -3 * hour), of("b", 3, 0)];
    let limit = ("message.timestamp.before.max.ms", "3600000");
    stays("redrive-times", limit, &all, &["a", "b"], &[1, 2]);
}

/// The default limit of Kafka 4.
#[test]
fn a_record_of_the_future_goes_back_as_of_now() {
    let Some(letters) = Letters::new("redrive-future") else { return };
    let (before, hour) = (i64::try_from(now()).expect("a time"), 3_600_000);
    letters.write(&[Letter { stood: (0, 0, before + 3 * hour), ..Letter::new("x", "x", 0) }]);
    assert_counts(&letters.redrive(&[]), &[("sent", 1)]);
    let back = letters.on_source();
    assert!(back[0].timestamp.is_some_and(|at| at >= before && at < before + hour), "{back:?}");
}
