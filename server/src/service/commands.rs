//! The one entry point to the service: every command, and what answers it.

use std::sync::Arc;

use spec::{AppError, Command, ExperimentsPage, NotebookPage, Request, SystemInfo};

use super::{Core, Service, presets};

type Result<T> = std::result::Result<T, AppError>;

/// An answer as JSON text.
pub type Json = String;

impl Service {
    /// Carries a command out on a thread that may block.
    pub async fn call(&self, command: Command) -> Result<Json> {
        self.blocking(move |core| core.answer(command)).await
    }

    /// Does a share link with this token open a report?
    pub async fn opens(&self, token: String) -> Result<bool> {
        self.blocking(move |core| Ok(core.shared_run(&token)?.is_some())).await
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Core) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let core = Arc::clone(&self.core);
        tokio::task::spawn_blocking(move || act(&core)).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a command panicked");
            Err(AppError::internal("The command failed through a fault of this program.", "See the server's log."))
        })
    }

    /// The same for callers in this process, with the answer's type.
    pub async fn ask<R: Request>(&self, request: R) -> Result<R::Answer> {
        let answer = self.call(request.into()).await?;
        serde_json::from_str(&answer).map_err(|error| unreadable(R::NAME, &error))
    }
}

/// Ties an answer to its command's type.
fn answer<R: Request>(request: R, act: impl FnOnce(R) -> Result<R::Answer>) -> Result<Json> {
    serde_json::to_string(&act(request)?).map_err(|error| unreadable(R::NAME, &error))
}

fn unreadable(command: &str, error: &serde_json::Error) -> AppError {
    AppError::internal(format!("The answer of {command} cannot be written or read as JSON: {error}."), "Report this.")
}

impl Core {
    fn answer(&self, command: Command) -> Result<Json> {
        use Command as C;
        match command {
            C::OpenExperiments(c) => {
                answer(c, |_| Ok(ExperimentsPage { experiments: self.store.experiments()?, system: self.system() }))
            }
            C::CreateExperiment(c) => answer(c, |c| self.create_experiment(&c.name, &presets::cells(c.preset), &c.key)),
            C::RenameExperiment(c) => answer(c, |c| self.rename_experiment(c.experiment, &c.name)),
            C::DeleteExperiment(c) => answer(c, |c| self.delete_experiment(c.experiment)),
            C::OpenNotebook(c) => answer(c, |c| {
                Ok(NotebookPage {
                    notebook: self.notebook(c.experiment)?,
                    models: self.resources.models()?,
                    files: self.resources.files()?,
                    system: self.system(),
                })
            }),
            C::GetNotebook(c) => answer(c, |c| self.notebook(c.experiment)),
            C::AddCell(c) => answer(c, |c| self.add_cell(c.experiment, c.kind, c.position)),
            C::SaveCell(c) => answer(c, |c| self.save_cell(&c)),
            C::MoveCell(c) => answer(c, |c| self.move_cell(c.cell, c.position)),
            C::DeleteCell(c) => answer(c, |c| self.delete_cell(c.cell)),
            C::RunCell(c) => answer(c, |c| self.run_cell(c.cell, c.retrain, &c.key)),
            C::RunAll(c) => answer(c, |c| self.run_all(c.experiment, &c.key)),
            C::StopRun(c) => answer(c, |c| self.stop_run(c.run, c.mode)),
            C::ResumeRun(c) => answer(c, |c| self.resume_run(c.run, &c.key)),
            C::GetRun(c) => answer(c, |c| self.run_view(c.run)),
            C::ListPairs(c) => answer(c, |c| self.pairs(&c.query)),
            C::MatchPairs(c) => answer(c, |c| self.match_pairs(c.run, &c.filter)),
            C::GetPairs(c) => answer(c, |c| self.get_pairs(c.run, &c.indexes)),
            C::CuratePairs(c) => answer(c, |c| self.curate_pairs(c.run, &c.changes)),
            C::DecideMatching(c) => answer(c, |c| self.decide_matching(c.run, &c.filter, c.decision)),
            C::AddKeptPairs(c) => answer(c, |c| self.add_kept_pairs(c.run)),
            C::ListGenerateRuns(c) => answer(c, |_| Ok(self.store.generate_runs()?)),
            C::CompareRuns(c) => answer(c, |c| self.compare(&c.query)),
            C::ReplayPairs(c) => answer(c, |c| self.replay(c.run, &c.indexes)),
            C::GetRatingItems(c) => answer(c, |c| self.rating_items(c.run, &c.rater)),
            C::RateItem(c) => answer(c, |c| self.rate(c.run, &c.rater, c.item, c.grades)),
            C::GetRatingSummary(c) => answer(c, |c| self.rating_summary(c.run)),
            C::ListModels(c) => answer(c, |_| self.resources.models()),
            C::ListFiles(c) => answer(c, |_| self.resources.files()),
            C::OpenReport(c) => answer(c, |c| self.open_report(c.run, &c.query)),
            C::ShareReport(c) => answer(c, |c| self.share(c.run)),
            C::ListShares(c) => answer(c, |c| Ok(self.store.shares(c.run)?)),
            C::RevokeShare(c) => answer(c, |c| self.revoke_share(c.share)),
            C::OpenSharedReport(c) => answer(c, |c| self.open_shared_report(&c.token, &c.query)),
        }
    }

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
