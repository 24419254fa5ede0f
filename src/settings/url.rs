//! The parts of a URL as settings need them; none of its faults repeats a part that may be a secret.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::problems::Fault;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl Node {
    /// Whether it stays on this machine: `localhost`, `127.0.0.0/8` or `::1`.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
            || self.host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `scheme://userinfo@authority path_and_query`, still as text; a fragment was refused.
pub(super) struct Parts<'a> {
    pub scheme: &'a str,
    pub userinfo: Option<&'a str>,
    pub authority: &'a str,
    /// Begins with `/`, or is empty.
    pub path: &'a str,
    /// Without the `?`.
    pub query: Option<&'a str>,
}

/// Splits a URL; refuses fragments, white space and what has no `://`.
pub(super) fn split(text: &str) -> Result<Parts<'_>, Fault> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Fault::new("is not a URL", "begin it with a scheme and ://"));
    };
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Fault::new("holds white space or a control character", "percent-encode it"));
    }
    if rest.contains('#') {
        return Err(Fault::new("has a fragment", "remove it, or write # as %23"));
    }
    let (before, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = before.split_at(before.find('/').unwrap_or(before.len()));
    let (userinfo, authority) = match authority.rsplit_once('@') {
        Some((userinfo, authority)) => (Some(userinfo), authority),
        None => (None, authority),
    };
    Ok(Parts { scheme, userinfo, authority, path, query })
}

/// Reads `host`, `host:port` or `[v6]:port`.
pub(super) fn node(text: &str, default_port: u16) -> Result<Node, Fault> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((host, port)) = rest.split_once(']') else {
                return Err(Fault::new("has a host with a [ left open", "close it"));
            };
            if host.parse::<Ipv6Addr>().is_err() {
                return Err(Fault::new("has a bad IPv6 address", "write it as [::1]"));
            }
            (host, port)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if host.is_empty() {
        return Err(Fault::new("has no host", "write the host's name or address"));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !host.chars().all(legal) {
        let remedy = "write a name or an address (a / ? # @ in a password as %XX)";
        return Err(Fault::new("has a bad host", remedy));
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().unwrap_or(0),
        None | Some(_) => 0,
    };
    if port == 0 {
        return Err(Fault::new("has a bad port", "write a port from 1 to 65535"));
    }
    Ok(Node { host: host.to_owned(), port })
}

/// Reads a comma-separated list of nodes, each once.
pub(super) fn nodes(text: &str, default_port: u16) -> Result<Vec<Node>, Fault> {
    let mut nodes = Vec::new();
    for part in text.split(',') {
        let node = node(part, default_port)?;
        if nodes.contains(&node) {
            return Err(Fault::new("names a host twice", "name each host once"));
        }
        nodes.push(node);
    }
    Ok(nodes)
}

/// Undoes percent-encoding.
pub(super) fn decode(text: &str) -> Result<String, Fault> {
    let broken = || Fault::new("holds a broken %XX", "write % as %25");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
            let pair = digit().zip(digit()).ok_or_else(broken)?;
            bytes.push(u8::try_from(pair.0 * 16 + pair.1).map_err(|_| broken())?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_and_ports_are_read_strictly() {
        let cases = [
            ("redis", "redis:6379"),
            ("redis:1", "redis:1"),
            ("10.0.0.1:65535", "10.0.0.1:65535"),
            ("[::1]", "[::1]:6379"),
            ("[fe80::1]:7000", "[fe80::1]:7000"),
        ];
        for (text, shown) in cases {
            assert_eq!(node(text, 6379).map(|n| n.to_string()), Ok(shown.to_owned()));
        }
        let bad =
            ["", ":6379", "h:", "h:0", "h:65536", "h:+1", "h:1:2", "[::1", "[::1]x", "[zz]:1", "ho st", "h%41", "::1"];
        for text in bad {
            assert!(node(text, 6379).is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_this_machine_and_nothing_else() {
        let cases = [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("LOCALHOST", true),
            ("app", false),
            ("0.0.0.0", false),
            ("127.0.0.1.example.org", false),
            ("localhost.example.org", false),
            ("169.254.169.254", false),
        ];
        for (host, expected) in cases {
            let node = Node { host: host.to_owned(), port: 1 };
            assert_eq!(node.is_loopback(), expected, "{host}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_split_or_refused_without_a_panic(text in "\\PC*") {
            if let Ok(parts) = split(&format!("http://{text}")) {
                prop_assert!(parts.path.is_empty() || parts.path.starts_with('/'));
            }
            prop_assert!(node(&text, 1).map_or(true, |n| n.port > 0));
        }

        #[test]
        fn percent_encoding_is_undone(bytes in "\\PC{0,20}") {
            use std::fmt::Write as _;
            let mut encoded = String::new();
            for b in bytes.bytes() {
                write!(encoded, "%{b:02x}").unwrap();
            }
            prop_assert_eq!(decode(&encoded), Ok(bytes));
        }
    }
}
