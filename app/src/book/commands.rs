//! What a person can do to a notebook. Every command is sent once, its answer merged, its error shown where it was asked.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::changes::changes;
use super::{Book, CellState, live};
use crate::api;
use crate::components::key::new_key;
use spec::{
    AddCell, AppError, CellConfig, CellKind, DeleteCell, ListFiles, MoveCell, RenameExperiment, ResumeRun, RunAll,
    RunCell, SaveCell, StopMode, StopRun,
};

/// An edit is saved when nothing was typed for so long.
const SAVE_AFTER: Duration = Duration::from_millis(500);

impl Book {
    /// Changes the form and saves it a moment later.
    pub fn edit(self, cell: CellState, change: impl FnOnce(&mut CellConfig)) {
        cell.config.update(change);
        let edit = cell.edits.get_untracked() + 1;
        cell.edits.set(edit);
        set_timeout(
            move || {
                if cell.edits.try_get_untracked() == Some(edit) {
                    spawn_local(async move {
                        let _ = self.save(cell).await;
                    });
                }
            },
            SAVE_AFTER,
        );
    }

    /// Saves what is not saved yet. The error is shown at the cell; None says that it failed.
    async fn save(self, cell: CellState) -> Option<()> {
        if cell.is_saved() {
            return Some(());
        }
        let edit = cell.edits.get_untracked();
        let config = cell.config.get_untracked();
        let changes = changes(&cell.known.get_value(), &config);
        let (client, number) = self.next_save();
        let answer = api::call(SaveCell { cell: cell.id, changes, client, number }).await;
        // The page may have been left meanwhile.
        let cells = self.known()?;
        match answer {
            Ok(saved) => {
                cell.error.set(None);
                cell.known.set_value(config);
                cell.saved.update(|saved| *saved = edit.max(*saved));
                for cell in cells {
                    let reasons = saved.stale.iter().find(|(id, _)| *id == cell.id);
                    cell.stale.set(reasons.map(|(_, reasons)| reasons.clone()).unwrap_or_default());
                }
                Some(())
            }
            Err(error) => {
                cell.error.set(Some(error));
                None
            }
        }
    }

    async fn save_all(self) -> Option<()> {
        for cell in self.known()? {
            self.save(cell).await?;
        }
        Some(())
    }

    /// `retrain`: a stale training above it runs first.
    pub fn run(self, cell: CellState, retrain: bool) {
        if cell.kind == CellKind::Note || cell.busy.get_untracked() {
            return;
        }
        cell.busy.set(true);
        let key = new_key();
        spawn_local(async move {
            if self.save_all().await.is_some() {
                let request = self.next_request();
                self.answer(cell.error, request, api::call(RunCell { cell: cell.id, retrain, key }).await);
            }
            cell.busy.try_set(false);
        });
    }

    pub fn resume(self, cell: CellState, run: i64) {
        if cell.busy.get_untracked() {
            return;
        }
        cell.busy.set(true);
        let key = new_key();
        spawn_local(async move {
            let request = self.next_request();
            self.answer(cell.error, request, api::call(ResumeRun { run, key }).await);
            cell.busy.try_set(false);
        });
    }

    pub fn stop(self, cell: CellState, run: i64, mode: StopMode) {
        spawn_local(async move {
            match api::call(StopRun { run, mode }).await {
                Ok(()) => live::refetch(self),
                Err(error) => {
                    cell.error.try_set(Some(error));
                }
            }
        });
    }

    pub fn run_all(self) {
        let key = new_key();
        spawn_local(async move {
            if self.save_all().await.is_some() {
                let request = self.next_request();
                let answer = api::call(RunAll { experiment: self.id, key }).await;
                self.said.try_set(answer.as_ref().map_or("", |notebook| self.nothing_to_run(notebook)));
                self.answer(self.error, request, answer);
            }
        });
    }

    /// What to say of a notebook in which *Run all* started nothing.
    fn nothing_to_run(self, notebook: &spec::Notebook) -> &'static str {
        let known = self.known().unwrap_or_default();
        let newest = |id: i64| known.iter().find(|cell| cell.id == id).and_then(|cell| cell.run_id());
        let started = |cell: &spec::Cell| {
            cell.run.as_ref().is_some_and(|run| !run.state.is_over() || Some(run.run) != newest(cell.id))
        };
        match notebook.cells.iter().all(|cell| cell.config.kind() == CellKind::Note) {
            true => "Nothing to run: there are no cells but notes.",
            false if notebook.cells.iter().any(started) => "",
            false => "Nothing to run: every cell is up to date.",
        }
    }

    pub fn add(self, kind: CellKind, position: u32) {
        spawn_local(async move {
            let request = self.next_request();
            self.answer(self.error, request, api::call(AddCell { experiment: self.id, kind, position }).await);
        });
    }

    pub fn move_to(self, cell: CellState, position: u32) {
        spawn_local(async move {
            let request = self.next_request();
            self.answer(cell.error, request, api::call(MoveCell { cell: cell.id, position }).await);
        });
    }

    pub fn delete(self, cell: CellState) {
        spawn_local(async move {
            let request = self.next_request();
            self.answer(cell.error, request, api::call(DeleteCell { cell: cell.id }).await);
        });
    }

    pub fn rename(self, name: String) {
        let before = self.name.get_untracked();
        if name.trim().is_empty() || name == before {
            return;
        }
        self.name.set(name.clone());
        spawn_local(async move {
            match api::call(RenameExperiment { experiment: self.id, name }).await {
                Ok(()) => {
                    self.error.try_set(None);
                }
                Err(error) => {
                    self.name.try_set(before);
                    self.error.try_set(Some(error));
                }
            }
        });
    }

    /// After an upload, or a model that was fetched.
    pub fn refetch_files(self) {
        spawn_local(async move {
            if let Ok(files) = api::call(ListFiles {}).await {
                self.files.try_set(files);
            }
        });
    }

    fn answer(self, error: RwSignal<Option<AppError>>, request: u64, answer: Result<spec::Notebook, AppError>) {
        match answer {
            Ok(notebook) => {
                error.try_set(None);
                self.merge(request, notebook);
            }
            Err(why) => {
                error.try_set(Some(why));
            }
        }
    }
}
