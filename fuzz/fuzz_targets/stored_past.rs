//! The stored state of a partition's sequences from any bytes: no panic, within its bounds, and what is read is written as
//! the same; it goes on working.
#![no_main]

use kafka_once::domain::past_codec::{OWNED, Owner, decode, encode};
use kafka_once::domain::producers::{MOST_PRODUCERS, MOST_RANGES_IN_ALL};
use kafka_once::domain::record::Offset;
use kafka_once::domain::time::{Moment, Now};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let now = Now::default();
    let Ok(Some(mut past)) = decode(data, now) else { return };
    assert!(past.producers.iter().count() <= MOST_PRODUCERS);
    assert!(past.producers.ranges() <= MOST_RANGES_IN_ALL);
    let owner = Owner(*data[1..OWNED].first_chunk().expect("a header"));
    let written = encode(owner, 0, &past);
    assert_eq!(decode(&written, now), Ok(Some(past.clone())));
    let names: Vec<Vec<u8>> = past.producers.iter().map(|(name, _)| name.to_vec()).collect();
    for (offset, number) in [0, 1, 7, u64::MAX].into_iter().enumerate() {
        let offset = Offset(past.observed_to.0.saturating_add(offset as i64));
        for name in names.iter().take(3) {
            let _ = past.producers.observe(name, number, offset, now);
        }
        let _ = past.producers.observe(b"new", number, offset, now);
    }
    let _ = past.producers.expire(Moment(u64::MAX), std::time::Duration::ZERO);
    assert_eq!(past.producers.suspected(), 0);
});
