//! What operators ask, however badly, of a sidecar under load: it answers, it goes on, and the books balance.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::load::works_for;
use crate::support::scene::{PATIENCE, Scene, assert_books};
use crate::support::wire::{self, Reply};
use crate::support::{Produced, Sidecar};
use crate::told::{QUICK_GROUP, Stage, await_owned, await_status, count, messages, names};

const PARTITIONS: i32 = 6;

fn load(scene: &Scene, each: usize) -> Vec<Produced> {
    works_for(scene, 5);
    let of = |partition| messages(&scene.topic, partition, names(&format!("p{partition}"), each));
    scene.produce(&(0..PARTITIONS).flat_map(of).collect::<Vec<_>>())
}

fn ask(sidecar: &Sidecar, method: &str, path: &str, body: &[u8]) -> Reply {
    wire::request(sidecar.admin_address(), method, path, body, PATIENCE).expect("an answer")
}

#[test]
fn a_hundred_scrapes_a_second_under_load_balance_each_and_harm_nothing() {
    const EACH: usize = 400;
    let Some(stage) = Stage::new("scraped", PARTITIONS) else { return };
    let scene = &stage.scene;
    // Every end that a record can have is under way.
    scene.ledger.behave(|request| async move {
        tokio::time::sleep(Duration::from_millis(5)).await; // the app's work
        let number = request.id().rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0_usize);
        crate::support::Answer::status(match (number % 10, request.attempt()) {
            (3, _) => 422,
            (6, 1) => 500,
            _ => 200,
        })
    });
    let of = |partition| messages(&scene.topic, partition, names(&format!("p{partition}"), EACH));
    let once: Vec<_> = (0..PARTITIONS).flat_map(of).collect();
    let produced = scene.produce(&[&once[..], &once[..100]].concat());
    let sidecar = stage.sidecar(&[("ONCE_DEAD_LETTER_BUDGET", "unlimited"), ("ONCE_MAX_IN_FLIGHT", "16")]);
    await_status(&sidecar, |_| Some(()));
    let over = AtomicBool::new(false);
    let scrapes = std::thread::scope(|threads| {
        let scraping = threads.spawn(|| {
            let (begun, mut scrapes) = (Instant::now(), 0_u32);
            while !over.load(Ordering::SeqCst) {
                assert_books(&sidecar.metrics().expect("a scrape"));
                scrapes += 1;
                let due = begun + Duration::from_millis(10) * scrapes;
                std::thread::sleep(due.saturating_duration_since(Instant::now())); // a hundred a second
            }
            scrapes
        });
        let dead = produced.len().min(once.len()) / 10;
        scene.await_applied(once.len() - dead);
        scene.await_committed();
        over.store(true, Ordering::SeqCst);
        scraping.join().expect("each scrape balances")
    });
    assert!(scrapes > 50, "{scrapes} scrapes");
    let audit = stage.end(&produced, &[&sidecar]);
    assert_eq!(audit.dead, once.len() / 10, "{audit}");
}

#[test]
fn unknown_paths_wrong_methods_and_huge_bodies_are_answered_under_load_and_change_nothing() {
    let Some(stage) = Stage::new("odd-requests", PARTITIONS) else { return };
    let produced = load(&stage.scene, 200);
    let sidecar = stage.sidecar(&[("ONCE_MAX_IN_FLIGHT", "16")]);
    stage.scene.await_applied(50);
    let huge = vec![b'x'; 5_000_000];
    let asked: [(&str, &str, &[u8], u16); 14] = [
        ("GET", "/nothing", b"", 404),
        ("GET", "/../../etc/passwd", b"", 404),
        ("POST", "/metrics", b"", 405),
        ("DELETE", "/status", b"", 405),
        ("GET", "/drain", b"", 405),
        ("GET", "/pause", b"", 405),
        ("PUT", "/resume", b"", 405),
        ("BREW", "/live", b"", 405),
        ("POST", "/pause?topc=typo", b"", 400),
        ("POST", "/pause?partition=1", b"", 400),
        ("POST", "/pause?topic=unknown", b"", 404),
        ("POST", "/resume?topic=unknown&partition=0", b"", 404),
        ("POST", "/nothing", &huge, 404),
        ("GET", "/live", &huge, 200),
    ];
    for (method, path, body, status) in asked {
        let reply = ask(&sidecar, method, path, body);
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.body);
    }
    assert_eq!(ask(&sidecar, "POST", "/resume", &huge).status, 200, "the body of what is known is not read either");
    assert_eq!(ask(&sidecar, "GET", "/status", b"").status, 200);
    stage.scene.await_applied(produced.len());
    crate::told::assert_small(&sidecar);
    let audit = stage.end(&produced, &[&sidecar]);
    audit.assert_exactly_once();
    assert_eq!(audit.forwarded_twice, []);
}

