//! The server under test and what speaks with it.

pub(crate) mod agent;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod machine;
pub(crate) mod official;
pub(crate) mod replay;
pub(crate) mod schema;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use privnet_api::{FirstCredentials, Signer};
use privnet_model::zone::Snapshot;
use privnet_server::{
    AuditConfig, Authentication, Encryption, EngineConfig, Limits, ServedCatalogue, ServedCertificate, Server,
    ServerConfig, ServerError,
};
use privnet_store::{SqliteStore, Store};
use privnet_tls::Certificate;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) use self::agent::Agent;
pub(crate) use self::client::Client;
use self::client::Reply;
pub(crate) use self::client::{id_of, listed};
pub(crate) use self::connection::Connection;

/// How long anything may take that is bound to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A free port of loopback.
const FREE_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How the server under test is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// Longer than any test: the first answer to a mutation tells its end. Zero: it tells the beginning.
    pub(crate) operation_hold: Duration,
    pub(crate) operation_timeout: Duration,
    pub(crate) return_grace: Duration,
    pub(crate) public_url: Option<&'static str>,
    /// Whether the API is served by TLS, with a certificate that signs itself. The test's own client has none.
    pub(crate) api_by_tls: bool,
    /// Whether hosts can join, and connect by TLS.
    pub(crate) sync_by_tls: bool,
    pub(crate) certificate_lifetime: Duration,
    pub(crate) limits: Limits,
    pub(crate) audit: AuditConfig,
    pub(crate) authentication: Authentication,
}

impl Setup {
    pub(crate) const WAITING: Self = Self {
        operation_hold: PATIENCE,
        operation_timeout: Duration::from_secs(60),
        return_grace: Duration::ZERO,
        public_url: Some("http://api.example.net:8080"),
        api_by_tls: false,
        sync_by_tls: false,
        certificate_lifetime: Duration::from_secs(30 * 86_400),
        limits: Limits::DEFAULT,
        audit: AuditConfig::DEFAULT,
        authentication: Authentication::Signatures { leeway: Duration::from_secs(60) },
    };
    pub(crate) const AT_ONCE: Self = Self { operation_hold: Duration::ZERO, ..Self::WAITING };
}

/// A server of its own folder; it stops when this is dropped.
pub(crate) struct TestServer {
    running: Option<Running>,
    client: Client,
    setup: Setup,
    dir: TempDir,
}

struct Running {
    runtime: Runtime,
    certificate: Option<ServedCertificate>,
    sync_address: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServerError>>,
}

impl TestServer {
    pub(crate) fn start(setup: Setup) -> Self {
        let dir = folder();
        let (running, address) = run(setup, &dir, None);
        Self { running: Some(running), client: Client::of(address, operator(&dir)), setup, dir }
    }

    pub(crate) fn start_on(store: impl FnOnce(SqliteStore) -> Box<dyn Store>, setup: Setup) -> Self {
        let dir = folder();
        let store = store(open_store(&dir));
        let (running, address) = run(setup, &dir, Some(store));
        Self { running: Some(running), client: Client::of(address, operator(&dir)), setup, dir }
    }

    /// Stops the server; requests under way are answered.
    pub(crate) fn stop(&mut self) {
        let Running { runtime, stop, serving, .. } = self.running.take().expect("a running server");
        stop.send(()).expect("the server runs");
        runtime.block_on(serving).expect("no panic").expect("a clean end");
    }

    /// Waits for the end of a server that nobody has stopped.
    pub(crate) fn ended_by_itself(&mut self) -> ServerError {
        let Running { runtime, serving, stop: _not_sent, .. } = self.running.take().expect("a running server");
        runtime.block_on(serving).expect("no panic").expect_err("a fault")
    }

    pub(crate) fn resume(&mut self) {
        let (running, address) = run(self.setup, &self.dir, None);
        (self.running, self.client) = (Some(running), Client::of(address, operator(&self.dir)));
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        self.resume();
    }

    /// Gives the server another catalogue, from its next start on.
    pub(crate) fn write_catalogue(&self, text: &str) {
        std::fs::write(self.dir.path().join("catalogue.toml"), text).expect("a file");
    }

