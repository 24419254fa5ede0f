//! Where spans go: OpenTelemetry's standard variables (`OTEL_*`), the only ones beside `ONCE_*` that are read.
//!
//! Of a standard variable an empty value counts as unset, and an unknown one is somebody else's. Nothing is judged while no
//! endpoint is set.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::files::{self, Files};
use super::problems::{Fault, quoted};
use super::reader::Reader;
use super::secret::{Secret, SecretString};
use super::units;
use super::url::{self, Node};

/// What the service is called unless a variable says otherwise.
const SERVICE: &str = "kafka-once";

/// The specification's default of `OTEL_EXPORTER_OTLP_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The specification's default of `OTEL_BSP_SCHEDULE_DELAY`.
const DELAY: Duration = Duration::from_secs(5);

/// Where spans go, and which.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Where they are posted, whole; its query may hold a token.
    pub url: SecretString,
    /// Host and port of `url`.
    pub node: Node,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// Headers of each `POST`.
    pub headers: Vec<(String, SecretString)>,
    /// PEM of the authorities; `None`: the system's.
    pub ca: Option<SecretString>,
    /// Bound on one `POST`.
    pub timeout: Duration,
    /// How long spans wait for others to go with.
    pub delay: Duration,
    /// Which spans.
    pub sampling: Sampling,
    /// What the spans say of this process, `service.name` among it.
    pub resource: BTreeMap<String, String>,
}

/// Which spans are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Of the traces that begin here, 0.0 to 1.0; of all, where it is not `parent_based`.
    pub ratio: f64,
    /// Whether a record's own `traceparent` decides where it has one.
    pub parent_based: bool,
}

/// The variables that are set, by name.
struct Set<'a> {
    texts: BTreeMap<&'a str, &'a str>,
    files: Files<'a>,
}

impl Set<'_> {
    /// The first of these that is set.
    fn first(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        names.iter().find_map(|name| Some((*name, *self.texts.get(name)?)))
    }

    /// Reads the first of these that is set; a text that is refused is noted. `Some(None)`: none is set.
    #[allow(clippy::option_option)] // outer: refused, and noted; inner: not set
    fn read<T>(
        &self,
        read: &mut Reader,
        names: &[&'static str],
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<Option<T>> {
        let Some((name, text)) = self.first(names) else { return Some(None) };
        match parse(text) {
            Ok(value) => Some(Some(value)),
            Err(fault) => {
                let what = format!("{} {}", quoted(text, name.ends_with("_HEADERS")), fault.what);
                read.problem(name, Fault::new(what, fault.remedy));
                None
            }
        }
    }
}

/// `None`: something is wrong, which is noted. `Some(None)`: no spans are wanted.
#[allow(clippy::option_option)] // as its documentation says
pub(super) fn section(read: &mut Reader, vars: &[(OsString, OsString)], files: Files<'_>) -> Option<Option<Collector>> {
    let text = |(name, value): &'_ (OsString, OsString)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()));
    let standard =
        vars.iter().filter_map(text).filter(|(name, value)| name.starts_with("OTEL_") && !value.trim().is_empty());
    let standard: Vec<_> = standard.collect();
    let texts = standard.iter().map(|(name, value)| (name.as_str(), value.trim())).collect();
    let set = Set { texts, files };
    let off = set.first(&["OTEL_SDK_DISABLED"]).is_some_and(|(_, text)| text.eq_ignore_ascii_case("true"))
        || set.first(&["OTEL_TRACES_EXPORTER"]).is_some_and(|(_, text)| text == "none");
    let whole = set.first(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]);
    let base = set.first(&["OTEL_EXPORTER_OTLP_ENDPOINT"]);
    let Some((name, text)) = whole.or(base).filter(|_| !off) else { return Some(None) };
    let endpoint = set.read(read, &[name], |_| endpoint(text, whole.is_none()));
    let exporter = set.read(read, &["OTEL_TRACES_EXPORTER"], |text| one_of(text, "otlp", "spans go out by OTLP only"));
    let protocol = set.read(read, &PROTOCOL, |text| {
        one_of(text, "http/protobuf", "name the collector's HTTP port, usually 4318, and leave this unset")
    });
    let compression = set.read(read, &COMPRESSION, |text| one_of(text, "none", "leave it unset"));
    let identity = set.read(read, &IDENTITY, |_| {
        Err::<(), _>(Fault::new(
            "cannot be used: client certificates are not built in",
            "use OTEL_EXPORTER_OTLP_HEADERS",
        ))
    });
    let headers = set.read(read, &HEADERS, headers);
    let ca = set.read(read, &CERTIFICATE, |path| files::value(path, set.files));
    let timeout = set.read(read, &TIMEOUTS, millis);
    let delay = set.read(read, &["OTEL_BSP_SCHEDULE_DELAY"], millis);
    let sampling = sampling(read, &set);
    let resource = resource(read, &set);
    exporter.and(protocol).and(compression).and(identity)?;
    let (url, node, tls) = endpoint??;
    Some(Some(Collector {
        url,
        node,
        tls,
        headers: headers?.unwrap_or_default(),
        ca: ca?.map(Secret::new),
        timeout: timeout?.unwrap_or(TIMEOUT),
        delay: delay?.unwrap_or(DELAY),
        sampling: sampling?,
        resource: resource?,
    }))
}

