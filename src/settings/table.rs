//! Every variable with its default and meaning: the one home that README, `--help` and the reader share.

use std::fmt::Write as _;

/// What stands for a variable that is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Nothing: it must be set.
    Required,
    /// This text, read like a set value.
    Text(&'static str),
    /// Nothing; the words say what happens then (may be empty).
    Unset(&'static str),
}

/// One variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name in the environment.
    pub name: &'static str,
    /// What stands for it when it is not set.
    pub preset: Preset,
    /// Its value is never shown, and it has a `_FILE` twin that names a file holding the value.
    pub secret: bool,
    /// Its meaning in one line.
    pub help: &'static str,
}

/// The row that stands for every property of the Kafka client.
pub const PROPERTY_ROW: &str = "ONCE_KAFKA_PROPERTY_<NAME>";

const fn required(name: &'static str, help: &'static str) -> Variable {
    Variable { name, preset: Preset::Required, secret: false, help }
}

const fn preset(name: &'static str, text: &'static str, help: &'static str) -> Variable {
    Variable { name, preset: Preset::Text(text), secret: false, help }
}

const fn unset(name: &'static str, shown: &'static str, help: &'static str) -> Variable {
    Variable { name, preset: Preset::Unset(shown), secret: false, help }
}

const fn secret(name: &'static str, preset: Preset, help: &'static str) -> Variable {
    Variable { name, preset, secret: true, help }
}

/// Every variable, in the order in which problems are listed.
#[rustfmt::skip] // one row a variable: it is read as a table
pub static TABLE: &[Variable] = &[
    required("ONCE_KAFKA_BROKERS", "brokers to start from: `host:port`, comma between them"),
    required("ONCE_KAFKA_TOPICS", "topics to read: a list, or one `^regex`"),
    required("ONCE_KAFKA_GROUP", "consumer group"),
    unset(PROPERTY_ROW, "", "any librdkafka property (upper case, dots as underscores): security, TLS, SASL, fetch sizes, `session.timeout.ms`, `client.id`, `group.instance.id` ...; passwords and PEMs have `_FILE` twins"),
    preset("ONCE_START", "earliest", "where a new group starts: `earliest`, `latest`; partitions added later are read from their beginning"),
    preset("ONCE_ON_LOSS", "continue", "after a loss upstream: `continue`, or `stop` until `POST /resume`"),
    preset("ONCE_ORDERING", "key", "`key`, `partition`, `none`"),
    preset("ONCE_MESSAGE_ID", "header:message-id,cloudevents,position", "where a message's ID stands, first match wins: `header:NAME`, `cloudevents`, `key`, `json:/pointer`, `position`"),
    preset("ONCE_ID_REUSE", "dead-letter", "same ID with another payload: `dead-letter` or `duplicate`"),
    preset("ONCE_SEQUENCE", "header:producer-id/sequence,cloudevents", "where producer and number stand: `header:PRODUCER/NUMBER`, `cloudevents`, `json:/producer|/number`; or `off`"),
    preset("ONCE_GAP_GRACE", "30s", "how long a missing number is only suspected"),
    secret("ONCE_REDIS_URL", Preset::Required, "`redis://`, `rediss://`, `redis+sentinel://` (`rediss+sentinel://`), `redis+cluster://` (`rediss+cluster://`), `memory:`"),
    preset("ONCE_REDIS_TIMEOUT", "500ms", "per command"),
    secret("ONCE_REDIS_CA", Preset::Unset("system's roots"), "PEM of the authorities that Redis' certificate is checked against"),
    secret("ONCE_REDIS_CERT", Preset::Unset(""), "PEM of the client certificate for Redis"),
    secret("ONCE_REDIS_KEY", Preset::Unset(""), "PEM of the client certificate's key"),
    preset("ONCE_REDIS_ALLOW_EVICTION", "false", "start although Redis may evict marks"),
    unset("ONCE_DEDUP_NAMESPACE", "the group", "scope of the IDs; another one reprocesses from scratch"),
    preset("ONCE_DEDUP_WINDOW", "24h", "life of a mark"),
    preset("ONCE_LEASE", "30s", "life of a session without renewal: at least 3s and above `ONCE_APP_TIMEOUT`"),
    preset("ONCE_ON_HISTORY_LOSS", "continue", "when Redis forgot everything: `continue`, or `pause` until `POST /resume` (always so with `ONCE_IN_DOUBT=dead-letter`)"),
    required("ONCE_APP_URL", "where records are sent: `http://`, `https://` or `unix:/path/app.sock[:/http/path]`; may hold `{topic}`"),
    preset("ONCE_APP_TIMEOUT", "20s", "per attempt, in all"),
    unset("ONCE_APP_READY_URL", "a TCP connect", "answers 2xx when the app is ready"),
    unset("ONCE_APP_LOOKUP_URL", "", "asked whether a message was applied: holds `{id}`, may hold `{topic}`; 200 or 204 = yes, 404 = no"),
    preset("ONCE_APP_ALLOW_REMOTE", "false", "allow an app beyond loopback and unix sockets"),
    secret("ONCE_APP_CA", Preset::Unset("system's roots"), "PEM of the authorities that the app's certificate is checked against"),
    preset("ONCE_MAX_IN_FLIGHT", "64", "upper bound of concurrent requests; adapts below it"),
    preset("ONCE_MAX_OPEN_RECORDS", "1000", "per partition, between low water and the last one taken in"),
    preset("ONCE_MAX_HELD_BYTES", "64MiB", "bytes of records held in memory, for all partitions"),
    preset("ONCE_MAX_MESSAGE_BYTES", "10MiB", "above: dead letter `too_large`"),
    preset("ONCE_RETRY_ATTEMPTS", "10", "retries before a record is given up; `0` = for ever"),
    preset("ONCE_RETRY_BACKOFF", "100ms", "first wait before a retry"),
    preset("ONCE_RETRY_BACKOFF_MAX", "30s", "longest wait before a retry; also bounds `Retry-After`"),
    preset("ONCE_IN_DOUBT", "repeat", "a record that may have had its effect: `repeat`, `lookup`, `dead-letter`"),
    unset("ONCE_DEAD_LETTER_TOPIC", "", "where refused and exhausted records go; unset: they block their lane"),
    preset("ONCE_DEAD_LETTER_BUDGET", "100", "dead letters before intake pauses; each success earns one back; `unlimited`"),
    preset("ONCE_COMMIT_INTERVAL", "1s", "how often low water is committed"),
    preset("ONCE_DRAIN_TIMEOUT", "25s", "longest drain at a shutdown; at least `ONCE_APP_TIMEOUT`"),
    preset("ONCE_ADMIN_ADDR", "0.0.0.0:9600", "where `/live`, `/ready`, `/metrics`, `/status` are served"),
    preset("ONCE_LOG", "info", "log filter: a level, or directives like `info,kafka_once=debug`"),
    unset("ONCE_LOG_FORMAT", "`json`", "`json` or `text`; unset: `text` when a terminal looks"),
];

