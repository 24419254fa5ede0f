//! The app: where its endpoints are, and how long it may take.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problems::Fault;
use super::reader::Reader;
use super::secret::SecretString;
use super::url::{self, Node};
use super::{redis, units};

/// The longest path of a unix socket, in bytes: what the kernel's address holds.
const SOCKET_PATH_MAX: usize = 107;

/// All settings of the app.
#[derive(Clone, Debug)]
pub struct App {
    /// Where records are sent; may hold `{topic}`.
    pub url: AppUrl,
    /// Bound on one attempt, in all.
    pub timeout: Duration,
    /// Answers 2xx when the app is ready; `None`: a TCP connect decides.
    pub ready_url: Option<AppUrl>,
    /// Says whether a message was applied; holds `{id}`, may hold `{topic}`.
    pub lookup_url: Option<AppUrl>,
    /// Whether an app beyond this machine is allowed.
    pub allow_remote: bool,
    /// PEM of the authorities; `None`: the system's.
    pub ca: Option<SecretString>,
}

/// An endpoint of the app; prints without its query, which may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub struct AppUrl {
    /// How it is reached.
    pub transport: Transport,
    /// Path and query, beginning with `/`; placeholders still in it.
    pub path_template: String,
}

/// How an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By TCP.
    Tcp {
        /// The host, without brackets when it is an IPv6 address.
        host: String,
        /// 1 to 65535.
        port: u16,
        /// Whether the connection is TLS.
        tls: bool,
    },
    /// By a unix socket.
    Unix {
        /// Absolute.
        path: PathBuf,
    },
}

impl AppUrl {
    /// Whether it stays on this machine.
    pub fn is_local(&self) -> bool {
        match &self.transport {
            Transport::Unix { .. } => true,
            Transport::Tcp { host, port, .. } => {
                let node = Node { host: host.clone(), port: *port };
                node.is_loopback()
            }
        }
    }
}

impl fmt::Display for AppUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self.path_template.split_once('?') {
            Some((path, _)) => format!("{path}?..."),
            None => self.path_template.clone(),
        };
        match &self.transport {
            Transport::Unix { path: socket } => write!(f, "unix:{}:{path}", socket.display()),
            Transport::Tcp { host, port, tls } => {
                let node = Node { host: host.clone(), port: *port };
                let scheme = if *tls { "https" } else { "http" };
                write!(f, "{scheme}://{node}{path}")
            }
        }
    }
}

impl fmt::Debug for AppUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

pub(super) fn section(read: &mut Reader) -> Option<App> {
    let url = read.required("ONCE_APP_URL", record_url);
    let timeout = read.required("ONCE_APP_TIMEOUT", units::positive_duration);
    let ready_url = read.optional("ONCE_APP_READY_URL", ready_url);
    let lookup_url = read.optional("ONCE_APP_LOOKUP_URL", lookup_url);
    let allow_remote = read.required("ONCE_APP_ALLOW_REMOTE", units::flag);
    let ca = read.optional("ONCE_APP_CA", redis::certificate);
    Some(App { url: url?, timeout: timeout?, ready_url, lookup_url, allow_remote: allow_remote?, ca })
}

pub(super) fn record_url(text: &str) -> Result<AppUrl, Fault> {
    endpoint(text, &["{topic}"])
}

pub(super) fn ready_url(text: &str) -> Result<AppUrl, Fault> {
    endpoint(text, &[])
}

pub(super) fn lookup_url(text: &str) -> Result<AppUrl, Fault> {
    let url = endpoint(text, &["{id}", "{topic}"])?;
    if url.path_template.contains("{id}") {
        return Ok(url);
    }
    let what = "does not say where the message ID goes";
    Err(Fault::new(what, "put {id} into its path or query"))
}

fn endpoint(text: &str, placeholders: &[&str]) -> Result<AppUrl, Fault> {
    if let Some(rest) = text.strip_prefix("unix:") {
        return unix(rest, placeholders);
    }
    let parts = url::split(text)?;
    let tls = match parts.scheme {
        "http" => false,
        "https" => true,
        _ => {
            return Err(Fault::new("has an odd scheme", "write http://, https:// or unix:"));
        }
    };
    if parts.userinfo.is_some() {
        let remedy = "remove them: the app is asked without credentials";
        return Err(Fault::new("holds credentials", remedy));
    }
    let node = url::node(parts.authority, if tls { 443 } else { 80 })?;
    let path = if parts.path.is_empty() { "/" } else { parts.path };
    let target = match parts.query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    Ok(AppUrl {
        transport: Transport::Tcp { host: node.host, port: node.port, tls },
        path_template: template(&target, placeholders)?,
    })
}

fn unix(rest: &str, placeholders: &[&str]) -> Result<AppUrl, Fault> {
    let (socket, target) = match rest.split_once(":/") {
        Some((socket, target)) => (socket, format!("/{target}")),
        None => (rest, "/".to_owned()),
    };
    if !socket.starts_with('/') || socket.starts_with("//") || socket.ends_with('/') {
        let what = "does not name a socket by its absolute path";
        return Err(Fault::new(what, "write unix:/path/app.sock, with :/http/path behind if need be"));
    }
    if socket.contains([':', '{', '}', '?', '#']) || socket.chars().any(char::is_control) {
        let remedy = "write unix:/path/app.sock:/http/path";
        return Err(Fault::new("has an odd character in the socket's path", remedy));
    }
    if socket.len() > SOCKET_PATH_MAX {
        let what = "has a socket path above 107 bytes, which no kernel takes";
        return Err(Fault::new(what, "move the socket"));
    }
    Ok(AppUrl {
        transport: Transport::Unix { path: Path::new(socket).to_owned() },
        path_template: template(&target, placeholders)?,
    })
}

/// Checks that only known placeholders and characters that HTTP allows are left.
fn template(target: &str, placeholders: &[&str]) -> Result<String, Fault> {
    let mut bare = target.to_owned();
    for placeholder in placeholders {
        bare = bare.replace(placeholder, "x");
    }
    if bare.contains('#') {
        return Err(Fault::new("has a fragment", "remove it, or write # as %23"));
    }
    if bare.contains(['{', '}']) {
        let remedy = if placeholders.is_empty() {
            "remove the braces: nothing can stand in this one".to_owned()
        } else {
            format!("only {} can stand in it", placeholders.join(" and "))
        };
        return Err(Fault::new("holds an unknown placeholder", remedy));
    }
    let odd = |c: char| !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '|');
    if bare.contains(odd) {
        return Err(Fault::new("has an odd character in its path", "percent-encode it"));
    }
    url::decode(&bare)?;
    Ok(target.to_owned())
}
