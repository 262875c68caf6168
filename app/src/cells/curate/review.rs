//! The table to decide with: filter, list, open pair, keys.

use std::time::Duration;

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, KeyboardEvent};

use super::detail::Detail;
use super::link;
use super::list::List;
use super::state::CurateState;
use crate::book::{CellState, Saving};
use crate::components::download::download;
use crate::components::error::error_slot;
use crate::components::format::whole;
use crate::components::options::options;
use spec::{Decision, DecisionFilter, PairSort, RunState, TagFilter};

const SEARCH_AFTER: Duration = Duration::from_millis(300);
/// Places that Page Up and Page Down move by.
const PAGE: isize = 10;

/// `run` is the generate run.
#[component]
pub fn Review(cell: CellState, run: i64) -> impl IntoView {
    let (filter, row) = link::asked(cell.id);
    let state = CurateState::new(run, filter);
    let section = NodeRef::<leptos::html::Section>::new();
    let focus_list = move || focus(section, ".rows");
    Effect::new(move || {
        state.queue.watch();
        state.apply_filter(row);
        if row.is_some()
            && let Some(section) = section.get_untracked()
        {
            section.scroll_into_view();
        }
    });
    // The address follows the open pair once a person has opened one.
    Effect::new(move |before: Option<usize>| {
        let at = state.cursor.get();
        if before.is_some_and(|before| before != at)
            && let Some((_, row)) = untrack(move || state.at(at))
        {
            link::show(&link::query(cell.id, row, &state.filter.get_untracked()));
        }
        at
    });
    let counts = move || {
        let counts = state.counts.get();
        format!(
            "{} kept, {} dropped, {} undecided, {} edited",
            whole(counts.keep),
            whole(counts.drop),
            whole(counts.undecided()),
            whole(counts.edited)
        )
    };
    let saving = move || match state.queue.saving.get() {
        Saving::Saved => String::new(),
        saving => saving.text().to_owned(),
    };
    // Kept by the settings of the cell's newest run, where there is one.
    let frozen = cell.part(|run| (run.state == RunState::Done).then_some(run.run));
    let file = move || format!("/download/{}", frozen.get().flatten().unwrap_or(run));
    let any = move || state.order.with(|order| order.as_ref().is_some_and(|order| !order.is_empty()));
    let any = Memo::new(move |_| any());
    view! {
        <section class="curate" node_ref=section aria-label="Decide on pairs" data-run=run
            on:keydown=move |event| press(state, section, &event)>
            <p class="counts-line">
                <span>{counts}</span> " " <span class="saving" role="status">{saving}</span>
            </p>
            {filters(state)}
            {error_slot(state.error)}
            {bulk(state, focus_list)}
            {move || match (any.get(), state.order.with(Option::is_some)) {
                (true, _) => view! { <List state cell=cell.id/> <Detail state cell=cell.id/> }.into_any(),
                (false, true) => view! { <p class="empty">"No matching pairs."</p> }.into_any(),
                (false, false) => view! { <p class="loading">"Loading the pairs…"</p> }.into_any(),
            }}
            {download(Signal::derive(file), state.filter.into(), true)}
            <details class="keys-help">
                <summary>"Keys"</summary>
                <p class="note">
                    <kbd>"j"</kbd> " next, " <kbd>"k"</kbd> " previous, " <kbd>"a"</kbd> " keep (accept), "
                    <kbd>"d"</kbd> " drop, " <kbd>"u"</kbd> " undecided, " <kbd>"e"</kbd> " edit the instruction, "
                    <kbd>"n"</kbd> " note, " <kbd>"Esc"</kbd> " back to the list, " <kbd>"z"</kbd> " undo, "
                    <kbd>"Shift+Z"</kbd> " redo, " <kbd>"/"</kbd> " search. They work while the focus is in this table."
                </p>
            </details>
        </section>
    }
    .into_any()
}

