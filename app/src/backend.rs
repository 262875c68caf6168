//! The port: what pages ask of the server, as a trait that `server` implements and provides as
//! `Arc<dyn Backend>` in context. Server functions are thin calls into it. Only under `ssr`.

use async_trait::async_trait;

use spec::*;

type Result<T> = std::result::Result<T, AppError>;

/// `key` arguments are idempotency keys: the same key again returns the first call's result and does nothing.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    async fn system(&self) -> Result<SystemInfo>;

    /// Newest first.
    async fn experiments(&self) -> Result<Vec<ExperimentSummary>>;
    async fn create_experiment(&self, name: String, preset: Preset, key: String) -> Result<i64>;
    async fn rename_experiment(&self, experiment: i64, name: String) -> Result<()>;
    /// Refused (`conflict`) while one of its runs is under way. Deletes its runs and their artifacts.
    async fn delete_experiment(&self, experiment: i64) -> Result<()>;

    async fn notebook(&self, experiment: i64) -> Result<Notebook>;
    /// `position` is 0-based; beyond the end means at the end.
    async fn add_cell(&self, experiment: i64, kind: CellKind, position: u32) -> Result<Notebook>;
    async fn save_cell(&self, cell: i64, config: CellConfig) -> Result<Notebook>;
    async fn move_cell(&self, cell: i64, position: u32) -> Result<Notebook>;
    async fn delete_cell(&self, cell: i64) -> Result<Notebook>;

    /// Queues this cell and, before it, those of its inputs that are stale or never ran.
    async fn run_cell(&self, cell: i64, key: String) -> Result<Notebook>;
    /// Queues every cell that is stale, failed or never ran.
    async fn run_all(&self, experiment: i64, key: String) -> Result<Notebook>;
    async fn stop_run(&self, run: i64, mode: StopMode) -> Result<()>;
    /// Goes on with a stopped, failed or interrupted training or generation from what it saved.
    async fn resume_run(&self, run: i64, key: String) -> Result<Notebook>;
    async fn run_view(&self, run: i64) -> Result<RunView>;
    async fn pairs(&self, query: PairsQuery) -> Result<PairsPage>;

    async fn models(&self) -> Result<Vec<ModelChoice>>;
    async fn files(&self) -> Result<Vec<DataFile>>;

    /// The report of a report cell's newest finished run.
    async fn report(&self, run: i64) -> Result<Report>;
    async fn share(&self, run: i64) -> Result<ShareLink>;
    async fn shares(&self, run: i64) -> Result<Vec<ShareLink>>;
    async fn revoke_share(&self, share: i64) -> Result<()>;
    /// What a share link opens. Unknown, malformed and revoked tokens give the same `not_found`.
    async fn shared_report(&self, token: String) -> Result<Report>;
}
