//! Names that set nothing: the nearest real one, and where Kubernetes may have put them.

use std::ffi::OsStr;

use super::problems::Fault;
use super::properties;
use super::table;

/// Characters; no real name is nearly as long.
const LONGEST: usize = 200;

/// Says what a name that sets nothing was probably meant to be; the value is looked at, never shown.
pub(super) fn fault(name: &str, value: &OsStr) -> Fault {
    if is_service_link(name, value) {
        let what = "is no setting but looks like a Kubernetes service link";
        let remedy = "put enableServiceLinks: false into the pod's spec";
        return Fault::new(what, remedy);
    }
    if let Some(base) = name.strip_suffix("_FILE")
        && (table::find(base).is_some() || properties::by_variable(base).is_some())
    {
        let what = format!("is unknown: {base} is no secret and has no _FILE twin");
        return Fault::new(what, format!("set {base}"));
    }
    if name.starts_with("ONCE_KAFKA_PROPERTY_SASL_JAAS_CONFIG") {
        let remedy = "set ONCE_KAFKA_PROPERTY_SASL_USERNAME and ONCE_KAFKA_PROPERTY_SASL_PASSWORD";
        return Fault::new("is a property of Java's client, unknown to librdkafka", remedy);
    }
    Fault::new("is unknown", format!("did you mean {}?", nearest(name)))
}

/// The real name with the fewest edits; ties go to the first in the table. Of an absurd name the beginning will do.
fn nearest(name: &str) -> String {
    let name = &name.chars().take(LONGEST).collect::<String>();
    let bare = name.strip_prefix("ONCE_KAFKA_").map(|rest| format!("{}{rest}", properties::PREFIX));
    if let Some(meant) = bare.filter(|meant| properties::by_variable(meant).is_some()) {
        return meant;
    }
    let rows = table::TABLE.iter().filter(|row| row.name != table::PROPERTY_ROW);
    let plain = rows.flat_map(|row| {
        let twin = row.secret.then(|| format!("{}_FILE", row.name));
        [Some(row.name.to_owned()), twin].into_iter().flatten()
    });
    let client = properties::settable().flat_map(|property| {
        let name = property.variable();
        let twin = property.secret().then(|| format!("{name}_FILE"));
        [Some(name), twin].into_iter().flatten()
    });
    plain.chain(client).min_by_key(|real| strsim::osa_distance(real, name)).unwrap_or_default()
}

/// Whether Kubernetes injects such a variable for a Service whose name begins with `once`.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let port = |part: &str| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let protocol = &part[digits..];
        let known = ["_TCP", "_UDP", "_SCTP"];
        digits > 0 && known.iter().any(|p| protocol.starts_with(p))
    };
    let is_address =
        value.to_str().is_some_and(|text| ["tcp://", "udp://", "sctp://"].iter().any(|p| text.starts_with(p)));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name == "ONCE_PORT"
        || (name.ends_with("_PORT") && is_address)
        || name.split("_PORT_").skip(1).any(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_meets_its_nearest_real_one() {
        let cases = [
            ("ONCE_LEESE", "ONCE_LEASE?"),
            ("ONCE_APP_URI", "ONCE_APP_URL?"),
            ("ONCE_KAFKA_BROKER", "ONCE_KAFKA_BROKERS?"),
            ("ONCE_REDIS_URL_FIEL", "ONCE_REDIS_URL_FILE?"),
            ("ONCE_KAFKA_PROPERTY_SASL_PASWORD", "ONCE_KAFKA_PROPERTY_SASL_PASSWORD?"),
            ("ONCE_KAFKA_PROPERTY_SASL_PASSWORD_FILES", "ONCE_KAFKA_PROPERTY_SASL_PASSWORD_FILE?"),
            ("ONCE_KAFKA_SASL_PASSWORD", "ONCE_KAFKA_PROPERTY_SASL_PASSWORD?"),
            ("ONCE_KAFKA_PROPERTY_SASL_JAAS_CONFIG", "SASL_USERNAME"),
            ("ONCE_LEASE_FILE", "set ONCE_LEASE"),
            ("ONCE_PORT", "enableServiceLinks: false"),
            ("ONCE_SERVICE_HOST", "enableServiceLinks: false"),
            ("ONCE_SERVICE_PORT_HTTP", "enableServiceLinks: false"),
            ("ONCE_PORT_6379_TCP_ADDR", "enableServiceLinks: false"),
            ("ONCE_REDIS_PORT_6379_TCP", "enableServiceLinks: false"),
        ];
        for (name, hint) in cases {
            let fault = fault(name, OsStr::new("x"));
            assert!(fault.remedy.contains(hint), "{name}: {fault:?}");
        }
        let link = fault("ONCE_REDIS_PORT", OsStr::new("tcp://10.0.0.1:6379"));
        assert!(link.remedy.contains("enableServiceLinks"), "{link:?}");
    }
}
