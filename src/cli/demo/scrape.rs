//! What a sidecar counted, from the page that operators scrape.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::AddAssign;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::planting::Gap;
use crate::telemetry::catalog::{self, Family};
use crate::telemetry::status::GapState;

/// Bound of each wait for the admin port, which is in this machine.
const ANSWER: Duration = Duration::from_secs(5);

/// The counters of one sidecar, or of several added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counters {
    pub received: u64,
    pub delivered: u64,
    pub duplicates: Duplicates,
    pub dead_lettered: u64,
    pub released: u64,
    pub open: u64,
    pub possible_repeats: u64,
    pub retries: u64,
    pub recovered: u64,
    /// Partitions that it has now.
    pub partitions: u64,
    /// Requests that wait for their answer now.
    pub in_flight: u64,
}

/// Duplicates by what made them one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Duplicates {
    pub redelivery: u64,
    pub producer: u64,
    pub in_flight: u64,
}

impl Duplicates {
    /// All of them.
    pub(super) fn sum(self) -> u64 {
        self.redelivery + self.producer + self.in_flight
    }
}

impl Counters {
    /// Reads a page in Prometheus' text format.
    pub(super) fn read(page: &str) -> Self {
        let sum = |family: &Family, label: &str| sum(page, &family.full_name(), label);
        let settled = |outcome: &str| sum(&catalog::SETTLED, &format!("outcome=\"{outcome}\""));
        let cause = |cause: &str| sum(&catalog::DUPLICATES, &format!("cause=\"{cause}\""));
        Self {
            received: sum(&catalog::RECEIVED, ""),
            delivered: settled("delivered"),
            duplicates: Duplicates {
                redelivery: cause("redelivery"),
                producer: cause("producer"),
                in_flight: cause("in_flight"),
            },
            dead_lettered: settled("dead_lettered"),
            released: sum(&catalog::RELEASED, ""),
            open: sum(&catalog::OPEN, ""),
            possible_repeats: sum(&catalog::POSSIBLE_REPEATS, ""),
            retries: sum(&catalog::RETRIES, ""),
            recovered: sum(&catalog::RECOVERED, ""),
            partitions: samples(page, &catalog::LAG.full_name()).count() as u64,
            in_flight: sum(&catalog::IN_FLIGHT, ""),
        }
    }

    /// Records that came to their end.
    pub(super) fn settled(&self) -> u64 {
        self.delivered + self.duplicates.sum() + self.dead_lettered
    }

    /// Whether received = delivered + duplicate + dead-lettered + released + open.
    pub(super) fn balance(&self) -> bool {
        self.received == self.settled() + self.released + self.open
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.delivered += other.delivered;
        self.duplicates.redelivery += other.duplicates.redelivery;
        self.duplicates.producer += other.duplicates.producer;
        self.duplicates.in_flight += other.duplicates.in_flight;
        self.dead_lettered += other.dead_lettered;
        self.released += other.released;
        self.open += other.open;
        self.possible_repeats += other.possible_repeats;
        self.retries += other.retries;
        self.recovered += other.recovered;
        self.partitions += other.partitions;
        self.in_flight += other.in_flight;
    }
}

/// The page of a sidecar in another process.
pub(super) fn fetch(admin: SocketAddr) -> anyhow::Result<String> {
    get(admin, "/metrics")
}

/// The gaps that a sidecar names as lost, in order.
pub(super) fn lost_gaps(admin: SocketAddr) -> anyhow::Result<Vec<Gap>> {
    let page: serde_json::Value = serde_json::from_str(&get(admin, "/gaps")?)?;
    let listed = page["gaps"].as_array().context("no gaps on /gaps")?;
    let lost = listed.iter().filter(|gap| gap["state"] == GapState::Lost.as_str()).map(|gap| {
        let number = |field: &str| gap[field].as_u64().context("no number on /gaps");
        let producer = gap["producer"].as_str().context("no producer on /gaps")?.to_owned();
        Ok(Gap { producer, first: number("first")?, last: number("last")? })
    });
    let mut lost = lost.collect::<anyhow::Result<Vec<Gap>>>()?;
    lost.sort();
    Ok(lost)
}

/// Which neighbours do not answer.
pub(super) fn away(page: &str) -> Vec<&'static str> {
    let neighbours = [(catalog::BROKER_UP, "kafka"), (catalog::STORE_UP, "redis"), (catalog::APP_UP, "the app")];
    let away = neighbours.into_iter().filter(|(family, _)| sum(page, &family.full_name(), "") == 0);
    away.map(|(_, name)| name).collect()
}

/// Labels and value of each sample of a family.
fn samples<'a>(page: &'a str, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let name = name.to_owned();
    page.lines().filter_map(move |line| {
        let rest = line.strip_prefix(&name).filter(|rest| rest.starts_with(['{', ' ']))?;
        rest.rsplit_once(' ')
    })
}

/// The sum of a family's samples that carry a label. No value of ours holds a blank or is below zero; if one is, it
/// counts as missing, and the books do not balance.
fn sum(page: &str, name: &str, label: &str) -> u64 {
    let values = samples(page, name).filter(|(labels, _)| labels.contains(label));
    values.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}

/// The body of a page, by HTTP/1.0: no connection is kept and nothing comes in chunks.
fn get(admin: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without end of its head")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{path} answered {:?}", head.lines().next());
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::reasons::DuplicateCause;
    use crate::domain::record::{Topic, TopicPartition};
    use crate::telemetry::Metrics;

    #[test]
    fn the_page_of_our_own_metrics_is_read() -> anyhow::Result<()> {
        let metrics = Metrics::new()?;
        for (name, count) in [("a", 9), ("b", 1)] {
            let topic: Topic = Arc::from(name);
            metrics.assigned(&TopicPartition { topic: Arc::clone(&topic), partition: 0 });
            let topic = metrics.topic(&topic);
            metrics.received(topic, count);
            metrics.possible_repeat(topic);
        }
        let topic = metrics.topic(&Arc::from("a"));
        metrics.delivered(topic, 3);
        metrics.duplicate(topic, DuplicateCause::Producer);
        metrics.duplicate(topic, DuplicateCause::InFlight);
        metrics.released(topic, 1);
        metrics.in_flight(5);
        metrics.app_up(true);
        let read = Counters::read(&metrics.render()?);
        let expected = Counters {
            received: 10,
            delivered: 3,
            duplicates: Duplicates { redelivery: 0, producer: 1, in_flight: 1 },
            released: 1,
            open: 4,
            possible_repeats: 2,
            partitions: 2,
            in_flight: 5,
            ..Counters::default()
        };
        assert_eq!(read, expected);
        assert_eq!(away(&metrics.render()?), ["kafka", "redis"]);
        assert!(read.balance() && !Counters { open: 5, ..read }.balance());
        Ok(())
    }
}
