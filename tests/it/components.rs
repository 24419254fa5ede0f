//! The harness itself: real components start, answer, break and come back, and never outlive a test.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::process::Start;
use crate::support::redis::{Data, Options};
use crate::support::redis_groups::{Cluster, Sentinel};
use crate::support::sidecar::Metrics;
use crate::support::topics::{self, Committed};
use crate::support::{self, Kafka, Producer, Record, Redis, Sidecar, Signal};

const SOON: Duration = Duration::from_secs(30);

fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_child_dies_and_its_directory_goes_when_the_leash_is_let_go() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let inside = dir.path().join("inside");
    std::fs::create_dir(&inside)?;
    let child = Start::new("sleep").arg("600").wipe(&inside).spawn()?;
    let pid = child.pid();
    assert!(exists(pid));
    child.signal(Signal::STOP);
    child.unleash();
    assert_eq!(child.wait_exit(SOON), Some(137));
    assert!(!exists(pid) && !inside.exists());
    Ok(())
}

#[test]
fn a_child_dies_when_the_test_process_is_killed() -> anyhow::Result<()> {
    const AS_PARENT: &str = "TEST_AS_PARENT";
    if std::env::var_os(AS_PARENT).is_some() {
        let child = Start::new("sleep").arg("600").spawn()?;
        println!("\ngrandchild {}", child.pid());
        child.wait_exit(Duration::from_secs(600));
        anyhow::bail!("nobody killed this process");
    }
    // This very test, run as a process of its own, is the parent that gets killed.
    let name = "components::a_child_dies_when_the_test_process_is_killed";
    let parent = Start::new(std::env::current_exe()?).args(["--exact", name, "--nocapture"]);
    let parent = parent.env(AS_PARENT, "1").spawn()?;
    let line = parent.log().wait_for(SOON, |line| line.starts_with("grandchild "))?;
    let pid: i32 = line.trim_start_matches("grandchild ").parse()?;
    assert!(exists(pid));
    parent.kill();
    await_gone(pid)
}

/// Waits for the end of a process that is not our child: nothing announces it, so it is looked for.
fn await_gone(pid: i32) -> anyhow::Result<()> {
    let end = Instant::now() + SOON;
    while exists(pid) {
        anyhow::ensure!(Instant::now() < end, "process {pid} outlived its parent");
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn exit_codes_and_lines_of_a_child_are_seen() -> anyhow::Result<()> {
    let child = Start::new("sh").args(["-c", "echo out; echo err >&2; exit 7"]).clear_env().spawn()?;
    child.log().wait_for(SOON, |line| line == "out")?;
    child.log().wait_for(SOON, |line| line == "err")?;
    assert_eq!(child.wait_exit(SOON), Some(7));
    let ended = child.log().wait_for(SOON, |line| line == "never").map_err(|error| error.to_string());
    assert!(ended.is_err_and(|text| text.contains("it ended")));
    Ok(())
}

#[test]
fn kafka_carries_records_with_all_they_hold() -> anyhow::Result<()> {
    let Some(kafka) = support::kafka() else {
        return Ok(());
    };
    let topic = "harness-round-trip";
    kafka.create_topic(topic, 2, &[("max.message.bytes", "2000000")])?;
    let record = Record::new(topic, b"value".to_vec()).key("k").header("a", "1").header("a", "2");
    let records = [record.partition(1).timestamp(1_700_000_000_000), Record::new(topic, "").tombstone().partition(1)];
    let producer = Producer::new(&kafka.bootstrap())?;
    assert_eq!(producer.send(records)?, [(1, 0), (1, 1)]);
    let read = topics::read_all(&kafka.bootstrap(), topic)?;
    let headers = [("a", "1"), ("a", "2")].map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec())));
    assert_eq!(read[0].headers, headers);
    assert_eq!(read[0].timestamp, Some(1_700_000_000_000));
    assert_eq!((read[0].key.as_deref(), read[0].value.as_deref()), (Some(&b"k"[..]), Some(&b"value"[..])));
    assert_eq!((read[1].key.as_deref(), read[1].value.as_deref()), (None, None));
    topics::grow(&kafka.bootstrap(), topic, 3)?;
    assert_eq!(topics::partitions(&kafka.bootstrap(), topic)?, [0, 1, 2]);
    topics::delete_records_before(&kafka.bootstrap(), topic, 1, 1)?;
    assert_eq!(topics::watermarks(&kafka.bootstrap(), topic)?[&1], (1, 2));
    Ok(())
}

