use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use privnet_model::zone::{Change, Row};
use privnet_store::{SqliteStore, Store, StoreError};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::audit::AuditConfig;
use crate::auth::{self, AuthorityError, Gate, HostAuthority, KeyFileError, KeyRing};
use crate::catalogue::ServedCatalogue;
use crate::certificate::{Encryption, ServedCertificate, ServedCertificateError};
use crate::engine::{Engine, EngineConfig, Records, now};
use crate::handshakes::Handshakes;
use crate::http::{self, HttpConfig, Invitations, Tls};
use crate::limits::Limits;
use crate::reload::Reloader;
use crate::seldom::Seldom;
use crate::sync::{self, TlsDoor};

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where the HTTP API listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How the API is served, which says where it may listen.
    pub encryption: Encryption,
    /// The folder of the database and of the files about keys; made if it is missing, readable by its owner
    /// only.
    pub data_dir: PathBuf,
    /// The name of the one zone.
    pub zone: String,
    /// The URL under which clients reach the API, without `/v2`; `None` makes it from the address.
    pub public_url: Option<String>,
    /// What instances can be as large as and made of.
    pub catalogue: ServedCatalogue,
    /// How long a mutation's answer is held back while the hosts apply it.
    pub operation_hold: Duration,
    /// Whether requests must be signed.
    pub authentication: Authentication,
    /// What the API takes from its clients.
    pub limits: Limits,
    /// How much of the audit log is kept.
    pub audit: AuditConfig,
    /// The Unix socket for agents; made with mode 0600.
    pub sync_socket: PathBuf,
    /// Where hosts that have joined connect, by TLS; `None`: nowhere. Port 0 takes a free one.
    pub sync_listen: Option<SocketAddr>,
    /// At which URL hosts reach that; `None` makes it from the address.
    pub sync_url: Option<String>,
    /// For how long the certificates of hosts are good, and the server's own: both are renewed before they end. 30
    /// days by default.
    pub certificate_lifetime: Duration,
}

/// Whether requests must be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// With the secret of a key.
    Signatures {
        /// How long after its expiry a signature is still good: for clients whose clocks are behind, and for
        /// those whose signatures expire at once. In whole seconds, of which the rest is cut off; 60 by default.
        leeway: Duration,
    },
    /// Whoever reaches the server is an operator; what a web page in a browser may have sent is refused.
    None,
}

