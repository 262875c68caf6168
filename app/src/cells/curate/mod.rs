//! The curate cell: a person reads pairs, keeps, drops and edits them.
//!
//! Decisions belong to the generated pairs, not to a run of this cell: they are saved as they are made. A run freezes
//! them, and counts what the settings make of the rest.

mod detail;
mod link;
mod list;
mod queue;
mod review;
mod state;

use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api;
use crate::book::{Book, CellState};
use crate::components::error::error_slot;
use crate::components::facts::{fact, facts, noted};
use crate::components::format::{counted, whole};
use review::Review;
use spec::{AddKeptPairs, AppError, CellKind, CellOutput, CurateConfig, CurateOutput};

pub fn brief(config: &CurateConfig) -> String {
    format!(
        "undecided pairs: {}; undecided with a failure tag: {}",
        config.undecided.label(),
        config.undecided_tagged.label()
    )
}

pub fn live(book: Book, cell: CellState) -> AnyView {
    let output = cell.part(|run| (run.run, run.output.clone()));
    let pairs = source(book, cell);
    view! {
        {move || match output.get() {
            Some((run, Some(CellOutput::Curate(output)))) => result(book, run, &output),
            _ => ().into_any(),
        }}
        {move || match pairs.get() {
            Some((run, true)) => view! { <Review cell run/> }.into_any(),
            Some((_, false)) => {
                view! { <p class="note">"Pairs can be decided on once their generation has ended."</p> }.into_any()
            }
            None => ().into_any(),
        }}
    }
    .into_any()
}

/// The newest run of the nearest generate cell above, and whether it is over.
fn source(book: Book, cell: CellState) -> Memo<Option<(i64, bool)>> {
    Memo::new(move |_| {
        book.cells.with(|cells| {
            let above = cells.iter().take_while(|other| other.id != cell.id);
            let generate = above.filter(|other| other.kind == CellKind::Generate).last()?;
            generate.run.with(|run| run.as_ref().map(|run| (run.run, run.state.is_over())))
        })
    })
}

fn result(book: Book, run: i64, output: &CurateOutput) -> AnyView {
    let CurateOutput { counts, kept, dropped_by_settings, .. } = *output;
    let list = vec![
        fact("Kept", format!("{} of {}", whole(kept), counted(counts.pairs, "pair"))),
        noted("By decision", format!("{} kept, {} dropped", whole(counts.keep), whole(counts.drop)), "by a person"),
        noted(
            "By settings",
            format!("{} kept, {} dropped", whole(kept.saturating_sub(counts.keep)), whole(dropped_by_settings)),
            "undecided pairs",
        ),
        fact("Edited", whole(counts.edited)),
    ];
    let error = RwSignal::new(None::<AppError>);
    let added = RwSignal::new(None::<String>);
    let add = move |_| {
        spawn_local(async move {
            match api::call(AddKeptPairs { run }).await {
                Ok(file) => {
                    error.try_set(None);
                    added.try_set(Some(file.name));
                    book.refetch_files();
                }
                Err(why) => {
                    error.try_set(Some(why));
                }
            }
        });
    };
    view! {
        {facts(list)}
        <div class="actions">
            <button type="button" title="To train on: a Data cell can select the file" on:click=add>
                "Add kept pairs to the data files"
            </button>
            <span role="status">{move || added.get().map(|name| format!("Added as “{name}”."))}</span>
        </div>
        {error_slot(error)}
    }
    .into_any()
}
