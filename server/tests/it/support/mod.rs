//! A running server, a client that sends exactly what it is told, and executors that do as the test says.

mod client;
pub mod fake;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use server::http::{HttpOptions, HttpServer};
use server::service::Service;
use server::settings::Settings;
use spec::*;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub use client::Request;

pub struct Server {
    pub service: Arc<Service>,
    pub address: SocketAddr,
    pub token: String,
    pub data: TempDir,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(fake::obedient(), |_| {}).await
    }

    pub async fn start_with(executor: fake::Work, change: impl FnOnce(&mut HttpOptions)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let service = open(data.path(), executor);
        let site = data.path().join("site");
        std::fs::create_dir_all(site.join("pkg")).unwrap();
        std::fs::write(site.join("pkg/backtranslate.js"), "export default 1;").unwrap();
        std::fs::write(site.join("favicon.svg"), "<svg xmlns=\"http://www.w3.org/2000/svg\"/>").unwrap();
        let mut options = HttpOptions::new("127.0.0.1:0".parse().unwrap(), data.path());
        options.site = Some(site);
        change(&mut options);
        let bound = HttpServer::bind(Arc::clone(&service), &options).await.unwrap();
        let address = bound.address();
        let token = bound.link().split_once("token=").map(|(_, token)| token.to_owned()).unwrap_or_default();
        let stop = CancellationToken::new();
        let task = tokio::spawn(bound.run(stop.clone()));
        Self { service, address, token, data, stop, task }
    }

    pub fn get(&self, path: &str) -> Request {
        Request::new(self.address, "GET", path)
    }

    /// With the Origin that this server's own pages send.
    pub fn post(&self, path: &str, body: &str) -> Request {
        let request = Request::new(self.address, "POST", path).body(body);
        request.header("Content-Type", "application/json").header("Origin", &format!("http://{}", self.address))
    }

    /// What a browser holds after it opened the printed link.
    pub async fn cookie(&self) -> String {
        let answer = self.get(&format!("/?token={}", self.token)).send().await;
        answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    }

    /// Stops it as SIGTERM does; the data folder stays.
    pub async fn stop(self) -> TempDir {
        self.stop.cancel();
        self.task.await.unwrap();
        self.data
    }
}

/// A service without HTTP.
pub fn open(data: &Path, work: fake::Work) -> Arc<Service> {
    Service::open_with(Settings::new(data), "a test".to_owned(), |_| fake::executor(work)).unwrap()
}

/// The quick start's cell of this kind.
pub async fn cell(service: &Service, experiment: i64, kind: CellKind) -> Cell {
    let notebook = service.ask(GetNotebook { experiment }).await.unwrap();
    notebook.cells.into_iter().find(|cell| cell.config.kind() == kind).unwrap()
}

/// The newest run of the first experiment's cell of this kind.
pub async fn run_of(service: &Service, kind: CellKind) -> RunView {
    cell(service, 1, kind).await.run.unwrap()
}

pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited too long for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn wait_for(service: &Service, run: i64, state: RunState) -> RunView {
    eventually(state.as_str(), async || service.ask(GetRun { run }).await.ok().filter(|view| view.state == state)).await
}

/// Every cell of the experiment has a finished run.
pub async fn wait_until_done(service: &Service, experiment: i64) {
    eventually("all runs done", async || {
        let notebook = service.ask(GetNotebook { experiment }).await.unwrap();
        let cells = notebook.cells.into_iter().filter(|cell| cell.config.kind() != CellKind::Note);
        let runs: Vec<Option<RunView>> = cells.map(|cell| cell.run).collect();
        let failed: Vec<_> = runs.iter().flatten().filter(|run| run.state == RunState::Failed).collect();
        assert!(failed.is_empty(), "{:?}", failed.iter().map(|run| &run.error).collect::<Vec<_>>());
        let is_done = |run: &Option<RunView>| run.as_ref().is_some_and(|run| run.state == RunState::Done);
        runs.iter().all(is_done).then_some(())
    })
    .await;
}

/// A finished quick start: the run of its report.
pub async fn finished_report(service: &Service) -> i64 {
    service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    wait_until_done(service, 1).await;
    run_of(service, CellKind::Report).await.run
}
