//! Two generate runs side by side: what differs in settings, figures and texts. Reads without scripts: the choice is a
//! form, and the address holds it.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

use crate::api;
use crate::components::diff::word_diff;
use crate::components::focus;
use crate::components::format::{counted, figure, moment, percent, whole};
use crate::components::frame::{Top, failed};
use spec::{
    AppError, CompareQuery, CompareRuns, ComparedRun, Comparison, GenerateRun, GeneratedPair, ListGenerateRuns,
    ScoreSummary,
};

type Shown = (Vec<GenerateRun>, CompareQuery, Option<Comparison>);

#[component]
pub fn Compare() -> impl IntoView {
    let query = use_query_map();
    let asked = Memo::new(move |_| {
        query.with(|query| {
            let number = |name| query.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
            CompareQuery {
                left: number("left"),
                right: number("right"),
                only_different: query.get("different").is_some(),
                page: number("page").clamp(1, i64::from(u32::MAX)) as u32,
            }
        })
    });
    let shown = Resource::new(move || asked.get(), load);
    view! {
        <Title text="Compare runs"/>
        <Top/>
        <Suspense fallback=|| view! { <p class="loading">"Loading the runs…"</p> }>
            {move || Suspend::new(async move {
                match shown.await {
                    Ok((runs, query, comparison)) => page(&runs, &query, comparison),
                    Err(error) => failed(error, true),
                }
            })}
        </Suspense>
    }
    .into_any()
}

async fn load(query: CompareQuery) -> Result<Shown, AppError> {
    let runs = api::call(ListGenerateRuns {}).await?;
    let chosen = query.left > 0 && query.right > 0;
    let comparison = if chosen { Some(api::call(CompareRuns { query: query.clone() }).await?) } else { None };
    Ok((runs, query, comparison))
}

fn page(runs: &[GenerateRun], query: &CompareQuery, comparison: Option<Comparison>) -> AnyView {
    Effect::new(focus::page_shown);
    let choices = |name: &'static str, label: &'static str, chosen: i64| {
        let options = runs
            .iter()
            .map(|run| {
                let text = title(run);
                view! { <option value=run.run selected=run.run == chosen>{text}</option> }
            })
            .collect_view();
        view! { <label>{label} " " <select name=name>{options}</select></label> }
    };
    // Until two are chosen, the two newest.
    let nth = |chosen: i64, at: usize| if chosen > 0 { chosen } else { runs.get(at).map_or(0, |run| run.run) };
    let left = choices("left", "Run A", nth(query.left, 1.min(runs.len().saturating_sub(1))));
    let right = choices("right", "Run B", nth(query.right, 0));
    let result = comparison.map(|comparison| result(query, comparison));
    view! {
        <main id="main" class="report compare" tabindex="-1">
            <h1>"Compare runs"</h1>
            {if runs.is_empty() {
                view! { <p class="empty">"No Generate cell has run yet."</p> }.into_any()
            } else {
                view! {
                    <form class="filters" method="get" action="/compare">
                        {left} {right}
                        <label class="toggle">
                            <input type="checkbox" name="different" value="1" checked=query.only_different/>
                            " Only rows that differ"
                        </label>
                        <button type="submit" class="primary">"Compare"</button>
                    </form>
                }
                .into_any()
            }}
            {result}
        </main>
    }
    .into_any()
}

fn title(run: &GenerateRun) -> String {
    format!("{}, run {}, {}, {}", run.experiment, run.run, moment(run.created_ms), counted(run.pairs, "pair"))
}

fn result(query: &CompareQuery, comparison: Comparison) -> AnyView {
    let Comparison { left, right, joined, different, offset, rows } = comparison;
    let total = if query.only_different { different } else { joined };
    let summary = format!(
        "{} in both runs; the generated instruction differs for {} of them. Only in A: {}. Only in B: {}.",
        counted(joined, "response"),
        whole(different),
        whole(left.alone),
        whole(right.alone)
    );
    let caption = match rows.len() as u64 {
        0 => "No rows.".to_owned(),
        shown => format!("{} to {} of {}", offset + 1, offset + shown, counted(total, "row")),
    };
    let shown = rows.iter().map(|(a, b)| row(a, b)).collect_view();
    view! {
        <p>{summary}</p>
        <h2>"Settings that differ"</h2>
        {settings(&left, &right)}
        <h2>"Metrics"</h2>
        {metrics(&left.scores, &right.scores)}
        <h2 id="rows">"Rows"</h2>
        <p class="note">{caption}</p>
        <div class="compared">{shown}</div>
        {pager(query, offset, total)}
    }
    .into_any()
}