#[test]
fn kafka_keeps_offset_metadata() -> anyhow::Result<()> {
    let Some(kafka) = support::kafka() else {
        return Ok(());
    };
    let (topic, group) = ("harness-commit", "harness-commit");
    kafka.create_topic(topic, 1, &[])?;
    let bootstrap = kafka.bootstrap();
    assert!(topics::committed(&bootstrap, group, topic)?.is_empty());
    let to = Committed { next: 0, metadata: "history".to_owned() };
    topics::commit(&bootstrap, group, topic, 0, &to)?;
    assert_eq!(topics::committed(&bootstrap, group, topic)?[&0], to);
    topics::delete(&bootstrap, topic)
}

#[test]
fn one_of_three_brokers_may_die_and_come_back() -> anyhow::Result<()> {
    if !support::kafka_possible() {
        return Ok(());
    }
    let kafka = Kafka::start(3)?;
    kafka.create_topic("t", 3, &[])?;
    let producer = Producer::new(&kafka.bootstrap())?;
    let three = || (0..3).map(|partition| Record::new("t", "x").partition(partition));
    producer.send(three())?;
    kafka.kill(2);
    producer.send(three())?;
    kafka.restart(2)?;
    kafka.pause(0);
    kafka.cont(0);
    producer.send(three())?;
    assert_eq!(topics::read_all(&kafka.bootstrap(), "t")?.len(), 9);
    Ok(())
}

#[test]
fn redis_loses_its_memory_or_keeps_it_as_asked() -> anyhow::Result<()> {
    if !support::redis_possible() {
        return Ok(());
    }
    let redis = Redis::start(&[])?;
    assert_eq!(redis.cli(&["SET", "a", "1"])?, "OK");
    redis.save()?;
    redis.kill();
    assert!(redis.cli(&["PING"]).is_err());
    redis.restart(Data::Kept)?;
    assert_eq!(redis.cli(&["GET", "a"])?, "1");
    redis.restart(Data::Empty)?;
    assert_eq!(redis.cli(&["GET", "a"])?, "");
    redis.pause();
    redis.cont();
    assert_eq!(redis.cli(&["PING"])?, "PONG");
    Ok(())
}

#[test]
fn redis_wants_its_password_and_speaks_tls() -> anyhow::Result<()> {
    let Some(shared) = support::redis() else {
        return Ok(());
    };
    assert_eq!(shared.cli(&["PING"])?, "PONG");
    let options = Options { password: Some("secret".to_owned()), tls: true, ..Options::default() };
    let redis = Redis::start_with(options)?;
    assert_eq!(redis.cli(&["PING"])?, "PONG");
    assert!(redis.url().starts_with("rediss://:secret@127.0.0.1:"));
    let locked = Redis::start(&["--requirepass", "other"])?;
    assert!(locked.cli(&["PING"])?.starts_with("NOAUTH"));
    Ok(())
}

#[test]
fn sentinel_fails_over() -> anyhow::Result<()> {
    if !support::redis_possible() {
        return Ok(());
    }
    let sentinel = Sentinel::start()?;
    assert_eq!(sentinel.current_primary()?, sentinel.primary.address());
    sentinel.primary.kill();
    sentinel.await_failover(SOON)?;
    assert_eq!(sentinel.current_primary()?, sentinel.replica.address());
    Ok(())
}

#[test]
fn a_cluster_spreads_keys() -> anyhow::Result<()> {
    if !support::redis_possible() {
        return Ok(());
    }
    let cluster = Cluster::start()?;
    for key in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(cluster.cli(&["SET", key, key])?, "OK");
    }
    let sizes: Vec<String> = cluster.nodes.iter().map(|node| node.cli(&["DBSIZE"])).collect::<anyhow::Result<_>>()?;
    assert!(sizes.iter().filter(|size| *size != "0").count() > 1, "{sizes:?}");
    Ok(())
}

#[test]
fn our_binary_starts_below_the_leash_and_ends_with_its_code() -> anyhow::Result<()> {
    let sidecar = Sidecar::command(&["--version"], &[])?;
    assert_eq!(sidecar.wait_exit(SOON), Some(0), "{}", sidecar.tail());
    assert!(!sidecar.runs() && sidecar.get("/live").is_err());
    Ok(())
}

#[test]
fn scrapes_are_parsed_with_labels_and_escapes() -> anyhow::Result<()> {
    let text = "# HELP a b\na_total{topic=\"x\\\"y\",outcome=\"d\"} 3\na_total{topic=\"z\",outcome=\"d\"} 4\n\
                h_bucket{le=\"+Inf\"} +Inf\nup 1\n";
    let metrics = Metrics::parse(text)?;
    assert_eq!(metrics.get("a_total", &[("topic", "x\"y")]), Some(3.0));
    assert_eq!(metrics.get("a_total", &[("outcome", "d")]), Some(7.0));
    assert_eq!(metrics.get("h_bucket", &[("le", "+Inf")]), Some(f64::INFINITY));
    assert_eq!((metrics.sum("up", &[]), metrics.get("down", &[])), (1.0, None));
    assert!(Metrics::parse("a{b=\"c").is_err());
    Ok(())
}
