//! A real redis-server on a free port: plain, with a password or ACL users, or with TLS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;

use super::ports;
use super::process::{Process, Start};

const START: Duration = Duration::from_secs(20);

/// What a restarted server finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// What was last saved: by [`Redis::save`], or by the server when started with `--appendonly yes`.
    Kept,
    /// Nothing: its memory is lost.
    Empty,
}

/// How to start a server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Password of the default user.
    pub password: Option<String>,
    /// Listen with TLS only, with a certificate of our own authority for `localhost` and 127.0.0.1.
    pub tls: bool,
    /// More arguments of redis-server, e.g. `["--maxmemory", "10mb"]`.
    pub arguments: Vec<String>,
}

/// Certificates of a server with TLS, as PEM files.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority to trust.
    pub ca: PathBuf,
    /// The server's certificate, good as a client certificate too.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A running redis-server. Dropping it kills it and removes its directory.
pub struct Redis {
    process: Mutex<Option<Process>>,
    port: u16,
    options: Options,
    certificates: Option<Certificates>,
    dir: tempfile::TempDir,
}

impl Redis {
    /// The one server that all tests of a binary share; they use namespaces of their own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Redis, String>> = OnceLock::new();
        let started = SHARED.get_or_init(|| Redis::start(&[]).map_err(|error| format!("{error:#}")));
        started.as_ref().unwrap_or_else(|error| panic!("redis-server did not start: {error}"))
    }

    /// Starts a server without persistence, with more arguments after the usual ones.
    pub fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self::start_with(Options { arguments, ..Options::default() })
    }

    /// Starts a server and waits until it is ready.
    pub fn start_with(options: Options) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("redis-").tempdir()?;
        let certificates = options.tls.then(|| certify(dir.path())).transpose()?;
        let redis = Self { process: Mutex::default(), port: ports::free(), options, certificates, dir };
        redis.launch()?;
        Ok(redis)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its URL, with the password when it has one.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "rediss" } else { "redis" };
        let user = self.options.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("{scheme}://{user}{}", self.address())
    }

    /// Its certificates, when it was started with TLS.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// Runs one command through redis-cli; the answer comes raw, without the last newline.
    ///
    /// Error answers of Redis are text like any other (`NOAUTH ...`); only a redis-cli that could not connect is an error.
    pub fn cli(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string(), "--no-auth-warning"]);
        if let Some(password) = &self.options.password {
            command.args(["-a", password]);
        }
        if let Some(Certificates { ca, cert, key }) = &self.certificates {
            command.arg("--tls").arg("--cacert").arg(ca).arg("--cert").arg(cert).arg("--key").arg(key);
        }
        run(command.args(arguments))
    }

    /// Writes its memory to disk, for a later restart with [`Data::Kept`].
    pub fn save(&self) -> anyhow::Result<()> {
        let answer = self.cli(&["SAVE"])?;
        anyhow::ensure!(answer == "OK", "SAVE: {answer}");
        Ok(())
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        if let Some(process) = self.lock().as_ref() {
            process.kill();
        }
    }

    /// Kills it if it runs and starts it again on its port.
    pub fn restart(&self, data: Data) -> anyhow::Result<()> {
        self.kill();
        if data == Data::Empty {
            let _ = std::fs::remove_file(self.dir.path().join("dump.rdb"));
            let _ = std::fs::remove_dir_all(self.dir.path().join("appendonlydir"));
        }
        self.launch()
    }

    /// Freezes it (SIGSTOP): its connections stay open and silent.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for a line of its log.
    pub fn wait_log(&self, wanted: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        self.lock().as_ref().context("not launched")?.log().wait_for(START, wanted)
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = self.lock().as_ref() {
            process.signal(signal);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self) -> anyhow::Result<()> {
        let port = self.port.to_string();
        let mut start = Start::new("redis-server").dir(self.dir.path()).wipe(self.dir.path());
        start = start.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        start = match &self.certificates {
            None => start.args(["--port", &port]),
            Some(Certificates { ca, cert, key }) => start
                .args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "optional"])
                .arg("--tls-ca-cert-file")
                .arg(ca)
                .arg("--tls-cert-file")
                .arg(cert)
                .arg("--tls-key-file")
                .arg(key),
        };
        if let Some(password) = &self.options.password {
            start = start.args(["--requirepass", password]);
        }
        let process = start.args(&self.options.arguments).spawn()?;
        process.log().wait_for(START, |line| line.contains("Ready to accept connections"))?;
        *self.lock() = Some(process);
        Ok(())
    }
}

/// Runs a command to its end and gives back its standard output without the last newline.
pub(super) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
    anyhow::ensure!(
        output.status.success() || !output.stdout.is_empty(),
        "{command:?} ended with {}: {}",
        output.status,
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

/// An authority and a certificate for `localhost` and 127.0.0.1, as files in `dir`.
pub fn certify(dir: &Path) -> anyhow::Result<Certificates> {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "test authority");
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let cert = CertificateParams::new(names)?.signed_by(&key, &issuer)?;

    let files = Certificates { ca: dir.join("ca.pem"), cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    std::fs::write(&files.ca, authority_pem)?;
    std::fs::write(&files.cert, cert.pem())?;
    std::fs::write(&files.key, key.serialize_pem())?;
    Ok(files)
}
