//! The open pair: its instruction to edit beside its response, and the decision.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use web_sys::{Element, EventTarget, MouseEvent};

use super::link;
use super::state::CurateState;
use crate::api;
use crate::components::clipboard;
use crate::components::diff::word_diff;
use crate::components::format::whole;
use crate::components::pair::{baseline, candidate_note, marked_texts, pair_facts};
use spec::{AppError, Curation, CurationPart, Decision, GeneratedPair, ReplayPairs, Replayed};

#[component]
pub fn Detail(state: CurateState, cell: i64) -> impl IntoView {
    // Decisions and edits do not draw the texts anew.
    let open = Memo::new(move |_| state.open_pair().map(|pair| GeneratedPair { curation: None, ..pair }));
    move || match open.get() {
        Some(pair) => view! { <Open state cell pair/> }.into_any(),
        None => view! { <p class="loading">"Loading the pair…"</p> }.into_any(),
    }
}

#[component]
fn Open(state: CurateState, cell: i64, pair: GeneratedPair) -> impl IntoView {
    let (index, row) = (pair.index, pair.source_row());
    let curation = Memo::new(move |_| state.pair(index).and_then(|pair| pair.curation).unwrap_or_default());
    let generated = pair.generated.clone();
    let instruction = {
        let generated = generated.clone();
        Memo::new(move |_| curation.get().instruction.unwrap_or_else(|| generated.clone()))
    };
    let edit = move |text: String| {
        let edited = (text != generated && !text.trim().is_empty()).then_some(text);
        state.change(index, CurationPart::Instruction(edited));
    };
    let is_edited = move || curation.with(|curation| curation.instruction.is_some());
    let (marked, response) = marked_texts(&pair.generated, &pair.response);
    let reference = pair.reference.clone().map(|reference| {
        view! { <div><dt>"Instruction, human reference"</dt><dd class="text">{reference}</dd></div> }
    });
    let (name, note_name) = (format!("curate-{cell}-instruction"), format!("curate-{cell}-note"));
    view! {
        <div class="detail" data-row=row>
            <div class="actions">
                {button(state, curation, Some(Decision::Keep), "Keep", "a")}
                {button(state, curation, Some(Decision::Drop), "Drop", "d")}
                {button(state, curation, None, "Undecided", "u")}
                <span class="place">
                    {move || format!("{} of {}", whole(state.cursor.get() as u64 + 1), whole(state.total() as u64))}
                    {format!(", row {}", whole(row))}
                </span>
                <button type="button" class="quiet" on:click=move |_| state.step(-1)>"Previous"</button>
                <button type="button" class="quiet" on:click=move |_| state.step(1)>"Next"</button>
                {copy_link(state, cell, row)}
            </div>
            <div class="sides" on:mouseover=|event| link_copies(&event, false) on:click=|event| link_copies(&event, true)>
                <div class="side">
                    <label for=name.clone()>"Instruction"</label>
                    <textarea id=name class="instruction" rows="5" maxlength=Curation::MAX_TEXT.to_string()
                        prop:value=move || instruction.get() on:input=move |event| edit(event_target_value(&event))>
                    </textarea>
                    {move || is_edited().then(|| view! {
                        <p class="note">
                            "Edited. " <button type="button" class="quiet"
                                on:click=move |_| state.change(index, CurationPart::Instruction(None))>
                                "Back to the generated text"
                            </button>
                        </p>
                    })}
                    <dl class="texts">
                        <div><dt>"Instruction, generated"</dt><dd class="text">{marked}</dd></div>
                        {reference}
                        {baseline(&pair)}
                    </dl>
                    {candidates(state, &pair)}
                    <label for=note_name.clone()>"Note (not in reports)"</label>
                    <textarea id=note_name class="pair-note" rows="2" maxlength=Curation::MAX_TEXT.to_string()
                        prop:value=move || curation.get().note
                        on:input=move |event| state.change(index, CurationPart::Note(event_target_value(&event)))>
                    </textarea>
                </div>
                <div class="side">
                    <dl class="texts"><div><dt>"Response"</dt><dd class="text">{response}</dd></div></dl>
                    {pair_facts(&pair)}
                    {replay(state.run, index)}
                </div>
            </div>
        </div>
    }
    .into_any()
}

