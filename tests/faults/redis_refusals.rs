//! Redis answers, and does not do what it is told: demoted, full, flushed, without rights for us, or with what is not ours
//! under a message's key.

use std::time::Instant;

use crate::store::{
    LONG_LEASE, PARTITIONS, assert_loss_counted, assert_silence, assert_waited_out, await_store_pause, end, partitions,
    scene, trial, trial_of, with,
};
use crate::support::load::stop;
use crate::support::monitor::key_of;
use crate::support::scene::{PATIENCE, assert_books, unique};
use crate::support::{Audit, Redis, Sidecar, topics};
use crate::trial::Trial;

/// Tells Redis something that it must accept.
fn tell(redis: &Redis, command: &[&str]) {
    assert_eq!(redis.cli(command).expect("an answer"), "OK", "{command:?}");
}

/// Breaks Redis under load until the sidecar has paused, then heals it; the pause must say `why`.
fn break_and_heal(trial: &Trial, sidecar: &Sidecar, redis: &Redis, fault: [&[&str]; 2], why: &str) {
    tell(redis, fault[0]);
    let (details, paused) = await_store_pause(&[sidecar]);
    assert!(details[0].contains(why), "{details:?}");
    sidecar.log().wait_for(PATIENCE, |line| line.contains("intake pauses") && line.contains(why)).expect("a log line");
    let (applied, back) = (trial.applied(), Instant::now());
    assert!(applied < trial.distinct, "it broke under load");
    tell(redis, fault[1]);
    trial.recovered(&format!("redis answered {why}"), back, applied);
    assert_silence(trial, paused, back);
}

#[test]
fn a_demoted_redis_pauses_until_it_is_primary_again_and_what_it_may_have_forgotten_is_in_doubt() {
    let Some((redis, trial)) = trial("demoted") else { return };
    let sidecar = trial.scene.sidecar(&LONG_LEASE);
    trial.await_part(1, 4);
    let fault: [&[&str]; 2] = [&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]];
    break_and_heal(&trial, &sidecar, &redis, fault, "READONLY");
    assert_loss_counted(&[&sidecar], "recent");
    trial.scene.await_applied(trial.distinct);
    let doubted = sidecar.metrics().expect("a scrape").sum("kafka_once_possible_repeats_total", &[]);
    assert!(doubted > 0.5, "the last moments might be forgotten");
    let audit = end(&trial, &[&sidecar]);
    assert_eq!(audit.forwarded_twice, [], "though nothing was");
}

#[test]
fn a_full_redis_pauses_until_there_is_room_again_and_nothing_is_new_or_duplicate_by_mistake() {
    let Some((redis, trial)) = trial("full") else { return };
    let sidecar = trial.scene.sidecar(&LONG_LEASE);
    trial.await_part(1, 4);
    let fault: [&[&str]; 2] = [&["CONFIG", "SET", "maxmemory", "100kb"], &["CONFIG", "SET", "maxmemory", "0"]];
    break_and_heal(&trial, &sidecar, &redis, fault, "OOM");
    assert_waited_out(&trial, &sidecar);
    let audit = end(&trial, &[&sidecar]);
    assert_eq!(audit.forwarded_twice, []);
}

#[test]
fn a_redis_that_takes_our_rights_away_pauses_says_so_and_goes_on_when_they_are_given_back() {
    let Some((redis, mut scene)) = scene("rights") else { return };
    let mut rights = vec!["ACL", "SETUSER", "once", "on", ">secret", "~once:*", "-@all"];
    rights.extend(documented_rights());
    tell(&redis, &rights);
    scene.redis_url = format!("redis://once:secret@{}", redis.address());
    let trial = Trial::begin(scene, PARTITIONS);
    let sidecar = trial.scene.sidecar(&LONG_LEASE);
    trial.await_part(1, 5);
    let rights: [&[&str]; 2] = [&["ACL", "SETUSER", "once", "-set"], &["ACL", "SETUSER", "once", "+set"]];
    break_and_heal(&trial, &sidecar, &redis, rights, "NOPERM");
    trial.await_part(2, 5);
    // Another password, and the connections that know the old one end.
    let password: [&[&str]; 2] =
        [&["ACL", "SETUSER", "once", "resetpass", ">other"], &["ACL", "SETUSER", "once", "resetpass", ">secret"]];
    let (lines, applied) = (sidecar.log().len(), trial.applied());
    tell(&redis, password[0]);
    redis.cli(&["CLIENT", "KILL", "USER", "once"]).expect("an answer");
    let (_, paused) = await_store_pause(&[&sidecar]);
    sidecar.log().wait_from(lines, PATIENCE, |line| line.contains("WRONGPASS")).expect("a log line");
    let (stood, back) = (trial.applied(), Instant::now());
    assert!(applied <= stood && stood < trial.distinct, "it broke under load");
    tell(&redis, password[1]);
    trial.recovered("redis answered WRONGPASS", back, stood);
    assert_silence(&trial, paused, back);
    assert!(!sidecar.log().lines().iter().any(|line| line.contains("secret")), "no secret is told");
    assert_waited_out(&trial, &sidecar);
    let audit = end(&trial, &[&sidecar]);
    assert_eq!(audit.forwarded_twice, []);
}

