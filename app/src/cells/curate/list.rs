//! The list of pairs. Only the rows in view are in the page, so that tens of thousands scroll as few do.

use leptos::html;
use leptos::prelude::*;

use super::state::CurateState;
use crate::components::format::{excerpt, whole};

/// Height of a row; the style sheet has the same.
const ROW_REM: f64 = 2.25;
/// Rows that are in view at most.
const MOST_ROWS: usize = 8;
/// Rows that are drawn beyond both ends of what is in view.
const MARGIN: usize = 8;
/// Before the list has been measured.
const FIRST_ROWS: usize = 24;

#[component]
pub fn List(state: CurateState, cell: i64) -> impl IntoView {
    let list = NodeRef::<html::Div>::new();
    // First and last place in view.
    let seen = RwSignal::new((0_usize, FIRST_ROWS));
    let measure = move || {
        let Some(list) = list.get_untracked() else { return };
        let row = row_height(&list, untrack(move || state.total()));
        let first = (f64::from(list.scroll_top()) / row) as usize;
        let count = (f64::from(list.client_height()) / row).ceil() as usize;
        if seen.get_untracked() != (first, first + count) {
            seen.set((first, first + count));
        }
    };
    let drawn = Memo::new(move |_| {
        let (first, last) = seen.get();
        (first.saturating_sub(MARGIN), (last + MARGIN).min(state.total()))
    });
    // Also where the same rows are in view of a list that was fetched again: its pairs are not here any more.
    Effect::new(move || {
        state.order.track();
        let (from, to) = drawn.get();
        state.load(from, to);
    });
    // The open pair is in view, also when keys, undo or a link opened it.
    Effect::new(move || {
        let at = state.cursor.get();
        if let Some(list) = list.get() {
            let row = row_height(&list, untrack(move || state.total()));
            let (top, height) = (f64::from(list.scroll_top()), f64::from(list.client_height()));
            let place = at as f64 * row;
            if place < top {
                list.set_scroll_top(place as i32);
            } else if place + row > top + height {
                list.set_scroll_top((place + row - height).ceil() as i32);
            }
            measure();
        }
        state.load(at, at + 1);
    });
    let rows = move || {
        let (from, to) = drawn.get();
        (from..to).filter_map(|place| state.at(place).map(|(index, row)| (place, index, row))).collect::<Vec<_>>()
    };
    let active = move || state.at(state.cursor.get()).map(|(index, _)| format!("pair-{cell}-{index}"));
    view! {
        <div class="rows" role="listbox" tabindex="0" aria-label="Pairs" aria-activedescendant=active node_ref=list
            style:height=move || format!("{}rem", state.total().min(MOST_ROWS) as f64 * ROW_REM + 0.125)
            on:scroll=move |_| measure()>
            <div class="all-rows" style:height=move || format!("{}rem", state.total() as f64 * ROW_REM)>
                <For each=rows key=|row| *row let((place, index, row))>
                    <Row state cell place index row/>
                </For>
            </div>
        </div>
    }
    .into_any()
}

/// In pixels: a person may have chosen larger text.
fn row_height(list: &web_sys::HtmlDivElement, total: usize) -> f64 {
    let whole = list.first_element_child().map_or(0, |rows| rows.client_height());
    (f64::from(whole) / total.max(1) as f64).max(1.0)
}

#[component]
fn Row(state: CurateState, cell: i64, place: usize, index: u32, row: u64) -> impl IntoView {
    let shown = Memo::new(move |_| {
        state.pair(index).map(|pair| {
            let text = pair.instruction();
            let line = if text.trim().is_empty() { "(empty)".to_owned() } else { excerpt(text, 200) };
            let edited = pair.curation.as_ref().is_some_and(|curation| curation.instruction.is_some());
            let tags = pair.scores.tags.iter().map(|tag| tag.label()).collect::<Vec<_>>().join(", ");
            (line, pair.decision(), edited, tags)
        })
    });
    let decision = move || shown.get().and_then(|shown| shown.1);
    view! {
        <div class="row" role="option" id=format!("pair-{cell}-{index}") data-pair=index
            aria-selected=move || if state.cursor.get() == place { "true" } else { "false" }
            aria-setsize=move || state.total().to_string() aria-posinset=(place + 1).to_string()
            data-decision=move || decision().map_or("", spec::Decision::as_str)
            style:transform=format!("translateY({}rem)", place as f64 * ROW_REM)
            on:click=move |_| state.cursor.set(place)>
            <span class="decision">{move || decision().map(|decision| decision.label())}</span>
            <span class="number">{whole(row)}</span>
            <span class="line">{move || shown.get().map_or_else(|| "…".to_owned(), |shown| shown.0)}</span>
            <span class="marks">
                {move || shown.get().filter(|shown| shown.2).map(|_| view! {
                    <span class="tag quiet">"edited"</span>
                })}
                {move || shown.get().map(|shown| shown.3).filter(|tags| !tags.is_empty()).map(|tags| view! {
                    <span class="tag">{tags}</span>
                })}
            </span>
        </div>
    }
    .into_any()
}
