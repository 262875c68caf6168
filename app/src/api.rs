//! Server functions: what a page asks for, as POST requests with JSON.
//!
//! Each is one call into the port. Who may call, and how often, is the server's business. Paths are nouns for what is
//! asked and verbs for what is done; the functions have names of their own, since each also makes a type of its name.

#[cfg(feature = "ssr")]
use std::sync::Arc;

use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use server_fn::codec::Json;

#[cfg(feature = "ssr")]
use crate::backend::Backend;
use spec::*;

#[cfg(feature = "ssr")]
fn backend() -> Result<Arc<dyn Backend>, AppError> {
    use_context::<Arc<dyn Backend>>().ok_or_else(|| {
        AppError::internal("The page was rendered without its server.", "Restart the server and reload the page.")
    })
}

/// All that the list of experiments shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentsPage {
    pub experiments: Vec<ExperimentSummary>,
    pub system: SystemInfo,
}

/// All that a notebook shows at first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotebookPage {
    pub notebook: Notebook,
    pub models: Vec<ModelChoice>,
    pub files: Vec<DataFile>,
    pub system: SystemInfo,
}

/// A report with one page of its pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportPage {
    /// Holds the shown pairs only.
    pub report: Report,
    /// Pairs in the whole report.
    pub pairs: u64,
    /// Row of the first shown pair.
    pub offset: u64,
}

/// Pairs on one page of a report.
pub const REPORT_PAGE: u64 = 100;

impl ReportPage {
    /// `page` is 1-based; 0 shows all pairs.
    pub fn of(mut report: Report, page: u32) -> Self {
        let pairs = report.pairs.len() as u64;
        if page == 0 {
            return Self { report, pairs, offset: 0 };
        }
        let offset = (u64::from(page) - 1) * REPORT_PAGE;
        report.pairs = report.pairs.into_iter().skip(offset as usize).take(REPORT_PAGE as usize).collect();
        Self { report, pairs, offset }
    }
}

#[server(prefix = "/api", endpoint = "experiments_page", input = Json)]
pub async fn open_experiments() -> Result<ExperimentsPage, AppError> {
    let backend = backend()?;
    Ok(ExperimentsPage { experiments: backend.experiments().await?, system: backend.system().await? })
}

#[server(prefix = "/api", endpoint = "create_experiment", input = Json)]
pub async fn create_experiment(name: String, preset: Preset, key: String) -> Result<i64, AppError> {
    backend()?.create_experiment(name, preset, key).await
}

#[server(prefix = "/api", endpoint = "rename_experiment", input = Json)]
pub async fn rename_experiment(experiment: i64, name: String) -> Result<(), AppError> {
    backend()?.rename_experiment(experiment, name).await
}

#[server(prefix = "/api", endpoint = "delete_experiment", input = Json)]
pub async fn delete_experiment(experiment: i64) -> Result<(), AppError> {
    backend()?.delete_experiment(experiment).await
}

#[server(prefix = "/api", endpoint = "notebook_page", input = Json)]
pub async fn open_notebook(experiment: i64) -> Result<NotebookPage, AppError> {
    let backend = backend()?;
    Ok(NotebookPage {
        notebook: backend.notebook(experiment).await?,
        models: backend.models().await?,
        files: backend.files().await?,
        system: backend.system().await?,
    })
}

#[server(prefix = "/api", endpoint = "notebook", input = Json)]
pub async fn fetch_notebook(experiment: i64) -> Result<Notebook, AppError> {
    backend()?.notebook(experiment).await
}

#[server(prefix = "/api", endpoint = "add_cell", input = Json)]
pub async fn add_cell(experiment: i64, kind: CellKind, position: u32) -> Result<Notebook, AppError> {
    backend()?.add_cell(experiment, kind, position).await
}

#[server(prefix = "/api", endpoint = "save_cell", input = Json)]
pub async fn save_cell(cell: i64, config: CellConfig) -> Result<Notebook, AppError> {
    backend()?.save_cell(cell, config).await
}

#[server(prefix = "/api", endpoint = "move_cell", input = Json)]
pub async fn move_cell(cell: i64, position: u32) -> Result<Notebook, AppError> {
    backend()?.move_cell(cell, position).await
}

#[server(prefix = "/api", endpoint = "delete_cell", input = Json)]
pub async fn delete_cell(cell: i64) -> Result<Notebook, AppError> {
    backend()?.delete_cell(cell).await
}

#[server(prefix = "/api", endpoint = "run_cell", input = Json)]
pub async fn run_cell(cell: i64, key: String) -> Result<Notebook, AppError> {
    backend()?.run_cell(cell, key).await
}

#[server(prefix = "/api", endpoint = "run_all", input = Json)]
pub async fn run_all(experiment: i64, key: String) -> Result<Notebook, AppError> {
    backend()?.run_all(experiment, key).await
}

#[server(prefix = "/api", endpoint = "stop_run", input = Json)]
pub async fn stop_run(run: i64, mode: StopMode) -> Result<(), AppError> {
    backend()?.stop_run(run, mode).await
}

#[server(prefix = "/api", endpoint = "resume_run", input = Json)]
pub async fn resume_run(run: i64, key: String) -> Result<Notebook, AppError> {
    backend()?.resume_run(run, key).await
}

#[server(prefix = "/api", endpoint = "pairs", input = Json)]
pub async fn fetch_pairs(query: PairsQuery) -> Result<PairsPage, AppError> {
    backend()?.pairs(query).await
}

#[server(prefix = "/api", endpoint = "models", input = Json)]
pub async fn list_models() -> Result<Vec<ModelChoice>, AppError> {
    backend()?.models().await
}

#[server(prefix = "/api", endpoint = "files", input = Json)]
pub async fn list_files() -> Result<Vec<DataFile>, AppError> {
    backend()?.files().await
}

#[server(prefix = "/api", endpoint = "report_page", input = Json)]
pub async fn open_report(run: i64, page: u32) -> Result<ReportPage, AppError> {
    Ok(ReportPage::of(backend()?.report(run).await?, page))
}

#[server(prefix = "/api", endpoint = "share", input = Json)]
pub async fn share(run: i64) -> Result<ShareLink, AppError> {
    backend()?.share(run).await
}

#[server(prefix = "/api", endpoint = "shares", input = Json)]
pub async fn list_shares(run: i64) -> Result<Vec<ShareLink>, AppError> {
    backend()?.shares(run).await
}

#[server(prefix = "/api", endpoint = "revoke_share", input = Json)]
pub async fn revoke_share(share: i64) -> Result<(), AppError> {
    backend()?.revoke_share(share).await
}

/// What a share link opens: the only function here that needs no session.
#[server(prefix = "/api", endpoint = "shared_report_page", input = Json)]
pub async fn open_shared_report(token: String, page: u32) -> Result<ReportPage, AppError> {
    Ok(ReportPage::of(backend()?.shared_report(token).await?, page))
}
