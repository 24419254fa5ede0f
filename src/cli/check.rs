//! `kafka-once check`: the settings, then Kafka, Redis, the app and the collector of spans, one line each; and what could be
//! lost where.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::adapters::claims::redis::{RedisClaims, StoreFacts};
use crate::adapters::collector::{self, Unwilling};
use crate::adapters::kafka::{Backlog, Facts, FactsError, TopicFacts, backlog, facts};
use crate::domain::time::UnixMillis;
use crate::ports::{App, StoreError};
use crate::settings::{Problems, Settings};
use crate::sidecar;

/// How long each neighbour is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two tries to reach Redis within [`PATIENCE`].
const PAUSE: Duration = Duration::from_millis(100);

/// How bad a finding is; the worst one decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Ok,
    /// It runs, and something can be lost or repeated that need not be.
    Warning,
    /// It is not there now; the sidecar would wait for it.
    Away,
    /// The sidecar would end with exit code 2.
    Refused,
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    grade: Grade,
    about: String,
    words: String,
}

fn finding(grade: Grade, about: &str, words: impl Into<String>) -> Finding {
    Finding { grade, about: about.to_owned(), words: words.into() }
}

/// Prints one line for each finding. Exit code 0 when it would run, 1 when a neighbour is away, 2 when one refuses us.
pub(super) fn check() -> ExitCode {
    let settings = match Settings::load(super::environment(), &super::read_file) {
        Ok(settings) => settings,
        Err(problems) => {
            for problem in problems.iter() {
                println!("refused  settings  {}: {}; {}", problem.variable, problem.what, problem.remedy);
            }
            return ExitCode::from(Problems::EXIT_CODE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kafka-once: the runtime cannot be built: {error}");
            return ExitCode::FAILURE;
        }
    };
    let findings = runtime.block_on(examine(&settings));
    for found in &findings {
        println!("{:<8} {:<9} {}", word(found.grade), found.about, found.words);
    }
    let worst = findings.iter().map(|found| found.grade).max().unwrap_or(Grade::Ok);
    ExitCode::from(match worst {
        Grade::Ok | Grade::Warning => 0,
        Grade::Away => 1,
        Grade::Refused => Problems::EXIT_CODE,
    })
}

fn word(grade: Grade) -> &'static str {
    match grade {
        Grade::Ok => "ok",
        Grade::Warning => "warning",
        Grade::Away => "away",
        Grade::Refused => "refused",
    }
}

async fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![finding(Grade::Ok, "settings", "valid")];
    let (kafka, redis, app, collector) =
        tokio::join!(ask_kafka(settings), ask_redis(settings), ask_app(settings), ask_collector(settings));
    findings.extend(kafka.into_iter().chain(redis).chain([app]).chain(collector));
    findings
}

/// What a sidecar should say at its start: what of its topics does not fit its dedup window, in words.
pub(super) async fn advice(settings: &Settings) -> Vec<String> {
    let findings = ask_kafka(settings).await.into_iter();
    findings.filter(|found| found.words.contains("ONCE_DEDUP_WINDOW")).map(|found| found.words).collect()
}

async fn ask_kafka(settings: &Settings) -> Vec<Finding> {
    let config = sidecar::kafka_config(settings);
    let window = settings.redis.dedup_window;
    match facts(&config.brokers, &config.properties, &config.topics, PATIENCE).await {
        Ok(facts) => {
            let topics = facts.topics.iter().map(|topic| (topic.name.clone(), topic.partitions)).collect();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let since = UnixMillis(u64::try_from(now.saturating_sub(window).as_millis()).unwrap_or(0));
            let old = backlog(&config.brokers, &config.properties, &config.group, topics, since, PATIENCE).await;
            let mut findings = judge_kafka(&facts, window);
            match old {
                Ok(old) => findings.extend(old.iter().map(|backlog| judge_backlog(backlog, window))),
                Err(error) => findings.push(finding(Grade::Away, "group", error.to_string())),
            }
            findings
        }
        Err(error @ FactsError::Away(_)) => vec![finding(Grade::Away, "kafka", error.to_string())],
        Err(error) => vec![finding(Grade::Refused, "kafka", error.to_string())],
    }
}

fn judge_backlog(backlog: &Backlog, window: Duration) -> Finding {
    let Backlog { topic, older } = backlog;
    let unread = count(usize::try_from(*older).unwrap_or(usize::MAX), "unread offset");
    let words = format!(
        "{topic}: {unread} older than ONCE_DEDUP_WINDOW {}: a duplicate that far behind its message looks new",
        words(window)
    );
    finding(Grade::Warning, "group", words)
}

