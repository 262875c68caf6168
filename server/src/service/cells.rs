//! Experiments and cells: make, change, order, delete, and show them as a notebook.

use std::collections::HashMap;

use spec::{
    AppError, Cell, CellConfig, CellKind, CreateExperiment, IdempotencyKey, Notebook, Request, RunView, SaveCell,
    SavedCell, StaleReason,
};

use super::fingerprint::{self, CellStatus, statuses};
use super::{Core, stale};
use crate::store::{CellRow, Key, RunRow};

/// In characters.
const MAX_NAME: usize = 200;
const MAX_CELLS: usize = 200;
/// Of one cell's configuration as JSON.
const MAX_CONFIG: usize = 256 * 1024;
/// Of an experiment's configurations together: its page holds them all.
const MAX_CONFIGS: u64 = 8 << 20;

impl Core {
    pub(super) fn create_experiment(
        &self,
        name: &str,
        cells: &[CellConfig],
        key: &IdempotencyKey,
    ) -> Result<i64, AppError> {
        let _commands = self.commands();
        let key = Key { command: CreateExperiment::NAME, key: key.as_str() };
        if let Some(known) = self.store.known_key(key)? {
            return Ok(known);
        }
        if cells.len() > MAX_CELLS {
            return Err(too_many_cells(cells.len()));
        }
        for config in cells {
            check_size(config)?;
        }
        check_total(cells.iter().map(|config| size(config) as u64).sum())?;
        Ok(self.store.create_experiment(&checked_name(name)?, cells, key)?)
    }

    pub(super) fn rename_experiment(&self, experiment: i64, name: &str) -> Result<(), AppError> {
        self.store.rename_experiment(experiment, &checked_name(name)?)?;
        self.jobs.notify_changed(experiment);
        Ok(())
    }

    pub(super) fn delete_experiment(&self, experiment: i64) -> Result<(), AppError> {
        let _commands = self.commands();
        if let Some(run) = self.store.active_runs(experiment)?.first() {
            return Err(under_way(run));
        }
        let deleted = self.store.delete_experiment(experiment).or_else(|error| {
            if !error.is_disk_full() {
                return Err(error);
            }
            // The deletion itself needs some space, which the artifacts give.
            self.folders.remove(&self.store.runs_of(experiment)?);
            self.store.delete_experiment(experiment)
        });
        self.folders.remove(&deleted?);
        self.jobs.notify_changed(experiment);
        Ok(())
    }

    pub(super) fn notebook(&self, experiment: i64) -> Result<Notebook, AppError> {
        let name = self.store.experiment_name(experiment)?;
        let mut newest = self.newest(experiment)?;
        let cell = |status: CellStatus| {
            let run = newest.remove(&status.cell.id);
            let known = run.as_ref();
            Cell {
                id: status.cell.id,
                version: status.cell.version,
                stale: known.map(|run| stale::reasons(&run.row, &status, &self.resources)).unwrap_or_default(),
                missing_input: status.missing_input,
                can_resume: known.is_some_and(|run| run.can_resume(&status)),
                discards: known.and_then(|run| run.discards(&status)),
                run: run.map(|run| run.view),
                config: status.cell.config,
            }
        };
        let cells = self.statuses(experiment)?.into_iter().map(cell).collect();
        Ok(Notebook { id: experiment, name, cells, kept_reports: self.store.kept_reports(experiment)? })
    }

    pub(super) fn statuses(&self, experiment: i64) -> Result<Vec<CellStatus>, AppError> {
        let cells = self.store.cells(experiment)?;
        let curates = cells.iter().any(|cell| cell.config.kind() == CellKind::Curate);
        let newest = if curates { self.store.newest_runs(experiment)? } else { HashMap::new() };
        // Of the decisions on the pairs that the newest run of a generate cell made.
        let decided = |cell: i64| match newest.get(&cell) {
            Some(run) => self.store.curation_sha256(run.id),
            None => Ok(String::new()),
        };
        let mut problem = None;
        let statuses = statuses(cells, |config, inputs| match inputs {
            [(CellKind::Generate, cell, _)] if config.kind() == CellKind::Curate => {
                let sha256 = decided(*cell).unwrap_or_else(|error| {
                    problem = Some(error);
                    String::new()
                });
                fingerprint::identity(&sha256).to_owned()
            }
            _ => self.resources.identity(config),
        });
        problem.map_or(Ok(statuses), |problem| Err(problem.into()))
    }

    pub(super) fn view_of(&self, run: &RunRow) -> Result<RunView, AppError> {
        match self.jobs.view(run.id) {
            Some(view) => Ok(view),
            None => Ok(self.store.view(run)?),
        }
    }

    pub(super) fn add_cell(&self, experiment: i64, kind: CellKind, position: u32) -> Result<Notebook, AppError> {
        let _commands = self.commands();
        self.store.experiment_name(experiment)?;
        let count = self.store.cells(experiment)?.len();
        if count >= MAX_CELLS {
            return Err(too_many_cells(count + 1));
        }
        self.store.add_cell(experiment, &CellConfig::default_of(kind), position as usize)?;
        self.changed(experiment)
    }

