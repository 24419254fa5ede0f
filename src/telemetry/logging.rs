//! Logs: to standard error, one event a line, in JSON for machines or text for people.

use std::io::IsTerminal;

use anyhow::Context;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, the event's fields at its top.
    Json,
    /// For a person at a terminal; colours only there.
    Text,
}

/// Starts logging for the whole process. `filter` as in `ONCE_LOG`: a level, or `target=level` pairs with commas.
///
/// Fails for a filter that cannot be read, and when logging has started before.
pub fn init(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let colours = std::io::stderr().is_terminal();
    subscriber(parse(filter)?, format, colours, std::io::stderr)
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging could not be started: {error}"))
}

fn subscriber<W>(filter: EnvFilter, format: LogFormat, colours: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_ansi(false).finish()),
        LogFormat::Text => Box::new(lines.with_ansi(colours).finish()),
    }
}

/// The client library closes its queue once more when it is dropped, and calls it an error that we have closed it.
const NO_ERROR: &str = "rdkafka::consumer::base_consumer=off";

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    let told = EnvFilter::builder().parse(filter).with_context(|| format!("log filter {filter:?} cannot be read"))?;
    Ok(told.add_directive(NO_ERROR.parse()?))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("lock").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged of one event with a field, and of one below the filter.
    fn logged(format: LogFormat) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(parse("info").expect("filter"), format, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(topic = "a\nb", "records lost");
            tracing::debug!("not this one");
            tracing::error!(target: "rdkafka::consumer::base_consumer", "nor this one: every clean shutdown has it");
        });
        let bytes = lines.0.lock().expect("lock").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn an_event_is_one_json_object_with_its_fields_at_the_top() {
        let text = logged(LogFormat::Json);
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).expect("json");
        assert_eq!(
            (&line["level"], &line["message"], &line["topic"]),
            (&"WARN".into(), &"records lost".into(), &"a\nb".into())
        );
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn an_event_is_one_line_of_text_without_colours_where_nobody_looks() {
        let text = logged(LogFormat::Text);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("WARN") && text.contains("records lost") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_filter_is_a_level_or_pairs_of_target_and_level() {
        for good in ["info", "warn,kafka_once=debug", "off"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["kafka_once=loud", "a=b=c"] {
            let error = parse(bad).expect_err(bad).to_string();
            assert!(error.contains(bad), "{error}");
        }
    }
}
