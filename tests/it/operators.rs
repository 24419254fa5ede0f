//! What operators ask over HTTP, and what the probes say meanwhile.

use std::time::Duration;

use crate::support::Record;
use crate::support::load::numbered;
use crate::support::scene::{Ground, PATIENCE, Scene};

crate::on_both!(
    a_drained_sidecar_is_out_of_the_group_alive_not_ready_and_ends_when_asked,
    a_paused_sidecar_says_why_and_goes_on_where_it_stood_when_resumed,
);

fn numbers(scene: &Scene, range: std::ops::Range<usize>) -> Vec<Record> {
    range.map(|number| numbered(&scene.topic, number, 2)).collect()
}

fn a_drained_sidecar_is_out_of_the_group_alive_not_ready_and_ends_when_asked(ground: Ground) {
    let Some(scene) = Scene::new(ground, "drain", 2) else { return };
    let mut produced = scene.produce(&numbers(&scene, 0..100));
    let drained = scene.sidecar(&[]);
    scene.await_applied(100);
    assert_eq!(drained.get("/ready").expect("an answer").status, 200);
    for time in ["first", "again"] {
        let answer = drained.post_within("/drain", PATIENCE).expect("an answer");
        assert_eq!(answer.status, 200, "{time}");
    }
    assert_eq!(drained.get("/live").expect("an answer").status, 200);
    assert_eq!(drained.get("/ready").expect("an answer").status, 503);
    produced.extend(scene.produce(&numbers(&scene, 100..200)));
    let successor = scene.sidecar(&[]);
    scene.await_applied(200);
    scene.await_committed();
    for sidecar in [&drained, &successor] {
        sidecar.sigterm();
        assert_eq!(sidecar.wait_exit(Duration::from_secs(30)), Some(0), "{}", sidecar.tail());
    }
    let audit = scene.audit(&produced);
    audit.assert_exactly_once();
    assert_eq!(audit.forwarded_twice, []);
}

fn a_paused_sidecar_says_why_and_goes_on_where_it_stood_when_resumed(ground: Ground) {
    let Some(scene) = Scene::new(ground, "pause", 2) else { return };
    let mut produced = scene.produce(&numbers(&scene, 0..100));
    let sidecar = scene.sidecar(&[]);
    scene.await_applied(100);
    assert_eq!(sidecar.post("/pause").expect("an answer").status, 200);
    let paused = |metrics: &crate::support::sidecar::Metrics| {
        metrics.sum("kafka_once_partition_paused", &[("reason", "operator")])
    };
    assert!((paused(&sidecar.metrics().expect("a scrape")) - 2.0).abs() < 0.5, "both partitions are paused");
    let status = sidecar.get("/status").expect("a page").body;
    assert!(status.contains(r#""state":"paused""#) && status.contains(r#""reason":"operator""#), "{status}");
    produced.extend(scene.produce(&numbers(&scene, 100..200)));
    assert_eq!(sidecar.post("/resume").expect("an answer").status, 200);
    scene.await_applied(200);
    scene.await_committed();
    assert!(paused(&sidecar.metrics().expect("a scrape")) < 0.5);
    crate::support::load::stop(&sidecar);
    scene.audit(&produced).assert_exactly_once();
}

#[test]
fn a_sidecar_asked_to_end_as_soon_as_its_admin_port_answers_ends_in_order() {
    let Some(scene) = Scene::new(Ground::Mock, "early-end", 1) else { return };
    for _ in 0..5 {
        let sidecar = scene.sidecar(&[]);
        while std::net::TcpStream::connect(sidecar.admin_address()).is_err() {
            assert!(sidecar.runs(), "{}", sidecar.tail());
            std::thread::yield_now();
        }
        sidecar.sigterm();
        assert_eq!(sidecar.wait_exit(PATIENCE), Some(0), "{}", sidecar.tail());
    }
}
