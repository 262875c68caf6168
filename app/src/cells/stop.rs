//! Stopping a run: what is kept, what is lost, and what can go on later.

use leptos::prelude::*;

use crate::book::{Book, CellState};
use crate::components::dialog::Dialog;
use crate::components::format::counted;
use spec::{CellKind, RunState, RunView, StopMode};

#[component]
pub fn StopDialog(book: Book, cell: CellState, open: RwSignal<bool>) -> impl IntoView {
    let text = move || cell.run.with(|run| run.as_ref().map(|run| consequences(cell.kind, run)).unwrap_or_default());
    let resumable = matches!(cell.kind, CellKind::Train | CellKind::Generate);
    let stop = move |mode| {
        open.set(false);
        if let Some(run) = cell.run.with_untracked(|run| run.as_ref().map(|run| run.run)) {
            book.stop(cell, run, mode);
        }
    };
    view! {
        <Dialog open title="Stop this run?">
            // Only while it is open: a hidden dialog need not follow every step.
            {move || open.get().then(|| view! { <p>{text}</p> })}
            <div class="actions">
                {resumable.then(|| view! {
                    <button type="button" class="primary" on:click=move |_| stop(StopMode::Save)>
                        "Stop and save"
                    </button>
                })}
                <button type="button" class="danger" on:click=move |_| stop(StopMode::Discard)>
                    "Stop without saving"
                </button>
                <button type="button" on:click=move |_| open.set(false)>"Keep running"</button>
            </div>
        </Dialog>
    }
    .into_any()
}

fn consequences(kind: CellKind, run: &RunView) -> String {
    match kind {
        _ if run.state == RunState::Queued => "It has not started yet; it is removed from the queue.".to_owned(),
        CellKind::Train => {
            let step = run.last_step.map_or(0, |step| step.step);
            let kept = run.checkpoints.last().map_or_else(
                || "nothing is saved yet, and all steps are lost".to_owned(),
                |mark| format!("it can be resumed from the checkpoint at step {}", mark.step),
            );
            format!("With saving, it can be resumed exactly at step {step}. Without saving, {kept}.")
        }
        CellKind::Generate => format!(
            "The finished pairs ({} so far) are kept either way, and the run can be resumed. Unfinished instructions \
             are generated again.",
            counted(run.progress.map_or(run.pairs.len() as u64, |(done, _)| done), "pair")
        ),
        _ => "Nothing of this run is kept.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::{CellConfig, CheckpointMark, TrainConfig};

    #[test]
    fn stopping_says_what_can_be_resumed() {
        let mut run = RunView::new(1, 1, CellConfig::Train(TrainConfig::default()), 0);
        assert!(consequences(CellKind::Train, &run).contains("removed from the queue"));
        run.state = RunState::Running;
        assert!(consequences(CellKind::Train, &run).contains("nothing is saved yet"));
        run.checkpoints.push(CheckpointMark { step: 10, name: "step-00000010".to_owned() });
        assert!(consequences(CellKind::Train, &run).contains("checkpoint at step 10"));
    }
}
