//! Several redis-servers together: a fail-over by Sentinel, a cluster's node that comes back empty, a cluster's replica that
//! takes over.

use std::time::Instant;

use crate::store::{PARTITIONS, STEADY, assert_loss_counted, await_store_pause, end, partitions};
use crate::support::redis::Data;
use crate::support::redis_groups::{Cluster, Sentinel};
use crate::support::scene::{PATIENCE, Scene};
use crate::support::{self, Kafka, Redis};
use crate::trial::Trial;

/// A trial on several servers that are found by `url`.
fn trial(name: &str, redis: &Redis, url: String) -> Trial {
    let mut scene = Scene::on(Kafka::shared(), redis, name, partitions());
    scene.redis_url = url;
    Trial::begin(scene, PARTITIONS)
}

/// Whether Kafka and Redis can be had; records the skip.
fn possible() -> bool {
    support::kafka_possible() && support::redis_possible()
}

/// From now on replicas get nothing from this server: their links end, and they may not come back.
fn cut_off_replicas(redis: &Redis) {
    let refused = redis.cli(&["ACL", "SETUSER", "default", "-psync", "-sync"]).expect("an answer");
    assert_eq!(refused, "OK");
    redis.cli(&["CLIENT", "KILL", "TYPE", "replica"]).expect("an answer");
}

#[test]
fn a_fail_over_by_sentinel_that_forgets_the_last_moments_is_noticed_and_every_repeat_is_marked() {
    if !possible() {
        return;
    }
    let sentinel = Sentinel::start().expect("a primary, a replica and a sentinel");
    let trial = trial("sentinel", &sentinel.primary, sentinel.url());
    let sidecar = trial.scene.sidecar(&STEADY);
    trial.await_part(1, 10);
    cut_off_replicas(&sentinel.primary);
    trial.await_part(1, 3);
    sentinel.primary.kill();
    let killed = Instant::now();
    await_store_pause(&[&sidecar]);
    let applied = trial.applied();
    assert!(applied < trial.distinct, "it was killed under load");
    sentinel.await_failover(PATIENCE).expect("a fail-over");
    trial.recovered("redis primary killed, fail-over by sentinel", killed, applied);
    assert_loss_counted(&[&sidecar], "recent");
    let audit = end(&trial, &[&sidecar]);
    assert_ne!(audit.repeated_in_doubt, [], "duplicates of what was forgotten came again, and said so");
}

#[test]
fn a_cluster_node_that_comes_back_empty_is_noticed_and_every_repeat_is_marked() {
    if !possible() {
        return;
    }
    let cluster = Cluster::start().expect("a cluster");
    let trial = trial("cluster-empty", &cluster.nodes[0], cluster.url());
    let sidecar = trial.scene.sidecar(&STEADY);
    trial.await_part(1, 4);
    cluster.nodes[1].kill();
    await_store_pause(&[&sidecar]);
    let (applied, back) = (trial.applied(), Instant::now());
    assert!(applied < trial.distinct, "it was killed under load");
    cluster.nodes[1].restart(Data::Empty).expect("a restart");
    trial.recovered("redis cluster node restarted empty", back, applied);
    assert_loss_counted(&[&sidecar], "all");
    let audit = end(&trial, &[&sidecar]);
    assert_ne!(audit.repeated_in_doubt, [], "duplicates of what was forgotten came again, and said so");
}

#[test]
fn a_fail_over_in_a_cluster_that_forgets_the_last_moments_is_noticed_and_every_repeat_is_marked() {
    if !possible() {
        return;
    }
    let mut cluster = Cluster::start().expect("a cluster");
    cluster.add_replica_of(1).expect("a replica");
    let trial = trial("cluster-fail-over", &cluster.nodes[0], cluster.url());
    let sidecar = trial.scene.sidecar(&STEADY);
    trial.await_part(1, 10);
    cut_off_replicas(&cluster.nodes[1]);
    trial.await_part(1, 3);
    cluster.nodes[1].kill();
    let killed = Instant::now();
    await_store_pause(&[&sidecar]);
    let applied = trial.applied();
    assert!(applied < trial.distinct, "it was killed under load");
    trial.recovered("redis cluster primary killed, its replica takes over", killed, applied);
    assert_loss_counted(&[&sidecar], "recent");
    let audit = end(&trial, &[&sidecar]);
    assert_ne!(audit.repeated_in_doubt, [], "duplicates of what was forgotten came again, and said so");
}