    /// Applies each change that this client did not supersede already. All are valid, or nothing changes.
    pub(super) fn save_cell(&self, save: &SaveCell) -> Result<SavedCell, AppError> {
        let _commands = self.commands();
        let mut row = self.store.cell(save.cell)?;
        let done = self.store.changes_of(save.cell, save.client.as_str())?;
        let new = |setting: &str| done.get(setting).is_none_or(|number| *number < save.number);
        let changes: Vec<&(String, String)> = save.changes.iter().filter(|(setting, _)| new(setting)).collect();
        let before = row.config.clone();
        for (setting, text) in &changes {
            row.config.set(setting, text)?;
        }
        if !changes.is_empty() {
            check_size(&row.config)?;
            check_total(self.store.config_bytes_beside(&row)? + size(&row.config) as u64)?;
            row.version += u64::from(row.config != before);
            let settings: Vec<&str> = changes.iter().map(|(setting, _)| setting.as_str()).collect();
            self.store.save_cell(&row, save.client.as_str(), save.number, &settings)?;
            self.jobs.notify_changed(row.experiment);
        }
        Ok(SavedCell { version: row.version, stale: self.stale(row.experiment)? })
    }

    /// Why the newest run of each cell no longer matches, of those that do not.
    fn stale(&self, experiment: i64) -> Result<Vec<(i64, Vec<StaleReason>)>, AppError> {
        let newest = self.newest(experiment)?;
        let of = |status: &CellStatus| {
            let run = newest.get(&status.cell.id)?;
            let reasons = stale::reasons(&run.row, status, &self.resources);
            (!reasons.is_empty()).then_some((status.cell.id, reasons))
        };
        Ok(self.statuses(experiment)?.iter().filter_map(of).collect())
    }

    pub(super) fn move_cell(&self, cell: i64, position: u32) -> Result<Notebook, AppError> {
        let _commands = self.commands();
        let row = self.store.cell(cell)?;
        self.store.move_cell(&row, position as usize)?;
        self.changed(row.experiment)
    }

    pub(super) fn delete_cell(&self, cell: i64) -> Result<Notebook, AppError> {
        let _commands = self.commands();
        let row = self.store.cell(cell)?;
        self.refuse_if_used(&row)?;
        let runs = self.store.delete_cell(&row)?;
        self.folders.remove(&runs);
        self.changed(row.experiment)
    }

    /// A run that is queued or under way needs its cell, and the cells whose outputs it reads.
    fn refuse_if_used(&self, cell: &CellRow) -> Result<(), AppError> {
        let active = self.store.active_runs(cell.experiment)?;
        let using =
            active.iter().find(|run| run.cell == cell.id || run.inputs.iter().any(|input| input.cell == cell.id));
        using.map_or(Ok(()), |run| Err(under_way(run)))
    }

    fn changed(&self, experiment: i64) -> Result<Notebook, AppError> {
        self.jobs.notify_changed(experiment);
        self.notebook(experiment)
    }
}

fn checked_name(name: &str) -> Result<String, AppError> {
    let name: String = name.trim().chars().filter(|character| !character.is_control()).collect();
    match name.chars().count() {
        1..=MAX_NAME => Ok(name),
        0 => Err(AppError::invalid_setting("The name is empty.", "Give the experiment a name.")),
        length => Err(AppError::invalid_setting(
            format!("The name has {length} characters; the limit is {MAX_NAME}."),
            "Choose a shorter name; a note cell holds longer texts.",
        )),
    }
}

fn check_total(bytes: u64) -> Result<(), AppError> {
    if bytes <= MAX_CONFIGS {
        return Ok(());
    }
    Err(AppError::too_large(
        format!("The experiment's cells would have {bytes} bytes of text together; the limit is {MAX_CONFIGS}."),
        "Shorten its notes, or continue in another experiment.",
    ))
}

fn size(config: &CellConfig) -> usize {
    serde_json::to_string(config).map_or(usize::MAX, |text| text.len())
}

fn check_size(config: &CellConfig) -> Result<(), AppError> {
    let length = size(config);
    if length <= MAX_CONFIG {
        return Ok(());
    }
    Err(AppError::too_large(
        format!("The cell's configuration has {length} bytes; the limit is {MAX_CONFIG}."),
        "Shorten its texts.",
    ))
}

fn too_many_cells(count: usize) -> AppError {
    AppError::too_large(
        format!("The experiment would have {count} cells; the limit is {MAX_CELLS}."),
        "Delete cells that are not needed, or make another experiment.",
    )
}

fn under_way(run: &RunRow) -> AppError {
    AppError::conflict(
        format!("A {} run is {}.", run.config.kind().as_str(), run.state.as_str()),
        "Stop it or wait until it has finished, then try again.",
    )
}
