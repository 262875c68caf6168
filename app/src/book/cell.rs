//! One cell's signals.

use std::collections::BTreeSet;

use leptos::prelude::*;

use super::saves::{Saving, apply, changes};
use spec::{AppError, Cell, CellConfig, CellKind, Discards, RunState, RunView, StaleReason};

#[derive(Clone, Copy)]
pub struct CellState {
    pub id: i64,
    pub kind: CellKind,
    /// What the form holds, saved or not.
    pub config: RwSignal<CellConfig>,
    /// What the server holds, as far as this page knows.
    pub known: StoredValue<CellConfig>,
    pub run: RwSignal<Option<RunView>>,
    pub stale: RwSignal<Vec<StaleReason>>,
    pub missing_input: RwSignal<Option<CellKind>>,
    /// The newest run can be resumed.
    pub can_resume: RwSignal<bool>,
    /// Work that a new run would not use.
    pub discards: RwSignal<Option<Discards>>,
    /// A new run would not use what is saved: asks before it starts.
    pub asks_discard: RwSignal<bool>,
    /// A cell above would be run again from the start: asks the server's question before that.
    pub asks_rerun: RwSignal<bool>,
    pub question: RwSignal<String>,
    /// Of the last command on this cell.
    pub error: RwSignal<Option<AppError>>,
    /// A command is under way.
    pub busy: RwSignal<bool>,
    /// How far the form's edits got.
    pub saving: RwSignal<Saving>,
    /// Counts edits, so that only the last one of a burst is saved.
    pub edits: StoredValue<u64>,
    /// Settings whose field holds a value that is not accepted.
    pub invalid: RwSignal<BTreeSet<&'static str>>,
}

impl CellState {
    pub fn new(cell: Cell) -> Self {
        Self {
            id: cell.id,
            kind: cell.config.kind(),
            known: StoredValue::new(cell.config.clone()),
            config: RwSignal::new(cell.config),
            run: RwSignal::new(cell.run),
            stale: RwSignal::new(cell.stale),
            missing_input: RwSignal::new(cell.missing_input),
            can_resume: RwSignal::new(cell.can_resume),
            discards: RwSignal::new(cell.discards),
            asks_discard: RwSignal::new(false),
            asks_rerun: RwSignal::new(false),
            question: RwSignal::new(String::new()),
            error: RwSignal::new(None),
            busy: RwSignal::new(false),
            saving: RwSignal::new(Saving::Saved),
            edits: StoredValue::new(0),
            invalid: RwSignal::new(BTreeSet::new()),
        }
    }

    pub fn state(self) -> Option<RunState> {
        self.run.with(|run| run.as_ref().map(|run| run.state))
    }

    pub fn run_id(self) -> Option<i64> {
        self.run.with_untracked(|run| run.as_ref().map(|run| run.run))
    }

    /// A part of the newest run, recomputed at every event but passed on only when it changed.
    pub fn part<T>(self, part: impl Fn(&RunView) -> T + Send + Sync + 'static) -> Memo<Option<T>>
    where
        T: PartialEq + Send + Sync + 'static,
    {
        Memo::new(move |_| self.run.with(|run| run.as_ref().map(&part)))
    }

    /// Takes in what the server says of this cell; an edit that is not saved yet and newer events stay.
    pub fn take(self, cell: Cell) {
        let unsaved = self.known.with_value(|known| changes(known, &self.config.get_untracked()));
        self.known.set_value(cell.config.clone());
        let mut config = cell.config;
        apply(&mut config, &unsaved);
        replace(self.config, config);
        replace(self.stale, cell.stale);
        replace(self.missing_input, cell.missing_input);
        replace(self.can_resume, cell.can_resume);
        replace(self.discards, cell.discards);
        match cell.run {
            Some(run) => self.take_run(run),
            None => replace(self.run, None),
        }
    }

    /// An older run of the cell, or an older state of its run, changes nothing.
    pub fn take_run(self, new: RunView) {
        let newer = |known: &RunView| (known.run, known.seq) > (new.run, new.seq);
        if !self.run.with_untracked(|known| known.as_ref().is_some_and(newer)) {
            replace(self.run, Some(new));
        }
    }
}

fn replace<T: PartialEq + Send + Sync + 'static>(signal: RwSignal<T>, value: T) {
    if signal.with_untracked(|known| *known != value) {
        signal.set(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::{NoteConfig, TrainConfig};

    fn cell(run: Option<RunView>, rank: u32) -> Cell {
        let config = CellConfig::Train(TrainConfig { rank, ..TrainConfig::default() });
        Cell {
            id: 3,
            version: 0,
            config,
            run,
            stale: Vec::new(),
            missing_input: None,
            can_resume: false,
            discards: None,
        }
    }

    fn run(id: i64, seq: u64) -> RunView {
        let mut view = RunView::new(id, 3, CellConfig::Note(NoteConfig::default()), 0);
        view.seq = seq;
        view
    }

    #[test]
    fn an_answer_that_was_overtaken_by_events_does_not_turn_the_run_back() {
        Owner::new().with(|| {
            let state = CellState::new(cell(Some(run(5, 10)), 16));
            state.take(cell(Some(run(5, 8)), 16));
            assert_eq!(state.run.with_untracked(|run| run.as_ref().map(|run| run.seq)), Some(10));
            state.take(cell(Some(run(6, 0)), 16));
            assert_eq!(state.run.with_untracked(|run| run.as_ref().map(|run| run.run)), Some(6));
            state.take_run(run(5, 11));
            assert_eq!(state.run.with_untracked(|run| run.as_ref().map(|run| run.run)), Some(6));
        });
    }

    #[test]
    fn an_edit_of_one_setting_and_another_pages_edit_of_a_second_both_stay() {
        Owner::new().with(|| {
            let with =
                |epochs: u32, alpha: f64| CellConfig::Train(TrainConfig { epochs, alpha, ..TrainConfig::default() });
            let state = CellState::new(Cell { config: with(2, 32.0), ..cell(None, 16) });
            state.config.set(with(7, 32.0));
            state.take(Cell { config: with(2, 99.0), ..cell(None, 16) });
            assert_eq!(state.config.get_untracked(), with(7, 99.0));
        });
    }

    #[test]
    fn an_unsaved_edit_survives_a_fetch() {
        Owner::new().with(|| {
            let state = CellState::new(cell(None, 16));
            state.config.set(cell(None, 32).config);
            state.take(cell(None, 16));
            assert_eq!(state.config.get_untracked(), cell(None, 32).config);
            state.take(cell(None, 32));
            state.take(cell(None, 8));
            assert_eq!(state.config.get_untracked(), cell(None, 8).config);
        });
    }
}
