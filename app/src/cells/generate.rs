//! The generate cell: sampling, text as it arrives, and the finished pairs.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::data::{dropped_rows, malformed_rows};
use super::files::named;
use crate::api;
use crate::book::{Book, CellState};
use crate::components::download::download;
use crate::components::error::error_slot;
use crate::components::facts::{fact, facts, noted};
use crate::components::format::{counted, figure, seconds, whole, words};
use crate::components::options::options;
use crate::components::pair::pair_table;
use crate::components::scores::score_tables;
use spec::{
    AppError, CellOutput, CorpusSummary, DroppedRow, GenerateConfig, GenerateOutput, ListPairs, PairFilter, PairSort,
    PairsPage, PairsQuery, TagFilter,
};

/// Rows of the table.
const PAGE: u32 = 50;
const SEARCH_AFTER: Duration = Duration::from_millis(300);
pub fn brief(book: Book, config: &GenerateConfig) -> String {
    let file = named(book, "file", config.file.clone());
    let rows =
        config.limit.map_or_else(|| "all rows".to_owned(), |limit| format!("max {}", counted(u64::from(limit), "row")));
    let way =
        if config.temperature == 0.0 { "greedy".to_owned() } else { format!("temperature {}", config.temperature) };
    format!("{file}, {rows}, {way}, max {} new tokens, seed {}", config.max_new_tokens, config.seed)
}

pub fn live(cell: CellState) -> AnyView {
    let speed = cell.part(|run| (!run.state.is_over() && run.tokens_per_s > 0.0).then_some(run.tokens_per_s));
    let writing = cell.part(|run| run.writing.keys().copied().collect::<Vec<_>>());
    let output = cell.part(|run| run.output.clone());
    let any_pair = cell.part(|run| !run.pairs.is_empty());
    let run = cell.part(|run| run.run);
    let over = cell.part(|run| run.state.is_over());
    let text = move |index: u32| {
        cell.run.with(|run| run.as_ref().and_then(|run| run.writing.get(&index).cloned()).unwrap_or_default())
    };
    view! {
        {move || speed.get().flatten().map(|speed| view! {
            <p class="speed">{format!("{} tokens/s over the batch", figure(speed))}</p>
        })}
        <ol class="writing" aria-label="Being generated">
            <For each=move || writing.get().unwrap_or_default() key=|index| *index let(index)>
                <li data-writing=index>
                    <span class="row">{format!("#{}", index + 1)}</span>
                    <span class="text">{move || text(index)}</span>
                </li>
            </For>
        </ol>
        {move || match output.get().flatten() {
            Some(CellOutput::Generate(output)) => result(&output),
            _ => ().into_any(),
        }}
        {move || run.get().filter(|_| over.get() == Some(true)).map(|run| view! {
            <p>
                <a href=format!("/compare?right={run}")>"Compare with another run"</a> ", "
                <a href=format!("/rate/{run}")>"Rate blind"</a>
            </p>
        })}
        {move || match (any_pair.get(), run.get()) {
            (Some(true), Some(run)) => view! { <PairsTable cell run/> }.into_any(),
            _ => ().into_any(),
        }}
    }
    .into_any()
}

fn result(output: &GenerateOutput) -> AnyView {
    let mut list = vec![
        fact("Pairs", whole(output.pairs)),
        noted("Tokens", whole(output.tokens), "generated"),
        fact("Time", seconds(output.seconds)),
    ];
    if output.tokens_per_s > 0.0 {
        list.push(noted("Speed", format!("{} tokens/s", figure(output.tokens_per_s)), "while decoding"));
    }
    view! {
        {facts(list)}
        {corpus_summary(&output.corpus, output.pairs)}
        {score_tables(&output.scores)}
    }
    .into_any()
}

/// Which corpus it was, and the rows of it that have no pair; for the report too.
pub fn corpus_summary(corpus: &CorpusSummary, pairs: u64) -> AnyView {
    if corpus.is_unknown() {
        return ().into_any();
    }
    let rows = format!("{} read from {}.", counted(corpus.rows, "row"), corpus.source.name);
    view! {
        <p>{rows}</p>
        {dropped_rows("Dropped rows by reason (first match)", &corpus.dropped, pairs)}
        {dropped_list(&corpus.dropped_rows)}
        {malformed_rows(corpus.malformed_count, corpus.malformed.clone())}
    }
    .into_any()
}

/// Which rows were left out, and why; the first of them.
fn dropped_list(rows: &[DroppedRow]) -> AnyView {
    let items = rows
        .iter()
        .map(|row| view! { <li>{format!("row {}: {}", whole(row.row), words(&row.reason))}</li> })
        .collect_view();
    (!rows.is_empty())
        .then(|| {
            view! { <details><summary>"First dropped rows"</summary><ul class="inline">{items}</ul></details> }
        })
        .into_any()
}

