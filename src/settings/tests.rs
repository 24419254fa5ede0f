//! Settings as a whole: every malformed one, all of them at once, defaults, secrets, twins, commands.

mod malformed;

use crate::domain::identity::Source;
use crate::domain::lanes::Ordering;
use crate::domain::life::InDoubt;
use crate::domain::numbering::SequenceSource;
use crate::domain::past::OnLoss;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::*;
use malformed::MALFORMED;

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
        assert!(MALFORMED.iter().any(|(name, ..)| name.starts_with(&own)), "{own}");
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
    let settings = with(&[("PATH", Some("/bin")), ("once_lease", Some("1")), ("ONCE", Some(""))]);
    let settings = settings.unwrap();
    assert_eq!(settings.redis.reach.store, Store::Memory);
    assert_eq!(settings.redis.namespace, "billing");
    assert_eq!(settings.kafka.topics, Topics::List(vec!["orders".to_owned()]));
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
    let presets = table::TABLE.iter().filter_map(|variable| match variable.preset {
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
        [Source::Header("message-id".to_owned()), Source::CloudEvents, Source::Position]
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
    let node = |host: &str, port| Node { host: host.to_owned(), port };
    let access = |user: Option<&str>, password: Option<&str>, tls| Access {
        username: user.map(|text| Secret::new(text.to_owned())),
        password: password.map(|text| Secret::new(text.to_owned())),
        tls,
    };
    let cases = [
        ("redis://r", Store::Single { node: node("r", 6379), db: 0, access: access(None, None, false) }),
        (
            "rediss://u:p%40%2f@[::1]:7000/3",
            Store::Single { node: node("::1", 7000), db: 3, access: access(Some("u"), Some("p@/"), true) },
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
            Store::Cluster { nodes: vec![node("a", 1), node("b", 2)], access: access(None, None, true) },
        ),
    ];
    for (url, store) in cases {
        assert_eq!(set("ONCE_REDIS_URL", url).unwrap().redis.reach.store, store, "{url}");
    }
    let shown = set("ONCE_REDIS_URL", "rediss+sentinel://u:hunter2@a,b:1/main").unwrap();
    let shown = shown.redis.reach.store.to_string();
    assert_eq!(shown, "rediss+sentinel://a:26379,b:1/main/0");
}

#[test]
fn app_urls_become_transports() {
    let tcp = |host: &str, port, tls| Transport::Tcp { host: host.to_owned(), port, tls };
    let unix = || Transport::Unix { path: "/run/app.sock".into() };
    let cases = [
        ("http://localhost", tcp("localhost", 80, false), "/"),
        ("https://127.0.0.1/in/{topic}?v=1", tcp("127.0.0.1", 443, true), "/in/{topic}?v=1"),
        ("http://[::1]:8080?a=b", tcp("::1", 8080, false), "/?a=b"),
        ("unix:/run/app.sock", unix(), "/"),
        ("unix:/run/app.sock:/in/{topic}", unix(), "/in/{topic}"),
    ];
    for (url, transport, path) in cases {
        let app = set("ONCE_APP_URL", url).unwrap().app.url;
        assert_eq!((app.transport, app.path_template.as_str()), (transport, path), "{url}");
    }
    let remote = with(&[
        ("ONCE_APP_URL", Some("http://app:8080/")),
        ("ONCE_APP_LOOKUP_URL", Some("http://app:8080/seen/{topic}/{id}")),
        ("ONCE_APP_ALLOW_REMOTE", Some("true")),
        ("ONCE_IN_DOUBT", Some("lookup")),
    ]);
    assert_eq!(remote.unwrap().delivery.in_doubt, InDoubt::Lookup);
}

#[test]
fn identity_and_sequence_lists_keep_their_order() {
    let ids = set("ONCE_MESSAGE_ID", "json:/order/id, key").unwrap().delivery.message_id;
    assert_eq!(ids, [Source::JsonPointer("/order/id".to_owned()), Source::Key]);
    let sources = set("ONCE_SEQUENCE", "json:/p|/n,header:a/b").unwrap().delivery.sequence;
    let (producer, number) = ("/p".to_owned(), "/n".to_owned());
    let json = SequenceSource::Json { producer, number };
    let (producer, number) = ("a".to_owned(), "b".to_owned());
    assert_eq!(sources, [json, SequenceSource::Header { producer, number }]);
    assert!(set("ONCE_SEQUENCE", "off").unwrap().delivery.sequence.is_empty());
    let endless = with(&[("ONCE_RETRY_ATTEMPTS", Some("0")), ("ONCE_DEAD_LETTER_BUDGET", Some("unlimited"))]);
    let delivery = endless.unwrap().delivery;
    assert_eq!((delivery.retry_attempts, delivery.dead_letter_budget), (None, None));
}

#[test]
fn a_dead_letter_topic_that_a_pattern_reads_is_refused() {
    let cases = [("^orders", true), ("^orders$", false), ("^(orders|pay)-.*$", true), ("^pay", false)];
    for (pattern, refused) in cases {
        let settings = with(&[("ONCE_KAFKA_TOPICS", Some(pattern)), ("ONCE_DEAD_LETTER_TOPIC", Some("orders-dead"))]);
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
    let both = [("sasl.password", "hunter2"), ("security.protocol", "SASL_SSL")];
    assert_eq!(consumer, [both[0], both[1], ("session.timeout.ms", "10000")]);
    assert_eq!(producer, [("linger.ms", "0.5"), both[0], both[1]]);
}

#[test]
fn a_property_by_two_names_and_what_the_new_protocol_forbids_are_refused() {
    let twice = with(&[
        ("ONCE_KAFKA_PROPERTY_SASL_MECHANISM", Some("PLAIN")),
        ("ONCE_KAFKA_PROPERTY_SASL_MECHANISMS", Some("SCRAM-SHA-256")),
    ]);
    assert!(twice.unwrap_err().to_string().contains("sets the same property as"));
    let forbidden = with(&[
        ("ONCE_KAFKA_PROPERTY_GROUP_PROTOCOL", Some("consumer")),
        ("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", Some("10000")),
        ("ONCE_KAFKA_PROPERTY_PARTITION_ASSIGNMENT_STRATEGY", Some("range")),
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
        ("ONCE_KAFKA_PROPERTY_SASL_OAUTHBEARER_CLIENT_SECRET", Some(secret)),
    ]);
    let settings = settings.unwrap();
    let printed = format!("{settings:?} {settings:#?} {} {}", settings.redis.reach.store, settings.app.url);
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
    let vars = vars.into_iter().map(|(name, value)| (name.into(), value.into()));
    Settings::load(vars, &|path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, bytes)| bytes.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    })
}

