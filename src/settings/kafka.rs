//! Kafka: brokers, topics, group, where to start, and the client's own properties.

use std::fmt;

use crate::domain::past::OnLoss;

use super::pattern::Pattern;
use super::problems::{Fault, quoted};
use super::properties::{Client, Property};
use super::reader::Reader;
use super::secret::SecretString;
use super::{units, url};

/// The port of a broker that names none.
const BROKER_PORT: u16 = 9092;
/// The longest topic name that Kafka takes.
const TOPIC_MAX: usize = 249;
/// Longest group and namespace, in bytes.
const NAME_MAX: usize = 255;

/// What every command that talks to Kafka needs.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `bootstrap.servers`: host and port, comma between them.
    pub brokers: String,
    properties: Properties,
}

impl Connection {
    /// The properties that a consumer takes, as name and value; values may be secrets.
    pub fn consumer_properties(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.properties.of(Client::Consumer)
    }

    /// The properties that a producer takes, as name and value; values may be secrets.
    pub fn producer_properties(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.properties.of(Client::Producer)
    }
}

/// All of Kafka's settings.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// Brokers and client properties.
    pub connection: Connection,
    /// What to subscribe to.
    pub topics: Topics,
    /// The consumer group.
    pub group: String,
    /// Where a group without a committed offset starts.
    pub start: Start,
    /// What follows a loss upstream.
    pub on_loss: OnLoss,
}

impl Kafka {
    /// See [`Connection::consumer_properties`].
    pub fn consumer_properties(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.connection.consumer_properties()
    }

    /// See [`Connection::producer_properties`].
    pub fn producer_properties(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.connection.producer_properties()
    }
}

/// The topics to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    /// These, each once, in the order given.
    List(Vec<String>),
    /// Those that a POSIX extended expression matches; begins with `^`, as the client wants it.
    Pattern(String),
}

impl Topics {
    /// Whether a topic of that name would be read.
    pub fn contains(&self, topic: &str) -> bool {
        match self {
            Self::List(names) => names.iter().any(|name| name == topic),
            // It compiled when it was read.
            Self::Pattern(text) => Pattern::compile(text).is_ok_and(|p| p.matches(topic)),
        }
    }
}

/// Where a new group starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the log's start.
    Earliest,
    /// At the log's end.
    Latest,
}

/// Properties of the client with their values; prints names, and values that are no secrets.
#[derive(Clone)]
struct Properties(Vec<(&'static Property, SecretString)>);

impl Properties {
    fn of(&self, client: Client) -> impl Iterator<Item = (&'static str, &str)> {
        let fits = move |own: Client| own == client || own == Client::Both;
        let own = self.0.iter().filter(move |(property, _)| fits(property.client));
        own.map(|(property, value)| (property.name, value.expose().as_str()))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(property, value)| {
            let value = quoted(value.expose(), property.secret());
            format!("{} = {value}", property.name)
        });
        f.debug_list().entries(shown).finish()
    }
}

pub(super) fn connection(read: &mut Reader) -> Option<Connection> {
    let brokers = read.required("ONCE_KAFKA_BROKERS", brokers);
    let properties = properties(read);
    Some(Connection { brokers: brokers?, properties })
}

pub(super) fn section(read: &mut Reader) -> Option<Kafka> {
    let connection = connection(read);
    let topics = read.required("ONCE_KAFKA_TOPICS", topics);
    let group = read.required("ONCE_KAFKA_GROUP", name);
    let start = read
        .required("ONCE_START", |text| units::word(text, &[("earliest", Start::Earliest), ("latest", Start::Latest)]));
    let on_loss = read
        .required("ONCE_ON_LOSS", |text| units::word(text, &[("continue", OnLoss::Continue), ("stop", OnLoss::Stop)]));
    Some(Kafka { connection: connection?, topics: topics?, group: group?, start: start?, on_loss: on_loss? })
}

/// Each broker `host[:port]`, with or without the client's own `ssl://` and the like in front.
fn brokers(text: &str) -> Result<String, Fault> {
    let entries = units::list(text)?;
    units::unique(&entries, &entries)?;
    for entry in &entries {
        let bare = match entry.split_once("://") {
            Some((protocol, bare)) => {
                let known = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
                if !known.iter().any(|word| word.eq_ignore_ascii_case(protocol)) {
                    return Err(Fault::new("has an odd scheme", "write host:port"));
                }
                bare
            }
            None => entry,
        };
        url::node(bare, BROKER_PORT)?;
    }
    Ok(entries.join(","))
}

/// A list of topic names, or one pattern.
pub(super) fn topics(text: &str) -> Result<Topics, Fault> {
    if text.starts_with('^') {
        return pattern(text);
    }
    let entries = units::list(text)?;
    units::unique(&entries, &entries)?;
    for entry in &entries {
        if entry.starts_with('^') {
            let remedy = "give names only, or one ^regex alone";
            return Err(Fault::new("mixes names and patterns", remedy));
        }
        topic(entry)?;
    }
    Ok(Topics::List(entries.into_iter().map(str::to_owned).collect()))
}

fn pattern(text: &str) -> Result<Topics, Fault> {
    let compiled = Pattern::compile(text)?;
    let internal = ["__consumer_offsets", "__transaction_state"];
    if internal.iter().any(|topic| compiled.matches(topic)) {
        let what = "would also consume internal and dead-letter topics";
        return Err(Fault::new(what, "name the topics, or give a narrower pattern"));
    }
    Ok(Topics::Pattern(text.to_owned()))
}

/// A legal name of one topic.
pub(super) fn topic(text: &str) -> Result<String, Fault> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.len() > TOPIC_MAX || text == "." || text == ".." || !text.chars().all(legal) {
        let what = if text.len() > TOPIC_MAX {
            "holds a topic name above 249 characters".to_owned()
        } else {
            format!("holds the illegal topic name {}", quoted(text, false))
        };
        let remedy = "topic names hold A-Z a-z 0-9 . _ - only";
        return Err(Fault::new(what, remedy));
    }
    Ok(text.to_owned())
}

/// A name of a group or a namespace: 1 to 255 bytes, without control characters.
pub(super) fn name(text: &str) -> Result<String, Fault> {
    if text.len() > NAME_MAX {
        return Err(Fault::new("is too long", "write at most 255 bytes"));
    }
    if text.chars().any(char::is_control) || text.trim() != text {
        let what = "holds a control character, or white space at an end";
        return Err(Fault::new(what, "remove it"));
    }
    Ok(text.to_owned())
}

/// Every property that is set, once, checked, and none that is ours to set.
fn properties(read: &mut Reader) -> Properties {
    let mut taken: Vec<(&'static Property, SecretString)> = Vec::new();
    for (variable, property) in read.properties() {
        if let Some(fault) = property.refusal() {
            read.problem(&variable, fault);
            continue;
        }
        let twin = taken.iter().find(|(other, _)| other.canonical() == property.canonical());
        if let Some((other, _)) = twin {
            let what = format!("sets the same property as {}", other.variable());
            read.problem(&variable, Fault::new(what, "set only one of the two"));
            continue;
        }
        let checked = |text: &str| property.check(text).map(|()| text.to_owned());
        if let Some(value) = read.optional(&variable, checked) {
            taken.push((property, SecretString::new(value)));
        }
    }
    Properties(taken)
}
