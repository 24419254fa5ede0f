//! The app: a ledger of its effects, which may fail in every way, die half way and be asked what it has applied.

use std::sync::Arc;
use std::time::Duration;

use kafka_once::domain::identity::WireId;
use kafka_once::domain::record::{Record, Topic};
use kafka_once::domain::verdict::{Answer, Delivery, Overrule};
use kafka_once::ports::{App, AppLine, Lookup, Request};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::host::Host;
use super::plan::{AppModel, Sabotage};
use super::truth::{Effect, Message};
use super::world::World;

/// IDs that begin so are refused for good.
pub const POISON: &str = "poison";

/// IDs that begin so fail for ever.
pub const STUBBORN: &str = "stubborn";

/// The app beside one process.
#[derive(Clone)]
pub struct SimApp {
    world: Arc<World>,
    host: Arc<Host>,
}

/// A connection to it.
pub struct SimLine(SimApp);

/// What becomes of one request.
#[derive(Clone, Copy, Debug)]
struct Fate {
    service: Duration,
    outcome: Outcome,
    /// It goes on although its connection is closed.
    survives: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The effect, and this answer.
    Accepts(u16, Option<Overrule>),
    /// No effect, and this answer.
    Declines(u16, Option<Overrule>, Option<Duration>),
    /// The effect, and then it dies.
    DiesAfter,
    /// It dies before the effect.
    DiesBefore,
}

/// The message of a record.
pub fn message_of(record: &Record, id: &WireId) -> Message {
    (record.topic().to_string(), id.as_str().to_owned())
}

/// A record's value as text.
pub fn payload_of(record: &Record) -> String {
    String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned()
}

impl SimApp {
    /// The app beside a process.
    pub fn new(world: &Arc<World>, host: &Arc<Host>) -> Self {
        Self { world: Arc::clone(world), host: Arc::clone(host) }
    }

    fn is_down(&self) -> bool {
        if !self.world.plan.faults.store_away && self.world.outage().contains(&Instant::now()) {
            return true;
        }
        self.world.weather().app_down_until.get(&self.host.number).is_some_and(|until| *until > Instant::now())
    }

    fn fate(&self, request: &Request) -> Fate {
        let (world, dice) = (&self.world, &self.world.dice.app);
        let service = Duration::from_millis(dice.below(world.plan.service + 1)).max(world.plan.slow);
        let survives = world.may(|faults| faults.app_zombie) && dice.percent(50);
        let fate = |service, outcome| Fate { service, outcome, survives };
        if world.weather().app_is_busy && request.record.position().offset.0 == 0 {
            return fate(service, Outcome::Declines(503, None, None));
        }
        if request.id.as_str().starts_with(POISON) && !world.weather().app_is_mended {
            return fate(service, Outcome::Declines(422, None, None));
        }
        if request.id.as_str().starts_with(STUBBORN) {
            return fate(service, Outcome::Declines(500, None, None));
        }
        if world.weather().app_dies {
            return fate(service, Outcome::DiesAfter);
        }
        if world.may(|faults| faults.app_unknown) && dice.percent(10) {
            let long = request.timeout * u32::try_from(dice.below(60) + 80).expect("small") / 100;
            return match dice.below(4) {
                0 => fate(service, Outcome::DiesAfter),
                1 => fate(service, Outcome::DiesBefore),
                2 => fate(long, Outcome::Accepts(200, None)), // around the deadline
                _ => fate(long, Outcome::DiesAfter),
            };
        }
        if world.may(|faults| faults.app_fails) && dice.percent(15) {
            let wait = Some(dice.millis(1, 3_000));
            return fate(
                service,
                match dice.below(7) {
                    0 => Outcome::Declines(500, None, None),
                    1 => Outcome::Declines(409, None, None),
                    2 => Outcome::Declines(302, None, None),
                    3 => Outcome::Declines(503, None, wait),
                    4 => Outcome::Declines(429, None, None),
                    5 => Outcome::Declines(200, Some(Overrule::Failed), None),
                    _ => Outcome::Accepts(500, Some(Overrule::Accepted)),
                },
            );
        }
        fate(service, Outcome::Accepts(dice.pick(&[200, 201, 204]), None))
    }

    /// The app's own code for one request.
    async fn serve(self, request: Request, fate: Fate, answer: oneshot::Sender<Answer>) {
        let asked = Instant::now();
        sleep(fate.service).await;
        let late = self.host.wall() >= request.deadline;
        match fate.outcome {
            Outcome::DiesBefore => return,
            // As the contract teaches: nobody waits any more, so its transaction is given up.
            _ if late => return,
            Outcome::Accepts(..) | Outcome::DiesAfter => self.apply(&request, asked),
            Outcome::Declines(..) => {}
        }
        let (code, overrule, retry_after) = match fate.outcome {
            Outcome::DiesAfter | Outcome::DiesBefore => return,
            Outcome::Accepts(code, overrule) => (code, overrule, None),
            Outcome::Declines(code, overrule, retry_after) => (code, overrule, retry_after),
        };
        sleep(self.world.dice.app.millis(0, 2)).await;
        let _ = answer.send(Answer::Status { code, overrule, retry_after });
    }

