//! An app that fences in SQL, by the text of our own page, between processes that die or stand still.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use kafka_once::failpoints::Failpoint;
use tokio::sync::watch;

use crate::support::fence::{Attempt, Fence};
use crate::support::load::stop;
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::sqlite::Sqlite;
use crate::support::{Answer, Request};
use crate::trial::{QUICK, Trial};

const OLD: &str = "/old";
const NEW: &str = "/new";

/// The app's database; one connection, so its statements go one after another.
#[derive(Clone)]
struct Bank(Arc<Mutex<(Fence, Sqlite)>>);

impl Bank {
    /// `None` (recorded as a skip) without python3.
    fn open(path: &Path) -> Option<Self> {
        let (fence, mut database) = (Fence::from_page(), Sqlite::open(path)?);
        fence.prepare(&mut database).expect("the recipe's table");
        Some(Self(Arc::new(Mutex::new((fence, database)))))
    }

    fn arrive(&self, request: &Request) {
        let (fence, database) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fence.arrive(database, &attempt(request)).expect("step 1");
    }

    /// The status to answer.
    fn apply(&self, request: &Request) -> u16 {
        let (fence, database) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fence.apply(database, &attempt(request)).expect("steps 2 and 3")
    }

    /// Effects in the database: how many there are, and of how many messages.
    fn effects(&self) -> (usize, usize) {
        let (_, database) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sql = "SELECT count(*), count(DISTINCT id) FROM orders";
        let done = database.run(sql, &serde_json::json!({})).expect("a count");
        let number = |place: usize| usize::try_from(done.rows[0][place].as_u64().expect("a number")).expect("small");
        (number(0), number(1))
    }
}

fn attempt(request: &Request) -> Attempt {
    Attempt { topic: request.topic().to_owned(), id: request.id().to_owned(), number: request.attempt() }
}

/// A load for an app that fences, and its database.
fn fenced(name: &str) -> Option<(Trial, Bank, tempfile::TempDir)> {
    let scene = Scene::new(Ground::Real, name, 6)?;
    let dir = tempfile::tempdir().expect("a directory");
    let bank = Bank::open(&dir.path().join("app.db"))?;
    Some((Trial::begin(scene, 6), bank, dir))
}

fn sidecar(scene: &Scene, path: &str, more: &[(&'static str, &str)]) -> crate::support::Sidecar {
    let app = scene.ledger.url(path);
    let mut settings = QUICK.to_vec();
    settings.push(("ONCE_APP_URL", &app));
    settings.extend(more);
    scene.sidecar(&settings)
}

/// Which attempts have come for each message, and how they were answered.
#[derive(Default)]
struct Progress {
    highest: HashMap<String, u64>,
    slow: HashSet<String>,
    answered: Vec<(String, u16)>,
}

/// An app that is slow with requests of the old process, from a number on: each waits for the next attempt of its
/// message to come, and that one waits for it.
async fn answer_out_of_order(
    bank: Bank,
    progress: watch::Sender<Progress>,
    from: usize,
    request: Arc<Request>,
) -> Answer {
    bank.arrive(&request);
    let (id, number, is_old) = (request.id().to_owned(), request.attempt(), request.path == OLD);
    progress.send_modify(|known| {
        known.highest.insert(id.clone(), number);
        if is_old && known.highest.len() > from {
            known.slow.insert(id.clone());
        }
    });
    let mut known = progress.subscribe();
    let is_slow = known.borrow().slow.contains(&id);
    let waited = match (is_slow, is_old) {
        (true, true) => known.wait_for(|known| known.highest.get(&id) > Some(&number)).await,
        (true, false) => known.wait_for(|known| known.answered.iter().any(|(answered, _)| *answered == id)).await,
        (false, _) => Ok(known.borrow()),
    };
    drop(waited.expect("the test holds the other end"));
    let status = bank.apply(&request);
    progress.send_modify(|known| known.answered.push((id, status)));
    Answer::status(status)
}

#[test]
fn a_slow_request_of_a_dead_process_is_refused_once_the_next_attempt_has_come() {
    let Some((trial, bank, _dir)) = fenced("fenced-slow") else { return };
    let (scene, from) = (&trial.scene, trial.distinct / 3);
    let progress = watch::Sender::new(Progress::default());
    let (app, told) = (bank.clone(), progress.clone());
    scene.ledger.behave(move |request| answer_out_of_order(app.clone(), told.clone(), from, request));
    let kill = format!("{}=kill@{}", Failpoint::RequestSent.as_str(), from + 40);
    let old = sidecar(scene, OLD, &[("FAILPOINTS", &kill)]);
    assert_eq!(old.wait_exit(PATIENCE), Some(137), "{}", old.tail());
    let new = sidecar(scene, NEW, &[]);
    let audit = trial.end(&[&new]);
    audit.assert_promise();
    assert_eq!(bank.effects(), (trial.distinct, trial.distinct), "each effect once in the database");
    let known = progress.borrow();
    let refused: HashSet<&String> =
        known.answered.iter().filter(|(_, status)| *status == 409).map(|(id, _)| id).collect();
    assert!(!refused.is_empty(), "some were at work when their process died");
    assert_eq!(refused, known.slow.iter().collect(), "each of them is refused, and no other");
}

#[test]
fn a_process_that_stood_still_between_its_claim_and_its_request_repeats_no_effect_of_an_app_that_fences() {
    let Some((trial, bank, _dir)) = fenced("fenced-frozen") else { return };
    let scene = &trial.scene;
    let app = bank.clone();
    scene.ledger.behave(move |request| {
        app.arrive(&request);
        let status = app.apply(&request);
        async move { Answer::status(status) }
    });
    let freeze = format!("{}=freeze@{}", Failpoint::RequestDue.as_str(), trial.distinct / 3);
    let old = sidecar(scene, OLD, &[("FAILPOINTS", &freeze)]);
    old.log().wait_for(PATIENCE, |line| line.contains("failpoint request_due strikes")).expect("it stands still");
    assert!(trial.applied() < trial.distinct, "it stood still under load");
    let new = sidecar(scene, NEW, &[]);
    scene.await_applied(trial.distinct);
    old.sigcont();
    old.log().wait_for(PATIENCE, |line| line.contains("open requests are cancelled")).expect("it sees that it is late");
    scene.await_committed();
    stop(&old);
    stop(&new);
    let audit = scene.audit(&trial.produced);
    assert_eq!((&audit.lost, &audit.passed_open), (&Vec::new(), &Vec::new()), "{audit}");
    assert_eq!(bank.effects(), (trial.distinct, trial.distinct), "each effect once in the database");
}