fn judge_kafka(facts: &Facts, window: Duration) -> Vec<Finding> {
    let brokers = finding(Grade::Ok, "kafka", format!("{} reachable", count(facts.brokers, "broker")));
    let topics = facts.topics.iter().flat_map(|topic| judge_topic(topic, facts.brokers, window));
    std::iter::once(brokers).chain(topics).collect()
}

fn judge_topic(topic: &TopicFacts, brokers: usize, window: Duration) -> Vec<Finding> {
    let name = &topic.name;
    let (partitions, replicas) = (count(topic.partitions, "partition"), count(topic.replication_factor, "replica"));
    let mut findings = vec![finding(Grade::Ok, "topic", format!("{name}: {partitions}, {replicas}"))];
    let mut warn = |words: String| findings.push(finding(Grade::Warning, "topic", format!("{name}: {words}")));
    if topic.replication_factor == 1 && brokers > 1 {
        warn("one replica: the loss of one broker's disk loses its records".to_owned());
    }
    if topic.replication_factor > 1 && topic.min_insync_replicas == Some(1) {
        warn("min.insync.replicas=1: a record may be acknowledged by one broker only, and lost with it".to_owned());
    }
    if topic.unclean_leader_election == Some(true) {
        warn("unclean.leader.election.enable=true: a fail-over may cut acknowledged records off".to_owned());
    }
    let retention = topic.retention_ms.map(|millis| u64::try_from(millis).map(Duration::from_millis));
    match retention {
        Some(Ok(retention)) if retention > window => warn(format!(
            "retention {} is above ONCE_DEDUP_WINDOW {}: a replay of older records repeats their effects",
            words(retention),
            words(window)
        )),
        Some(Err(_)) => warn(format!(
            "retention is for ever, ONCE_DEDUP_WINDOW is {}: a replay of older records repeats their effects",
            words(window)
        )),
        Some(Ok(_)) | None => {}
    }
    findings
}

async fn ask_redis(settings: &Settings) -> Vec<Finding> {
    let reach = &settings.redis.reach;
    let Some(config) = sidecar::redis_config(reach, &settings.redis.namespace) else {
        return vec![finding(Grade::Warning, "redis", "memory: forgets every mark when the process ends")];
    };
    let facts = async {
        let claims = RedisClaims::start(&config)?;
        loop {
            match claims.facts().await {
                Err(StoreError::Away(_)) => tokio::time::sleep(PAUSE).await,
                answer => return answer,
            }
        }
    };
    match tokio::time::timeout(PATIENCE, facts).await {
        Ok(Ok(facts)) => facts.iter().flat_map(|facts| judge_redis(facts, reach.allow_eviction)).collect(),
        Ok(Err(error)) => vec![finding(Grade::Refused, "redis", error.to_string())],
        Err(_) => vec![finding(Grade::Away, "redis", format!("{} does not answer", reach.store))],
    }
}

fn judge_redis(facts: &StoreFacts, allow_eviction: bool) -> Vec<Finding> {
    let (node, version) = (&facts.node, facts.version.as_deref().unwrap_or("hidden"));
    let grade = if facts.is_too_old() { Grade::Refused } else { Grade::Ok };
    let mut findings = vec![finding(grade, "redis", format!("{node}: version {version} (7.0 or newer is needed)"))];
    let mut tell = |grade, words: &str| findings.push(finding(grade, "redis", format!("{node}: {words}")));
    match facts.evicts() {
        Some(true) if !allow_eviction => {
            tell(Grade::Refused, "may evict marks: set maxmemory-policy noeviction, or ONCE_REDIS_ALLOW_EVICTION=true");
        }
        Some(true) => tell(Grade::Warning, "may evict marks: a forgotten mark repeats an effect unseen"),
        Some(false) => {}
        None => tell(Grade::Warning, "hides its eviction policy: an evicted mark would repeat an effect unseen"),
    }
    match (facts.aof, facts.rdb.as_deref()) {
        (Some(false), Some("")) => tell(Grade::Warning, "no persistence: a restart forgets every mark"),
        (Some(false), Some(_)) => {
            tell(Grade::Warning, "snapshots only: a restart forgets the marks since the last one");
        }
        (Some(true), _) if facts.aof_fsync.as_deref() != Some("always") => {
            tell(Grade::Warning, "append-only file not synced at each write: a crash may forget the last second");
        }
        _ => {}
    }
    findings
}

async fn ask_app(settings: &Settings) -> Finding {
    let url = &settings.app.url;
    let app = match sidecar::app(settings) {
        Ok(app) => app,
        Err(error) => return finding(Grade::Refused, "app", format!("{error:#}")),
    };
    match tokio::time::timeout(PATIENCE, app.ready()).await {
        Ok(Ok(())) => finding(Grade::Ok, "app", format!("{url} is ready")),
        Ok(Err(why)) => finding(Grade::Away, "app", format!("{url} is not ready: {why}")),
        Err(_) => finding(Grade::Away, "app", format!("{url} does not answer")),
    }
}

