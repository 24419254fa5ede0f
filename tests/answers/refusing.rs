//! A dead-letter topic that takes nothing is backpressure: the source is not committed past a letter that is not
//! acknowledged, it is said why, and things go on by themselves once the topic takes letters again.

use crate::support::ledger::Records;
use crate::support::scene::{Ground, PATIENCE, Scene, unique};
use crate::support::{self, Answer, Kafka, Produced, Sidecar, topics};
use crate::told::{QUICK_GROUP, Stage, await_owned, await_told, await_untold, committed, count, messages, names, with};

/// Messages before and behind the one that the app refuses.
const AROUND: usize = 50;

/// A client that soon gives up what a broker does not acknowledge, or whose topic it does not know.
const IMPATIENT: [(&str, &str); 2] = [
    ("ONCE_KAFKA_PROPERTY_DELIVERY_TIMEOUT_MS", "2000"),
    ("ONCE_KAFKA_PROPERTY_TOPIC_METADATA_PROPAGATION_MAX_MS", "500"),
];

/// A message that the app refuses, in the midst of others.
fn produce(scene: &Scene) -> Vec<Produced> {
    scene.ledger.behave(|request| async move { Answer::status(if request.id() == "refused" { 422 } else { 200 }) });
    let all = names("before", AROUND).chain(["refused".to_owned()]).chain(names("behind", AROUND));
    scene.produce(&messages(&scene.topic, 0, all))
}

/// Waits until the sidecar says that the topic takes nothing; nothing is committed past the letter.
fn await_refused(stage: &Stage, sidecar: &Sidecar) {
    let detail = await_told(sidecar, "dead_letter_failed", Some(0));
    assert!(detail.contains(&stage.letters), "{detail}");
    let told = |line: &str| line.contains("dead-letter topic does not take a record") && line.contains(&stage.letters);
    sidecar.log().wait_for(PATIENCE, told).expect("a log line");
    assert_held(&stage.scene, sidecar);
}

fn assert_held(scene: &Scene, sidecar: &Sidecar) {
    let at = i64::try_from(AROUND).expect("few");
    scene.await_commits(|_| at);
    let metrics = sidecar.metrics().expect("a scrape");
    assert_eq!(count(&metrics, "records_settled_total", &[("outcome", "dead_lettered")]), 0);
    crate::support::scene::assert_books(&metrics);
    assert_eq!(committed(scene, 0), at, "nothing is committed past it");
}

/// The topic takes letters again: everything goes on by itself, and the app is not asked again.
fn await_healed(stage: &Stage, sidecar: &Sidecar, produced: &[Produced]) {
    await_untold(sidecar, "dead_letter_failed");
    let scene = &stage.scene;
    scene.await_applied(2 * AROUND);
    let audit = stage.end(produced, &[sidecar]);
    assert_eq!((audit.dead, audit.effects, audit.forwarded_twice.len()), (1, 2 * AROUND, 0), "{audit}");
    assert_eq!(stage.by_id()["refused"].header("once-attempts").as_deref(), Some("1"));
}

#[test]
fn a_dead_letter_topic_that_refuses_even_an_empty_value_holds_the_source_back_and_says_so_until_it_takes_letters() {
    let Some(stage) = Stage::with_letters("tiny", 1, &[("max.message.bytes", "100")]) else { return };
    let produced = produce(&stage.scene);
    let sidecar = stage.sidecar(&IMPATIENT);
    await_refused(&stage, &sidecar);
    topics::configure(&stage.scene.bootstrap, &stage.letters, &[]).expect("configured");
    await_healed(&stage, &sidecar, &produced);
}