/// Shows where a copied run is in the other text: what the pointer is on is marked in both, a click scrolls there.
fn link_copies(event: &MouseEvent, scroll: bool) {
    let element = |target: Option<EventTarget>| target.and_then(|target| target.dyn_into::<Element>().ok());
    let Some(sides) = element(event.current_target()) else { return };
    let mark = element(event.target()).and_then(|target| target.closest("mark[data-copy]").ok().flatten());
    let number = mark.as_ref().and_then(|mark| mark.get_attribute("data-copy"));
    let Ok(marks) = sides.query_selector_all("mark[data-copy]") else { return };
    for at in 0..marks.length() {
        let Some(other) = marks.item(at).and_then(|node| node.dyn_into::<Element>().ok()) else { continue };
        let is_linked = number.is_some() && other.get_attribute("data-copy") == number;
        let _ = other.class_list().toggle_with_force("linked", is_linked);
        if is_linked && scroll && mark.as_ref() != Some(&other) {
            other.scroll_into_view();
        }
    }
}

/// The candidates that were ranked lower, each to be taken instead of the one that was ranked first.
fn candidates(state: CurateState, pair: &GeneratedPair) -> Option<AnyView> {
    let (first, others) = pair.candidates.split_first()?;
    let index = pair.index;
    let items = others
        .iter()
        .map(|candidate| {
            let (text, note) = (candidate.text.clone(), candidate_note(candidate));
            let marked = word_diff(&first.text, &text).1;
            let take = move |_| state.change(index, CurationPart::Instruction(Some(text.clone())));
            let can_take = !candidate.text.trim().is_empty();
            view! {
                <li>
                    <span class="text">{marked}</span> " " <span class="note">{note}</span> " "
                    {can_take.then(|| view! { <button type="button" class="quiet" on:click=take>"Use this one"</button> })}
                </li>
            }
        })
        .collect_view();
    let note = format!(
        "Other candidates; words that the generated instruction ({}) does not have are marked",
        candidate_note(first)
    );
    Some(view! { <p class="note">{note}</p><ol class="candidates">{items}</ol> }.into_any())
}

fn button(
    state: CurateState,
    curation: Memo<Curation>,
    decision: Option<Decision>,
    name: &'static str,
    key: &'static str,
) -> AnyView {
    let pressed = move || curation.with(|curation| curation.decision == decision);
    view! {
        <button type="button" class="decide" aria-pressed=move || if pressed() { "true" } else { "false" }
            data-decision=decision.map_or("", Decision::as_str) on:click=move |_| state.decide(decision)>
            {name} " " <kbd>{key}</kbd>
        </button>
    }
    .into_any()
}

/// Generates the pair anew and says whether the text is the same.
fn replay(run: i64, index: u32) -> AnyView {
    let (result, busy) = (RwSignal::new(None::<Result<Replayed, AppError>>), RwSignal::new(false));
    let start = move |_| {
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        spawn_local(async move {
            let answer = api::call(ReplayPairs { run, indexes: vec![index] }).await;
            busy.try_set(false);
            let missing =
                || AppError::not_found("The pair is no longer in the corpus.", "Run the Generate cell again.");
            result.try_set(Some(answer.and_then(|pairs| pairs.into_iter().next().ok_or_else(missing))));
        });
    };
    let says = move || match (busy.get(), result.get()) {
        (true, _) => "Loading the model and generating…".to_owned(),
        (false, None) => String::new(),
        (false, Some(Ok(pair))) if pair.is_identical() => "Identical: the same text came out again.".to_owned(),
        (false, Some(Ok(pair))) => format!("Different. Now: {}", pair.again),
        (false, Some(Err(error))) => error.to_string(),
    };
    view! {
        <p class="note">
            <button type="button" class="quiet" aria-disabled=move || busy.get().then_some("true") on:click=start
                title="Generates this instruction anew from the run's files, weights, settings and seed">"Replay"</button>
            " " <span role="status" data-replay="">{says}</span>
        </p>
    }
    .into_any()
}

fn copy_link(state: CurateState, cell: i64, row: u64) -> AnyView {
    let said = RwSignal::new("");
    let copy = move |_| {
        let query = link::query(cell, row, &state.filter.get_untracked());
        link::show(&query);
        spawn_local(async move {
            let address = window().location().href().unwrap_or_default();
            let done = clipboard::copy(&address, None).await;
            said.try_set(if done { "Copied" } else { "The link is in the address bar" });
        });
    };
    view! {
        <button type="button" class="quiet" title="Copies the address of this pair" on:click=copy>"Copy link"</button>
        <span role="status">{move || said.get()}</span>
    }
    .into_any()
}