/// A collector that takes no spans keeps nothing from running, so it is a warning. `None`: none is set.
async fn ask_collector(settings: &Settings) -> Option<Finding> {
    let collector = settings.collector.as_ref()?;
    let node = &collector.node;
    let without =
        |why: &str| finding(Grade::Warning, "collector", format!("{node} takes no spans, they are lost: {why}"));
    Some(match tokio::time::timeout(PATIENCE, collector::ask(collector)).await {
        Ok(Ok(())) => finding(Grade::Ok, "collector", format!("{node} takes spans")),
        Ok(Err(Unwilling::Refused(why))) => finding(Grade::Refused, "collector", format!("{why:#}")),
        Ok(Err(Unwilling::Away(why))) => without(&format!("{why:#}")),
        Err(_) => without(&format!("no answer within {PATIENCE:?}")),
    })
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A duration in its largest whole unit.
fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let unit = units.iter().find(|(size, _)| seconds >= *size && seconds.is_multiple_of(*size));
    unit.map_or_else(|| format!("{duration:?}"), |(size, unit)| format!("{}{unit}", seconds / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> TopicFacts {
        TopicFacts {
            name: "orders".to_owned(),
            partitions: 12,
            replication_factor: 3,
            min_insync_replicas: Some(2),
            unclean_leader_election: Some(false),
            retention_ms: Some(3_600_000),
            compacted: Some(false),
        }
    }

    fn warnings(findings: &[Finding]) -> Vec<&str> {
        findings.iter().filter(|found| found.grade > Grade::Ok).map(|found| found.words.as_str()).collect()
    }

    #[test]
    fn a_durable_topic_within_the_window_gives_no_warning() {
        assert_eq!(warnings(&judge_topic(&topic(), 3, Duration::from_secs(86_400))), Vec::<&str>::new());
    }

    #[test]
    fn what_could_be_lost_or_repeated_is_said_with_its_numbers() {
        let table = [
            (TopicFacts { replication_factor: 1, ..topic() }, "one replica"),
            (TopicFacts { min_insync_replicas: Some(1), ..topic() }, "min.insync.replicas=1"),
            (TopicFacts { unclean_leader_election: Some(true), ..topic() }, "unclean"),
            (TopicFacts { retention_ms: Some(604_800_000), ..topic() }, "retention 7d is above ONCE_DEDUP_WINDOW 1d"),
            (TopicFacts { retention_ms: Some(-1), ..topic() }, "retention is for ever"),
        ];
        for (topic, expected) in table {
            let findings = judge_topic(&topic, 3, Duration::from_secs(86_400));
            assert!(matches!(warnings(&findings)[..], [one] if one.contains(expected)), "{expected}: {findings:?}");
        }
    }

    #[test]
    fn a_backlog_that_is_older_than_the_window_is_told_with_its_numbers() {
        let backlog = Backlog { topic: "orders".to_owned(), older: 12_000 };
        let found = judge_backlog(&backlog, Duration::from_secs(3_600));
        assert_eq!(found.grade, Grade::Warning);
        assert!(found.words.contains("12000 unread offsets older than ONCE_DEDUP_WINDOW 1h"), "{}", found.words);
    }

    #[test]
    fn a_redis_that_may_forget_is_told() {
        let facts = |eviction: &str, aof, rdb: &str| StoreFacts {
            node: "r:6379".to_owned(),
            version: Some("7.2.4".to_owned()),
            role: Some("master".to_owned()),
            eviction_policy: Some(eviction.to_owned()),
            aof: Some(aof),
            aof_fsync: Some("everysec".to_owned()),
            rdb: Some(rdb.to_owned()),
            replicas: Some(0),
        };
        let table = [
            (facts("allkeys-lru", true, ""), false, Grade::Refused, "evict"),
            (facts("allkeys-lru", true, ""), true, Grade::Warning, "evict"),
            (facts("noeviction", false, ""), false, Grade::Warning, "no persistence"),
            (facts("noeviction", false, "3600 1"), false, Grade::Warning, "snapshots only"),
            (facts("noeviction", true, ""), false, Grade::Warning, "last second"),
        ];
        for (facts, allow, grade, expected) in table {
            let findings = judge_redis(&facts, allow);
            let found = findings.iter().find(|found| found.words.contains(expected)).expect(expected);
            assert_eq!(found.grade, grade, "{expected}");
        }
    }
}
