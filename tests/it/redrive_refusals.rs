//! `kafka-once redrive` where it must not begin: one sentence, exit code 2, nothing changed.

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::support::letters::{Letter, Letters, dead};
use crate::support::{Producer, Record, topics};

/// Ends with 2 and says these words.
fn refused(letters: &Letters, arguments: &[&str], settings: &[(&str, &str)], words: &str) {
    let (code, said) = letters.run(arguments, settings);
    assert!(code == 2 && said.contains(words), "{arguments:?} {settings:?}: {code}: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// The letter stands there alone, with its mark.
fn assert_unchanged(letters: &Letters) {
    let (topic, source) = (letters.on_topic().len(), letters.on_source().len());
    assert_eq!((topic, source, letters.standing("x").is_some()), (1, 0, true));
}

fn one_letter(name: &str) -> Option<Letters> {
    let letters = Letters::new(name)?;
    letters.write(&[Letter::new("x", "x", 0)]);
    letters.mark(&Letter::new("x", "x", 0), dead);
    Some(letters)
}

#[test]
fn what_is_missing_unknown_or_away_is_said_before_anything_is_changed() {
    let Some(letters) = one_letter("redrive-usage") else { return };
    let compacted = format!("{}-compacted", letters.scene.topic);
    topics::create(&letters.scene.bootstrap, &compacted, 1, 1, &[("cleanup.policy", "compact")]).expect("a topic");
    for (arguments, settings, words) in [
        (&[][..], ("ONCE_DEAD_LETTER_TOPIC", ""), "ONCE_DEAD_LETTER_TOPIC: is required"),
        (&[], ("ONCE_DEAD_LETTER_TOPIC", "nowhere"), "unknown topics: nowhere; check ONCE_DEAD_LETTER_TOPIC"),
        (&[], ("ONCE_DEAD_LETTER_TOPIC", &compacted), "is compacted"),
        (&[], ("ONCE_KAFKA_TOPICS", ""), "whose letters? set ONCE_KAFKA_TOPICS, or say --topic"),
        (&[], ("ONCE_REDIS_URL", "memory:"), "ONCE_REDIS_URL is memory:"),
        (&[], ("ONCE_REDIS_URL", "redis://127.0.0.1:1"), "redis is away"),
        (&[], ("ONCE_KAFKA_BROKERS", "127.0.0.1:1"), "check ONCE_KAFKA_BROKERS"),
        (&["--topic", "nowhere"], ("ONCE_LOG_FORMAT", "text"), "unknown topics: nowhere"),
        (&["--reason", "whim"], ("ONCE_LOG_FORMAT", "text"), "refused, exhausted, missing_id"),
        (&["--id", "%4"], ("ONCE_LOG_FORMAT", "text"), "no message ID"),
        (&["--since", "yesterday"], ("ONCE_LOG_FORMAT", "text"), "--since"),
        (&["--max", "0"], ("ONCE_LOG_FORMAT", "text"), "--max"),
    ] {
        refused(&letters, arguments, &[settings], words);
    }
    refused(&letters, &["--topic", &letters.topic], &[], "is the dead-letter topic itself");
    assert_unchanged(&letters);
}

/// Behind it a marker could stand that is not seen.
#[test]
fn an_open_transaction_of_somebody_else_on_the_dead_letter_topic_is_no_end_to_read_to() {
    let Some(letters) = one_letter("redrive-hidden") else { return };
    let other = Producer::transactional(&letters.scene.bootstrap, &letters.topic).expect("a producer");
    other.begin().expect("begun");
    other.send([Record::new(&letters.topic, "open").partition(1)]).expect("sent");
    refused(&letters, &[], &[], "transaction is open on the dead-letter topic");
    other.abort().expect("aborted");
    assert_unchanged(&letters);
    assert_eq!(letters.redrive(&[])["sent"], 1);
}

#[test]
fn a_cluster_that_permits_no_transactions_is_told_with_the_rights_that_are_needed() {
    let Some(letters) = one_letter("redrive-acl") else { return };
    let mock = MockCluster::new(1).expect("a mock cluster");
    mock.create_topic("orders", 1, 1).expect("a topic");
    mock.create_topic("dead", 1, 1).expect("a topic");
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    mock.request_errors(RDKafkaApiKey::InitProducerId, &[denied]);
    let brokers = mock.bootstrap_servers();
    let settings = [
        ("ONCE_KAFKA_BROKERS", brokers.as_str()),
        ("ONCE_KAFKA_TOPICS", "orders"),
        ("ONCE_DEAD_LETTER_TOPIC", "dead"),
        ("ONCE_DEDUP_NAMESPACE", "billing"),
    ];
    refused(&letters, &[], &settings, "Write and Describe on the transactional ID once-redrive-billing");
}
