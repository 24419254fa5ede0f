//! The table of the contract, end to end: for each way an app can answer, what becomes of the message, what the next
//! request says, and what is counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cases::{Case, RETRIES, Said, bodies, broken, code, in_a_row, overrules, redirects, retry_after, statuses};
use crate::support::ledger::Records;
use crate::support::scene::PATIENCE;
use crate::support::topics::Read;
use crate::support::{Answer, Ledger, Request, Sidecar};
use crate::told::{Stage, assert_small, count, messages};

/// How a case must end: delivered, or dead-lettered with reason, status and attempts.
struct Expected {
    sent: Vec<(u64, bool)>,
    end: Option<(&'static str, Option<u16>, usize)>,
    verdicts: Vec<&'static str>,
}

/// What the specification says of a case.
fn expected(case: &Case) -> Expected {
    let (mut doubt, mut spent) = (false, 0);
    let mut expected = Expected { sent: Vec::new(), end: None, verdicts: Vec::new() };
    let last = code("accepted", 200);
    for (number, said) in (1..).zip(case.said.iter().chain([&last])) {
        expected.sent.push((number as u64, doubt));
        expected.verdicts.push(said.verdict);
        match said.verdict {
            "accepted" => return expected,
            "refused" => {
                expected.end = Some(("refused", said.status, number));
                return expected;
            }
            "overloaded" => continue,
            "unknown" => doubt = true,
            _ => {}
        }
        spent += 1;
        if spent == RETRIES {
            expected.end = Some(("exhausted", said.status, number));
            return expected;
        }
    }
    expected
}

/// Sends one message for each case through a sidecar and compares everything with what the specification says.
fn run(name: &str, cases: &[Case], settings: &[(&'static str, &str)]) {
    let Some(stage) = Stage::new(name, 3) else { return };
    let scene = &stage.scene;
    let answers: BTreeMap<String, Vec<Said>> =
        cases.iter().map(|case| (case.name.clone(), case.said.clone())).collect();
    assert_eq!(answers.len(), cases.len(), "each case has a name of its own");
    scene.ledger.behave(move |request| {
        let said = answers.get(request.id()).and_then(|said| said.get(usize::try_from(request.attempt()).ok()? - 1));
        let answer = said.map_or_else(|| Answer::status(200), |said| (said.answer)());
        async move { answer }
    });
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let records = (0..3).flat_map(|partition| {
        let of = names.iter().enumerate().filter(move |(number, _)| number % 3 == partition);
        messages(&scene.topic, i32::try_from(partition).expect("few"), of.map(|(_, name)| name.clone()))
    });
    let produced = scene.produce(&records.collect::<Vec<_>>());
    let retries = RETRIES.to_string();
    let given = [("ONCE_RETRY_ATTEMPTS", retries.as_str()), ("ONCE_APP_TIMEOUT", "2s"), ("ONCE_LEASE", "10s")];
    let sidecar = stage.sidecar(&[&given, settings].concat());
    scene.await_committed();
    let expected: BTreeMap<&str, Expected> = cases.iter().map(|case| (case.name.as_str(), expected(case))).collect();
    assert_counted(&sidecar, &expected);
    assert_small(&sidecar);
    let letters = stage.by_id();
    scene.ledger.with(|records| {
        for (name, expected) in &expected {
            assert_case(name, expected, records, letters.get(*name));
        }
    });
    let dead = expected.values().filter(|expected| expected.end.is_some()).count();
    let audit = stage.end(&produced, &[&sidecar]);
    assert_eq!((audit.dead, audit.effects), (dead, cases.len() - dead), "{audit}");
    assert_eq!(audit.repeated, [], "{audit}");
}

fn assert_case(name: &str, expected: &Expected, records: &Records, letter: Option<&Read>) {
    let sent: Vec<&Arc<Request>> = records.requests.iter().filter(|request| request.id() == name).collect();
    let seen: Vec<(u64, bool)> = sent.iter().map(|request| (request.attempt(), request.in_doubt())).collect();
    assert_eq!(seen, expected.sent, "{name}: attempts and whether each said possible-repeat");
    let known = ["first", "possible-repeat"].map(Some);
    assert!(sent.iter().all(|request| known.contains(&request.header("Once-Delivery"))), "{name}");
    match expected.end {
        None => assert!(letter.is_none(), "{name}: {letter:?}"),
        Some((reason, status, attempts)) => {
            let letter = letter.unwrap_or_else(|| panic!("{name} is not on the dead-letter topic"));
            let said = ["once-error", "once-status", "once-attempts"].map(|header| letter.header(header));
            let expected = [Some(reason.to_owned()), status.map(|code| code.to_string()), Some(attempts.to_string())];
            assert_eq!(said, expected, "{name}");
        }
    }
    if name.starts_with("after-seconds") || name.starts_with("after-date") {
        let waited = sent[1].at.duration_since(sent[0].at);
        assert!(waited >= Duration::from_millis(990), "{name} came again after {waited:?}");
    }
}

fn assert_counted(sidecar: &Sidecar, expected: &BTreeMap<&str, Expected>) {
    let metrics = sidecar.metrics().expect("a scrape");
    let all = || expected.values().flat_map(|expected| &expected.verdicts);
    for verdict in ["accepted", "refused", "failed", "overloaded", "unavailable", "unknown"] {
        let wanted = all().filter(|said| **said == verdict).count() as u64;
        assert_eq!(count(&metrics, "attempts_total", &[("verdict", verdict)]), wanted, "{verdict}");
        if matches!(verdict, "failed" | "overloaded" | "unavailable" | "unknown") {
            assert_eq!(count(&metrics, "retries_total", &[("reason", verdict)]), wanted, "{verdict}");
        }
    }
    for reason in ["refused", "exhausted"] {
        let wanted = expected.values().filter(|one| one.end.is_some_and(|(said, ..)| said == reason)).count() as u64;
        assert_eq!(count(&metrics, "dead_letters_total", &[("reason", reason)]), wanted, "{reason}");
    }
    let doubted = expected.values().flat_map(|one| &one.sent).filter(|(_, doubt)| *doubt).count() as u64;
    assert_eq!(count(&metrics, "possible_repeats_total", &[]), doubted);
}

/// H14: each row of the table.
#[test]
fn every_status_has_the_end_that_the_table_says_and_no_4xx_counts_as_success() {
    run("statuses", &statuses(), &[]);
}

#[test]
fn a_redirect_is_a_failure_and_never_followed() {
    let trap = Ledger::start().expect("a trap");
    run("redirects", &redirects(&trap.url("/trap")), &[]);
    trap.with(|records| assert!(records.requests.is_empty() && records.asked.is_empty(), "it was followed"));
}

#[test]
fn once_verdict_overrules_any_status_and_a_word_nobody_knows_is_no_yes() {
    run("overrules", &overrules(), &[]);
}

#[test]
fn retry_after_is_honoured_as_seconds_and_as_date_and_bounded_where_it_is_absurd() {
    run("retry-after", &retry_after(), &[("ONCE_RETRY_BACKOFF_MAX", "3s")]);
}

/// F17: nothing is lost, and whatever comes again says so, whether or not the effect had happened.
#[test]
fn after_an_answer_that_is_none_the_message_comes_again_marked() {
    let cases: Vec<Case> = broken(true).into_iter().chain(broken(false)).collect();
    run("broken", &cases, &[]);
}

#[test]
fn a_body_without_end_or_of_ten_gigabytes_counts_by_its_status_and_costs_no_memory() {
    run("bodies", &bodies(), &[]);
}

#[test]
fn failed_and_unknown_answers_spend_retries_overloaded_ones_spend_none_and_doubt_stays() {
    run("rows", &in_a_row(), &[]);
}

/// The app is asked after each answer that was none; what it had applied is not sent again, and the rest says `first`.
#[test]
fn with_lookup_an_answer_that_is_none_is_resolved_and_nothing_says_possible_repeat() {
    let Some(stage) = Stage::new("resolved", 1) else { return };
    let scene = &stage.scene;
    let cases: Vec<Case> = broken(true).into_iter().chain(broken(false)).collect();
    let answers: BTreeMap<String, Said> = cases.iter().map(|case| (case.name.clone(), case.said[0].clone())).collect();
    scene.ledger.behave(move |request| {
        let said = answers.get(request.id()).filter(|_| request.attempt() == 1);
        let answer = said.map_or_else(|| Answer::status(200), |said| (said.answer)());
        async move { answer }
    });
    let produced = scene.produce(&messages(&scene.topic, 0, cases.iter().map(|case| case.name.clone())));
    let url = scene.ledger.lookup_url();
    let settings = [("ONCE_IN_DOUBT", "lookup"), ("ONCE_APP_LOOKUP_URL", &url), ("ONCE_APP_TIMEOUT", "2s")];
    let sidecar = stage.sidecar(&settings);
    scene.await_applied(cases.len());
    stage.end(&produced, &[&sidecar]).assert_exactly_once();
    scene.ledger.with(|records| {
        for case in &cases {
            let sent = records.requests.iter().filter(|request| request.id() == case.name);
            let said: Vec<_> = sent.map(|request| (request.attempt(), request.in_doubt())).collect();
            let again = if case.name.ends_with("-undone") { 2 } else { 1 };
            assert_eq!(said, [(1, false), (2, false)][..again], "{}", case.name);
        }
    });
}

/// The limit on open requests falls while the app says that it is overloaded, and rises again once it works.
#[test]
fn an_overloaded_app_is_sent_fewer_requests_at_once_and_more_again_when_it_works() {
    const LOAD: usize = 3_000;
    let Some(stage) = Stage::new("overload", 3) else { return };
    let scene = &stage.scene;
    scene.ledger.behave(|_| async { Answer::status(503) });
    let records = (0..3).flat_map(|partition| {
        let names = (0..LOAD / 3).map(move |number| format!("{partition}-{number}"));
        messages(&scene.topic, partition, names)
    });
    let produced = scene.produce(&records.collect::<Vec<_>>());
    let sidecar = stage.sidecar(&[]);
    let limit = |wanted: fn(u64) -> bool| {
        let found = sidecar.await_metrics(PATIENCE, |metrics| wanted(count(metrics, "in_flight_limit", &[])));
        found.expect("the limit moves");
    };
    limit(|limit| limit == 1);
    assert_eq!(stage.count(), 0, "none is given up for it");
    scene.ledger.behave(|_| async {
        tokio::time::sleep(Duration::from_millis(10)).await; // the app's work
        Answer::status(200)
    });
    limit(|limit| limit >= 8);
    scene.await_applied(produced.len());
    stage.end(&produced, &[&sidecar]).assert_exactly_once();
}