fn settings(left: &ComparedRun, right: &ComparedRun) -> AnyView {
    let value = |run: &ComparedRun, key: &str| {
        run.settings.iter().find(|(known, _)| known == key).map_or_else(|| "–".to_owned(), |(_, value)| value.clone())
    };
    let mut keys: Vec<&String> = left.settings.iter().chain(&right.settings).map(|(key, _)| key).collect();
    let mut seen = std::collections::HashSet::new();
    keys.retain(|key| seen.insert(*key));
    let rows: Vec<AnyView> = keys
        .into_iter()
        .filter(|key| value(left, key) != value(right, key))
        .map(|key| {
            view! {
                <tr>
                    <th scope="row"><code>{key.clone()}</code></th>
                    <td class="value">{value(left, key)}</td>
                    <td class="value">{value(right, key)}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    if rows.is_empty() {
        return view! { <p>"None: both runs have the same settings."</p> }.into_any();
    }
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="Settings that differ">
            <table class="settings">
                <thead><tr><th scope="col">"Setting"</th><th scope="col">"A"</th><th scope="col">"B"</th></tr></thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}

/// Of the responses that both runs have.
fn metrics(left: &ScoreSummary, right: &ScoreSummary) -> AnyView {
    let optional = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), figure);
    let share = |of: &ScoreSummary| percent(of.without_tags as f64 / of.pairs.max(1) as f64);
    let both = |name: &'static str, of: &dyn Fn(&ScoreSummary) -> String| {
        view! {
            <tr>
                <th scope="row">{name}</th>
                <td class="number">{of(left)}</td>
                <td class="number">{of(right)}</td>
            </tr>
        }
        .into_any()
    };
    let mut rows = vec![
        both("ROUGE-L against the human reference", &|of| optional(of.rouge_l)),
        both("ROUGE-L, shuffled baseline", &|of| optional(of.rouge_l_shuffled)),
        both("Without a failure tag", &share),
        both("Median words", &|of| figure(of.generated.median_words)),
        both("Copied ≥ 8-gram", &|of| percent(of.generated.copied)),
        both("Extractive coverage", &|of| percent(of.generated.coverage)),
        both("Distinct-2", &|of| percent(of.generated.distinct_2)),
    ];
    for (a, b) in left.tags.iter().zip(&right.tags).filter(|(a, b)| a.count + b.count > 0) {
        rows.push(
            view! {
                <tr>
                    <th scope="row">{format!("Failure tag: {}", a.tag.label())}</th>
                    <td class="number">{whole(a.count)}</td>
                    <td class="number">{whole(b.count)}</td>
                </tr>
            }
            .into_any(),
        );
    }
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="Metrics of both runs">
            <table>
                <caption>"Over the responses that both runs have"</caption>
                <thead><tr>
                    <th scope="col">"Metric"</th><th scope="col" class="number">"A"</th>
                    <th scope="col" class="number">"B"</th>
                </tr></thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}

fn row(a: &GeneratedPair, b: &GeneratedPair) -> AnyView {
    let same = a.generated == b.generated;
    let tags = |pair: &GeneratedPair| {
        pair.scores.tags.iter().map(|tag| view! { <span class="tag">{tag.label()}</span> " " }).collect_view()
    };
    let side = |name: &'static str, pair: &GeneratedPair, text: AnyView| {
        let rouge = pair.scores.rouge_l.map(|rouge| format!(" ROUGE-L {}", figure(rouge)));
        view! { <div><dt>{name} {rouge} " " {tags(pair)}</dt><dd class="text">{text}</dd></div> }
    };
    let (left, right) = word_diff(&a.generated, &b.generated);
    let reference = a.reference.clone().or_else(|| b.reference.clone());
    view! {
        <section class="compared-row" data-same=same.then_some("") aria-label=format!("Row {}", a.source_row())>
            <h3>{format!("Row {}", whole(a.source_row()))} {same.then_some(", identical")}</h3>
            <dl class="texts sides">{side("A", a, left)} {side("B", b, right)}</dl>
            <details>
                <summary>"Response"</summary>
                <dl class="texts">
                    {reference.map(|text| view! {
                        <div><dt>"Instruction, human reference"</dt><dd class="text">{text}</dd></div>
                    })}
                    <div><dt>"Response"</dt><dd class="text">{a.response.clone()}</dd></div>
                </dl>
            </details>
        </section>
    }
    .into_any()
}

fn pager(query: &CompareQuery, offset: u64, total: u64) -> AnyView {
    let page = offset / Comparison::ROWS + 1;
    let link = |to: u64, name: &'static str| {
        let different = if query.only_different { "&different=1" } else { "" };
        let href = format!("?left={}&right={}{different}&page={to}#rows", query.left, query.right);
        view! { <a href=href rel="external">{name}</a> }
    };
    let before = (page > 1).then(|| link(page - 1, "Previous"));
    let after = (offset + Comparison::ROWS < total).then(|| link(page + 1, "Next"));
    view! { <nav class="pager" aria-label="Pages of rows">{before} " " {after}</nav> }.into_any()
}
