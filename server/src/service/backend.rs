//! The port's async face: each call runs the blocking core on a thread that may block.

use std::sync::Arc;

use app::backend::Backend;
use async_trait::async_trait;
use spec::*;

use super::{Core, Service, presets};

type Result<T> = std::result::Result<T, AppError>;

impl Service {
    pub(super) async fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Core) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let core = Arc::clone(&self.core);
        tokio::task::spawn_blocking(move || ask(&core)).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request hit a fault");
            Err(AppError::internal("The request hit a fault of this program.", "See the server's log."))
        })
    }
}

#[async_trait]
impl Backend for Service {
    async fn system(&self) -> Result<SystemInfo> {
        self.call(|core| Ok(core.system())).await
    }

    async fn experiments(&self) -> Result<Vec<ExperimentSummary>> {
        self.call(|core| Ok(core.store.experiments()?)).await
    }

    async fn create_experiment(&self, name: String, preset: Preset, key: String) -> Result<i64> {
        self.call(move |core| core.create_experiment(&name, &presets::cells(preset), &key)).await
    }

    async fn rename_experiment(&self, experiment: i64, name: String) -> Result<()> {
        self.call(move |core| core.rename_experiment(experiment, &name)).await
    }

    async fn delete_experiment(&self, experiment: i64) -> Result<()> {
        self.call(move |core| core.delete_experiment(experiment)).await
    }

    async fn notebook(&self, experiment: i64) -> Result<Notebook> {
        self.call(move |core| core.notebook(experiment)).await
    }

    async fn add_cell(&self, experiment: i64, kind: CellKind, position: u32) -> Result<Notebook> {
        self.call(move |core| core.add_cell(experiment, kind, position)).await
    }

    async fn save_cell(&self, cell: i64, config: CellConfig) -> Result<Notebook> {
        self.call(move |core| core.save_cell(cell, config)).await
    }

    async fn move_cell(&self, cell: i64, position: u32) -> Result<Notebook> {
        self.call(move |core| core.move_cell(cell, position)).await
    }

    async fn delete_cell(&self, cell: i64) -> Result<Notebook> {
        self.call(move |core| core.delete_cell(cell)).await
    }

    async fn run_cell(&self, cell: i64, key: String) -> Result<Notebook> {
        self.call(move |core| core.run_cell(cell, &key)).await
    }

    async fn run_all(&self, experiment: i64, key: String) -> Result<Notebook> {
        self.call(move |core| core.run_all(experiment, &key)).await
    }

    async fn stop_run(&self, run: i64, mode: StopMode) -> Result<()> {
        self.call(move |core| core.stop_run(run, mode)).await
    }

    async fn resume_run(&self, run: i64, key: String) -> Result<Notebook> {
        self.call(move |core| core.resume_run(run, &key)).await
    }

    async fn run_view(&self, run: i64) -> Result<RunView> {
        self.call(move |core| core.run_view(run)).await
    }

    async fn pairs(&self, query: PairsQuery) -> Result<PairsPage> {
        self.call(move |core| core.pairs(&query)).await
    }

    async fn models(&self) -> Result<Vec<ModelChoice>> {
        self.call(|core| core.resources.models()).await
    }

    async fn files(&self) -> Result<Vec<DataFile>> {
        self.call(|core| core.resources.files()).await
    }

    async fn report(&self, run: i64) -> Result<Report> {
        self.call(move |core| core.report(run)).await
    }

    async fn share(&self, run: i64) -> Result<ShareLink> {
        self.call(move |core| core.share(run)).await
    }

    async fn shares(&self, run: i64) -> Result<Vec<ShareLink>> {
        self.call(move |core| Ok(core.store.shares(run)?)).await
    }

    async fn revoke_share(&self, share: i64) -> Result<()> {
        self.call(move |core| core.revoke_share(share)).await
    }

    async fn shared_report(&self, token: String) -> Result<Report> {
        self.call(move |core| core.shared_report(&token)).await
    }
}

impl Core {
    fn system(&self) -> SystemInfo {
        SystemInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: self.device.clone(),
            device_description: self.device_description.clone(),
            memory_bytes: engine::memory::total_bytes(),
            queued: self.jobs.waiting() as u32,
            queue_limit: self.jobs.limit() as u32,
        }
    }
}