/// Why a server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Everybody who reaches the address could change every network.
    #[error(
        "refusing to listen on {0} without authentication: everybody who reaches it could change every network; leave out --insecure-no-auth, or listen on a loopback address (127.0.0.1, ::1)"
    )]
    OpenToAll(SocketAddr),
    /// Everybody on the way could read what is sent.
    #[error(
        "refusing to listen on {0}: everybody on the way could read what is sent, as it is not encrypted; give --tls-cert and --tls-key (or, for a first try, --tls-self-signed), listen on a loopback address (127.0.0.1, ::1), or, if something in front of it encrypts, --allow-plain-http"
    )]
    NotLoopback(SocketAddr),
    /// The data folder cannot be made or used.
    #[error("cannot use the data folder {}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database cannot be opened.
    #[error("cannot open the database {}", path.display())]
    Store {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// What the database holds cannot be read, or its first record not be made.
    #[error("cannot start on what the database holds")]
    Load(#[source] StoreError),
    /// There is no certificate to serve the API with.
    #[error(transparent)]
    Certificate(#[from] ServedCertificateError),
    /// The secrets of the keys cannot be had.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The authority of the hosts cannot be had.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The first keys cannot be kept.
    #[error("cannot keep the first keys")]
    FirstKeys(#[source] StoreError),
    /// The API's or the agents' address is taken, or not this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket for agents cannot be made.
    #[error("cannot listen on the socket {}", path.display())]
    SyncSocket {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing can be changed any more.
    #[error("the thread that commits changes has ended because of a fault; the log tells more")]
    Writer,
    /// Serving agents ended.
    #[error("the sync service has stopped")]
    Sync(#[source] tonic::transport::Error),
}

/// A server whose sockets are open: clients and agents that connect now are served when it runs.
pub struct Server {
    engine: Engine,
    gate: Gate,
    certificate: Option<ServedCertificate>,
    http_listener: TcpListener,
    address: SocketAddr,
    sync_unix: UnixListener,
    sync_tls: Option<TlsDoor>,
    /// Of both doors.
    failed_handshakes: Seldom,
    invitations: Invitations,
    config: ServerConfig,
}

impl Server {
    /// Opens the database and the sockets. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`] for the first thing that fails.
    pub async fn bind(config: ServerConfig) -> Result<Self, ServerError> {
        refuse_other_than_loopback(&config)?;
        make_private_dir(&config.data_dir)
            .map_err(|source| ServerError::DataDir { path: config.data_dir.clone(), source })?;
        let path = config.data_dir.join("privnet.db");
        let store = SqliteStore::open(&path).map_err(|source| ServerError::Store { path, source })?;
        Self::bind_with(config, Box::new(store), EngineConfig::default()).await
    }

    /// Opens the sockets on another store than that of the data folder.
    ///
    /// # Errors
    /// [`ServerError`] for the first thing that fails.
    pub async fn bind_with(
        config: ServerConfig,
        store: Box<dyn Store>,
        engine_config: EngineConfig,
    ) -> Result<Self, ServerError> {
        refuse_other_than_loopback(&config)?;
        let certificate =
            ServedCertificate::of(&config.encryption, &config.data_dir, config.listen, config.public_url.as_deref())?;
        let http_listener = listen(config.listen).await?;
        let address =
            http_listener.local_addr().map_err(|source| ServerError::Listen { address: config.listen, source })?;
        let sync_unix = sync::bind(&config.sync_socket)
            .map_err(|source| ServerError::SyncSocket { path: config.sync_socket.clone(), source })?;
        let sync_listener = match config.sync_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let mut records = Records::load(store).map_err(ServerError::Load)?;
        let keys = keys(&mut records, &config.data_dir)?;
        let failed_handshakes = Handshakes::failed();
        let mut invitations = Invitations::Nowhere;
        let sync_tls = match sync_listener {
            Some(listener) => {
                let lifetime = config.certificate_lifetime;
                let authority = HostAuthority::open(&config.data_dir, &keys, records.zone(), lifetime, now())?;
                let door = TlsDoor::new(listener, Arc::new(authority), failed_handshakes.clone())?;
                invitations = Invitations::to(&door, config.sync_url.as_deref());
                Some(door)
            }
            None => None,
        };
        let gate = match config.authentication {
            Authentication::Signatures { leeway } => Gate::Guarded { keys, leeway },
            Authentication::None => Gate::Open { own_host: config.public_url.as_deref().and_then(auth::host_of) },
        };
        config.catalogue.current().warn_of_gone(records.zone());
        let engine = Engine::start(records, engine_config, config.audit).map_err(ServerError::Load)?;
        Ok(Self {
            engine,
            gate,
            certificate,
            http_listener,
            address,
            sync_unix,
            sync_tls,
            failed_handshakes,
            invitations,
            config,
        })
    }

    /// Where the API listens, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate with which the API is served, if it is by TLS.
    pub fn certificate(&self) -> Option<&ServedCertificate> {
        self.certificate.as_ref()
    }

    /// What has this server read its files again.
    pub fn reloader(&self) -> Reloader {
        let (certificate, engine) = (self.certificate.clone(), self.engine.clone());
        Reloader { certificate, catalogue: self.config.catalogue.clone(), engine }
    }

    /// The URL under which clients reach the API, without `/v2`.
    pub fn public_url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        self.config.public_url.clone().unwrap_or_else(|| format!("{scheme}://{}", self.address))
    }

    /// Where hosts that have joined connect, with the port that was taken.
    pub fn sync_address(&self) -> Option<SocketAddr> {
        self.sync_tls.as_ref()?.address()
    }

    /// Serves until `shutdown` resolves; requests under way are answered first.
    ///
    /// # Errors
    /// [`ServerError::Writer`] or [`ServerError::Sync`] where serving ends otherwise.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let public_url = self.public_url();
        let Self {
            engine,
            gate,
            certificate,
            http_listener,
            address,
            sync_unix,
            sync_tls,
            failed_handshakes,
            invitations,
            config,
        } = self;
        if certificate.is_none() && !address.ip().is_loopback() {
            warn!("the API is not encrypted: everybody on the way can read what is sent");
        }
        if config.public_url.is_none() && address.ip().is_unspecified() {
            warn!(public_url, "no client can connect to this URL, which it is told: set --public-url");
        }
        let sync_address = sync_tls.as_ref().and_then(TlsDoor::address).map(tracing::field::display);
        info!(%address, public_url, zone = config.zone, data = %config.data_dir.display(), sync_address, "server ready");
        if config.authentication == Authentication::None {
            warn!("there is no authentication: whoever reaches the API is an operator");
        }
        let (stop, stopping) = watch::channel(());
        let stopped = || {
            let mut stopping = stopping.clone();
            // The sender is dropped, never used: this resolves when `wait` ends.
            async move { drop(stopping.changed().await) }
        };
        let http_config = HttpConfig {
            zone: config.zone,
            public_url,
            operation_hold: config.operation_hold,
            catalogue: config.catalogue,
            invitations,
        };
        let tls =
            certificate.map(|certificate| Tls::new(certificate.acceptor().clone(), &config.limits, failed_handshakes));
        let serve_clients = async {
            http::serve(http_listener, tls, engine.clone(), gate, http_config, config.limits, stopped()).await;
            Ok(())
        };
        let serve_unix = sync::serve_socket(sync_unix, engine.clone(), stopped());
        let serve_tls = async {
            match sync_tls {
                Some(door) => door.serve(engine.clone(), stopped()).await,
                None => Ok(()),
            }
        };
        let serve_agents = async { tokio::try_join!(serve_unix, serve_tls).map_err(ServerError::Sync) };
        let wait = async {
            let _stop = stop;
            let ended = tokio::select! {
                () = shutdown => Ok(()),
                () = engine.stopped() => Err(ServerError::Writer),
            };
            engine.close();
            ended
        };
        let served = tokio::try_join!(wait, serve_clients, serve_agents);
        engine.stop().await;
        served.map(drop)
    }
}

/// The secrets of the keys. Where there are no keys, the first ones are made and written down: before they
/// are records, so that none are there that nobody has.
fn keys(records: &mut Records, data_dir: &Path) -> Result<KeyRing, ServerError> {
    let keys = auth::unlock(data_dir, records.zone())?;
    if records.zone().keys().len() == 0 {
        let (first, file) = auth::first_keys(data_dir, &keys, now())?;
        let changes = first.map(|key| Change::Key(Row::insert(key)));
        records.commit(&changes).map_err(ServerError::FirstKeys)?;
        info!(file = %file.display(), "the first keys are made; the file has them and their secrets");
    }
    Ok(keys)
}

/// How many connections wait to be accepted: a burst of more has some wait for a second, until their clients ask
/// the kernel again (listen(2)). The kernel may allow fewer (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

async fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|source| ServerError::Listen { address, source })
}

fn refuse_other_than_loopback(config: &ServerConfig) -> Result<(), ServerError> {
    let in_clear_nowhere_else = matches!(config.encryption, Encryption::None { anywhere: false });
    match config.authentication {
        _ if config.listen.ip().is_loopback() => {}
        Authentication::None => return Err(ServerError::OpenToAll(config.listen)),
        Authentication::Signatures { .. } if in_clear_nowhere_else => {
            return Err(ServerError::NotLoopback(config.listen));
        }
        Authentication::Signatures { .. } => {}
    }
    Ok(())
}

fn make_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
