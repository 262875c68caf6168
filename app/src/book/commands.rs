//! What a person can do to a notebook. Every command is sent once, its answer merged, its error shown where it was asked.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;

use super::{Book, CellState, live};
use crate::api;
use crate::components::key::new_key;
use spec::{
    AddCell, AppError, CellKind, DeleteCell, ErrorCode, GetNotebook, ListFiles, MoveCell, RenameExperiment, ResumeRun,
    RunAll, RunCell, StopMode, StopRun,
};

impl Book {
    /// Runs the cell, or first asks if that would not use what is saved.
    pub fn run(self, cell: CellState) {
        if cell.kind == CellKind::Note || cell.busy.get_untracked() || self.has_invalid_field() {
            return;
        }
        cell.busy.set(true);
        spawn_local(async move {
            let saved = self.save_all().await;
            // The server says what a new run would replace, and a run that has just stopped may not be known here yet.
            let request = self.next_request();
            if let Ok(notebook) = api::call(GetNotebook { experiment: self.id }).await {
                self.merge(request, notebook);
            }
            cell.busy.try_set(false);
            match cell.discards.try_get_untracked() {
                Some(Some(_)) if saved => {
                    cell.asks_discard.set(true);
                }
                Some(None) if saved => self.start(cell, false),
                _ => {}
            }
        });
    }

    /// Without `retrain`, the server's refusal to repeat a training becomes a question.
    pub fn start(self, cell: CellState, retrain: bool) {
        if cell.kind == CellKind::Note || cell.busy.get_untracked() || self.has_invalid_field() {
            return;
        }
        cell.busy.set(true);
        let key = new_key();
        spawn_local(async move {
            if self.save_all().await {
                let request = self.next_request();
                match api::call(RunCell { cell: cell.id, retrain, key }).await {
                    Err(question) if question.code == ErrorCode::NeedsRun && !retrain => {
                        cell.question.try_set(question.message);
                        cell.asks_rerun.try_set(true);
                    }
                    answer => self.answer(cell.error, request, answer),
                }
            }
            cell.busy.try_set(false);
        });
    }

    /// True where a field holds a value that is not accepted: the focus goes there, and its cell says why nothing ran.
    fn has_invalid_field(self) -> bool {
        let cells = self.known().unwrap_or_default();
        let invalid = cells.into_iter().find_map(|cell| Some((cell, *cell.invalid.get_untracked().first()?)));
        let Some((cell, key)) = invalid else { return false };
        cell.error.set(Some(AppError::invalid_setting(
            "Nothing was run: a setting here holds a value that is not accepted.",
            "Correct the marked field, then run again.",
        )));
        if let Some(field) = document().get_element_by_id(&format!("cell-{}-{key}", cell.id)) {
            open_details_around(&field);
            if let Some(field) = field.dyn_ref::<web_sys::HtmlElement>() {
                let _ = field.focus();
            }
        }
        true
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
        if self.has_invalid_field() {
            return;
        }
        let key = new_key();
        spawn_local(async move {
            if self.save_all().await {
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
            self.answer(self.add_error, request, api::call(AddCell { experiment: self.id, kind, position }).await);
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

/// Opens every closed disclosure that hides this element.
fn open_details_around(element: &web_sys::Element) {
    let mut at = element.parent_element();
    while let Some(parent) = at {
        if parent.tag_name() == "DETAILS" {
            let _ = parent.set_attribute("open", "");
        }
        at = parent.parent_element();
    }
}