fn filters(state: CurateState) -> AnyView {
    let chosen = state.filter.get_untracked();
    let tags = options(TagFilter::choices().map(|tag| (tag.as_str(), tag.label())), chosen.tag.as_str());
    let decisions = options(DecisionFilter::ALL.iter().map(|by| (by.as_str(), by.label())), chosen.decision.as_str());
    let sorts = options(PairSort::ALL.iter().map(|sort| (sort.as_str(), sort.label())), chosen.sort.as_str());
    let choose = move |name: &'static str, value: String| {
        state.filter.update(|filter| filter.read_query(name, &value));
        state.apply_filter(None);
    };
    // Searched when nothing was typed for a moment.
    let typed = StoredValue::new(0_u64);
    let search = move |event| {
        let text: String = event_target_value(&event);
        let turn = typed.try_update_value(|turn| {
            *turn += 1;
            *turn
        });
        set_timeout(
            move || {
                if typed.try_get_value() == turn {
                    choose("text", text.clone());
                }
            },
            SEARCH_AFTER,
        );
    };
    view! {
        <form class="filters" on:submit=|event| event.prevent_default()>
            <label>"Decision " <select on:change=move |event| choose("decision", event_target_value(&event))>
                {decisions}
            </select></label>
            <label>"Failure tag " <select on:change=move |event| choose("tag", event_target_value(&event))>
                {tags}
            </select></label>
            <label>"Sort by " <select on:change=move |event| choose("sort", event_target_value(&event))>
                {sorts}
            </select></label>
            <label>
                "Search "
                <input type="search" class="search" maxlength="200" value=chosen.text on:input=search/>
            </label>
        </form>
    }
    .into_any()
}

/// Commands on every pair that the filter shows, undo and redo.
fn bulk(state: CurateState, done: impl Fn() + Copy + Send + 'static) -> AnyView {
    let number = move || whole(state.total() as u64);
    let all = move |decision: Option<Decision>| {
        state.decide_all(decision);
        done();
    };
    view! {
        <div class="actions bulk" role="group" aria-label="All pairs that are shown">
            <button type="button" on:click=move |_| all(Some(Decision::Keep))>
                {move || format!("Keep all {}", number())}
            </button>
            <button type="button" on:click=move |_| all(Some(Decision::Drop))>
                {move || format!("Drop all {}", number())}
            </button>
            <button type="button" on:click=move |_| all(None)>{move || format!("Clear all {}", number())}</button>
            <button type="button" class="quiet" aria-disabled=move || (!state.can_undo()).then_some("true")
                on:click=move |_| state.undo()>"Undo"</button>
            <button type="button" class="quiet" aria-disabled=move || (!state.can_redo()).then_some("true")
                on:click=move |_| state.redo()>"Redo"</button>
        </div>
    }
    .into_any()
}

/// Keys of the table. What it handles does not reach the notebook's keys.
fn press(state: CurateState, section: NodeRef<leptos::html::Section>, event: &KeyboardEvent) {
    let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    let is_in =
        |selector: &str| target.as_ref().is_some_and(|element| matches!(element.closest(selector), Ok(Some(_))));
    if event.default_prevented() || event.is_composing() {
        return;
    }
    let handled = if is_in("input, textarea, select") {
        event.key() == "Escape" && !is_in("select") && {
            focus(section, ".rows");
            true
        }
    } else {
        act(state, section, event, is_in(".rows"))
    };
    if handled {
        event.prevent_default();
        event.stop_propagation();
    }
}

/// True where the key means something here.
fn act(state: CurateState, section: NodeRef<leptos::html::Section>, event: &KeyboardEvent, in_list: bool) -> bool {
    let command = event.ctrl_key() || event.meta_key();
    if event.alt_key() {
        return false;
    }
    match event.key().as_str() {
        "z" if command && !event.shift_key() => state.undo(),
        "z" | "Z" if command => state.redo(),
        "y" if command => state.redo(),
        _ if command => return false,
        "j" => state.step(1),
        "k" => state.step(-1),
        "ArrowDown" if in_list => state.step(1),
        "ArrowUp" if in_list => state.step(-1),
        "PageDown" if in_list => state.step(PAGE),
        "PageUp" if in_list => state.step(-PAGE),
        "Home" if in_list => state.step(isize::MIN),
        "End" if in_list => state.step(isize::MAX),
        "a" => state.decide(Some(Decision::Keep)),
        "d" => state.decide(Some(Decision::Drop)),
        "u" => state.decide(None),
        "z" => state.undo(),
        "Z" => state.redo(),
        "e" => focus(section, ".instruction"),
        "n" => focus(section, ".pair-note"),
        "/" => focus(section, ".search"),
        _ => return false,
    }
    true
}

fn focus(section: NodeRef<leptos::html::Section>, selector: &str) {
    let Some(section) = section.get_untracked() else { return };
    let found = section.query_selector(selector).ok().flatten();
    if let Some(element) = found.and_then(|element| element.dyn_into::<HtmlElement>().ok()) {
        let _ = element.focus();
    }
}