const PROTOCOL: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const COMPRESSION: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
const CERTIFICATE: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const IDENTITY: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
];

/// An endpoint for all signals gets the path of traces behind its own; one for traces is used as it is.
fn endpoint(text: &str, for_all: bool) -> Result<(SecretString, Node, bool), Fault> {
    let parts = url::split(text)?;
    let tls = match parts.scheme {
        "http" => false,
        "https" => true,
        _ => return Err(Fault::new("has an odd scheme", "write http:// or https://")),
    };
    if parts.userinfo.is_some() {
        return Err(Fault::new("holds credentials", "put them into OTEL_EXPORTER_OTLP_HEADERS"));
    }
    let node = url::node(parts.authority, if tls { 443 } else { 80 })?;
    let path = if for_all { format!("{}/v1/traces", parts.path.trim_end_matches('/')) } else { parts.path.to_owned() };
    let query = parts.query.map(|query| format!("?{query}")).unwrap_or_default();
    let path = if path.is_empty() { "/" } else { &path };
    let whole = format!("{}://{node}{path}{query}", parts.scheme);
    if whole.parse::<http::Uri>().is_err() {
        return Err(Fault::new("has an odd character in its path", "percent-encode it"));
    }
    Ok((Secret::new(whole), node, tls))
}

fn one_of(text: &str, only: &str, remedy: &str) -> Result<(), Fault> {
    if text == only { Ok(()) } else { Err(Fault::new(format!("cannot be used: only {only} is built in"), remedy)) }
}

/// `name=value,name=value`, values percent-encoded where they must be.
fn pairs(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| Fault::new("holds a part without =", "write name=value,name=value"))?;
        if name.trim().is_empty() {
            return Err(Fault::new("holds a value without a name", "write name=value,name=value"));
        }
        Ok((name.trim().to_owned(), url::decode(value.trim())?))
    });
    pairs.collect()
}

fn headers(text: &str) -> Result<Vec<(String, SecretString)>, Fault> {
    let fit = |(name, value): (String, String)| {
        if HeaderName::try_from(&name).is_err() || HeaderValue::try_from(&value).is_err() {
            return Err(Fault::new("holds what no HTTP header may hold", "percent-encode its values"));
        }
        Ok((name, Secret::new(value)))
    };
    pairs(text)?.into_iter().map(fit).collect()
}

fn millis(text: &str) -> Result<Duration, Fault> {
    let millis = units::count(text, 1, u32::MAX);
    millis.map(|millis| Duration::from_millis(millis.into())).map_err(|_| {
        Fault::new("is no number of milliseconds above 0", "write such as 10000: this standard variable has no unit")
    })
}

fn sampling(read: &mut Reader, set: &Set<'_>) -> Option<Sampling> {
    let sampler = set.read(read, &["OTEL_TRACES_SAMPLER"], |text| {
        let name = text.strip_prefix("parentbased_").unwrap_or(text);
        let ratio = match name {
            "always_on" => Some(1.0),
            "always_off" => Some(0.0),
            "traceidratio" => None,
            _ => {
                let remedy = "write always_on, always_off or traceidratio, each also with parentbased_ before it";
                return Err(Fault::new("is no sampler that is built in", remedy));
            }
        };
        Ok((ratio, name != text))
    })?;
    let (ratio, parent_based) = sampler.unwrap_or((Some(1.0), true));
    if let Some(ratio) = ratio {
        return Some(Sampling { ratio, parent_based });
    }
    let ratio = set.read(read, &["OTEL_TRACES_SAMPLER_ARG"], |text| {
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.ok_or_else(|| Fault::new("is no ratio", "write a number from 0.0 to 1.0"))
    })?;
    Some(Sampling { ratio: ratio.unwrap_or(1.0), parent_based })
}