/// Three brokers of its own, of which one dies: the letters want all three.
#[test]
fn a_dead_letter_topic_without_enough_replicas_in_sync_holds_the_source_back_and_says_so_until_it_has_them() {
    let (Some(redis), true) = (support::redis(), support::kafka_possible()) else { return };
    let kafka = Kafka::start(3).expect("three brokers");
    let scene = Scene::on(&kafka, redis, "unsafe", 1);
    let stage = Stage { scene, letters: unique("unsafe-letters") };
    kafka.create_topic(&stage.letters, 1, &[("min.insync.replicas", "3")]).expect("a dead-letter topic");
    let produced = produce(&stage.scene);
    kafka.kill(2);
    let sidecar = stage.sidecar(&IMPATIENT);
    await_refused(&stage, &sidecar);
    kafka.heal().expect("all replicas are in sync");
    await_healed(&stage, &sidecar, &produced);
}

#[test]
fn a_dead_letter_topic_that_does_not_exist_holds_the_source_back_and_says_so_until_it_is_made() {
    let Some(scene) = Scene::new(Ground::Real, "missing", 1) else { return };
    let letters = unique("missing-letters");
    let stage = Stage { scene, letters };
    let produced = produce(&stage.scene);
    let sidecar = stage.sidecar(&IMPATIENT);
    await_refused(&stage, &sidecar);
    topics::create(&stage.scene.bootstrap, &stage.letters, 1, 1, &[]).expect("a dead-letter topic");
    await_healed(&stage, &sidecar, &produced);
}

#[test]
fn a_dead_letter_topic_deleted_under_a_running_sidecar_holds_the_source_back_until_it_is_made_again() {
    let Some(stage) = Stage::new("deleted", 1) else { return };
    let (scene, letters) = (&stage.scene, &stage.letters);
    scene.ledger.behave(|_| async { Answer::status(422) });
    let quick = [IMPATIENT[0], IMPATIENT[1], ("ONCE_KAFKA_PROPERTY_TOPIC_METADATA_REFRESH_INTERVAL_MS", "1000")];
    let sidecar = stage.sidecar(&quick);
    scene.produce_to(&scene.topic, messages(&scene.topic, 0, ["first".to_owned()]));
    scene.await_committed();
    assert_eq!(stage.count(), 1, "its producer knows the topic");
    topics::delete(&scene.bootstrap, letters).expect("deleted");
    topics::await_gone(&scene.bootstrap, letters, PATIENCE).expect("gone");
    let produced = scene.produce(&messages(&scene.topic, 0, ["second".to_owned()]));
    let detail = await_told(&sidecar, "dead_letter_failed", Some(0));
    assert!(detail.contains(letters), "{detail}");
    assert_eq!(committed(scene, 0), 1, "nothing is committed past it");
    topics::create(&scene.bootstrap, letters, 1, 1, &[]).expect("a dead-letter topic");
    await_untold(&sidecar, "dead_letter_failed");
    let audit = stage.end(&produced, &[&sidecar]);
    assert_eq!((audit.dead, audit.effects), (1, 0), "{audit}");
}

/// A sidecar that ends while the topic takes nothing gives the record back; the next one asks the app again.
#[test]
fn a_sidecar_that_ends_while_the_dead_letter_topic_refuses_loses_nothing() {
    let Some(stage) = Stage::with_letters("ends", 1, &[("max.message.bytes", "100")]) else { return };
    let produced = produce(&stage.scene);
    let drain = [("ONCE_DRAIN_TIMEOUT", "5s"), ("ONCE_APP_TIMEOUT", "2s")];
    let first = stage.sidecar(&[&IMPATIENT[..], &drain].concat());
    await_refused(&stage, &first);
    crate::told::stop(&first);
    assert_eq!(committed(&stage.scene, 0), i64::try_from(AROUND).expect("few"), "not past it at the end either");
    topics::configure(&stage.scene.bootstrap, &stage.letters, &[]).expect("configured");
    let second = stage.sidecar(&IMPATIENT);
    let audit = stage.end(&produced, &[&second]);
    assert_eq!((audit.dead, audit.effects), (1, 2 * AROUND), "{audit}");
    assert_eq!(stage.by_id()["refused"].header("once-error").as_deref(), Some("refused"));
}