/// While the run goes: its newest pairs. After it, and for every filter: pages from the server.
#[component]
fn PairsTable(cell: CellState, run: i64) -> impl IntoView {
    let query = RwSignal::new(PairsQuery { run, limit: PAGE, ..PairsQuery::default() });
    let page = RwSignal::new(None::<PairsPage>);
    let error = RwSignal::new(None::<AppError>);
    let typed = RwSignal::new(String::new());
    // Fetched again when the run ends, not at every pair.
    let over = cell.part(|run| run.state.is_over());
    let fetch = move |wanted: PairsQuery| {
        spawn_local(async move {
            let answer = api::call(ListPairs { query: wanted.clone() }).await;
            // A slow answer to an older question is not shown.
            if query.try_get_untracked().as_ref() != Some(&wanted) {
                return;
            }
            match answer {
                Ok(found) => {
                    error.set(None);
                    page.set(Some(found));
                }
                Err(why) => error.set(Some(why)),
            }
        });
    };
    Effect::new(move || {
        let wanted = query.get();
        let plain = wanted == PairsQuery { run, limit: PAGE, ..PairsQuery::default() };
        if over.get() == Some(true) || !plain {
            fetch(wanted);
        } else {
            page.set(None);
        }
    });
    let newest = cell.part(|run| {
        let mut pairs = run.pairs.clone();
        pairs.sort_by_key(|pair| pair.index);
        pairs
    });
    let table = move || match page.get() {
        Some(found) => {
            let from = query.get().offset;
            let caption = match found.pairs.len() as u32 {
                0 => "No matching pairs.".to_owned(),
                shown => format!("{} to {} of {}", from + 1, from + shown, counted(found.total, "pair")),
            };
            pair_table(&found.pairs, caption).into_any()
        }
        None => newest.with(|pairs| {
            let pairs = pairs.as_deref().unwrap_or_default();
            let caption = format!("The newest {}", counted(pairs.len() as u64, "finished pair"));
            pair_table(pairs, caption).into_any()
        }),
    };
    let is_last = move || {
        let total = page.with(|page| page.as_ref().map_or(0, |page| page.total));
        query.with(|query| u64::from(query.offset + PAGE) >= total)
    };
    let is_first = move || query.with(|query| query.offset == 0);
    let single = move || is_last() && is_first();
    let turn = move |by: i64| {
        query.update(|query| {
            query.offset = (i64::from(query.offset) + by * i64::from(PAGE)).max(0) as u32;
        })
    };
    let search = move || {
        let text = typed.try_get_untracked().unwrap_or_default();
        if query.try_with_untracked(|query| query.filter.text != text) == Some(true) {
            query.update(|query| (query.filter.text, query.offset) = (text, 0));
        }
    };
    // Searched when nothing was typed for a moment.
    let type_in = move |text: String| {
        typed.set(text.clone());
        set_timeout(
            move || {
                if typed.try_with_untracked(|typed| *typed == text) == Some(true) {
                    search();
                }
            },
            SEARCH_AFTER,
        );
    };
    // Made anew only when the first decision comes: what was chosen in the form stays.
    let is_decided =
        Memo::new(move |_| page.with(|page| page.as_ref().is_some_and(|page| page.counts.keep + page.counts.drop > 0)));
    let filter = Signal::derive(move || query.with(|query| query.filter.clone()));
    let file = move || download(Signal::stored(format!("/download/{run}")), filter, is_decided.get());
    let usual = PairFilter::default();
    let tags = options(TagFilter::choices().map(|tag| (tag.as_str(), tag.label())), usual.tag.as_str());
    let sorts = options(PairSort::ALL.iter().map(|sort| (sort.as_str(), sort.label())), usual.sort.as_str());
    // Back to the first page.
    let choose = move |name: &'static str, event| {
        let value = event_target_value(&event);
        query.update(|query| {
            query.filter.read_query(name, &value);
            query.offset = 0;
        });
    };
    view! {
        <section class="pairs-block" aria-label="Pairs">
            <h3>"Pairs"</h3>
            <form class="filters" on:submit=move |event| { event.prevent_default(); search(); }>
                <label>"Failure tag " <select on:change=move |event| choose("tag", event)>{tags}</select></label>
                <label>"Sort by " <select on:change=move |event| choose("sort", event)>{sorts}</select></label>
                <label>
                    "Search "
                    <input type="search" maxlength="200" on:input=move |event| type_in(event_target_value(&event))/>
                </label>
            </form>
            {file}
            {error_slot(error)}
            {table}
            <div class="pager" hidden=single>
                <button type="button" aria-disabled=move || is_first().then_some("true")
                    on:click=move |_| if !untrack(is_first) { turn(-1) }>"Previous"</button>
                <button type="button" aria-disabled=move || is_last().then_some("true")
                    on:click=move |_| if !untrack(is_last) { turn(1) }>"Next"</button>
            </div>
        </section>
    }
    .into_any()
}