/// Drains asked for twice at once and once more afterwards, while another sidecar joins: all are answered, everything is
/// given back, and the other one goes on without a repeat.
#[test]
fn a_drain_asked_for_twice_in_the_midst_of_a_rebalance_is_answered_and_forwards_nothing_twice() {
    let Some(stage) = Stage::new("drained", PARTITIONS) else { return };
    let scene = &stage.scene;
    let produced = load(scene, 400);
    let settings = [QUICK_GROUP[0], QUICK_GROUP[1], ("ONCE_MAX_IN_FLIGHT", "8")];
    let first = stage.sidecar(&settings);
    scene.await_applied(100);
    let second = stage.sidecar(&settings);
    first.log().wait_for(PATIENCE, |line| line.contains("partition is wanted back")).expect("a rebalance");
    let drain = || first.post_within("/drain", PATIENCE).expect("an answer").status;
    std::thread::scope(|threads| {
        let both = [threads.spawn(drain), threads.spawn(drain)];
        for asked in both {
            assert_eq!(asked.join().expect("a drain"), 200);
        }
    });
    assert!(scene.ledger.with(|records| records.effects.len()) < produced.len(), "it was drained under load");
    assert_eq!(drain(), 200, "and once more");
    assert_eq!((first.get("/live").expect("a page").status, first.get("/ready").expect("a page").status), (200, 503));
    let metrics = first.metrics().expect("a scrape");
    assert_eq!((count(&metrics, "open_records", &[]), count(&metrics, "in_flight_requests", &[])), (0, 0));
    assert_books(&metrics);
    assert_eq!(await_status(&first, |page| page["state"].as_str().map(str::to_owned)), "draining");
    scene.await_applied(produced.len());
    let audit = stage.end(&produced, &[&second, &first]);
    audit.assert_exactly_once();
    assert_eq!(audit.forwarded_twice, [], "{audit}");
}

/// Drains in rebalances again and again: whoever is drained goes, whoever stays goes on.
#[test]
fn drains_while_sidecars_come_and_go_forward_nothing_twice() {
    const ROUNDS: usize = 4;
    let Some(stage) = Stage::new("drains", PARTITIONS) else { return };
    let scene = &stage.scene;
    let mut produced = load(scene, 100);
    let settings = [QUICK_GROUP[0], QUICK_GROUP[1], ("ONCE_MAX_IN_FLIGHT", "8")];
    let mut staying = stage.sidecar(&settings);
    for round in 0..ROUNDS {
        let of = |partition| messages(&scene.topic, partition, names(&format!("r{round}-p{partition}"), 60));
        produced.extend(scene.produce(&(0..PARTITIONS).flat_map(of).collect::<Vec<_>>()));
        await_owned(&staying, 6);
        let guest = stage.sidecar(&settings);
        staying.log().wait_for(PATIENCE, |line| line.contains("partition is wanted back")).expect("a rebalance");
        assert_eq!(staying.post_within("/drain", PATIENCE).expect("an answer").status, 200);
        assert_books(&staying.metrics().expect("a scrape"));
        crate::told::stop(&staying);
        staying = guest;
    }
    scene.await_applied(produced.len());
    let audit = stage.end(&produced, &[&staying]);
    audit.assert_exactly_once();
    assert_eq!(audit.forwarded_twice, [], "{audit}");
}

/// Whoever leaves while we drain leaves us its partitions: they go back at once, or the drain would wait for them for ever.
#[test]
fn a_drain_that_is_given_partitions_on_its_way_out_ends_all_the_same() {
    const GROUP: [(&str, &str); 3] = [QUICK_GROUP[0], QUICK_GROUP[1], ("ONCE_DRAIN_TIMEOUT", "120s")];
    let Some(stage) = Stage::new("drain-given", PARTITIONS) else { return };
    let scene = &stage.scene;
    let (first, second) = (stage.sidecar(&GROUP), stage.sidecar(&GROUP));
    await_owned(&first, 3);
    await_owned(&second, 3);
    let of_first = await_status(&first, |page| {
        let numbers = page["partitions"].as_array()?.iter().map(|partition| partition["partition"].as_i64());
        numbers.collect::<Option<Vec<_>>>()
    });
    let (open, gate) = tokio::sync::watch::channel(false);
    scene.ledger.behave(move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.expect("it opens");
            crate::support::Answer::status(200)
        }
    });
    let one = |partition: i64| {
        let partition = i32::try_from(partition).expect("a partition");
        messages(&scene.topic, partition, names(&format!("p{partition}"), 1))
    };
    let produced = scene.produce(&of_first.into_iter().flat_map(one).collect::<Vec<_>>());
    scene.ledger.wait_until(PATIENCE, |records| records.requests.len() == produced.len()).expect("all are open");
    std::thread::scope(|threads| {
        let drained = threads.spawn(|| first.post_within("/drain", PATIENCE).expect("an answer").status);
        first.log().wait_for(PATIENCE, |line| line.contains("draining")).expect("it drains");
        let lines = first.log().lines().len();
        crate::told::stop(&second);
        first.log().wait_from(lines, PATIENCE, |line| line.contains("partition assigned")).expect("it is given more");
        open.send(true).expect("the app waits");
        assert_eq!(drained.join().expect("a drain"), 200);
    });
    scene.await_applied(produced.len());
    stage.end(&produced, &[&first]).assert_exactly_once();
}
