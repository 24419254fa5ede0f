//! Every property of the Kafka client: its name, who takes it, its shape, and whether we pass it on.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::problems::Fault;
use Client::{Both, Consumer, Producer};
use Shape::{Flag, Int, OneOf, Program, Text};

/// What the variable of a property begins with.
pub(super) const PREFIX: &str = "ONCE_KAFKA_PROPERTY_";

/// Which client takes a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Both,
    Consumer,
    Producer,
}

/// What values a property takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Text,
    Flag,
    /// From, to; both included.
    Int(i64, i64),
    /// One of these words, whatever their case.
    OneOf(&'static [&'static str]),
    /// Set by a program, never by a text.
    Program,
}

/// One property of librdkafka.
#[derive(Debug)]
pub(super) struct Property {
    pub name: &'static str,
    pub client: Client,
    shape: Shape,
}

impl Property {
    /// The variable that sets it.
    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_uppercase().replace('.', "_"))
    }

    /// Whether its value must never be shown.
    pub(super) fn secret(&self) -> bool {
        SECRETS.contains(&self.name)
    }

    /// The name that librdkafka treats it as.
    pub(super) fn canonical(&self) -> &'static str {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == self.name);
        alias.map_or(self.name, |(_, real)| real)
    }

    /// Why it is not passed on, and what to do instead.
    pub(super) fn refusal(&self) -> Option<Fault> {
        let owned = OWNED.iter().find(|(name, _)| *name == self.canonical());
        if let Some((_, instead)) = owned {
            let what = format!("sets {}, which the promise rests on", self.name);
            return Some(Fault::new(what, *instead));
        }
        let program = matches!(self.shape, Program);
        program.then(|| {
            let what = format!("sets {}, which only a program can set", self.name);
            Fault::new(what, "unset it")
        })
    }

    /// Checks a value as far as librdkafka documents what it takes.
    pub(super) fn check(&self, value: &str) -> Result<(), Fault> {
        let same = |word: &&str| word.eq_ignore_ascii_case(value);
        match self.shape {
            Text | Program => Ok(()),
            Flag if ["true", "t", "1", "false", "f", "0"].iter().any(same) => Ok(()),
            Flag => Err(Fault::new("is not a flag", "write true or false")),
            OneOf(words) if words.iter().any(same) => Ok(()),
            OneOf(words) => {
                let remedy = format!("write one of {}", words.join(", "));
                Err(Fault::new("is not a known word", remedy))
            }
            Int(least, most) => match value.parse::<i64>() {
                Ok(n) if (least..=most).contains(&n) => Ok(()),
                Ok(_) => Err(Fault::new("is out of range", format!("write {least} to {most}"))),
                Err(_) => Err(Fault::new("is not an integer", format!("write {least} to {most}"))),
            },
        }
    }
}

/// The property that a variable sets. Exact: dots and underscores both stand as underscores there,
/// and no two properties share a variable.
pub(super) fn by_variable(variable: &str) -> Option<&'static Property> {
    static INDEX: LazyLock<HashMap<String, Property>> = LazyLock::new(|| {
        let rows = KNOWN.iter().map(|&(name, client, shape)| Property { name, client, shape });
        rows.map(|property| (property.variable(), property)).collect()
    });
    INDEX.get(variable)
}

/// The properties that may be set, in the order of their names.
pub(super) fn settable() -> impl Iterator<Item = Property> {
    let rows = KNOWN.iter().map(|&(name, client, shape)| Property { name, client, shape });
    rows.filter(|property| property.refusal().is_none())
}

/// What kafka-once sets itself, by canonical name, with what to use instead. The first eight are the
/// promise in the design's words (with aliases); the others would silence an acknowledgement, a
/// commit or the log in the same way.
const OWNED: &[(&str, &str)] = &[
    ("metadata.broker.list", "set ONCE_KAFKA_BROKERS"),
    ("group.id", "set ONCE_KAFKA_GROUP"),
    ("auto.commit.enable", "unset it: only low water is committed"),
    ("enable.auto.offset.store", "unset it: only low water is committed"),
    ("auto.offset.reset", "set ONCE_START or ONCE_ON_LOSS"),
    ("request.required.acks", "unset it: dead letters need all acknowledgements"),
    ("enable.idempotence", "unset it"),
    ("isolation.level", "unset it: aborted records are never read"),
    ("offset.store.method", "unset it: offsets belong to the group"),
    ("offset.store.path", "unset it: offsets belong to the group"),
    ("delivery.report.only.error", "unset it: a dead letter waits for its acknowledgement"),
    ("transactional.id", "unset it: dead letters are not sent in transactions"),
    ("enabled_events", "unset it: it would take the place of callbacks"),
    ("log.queue", "unset it: it would swallow the client's log"),
    ("log_level", "set ONCE_LOG"),
];