/// The first sidecar lives on: the next owner of a partition must not wait for a claim that nobody can settle, nor keep
/// silent about what holds it.
#[test]
fn a_partition_that_moves_while_the_dead_letter_topic_refuses_takes_its_record_along() {
    let Some(stage) = Stage::with_letters("moves-along", 2, &[("max.message.bytes", "100")]) else { return };
    let scene = &stage.scene;
    scene.ledger.behave(|_| async { Answer::status(422) });
    let both = (0..2).flat_map(|partition| messages(&scene.topic, partition, names(&format!("p{partition}"), 1)));
    let produced = scene.produce(&both.collect::<Vec<_>>());
    let drain = [("ONCE_DRAIN_TIMEOUT", "2s"), ("ONCE_APP_TIMEOUT", "1s")];
    let settings = [&IMPATIENT[..], &QUICK_GROUP, &drain].concat();
    let first = stage.sidecar(&settings);
    for partition in 0..2 {
        await_told(&first, "dead_letter_failed", Some(partition));
    }
    let second = stage.sidecar(&settings);
    await_owned(&second, 1);
    await_owned(&first, 1);
    let page = crate::told::status(&second);
    let moved = page["partitions"][0]["partition"].as_i64().and_then(|number| i32::try_from(number).ok());
    assert!(moved.is_some(), "{page}");
    await_told(&second, "dead_letter_failed", moved);
    topics::configure(&scene.bootstrap, &stage.letters, &[]).expect("configured");
    await_untold(&first, "dead_letter_failed");
    await_untold(&second, "dead_letter_failed");
    let audit = stage.end(&produced, &[&first, &second]);
    assert_eq!((audit.dead, audit.effects), (2, 0), "{audit}");
}

/// Without a topic what must be dead-lettered blocks its lane, says so, and is tried again when an operator asks.
#[test]
fn without_a_dead_letter_topic_a_refused_record_blocks_says_so_and_is_tried_again_on_resume() {
    for (name, answer, settings) in
        [("unset-refused", 422, &[][..]), ("unset-exhausted", 500, &[("ONCE_RETRY_ATTEMPTS", "2")][..])]
    {
        let Some(scene) = Scene::new(Ground::Real, name, 1) else { return };
        let mut produced = produce(&scene);
        scene
            .ledger
            .behave(move |request| async move { Answer::status(if request.id() == "refused" { answer } else { 200 }) });
        let sidecar = scene.sidecar(&with(settings));
        let detail = await_told(&sidecar, "dead_letter_topic_unset", Some(0));
        assert!(detail.contains(&format!("offset {AROUND} ")) && detail.contains(&answer.to_string()), "{detail}");
        let told = |line: &str| line.contains("record blocks its lane");
        sidecar.log().wait_for(PATIENCE, told).expect("a log line");
        assert_held(&scene, &sidecar);
        let later: Vec<_> = names("later", AROUND).collect();
        produced.extend(scene.produce(&messages(&scene.topic, 0, later)));
        scene.await_applied(3 * AROUND); // its lane waits, and no other one
        await_told(&sidecar, "dead_letter_topic_unset", Some(0));
        let sent = || scene.ledger.with(|records| records.requests.iter().filter(|one| one.id() == "refused").count());
        let before = sent();
        assert_eq!(sidecar.post("/resume").expect("an answer").status, 200);
        let again = |records: &Records| records.requests.iter().filter(|one| one.id() == "refused").count() > before;
        scene.ledger.wait_until(PATIENCE, again).expect("it is tried again");
        await_told(&sidecar, "dead_letter_topic_unset", Some(0));
        assert_eq!(sent(), 2 * before, "it was tried again with as many retries as before");
        assert_held(&scene, &sidecar);
        scene.ledger.behave(|_| async { Answer::status(200) });
        let scope = format!("/resume?topic={}&partition=0", scene.topic);
        assert_eq!(sidecar.post(&scope).expect("an answer").status, 200);
        scene.await_applied(produced.len());
        await_untold(&sidecar, "dead_letter_topic_unset");
        scene.await_committed();
        crate::told::stop(&sidecar);
        scene.audit(&produced).assert_exactly_once();
    }
}
