//! Settings as a whole: every malformed one, all of them at once, defaults, secrets, twins, commands.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::*;

/// The example with some variables set otherwise; `None` unsets.
fn with(changes: &[(&str, Option<&str>)]) -> Result<Settings, Problems> {
    let mut vars: BTreeMap<&str, &str> = example();
    for (name, value) in changes {
        match value {
            Some(value) => vars.insert(name, value),
            None => vars.remove(name),
        };
    }
    let pairs: Vec<(&str, &str)> = vars.into_iter().collect();
    Settings::from_pairs(&pairs)
}

fn set(name: &str, value: &str) -> Result<Settings, Problems> {
    with(&[(name, Some(value))])
}

fn lines(problems: &Problems) -> Vec<String> {
    problems.to_string().lines().map(str::to_owned).collect()
}

/// Each line: the one variable that is set, its value, and what the one problem says.
#[rustfmt::skip] // read as a table
const MALFORMED: &[(&str, &str, &str)] = &[
    ("ONCE_KAFKA_BROKERS", "", "is empty; unset it or give a value"),
    ("ONCE_KAFKA_BROKERS", "a:9092,,b:9092", "has an empty entry"),
    ("ONCE_KAFKA_BROKERS", "a:9092,a:9092", "names \"a:9092\" twice"),
    ("ONCE_KAFKA_BROKERS", "a:port", "has a bad port"),
    ("ONCE_KAFKA_BROKERS", "http://a:9092", "has an odd scheme"),
    ("ONCE_KAFKA_TOPICS", "orders,", "has an empty entry"),
    ("ONCE_KAFKA_TOPICS", "orders,orders", "names \"orders\" twice"),
    ("ONCE_KAFKA_TOPICS", "ord ers", "illegal topic name \"ord ers\""),
    ("ONCE_KAFKA_TOPICS", "..", "illegal topic name"),
    ("ONCE_KAFKA_TOPICS", "orders,^pay", "mixes names and patterns"),
    ("ONCE_KAFKA_TOPICS", "^(orders", "leaves a group open"),
    ("ONCE_KAFKA_TOPICS", "^orders,^payments", "holds a comma"),
    ("ONCE_KAFKA_TOPICS", "^", "would also consume internal and dead-letter topics"),
    ("ONCE_KAFKA_TOPICS", "^.*", "would also consume internal and dead-letter topics"),
    ("ONCE_KAFKA_TOPICS", "^.+", "would also consume internal and dead-letter topics"),
    ("ONCE_KAFKA_TOPICS", "^.*$", "would also consume internal and dead-letter topics"),
    ("ONCE_KAFKA_TOPICS", "^(.)+", "would also consume internal and dead-letter topics"),
    ("ONCE_KAFKA_GROUP", "a\nb", "holds a control character"),
    ("ONCE_KAFKA_GROUP", "{a}", "braces"),
    ("ONCE_KAFKA_PROPERTY_GROUP_ID", "g", "sets group.id, which the promise rests on; set ONCE_KAFKA_GROUP"),
    ("ONCE_KAFKA_PROPERTY_BOOTSTRAP_SERVERS", "b", "set ONCE_KAFKA_BROKERS"),
    ("ONCE_KAFKA_PROPERTY_METADATA_BROKER_LIST", "b", "set ONCE_KAFKA_BROKERS"),
    ("ONCE_KAFKA_PROPERTY_ENABLE_AUTO_COMMIT", "true", "the promise rests on"),
    ("ONCE_KAFKA_PROPERTY_AUTO_COMMIT_ENABLE", "true", "the promise rests on"),
    ("ONCE_KAFKA_PROPERTY_ENABLE_AUTO_OFFSET_STORE", "true", "the promise rests on"),
    ("ONCE_KAFKA_PROPERTY_AUTO_OFFSET_RESET", "latest", "set ONCE_START"),
    ("ONCE_KAFKA_PROPERTY_ACKS", "1", "the promise rests on"),
    ("ONCE_KAFKA_PROPERTY_REQUEST_REQUIRED_ACKS", "1", "the promise rests on"),
    ("ONCE_KAFKA_PROPERTY_ENABLE_IDEMPOTENCE", "false", "the promise rests on"),
    ("ONCE_KAFKA_PROPERTY_ISOLATION_LEVEL", "read_uncommitted", "the promise rests on"),
    ("ONCE_KAFKA_PROPERTY_REBALANCE_CB", "f", "only a program can set"),
    ("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "30s", "is not an integer"),
    ("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "0", "is out of range"),
    ("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "3000", "not above the heartbeat of 3000 ms"),
    ("ONCE_KAFKA_PROPERTY_HEARTBEAT_INTERVAL_MS", "0", "is out of range; write 1 to 3600000"),
    ("ONCE_KAFKA_PROPERTY_MAX_POLL_INTERVAL_MS", "0", "is out of range"),
    ("ONCE_KAFKA_PROPERTY_HEARTBEAT_INTERVAL_MS", "45000", "not above the heartbeat of 45000 ms"),
    ("ONCE_KAFKA_PROPERTY_MAX_POLL_INTERVAL_MS", "10000", "above max.poll.interval.ms"),
    ("ONCE_KAFKA_PROPERTY_CHECK_CRCS", "maybe", "is not a flag"),
    ("ONCE_KAFKA_PROPERTY_SECURITY_PROTOCOL", "tls", "is not a known word"),
    ("ONCE_KAFKA_PROPERTY_SESION_TIMEOUT_MS", "1", "did you mean ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS?"),
    ("ONCE_START", "Earliest", "is not a known word; write one of earliest, latest"),
    ("ONCE_ON_LOSS", "pause", "write one of continue, stop"),
    ("ONCE_ORDERING", "topic", "write one of key, partition, none"),
    ("ONCE_MESSAGE_ID", "", "is empty"),
    ("ONCE_MESSAGE_ID", ",", "has an empty entry"),
    ("ONCE_MESSAGE_ID", "uuid", "unknown source \"uuid\""),
    ("ONCE_MESSAGE_ID", "position,key", "put position last"),
    ("ONCE_MESSAGE_ID", "key,key", "names \"key\" twice"),
    ("ONCE_MESSAGE_ID", "header:", "empty header name"),
    ("ONCE_MESSAGE_ID", "json:id", "does not begin with /"),
    ("ONCE_MESSAGE_ID", "json:/a~2", "broken ~"),
    ("ONCE_ID_REUSE", "drop", "write one of dead-letter, duplicate"),
    ("ONCE_SEQUENCE", "off,cloudevents", "mixes off with sources"),
    ("ONCE_SEQUENCE", "header:a", "does not name two headers"),
    ("ONCE_SEQUENCE", "header:/b", "empty header name"),
    ("ONCE_SEQUENCE", "json:/a", "does not hold two pointers"),
    ("ONCE_SEQUENCE", "json:/a|b", "does not begin with /"),
    ("ONCE_SEQUENCE", "cloudevents,cloudevents", "twice"),
    ("ONCE_GAP_GRACE", "30", "\"30\" has no unit; write an integer with ms, s, m, h or d"),
    ("ONCE_REDIS_URL", "http://redis", "has an odd scheme"),
    ("ONCE_REDIS_URL", "redis", "is not a URL"),
    ("ONCE_REDIS_URL", "redis://", "has no host"),
    ("ONCE_REDIS_URL", "redis://a:0", "has a bad port"),
    ("ONCE_REDIS_URL", "redis://a,b", "names several hosts"),
    ("ONCE_REDIS_URL", "redis://a/x", "has a bad database"),
    ("ONCE_REDIS_URL", "redis://user@a", "has a user without a password"),
    ("ONCE_REDIS_URL", "redis://:%zz@a", "broken %XX"),
    ("ONCE_REDIS_URL", "redis+sentinel://a,b", "names no master"),
    ("ONCE_REDIS_URL", "redis+cluster://a/1", "a cluster has no numbered databases"),
    ("ONCE_REDIS_URL", "rediss://a#insecure", "has a fragment"),
    ("ONCE_REDIS_URL", "redis://a?db=1", "has a query"),
    ("ONCE_REDIS_URL", "memory:1", "is not a URL"),
    ("ONCE_REDIS_TIMEOUT", "0ms", "is zero"),
    ("ONCE_REDIS_TIMEOUT", "10s", "is 10s, and must be below a third of ONCE_LEASE, which is 30s"),
    ("ONCE_REDIS_CA", "nonsense", "is not a PEM that holds a certificate"),
    ("ONCE_REDIS_CERT", "-----BEGIN CERTIFICATE-----", "ONCE_REDIS_KEY: is not set, and ONCE_REDIS_CERT is"),
    ("ONCE_REDIS_KEY", "-----BEGIN PRIVATE KEY-----", "ONCE_REDIS_CERT: is not set, and ONCE_REDIS_KEY is"),
    ("ONCE_REDIS_ALLOW_EVICTION", "yes", "write one of true, false"),
    ("ONCE_DEDUP_NAMESPACE", "{a}", "braces"),
    ("ONCE_DEDUP_WINDOW", "1w", "has no known unit"),
    ("ONCE_DEDUP_WINDOW", "30s", "ONCE_LEASE: is 30s, and must be below ONCE_DEDUP_WINDOW"),
    ("ONCE_LEASE", "2999ms", "is below 3s"),
    ("ONCE_LEASE", "20s", "ONCE_APP_TIMEOUT: is 20s, and must be below ONCE_LEASE, which is 20s"),
    ("ONCE_ON_HISTORY_LOSS", "stop", "write one of continue, pause"),
    ("ONCE_APP_URL", "ftp://127.0.0.1/", "has an odd scheme"),
    ("ONCE_APP_URL", "127.0.0.1:8080", "is not a URL"),
    ("ONCE_APP_URL", "http:///path", "has no host"),
    ("ONCE_APP_URL", "http://u:p@127.0.0.1/", "holds credentials"),
    ("ONCE_APP_URL", "http://127.0.0.1/#top", "has a fragment"),
    ("ONCE_APP_URL", "http://127.0.0.1/{id}", "unknown placeholder"),
    ("ONCE_APP_URL", "http://127.0.0.1/a b", "white space"),
    ("ONCE_APP_URL", "http://127.0.0.1/a%2", "broken %XX"),
    ("ONCE_APP_URL", "http://127.0.0.1:99999/", "has a bad port"),
    ("ONCE_APP_URL", "http://app:8080/", "names another machine: http://app:8080/"),
    ("ONCE_APP_URL", "http://0.0.0.0:8080/", "names another machine"),
    ("ONCE_APP_URL", "unix:app.sock", "absolute path"),
    ("ONCE_APP_URL", "unix:///run/app.sock", "absolute path"),
    ("ONCE_APP_URL", "unix:/run/app.sock:8080", "odd character in the socket's path"),
    ("ONCE_APP_TIMEOUT", "0s", "is zero"),
    ("ONCE_APP_TIMEOUT", "26s", "must be at most ONCE_DRAIN_TIMEOUT, which is 25s"),
    ("ONCE_APP_READY_URL", "http://127.0.0.1/{topic}", "unknown placeholder"),
    ("ONCE_APP_READY_URL", "http://169.254.169.254/", "names another machine"),
    ("ONCE_APP_LOOKUP_URL", "http://127.0.0.1/seen", "put {id} into its path"),
    ("ONCE_APP_LOOKUP_URL", "http://app/{id}", "names another machine"),
    ("ONCE_APP_ALLOW_REMOTE", "1", "write one of true, false"),
    ("ONCE_APP_CA", "/etc/ca.pem", "is not a PEM that holds a certificate"),
    ("ONCE_MAX_IN_FLIGHT", "0", "is out of range; write an integer from 1 to 10000"),
    ("ONCE_MAX_IN_FLIGHT", "10001", "is out of range"),
    ("ONCE_MAX_OPEN_RECORDS", "0", "is out of range"),
    ("ONCE_MAX_HELD_BYTES", "64MB", "has no known unit"),
    ("ONCE_MAX_HELD_BYTES", "1MiB", "ONCE_MAX_MESSAGE_BYTES: is 10MiB, and must be at most ONCE_MAX_HELD_BYTES"),
    ("ONCE_MAX_MESSAGE_BYTES", "1048576", "has no unit"),
    ("ONCE_RETRY_ATTEMPTS", "-1", "is not an integer"),
    ("ONCE_RETRY_BACKOFF", "0ms", "is zero"),
    ("ONCE_RETRY_BACKOFF", "31s", "must be at most ONCE_RETRY_BACKOFF_MAX, which is 30s"),
    ("ONCE_RETRY_BACKOFF_MAX", "forever", "does not begin with an integer"),
    ("ONCE_IN_DOUBT", "ask", "write one of repeat, lookup, dead-letter"),
    ("ONCE_IN_DOUBT", "lookup", "ONCE_APP_LOOKUP_URL: is not set, and ONCE_IN_DOUBT=lookup needs it"),
    ("ONCE_IN_DOUBT", "dead-letter", "ONCE_DEAD_LETTER_TOPIC: is not set, and ONCE_IN_DOUBT=dead-letter needs it"),
    ("ONCE_DEAD_LETTER_TOPIC", "a/b", "illegal topic name"),
    ("ONCE_DEAD_LETTER_TOPIC", "orders", "names \"orders\", which ONCE_KAFKA_TOPICS reads"),
    ("ONCE_DEAD_LETTER_BUDGET", "0", "is out of range"),
    ("ONCE_DEAD_LETTER_BUDGET", "none", "or unlimited"),
    ("ONCE_COMMIT_INTERVAL", "0s", "is zero"),
    ("ONCE_DRAIN_TIMEOUT", "25", "has no unit"),
    ("ONCE_DRAIN_TIMEOUT", "10s", "ONCE_APP_TIMEOUT: is 20s, and must be at most ONCE_DRAIN_TIMEOUT"),
    ("ONCE_ADMIN_ADDR", "9600", "is not an address with a port"),
    ("ONCE_LOG", "verbose", "holds a word that is no level"),
    ("ONCE_LOG", "kafka_once=loud", "is not a log filter"),
    ("ONCE_LOG_FORMAT", "xml", "write one of json, text"),
    ("ONCE_LEESE", "30s", "is unknown; did you mean ONCE_LEASE?"),
    ("ONCE_REDIS_URL_FIEL", "/x", "did you mean ONCE_REDIS_URL_FILE?"),
    ("ONCE_PORT", "tcp://10.0.0.1:80", "enableServiceLinks: false"),
];

#[test]
fn every_malformed_setting_is_one_problem_that_says_what_and_what_to_do() {
    for (name, value, says) in MALFORMED {
        let problems = set(name, value).expect_err(name);
        let lines = lines(&problems);
        assert_eq!(lines.len(), 1, "{name}={value}: {problems}");
        assert!(lines[0].contains(says), "{name}={value}: {problems}");
        assert!(lines[0].contains("; "), "{problems}");
    }
}

#[test]
fn every_variable_has_a_malformed_case() {
    for variable in table::TABLE {
        let own = variable.name.replace("<NAME>", "");
        assert!(
            MALFORMED.iter().any(|(name, ..)| name.starts_with(&own)),
            "{own}"
        );
    }
}

#[test]
fn everything_malformed_at_once_is_answered_at_once_in_the_order_of_the_table() {
    let mut vars = BTreeMap::new();
    for (name, value, _) in MALFORMED {
        vars.entry(*name).or_insert(*value);
    }
    let pairs: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, *value)).collect();
    let problems = Settings::from_pairs(&pairs).unwrap_err();
    let named: Vec<&str> = problems.iter().map(|p| p.variable.as_str()).collect();
    // Sound together, wrong alone.
    let sound = ["ONCE_REDIS_CERT", "ONCE_REDIS_KEY"];
    for name in vars.keys().filter(|name| !sound.contains(name)) {
        assert!(named.contains(name), "{name} is not in\n{problems}");
    }
    let ranks: Vec<usize> = problems
        .iter()
        .map(|p| match p.variable.strip_prefix(properties::PREFIX) {
            Some(_) => table::rank(table::PROPERTY_ROW),
            None => table::rank(&p.variable),
        })
        .collect();
    assert!(ranks.is_sorted(), "{problems}");
}

#[test]
fn nothing_set_names_every_required_variable() {
    let problems = Settings::from_pairs(&[]).unwrap_err();
    let named: Vec<&str> = problems.iter().map(|p| p.variable.as_str()).collect();
    let required: Vec<&str> = table::TABLE
        .iter()
        .filter(|variable| variable.preset == table::Preset::Required)
        .map(|variable| variable.name)
        .collect();
    assert_eq!(named, required);
}

#[test]
fn the_example_is_valid_and_foreign_variables_are_ignored() {
    let settings = with(&[
        ("PATH", Some("/bin")),
        ("once_lease", Some("1")),
        ("ONCE", Some("")),
    ]);
    let settings = settings.unwrap();
    assert_eq!(settings.redis.reach.store, Store::Memory);
    assert_eq!(settings.redis.namespace, "billing");
    assert_eq!(
        settings.kafka.topics,
        Topics::List(vec!["orders".to_owned()])
    );
}

#[test]
fn defaults_are_those_of_the_design() {
    #[rustfmt::skip] // read as a table
    let design = [
        ("ONCE_START", "earliest"), ("ONCE_ON_LOSS", "continue"), ("ONCE_ORDERING", "key"),
        ("ONCE_MESSAGE_ID", "header:message-id,cloudevents,position"), ("ONCE_ID_REUSE", "dead-letter"),
        ("ONCE_SEQUENCE", "header:producer-id/sequence,cloudevents"), ("ONCE_GAP_GRACE", "30s"),
        ("ONCE_REDIS_TIMEOUT", "500ms"), ("ONCE_REDIS_ALLOW_EVICTION", "false"),
        ("ONCE_DEDUP_WINDOW", "24h"), ("ONCE_LEASE", "30s"), ("ONCE_ON_HISTORY_LOSS", "continue"),
        ("ONCE_APP_TIMEOUT", "20s"), ("ONCE_APP_ALLOW_REMOTE", "false"), ("ONCE_MAX_IN_FLIGHT", "64"),
        ("ONCE_MAX_OPEN_RECORDS", "1000"), ("ONCE_MAX_HELD_BYTES", "64MiB"),
        ("ONCE_MAX_MESSAGE_BYTES", "10MiB"), ("ONCE_RETRY_ATTEMPTS", "10"),
        ("ONCE_RETRY_BACKOFF", "100ms"), ("ONCE_RETRY_BACKOFF_MAX", "30s"), ("ONCE_IN_DOUBT", "repeat"),
        ("ONCE_DEAD_LETTER_BUDGET", "100"), ("ONCE_COMMIT_INTERVAL", "1s"), ("ONCE_DRAIN_TIMEOUT", "25s"),
        ("ONCE_ADMIN_ADDR", "0.0.0.0:9600"), ("ONCE_LOG", "info"),
    ];
    let presets = table::TABLE
        .iter()
        .filter_map(|variable| match variable.preset {
            table::Preset::Text(text) => Some((variable.name, text)),
            _ => None,
        });
    assert_eq!(presets.collect::<Vec<_>>(), design);

    let settings = with(&[]).unwrap();
    assert_eq!(settings.kafka.start, Start::Earliest);
    assert_eq!(settings.kafka.on_loss, OnLoss::Continue);
    assert_eq!(settings.delivery.ordering, Ordering::Key);
    assert_eq!(
        settings.delivery.message_id,
        [
            IdSource::Header("message-id".to_owned()),
            IdSource::CloudEvents,
            IdSource::Position
        ]
    );
    assert_eq!(settings.delivery.sequence.len(), 2);
    assert_eq!(settings.delivery.max_held_bytes, 64 << 20);
    assert_eq!(settings.delivery.retry_attempts, Some(10));
    assert_eq!(settings.delivery.dead_letter_budget, Some(100));
    assert_eq!(settings.redis.dedup_window, Duration::from_secs(86_400));
    assert_eq!(settings.redis.reach.timeout, Duration::from_millis(500));
    assert_eq!(settings.app.timeout, Duration::from_secs(20));
    assert_eq!(settings.operating.admin_addr.port(), 9600);
    assert_eq!(settings.operating.log.format, None);
}

#[test]
fn redis_urls_become_stores() {
    let node = |host: &str, port| Node {
        host: host.to_owned(),
        port,
    };
    let access = |user: Option<&str>, password: Option<&str>, tls| Access {
        username: user.map(|text| Secret::new(text.to_owned())),
        password: password.map(|text| Secret::new(text.to_owned())),
        tls,
    };
    let cases = [
        (
            "redis://r",
            Store::Single {
                node: node("r", 6379),
                db: 0,
                access: access(None, None, false),
            },
        ),
        (
            "rediss://u:p%40%2f@[::1]:7000/3",
            Store::Single {
                node: node("::1", 7000),
                db: 3,
                access: access(Some("u"), Some("p@/"), true),
            },
        ),
        (
            "redis+sentinel://:pw@a,b:1/main/2",
            Store::Sentinel {
                sentinels: vec![node("a", 26379), node("b", 1)],
                master: "main".to_owned(),
                db: 2,
                access: access(None, Some("pw"), false),
            },
        ),
        (
            "rediss+cluster://a:1,b:2",
            Store::Cluster {
                nodes: vec![node("a", 1), node("b", 2)],
                access: access(None, None, true),
            },
        ),
    ];
    for (url, store) in cases {
        assert_eq!(
            set("ONCE_REDIS_URL", url).unwrap().redis.reach.store,
            store,
            "{url}"
        );
    }
    let shown = set("ONCE_REDIS_URL", "rediss+sentinel://u:hunter2@a,b:1/main").unwrap();
    let shown = shown.redis.reach.store.to_string();
    assert_eq!(shown, "rediss+sentinel://a:26379,b:1/main/0");
}

#[test]
fn app_urls_become_transports() {
    let tcp = |host: &str, port, tls| Transport::Tcp {
        host: host.to_owned(),
        port,
        tls,
    };
    let unix = || Transport::Unix {
        path: "/run/app.sock".into(),
    };
    let cases = [
        ("http://localhost", tcp("localhost", 80, false), "/"),
        (
            "https://127.0.0.1/in/{topic}?v=1",
            tcp("127.0.0.1", 443, true),
            "/in/{topic}?v=1",
        ),
        ("http://[::1]:8080?a=b", tcp("::1", 8080, false), "/?a=b"),
        ("unix:/run/app.sock", unix(), "/"),
        ("unix:/run/app.sock:/in/{topic}", unix(), "/in/{topic}"),
    ];
    for (url, transport, path) in cases {
        let app = set("ONCE_APP_URL", url).unwrap().app.url;
        assert_eq!(
            (app.transport, app.path_template.as_str()),
            (transport, path),
            "{url}"
        );
    }
    let remote = with(&[
        ("ONCE_APP_URL", Some("http://app:8080/")),
        (
            "ONCE_APP_LOOKUP_URL",
            Some("http://app:8080/seen/{topic}/{id}"),
        ),
        ("ONCE_APP_ALLOW_REMOTE", Some("true")),
        ("ONCE_IN_DOUBT", Some("lookup")),
    ]);
    assert_eq!(remote.unwrap().delivery.in_doubt, InDoubt::Lookup);
}

#[test]
fn identity_and_sequence_lists_keep_their_order() {
    let ids = set("ONCE_MESSAGE_ID", "json:/order/id, key")
        .unwrap()
        .delivery
        .message_id;
    assert_eq!(
        ids,
        [IdSource::JsonPointer("/order/id".to_owned()), IdSource::Key]
    );
    let sources = set("ONCE_SEQUENCE", "json:/p|/n,header:a/b")
        .unwrap()
        .delivery
        .sequence;
    let (producer, number) = ("/p".to_owned(), "/n".to_owned());
    let json = SequenceSource::Json { producer, number };
    let (producer, number) = ("a".to_owned(), "b".to_owned());
    assert_eq!(sources, [json, SequenceSource::Header { producer, number }]);
    assert!(
        set("ONCE_SEQUENCE", "off")
            .unwrap()
            .delivery
            .sequence
            .is_empty()
    );
    let endless = with(&[
        ("ONCE_RETRY_ATTEMPTS", Some("0")),
        ("ONCE_DEAD_LETTER_BUDGET", Some("unlimited")),
    ]);
    let delivery = endless.unwrap().delivery;
    assert_eq!(
        (delivery.retry_attempts, delivery.dead_letter_budget),
        (None, None)
    );
}

#[test]
fn a_dead_letter_topic_that_a_pattern_reads_is_refused() {
    let cases = [
        ("^orders", true),
        ("^orders$", false),
        ("^(orders|pay)-.*$", true),
        ("^pay", false),
    ];
    for (pattern, refused) in cases {
        let settings = with(&[
            ("ONCE_KAFKA_TOPICS", Some(pattern)),
            ("ONCE_DEAD_LETTER_TOPIC", Some("orders-dead")),
        ]);
        assert_eq!(settings.is_err(), refused, "{pattern}");
    }
}

#[test]
fn kafka_properties_go_to_the_client_that_takes_them() {
    let settings = with(&[
        ("ONCE_KAFKA_PROPERTY_SECURITY_PROTOCOL", Some("SASL_SSL")),
        ("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", Some("10000")),
        ("ONCE_KAFKA_PROPERTY_LINGER_MS", Some("0.5")),
        ("ONCE_KAFKA_PROPERTY_SASL_PASSWORD", Some("hunter2")),
    ]);
    let kafka = settings.unwrap().kafka;
    let consumer: Vec<_> = kafka.consumer_properties().collect();
    let producer: Vec<_> = kafka.producer_properties().collect();
    let both = [
        ("sasl.password", "hunter2"),
        ("security.protocol", "SASL_SSL"),
    ];
    assert_eq!(
        consumer,
        [both[0], both[1], ("session.timeout.ms", "10000")]
    );
    assert_eq!(producer, [("linger.ms", "0.5"), both[0], both[1]]);
}

#[test]
fn a_property_by_two_names_and_what_the_new_protocol_forbids_are_refused() {
    let twice = with(&[
        ("ONCE_KAFKA_PROPERTY_SASL_MECHANISM", Some("PLAIN")),
        ("ONCE_KAFKA_PROPERTY_SASL_MECHANISMS", Some("SCRAM-SHA-256")),
    ]);
    assert!(
        twice
            .unwrap_err()
            .to_string()
            .contains("sets the same property as")
    );
    let forbidden = with(&[
        ("ONCE_KAFKA_PROPERTY_GROUP_PROTOCOL", Some("consumer")),
        ("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", Some("10000")),
        (
            "ONCE_KAFKA_PROPERTY_PARTITION_ASSIGNMENT_STRATEGY",
            Some("range"),
        ),
    ]);
    assert_eq!(forbidden.unwrap_err().iter().count(), 2);
    assert!(set("ONCE_KAFKA_PROPERTY_GROUP_PROTOCOL", "consumer").is_ok());
}

#[test]
fn no_secret_is_ever_printed() {
    let secret = "hunter2";
    let url = format!("redis://{secret}:{secret}@host:6379/");
    let key = format!("-----BEGIN PRIVATE KEY-----{secret}");
    let cert = format!("-----BEGIN CERTIFICATE-----{secret}");
    let settings = with(&[
        ("ONCE_REDIS_URL", Some(&url)),
        ("ONCE_REDIS_CA", Some(&cert)),
        ("ONCE_REDIS_CERT", Some(&cert)),
        ("ONCE_REDIS_KEY", Some(&key)),
        ("ONCE_APP_CA", Some(&cert)),
        ("ONCE_APP_URL", Some("http://127.0.0.1/?token=hunter2")),
        ("ONCE_KAFKA_PROPERTY_SASL_PASSWORD", Some(secret)),
        ("ONCE_KAFKA_PROPERTY_SSL_KEY_PEM", Some(secret)),
        (
            "ONCE_KAFKA_PROPERTY_SASL_OAUTHBEARER_CLIENT_SECRET",
            Some(secret),
        ),
    ]);
    let settings = settings.unwrap();
    let printed = format!(
        "{settings:?} {settings:#?} {} {}",
        settings.redis.reach.store, settings.app.url
    );
    assert!(!printed.contains(secret), "{printed}");
    assert!(printed.contains("host"), "{printed}");

    let broken = [
        ("ONCE_REDIS_URL", "redis://u:hunter2@host:0"),
        ("ONCE_REDIS_URL", "hunter2://u:p@host"),
        ("ONCE_REDIS_URL", "redis://:hunter2/x@host"),
        ("ONCE_REDIS_URL", "redis://hunter2@host"),
        ("ONCE_REDIS_URL_FILE", "hunter2"),
        ("ONCE_REDIS_URL_FILE", "redis://:hunter2@host"),
        ("ONCE_REDIS_CA", "hunter2"),
        ("ONCE_REDIS_KEY", "hunter2"),
        ("ONCE_REDIS_PASSWORD", "hunter2"),
        ("ONCE_KAFKA_BROKERS", "u:hunter2@b:9092,u:hunter2@b:9092"),
        ("ONCE_APP_URL", "http://u:hunter2@127.0.0.1/"),
        ("ONCE_APP_URL", "htp://u:hunter2@127.0.0.1/"),
        ("ONCE_APP_URL", "http://app/?token=hunter2"),
        ("ONCE_APP_URL", "ftp://app/?token=hunter2"),
        ("ONCE_KAFKA_PROPERTY_SASL_PASWORD", "hunter2"),
        ("ONCE_KAFKA_PROPERTY_SASL_JAAS_CONFIG", "hunter2"),
    ];
    for (name, value) in broken {
        let problems = set(name, value).unwrap_err();
        let printed = format!("{problems} {problems:?}");
        assert!(!printed.contains(secret), "{name}: {printed}");
    }
}

fn load_with_files(pairs: &[(&str, &str)], files: &[(&str, &[u8])]) -> Result<Settings, Problems> {
    let mut vars = example();
    vars.remove("ONCE_REDIS_URL");
    vars.extend(pairs.iter().copied());
    let vars = vars
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()));
    Settings::load(vars, &|path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found
            .map(|(_, bytes)| bytes.to_vec())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    })
}

