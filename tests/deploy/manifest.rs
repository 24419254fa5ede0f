//! What every manifest that deploys the sidecar must say, whoever wrote it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::read;

/// The documents of a YAML text by their kind.
pub fn parse(text: &str) -> BTreeMap<String, Value> {
    use serde::Deserialize as _;
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let values = documents.map(|document| Value::deserialize(document).expect("YAML"));
    let known = values.filter(|value| !value.is_null());
    known.map(|value| (text_at(&value, "/kind").to_owned(), value)).collect()
}

/// The text at a JSON pointer.
pub fn text_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer} of {value:#}"))
}

/// The plain manifests.
pub fn plain() -> BTreeMap<String, Value> {
    let mut all = parse(&read("deploy/kafka-once.yaml"));
    all.extend(parse(&read("deploy/podmonitor.yaml")));
    all
}

/// The sidecar's container in a Deployment.
pub fn sidecar(deployment: &Value) -> &Value {
    let containers = deployment.pointer("/spec/template/spec/initContainers").and_then(Value::as_array);
    containers.and_then(|list| list.iter().find(|one| one["name"] == "kafka-once")).expect("a sidecar")
}

/// Its variables by name.
pub fn env(deployment: &Value) -> BTreeMap<&str, &str> {
    let list = sidecar(deployment)["env"].as_array().expect("variables");
    list.iter().map(|one| (text_at(one, "/name"), text_at(one, "/value"))).collect()
}

/// Checks a Deployment against what the sidecar's promises rest on.
pub fn check(deployment: &Value) {
    let pod = &deployment["spec"]["template"]["spec"];
    let sidecar = sidecar(deployment);
    assert_eq!(sidecar["restartPolicy"], "Always", "it must stop after the app");
    assert_eq!(pod["enableServiceLinks"], false, "ONCE_PORT of a Service would be an unknown setting");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let security = &sidecar["securityContext"];
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"]["drop"][0], "ALL");
    for (probe, path) in [("startupProbe", "/live"), ("livenessProbe", "/live"), ("readinessProbe", "/ready")] {
        let probe = &sidecar[probe]["httpGet"];
        assert_eq!((&probe["path"], &probe["port"]), (&path.into(), &"once-metrics".into()));
    }
    let port = sidecar["ports"][0]["containerPort"].as_u64().expect("a metrics port");
    assert_eq!(sidecar["ports"][0]["name"], "once-metrics");
    assert_eq!(env(deployment)["ONCE_ADMIN_ADDR"], format!("0.0.0.0:{port}"));
    let drain = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"].as_array().expect("a preStop");
    assert!(drain.iter().any(|word| word == &Value::from(format!("http://127.0.0.1:{port}/drain"))), "{drain:?}");
    check_secrets(deployment);
    check_deadlines(deployment);
}

/// No secret stands in a variable; each is a file below the mounted Secret.
fn check_secrets(deployment: &Value) {
    let sidecar = sidecar(deployment);
    let mount = &sidecar["volumeMounts"][0];
    assert_eq!(mount["readOnly"], true);
    let volume = &deployment["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(mount["name"], volume["name"]);
    assert!(volume["secret"]["secretName"].is_string());
    let env = env(deployment);
    assert!(env.contains_key("ONCE_REDIS_URL_FILE") && !env.contains_key("ONCE_REDIS_URL"));
    for (name, path) in env.iter().filter(|(name, _)| name.ends_with("_FILE")) {
        let key = name.trim_start_matches("ONCE_").trim_end_matches("_FILE");
        assert_eq!(*path, format!("{}/{key}", text_at(mount, "/mountPath")));
    }
}

/// The pod's grace period leaves the drain its time.
fn check_deadlines(deployment: &Value) {
    let env = env(deployment);
    let drain = env.get("ONCE_DRAIN_TIMEOUT").copied().unwrap_or("25s");
    let (number, unit) = drain.split_at(drain.trim_end_matches(char::is_alphabetic).len());
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        other => panic!("unit {other}"),
    };
    let drain: u64 = number.parse::<u64>().expect("a number") * scale;
    let grace =
        deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().expect("a grace period");
    assert!(grace > drain, "{grace} s of grace for {drain} s of drain");
}

#[test]
fn the_plain_manifest_deploys_the_sidecar_beside_an_app() {
    let plain = plain();
    let deployment = &plain["Deployment"];
    check(deployment);
    let secret = deployment.pointer("/spec/template/spec/volumes/0/secret/secretName").expect("a Secret's name");
    assert_eq!(secret, &plain["Secret"]["metadata"]["name"]);
    assert!(plain["Secret"]["stringData"]["REDIS_URL"].is_string());
}

#[test]
fn the_plain_pod_monitor_finds_the_pods() {
    let plain = plain();
    let wanted = &plain["PodMonitor"]["spec"]["selector"]["matchLabels"];
    assert_eq!(wanted, &plain["Deployment"]["spec"]["template"]["metadata"]["labels"]);
    assert_eq!(plain["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["port"], "once-metrics");
}
