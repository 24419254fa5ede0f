//! redis-servers of our own for the tests of the claim store.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// A server that is not ready by then never will be.
const START: Duration = Duration::from_secs(30);

/// A port on which nobody listens now, below those of outgoing connections, never given out twice by this process.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id().wrapping_mul(997);
    for _ in 0..20_000 {
        let number = first.wrapping_add(u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % 20_000;
        let port = 12_000 + u16::try_from(number).expect("below 20,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// PEM texts, and the files that hold them.
pub struct Certificates {
    pub ca: Vec<u8>,
    pub cert: Vec<u8>,
    pub key: Vec<u8>,
    dir: tempfile::TempDir,
}

/// An authority of our own and a certificate for 127.0.0.1, by openssl.
pub fn certify() -> Certificates {
    let dir = tempfile::tempdir().expect("a directory");
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
        -subj /CN=authority -days 2 && openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem \
        -out request.pem -subj /CN=redis && printf 'subjectAltName=IP:127.0.0.1' > names && openssl x509 -req \
        -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names";
    let made = Command::new("sh").args(["-c", script]).current_dir(dir.path()).output().expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name: &str| std::fs::read(dir.path().join(name)).expect("a PEM file");
    Certificates { ca: read("ca.pem"), cert: read("cert.pem"), key: read("key.pem"), dir }
}

/// A running redis-server on 127.0.0.1; killed when dropped.
pub struct Server {
    pub port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
    dir: tempfile::TempDir,
    plain: bool,
}

impl Server {
    /// Starts a server without persistence, with more arguments after the usual ones.
    pub fn start(arguments: &[&str]) -> Self {
        let port = free_port();
        let usual = ["--port", &port.to_string(), "--save", "", "--appendonly", "no"];
        Self::with(port, usual.iter().chain(arguments).map(|&argument| argument.to_owned()).collect(), true)
    }

    /// Starts a server that speaks TLS only and wants a client certificate.
    pub fn start_tls(certificates: &Certificates) -> Self {
        let port = free_port();
        let file = |name: &str| certificates.dir.path().join(name).display().to_string();
        let arguments = ["--port", "0", "--tls-port", &port.to_string(), "--tls-ca-cert-file", &file("ca.pem")];
        let more = ["--tls-cert-file", &file("cert.pem"), "--tls-key-file", &file("key.pem"), "--save", ""];
        Self::with(port, arguments.iter().chain(&more).map(|&argument| argument.to_owned()).collect(), false)
    }

    /// Starts a sentinel that knows `primary` as `once`, with more lines in its settings.
    pub fn start_sentinel(primary: &Self, more: &str) -> Self {
        let port = free_port();
        let file = primary.dir.path().join("sentinel.conf");
        // A fail-over that takes longer is taken back, for good: the primary lives.
        let settings = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor once 127.0.0.1 {} 1\nsentinel failover-timeout once 30000\n{more}\n",
            primary.port
        );
        std::fs::write(&file, settings).expect("a file");
        Self::with(port, vec![file.display().to_string(), "--sentinel".to_owned()], true)
    }

    fn with(port: u16, arguments: Vec<String>, plain: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = Self { port, arguments, child: None, dir, plain };
        server.launch();
        server
    }

    /// Starts it (again) on its port, with empty memory, and waits until it answers.
    pub fn launch(&mut self) {
        let log = std::fs::File::create(self.log()).expect("a log");
        let mut command = Command::new("redis-server");
        command.args(&self.arguments).current_dir(self.dir.path()).stdout(log).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server starts"));
        let ready = || {
            if !self.plain {
                return TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            }
            self.connection().is_ok_and(|mut connection| {
                // Whatever it says, it answers; with a password it says NOAUTH.
                !redis::cmd("PING").query::<String>(&mut connection).is_err_and(|error| error.is_io_error())
            })
        };
        wait_until(ready);
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// One command's answer, over a connection of its own.
    pub fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        self.try_ask(command).expect("an answer")
    }

    /// One command's answer, or what went wrong.
    pub fn try_ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> redis::RedisResult<T> {
        command.query(&mut self.connection()?)
    }

    /// One command that must succeed.
    pub fn tell(&self, command: &redis::Cmd) {
        let _: redis::Value = self.ask(command);
    }

    /// Waits until its log holds `words`.
    pub fn wait_for_log(&self, words: &str) {
        wait_until(|| std::fs::read_to_string(self.log()).is_ok_and(|log| log.contains(words)));
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// A connection of its own, without a password.
    pub fn connection(&self) -> redis::RedisResult<redis::Connection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        client.get_connection_with_timeout(Duration::from_secs(5))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks again and again, with a pause that only spares the processor.
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + START;
    while !holds() {
        assert!(Instant::now() < end, "not within {START:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A cluster of primaries, each of which sees it as whole.
pub fn cluster(size: usize) -> Vec<Server> {
    let start = |_| {
        let bus = free_port().to_string();
        Server::start(&["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "2000"])
    };
    let nodes: Vec<_> = (0..size).map(start).collect();
    let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
    let mut create = Command::new("redis-cli");
    create.args(["--cluster", "create"]).args(addresses).arg("--cluster-yes");
    let made = create.output().expect("redis-cli runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    let whole = |node: &Server| node.ask::<String>(redis::cmd("CLUSTER").arg("INFO")).contains("cluster_state:ok");
    wait_until(|| nodes.iter().all(whole));
    nodes
}
