//! How fast `kafka-once audit` reads. Asserts no time: it prints what the command says of itself.
//!
//! `cargo test --release --locked --test it audit_speed -- --ignored --nocapture`

use crate::audit::{numbered, report, run, topic};
use crate::support::{self, Producer};

/// Records of 1 KiB.
const RECORDS: u64 = 1_000_000;
const PARTITIONS: u64 = 4;
/// Every so many of the first producer's numbers are missing: 100 gaps of one producer.
const EVERY: u64 = RECORDS / PARTITIONS / 100;

#[test]
#[ignore = "writes a gibibyte; a measurement, not a check"]
fn a_million_records_of_a_kibibyte_with_100_gaps_of_one_producer() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "million", i32::try_from(PARTITIONS).expect("few"), &[]);
    let value = vec![b'x'; 1024];
    let gap = |number: u64, partition: u64| partition == 0 && number % EVERY == EVERY / 2;
    let rest = (RECORDS / PARTITIONS..=RECORDS / PARTITIONS + 100 / PARTITIONS).map(|number| (1, number));
    let numbers =
        (0..RECORDS / PARTITIONS).flat_map(|number| (0..PARTITIONS).map(move |partition| (partition, number)));
    let kept = numbers.filter(|(partition, number)| !gap(*number, *partition));
    let records = kept.chain(rest).map(|(partition, number)| {
        let mut record = numbered(&topic, i32::try_from(partition).expect("few"), &format!("p{partition}"), number);
        record.value = Some(value.clone());
        record
    });
    let producer = Producer::with(&kafka.bootstrap(), &[("queue.buffering.max.kbytes", "65536")]).expect("a producer");
    producer.send(records).expect("sent");
    for _ in 0..3 {
        let (code, said) = run(kafka, &topic, &[], &[]);
        println!("exit code {code}: {}", said.lines().last().unwrap_or_default());
    }
    let (_, report) = report(kafka, &topic, &[], &[]);
    let gaps = report["gaps"].as_array().expect("gaps");
    let named: Vec<_> = gaps.iter().map(|gap| (gap["first"].as_u64(), gap["last"].as_u64())).collect();
    let expected = (0..100).map(|place| Some(place * EVERY + EVERY / 2)).map(|number| (number, number));
    assert_eq!(named, expected.collect::<Vec<_>>());
    println!("{:#}", report["total"]);
}
