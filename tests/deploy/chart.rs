//! The chart, rendered by the real helm with several values.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::manifest::{check, env, parse, plain};
use crate::support::available::{helm, root};

fn run(helm: &Path, arguments: &[&str]) -> Output {
    Command::new(helm).args(arguments).current_dir(root()).output().expect("running helm")
}

/// Renders the chart as release `orders` with a values file of tests/deploy/values and more `--set`s.
fn render(helm: &Path, values: &str, sets: &[&str]) -> Result<BTreeMap<String, Value>, String> {
    let file = format!("tests/deploy/values/{values}.yaml");
    let mut arguments = vec!["template", "orders", "helm/kafka-once", "--kube-version", "1.34.0", "--values", &file];
    for set in sets {
        arguments.extend(["--set", set]);
    }
    let output = run(helm, &arguments);
    if output.status.success() {
        Ok(parse(&String::from_utf8_lossy(&output.stdout)))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn the_chart_is_lint_clean() {
    let Some(helm) = helm() else { return };
    for values in [&[][..], &["--values", "tests/deploy/values/plain.yaml"]] {
        let output = run(&helm, &[&["lint", "--strict", "helm/kafka-once"], values].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !said.contains("[INFO]") && !said.contains("[WARNING]"), "{said}");
    }
}

#[test]
fn the_chart_says_what_the_plain_manifest_says() {
    let Some(helm) = helm() else { return };
    let mut chart = render(&helm, "plain", &[]).expect("rendering");
    let template = chart.get_mut("Deployment").and_then(|d| d.pointer_mut("/spec/template/metadata"));
    template.and_then(Value::as_object_mut).expect("a template").remove("annotations");
    let plain = plain();
    assert_eq!(chart.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>());
    for (kind, wanted) in &plain {
        assert_eq!(chart[kind]["metadata"]["name"], wanted["metadata"]["name"], "{kind}");
        for part in ["spec", "stringData"] {
            assert_eq!(chart[kind][part], wanted[part], "{part} of {kind}");
        }
    }
}

#[test]
fn the_chart_keeps_its_promises_with_every_values_file() {
    let Some(helm) = helm() else { return };
    for values in ["plain", "existing-secret"] {
        check(&render(&helm, values, &[]).expect("rendering")["Deployment"]);
    }
}

#[test]
fn the_chart_takes_an_existing_secret_and_passes_settings_through() {
    let Some(helm) = helm() else { return };
    let chart = render(&helm, "existing-secret", &[]).expect("rendering");
    assert_eq!(chart.keys().collect::<Vec<_>>(), ["Deployment"]);
    let deployment = &chart["Deployment"];
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "shop-secrets");
    assert_eq!(pod["serviceAccountName"], "shop");
    assert_eq!(pod["initContainers"][0]["image"], "mirror/kafka-once:2.0");
    assert_eq!(deployment["spec"]["template"]["metadata"]["labels"]["team"], "shop");
    let env = env(deployment);
    let expected = [
        ("ONCE_APP_URL", "http://127.0.0.1:3000/{topic}"),
        ("ONCE_KAFKA_PROPERTY_SECURITY_PROTOCOL", "SASL_SSL"),
        ("ONCE_MAX_OPEN_RECORDS", "1000000"),
        ("ONCE_REDIS_ALLOW_EVICTION", "true"),
        ("ONCE_KAFKA_PROPERTY_SASL_PASSWORD_FILE", "/etc/kafka-once/secrets/KAFKA_PROPERTY_SASL_PASSWORD"),
    ];
    for (name, value) in expected {
        assert_eq!(env.get(name), Some(&value), "{name}");
    }
}

#[test]
fn another_secret_makes_other_pods() {
    let Some(helm) = helm() else { return };
    let checksum = |sets: &[&str]| {
        let chart = render(&helm, "plain", sets).expect("rendering");
        chart["Deployment"]["spec"]["template"]["metadata"]["annotations"]["checksum/secrets"].clone()
    };
    assert_ne!(checksum(&[]), checksum(&["secrets.values.REDIS_URL=redis://other"]));
}

#[test]
fn the_chart_refuses_what_could_not_work() {
    let Some(helm) = helm() else { return };
    let cases: &[(&str, &str)] = &[
        ("replicas=3", "replicas"),
        ("app.imagee=x", "imagee"),
        ("settings.MAX_INFLIGHT=3", "MAX_INFLIGHT"),
        ("settings.REDIS_URL=redis://secret", "REDIS_URL"),
        ("settings.ADMIN_ADDR=:1", "ADMIN_ADDR"),
        ("secrets.values.REDIS_URLS=x", "REDIS_URLS"),
        ("secrets.values=null", "REDIS_URL is needed"),
        ("secrets.existing=other", "exclude each other"),
        ("app.image=", "app.image is needed"),
        ("settings.KAFKA_GROUP=", "settings.KAFKA_GROUP is needed"),
        ("settings.DRAIN_TIMEOUT=1m", "must be above settings.DRAIN_TIMEOUT"),
        ("terminationGracePeriodSeconds=25", "must be above settings.DRAIN_TIMEOUT"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
    ];
    for (set, said) in cases {
        let refused = render(&helm, "plain", &[set]).expect_err(set);
        assert!(refused.contains(said), "{set}: {refused}");
    }
}
