//! The port as someone without the cookie gets it: it opens shared reports and refuses everything else.
//!
//! Pages and server functions of guests are given this in place of the service, so that even a page that asks for
//! too much gets nothing.

use std::net::IpAddr;
use std::sync::Arc;

use app::backend::Backend;
use async_trait::async_trait;
use spec::*;

use super::Shared;

type Result<T> = std::result::Result<T, AppError>;

pub struct Guest {
    pub shared: Arc<Shared>,
    pub peer: IpAddr,
}

fn refused<T>() -> Result<T> {
    Err(AppError::unauthorised(
        "This needs the link that the server printed when it started.",
        "Open that link (it ends in ?token=…) in this browser, then try again.",
    ))
}

#[async_trait]
impl Backend for Guest {
    async fn shared_report(&self, token: String) -> Result<Report> {
        if self.shared.limiter.is_blocked(self.peer) {
            return Err(AppError::queue_full(
                "Too many links that do not exist were tried from this address.",
                "Wait a minute, then try again.",
            ));
        }
        let report = self.shared.service.shared_report(token).await;
        if report.as_ref().is_err_and(|error| error.code == ErrorCode::NotFound) {
            self.shared.limiter.miss(self.peer);
        }
        report
    }

    async fn system(&self) -> Result<SystemInfo> {
        refused()
    }
    async fn experiments(&self) -> Result<Vec<ExperimentSummary>> {
        refused()
    }
    async fn create_experiment(&self, _: String, _: Preset, _: String) -> Result<i64> {
        refused()
    }
    async fn rename_experiment(&self, _: i64, _: String) -> Result<()> {
        refused()
    }
    async fn delete_experiment(&self, _: i64) -> Result<()> {
        refused()
    }
    async fn notebook(&self, _: i64) -> Result<Notebook> {
        refused()
    }
    async fn add_cell(&self, _: i64, _: CellKind, _: u32) -> Result<Notebook> {
        refused()
    }
    async fn save_cell(&self, _: i64, _: CellConfig) -> Result<Notebook> {
        refused()
    }
    async fn move_cell(&self, _: i64, _: u32) -> Result<Notebook> {
        refused()
    }
    async fn delete_cell(&self, _: i64) -> Result<Notebook> {
        refused()
    }
    async fn run_cell(&self, _: i64, _: String) -> Result<Notebook> {
        refused()
    }
    async fn run_all(&self, _: i64, _: String) -> Result<Notebook> {
        refused()
    }
    async fn stop_run(&self, _: i64, _: StopMode) -> Result<()> {
        refused()
    }
    async fn resume_run(&self, _: i64, _: String) -> Result<Notebook> {
        refused()
    }
    async fn run_view(&self, _: i64) -> Result<RunView> {
        refused()
    }
    async fn pairs(&self, _: PairsQuery) -> Result<PairsPage> {
        refused()
    }
    async fn models(&self) -> Result<Vec<ModelChoice>> {
        refused()
    }
    async fn files(&self) -> Result<Vec<DataFile>> {
        refused()
    }
    async fn report(&self, _: i64) -> Result<Report> {
        refused()
    }
    async fn share(&self, _: i64) -> Result<ShareLink> {
        refused()
    }
    async fn shares(&self, _: i64) -> Result<Vec<ShareLink>> {
        refused()
    }
    async fn revoke_share(&self, _: i64) -> Result<()> {
        refused()
    }
}
