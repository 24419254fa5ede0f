//! `kafka-once redrive`: sends dead letters back to their topic, each at most once, whoever dies on the way.

mod doubts;
mod markers;
mod post;
mod report;
mod selection;
mod targets;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::markers::Scan;
use self::post::Post;
use self::report::Report;
use self::selection::Selection;
use self::targets::Targets;
use self::trouble::{Trouble, patiently};
use super::progress::Progress;
use super::times::When;
use crate::adapters::claims::redis::RedisClaims;
use crate::adapters::kafka::{Span, TopicReader, Transactions, Window};
use crate::domain::identity::MessageId;
use crate::domain::reasons::DeadLetterReason;
use crate::pipeline::Clock;
use crate::ports::StoreError;
use crate::settings::{self, Problems, RedriveSettings};
use crate::sidecar;

/// Exit code when it ended half way: what was sent back was sent back, the rest is for the next run.
const HALF_WAY: u8 = 1;

/// How often the end of the dead-letter topic is looked for behind open transactions, and how long between two looks.
const LOOKS: u32 = 50;
const LOOK: Duration = Duration::from_millis(100);

const SETTINGS: &str = "Settings, from environment variables (kafka-once --help): ONCE_KAFKA_BROKERS, ONCE_KAFKA_PROPERTY_<NAME>, \
ONCE_KAFKA_TOPICS, ONCE_KAFKA_GROUP, ONCE_DEDUP_NAMESPACE, ONCE_DEAD_LETTER_TOPIC, ONCE_REDIS_URL and the other ONCE_REDIS_*; \
with ONCE_LOG, logs instead of a progress bar.\n\
Exit codes: 0 done, 1 ended half way (run it again: it goes on where it stopped), 2 usage, settings, or a neighbour that \
is away or refuses us: nothing was changed.";

/// What may be said behind `redrive`.
#[derive(Debug, Args)]
#[command(after_help = SETTINGS)]
pub(super) struct RedriveArguments {
    /// Only letters of this reason (once-error); may be said again for others
    #[arg(long = "reason", value_name = "REASON", value_parser = reason)]
    reasons: Vec<DeadLetterReason>,
    /// Only the letter of this message ID, as in once-message-id; may be said again for others
    #[arg(long = "id", value_name = "ID", value_parser = message_id)]
    ids: Vec<MessageId>,
    /// Only letters of this source topic; without it, of `ONCE_KAFKA_TOPICS`
    #[arg(long, value_name = "TOPIC", value_parser = settings::topic)]
    topic: Option<String>,
    /// Only letters written at or after this time (once-at): RFC 3339, or a duration back such as 2h
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    since: Option<When>,
    /// Send back so many letters at most
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// Say what would be sent back, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
}

fn reason(text: &str) -> Result<DeadLetterReason, String> {
    let known = DeadLetterReason::ALL.iter().find(|reason| reason.as_str() == text).copied();
    let words = || DeadLetterReason::ALL.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(", ");
    known.ok_or_else(|| format!("is no reason; write one of {}", words()))
}

fn message_id(text: &str) -> Result<MessageId, String> {
    sidecar::message_id(text).map_err(|error| error.to_string())
}

pub(super) fn run(arguments: &RedriveArguments) -> ExitCode {
    let settings = match RedriveSettings::load(super::environment(), &super::read_file) {
        Ok(settings) => settings,
        Err(problems) => return super::refuse(&problems),
    };
    let logs = super::log_if_asked(&settings.log);
    match prepare(arguments, &settings) {
        Ok(ready) => {
            let (report, trouble) = ready.send(arguments, &settings, logs);
            end(&report, trouble, arguments.json)
        }
        Err(trouble) => complain(&trouble),
    }
}

fn complain(trouble: &Trouble) -> ExitCode {
    eprintln!("kafka-once redrive: {}", trouble.words);
    ExitCode::from(if trouble.half_way { HALF_WAY } else { Problems::EXIT_CODE })
}

/// Prints what was done, and what came between.
fn end(report: &Report, trouble: Option<Trouble>, json: bool) -> ExitCode {
    let text = if json {
        serde_json::to_string_pretty(report).map(|text| text + "\n").map_err(|error| error.to_string())
    } else {
        Ok(report.page())
    };
    if let Err(error) = text.and_then(|text| super::write(&text).map_err(|error| error.to_string())) {
        let words = format!("the report cannot be written: {error}");
        return complain(&Trouble { half_way: true, words });
    }
    trouble.map_or(ExitCode::SUCCESS, |trouble| complain(&trouble))
}

