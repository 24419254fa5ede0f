//! The few numbers we take from the client's statistics: ends of logs, and whether any broker answers.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::domain::record::{NextOffset, Topic, TopicPartition};
use crate::ports::LogEnd;

/// What one statistics event says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    /// Whether a connection to a broker is up.
    pub any_broker_up: bool,
    /// Where logs end for a reader of committed records; partitions whose end is unknown are absent.
    pub ends: Vec<LogEnd>,
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
    #[serde(default)]
    nodeid: i32,
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
    /// The next offset that the client will ask its leader for.
    #[serde(default)]
    next_offset: i64,
    #[serde(default)]
    leader: i32,
}

/// Reads the JSON of one statistics event.
pub(super) fn read(json: &[u8]) -> Result<Statistics, serde_json::Error> {
    let raw: Raw = serde_json::from_slice(json)?;
    let up: HashSet<i32> =
        raw.brokers.values().filter(|broker| broker.state == "UP").map(|broker| broker.nodeid).collect();
    let mut ends = Vec::new();
    for (name, topic) in raw.topics {
        let name = Topic::from(name);
        for partition in topic.partitions.values() {
            // -1 and -1001 mean absent; partition -1 is the client's own bookkeeping.
            let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
            if partition.partition >= 0 && end >= 0 {
                let at = TopicPartition { topic: name.clone(), partition: partition.partition };
                let fresh = up.contains(&partition.leader);
                let unread = fresh && partition.next_offset < end;
                ends.push(LogEnd { partition: at, end: NextOffset(end), unread, fresh });
            }
        }
    }
    Ok(Statistics { any_broker_up: !up.is_empty(), ends })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_numbers_are_left_out() {
        let json = br#"{"brokers":{"a":{"nodeid":1,"state":"DOWN"},"b":{"nodeid":2,"state":"UP"}},"topics":{"t":{"partitions":{
            "0":{"partition":0,"ls_offset":7,"hi_offset":9,"next_offset":6,"leader":2},
            "1":{"partition":1,"ls_offset":-1001,"hi_offset":5,"next_offset":4,"leader":1},
            "3":{"partition":3,"ls_offset":7,"hi_offset":7,"next_offset":7,"leader":2},
            "4":{"partition":4,"ls_offset":7,"hi_offset":7,"next_offset":-1001,"leader":2},
            "2":{"partition":2,"ls_offset":-1001,"hi_offset":-1001},
            "-1":{"partition":-1,"ls_offset":3,"hi_offset":3}}}}}"#;
        let mut statistics = read(json).expect("valid statistics");
        statistics.ends.sort();
        let end = |partition, offset, unread, fresh| {
            let partition = TopicPartition { topic: "t".into(), partition };
            LogEnd { partition, end: NextOffset(offset), unread, fresh }
        };
        let ends = vec![end(0, 7, true, true), end(1, 5, false, false), end(3, 7, false, true), end(4, 7, true, true)];
        assert_eq!(statistics, Statistics { any_broker_up: true, ends });
    }

    #[test]
    fn without_brokers_none_is_up() {
        assert_eq!(read(b"{}").expect("valid statistics"), Statistics::default());
    }
}
