//! An open notebook in the page: one signal for each thing of a cell that changes by itself, and the commands.
//!
//! The server's notebook is the truth: every command's answer, and every fetch after a notice, is merged in.
//! Live events arrive through `live`.

mod cell;
mod commands;
mod keys;
mod live;
mod saves;

pub use cell::CellState;
pub use keys::{listen as listen_to_keys, show};
pub use live::{Link, close as close_live, open as open_live};
pub use saves::{Saving, watch as watch_edits};

use leptos::prelude::*;

use crate::components::key::new_key;
use spec::{AppError, DataFile, IdempotencyKey, KeptReport, ModelChoice, Notebook, NotebookPage, RunView};

/// Cheap to copy; all signals belong to the page.
#[derive(Clone, Copy)]
pub struct Book {
    pub id: i64,
    pub name: RwSignal<String>,
    pub cells: RwSignal<Vec<CellState>>,
    /// Reports of deleted cells that share links still open.
    pub kept_reports: RwSignal<Vec<KeptReport>>,
    pub models: RwSignal<Vec<ModelChoice>>,
    pub files: RwSignal<Vec<DataFile>>,
    /// Of a command that concerns no single cell.
    pub error: RwSignal<Option<AppError>>,
    /// Of adding a cell; shown beside its buttons.
    pub add_error: RwSignal<Option<AppError>>,
    /// The experiment was deleted elsewhere.
    pub gone: RwSignal<bool>,
    /// What became of a command, where nothing else on the page shows it.
    pub said: RwSignal<&'static str>,
    /// The cell that keys act on.
    pub active: RwSignal<Option<i64>>,
    pub link: RwSignal<Link>,
    /// Milliseconds since the epoch by this page's clock, each second; None on the server and at first.
    pub now: RwSignal<Option<i64>>,
    owner: StoredValue<Owner>,
    /// Identifies this page in what it saves; made with the first save.
    client: StoredValue<IdempotencyKey>,
    /// Of the newest save.
    saves: StoredValue<u64>,
    /// Numbers of the newest request sent and of the newest answer merged.
    requests: StoredValue<(u64, u64)>,
}

impl Book {
    /// Must be called under the page's owner, whose end ends the signals.
    pub fn new(page: NotebookPage) -> Self {
        let NotebookPage { notebook, models, files, .. } = page;
        Self {
            id: notebook.id,
            name: RwSignal::new(notebook.name),
            cells: RwSignal::new(notebook.cells.into_iter().map(CellState::new).collect()),
            kept_reports: RwSignal::new(notebook.kept_reports),
            models: RwSignal::new(models),
            files: RwSignal::new(files),
            error: RwSignal::new(None),
            add_error: RwSignal::new(None),
            gone: RwSignal::new(false),
            said: RwSignal::new(""),
            active: RwSignal::new(None),
            link: RwSignal::new(Link::Fresh),
            now: RwSignal::new(None),
            owner: StoredValue::new(Owner::current().unwrap_or_default()),
            client: StoredValue::default(),
            saves: StoredValue::new(0),
            requests: StoredValue::new((0, 0)),
        }
    }

    /// None after the page was left.
    fn known(self) -> Option<Vec<CellState>> {
        self.cells.try_get_untracked()
    }

    /// To be called when a request is sent; its answer is merged under this number.
    fn next_request(self) -> u64 {
        self.requests
            .try_update_value(|(sent, _)| {
                *sent += 1;
                *sent
            })
            .unwrap_or(0)
    }

    /// Who saves, and the number of this save.
    fn next_save(self) -> (IdempotencyKey, u64) {
        self.saves.update_value(|number| *number += 1);
        (self.client(), self.saves.get_value())
    }

    fn client(self) -> IdempotencyKey {
        if self.client.with_value(|client| client.as_str().is_empty()) {
            self.client.set_value(new_key());
        }
        self.client.get_value()
    }

    /// Takes in what the server says, unless a later request was answered already.
    fn merge(self, request: u64, notebook: Notebook) {
        let newest = self.requests.try_update_value(|(_, merged)| {
            let newest = request >= *merged;
            *merged = request.max(*merged);
            newest
        });
        let (Some(true), Some(known), Some(owner)) = (newest, self.known(), self.owner.try_get_value()) else { return };
        if self.name.with_untracked(|name| *name != notebook.name) {
            self.name.set(notebook.name);
        }
        if self.kept_reports.with_untracked(|kept| *kept != notebook.kept_reports) {
            self.kept_reports.set(notebook.kept_reports);
        }
        let mut cells = Vec::with_capacity(notebook.cells.len());
        for cell in notebook.cells {
            match known.iter().find(|state| state.id == cell.id) {
                Some(state) => {
                    state.take(cell);
                    cells.push(*state);
                }
                None => cells.push(owner.with(|| CellState::new(cell))),
            }
        }
        if !cells.iter().map(|cell| cell.id).eq(known.iter().map(|cell| cell.id)) {
            self.cells.set(cells);
        }
        live::subscribe(self);
    }

    /// Runs that are not over, with the number of the last event that is known of each.
    fn open_runs(self) -> Vec<(i64, u64)> {
        let of = |view: &RunView| (!view.state.is_over()).then_some((view.run, view.seq));
        let cells = self.known().unwrap_or_default();
        cells.iter().filter_map(|cell| cell.run.with_untracked(|run| run.as_ref().and_then(of))).collect()
    }
}
