//! The service over HTTP: pages, commands, the socket, uploads, and who may have them.
//!
//! Owns addresses, cookies, headers and limits of requests. Prints nothing, and decides nothing about
//! experiments or runs.

mod access;
mod answer;
mod commands;
mod connections;
mod download;
mod files;
mod guard;
mod hosts;
mod paths;
mod reports;
mod router;
mod socket;
mod upload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spec::AppError;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::service::Service;
use access::Access;
use files::Files;
use hosts::Hosts;

/// How long open connections may take to finish once the server stops.
const DRAIN: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct HttpOptions {
    pub listen: SocketAddr,
    /// The data folder, where the token and unfinished uploads are kept.
    pub data: PathBuf,
    /// A folder with the page's built files, in place of those in the program.
    pub site: Option<PathBuf>,
    /// Serves everyone who can connect. Refused beyond loopback.
    pub no_auth: bool,
    /// Host names under which this server may be addressed, besides loopback and the listen address.
    pub allowed_hosts: Vec<String>,
    /// Largest upload, in bytes.
    pub upload_limit: u64,
    /// Open at a time, beside sockets.
    pub connection_limit: usize,
}

impl HttpOptions {
    pub fn new(listen: SocketAddr, data: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            data: data.into(),
            site: None,
            no_auth: false,
            allowed_hosts: Vec::new(),
            upload_limit: 512 * 1024 * 1024,
            connection_limit: 512,
        }
    }
}

/// What every request handler can use.
struct Shared {
    service: Arc<Service>,
    access: Access,
    hosts: Hosts,
    files: Files,
    guest_reports: guard::GuestReports,
    downloads: download::Downloads,
    incoming: upload::Incoming,
    viewers: Arc<tokio::sync::Semaphore>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// A server that listens and does not answer yet.
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    connection_limit: usize,
    shared: Arc<Shared>,
}

impl HttpServer {
    pub async fn bind(service: Arc<Service>, options: &HttpOptions) -> Result<Self, AppError> {
        if options.no_auth && !options.listen.ip().is_loopback() {
            return Err(AppError::invalid_setting(
                format!("--no-auth with the address {} would let everyone on the network in.", options.listen),
                "Leave --no-auth out, or listen on 127.0.0.1.",
            ));
        }
        let listener = TcpListener::bind(options.listen).await.map_err(|error| {
            AppError::conflict(
                format!("The address {} cannot be listened on: {error}.", options.listen),
                "Choose another with --listen; port 0 takes any free one.",
            )
        })?;
        let address = listener.local_addr().unwrap_or(options.listen);
        let shared = Shared {
            service,
            access: Access::open(&options.data, address.port(), options.no_auth)?,
            hosts: Hosts::new(address.ip(), &options.allowed_hosts),
            files: Files::load(options.site.as_deref())?,
            guest_reports: guard::GuestReports::new(),
            downloads: download::Downloads::new(),
            incoming: upload::Incoming::open(&options.data, options.upload_limit)?,
            viewers: Arc::new(tokio::sync::Semaphore::new(socket::MAX_VIEWERS)),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Ok(Self { listener, address, connection_limit: options.connection_limit, shared: Arc::new(shared) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address to open: with the token, unless none is needed.
    pub fn link(&self) -> String {
        let host = if self.address.ip().is_unspecified() {
            SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, self.address.port()))
        } else {
            self.address
        };
        match self.shared.access.token() {
            Some(token) => format!("http://{host}/?token={token}"),
            None => format!("http://{host}/"),
        }
    }

    /// Serves until `stop`, then lets the active run save, closes sockets, and returns within ten seconds.
    pub async fn run(self, stop: CancellationToken) {
        let Self { listener, connection_limit, shared, .. } = self;
        let router = router::router(&shared);
        let accepting =
            connections::accept(listener, connection_limit, router, shared.shutdown.clone(), shared.tasks.clone());
        let closing = async {
            stop.cancelled().await;
            shared.shutdown.cancel();
            let service = Arc::clone(&shared.service);
            let _ = tokio::task::spawn_blocking(move || service.shutdown()).await;
        };
        tokio::join!(accepting, closing);
        shared.tasks.close();
        let _ = tokio::time::timeout(DRAIN, shared.tasks.wait()).await;
    }
}
