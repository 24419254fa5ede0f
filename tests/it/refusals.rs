//! Neighbours that refuse us for good: one clear line, exit code 2, no secret in it.

use crate::support::redis::{Options, Redis};
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::{self, Sidecar, topics};

fn refused(sidecar: &Sidecar, words: &[&str]) {
    assert_eq!(sidecar.wait_exit(PATIENCE), Some(2), "{}", sidecar.tail());
    let said = sidecar.log().all();
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(!said.contains("hunter2") && !said.contains("panicked"), "{said}");
}

crate::on_both!(an_unknown_source_topic_is_refused);

fn an_unknown_source_topic_is_refused(ground: Ground) {
    let Some(scene) = Scene::new(ground, "known", 1) else { return };
    let unknown = format!("{}-misspelt", scene.topic);
    refused(&scene.sidecar(&[("ONCE_KAFKA_TOPICS", &unknown)]), &[&unknown]);
}

/// A broker that has not heard of it yet must not end a process that starts with its topic.
#[test]
fn a_topic_that_is_made_while_a_sidecar_starts_is_read() {
    let Some(scene) = Scene::new(Ground::Real, "early", 1) else { return };
    let late = format!("{}-late", scene.topic);
    let sidecar = scene.sidecar(&[("ONCE_KAFKA_TOPICS", &late)]);
    sidecar.log().wait_for(PATIENCE, |line| line.contains("asked for once more")).expect("a first look");
    topics::create(&scene.bootstrap, &late, 1, 1, &[]).expect("a topic");
    let partition = |line: &str| line.contains("partition assigned") && line.contains(&late);
    sidecar.log().wait_for(PATIENCE, partition).expect("it is read");
}

#[test]
fn a_wrong_redis_password_is_refused() {
    let Some(scene) = Scene::new(Ground::Mock, "password", 1) else { return };
    let guarded = Redis::start_with(Options { password: Some("right".into()), ..Options::default() }).expect("a redis");
    let url = format!("redis://:hunter2@{}", guarded.address());
    refused(&scene.sidecar(&[("ONCE_REDIS_URL", &url)]), &[&guarded.address()]);
}

#[test]
fn a_redis_that_evicts_marks_is_refused_unless_the_settings_allow_it() {
    if !support::redis_possible() {
        return;
    }
    let Some(scene) = Scene::new(Ground::Mock, "evicts", 1) else { return };
    let evicting = Redis::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]).expect("a redis");
    let url = evicting.url();
    refused(&scene.sidecar(&[("ONCE_REDIS_URL", &url)]), &["allkeys-lru", "ONCE_REDIS_ALLOW_EVICTION"]);
    let allowed = scene.sidecar(&[("ONCE_REDIS_URL", &url), ("ONCE_REDIS_ALLOW_EVICTION", "true")]);
    allowed.log().wait_for(PATIENCE, |line| line.contains("session opened")).expect("it runs");
}