    fn apply(&self, request: &Request, asked: Instant) {
        let message = message_of(&request.record, &request.id);
        let mut truth = self.world.truth();
        let applied = truth.is_applied(&message);
        let blind = match self.world.plan.model {
            AppModel::Trusting => {
                request.delivery == Delivery::First || self.world.plan.sabotage == Sabotage::DoubtIsHidden
            }
            AppModel::Transactional => false,
        };
        let offset = request.record.position().offset.0;
        let planted = truth.log.get(&request.record.topic_partition());
        let planted = planted.and_then(|log| log.iter().find(|planted| planted.offset == offset));
        let produced = planted.map_or_else(Instant::now, |planted| planted.produced);
        let effect = Effect {
            at: Instant::now(),
            asked,
            produced,
            partition: request.record.topic_partition(),
            delivery: self.delivery(request),
            attempt: request.attempt,
            payload: payload_of(&request.record),
        };
        truth.reaches_effect(&message, effect, blind || !applied);
    }

    fn delivery(&self, request: &Request) -> Delivery {
        if self.world.plan.sabotage == Sabotage::DoubtIsHidden { Delivery::First } else { request.delivery }
    }
}

impl App for SimApp {
    type Line = SimLine;

    fn line(&self) -> SimLine {
        SimLine(self.clone())
    }

    async fn still_ready(&self) -> Result<(), String> {
        self.host.gate().await;
        Ok(()) // no `ONCE_APP_READY_URL`: nobody to ask
    }

    async fn ready(&self) -> Result<(), String> {
        self.host.gate().await;
        sleep(Duration::from_millis(1)).await;
        let ready = if self.is_down() { Err("refused".to_owned()) } else { Ok(()) };
        self.host.gate().await;
        ready
    }

    async fn look_up(&self, topic: &Topic, id: &WireId) -> Lookup {
        self.host.gate().await;
        let dice = &self.world.dice.app;
        sleep(dice.millis(1, 5)).await;
        let unclear = self.is_down()
            || self.world.weather().app_is_busy
            || (self.world.may(|faults| faults.app_fails) && dice.percent(20));
        let applied = self.world.truth().is_applied(&(topic.to_string(), id.as_str().to_owned()));
        self.host.gate().await;
        match (unclear, applied) {
            (true, _) => Lookup::Unclear("503".to_owned()),
            (false, true) => Lookup::Applied,
            (false, false) => Lookup::NotApplied,
        }
    }
}

impl AppLine for SimLine {
    async fn deliver(&mut self, request: &Request) -> Answer {
        let app = &self.0;
        app.host.gate().await;
        if app.is_down() || app.world.weather().app_refuses {
            sleep(Duration::from_millis(1)).await;
            app.host.gate().await;
            return Answer::NotSent("connection refused".to_owned());
        }
        let fate = app.fate(request);
        let open = Connection::open(app, request, fate);
        let answer = match timeout(request.timeout, open.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Answer::NoAnswer("connection reset".to_owned()),
            Err(_) => Answer::NoAnswer("timeout".to_owned()),
        };
        app.host.gate().await;
        drop(open.hang_up);
        answer
    }
}

/// A request on its way.
struct Connection {
    answer: oneshot::Receiver<Answer>,
    hang_up: HangUp,
}

/// Closes the connection when the request is answered, given up or cancelled.
struct HangUp {
    world: Arc<World>,
    message: Message,
    place: usize,
    handler: Option<JoinHandle<()>>,
}

impl Connection {
    fn open(app: &SimApp, request: &Request, fate: Fate) -> Self {
        let message = message_of(&request.record, &request.id);
        let attempt = if app.world.plan.sabotage == Sabotage::AttemptsStandStill { 1 } else { request.attempt };
        let rest = Duration::from_millis(request.deadline.0.saturating_sub(app.host.wall().0));
        let until = Instant::now() + rest;
        let place = app.world.truth().arrived(&message, app.host.number, app.delivery(request), attempt, until);
        let (sender, answer) = oneshot::channel();
        let handler = tokio::spawn(app.clone().serve(request.clone(), fate, sender));
        let handler = (!fate.survives).then_some(handler);
        Self { answer, hang_up: HangUp { world: Arc::clone(&app.world), message, place, handler } }
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if let Some(handler) = &self.handler {
            handler.abort();
        }
        self.world.truth().hung_up(&self.message, self.place);
    }
}
