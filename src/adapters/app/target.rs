//! Where the app listens, and the path of a request with its `{topic}` and `{id}` filled in.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use http::{HeaderValue, Uri};

use super::encoding::URL_TEXT;
use crate::domain::identity::WireId;

/// What a connection runs over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, with TLS for `https://`.
    Tcp {
        /// A name or an address; an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether to speak TLS.
        tls: bool,
    },
    /// A unix socket.
    Unix {
        /// Where the socket lies.
        path: PathBuf,
    },
}

/// One URL of the app, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppTarget {
    /// What to connect to.
    pub transport: Transport,
    /// Path and query; may hold `{topic}`, and `{id}` in a lookup's.
    pub path: String,
}

/// What a path may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Topic,
    Id,
}

/// A target whose path was checked.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) transport: Transport,
    /// For the `Host` header.
    pub(super) host: String,
    path: Vec<Piece>,
}

impl Target {
    /// A target asked about one message.
    pub(super) fn with_id(target: &AppTarget) -> anyhow::Result<Self> {
        let made = Self::new(target)?;
        ensure!(made.path.contains(&Piece::Id), "the path {:?} does not hold {{id}}", target.path);
        Ok(made)
    }

    /// A target that knows no message by its ID.
    pub(super) fn without_id(target: &AppTarget) -> anyhow::Result<Self> {
        let made = Self::new(target)?;
        ensure!(!made.path.contains(&Piece::Id), "the path {:?} holds {{id}}, which only a lookup has", target.path);
        Ok(made)
    }

    /// Checks the path with sample values, so that filling it in later cannot fail for its own text.
    fn new(target: &AppTarget) -> anyhow::Result<Self> {
        ensure!(target.path.starts_with('/'), "the path {:?} does not begin with a slash", target.path);
        let host = host(&target.transport);
        HeaderValue::from_str(&host).context("the host cannot stand in a header")?;
        let made = Self { transport: target.transport.clone(), host, path: pieces(&target.path)? };
        made.path("topic", None).map_err(anyhow::Error::msg)?;
        Ok(made)
    }

    /// Path and query of a request. Fails only for text that no URL may hold.
    pub(super) fn path(&self, topic: &str, id: Option<&WireId>) -> Result<String, String> {
        let mut path = Vec::new();
        for piece in &self.path {
            match piece {
                Piece::Text(text) => path.extend_from_slice(text.as_bytes()),
                Piece::Topic => URL_TEXT.encode(topic.as_bytes(), &mut path),
                Piece::Id => path.extend(id.map(WireId::in_url).unwrap_or_default().into_bytes()),
            }
        }
        let uri = Uri::try_from(path).map_err(|error| format!("the path of the app's url: {error}"))?;
        Ok(uri.path_and_query().map_or("/", |path| path.as_str()).to_owned())
    }
}

/// The `Host` header: without the port where it is the scheme's own; a unix socket has no name.
fn host(transport: &Transport) -> String {
    let Transport::Tcp { host, port, tls } = transport else { return "localhost".to_owned() };
    let name = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    if *port == if *tls { 443 } else { 80 } { name } else { format!("{name}:{port}") }
}

fn pieces(path: &str) -> anyhow::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = path;
    while let Some((text, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { bail!("the path {path:?} has an open brace") };
        pieces.push(Piece::Text(text.to_owned()));
        pieces.push(match name {
            "topic" => Piece::Topic,
            "id" => Piece::Id,
            _ => bail!("the path {path:?} holds {{{name}}}; known are {{topic}} and {{id}}"),
        });
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, tls: bool) -> Transport {
        Transport::Tcp { host: host.to_owned(), port, tls }
    }

    #[test]
    fn the_host_header_leaves_out_the_port_of_the_scheme() {
        for (transport, expected) in [
            (tcp("localhost", 80, false), "localhost"),
            (tcp("localhost", 443, true), "localhost"),
            (tcp("127.0.0.1", 443, false), "127.0.0.1:443"),
            (tcp("::1", 8080, false), "[::1]:8080"),
            (Transport::Unix { path: "/run/app.sock".into() }, "localhost"),
        ] {
            assert_eq!(host(&transport), expected);
        }
    }

    #[test]
    fn topic_and_id_are_filled_in_encoded() {
        for (path, id, expected) in [
            ("/", "x", "/"),
            ("/in/{topic}", "x", "/in/orders.v1"),
            ("/seen/{topic}/{id}", "position:t/0/1/2", "/seen/orders.v1/position:t%2F0%2F1%2F2"),
            ("/seen?id={id}&t={topic}", "a%20b&c+d?e#f", "/seen?id=a%2520b%26c%2Bd%3Fe%23f&t=orders.v1"),
            ("/seen/{id}", "{\"a\":<1>}\\^`|;", "/seen/%7B%22a%22:%3C1%3E%7D%5C%5E%60%7C%3B"),
        ] {
            let target = Target::new(&AppTarget { transport: tcp("h", 1, false), path: path.to_owned() }).unwrap();
            assert_eq!(target.path("orders.v1", Some(&WireId(id.into()))).unwrap(), expected);
        }
    }

    #[test]
    fn a_path_that_cannot_be_asked_for_is_refused() {
        for path in ["", "no-slash", "/open{", "/{unknown}", "/a b", "/a\r\nX: 1"] {
            let target = AppTarget { transport: tcp("h", 1, false), path: path.to_owned() };
            assert!(Target::new(&target).is_err(), "{path:?}");
        }
        for (path, with_id) in [("/", false), ("/{topic}", false), ("/{id}", true)] {
            let target = AppTarget { transport: tcp("h", 1, false), path: path.to_owned() };
            assert_eq!(Target::with_id(&target).is_ok(), with_id, "{path:?}");
            assert_eq!(Target::without_id(&target).is_ok(), !with_id, "{path:?}");
        }
    }
}