/// The variable of that name.
pub fn find(name: &str) -> Option<&'static Variable> {
    TABLE.iter().find(|variable| variable.name == name)
}

/// Where the variable stands in the table; unknown names come last.
pub(super) fn rank(name: &str) -> usize {
    let own = TABLE.iter().position(|variable| variable.name == name);
    own.unwrap_or(TABLE.len())
}

/// The README's table: `| variable | default | meaning |`, one row a variable.
pub fn markdown() -> String {
    let mut out = String::from("| variable | default | meaning |\n|---|---|---|\n");
    for variable in TABLE {
        let default = match variable.preset {
            Preset::Required => "required".to_owned(),
            Preset::Text(text) => format!("`{text}`"),
            Preset::Unset(shown) => shown.to_owned(),
        };
        let help = meaning(variable).replace('|', "\\|");
        let row = format!("| `{}` | {default} | {help} |", variable.name);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", row.replace("|  |", "| |"));
    }
    out
}

/// The variables as plain text for `--help`, one a line.
pub fn help() -> String {
    let mut out = String::new();
    for variable in TABLE {
        let default = match variable.preset {
            Preset::Required => " [required]".to_owned(),
            Preset::Text(text) => format!(" [default: {text}]"),
            Preset::Unset("") => String::new(),
            Preset::Unset(shown) => format!(" [default: {}]", shown.replace('`', "")),
        };
        let help = meaning(variable).replace('`', "");
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {:<27} {help}{default}", variable.name);
    }
    out
}

fn meaning(variable: &Variable) -> String {
    if variable.secret { format!("{}; or `{}_FILE`", variable.help, variable.name) } else { variable.help.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_rendered_once_with_three_cells() {
        let text = markdown();
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(rows.len(), TABLE.len());
        for (row, variable) in rows.iter().zip(TABLE) {
            assert!(row.starts_with(&format!("| `{}` | ", variable.name)), "{row}");
            assert_eq!(row.replace("\\|", "").matches('|').count(), 4, "{row}");
        }
        assert_eq!(help().lines().count(), TABLE.len());
    }

    #[test]
    fn no_name_stands_twice() {
        for (nth, variable) in TABLE.iter().enumerate() {
            assert_eq!(rank(variable.name), nth);
        }
    }
}
