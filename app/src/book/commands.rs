//! What a person can do to a notebook. Every command is sent once, its answer merged, its error shown where it was asked.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::{Book, CellState, live};
use crate::api;
use crate::components::key::new_key;
use spec::{AppError, CellConfig, CellKind, StopMode};

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
        let request = self.next_request();
        let answer = api::save_cell(cell.id, cell.config.get_untracked()).await;
        // The page may have been left meanwhile.
        self.known()?;
        match answer {
            Ok(notebook) => {
                cell.error.set(None);
                cell.saved.update(|saved| *saved = edit.max(*saved));
                self.merge(request, notebook);
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

    pub fn run(self, cell: CellState) {
        if cell.kind == CellKind::Note || cell.busy.get_untracked() {
            return;
        }
        cell.busy.set(true);
        let key = new_key();
        spawn_local(async move {
            if self.save_all().await.is_some() {
                let request = self.next_request();
                self.answer(cell.error, request, api::run_cell(cell.id, key).await);
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
            self.answer(cell.error, request, api::resume_run(run, key).await);
            cell.busy.try_set(false);
        });
    }

    pub fn stop(self, cell: CellState, run: i64, mode: StopMode) {
        spawn_local(async move {
            match api::stop_run(run, mode).await {
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
                self.answer(self.error, request, api::run_all(self.id, key).await);
            }
        });
    }

    pub fn add(self, kind: CellKind, position: u32) {
        spawn_local(async move {
            let request = self.next_request();
            self.answer(self.error, request, api::add_cell(self.id, kind, position).await);
        });
    }

    pub fn move_to(self, cell: CellState, position: u32) {
        spawn_local(async move {
            let request = self.next_request();
            self.answer(cell.error, request, api::move_cell(cell.id, position).await);
        });
    }

    pub fn delete(self, cell: CellState) {
        spawn_local(async move {
            let request = self.next_request();
            self.answer(cell.error, request, api::delete_cell(cell.id).await);
        });
    }

    pub fn rename(self, name: String) {
        let before = self.name.get_untracked();
        if name.trim().is_empty() || name == before {
            return;
        }
        self.name.set(name.clone());
        spawn_local(async move {
            match api::rename_experiment(self.id, name).await {
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
            if let Ok(files) = api::list_files().await {
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
