//! Delivery: order, identity, sequences, bounds, retries, doubt and dead letters.

use crate::domain::identity::Source;
use crate::domain::lanes::Ordering;
use crate::domain::life::{IdReuse, InDoubt};
use crate::domain::numbering::SequenceSource;

use std::time::Duration;

use super::problems::{Fault, quoted};
use super::reader::Reader;
use super::{kafka, units};

/// Most requests in flight that can be asked for.
const IN_FLIGHT_MAX: u32 = 10_000;
/// Most open records per partition that can be asked for.
const OPEN_RECORDS_MAX: u32 = 1_000_000;

/// All settings of delivery.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Which records go one after another.
    pub ordering: Ordering,
    /// Where a message's ID stands; first match wins; never empty, `Position` only last.
    pub message_id: Vec<Source>,
    /// What becomes of an ID seen with another payload.
    pub id_reuse: IdReuse,
    /// Where producer and number stand; empty: sequences are not watched.
    pub sequence: Vec<SequenceSource>,
    /// How long a missing number is only suspected.
    pub gap_grace: Duration,
    /// Most requests in flight.
    pub max_in_flight: u32,
    /// Most open records per partition.
    pub max_open_records: u32,
    /// Most bytes of records held, for all partitions.
    pub max_held_bytes: u64,
    /// Largest record that is forwarded, in bytes.
    pub max_message_bytes: u64,
    /// Retries before a record is given up; `None`: for ever.
    pub retry_attempts: Option<u32>,
    /// First wait before a retry.
    pub retry_backoff: Duration,
    /// Longest wait before a retry, `Retry-After` included.
    pub retry_backoff_max: Duration,
    /// What becomes of a record that may have had its effect.
    pub in_doubt: InDoubt,
    /// Where given up records go; `None`: they block their lane.
    pub dead_letter_topic: Option<String>,
    /// Dead letters before intake pauses; `None`: unlimited.
    pub dead_letter_budget: Option<u32>,
}

pub(super) fn section(read: &mut Reader) -> Option<Delivery> {
    let ordering = read.required("ONCE_ORDERING", ordering);
    let message_id = message_id(read);
    let id_reuse = read.required("ONCE_ID_REUSE", id_reuse);
    let sequence = sequence(read);
    let gap_grace = read.required("ONCE_GAP_GRACE", units::duration);
    let max_in_flight = read.required("ONCE_MAX_IN_FLIGHT", |text| units::count(text, 1, IN_FLIGHT_MAX));
    let max_open_records = read.required("ONCE_MAX_OPEN_RECORDS", |text| units::count(text, 1, OPEN_RECORDS_MAX));
    let max_held_bytes = read.required("ONCE_MAX_HELD_BYTES", units::size);
    let max_message_bytes = read.required("ONCE_MAX_MESSAGE_BYTES", units::size);
    let retry_attempts = read.required("ONCE_RETRY_ATTEMPTS", retry_attempts);
    let retry_backoff = read.required("ONCE_RETRY_BACKOFF", units::positive_duration);
    let retry_backoff_max = read.required("ONCE_RETRY_BACKOFF_MAX", units::positive_duration);
    let in_doubt = read.required("ONCE_IN_DOUBT", in_doubt);
    let dead_letter_topic = read.optional("ONCE_DEAD_LETTER_TOPIC", kafka::topic);
    let dead_letter_budget = read.required("ONCE_DEAD_LETTER_BUDGET", budget);
    Some(Delivery {
        ordering: ordering?,
        message_id: message_id?,
        id_reuse: id_reuse?,
        sequence: sequence?,
        gap_grace: gap_grace?,
        max_in_flight: max_in_flight?,
        max_open_records: max_open_records?,
        max_held_bytes: max_held_bytes?,
        max_message_bytes: max_message_bytes?,
        retry_attempts: retry_attempts?,
        retry_backoff: retry_backoff?,
        retry_backoff_max: retry_backoff_max?,
        in_doubt: in_doubt?,
        dead_letter_topic,
        dead_letter_budget: dead_letter_budget?,
    })
}

/// Where a message's ID stands.
pub(super) fn message_id(read: &mut Reader) -> Option<Vec<Source>> {
    read.required("ONCE_MESSAGE_ID", id_sources)
}

/// Where producer and number stand.
pub(super) fn sequence(read: &mut Reader) -> Option<Vec<SequenceSource>> {
    read.required("ONCE_SEQUENCE", sequence_sources)
}

fn ordering(text: &str) -> Result<Ordering, Fault> {
    let words = [("key", Ordering::Key), ("partition", Ordering::Partition), ("none", Ordering::None)];
    units::word(text, &words)
}

