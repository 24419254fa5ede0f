//! Records that the app can never handle: they end with their reason, hold up nobody else, and are sent again alone.

use std::collections::HashMap;

use tokio::sync::watch;

use crate::support::ledger::Records;
use crate::support::scene::PATIENCE;
use crate::support::{Answer, Record};
use crate::told::{Stage, await_told, await_untold, committed, count, messages, names};

/// H9: others and records without keys flow on while one key always fails, and what stands behind it comes after it.
#[test]
fn a_poison_record_ends_as_exhausted_while_all_others_flow_on() {
    const OTHERS: usize = 200;
    let Some(stage) = Stage::new("poison", 1) else { return };
    let scene = &stage.scene;
    let (let_go, held) = watch::channel(false);
    scene.ledger.behave(move |request| {
        let mut held = held.clone();
        async move {
            if request.id() != "poison" {
                return Answer::status(200);
            }
            if request.attempt() == 4 {
                let _ = held.wait_for(|go| *go).await; // its last retry, until all others are applied
            }
            Answer::status(500)
        }
    });
    let mut records = messages(&scene.topic, 0, ["poison".to_owned()]);
    records.push(Record::new(&scene.topic, "behind").partition(0).key("poison").id("behind"));
    records.extend(messages(&scene.topic, 0, names("other", OTHERS)));
    records.extend(names("keyless", OTHERS).map(|name| Record::new(&scene.topic, "x").partition(0).id(name)));
    let produced = scene.produce(&records);
    let sidecar = stage.sidecar(&[("ONCE_RETRY_ATTEMPTS", "4"), ("ONCE_MAX_OPEN_RECORDS", "1000")]);
    scene.await_applied(2 * OTHERS);
    assert_eq!(stage.count(), 0, "the poison is still under way");
    assert_eq!(committed(scene, 0), 0, "and nothing is committed past it");
    let_go.send(true).expect("the app");
    scene.await_applied(2 * OTHERS + 1);
    let audit = stage.end(&produced, &[&sidecar]);
    assert_eq!((audit.effects, audit.dead), (2 * OTHERS + 1, 1), "{audit}");
    let letter = &stage.by_id()["poison"];
    let said = ["once-error", "once-status", "once-attempts"].map(|name| letter.header(name).expect("a header"));
    assert_eq!(said, ["exhausted", "500", "4"]);
    scene.ledger.with(|records| {
        let poisoned: Vec<_> = records.requests.iter().filter(|one| one.key() == Some("poison")).collect();
        let sent: Vec<_> = poisoned.iter().map(|one| (one.id(), one.attempt(), one.in_doubt())).collect();
        let expected = [1, 2, 3, 4].map(|attempt| ("poison", attempt, false));
        assert_eq!(sent, [&expected[..], &[("behind", 1, false)]].concat());
    });
}

/// H9 with `ONCE_RETRY_ATTEMPTS=0`.
#[test]
fn with_retries_for_ever_a_poison_record_blocks_its_lane_until_the_bound_and_that_is_said() {
    const BOUND: usize = 50;
    const EACH: usize = 300;
    let Some(stage) = Stage::new("for-ever", 2) else { return };
    let scene = &stage.scene;
    scene.ledger.behave(|request| async move { Answer::status(if request.id() == "poison" { 500 } else { 200 }) });
    let mut records = messages(&scene.topic, 0, ["poison".to_owned()]);
    records.push(Record::new(&scene.topic, "behind").partition(0).key("poison").id("behind"));
    records.extend(messages(&scene.topic, 0, names("beside", EACH)));
    records.extend(messages(&scene.topic, 1, names("elsewhere", EACH)));
    let produced = scene.produce(&records);
    let bound = BOUND.to_string();
    let sidecar = stage.sidecar(&[("ONCE_RETRY_ATTEMPTS", "0"), ("ONCE_MAX_OPEN_RECORDS", &bound)]);
    // All of the other partition, and of this one all that the bound lets in beside the poison and what stands behind it.
    scene.await_applied(EACH + BOUND - 2);
    let detail = await_told(&sidecar, "retry_blocked", Some(0));
    assert!(detail.contains("offset 0 has failed"), "{detail}");
    await_told(&sidecar, "bound", Some(0));
    let sent = |records: &Records, id: &str| records.requests.iter().filter(|one| one.id() == id).count();
    let before = scene.ledger.with(|records| sent(records, "poison"));
    scene.ledger.wait_until(PATIENCE, |records| sent(records, "poison") > before + 3).expect("it is tried on");
    let metrics = sidecar.metrics().expect("a scrape");
    assert_eq!(count(&metrics, "partition_paused", &[("partition", "1")]), 0, "the other partition is not paused");
    let behind = scene.ledger.with(|records| sent(records, "behind"));
    assert_eq!((behind, stage.count(), committed(scene, 0)), (0, 0, 0));
    scene.ledger.behave(|_| async { Answer::status(200) });
    scene.await_applied(2 * EACH + 2);
    await_untold(&sidecar, "retry_blocked");
    await_untold(&sidecar, "bound");
    stage.end(&produced, &[&sidecar]).assert_exactly_once();
}

/// H10: of requests that are all open at once every third one fails, and only those are sent again.
#[test]
fn of_a_batch_in_flight_of_which_every_third_fails_only_those_are_sent_again() {
    const TOGETHER: usize = 60;
    let Some(stage) = Stage::new("thirds", 1) else { return };
    let scene = &stage.scene;
    let (let_go, held) = watch::channel(false);
    scene.ledger.behave(move |request| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|go| *go).await;
            let number: usize =
                request.id().rsplit('-').next().and_then(|digits| digits.parse().ok()).expect("a number");
            Answer::status(if number.is_multiple_of(3) && request.attempt() == 1 { 500 } else { 200 })
        }
    });
    let produced = scene.produce(&messages(&scene.topic, 0, names("one", TOGETHER)));
    let sidecar = stage.sidecar(&[]);
    scene.ledger.wait_until(PATIENCE, |records| records.requests.len() == TOGETHER).expect("all are open at once");
    let_go.send(true).expect("the app");
    scene.await_applied(TOGETHER);
    let audit = stage.end(&produced, &[&sidecar]);
    audit.assert_exactly_once();
    scene.ledger.with(|records| {
        let mut sent: HashMap<&str, usize> = HashMap::new();
        records.requests.iter().for_each(|request| *sent.entry(request.id()).or_default() += 1);
        for number in 0..TOGETHER {
            let expected = if number.is_multiple_of(3) { 2 } else { 1 };
            assert_eq!(sent[format!("one-{number}").as_str()], expected, "one-{number}");
        }
    });
}