    /// What a stopped server has left behind.
    pub(crate) fn records(&self) -> Snapshot {
        assert!(self.running.is_none(), "the server runs");
        open_store(&self.dir).load().expect("readable records")
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.running.as_ref().expect("a running server").runtime
    }

    pub(crate) fn sync_address(&self) -> SocketAddr {
        self.running.as_ref().and_then(|running| running.sync_address).expect("a server that hosts reach by TLS")
    }

    /// With which its API is served.
    pub(crate) fn certificate(&self) -> &ServedCertificate {
        self.running.as_ref().and_then(|running| running.certificate.as_ref()).expect("a server with TLS")
    }

    /// By which hosts know it.
    pub(crate) fn authority(&self) -> Certificate {
        let pem = std::fs::read_to_string(self.dir().join("authority.pem")).expect("the authority");
        Certificate::all_from_pem(&pem).expect("a certificate").swap_remove(0)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// For whoever starts a server on it.
    pub(crate) fn dir_handle(&self) -> &TempDir {
        &self.dir
    }

    pub(crate) fn sync_socket(&self) -> PathBuf {
        sync_socket(&self.dir)
    }

    /// The keys that it has made at its first start.
    pub(crate) fn first_credentials(&self) -> FirstCredentials {
        first_credentials(&self.dir)
    }
}

impl std::ops::Deref for TestServer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(Running { runtime, serving, .. }) = self.running.take() {
            serving.abort();
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

fn run(setup: Setup, dir: &TempDir, store: Option<Box<dyn Store>>) -> (Running, SocketAddr) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let store = store.unwrap_or_else(|| Box::new(open_store(dir)));
    let engine = EngineConfig { operation_timeout: setup.operation_timeout, return_grace: setup.return_grace };
    let server = runtime.block_on(Server::bind_with(config(setup, dir), store, engine)).expect("a server");
    let (address, sync_address, certificate) = (server.address(), server.sync_address(), server.certificate().cloned());
    let (stop, stopped) = oneshot::channel();
    let serving = runtime.spawn(server.run(async { drop(stopped.await) }));
    (Running { runtime, certificate, sync_address, stop, serving }, address)
}

pub(crate) fn config(setup: Setup, dir: &TempDir) -> ServerConfig {
    ServerConfig {
        listen: FREE_PORT,
        encryption: if setup.api_by_tls { Encryption::SelfSigned } else { Encryption::None { anywhere: false } },
        data_dir: dir.path().to_owned(),
        zone: "ch-dk-2".to_owned(),
        public_url: setup.public_url.map(str::to_owned),
        catalogue: ServedCatalogue::open(dir.path().join("catalogue.toml"), true).expect("a catalogue"),
        operation_hold: setup.operation_hold,
        authentication: setup.authentication,
        limits: setup.limits,
        audit: setup.audit,
        sync_socket: sync_socket(dir),
        sync_listen: setup.sync_by_tls.then_some(FREE_PORT),
        sync_url: None,
        certificate_lifetime: setup.certificate_lifetime,
    }
}

/// A folder in memory where there is one: what else keeps the disk busy shall not slow the tests down.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

fn open_store(dir: &TempDir) -> SqliteStore {
    SqliteStore::open(&dir.path().join("privnet.db")).expect("a database")
}

/// Signs as the operator whom the server has made at its first start.
fn operator(dir: &TempDir) -> Signer {
    Signer::new(&first_credentials(dir).operator).expect("a key")
}

fn first_credentials(dir: &TempDir) -> FirstCredentials {
    let json = std::fs::read(dir.path().join(FirstCredentials::FILE)).expect("the first keys");
    serde_json::from_slice(&json).expect("credentials")
}

fn sync_socket(dir: &TempDir) -> PathBuf {
    dir.path().join("sync.sock")
}

/// Waits for what is bound to happen.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut has_happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !has_happened() {
        assert!(start.elapsed() < PATIENCE, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A managed network with addresses for `dynamic` instances from 10.0.0.10 on.
pub(crate) fn managed(dynamic: u8) -> Value {
    json!({
        "name": "managed", "start-ip": "10.0.0.10", "end-ip": format!("10.0.0.{}", 9 + dynamic),
        "netmask": "255.255.255.0",
    })
}