fn id_reuse(text: &str) -> Result<IdReuse, Fault> {
    units::word(text, &[("dead-letter", IdReuse::DeadLetter), ("duplicate", IdReuse::Duplicate)])
}

pub(super) fn in_doubt(text: &str) -> Result<InDoubt, Fault> {
    let words = [("repeat", InDoubt::Repeat), ("lookup", InDoubt::Lookup), ("dead-letter", InDoubt::DeadLetter)];
    units::word(text, &words)
}

fn retry_attempts(text: &str) -> Result<Option<u32>, Fault> {
    let attempts = units::count(text, 0, u32::MAX)?;
    Ok((attempts > 0).then_some(attempts))
}

fn budget(text: &str) -> Result<Option<u32>, Fault> {
    if text == "unlimited" {
        return Ok(None);
    }
    let hinted = |fault: Fault| Fault::new(fault.what, format!("{}, or unlimited", fault.remedy));
    // Ten times the budget can be earned, so that must be countable too.
    units::count(text, 1, u32::MAX / 10).map(Some).map_err(hinted)
}

fn id_sources(text: &str) -> Result<Vec<Source>, Fault> {
    let entries = units::list(text)?;
    let sources = entries.iter().map(|entry| id_source(entry)).collect::<Result<Vec<_>, _>>()?;
    units::unique(&sources, &entries)?;
    let (_, before_last) = sources.split_last().unwrap_or((&Source::Position, &[]));
    if before_last.contains(&Source::Position) {
        let what = "has position before its end, where nothing behind it is ever reached";
        return Err(Fault::new(what, "put position last"));
    }
    Ok(sources)
}

fn id_source(entry: &str) -> Result<Source, Fault> {
    match entry.split_once(':') {
        None if entry == "cloudevents" => Ok(Source::CloudEvents),
        None if entry == "key" => Ok(Source::Key),
        None if entry == "position" => Ok(Source::Position),
        Some(("header", name)) => header(name).map(Source::Header),
        Some(("json", at)) => pointer(at).map(Source::JsonPointer),
        _ => {
            let what = format!("holds the unknown source {}", quoted(entry, false));
            let remedy = "write header:NAME, cloudevents, key, json:/pointer or position";
            Err(Fault::new(what, remedy))
        }
    }
}

fn sequence_sources(text: &str) -> Result<Vec<SequenceSource>, Fault> {
    if text == "off" {
        return Ok(Vec::new());
    }
    let entries = units::list(text)?;
    let sources = entries.iter().map(|entry| sequence_source(entry)).collect::<Result<Vec<_>, _>>()?;
    units::unique(&sources, &entries)?;
    Ok(sources)
}

fn sequence_source(entry: &str) -> Result<SequenceSource, Fault> {
    match entry.split_once(':') {
        None if entry == "cloudevents" => Ok(SequenceSource::CloudEvents),
        None if entry == "off" => Err(Fault::new("mixes off with sources", "write off alone")),
        Some(("header", names)) => match names.split_once('/') {
            Some((producer, number)) if !number.contains('/') => {
                Ok(SequenceSource::Header { producer: header(producer)?, number: header(number)? })
            }
            _ => Err(Fault::new("does not name two headers", "write header:PRODUCER/NUMBER")),
        },
        Some(("json", pointers)) => match pointers.split_once('|') {
            Some((producer, number)) if !number.contains('|') => {
                Ok(SequenceSource::Json { producer: pointer(producer)?, number: pointer(number)? })
            }
            _ => Err(Fault::new("does not hold two pointers", "write json:/producer|/number")),
        },
        _ => {
            let what = format!("holds the unknown source {}", quoted(entry, false));
            let remedy = "write header:PRODUCER/NUMBER, cloudevents, json:/producer|/number, or off";
            Err(Fault::new(what, remedy))
        }
    }
}

fn header(name: &str) -> Result<String, Fault> {
    if name.trim().is_empty() {
        return Err(Fault::new("has an empty header name", "name the header"));
    }
    Ok(name.to_owned())
}

/// A pointer of RFC 6901; a comma would end the list's entry, so none can stand in it.
fn pointer(text: &str) -> Result<String, Fault> {
    let remedy = "write a JSON pointer such as /order/id (~ as ~0, / as ~1)";
    if !text.is_empty() && !text.starts_with('/') {
        return Err(Fault::new("has a JSON pointer that does not begin with /", remedy));
    }
    if text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
        return Err(Fault::new("has a JSON pointer with a broken ~", remedy));
    }
    Ok(text.to_owned())
}
