//! Batches that are small on the wire and in the broker, and hundreds of megabytes once they are read.

use crate::input::{ANY, MIB};
use crate::support::scene::assert_books;
use crate::support::{Producer, Record};
use crate::told::{MOST_RESIDENT, Stage, committed, messages, names, peak, stop};

/// Sends records as one batch.
fn bomb(stage: &Stage, codec: &str, records: Vec<Record>) {
    let properties = [
        ("compression.type", codec),
        ("message.max.bytes", "900000000"),
        ("batch.size", "900000000"),
        ("batch.num.messages", "1000000"),
        ("queue.buffering.max.kbytes", "1500000"),
        ("linger.ms", "3000"),
    ];
    let producer = Producer::with(&stage.scene.bootstrap, &properties).expect("a producer");
    producer.send(records).expect("the bomb is produced");
}

fn explodes(codec: &'static str) {
    const INFLATED: usize = 200 * MIB;
    const SMALL: usize = 64 * 1024;
    let Some(stage) = Stage::with_topics(&format!("bomb-{codec}"), &ANY, &ANY) else { return };
    let scene = &stage.scene;
    let count_of = INFLATED / SMALL;
    let small = names("small", count_of)
        .map(|id| Record { value: Some(vec![0; SMALL]), ..Record::new(&scene.topic, "") }.id(id));
    bomb(&stage, codec, small.map(|record| record.partition(0)).collect());
    let sidecar = stage.sidecar(&[]);
    scene.await_applied(count_of);
    let large = Record { value: Some(vec![0; INFLATED]), ..Record::new(&scene.topic, "") }
        .id("large")
        .key("large")
        .partition(0);
    bomb(&stage, codec, vec![large]);
    scene.produce(&messages(&scene.topic, 0, ["good".to_owned()]));
    scene.await_applied(count_of + 1);
    scene.await_committed();
    assert_eq!(committed(scene, 0), i64::try_from(count_of).expect("few") + 2);
    let letters = stage.by_id();
    let said = |name: &str| letters.values().next().and_then(|letter| letter.header(name)).unwrap_or_default();
    assert_eq!(
        (letters.len(), said("once-error").as_str(), said("once-source-offset")),
        (1, "too_large", count_of.to_string())
    );
    // What is inflated is the client's, beside our own bound: the batch itself, and a record of it that we copy.
    let most = MOST_RESIDENT + 3 * INFLATED as u64 / 1024;
    assert!(peak(&sidecar) < most, "{} KiB were resident", peak(&sidecar));
    assert_books(&sidecar.metrics().expect("a scrape"));
    stop(&sidecar);
}

#[test]
fn a_batch_that_inflates_by_gzip_to_hundreds_of_megabytes_crashes_nothing_and_loses_nothing() {
    explodes("gzip");
}

#[test]
fn a_batch_that_inflates_by_zstd_to_hundreds_of_megabytes_crashes_nothing_and_loses_nothing() {
    explodes("zstd");
}