#[test]
fn a_file_twin_gives_the_value_without_its_one_trailing_newline() {
    let password = "ONCE_KAFKA_PROPERTY_SASL_PASSWORD_FILE";
    let cases: [(&[u8], &str); 4] = [(b"pw", "pw"), (b"pw\n", "pw"), (b"pw\r\n", "pw"), (b"pw \n\n", "pw \n")];
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
    let files: [(&str, &[u8]); 5] =
        [("/s/empty", b"\n"), ("/s/bad", b"\xff"), ("/s/url", b"memory:"), ("/s/nul", b"a\0b"), ("/s/large", &large)];
    let cases = [
        ("/s/none", "names \"/s/none\", which cannot be read: entity not found"),
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
        let pairs = [("ONCE_REDIS_URL", direct), ("ONCE_REDIS_URL_FILE", "/s/url")];
        let problems = load_with_files(&pairs, &files).unwrap_err();
        assert!(problems.to_string().contains("is set, and so is ONCE_REDIS_URL"), "{problems}");
    }
}

#[cfg(unix)]
#[test]
fn names_and_values_that_are_not_utf8_are_problems() {
    use std::os::unix::ffi::OsStringExt as _;
    let odd = |text: &[u8]| OsString::from_vec(text.to_vec());
    let vars = example().into_iter().map(|(name, value)| (name.into(), value.into()));
    let vars = vars.chain([
        (odd(b"ONCE_\xff"), odd(b"x")),
        (odd(b"ONCE_LEASE"), odd(b"\xff")),
        (odd(b"OTHER_\xff"), odd(b"\xff")),
    ]);
    let problems = Settings::load(vars, &|_: &Path| Err(io::ErrorKind::NotFound.into())).unwrap_err();
    let lines = lines(&problems);
    assert_eq!(lines.len(), 2, "{problems}");
    assert!(lines[0].starts_with("ONCE_LEASE: has a value that is not UTF-8"), "{problems}");
    assert!(lines[1].contains("has a name that is not UTF-8"), "{problems}");
}

#[test]
fn each_command_asks_only_for_what_it_needs() {
    let none = |_: &Path| -> io::Result<Vec<u8>> { Err(io::ErrorKind::NotFound.into()) };
    let vars = |pairs: &[(&str, &str)]| {
        let owned: Vec<(OsString, OsString)> = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
        owned.into_iter()
    };
    let brokers = ("ONCE_KAFKA_BROKERS", "b:9092");
    let redis = ("ONCE_REDIS_URL", "redis://r");
    let group = ("ONCE_KAFKA_GROUP", "g");
    let dead = ("ONCE_DEAD_LETTER_TOPIC", "dead");
    let unneeded = ("ONCE_APP_TIMEOUT", "broken");

    let audit = AuditSettings::load(vars(&[brokers, unneeded, ("ONCE_SEQUENCE", "off")]), &none);
    assert!(audit.is_ok_and(|audit| audit.sequence.is_empty() && !audit.message_id.is_empty()));
    assert!(InspectSettings::load(vars(&[redis, group, unneeded]), &none).is_ok());
    assert!(RedriveSettings::load(vars(&[brokers, redis, group, dead, unneeded]), &none).is_ok());
    assert!(DemoSettings::load(vars(&[unneeded]), &none).is_ok());

    let missing = |problems: Problems| problems.iter().map(|p| p.variable.clone()).collect::<Vec<_>>();
    let audit = AuditSettings::load(vars(&[]), &none).map(|_| ()).map_err(missing);
    assert_eq!(audit, Err(vec!["ONCE_KAFKA_BROKERS".to_owned()]));
    let inspect = InspectSettings::load(vars(&[]), &none).map(|_| ()).map_err(missing);
    assert_eq!(inspect, Err(vec!["ONCE_KAFKA_GROUP".to_owned(), "ONCE_REDIS_URL".to_owned()]));
    let redrive = RedriveSettings::load(vars(&[]), &none).map(|_| ()).map_err(missing);
    assert_eq!(redrive.map_err(|names| names.len()), Err(4));
    let demo = DemoSettings::load(vars(&[("ONCE_LEESE", "1")]), &none).map(|_| ()).map_err(missing);
    assert_eq!(demo, Err(vec!["ONCE_LEESE".to_owned()]));
}
