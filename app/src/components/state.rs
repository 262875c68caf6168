//! The state of a cell, told by an icon and a word.

use leptos::prelude::*;

use super::icon::{Icon, icon};
use spec::{CellKind, RunState};

/// `fresh` where a cell never ran.
pub fn state_name(state: Option<RunState>) -> &'static str {
    state.map_or("fresh", RunState::as_str)
}

/// The word that a person reads.
pub fn state_text(state: Option<RunState>) -> &'static str {
    match state {
        None => "not run yet",
        Some(RunState::Queued) => "queued",
        Some(RunState::Running) => "running",
        Some(RunState::Stopping) => "stopping, saving what it has",
        Some(RunState::Done) => "done",
        Some(RunState::Failed) => "failed",
        Some(RunState::Stopped) => "stopped",
        Some(RunState::Interrupted) => "cut off when the server ended",
    }
}

pub fn state_icon(state: Option<RunState>) -> Icon {
    match state {
        None => Icon::Fresh,
        Some(RunState::Queued) => Icon::Queued,
        Some(RunState::Running) => Icon::Running,
        Some(RunState::Stopping) => Icon::Stopping,
        Some(RunState::Done) => Icon::Done,
        Some(RunState::Failed) => Icon::Failed,
        Some(RunState::Stopped) => Icon::Stopped,
        Some(RunState::Interrupted) => Icon::Interrupted,
    }
}

/// A cell's heading.
pub fn kind_title(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Data => "Data",
        CellKind::Model => "Model",
        CellKind::Train => "Train",
        CellKind::Generate => "Generate",
        CellKind::Report => "Report",
        CellKind::Note => "Note",
    }
}

/// What a cell of this kind is for, in one sentence.
pub fn kind_purpose(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Data => "Turns conversations into (instruction, response) pairs and says what was dropped.",
        CellKind::Model => "Picks the base model; its weights are never changed.",
        CellKind::Train => "Fits an adapter that predicts the instruction from the response.",
        CellKind::Generate => "Writes an instruction for every response of a corpus.",
        CellKind::Report => "Freezes pairs, figures and provenance into a page that can be shared.",
        CellKind::Note => "Text of your own.",
    }
}

pub fn badge(state: Option<RunState>) -> AnyView {
    view! {
        <span class="badge" data-state=state_name(state)>{icon(state_icon(state))} <span>{state_text(state)}</span></span>
    }
    .into_any()
}
