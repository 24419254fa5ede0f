//! What each command needs: nothing more is asked for, nothing more is judged.

use std::ffi::OsString;

use super::delivery;
use super::files::Files;
use super::kafka::{self, Connection, Topics};
use super::operating::{self, Log};
use super::problems::Problems;
use super::properties;
use super::reader::Reader;
use super::redis::{self, Reach};
use crate::domain::identity::Source;
use crate::domain::numbering::SequenceSource;

/// A command of the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// The sidecar, and `check`, which verifies what it would use.
    Run,
    /// Reads a whole topic without a group.
    Audit,
    /// What Redis knows of a message.
    Inspect,
    /// Sends dead letters back.
    Redrive,
    /// Needs nothing.
    Demo,
}

impl Command {
    /// Whether the command reads that variable; the others are checked for spelling only.
    pub(super) fn needs(self, name: &str) -> bool {
        let log = matches!(name, "ONCE_LOG" | "ONCE_LOG_FORMAT");
        let kafka = name == "ONCE_KAFKA_BROKERS" || name.starts_with(properties::PREFIX);
        let redis = name.starts_with("ONCE_REDIS_") || matches!(name, "ONCE_KAFKA_GROUP" | "ONCE_DEDUP_NAMESPACE");
        match self {
            Self::Run => true,
            Self::Audit => log || kafka || matches!(name, "ONCE_MESSAGE_ID" | "ONCE_SEQUENCE"),
            Self::Inspect => log || redis || name == "ONCE_KAFKA_TOPICS",
            Self::Redrive => log || kafka || redis || matches!(name, "ONCE_KAFKA_TOPICS" | "ONCE_DEAD_LETTER_TOPIC"),
            Self::Demo => log,
        }
    }
}

/// What `audit` needs.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Brokers and client properties.
    pub kafka: Connection,
    /// Where a message's ID stands.
    pub message_id: Vec<Source>,
    /// Where producer and number stand; empty: sequences are not looked at.
    pub sequence: Vec<SequenceSource>,
    /// The log.
    pub log: Log,
}

/// What `inspect` needs.
#[derive(Clone, Debug)]
pub struct InspectSettings {
    /// How the store is reached.
    pub redis: Reach,
    /// Scope of the IDs.
    pub namespace: String,
    /// Where to look when no topic is named on the command line.
    pub topics: Option<Topics>,
    /// The log.
    pub log: Log,
}

/// What `redrive` needs.
#[derive(Clone, Debug)]
pub struct RedriveSettings {
    /// Brokers and client properties.
    pub kafka: Connection,
    /// How the store is reached.
    pub redis: Reach,
    /// Scope of the IDs: whose dead letters they are.
    pub namespace: String,
    /// Whose letters are sent back when no topic is named on the command line.
    pub topics: Option<Topics>,
    /// Where the dead letters are.
    pub dead_letter_topic: String,
    /// The log.
    pub log: Log,
}

/// What `demo` needs.
#[derive(Clone, Debug)]
pub struct DemoSettings {
    /// The log.
    pub log: Log,
}

impl AuditSettings {
    /// Reads what `audit` needs.
    ///
    /// # Errors
    /// Every problem at once; exit code [`Problems::EXIT_CODE`].
    pub fn load(vars: impl Iterator<Item = (OsString, OsString)>, files: Files<'_>) -> Result<Self, Problems> {
        let mut read = Reader::gather(Command::Audit, vars, files);
        let whole = Self::section(&mut read);
        read.finish(whole)
    }

    fn section(read: &mut Reader) -> Option<Self> {
        let kafka = kafka::connection(read);
        super::relations::client(read);
        let (message_id, sequence) = (delivery::message_id(read), delivery::sequence(read));
        let log = operating::log(read);
        Some(Self { kafka: kafka?, message_id: message_id?, sequence: sequence?, log: log? })
    }
}

impl InspectSettings {
    /// Reads what `inspect` needs.
    ///
    /// # Errors
    /// Every problem at once; exit code [`Problems::EXIT_CODE`].
    pub fn load(vars: impl Iterator<Item = (OsString, OsString)>, files: Files<'_>) -> Result<Self, Problems> {
        let mut read = Reader::gather(Command::Inspect, vars, files);
        let whole = Self::section(&mut read);
        read.finish(whole)
    }

    fn section(read: &mut Reader) -> Option<Self> {
        let topics = read.optional("ONCE_KAFKA_TOPICS", kafka::topics);
        let group = read.required("ONCE_KAFKA_GROUP", kafka::name);
        let redis = redis::reach(read);
        super::relations::client_identity(read);
        let namespace = redis::namespace(read);
        let log = operating::log(read);
        group?;
        Some(Self { redis: redis?, namespace: namespace?, topics, log: log? })
    }
}

impl RedriveSettings {
    /// Reads what `redrive` needs.
    ///
    /// # Errors
    /// Every problem at once; exit code [`Problems::EXIT_CODE`].
    pub fn load(vars: impl Iterator<Item = (OsString, OsString)>, files: Files<'_>) -> Result<Self, Problems> {
        let mut read = Reader::gather(Command::Redrive, vars, files);
        let whole = Self::section(&mut read);
        read.finish(whole)
    }

    fn section(read: &mut Reader) -> Option<Self> {
        let kafka = kafka::connection(read);
        super::relations::client(read);
        let topics = read.optional("ONCE_KAFKA_TOPICS", kafka::topics);
        let group = read.required("ONCE_KAFKA_GROUP", kafka::name);
        let redis = redis::reach(read);
        super::relations::client_identity(read);
        let namespace = redis::namespace(read);
        let dead_letter_topic = read.required("ONCE_DEAD_LETTER_TOPIC", kafka::topic);
        let log = operating::log(read);
        group?;
        Some(Self {
            kafka: kafka?,
            redis: redis?,
            namespace: namespace?,
            topics,
            dead_letter_topic: dead_letter_topic?,
            log: log?,
        })
    }
}

impl DemoSettings {
    /// Reads what `demo` needs: the log alone.
    ///
    /// # Errors
    /// Every problem at once; exit code [`Problems::EXIT_CODE`].
    pub fn load(vars: impl Iterator<Item = (OsString, OsString)>, files: Files<'_>) -> Result<Self, Problems> {
        let mut read = Reader::gather(Command::Demo, vars, files);
        let log = operating::log(&mut read);
        read.finish(log.map(|log| Self { log }))
    }
}
