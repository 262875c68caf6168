//! What a run is doing now: phase, progress, clock.

use leptos::prelude::*;

use crate::book::{Book, CellState};
use crate::components::format::{clock, whole};
use crate::components::state::{kind_title, state_text};
use spec::RunState;

/// Running time, each second; nothing on the server, which has no clock to agree on.
pub fn timer(book: Book, cell: CellState) -> AnyView {
    // Only what the time depends on, since a run changes with every event.
    let times = cell.part(|run| (run.started_ms, run.ended_ms, run.earlier_ms));
    let shown = move || {
        let (started, ended, earlier) = times.get()?;
        let newest = started.map(|started| ended.or(book.now.get()).map(|until| (until - started).max(0)));
        let time = earlier + newest.unwrap_or(Some(0))?;
        (time > 0 || started.is_some())
            .then(|| view! { <span class="timer" title="time computed, without pauses">{clock(time)}</span> })
    };
    shown.into_any()
}

pub fn progress(cell: CellState) -> AnyView {
    let phase = cell.part(|run| if run.state.is_over() { String::new() } else { run.phase.clone() });
    let state = cell.part(|run| run.state);
    let part = cell.part(|run| if run.state.is_over() { None } else { run.progress });
    let said = move || match (state.get(), phase.get()) {
        (Some(RunState::Queued), _) => "Queued: other runs come first.".to_owned(),
        (Some(RunState::Running | RunState::Stopping), Some(phase)) => phase,
        _ => String::new(),
    };
    // Heard, not seen: the badge shows it.
    let ended = RwSignal::new(String::new());
    Effect::new(move |before: Option<Option<RunState>>| {
        let now = state.get();
        if let (Some(before), Some(over)) = (before, now.filter(|now| now.is_over()))
            && before != now
        {
            ended.set(format!("{}: {}", kind_title(cell.kind), state_text(Some(over))));
        }
        now
    });
    view! {
        <p class="hidden" role="status">{move || ended.get()}</p>
        // Read out when the phase changes, not at every step.
        <p class="phase" class:silent=move || said().is_empty() role="status">{said}</p>
        {move || part.get().flatten().filter(|(_, total)| *total > 0).map(|(done, total)| view! {
            <p class="progress">
                <progress max=total.to_string() value=done.to_string() aria-label="Progress"></progress>
                " " {format!("{} of {}", whole(done), whole(total))}
            </p>
        })}
    }
    .into_any()
}
