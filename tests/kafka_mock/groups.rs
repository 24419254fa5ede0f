//! Rebalances: given back when the pipeline says so and not before, while polling goes on.

use std::time::Duration;

use kafka_once::domain::reasons::CommitResult;
use kafka_once::domain::record::{NextOffset, TopicPartition};
use kafka_once::ports::{Intake, LogCommand};

use crate::cluster::Cluster;
use crate::driver::{Driver, offsets, share};

fn sorted(mut partitions: Vec<TopicPartition>) -> Vec<TopicPartition> {
    partitions.sort();
    partitions
}

#[test]
fn a_joiner_gets_what_is_released_and_starts_where_it_was_committed() {
    for (strategy, wanted_back) in [("cooperative-sticky", 2), ("range", 4)] {
        let cluster = Cluster::new(4);
        for partition in 0..4 {
            cluster.produce(partition, 20, 100);
        }
        let config = || cluster.config(&[("partition.assignment.strategy", strategy)]);
        let mut first = Driver::start(config());
        let all = first.begun(4);
        let owned: Vec<_> = all.iter().map(|one| one.partition.clone()).collect();
        first.records(80);
        for at in &owned {
            assert_eq!(first.commit(at, 10 + i64::from(at.partition), "m"), CommitResult::Ok, "{strategy}");
        }
        let mut second = Driver::start(config());
        let revoked = first.revoking();
        assert_eq!(revoked.len(), wanted_back, "{strategy}");

        first.turns(200); // a revoke that waits keeps neither the polling nor a commit from going on
        for at in &revoked {
            // The mock cluster refuses it while another member is still to rejoin; Kafka takes it.
            let answer = first.commit(at, 10 + i64::from(at.partition), "m");
            assert!(matches!(answer, CommitResult::Ok | CommitResult::Rebalancing), "{strategy}: {answer:?}");
        }
        first.say(LogCommand::Release(revoked.clone()));

        // The group may rebalance more than once before it comes to rest: the mock cluster's eager members do at times.
        let kept = all.into_iter().filter(|one| !revoked.contains(&one.partition)).collect();
        let owned = share(&mut [&mut first, &mut second], vec![kept, Vec::new()], &[2, 2]);
        for one in &owned[1] {
            let next = NextOffset(10 + i64::from(one.partition.partition));
            assert_eq!(one.committed, Some((next, "m".to_owned())), "{strategy}");
            assert_eq!(one.start, next, "{strategy}");
        }
        if strategy == "cooperative-sticky" {
            let names = owned[1].iter().map(|one| one.partition.clone()).collect();
            assert_eq!(sorted(names), sorted(revoked), "exactly what was released");
        }
        second.leave();
        let kept = owned.into_iter().next().expect("what the first has");
        share(&mut [&mut first], vec![kept], &[4]);
        first.leave();
    }
}

#[test]
fn partitions_are_given_back_one_revoke_at_a_time_even_when_released_one_by_one() {
    let cluster = Cluster::new(4);
    let mut first = Driver::start(cluster.config(&[]));
    first.begun(4);
    let mut second = Driver::start(cluster.config(&[]));
    for at in first.revoking() {
        first.say(LogCommand::Release(vec![at]));
        first.turns(5);
    }
    assert_eq!(second.begun(2).len(), 2);
    second.leave();
    first.leave();
}

#[test]
fn a_revoke_that_is_never_released_ends_at_its_deadline_as_lost() {
    let cluster = Cluster::new(2);
    let mut config = cluster.config(&[]);
    config.revoke_deadline = Duration::from_millis(300);
    let mut first = Driver::start(config);
    first.begun(2);
    let mut second = Driver::start(cluster.config(&[]));
    let revoked = first.revoking();
    assert_eq!(sorted(first.lost()), sorted(revoked.clone()));
    assert_eq!(second.begun(1)[0].partition, revoked[0]);
    second.leave();
    first.leave();
}

#[test]
fn a_kept_partition_goes_on_where_it_was_after_a_rebalance() {
    let cluster = Cluster::new(2);
    cluster.produce(0, 20, 100);
    cluster.produce(1, 20, 100);
    let mut first = Driver::start(cluster.config(&[]));
    first.begun(2);
    let mut records = first.records(40);
    let mut second = Driver::start(cluster.config(&[]));
    let revoked = first.revoking();
    first.say(LogCommand::Release(revoked.clone()));
    second.begun(1);
    let kept = 1 - revoked[0].partition;
    cluster.produce(kept, 20, 100);
    records.extend(first.records(20));
    assert_eq!(offsets(&records, kept), (0..40).collect::<Vec<_>>());
    second.leave();
    first.leave();
}

#[test]
fn leaving_while_a_revoke_waits_still_leaves() {
    for strategy in ["cooperative-sticky", "range"] {
        let cluster = Cluster::new(2);
        let config = || cluster.config(&[("partition.assignment.strategy", strategy)]);
        let mut first = Driver::start(config());
        first.begun(2);
        let mut second = Driver::start(config());
        first.revoking();
        first.leave();
        assert_eq!(second.begun(2).len(), 2, "{strategy}");
        second.leave();
    }
}

#[test]
fn a_commit_for_a_partition_of_somebody_else_is_not_sent() {
    let cluster = Cluster::new(1);
    let mut log = Driver::start(cluster.config(&[]));
    log.begun(1);
    let other = TopicPartition { topic: cluster.topic.as_str().into(), partition: 9 };
    assert_eq!(log.commit(&other, 5, ""), CommitResult::NotOwner);
    log.leave();
}

/// The client reads nothing meanwhile, and what it knows of the ends of logs grows old.
#[test]
fn while_the_group_waits_for_our_answer_news_of_logs_ends_are_not_fresh() {
    let cluster = Cluster::new(2);
    cluster.produce(0, 10, 100);
    cluster.produce(1, 10, 100);
    let config = || {
        let eager = ("partition.assignment.strategy", "range");
        cluster.config(&[eager, ("statistics.interval.ms", "100")])
    };
    let fresh = |log: &mut Driver| {
        log.until(|said| match said {
            Intake::Ends(ends) => Some(ends.iter().any(|end| end.fresh)),
            _ => None,
        })
    };
    let mut first = Driver::start(config());
    first.begun(2);
    first.records(20);
    while !fresh(&mut first) {}
    let mut second = Driver::start(config());
    let revoked = first.revoking();
    assert_eq!([(); 5].map(|()| fresh(&mut first)), [false; 5]);
    first.say(LogCommand::Release(revoked));
    share(&mut [&mut first, &mut second], vec![vec![], vec![]], &[1, 1]);
    while !fresh(&mut first) {}
    first.leave();
    second.leave();
}