/// Everything at hand, nothing changed: the last run's transaction is ended, and all that earlier runs sent is known.
struct Ready {
    runtime: tokio::runtime::Runtime,
    claims: RedisClaims,
    producer: Option<Transactions>,
    reader: TopicReader,
    spans: Vec<Span>,
    selection: Selection,
    scan: Scan,
    targets: Targets,
}

/// In this order: whoever had our name before is fenced before the log's end is looked at, so that nothing of theirs
/// can follow behind it.
fn prepare(arguments: &RedriveArguments, settings: &RedriveSettings) -> Result<Ready, Trouble> {
    let selection = Selection::new(arguments, settings, Clock::of_host().now().wall)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Trouble::before)?;
    let claims = runtime.block_on(connect(settings))?;
    let (brokers, topic) = (settings.kafka.brokers.as_str(), settings.dead_letter_topic.as_str());
    let consumer = owned(settings.kafka.consumer_properties());
    runtime.block_on(targets::letters(brokers, &consumer, topic))?;
    let producer = if arguments.dry_run {
        None
    } else {
        let id = format!("once-redrive-{}", settings.namespace);
        let started = Transactions::start(brokers, &owned(settings.kafka.producer_properties()), &id);
        Some(started.map_err(|error| Trouble::of(&error, &id, topic).unchanged())?)
    };
    let reader = TopicReader::new(brokers, &consumer, topic);
    if producer.is_some() {
        await_ends(&reader, topic)?;
    }
    let spans = reader.spans(&Window::default()).map_err(Trouble::before)?;
    let scan = Scan::read(&reader, &spans, &selection)?;
    let asked = scan.topics.iter().cloned().chain(arguments.topic.clone()).collect::<BTreeSet<_>>();
    let targets = runtime.block_on(Targets::ask(brokers, &consumer, asked, topic))?;
    Ok(Ready { runtime, claims, producer, reader, spans, selection, scan, targets })
}

impl Ready {
    /// Sends; what has been sent when something comes between is reported too.
    fn send(self, arguments: &RedriveArguments, settings: &RedriveSettings, logs: bool) -> (Report, Option<Trouble>) {
        let report = Report::new(&settings.dead_letter_topic, &settings.namespace, arguments.dry_run);
        let offsets = self.spans.iter().map(Span::offsets).sum();
        let mut post = Post {
            topic: &settings.dead_letter_topic,
            namespace: &settings.namespace,
            max: arguments.max,
            runtime: &self.runtime,
            claims: &self.claims,
            producer: self.producer.as_ref(),
            selection: &self.selection,
            targets: &self.targets,
            markers: self.scan.markers,
            doubts: self.scan.doubts,
            batch: Vec::new(),
            batch_bytes: 0,
            report,
            progress: Progress::new(offsets, logs),
        };
        let trouble = post.read(&self.reader, &self.spans).err();
        (post.report.finished(trouble.is_none()), trouble)
    }
}

/// Redis, once it has answered.
async fn connect(settings: &RedriveSettings) -> Result<RedisClaims, Trouble> {
    let config = sidecar::redis_config(&settings.redis, &settings.namespace).ok_or_else(|| {
        Trouble::before("ONCE_REDIS_URL is memory:, which is forgotten with its process; name a Redis")
    })?;
    let check =
        |error: StoreError| Trouble::before(format!("{error}; check ONCE_REDIS_URL ({})", settings.redis.store));
    let claims = RedisClaims::start(&config).map_err(check)?;
    patiently(async || claims.facts().await).await.map_err(check)?;
    Ok(claims)
}

/// A marker behind an open transaction would not be seen, and its letter sent twice.
fn await_ends(reader: &TopicReader, topic: &str) -> Result<(), Trouble> {
    for _ in 0..LOOKS {
        let hidden = reader.hidden_ends().map_err(Trouble::before)?;
        let Some(partition) = hidden.first() else { return Ok(()) };
        tracing::info!(topic, partition, "somebody's transaction is open on the dead-letter topic");
        std::thread::sleep(LOOK);
    }
    let what = format!("somebody's transaction is open on the dead-letter topic {topic}, and hides its end");
    Err(Trouble::before(format!("{what}; run it again when that has ended")))
}

fn owned<'a>(properties: impl Iterator<Item = (&'static str, &'a str)>) -> BTreeMap<String, String> {
    properties.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
