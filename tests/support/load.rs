//! The load that scenarios run under, and the clean end of a sidecar.

use std::time::Duration;

use super::scene::{PATIENCE, Scene};
use super::{Answer, Record, Sidecar};

/// Distinct messages with keys, and one duplicate for every nine of them: right behind in the same partition (so within
/// one fetch), later in the same partition, or in another partition.
pub fn with_duplicates(topic: &str, distinct: usize, partitions: usize) -> Vec<Record> {
    let record = |number| numbered(topic, number, partitions);
    let mut records = Vec::new();
    for number in 0..distinct {
        records.push(record(number));
        if number % 9 == 8 {
            records.push(match number % 27 {
                8 => record(number),
                17 => record(number.saturating_sub(500)),
                _ => record(number).partition(i32::try_from((number + 1) % partitions).unwrap()),
            });
        }
    }
    records
}

/// One message of its own ID, with a key; one in nine has a twin right behind it, in the same partition or in another one.
pub fn with_twin(topic: &str, number: usize, partitions: usize) -> Vec<Record> {
    let record = numbered(topic, number, partitions);
    let twin = match number % 18 {
        8 => Some(record.clone()),
        17 => Some(record.clone().partition(i32::try_from((number + 1) % partitions).expect("a partition"))),
        _ => None,
    };
    std::iter::once(record).chain(twin).collect()
}

/// One message of its own ID, with a key.
pub fn numbered(topic: &str, number: usize, partitions: usize) -> Record {
    let partition = i32::try_from(number % partitions).expect("a partition");
    Record::new(topic, format!("value {number}"))
        .id(format!("id-{number}"))
        .key(format!("key-{}", number % 997))
        .partition(partition)
}

/// Asks for a clean end and expects one.
pub fn stop(sidecar: &Sidecar) {
    sidecar.sigterm();
    assert_eq!(sidecar.wait_exit(PATIENCE), Some(0), "{}", sidecar.tail());
}

/// Lets the app take so long for each message: requests are open whenever something happens.
pub fn works_for(scene: &Scene, millis: u64) {
    scene.ledger.behave(move |_| async move {
        tokio::time::sleep(Duration::from_millis(millis)).await; // the app's work
        Answer::status(200)
    });
}
