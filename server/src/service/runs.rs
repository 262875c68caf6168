//! Commands on runs: run a cell, run all, stop, resume; and what viewers read of them.

use std::collections::HashMap;

use spec::{
    AppError, CellKind, CellOutput, Discards, IdempotencyKey, Notebook, PairsPage, PairsQuery, Request, ResumeRun,
    RunAll, RunCell, RunState, RunView, StopMode,
};

use super::plan::{self, Newest, NewestRun, Plan};
use super::{Core, fingerprint};
use crate::store::{Key, RunRow, StoreError};

impl Core {
    pub(super) fn run_cell(&self, cell: i64, retrain: bool, key: &IdempotencyKey) -> Result<Notebook, AppError> {
        let _commands = self.commands();
        let key = Key { command: RunCell::NAME, key: key.as_str() };
        let experiment = self.store.cell(cell)?.experiment;
        if self.store.known_key(key)?.is_none() {
            let plan = plan::one(&self.statuses(experiment)?, &self.newest(experiment)?, cell, retrain)?;
            self.queue(experiment, &plan, key)?;
        }
        self.notebook(experiment)
    }

    pub(super) fn run_all(&self, experiment: i64, key: &IdempotencyKey) -> Result<Notebook, AppError> {
        let _commands = self.commands();
        let key = Key { command: RunAll::NAME, key: key.as_str() };
        self.store.experiment_name(experiment)?;
        if self.store.known_key(key)?.is_none() {
            let plan = plan::all(&self.statuses(experiment)?, &self.newest(experiment)?)?;
            self.queue(experiment, &plan, key)?;
        }
        self.notebook(experiment)
    }

    fn queue(&self, experiment: i64, plan: &Plan, key: Key<'_>) -> Result<(), AppError> {
        self.jobs.submit(experiment, &plan.resume, &plan.new, key)
    }

    /// The newest run of each cell, and what it saved.
    pub(super) fn newest(&self, experiment: i64) -> Result<Newest, AppError> {
        let mut fingerprints = HashMap::new();
        let mut newest = Newest::new();
        for (cell, mut row) in self.store.newest_runs(experiment)? {
            fingerprint::update(&mut row, &mut |run| self.known_run(run), &mut fingerprints)?;
            let view = self.view_of(&row)?;
            let saved = self.saved(&row, &view)?;
            let mut has_inputs = true;
            for input in &row.inputs {
                has_inputs &= self.known_run(input.run)?.is_some_and(|source| source.state == RunState::Done);
            }
            newest.insert(cell, NewestRun { row, view, saved, has_inputs });
        }
        Ok(newest)
    }

    fn known_run(&self, run: i64) -> Result<Option<RunRow>, AppError> {
        match self.store.run(run) {
            Ok(row) => Ok(Some(row)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What a run that is over has saved.
    fn saved(&self, row: &RunRow, view: &RunView) -> Result<Option<Discards>, AppError> {
        let saved = match (row.config.kind(), &view.output) {
            _ if !row.state.is_over() => return Ok(None),
            (_, Some(CellOutput::Train(output))) => Discards::Steps(output.steps),
            (_, Some(CellOutput::Generate(output))) => Discards::Pairs(output.pairs),
            (CellKind::Train, _) => Discards::Steps(view.checkpoints.last().map_or(0, |checkpoint| checkpoint.step)),
            (CellKind::Generate, _) => {
                Discards::Pairs(self.store.pairs(&PairsQuery { run: row.id, limit: 1, ..PairsQuery::default() })?.total)
            }
            _ => return Ok(None),
        };
        Ok(Some(saved).filter(|saved| !matches!(saved, Discards::Steps(0) | Discards::Pairs(0))))
    }

    pub(super) fn stop_run(&self, run: i64, mode: StopMode) -> Result<(), AppError> {
        self.store.run(run)?;
        self.jobs.stop(run, mode)
    }

    pub(super) fn resume_run(&self, run: i64, key: &IdempotencyKey) -> Result<Notebook, AppError> {
        let _commands = self.commands();
        let key = Key { command: ResumeRun::NAME, key: key.as_str() };
        let row = self.store.run(run)?;
        if self.store.known_key(key)?.is_none() {
            self.check_resumable(&row)?;
            self.jobs.submit(row.experiment, std::slice::from_ref(&row), &[], key)?;
        }
        self.notebook(row.experiment)
    }

    fn check_resumable(&self, row: &RunRow) -> Result<(), AppError> {
        row.check_readable()?;
        let kind = row.config.kind().as_str();
        if self.store.has_report(row.id)? {
            return Err(AppError::conflict(
                "This report is frozen already, and share links may open it.",
                "Run the report cell for a new one.",
            ));
        }
        if !matches!(row.state, RunState::Stopped | RunState::Failed | RunState::Interrupted) {
            return Err(AppError::conflict(
                format!(
                    "This {kind} run is {}; only one that was stopped, failed or was cut off can be resumed.",
                    row.state.as_str()
                ),
                "Run the cell instead.",
            ));
        }
        // Only the newest is shown, so only the newest goes on.
        if self.store.newest_runs(row.experiment)?.get(&row.cell).is_some_and(|newest| newest.id != row.id) {
            return Err(AppError::conflict(
                format!("The {kind} cell has been run again since."),
                "Reload the page to see its newest run.",
            ));
        }
        for input in &row.inputs {
            let source = self.store.run(input.run).map_err(|_| {
                AppError::needs_run(
                    format!("The {} run that this one builds on was deleted.", input.kind.as_str()),
                    format!("Run the {kind} cell anew."),
                )
            })?;
            // One that is on its way now is in the queue before this one.
            if source.state.is_over() && source.state != RunState::Done {
                return Err(AppError::needs_run(
                    format!("The {} run that this one builds on is {}.", input.kind.as_str(), source.state.as_str()),
                    "Resume that one first, or choose Run all.",
                ));
            }
        }
        Ok(())
    }

    pub(super) fn run_view(&self, run: i64) -> Result<RunView, AppError> {
        match self.jobs.view(run) {
            Some(view) => Ok(view),
            None => self.view_of(&self.store.run(run)?),
        }
    }

    pub(super) fn pairs(&self, query: &PairsQuery) -> Result<PairsPage, AppError> {
        query.filter.check()?;
        self.store.run(query.run)?;
        Ok(self.store.pairs(query)?)
    }
}
