//! A process that dies at an exact place under load: what it leaves behind, and what its heir must make of that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use kafka_once::domain::claim::ClaimValue;
use kafka_once::failpoints::Failpoint;

use crate::support::claims::standing;
use crate::support::ledger::Records;
use crate::support::load::stop;
use crate::support::scene::{Ground, PATIENCE, Scene, assert_books};
use crate::support::topics::{self, Read};
use crate::support::{Audit, Model, Request, Sidecar};
use crate::trial::{QUICK, Trial, assert_lookups_wait};

/// Where the heir sends its requests; everybody before it sends them elsewhere.
const HEIR: &str = "/heir";
const BEFORE: &str = "/before";

const PARTITIONS: usize = 6;

/// `ONCE_IN_DOUBT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    Repeat,
    Lookup,
}

/// Runs scenarios, functions of a [`Doubt`], in both modes.
#[macro_export]
macro_rules! in_both_modes {
    ($($scenario:ident),+ $(,)?) => {
        mod in_repeat_mode {
            $(#[test] fn $scenario() { super::$scenario($crate::crash::Doubt::Repeat); })+
        }
        mod in_lookup_mode {
            $(#[test] fn $scenario() { super::$scenario($crate::crash::Doubt::Lookup); })+
        }
    };
}

/// A load under way, and processes that die from it one after another.
pub struct Crash {
    pub trial: Trial,
    doubt: Doubt,
    letters: Option<String>,
}

/// What the dead left: what Redis holds for each message, and what the app was sent and had done.
pub struct Estate {
    pub standing: HashMap<String, ClaimValue>,
    died: Instant,
}

/// What the heir made of it.
pub struct Heritage {
    pub audit: Audit,
    pub records: Records,
    /// Everything that stands on the dead-letter topic.
    pub letters: Vec<Read>,
    /// Records that the heir found settled.
    pub redelivered: f64,
}

impl Crash {
    /// `None`: Kafka or Redis cannot be had, and the skip is on record.
    pub fn new(name: &str, doubt: Doubt) -> Option<Self> {
        Some(Self { trial: Trial::begin(Scene::new(Ground::Real, name, 6)?, PARTITIONS), doubt, letters: None })
    }

    /// The same with an app of another model.
    pub fn with_app(name: &str, doubt: Doubt, model: Model) -> Option<Self> {
        let mut scene = Scene::new(Ground::Real, name, 6)?;
        scene.ledger = crate::support::Ledger::start_as(model).expect("an app");
        Some(Self { trial: Trial::begin(scene, PARTITIONS), doubt, letters: None })
    }

    /// Sets a dead-letter topic; so many messages will end there instead of in the app.
    pub fn with_dead_letters(mut self, dead: usize) -> Self {
        let topic = format!("{}-dead", self.trial.scene.topic);
        topics::create(&self.trial.scene.bootstrap, &topic, 1, 1, &[]).expect("a dead-letter topic");
        self.letters = Some(topic);
        self.trial.distinct -= dead;
        self
    }

    /// A part of the load, as the number of a passing.
    pub fn part(&self, part: usize, of: usize) -> usize {
        (self.trial.distinct * part / of).max(1)
    }

    /// A process that will be killed at a failpoint.
    pub fn doomed(&self, point: Failpoint, passing: usize) -> Sidecar {
        self.sidecar(BEFORE, &[("FAILPOINTS", &format!("{}=kill@{passing}", point.as_str()))])
    }

    /// A process one of whose tasks will panic at a failpoint.
    pub fn panicking(&self, point: Failpoint, passing: usize) -> Sidecar {
        self.sidecar(BEFORE, &[("FAILPOINTS", &format!("{}=panic@{passing}", point.as_str()))])
    }

    /// A process without a failpoint, before the heir.
    pub fn mortal(&self) -> Sidecar {
        self.sidecar(BEFORE, &[])
    }

    fn sidecar(&self, path: &str, more: &[(&'static str, &str)]) -> Sidecar {
        let scene = &self.trial.scene;
        let (app, lookup) = (scene.ledger.url(path), scene.ledger.lookup_url());
        let mut settings = QUICK.to_vec();
        settings.extend([("ONCE_APP_URL", app.as_str()), ("ONCE_COMMIT_INTERVAL", "100ms")]);
        if self.doubt == Doubt::Lookup {
            settings.extend([("ONCE_IN_DOUBT", "lookup"), ("ONCE_APP_LOOKUP_URL", lookup.as_str())]);
        }
        if let Some(topic) = &self.letters {
            settings.extend([("ONCE_DEAD_LETTER_TOPIC", topic.as_str()), ("ONCE_DEAD_LETTER_BUDGET", "unlimited")]);
        }
        settings.extend(more);
        scene.sidecar(&settings)
    }

    /// Waits until its failpoint has killed a process, and looks at what it left.
    pub fn await_death(&self, doomed: &Sidecar) -> Estate {
        assert_eq!(doomed.wait_exit(PATIENCE), Some(137), "killed under load; {}", doomed.tail());
        self.estate()
    }

    /// Looks at what the dead left.
    pub fn estate(&self) -> Estate {
        let died = Instant::now();
        let (scene, produced) = (&self.trial.scene, &self.trial.produced);
        let ids: HashSet<&str> = produced.iter().map(|one| one.id.as_str()).collect();
        assert!(self.trial.applied() < ids.len(), "it died under load");
        let committed = topics::committed(&scene.bootstrap, &scene.group, &scene.topic).expect("commits");
        let standing = standing(&scene.redis_url, &scene.group, &scene.topic, ids).expect("what Redis holds");
        for one in produced {
            let (partition, offset) = one.position;
            if committed.get(&partition).is_some_and(|committed| offset < committed.next) {
                assert!(standing.get(&one.id).is_some_and(is_mark), "{one:?} is committed and not marked");
            }
        }
        Estate { standing, died }
    }

    /// Lets an heir finish the load, and checks what must hold whatever killed those before it.
    pub fn inherit(&self, fault: &str, estate: &Estate) -> Heritage {
        let heir = self.sidecar(HEIR, &[]);
        self.trial.recovered_when(fault, estate.died, |records| records.requests.iter().any(|one| is_heirs(one)));
        self.trial.scene.await_applied(self.trial.distinct);
        self.trial.scene.await_committed();
        let metrics = heir.metrics().expect("a scrape");
        assert_books(&metrics);
        stop(&heir);
        let letters = self.letters.as_ref().map(|topic| topics::read_all(&self.trial.scene.bootstrap, topic));
        let letters = letters.transpose().expect("dead letters").unwrap_or_default();
        let audit = self.trial.audit_with(&letters);
        audit.assert_promise();
        assert_eq!((&audit.behind, &audit.applied_and_dead), (&Vec::new(), &Vec::new()));
        let records = self.trial.scene.ledger.records();
        let told = records.requests.iter().filter(|request| is_heirs(request) && request.in_doubt()).count();
        assert!(same(metrics.sum("kafka_once_possible_repeats_total", &[]), told), "{told} were told so: {metrics:?}");
        self.check_requests(estate, &records);
        if self.doubt == Doubt::Lookup {
            assert_eq!((&audit.repeated, &audit.repeated_in_doubt), (&Vec::new(), &Vec::new()), "{audit}");
            assert_lookups_wait(&records);
        }
        let redelivered = metrics.sum("kafka_once_duplicates_total", &[("cause", "redelivery")]);
        Heritage { audit, records, letters, redelivered }
    }

    /// The heir forwards what is not marked and nothing else, each with the doubt that what stood in Redis means.
    fn check_requests(&self, estate: &Estate, records: &Records) {
        let mut by_id: HashMap<&str, Vec<&Arc<Request>>> = HashMap::new();
        for request in &records.requests {
            by_id.entry(request.id()).or_default().push(request);
        }
        for (id, requests) in by_id {
            let attempts: Vec<u64> = requests.iter().map(|request| request.attempt()).collect();
            assert!(attempts.is_sorted_by(|one, next| one < next), "{id}: attempts {attempts:?} do not grow");
            let value = estate.standing.get(id);
            let (doubtful, marked) = (value.is_some_and(is_doubtful), value.is_some_and(is_mark));
            let heirs: Vec<_> = requests.iter().filter(|request| is_heirs(request)).collect();
            assert!(!marked || heirs.is_empty(), "{id} was marked ({value:?}) and forwarded again");
            match self.doubt {
                Doubt::Repeat => {
                    assert_eq!(heirs.is_empty(), marked, "{id} stood as {value:?}");
                    let told = heirs.iter().all(|request| request.in_doubt() == doubtful);
                    assert!(told, "{id} stood as {value:?}, and its request did not say so");
                }
                Doubt::Lookup => assert!(heirs.iter().all(|request| !request.in_doubt()), "{id} was resolved"),
            }
        }
    }
}

impl Estate {
    /// Messages that stood so in Redis.
    pub fn ids(&self, wanted: impl Fn(&ClaimValue) -> bool) -> HashSet<&str> {
        self.standing.iter().filter(|(_, value)| wanted(value)).map(|(id, _)| id.as_str()).collect()
    }
}

impl Heritage {
    /// Messages for which those before the heir had sent a request.
    pub fn sent_before(&self) -> HashSet<&str> {
        ids(self.records.requests.iter().filter(|request| !is_heirs(request)))
    }

    /// The highest attempt that those before the heir had sent for a message; 0 for none.
    pub fn last_attempt_before(&self, id: &str) -> u64 {
        let requests = self.records.requests.iter().filter(|request| request.id() == id && !is_heirs(request));
        requests.map(|request| request.attempt()).max().unwrap_or(0)
    }

    /// Messages that those before the heir had brought to the app's effect.
    pub fn applied_before(&self) -> HashSet<&str> {
        ids(self.records.applied.iter().filter(|request| !is_heirs(request)))
    }
}

fn ids<'a>(requests: impl Iterator<Item = &'a Arc<Request>>) -> HashSet<&'a str> {
    requests.map(|request| request.id()).collect()
}

fn is_heirs(request: &Request) -> bool {
    request.path == HEIR
}

pub fn is_claim(value: &ClaimValue) -> bool {
    matches!(value, ClaimValue::Claimed { .. })
}

pub fn is_release(value: &ClaimValue) -> bool {
    matches!(value, ClaimValue::Released { .. })
}

pub fn is_mark(value: &ClaimValue) -> bool {
    matches!(value, ClaimValue::Done { .. } | ClaimValue::Dead { .. })
}

/// Whether whoever takes it over must say so: a dead session's claim always, a released one when it says it itself.
fn is_doubtful(value: &ClaimValue) -> bool {
    is_claim(value) || matches!(value, ClaimValue::Released { in_doubt: true, .. })
}

fn same(sum: f64, count: usize) -> bool {
    (sum - f64::from(u32::try_from(count).unwrap_or(u32::MAX))).abs() < 0.5
}
