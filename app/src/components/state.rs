//! The state of a cell: an icon and its name.

use leptos::prelude::*;

use super::icon::{Icon, icon};
use spec::{CellKind, RunState};

/// `fresh` where a cell never ran.
pub fn state_name(state: Option<RunState>) -> &'static str {
    state.map_or("fresh", RunState::as_str)
}

pub fn state_text(state: Option<RunState>) -> &'static str {
    match state {
        None => "not run yet",
        Some(RunState::Queued) => "queued",
        Some(RunState::Running) => "running",
        Some(RunState::Stopping) => "stopping and saving",
        Some(RunState::Done) => "done",
        Some(RunState::Failed) => "failed",
        Some(RunState::Stopped) => "stopped",
        Some(RunState::Interrupted) => "interrupted (server stopped)",
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
        CellKind::Curate => "Curate",
        CellKind::Report => "Report",
        CellKind::Note => "Note",
    }
}

/// What a cell of this kind is for, in one sentence.
pub fn kind_purpose(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Data => "Turns conversations into (instruction, response) pairs and counts what was dropped.",
        CellKind::Model => "Selects the base model. Its weights are never changed.",
        CellKind::Train => "Trains a LoRA adapter that predicts the instruction from the response.",
        CellKind::Generate => "Generates an instruction for every response of a corpus.",
        CellKind::Curate => {
            "You decide which pairs to keep, and edit them. Reports, downloads and training use the result."
        }
        CellKind::Report => "Snapshots pairs, metrics and provenance in a page that can be shared.",
        CellKind::Note => "Text of your own.",
    }
}

pub fn badge(state: Option<RunState>) -> AnyView {
    view! {
        <span class="badge" data-state=state_name(state)>
            {icon(state_icon(state))} <span>{state_text(state)}</span>
        </span>
    }
    .into_any()
}