/// Properties whose values never print, and that have a `_FILE` twin.
const SECRETS: &[&str] = &[
    "https.ca.pem",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.password",
    "sasl.username",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

/// Two names for one property: the alias, and the name that librdkafka treats it as.
const ALIASES: &[(&str, &str)] = &[
    ("acks", "request.required.acks"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("enable.auto.commit", "auto.commit.enable"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"),
    ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
];

/// Every property of librdkafka 2.12.1, from its CONFIGURATION.md.
#[rustfmt::skip] // one row a property: it is read as a table
const KNOWN: &[(&str, Client, Shape)] = &[
    ("acks", Producer, Int(-1, 1_000)),
    ("allow.auto.create.topics", Both, Flag),
    ("api.version.fallback.ms", Both, Int(0, 604_800_000)),
    ("api.version.request", Both, Flag),
    ("api.version.request.timeout.ms", Both, Int(1, 300_000)),
    ("auto.commit.enable", Consumer, Flag),
    ("auto.commit.interval.ms", Consumer, Int(10, 86_400_000)),
    ("auto.offset.reset", Consumer, OneOf(&["smallest", "earliest", "beginning", "largest", "latest", "end", "error"])),
    ("background_event_cb", Both, Program),
    ("batch.num.messages", Producer, Int(1, 1_000_000)),
    ("batch.size", Producer, Int(1, 2_147_483_647)),
    ("bootstrap.servers", Both, Text),
    ("broker.address.family", Both, OneOf(&["any", "v4", "v6"])),
    ("broker.address.ttl", Both, Int(0, 86_400_000)),
    ("broker.version.fallback", Both, Text),
    ("builtin.features", Both, Text),
    ("check.crcs", Consumer, Flag),
    ("client.dns.lookup", Both, OneOf(&["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"])),
    ("client.id", Both, Text),
    ("client.rack", Both, Text),
    ("closesocket_cb", Both, Program),
    ("compression.codec", Producer, OneOf(&["none", "gzip", "snappy", "lz4", "zstd", "inherit"])),
    ("compression.level", Producer, Int(-1, 12)),
    ("compression.type", Producer, OneOf(&["none", "gzip", "snappy", "lz4", "zstd"])),
    ("connect_cb", Both, Program),
    ("connections.max.idle.ms", Both, Int(0, 2_147_483_647)),
    ("consume.callback.max.messages", Consumer, Int(0, 1_000_000)),
    ("consume_cb", Consumer, Program),
    ("coordinator.query.interval.ms", Consumer, Int(1, 3_600_000)),
    ("debug", Both, Text),
    ("default_topic_conf", Both, Program),
    ("delivery.report.only.error", Producer, Flag),
    ("delivery.timeout.ms", Producer, Int(0, 2_147_483_647)),
    ("dr_cb", Producer, Program),
    ("dr_msg_cb", Producer, Program),
    ("enable.auto.commit", Consumer, Flag),
    ("enable.auto.offset.store", Consumer, Flag),
    ("enable.gapless.guarantee", Producer, Flag),
    ("enable.idempotence", Producer, Flag),
    ("enable.metrics.push", Both, Flag),
    ("enable.partition.eof", Consumer, Flag),
    ("enable.random.seed", Both, Flag),
    ("enable.sasl.oauthbearer.unsecure.jwt", Both, Flag),
    ("enable.ssl.certificate.verification", Both, Flag),
    ("enabled_events", Both, Int(0, 2_147_483_647)),
    ("error_cb", Both, Program),
    ("fetch.error.backoff.ms", Consumer, Int(0, 300_000)),
    ("fetch.max.bytes", Consumer, Int(0, 2_147_483_135)),
    ("fetch.message.max.bytes", Consumer, Int(1, 1_000_000_000)),
    ("fetch.min.bytes", Consumer, Int(1, 100_000_000)),
    ("fetch.queue.backoff.ms", Consumer, Int(0, 300_000)),
    ("fetch.wait.max.ms", Consumer, Int(0, 300_000)),
    ("group.id", Consumer, Text),
    ("group.instance.id", Consumer, Text),
    ("group.protocol", Consumer, OneOf(&["classic", "consumer"])),
    ("group.protocol.type", Consumer, Text),
    ("group.remote.assignor", Consumer, Text),
    ("heartbeat.interval.ms", Consumer, Int(1, 3_600_000)),
    ("https.ca.location", Both, Text),
    ("https.ca.pem", Both, Text),
    ("interceptors", Both, Program),
    ("internal.termination.signal", Both, Int(0, 128)),
    ("isolation.level", Consumer, OneOf(&["read_uncommitted", "read_committed"])),
    ("linger.ms", Producer, Text),
    ("log.connection.close", Both, Flag),
    ("log.queue", Both, Flag),
    ("log.thread.name", Both, Flag),
    ("log_cb", Both, Program),
    ("log_level", Both, Int(0, 7)),
    ("max.in.flight", Both, Int(1, 1_000_000)),
    ("max.in.flight.requests.per.connection", Both, Int(1, 1_000_000)),
    ("max.partition.fetch.bytes", Consumer, Int(1, 1_000_000_000)),
    ("max.poll.interval.ms", Consumer, Int(1, 86_400_000)),
    ("message.copy.max.bytes", Both, Int(0, 1_000_000_000)),
    ("message.max.bytes", Both, Int(1_000, 1_000_000_000)),
    ("message.send.max.retries", Producer, Int(0, 2_147_483_647)),
    ("message.timeout.ms", Producer, Int(0, 2_147_483_647)),
    ("metadata.broker.list", Both, Text),
    ("metadata.max.age.ms", Both, Int(1, 86_400_000)),
    ("metadata.recovery.rebootstrap.trigger.ms", Both, Int(0, 2_147_483_647)),
    ("metadata.recovery.strategy", Both, OneOf(&["none", "rebootstrap"])),
    ("msg_order_cmp", Producer, Program),
    ("oauthbearer_token_refresh_cb", Both, Program),
    ("offset.store.method", Consumer, OneOf(&["file", "broker"])),
    ("offset.store.path", Consumer, Text),
    ("offset.store.sync.interval.ms", Consumer, Int(-1, 86_400_000)),
    ("offset_commit_cb", Consumer, Program),
    ("opaque", Both, Program),
    ("open_cb", Both, Program),
    ("partition.assignment.strategy", Consumer, Text),
    ("partitioner", Producer, Text),
    ("partitioner_cb", Producer, Program),
    ("plugin.library.paths", Both, Text),
    ("produce.offset.report", Producer, Flag),
    ("queue.buffering.backpressure.threshold", Producer, Int(1, 1_000_000)),
    ("queue.buffering.max.kbytes", Producer, Int(1, 2_147_483_647)),
    ("queue.buffering.max.messages", Producer, Int(0, 2_147_483_647)),
    ("queue.buffering.max.ms", Producer, Text),
    ("queued.max.messages.kbytes", Consumer, Int(1, 2_097_151)),
    ("queued.min.messages", Consumer, Int(1, 10_000_000)),
    ("queuing.strategy", Producer, OneOf(&["fifo", "lifo"])),
    ("rebalance_cb", Consumer, Program),
    ("receive.message.max.bytes", Both, Int(1_000, 2_147_483_647)),
    ("reconnect.backoff.jitter.ms", Both, Int(0, 3_600_000)),
    ("reconnect.backoff.max.ms", Both, Int(0, 3_600_000)),
    ("reconnect.backoff.ms", Both, Int(0, 3_600_000)),
    ("request.required.acks", Producer, Int(-1, 1_000)),
    ("request.timeout.ms", Producer, Int(1, 900_000)),
    ("resolve_cb", Both, Program),
    ("retries", Producer, Int(0, 2_147_483_647)),
    ("retry.backoff.max.ms", Both, Int(1, 300_000)),
    ("retry.backoff.ms", Both, Int(1, 300_000)),
    ("sasl.kerberos.keytab", Both, Text),
    ("sasl.kerberos.kinit.cmd", Both, Text),
    ("sasl.kerberos.min.time.before.relogin", Both, Int(0, 86_400_000)),
    ("sasl.kerberos.principal", Both, Text),
    ("sasl.kerberos.service.name", Both, Text),
    ("sasl.mechanism", Both, Text),
    ("sasl.mechanisms", Both, Text),
    ("sasl.oauthbearer.assertion.algorithm", Both, OneOf(&["RS256", "ES256"])),
    ("sasl.oauthbearer.assertion.claim.aud", Both, Text),
    ("sasl.oauthbearer.assertion.claim.exp.seconds", Both, Int(1, 2_147_483_647)),
    ("sasl.oauthbearer.assertion.claim.iss", Both, Text),
    ("sasl.oauthbearer.assertion.claim.jti.include", Both, Flag),
    ("sasl.oauthbearer.assertion.claim.nbf.seconds", Both, Int(0, 2_147_483_647)),
    ("sasl.oauthbearer.assertion.claim.sub", Both, Text),
    ("sasl.oauthbearer.assertion.file", Both, Text),
    ("sasl.oauthbearer.assertion.jwt.template.file", Both, Text),
    ("sasl.oauthbearer.assertion.private.key.file", Both, Text),
    ("sasl.oauthbearer.assertion.private.key.passphrase", Both, Text),
    ("sasl.oauthbearer.assertion.private.key.pem", Both, Text),
    ("sasl.oauthbearer.client.credentials.client.id", Both, Text),
    ("sasl.oauthbearer.client.credentials.client.secret", Both, Text),
    ("sasl.oauthbearer.client.id", Both, Text),
    ("sasl.oauthbearer.client.secret", Both, Text),
    ("sasl.oauthbearer.config", Both, Text),
    ("sasl.oauthbearer.extensions", Both, Text),
    ("sasl.oauthbearer.grant.type", Both, OneOf(&["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"])),
    ("sasl.oauthbearer.metadata.authentication.type", Both, OneOf(&["none", "azure_imds"])),
    ("sasl.oauthbearer.method", Both, OneOf(&["default", "oidc"])),
    ("sasl.oauthbearer.scope", Both, Text),
    ("sasl.oauthbearer.token.endpoint.url", Both, Text),
    ("sasl.password", Both, Text),
    ("sasl.username", Both, Text),
    ("security.protocol", Both, OneOf(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"])),
    ("session.timeout.ms", Consumer, Int(1, 3_600_000)),
    ("socket.blocking.max.ms", Both, Int(1, 60_000)),
    ("socket.connection.setup.timeout.ms", Both, Int(1_000, 2_147_483_647)),
    ("socket.keepalive.enable", Both, Flag),
    ("socket.max.fails", Both, Int(0, 1_000_000)),
    ("socket.nagle.disable", Both, Flag),
    ("socket.receive.buffer.bytes", Both, Int(0, 100_000_000)),
    ("socket.send.buffer.bytes", Both, Int(0, 100_000_000)),
    ("socket.timeout.ms", Both, Int(10, 300_000)),
    ("socket_cb", Both, Program),
    ("ssl.ca.certificate.stores", Both, Text),
    ("ssl.ca.location", Both, Text),
    ("ssl.ca.pem", Both, Text),
    ("ssl.certificate.location", Both, Text),
    ("ssl.certificate.pem", Both, Text),
    ("ssl.certificate.verify_cb", Both, Program),
    ("ssl.cipher.suites", Both, Text),
    ("ssl.crl.location", Both, Text),
    ("ssl.curves.list", Both, Text),
    ("ssl.endpoint.identification.algorithm", Both, OneOf(&["none", "https"])),
    ("ssl.engine.id", Both, Text),
    ("ssl.engine.location", Both, Text),
    ("ssl.key.location", Both, Text),
    ("ssl.key.password", Both, Text),
    ("ssl.key.pem", Both, Text),
    ("ssl.keystore.location", Both, Text),
    ("ssl.keystore.password", Both, Text),
    ("ssl.providers", Both, Text),
    ("ssl.sigalgs.list", Both, Text),
    ("ssl_ca", Both, Program),
    ("ssl_certificate", Both, Program),
    ("ssl_engine_callback_data", Both, Program),
    ("ssl_key", Both, Program),
    ("statistics.interval.ms", Both, Int(0, 86_400_000)),
    ("stats_cb", Both, Program),
    ("sticky.partitioning.linger.ms", Producer, Int(0, 900_000)),
    ("throttle_cb", Both, Program),
    ("topic.blacklist", Both, Text),
    ("topic.metadata.propagation.max.ms", Both, Int(0, 3_600_000)),
    ("topic.metadata.refresh.fast.cnt", Both, Int(0, 1_000)),
    ("topic.metadata.refresh.fast.interval.ms", Both, Int(1, 60_000)),
    ("topic.metadata.refresh.interval.ms", Both, Int(-1, 3_600_000)),
    ("topic.metadata.refresh.sparse", Both, Flag),
    ("transaction.timeout.ms", Producer, Int(1_000, 2_147_483_647)),
    ("transactional.id", Producer, Text),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_properties_share_a_variable() {
        for &(name, client, shape) in KNOWN {
            let variable = Property { name, client, shape }.variable();
            assert_eq!(by_variable(&variable).map(|p| p.name), Some(name));
        }
    }

    #[test]
    fn every_property_that_may_be_set_is_known_to_the_linked_client() {
        // A wrong value is another answer than a name that does not exist.
        let is_unknown = |name: &str| {
            let answer = rdkafka::ClientConfig::new().set(name, "?").create_native_config();
            answer.is_err_and(|error| error.to_string().contains("No such configuration property"))
        };
        assert!(is_unknown("no.such.property"));
        for property in settable() {
            assert!(!is_unknown(property.name), "{}", property.name);
        }
    }

    #[test]
    fn lists_name_only_known_properties() {
        let known = |name: &str| KNOWN.iter().any(|(known, ..)| *known == name);
        let owned = OWNED.iter().map(|(name, _)| *name);
        let aliases = ALIASES.iter().flat_map(|(alias, real)| [*alias, *real]);
        for name in owned.chain(aliases).chain(SECRETS.iter().copied()) {
            assert!(known(name), "{name}");
        }
    }
}
