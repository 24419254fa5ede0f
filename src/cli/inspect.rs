//! `kafka-once inspect`: what Redis knows of a message.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::settings::{self, InspectSettings, Problems};
use crate::sidecar::Inspecting;
use crate::telemetry::inspection::{InspectError, Inspection};

/// Exit code when nothing is known.
const UNKNOWN: u8 = 1;

/// How long Redis is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two tries within [`PATIENCE`].
const PAUSE: Duration = Duration::from_millis(100);

const SETTINGS: &str = "Settings, from environment variables (kafka-once --help): ONCE_REDIS_URL and the other ONCE_REDIS_*, \
ONCE_KAFKA_GROUP, ONCE_DEDUP_NAMESPACE, ONCE_KAFKA_TOPICS.\n\
Exit codes: 0 something is known, 1 nothing is known, 2 usage, settings, or a Redis that does not answer.";

/// What may be said behind `inspect`.
#[derive(Debug, Args)]
#[command(after_help = SETTINGS)]
pub(super) struct InspectArguments {
    /// The message ID as in Idempotency-Key: percent-encoded; ce:SOURCE#ID; position:TOPIC/PARTITION/OFFSET/TIMESTAMP
    id: String,
    /// The topic; without it, each of `ONCE_KAFKA_TOPICS`
    #[arg(long, value_name = "TOPIC", value_parser = settings::topic)]
    topic: Option<String>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &InspectArguments) -> ExitCode {
    let settings = match InspectSettings::load(super::environment(), &super::read_file) {
        Ok(settings) => settings,
        Err(problems) => return super::refuse(&problems),
    };
    super::log_if_asked(&settings.log);
    match inspect(arguments, &settings).and_then(|found| tell(&found, arguments.json).map(|()| found.known)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(UNKNOWN),
        Err(error) => {
            eprintln!("kafka-once inspect: {error}");
            ExitCode::from(Problems::EXIT_CODE)
        }
    }
}

/// What is known, or one line: what, where, what to do.
fn inspect(arguments: &InspectArguments, settings: &InspectSettings) -> Result<Inspection, String> {
    let asking = Inspecting::redis(&settings.redis, &settings.namespace, settings.topics.clone())
        .ok_or("ONCE_REDIS_URL is memory:, which only its own process can look into; ask that one (GET /inspect)")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let ask = async {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            match asking.ask(&arguments.id, arguments.topic.as_deref()).await {
                Err(InspectError::Store(_)) if tokio::time::Instant::now() < end => tokio::time::sleep(PAUSE).await,
                answer => return answer,
            }
        }
    };
    runtime.block_on(ask).map_err(|error| match error {
        InspectError::Question(why) => why,
        InspectError::Store(why) => format!("{why}; check ONCE_REDIS_URL ({})", settings.redis.store),
    })
}

fn tell(found: &Inspection, json: bool) -> Result<(), String> {
    let text = if json {
        serde_json::to_string_pretty(found).map_err(|error| error.to_string())? + "\n"
    } else {
        found.page()
    };
    super::write(&text).map_err(|error| format!("the answer cannot be written: {error}"))
}
