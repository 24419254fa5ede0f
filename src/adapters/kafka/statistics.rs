//! The few numbers we take from the client's statistics: ends of logs, and whether any broker answers.

use std::collections::HashMap;

use serde::Deserialize;

use crate::domain::record::{NextOffset, Topic, TopicPartition};

/// What one statistics event says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    /// Whether a connection to a broker is up.
    pub any_broker_up: bool,
    /// Where logs end for a reader of committed records; partitions whose end is unknown are absent.
    pub ends: Vec<(TopicPartition, NextOffset)>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    brokers: HashMap<String, RawBroker>,
    #[serde(default)]
    topics: HashMap<String, RawTopic>,
}

#[derive(Deserialize)]
struct RawBroker {
    state: String,
}

#[derive(Deserialize)]
struct RawTopic {
    partitions: HashMap<String, RawPartition>,
}

#[derive(Deserialize)]
struct RawPartition {
    partition: i32,
    ls_offset: i64,
    hi_offset: i64,
}

/// Reads the JSON of one statistics event.
pub(super) fn read(json: &[u8]) -> Result<Statistics, serde_json::Error> {
    let raw: Raw = serde_json::from_slice(json)?;
    let mut ends = Vec::new();
    for (name, topic) in raw.topics {
        let name = Topic::from(name);
        for partition in topic.partitions.values() {
            // -1 and -1001 mean absent; partition -1 is the client's own bookkeeping.
            let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
            if partition.partition >= 0 && end >= 0 {
                let at = TopicPartition { topic: name.clone(), partition: partition.partition };
                ends.push((at, NextOffset(end)));
            }
        }
    }
    Ok(Statistics { any_broker_up: raw.brokers.values().any(|broker| broker.state == "UP"), ends })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_numbers_are_left_out() {
        let json = br#"{"brokers":{"a":{"state":"DOWN"},"b":{"state":"UP"}},"topics":{"t":{"partitions":{
            "0":{"partition":0,"ls_offset":7,"hi_offset":9},
            "1":{"partition":1,"ls_offset":-1001,"hi_offset":5},
            "2":{"partition":2,"ls_offset":-1001,"hi_offset":-1001},
            "-1":{"partition":-1,"ls_offset":3,"hi_offset":3}}}}}"#;
        let mut statistics = read(json).expect("valid statistics");
        statistics.ends.sort();
        let end = |partition, offset| (TopicPartition { topic: "t".into(), partition }, NextOffset(offset));
        assert_eq!(statistics, Statistics { any_broker_up: true, ends: vec![end(0, 7), end(1, 5)] });
    }

    #[test]
    fn without_brokers_none_is_up() {
        assert_eq!(read(b"{}").expect("valid statistics"), Statistics::default());
    }
}