#[test]
fn a_file_twin_gives_the_value_without_its_one_trailing_newline() {
    let password = "ONCE_KAFKA_PROPERTY_SASL_PASSWORD_FILE";
    let cases: [(&[u8], &str); 4] = [
        (b"pw", "pw"),
        (b"pw\n", "pw"),
        (b"pw\r\n", "pw"),
        (b"pw \n\n", "pw \n"),
    ];
    for (bytes, value) in cases {
        let files: [(&str, &[u8]); 2] = [("/s/url", b"redis://r\n"), ("/s/pw", bytes)];
        let pairs = [("ONCE_REDIS_URL_FILE", "/s/url"), (password, "/s/pw")];
        let settings = load_with_files(&pairs, &files).unwrap();
        let found: Vec<_> = settings.kafka.consumer_properties().collect();
        assert_eq!(found, [("sasl.password", value)]);
        assert_ne!(settings.redis.reach.store, Store::Memory);
    }
}

#[test]
fn a_file_twin_that_cannot_be_used_is_one_problem_with_its_path() {
    let large = vec![b'x'; (1 << 20) + 1];
    let files: [(&str, &[u8]); 5] = [
        ("/s/empty", b"\n"),
        ("/s/bad", b"\xff"),
        ("/s/url", b"memory:"),
        ("/s/nul", b"a\0b"),
        ("/s/large", &large),
    ];
    let cases = [
        (
            "/s/none",
            "names \"/s/none\", which cannot be read: entity not found",
        ),
        ("/s/empty", "names \"/s/empty\", which is empty"),
        ("/s/bad", "names \"/s/bad\", which is not UTF-8"),
        ("/s/nul", "names \"/s/nul\", which holds a NUL"),
        ("/s/large", "names \"/s/large\", which is larger than 1MiB"),
        ("", "is empty"),
    ];
    for (path, says) in cases {
        let problems = load_with_files(&[("ONCE_REDIS_URL_FILE", path)], &files).unwrap_err();
        let lines = lines(&problems);
        assert_eq!(lines.len(), 1, "{problems}");
        assert!(lines[0].starts_with("ONCE_REDIS_URL_FILE: "), "{problems}");
        assert!(lines[0].contains(says), "{problems}");
    }
    for direct in ["memory:", ""] {
        let pairs = [
            ("ONCE_REDIS_URL", direct),
            ("ONCE_REDIS_URL_FILE", "/s/url"),
        ];
        let problems = load_with_files(&pairs, &files).unwrap_err();
        assert!(
            problems
                .to_string()
                .contains("is set, and so is ONCE_REDIS_URL"),
            "{problems}"
        );
    }
}

