//! Sidecars come, go and die under load: clean ends forward nothing twice, a crash repeats only what it says it may.

use crate::support::load::{numbered, stop, with_duplicates};
use crate::support::scene::{Ground, Scene, assert_books};
use crate::support::{Answer, Produced};

crate::on_both!(
    a_restart_by_sigterm_under_load_forwards_nothing_twice,
    a_sidecar_that_joins_and_leaves_under_load_makes_nothing_be_forwarded_twice,
    a_kill_under_load_loses_nothing_and_repeats_only_as_possible_repeat,
);

const DISTINCT: usize = 9_000;

/// A lease as short as is allowed, so that a crash is seen soon.
const SHORT_LEASE: [(&str, &str); 4] =
    [("ONCE_LEASE", "3s"), ("ONCE_APP_TIMEOUT", "2s"), QUICK_GROUP[0], QUICK_GROUP[1]];

/// A group whose members hear soon of each other, on the mock cluster too.
const QUICK_GROUP: [(&str, &str); 2] =
    [("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "6000"), ("ONCE_KAFKA_PROPERTY_HEARTBEAT_INTERVAL_MS", "500")];

fn loaded(ground: Ground, name: &str) -> Option<(Scene, Vec<Produced>)> {
    let scene = Scene::new(ground, name, 6)?;
    // Slow enough that requests are open whenever somebody comes or goes.
    scene.ledger.behave(|_| async {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        Answer::status(200)
    });
    let produced = scene.produce(&with_duplicates(&scene.topic, DISTINCT, 6));
    Some((scene, produced))
}

fn a_restart_by_sigterm_under_load_forwards_nothing_twice(ground: Ground) {
    let Some((scene, produced)) = loaded(ground, "restart") else { return };
    for applied in [DISTINCT / 4, DISTINCT / 2] {
        let sidecar = scene.sidecar(&QUICK_GROUP);
        scene.await_applied(applied);
        stop(&sidecar);
        assert!(scene.ledger.with(|records| records.effects.len()) < DISTINCT, "it was stopped under load");
    }
    let last = scene.sidecar(&QUICK_GROUP);
    scene.await_applied(DISTINCT);
    scene.await_committed();
    stop(&last);
    let audit = scene.audit(&produced);
    audit.assert_exactly_once();
    assert_eq!(audit.forwarded_twice, []);
    assert_eq!(audit.disorder, []);
}

fn a_sidecar_that_joins_and_leaves_under_load_makes_nothing_be_forwarded_twice(ground: Ground) {
    let Some((scene, mut produced)) = loaded(ground, "join") else { return };
    let staying = [scene.sidecar(&QUICK_GROUP), scene.sidecar(&QUICK_GROUP)];
    scene.await_applied(DISTINCT / 4);
    let guest = scene.sidecar(&QUICK_GROUP);
    let mut distinct = DISTINCT;
    // The load goes on until the guest has taken part in it.
    while guest.metrics().map_or(0.0, |metrics| metrics.sum("kafka_once_records_settled_total", &[])) < 100.0 {
        assert!(guest.runs() && distinct < 1_000_000, "{}", guest.tail());
        let more = (distinct..distinct + 500).map(|number| numbered(&scene.topic, number, 6));
        produced.extend(scene.produce(&more.collect::<Vec<_>>()));
        distinct += 500;
    }
    assert_books(&guest.metrics().expect("a scrape"));
    stop(&guest);
    scene.await_applied(distinct);
    scene.await_committed();
    for sidecar in &staying {
        assert_books(&sidecar.metrics().expect("a scrape"));
        stop(sidecar);
    }
    let audit = scene.audit(&produced);
    audit.assert_exactly_once();
    assert_eq!(audit.forwarded_twice, []);
    assert_eq!(audit.disorder, []);
}

fn a_kill_under_load_loses_nothing_and_repeats_only_as_possible_repeat(ground: Ground) {
    let Some((scene, produced)) = loaded(ground, "kill") else { return };
    let victim = scene.sidecar(&SHORT_LEASE);
    scene.await_applied(DISTINCT / 4);
    victim.sigkill();
    let heir = scene.sidecar(&SHORT_LEASE);
    scene.await_applied(DISTINCT);
    scene.await_committed();
    let repeats = heir.metrics().expect("a scrape").sum("kafka_once_possible_repeats_total", &[]);
    assert!(repeats > 0.5, "requests were open when it was killed, and {repeats} were marked");
    stop(&heir);
    scene.audit(&produced).assert_promise();
}