/// What `docs/operations.md` says that a locked-down Redis must allow.
fn documented_rights() -> Vec<&'static str> {
    let page = include_str!("../../docs/operations.md");
    let (_, rights) = page.split_once("- **Redis** (ACL)").expect("a part for Redis");
    let (alone, _) = rights.split_once("with Sentinel").expect("a part for one server");
    let rights: Vec<_> = alone.split([' ', '`']).filter(|word| word.starts_with('+')).collect();
    assert!(rights.len() > 5, "{rights:?}");
    rights
}

#[test]
fn a_flush_under_load_is_noticed_by_each_of_two_sidecars_and_every_repeat_is_marked() {
    let Some((redis, trial, sidecars)) = trial_of("flush", 2) else { return };
    let sidecars: Vec<&Sidecar> = sidecars.iter().collect();
    trial.await_part(1, 4);
    let (applied, flushed) = (trial.applied(), Instant::now());
    tell(&redis, &["FLUSHALL"]);
    assert!(applied < trial.distinct, "it was flushed under load");
    trial.recovered("redis flushed", flushed, applied);
    assert_loss_counted(&sidecars, "all");
    let audit = end(&trial, &sidecars);
    assert_ne!(audit.repeated_in_doubt, [], "duplicates of what was forgotten came again, and said so");
}

#[test]
fn what_is_not_ours_under_a_messages_key_parks_that_message_only() {
    let Some((redis, scene)) = scene("foreign") else { return };
    let letters = unique("foreign-letters");
    topics::create(&scene.bootstrap, &letters, partitions(), 1, &[]).expect("a topic");
    let trial = Trial::begin(scene, PARTITIONS);
    // A list; text; and a layout of ours from a far future.
    let planted: [(&str, &[&str]); 3] =
        [("id-9", &["RPUSH", "a list"]), ("id-8", &["SET", "a text"]), ("id-700", &["SET", "\u{7f}\u{1}"])];
    for (id, how) in planted {
        let key = key_of(&trial.scene.group, &trial.scene.topic, id);
        redis.cli(&[how[0], &key, how[1]]).expect("an answer");
    }
    let sidecar = trial.scene.sidecar(&with(&LONG_LEASE, &[("ONCE_DEAD_LETTER_TOPIC", &letters)]));
    trial.scene.await_applied(trial.distinct - planted.len());
    trial.scene.await_committed();
    assert_books(&sidecar.metrics().expect("a scrape"));
    stop(&sidecar);
    let dead = topics::read_all(&trial.scene.bootstrap, &letters).expect("dead letters");
    let copies = |id: &str| trial.produced.iter().filter(|one| one.id == id).count();
    for (id, _) in planted {
        let of_it = dead.iter().filter(|letter| letter.header("once-message-id").as_deref() == Some(id));
        let reasons: Vec<_> = of_it.filter_map(|letter| letter.header("once-error")).collect();
        assert_eq!(reasons, vec!["unreadable"; copies(id)], "{id}");
    }
    assert_eq!(dead.len(), planted.iter().map(|(id, _)| copies(id)).sum::<usize>(), "nothing else is parked");
    let audit = Audit::new(&trial.produced, &trial.scene.ledger.records(), &dead);
    let audit = audit.with_commits(&trial.scene.bootstrap, &trial.scene.group, &trial.produced).expect("an audit");
    audit.assert_exactly_once();
    assert_eq!((audit.dead, audit.applied_and_dead, audit.forwarded_twice), (planted.len(), vec![], vec![]));
}