#[cfg(unix)]
#[test]
fn names_and_values_that_are_not_utf8_are_problems() {
    use std::os::unix::ffi::OsStringExt as _;
    let odd = |text: &[u8]| OsString::from_vec(text.to_vec());
    let vars = example()
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()));
    let vars = vars.chain([
        (odd(b"ONCE_\xff"), odd(b"x")),
        (odd(b"ONCE_LEASE"), odd(b"\xff")),
        (odd(b"OTHER_\xff"), odd(b"\xff")),
    ]);
    let problems =
        Settings::load(vars, &|_: &Path| Err(io::ErrorKind::NotFound.into())).unwrap_err();
    let lines = lines(&problems);
    assert_eq!(lines.len(), 2, "{problems}");
    assert!(
        lines[0].starts_with("ONCE_LEASE: has a value that is not UTF-8"),
        "{problems}"
    );
    assert!(
        lines[1].contains("has a name that is not UTF-8"),
        "{problems}"
    );
}

#[test]
fn each_command_asks_only_for_what_it_needs() {
    let none = |_: &Path| -> io::Result<Vec<u8>> { Err(io::ErrorKind::NotFound.into()) };
    let vars = |pairs: &[(&str, &str)]| {
        let owned: Vec<(OsString, OsString)> = pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        owned.into_iter()
    };
    let brokers = ("ONCE_KAFKA_BROKERS", "b:9092");
    let redis = ("ONCE_REDIS_URL", "redis://r");
    let group = ("ONCE_KAFKA_GROUP", "g");
    let dead = ("ONCE_DEAD_LETTER_TOPIC", "dead");
    let unneeded = ("ONCE_APP_TIMEOUT", "broken");

    assert!(AuditSettings::load(vars(&[brokers, unneeded]), &none).is_ok());
    assert!(InspectSettings::load(vars(&[redis, group, unneeded]), &none).is_ok());
    assert!(RedriveSettings::load(vars(&[brokers, redis, group, dead, unneeded]), &none).is_ok());
    assert!(DemoSettings::load(vars(&[unneeded]), &none).is_ok());

    let missing = |problems: Problems| {
        problems
            .iter()
            .map(|p| p.variable.clone())
            .collect::<Vec<_>>()
    };
    let audit = AuditSettings::load(vars(&[]), &none)
        .map(|_| ())
        .map_err(missing);
    assert_eq!(audit, Err(vec!["ONCE_KAFKA_BROKERS".to_owned()]));
    let inspect = InspectSettings::load(vars(&[]), &none)
        .map(|_| ())
        .map_err(missing);
    assert_eq!(
        inspect,
        Err(vec![
            "ONCE_KAFKA_GROUP".to_owned(),
            "ONCE_REDIS_URL".to_owned()
        ])
    );
    let redrive = RedriveSettings::load(vars(&[]), &none)
        .map(|_| ())
        .map_err(missing);
    assert_eq!(redrive.map_err(|names| names.len()), Err(4));
    let demo = DemoSettings::load(vars(&[("ONCE_LEESE", "1")]), &none)
        .map(|_| ())
        .map_err(missing);
    assert_eq!(demo, Err(vec!["ONCE_LEESE".to_owned()]));
}