fn resource(read: &mut Reader, set: &Set<'_>) -> Option<BTreeMap<String, String>> {
    let given = set.read(read, &["OTEL_RESOURCE_ATTRIBUTES"], pairs)?;
    let mut resource = BTreeMap::from([
        ("service.name".to_owned(), SERVICE.to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    resource.extend(given.unwrap_or_default());
    if let Some((_, name)) = set.first(&["OTEL_SERVICE_NAME"]) {
        resource.insert("service.name".to_owned(), name.to_owned());
    }
    Some(resource)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Problems, Settings, example};

    fn load(more: &[(&str, &str)]) -> Result<Option<Collector>, Problems> {
        let mut pairs: Vec<(&str, &str)> = example().into_iter().collect();
        pairs.extend(more);
        Settings::from_pairs(&pairs).map(|settings| settings.collector)
    }

    const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

    #[test]
    fn spans_are_wanted_where_an_endpoint_is_set_and_nothing_is_judged_where_none_is() {
        for (set, url) in [
            (&[][..], None),
            (&[(ALL, "")], None),
            (&[("OTEL_TRACES_SAMPLER", "nonsense"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], None),
            (&[(ALL, "http://c:4318"), ("OTEL_SDK_DISABLED", "TRUE")], None),
            (&[(ALL, "http://c:4318"), ("OTEL_TRACES_EXPORTER", "none")], None),
            (&[(ALL, "http://c:4318"), ("OTEL_SDK_DISABLED", "false")], Some("http://c:4318/v1/traces")),
            (&[(ALL, "http://c:4318/")], Some("http://c:4318/v1/traces")),
            (&[(ALL, "https://c/otlp/?key=x")], Some("https://c:443/otlp/v1/traces?key=x")),
            (&[(ALL, "nonsense"), (TRACES, "http://[::1]:1/custom")], Some("http://[::1]:1/custom")),
            (&[(TRACES, "http://c")], Some("http://c:80/")),
        ] {
            let found = load(set).expect("settings").map(|collector| collector.url.expose().clone());
            assert_eq!(found.as_deref(), url, "{set:?}");
        }
    }

    #[test]
    fn everything_has_the_default_of_the_specification_and_traces_go_before_all_signals() {
        let found = load(&[(ALL, "http://c:4318")]).unwrap().unwrap();
        assert_eq!((found.timeout, found.delay), (Duration::from_secs(10), Duration::from_secs(5)));
        assert_eq!(found.sampling, Sampling { ratio: 1.0, parent_based: true });
        assert_eq!(found.resource["service.name"], "kafka-once");
        let found = load(&[
            (ALL, "http://c:4318"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_HEADERS", " a=1%2C2 , b = x=y,"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=b%20c"),
        ]);
        let found = found.unwrap().unwrap();
        assert_eq!(found.timeout, Duration::from_millis(250));
        let headers: Vec<_> =
            found.headers.iter().map(|(name, value)| (name.as_str(), value.expose().as_str())).collect();
        assert_eq!(headers, [("a", "1,2"), ("b", "x=y")]);
        assert_eq!(found.sampling, Sampling { ratio: 0.25, parent_based: false });
        assert_eq!((found.resource["service.name"].as_str(), found.resource["team"].as_str()), ("a", "b c"));
    }

    #[test]
    fn what_cannot_be_used_is_one_problem_and_no_secret_is_in_it() {
        for (name, value) in [
            (TRACES, "hunter2.example"),
            (TRACES, "grpc://hunter2"),
            (TRACES, "http://bob:hunter2@c"),
            (TRACES, "http://c:0"),
            (TRACES, "http://c/?token=hunter2<"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "=hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0A"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%zz"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/some/key.pem"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ] {
            let problems = load(&[(ALL, "http://c:4318"), (name, value)]).expect_err(value);
            let said: Vec<_> = problems.iter().map(|problem| problem.variable.as_str()).collect();
            assert_eq!(said, [name], "{value}");
            let is_secret = name.ends_with("HEADERS") || value.contains('@') || value.contains('?');
            assert!(!is_secret || !problems.to_string().contains("hunter2"), "{problems}");
        }
        let argument = [(ALL, "http://c"), ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert!(load(&argument).is_err_and(|problems| problems.to_string().contains("OTEL_TRACES_SAMPLER_ARG")));
        let secrets = [(ALL, "http://c/?token=hunter2"), ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2")];
        let shown = format!("{:?}", load(&secrets).expect("settings"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
