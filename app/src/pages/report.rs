//! A frozen report: for its owner, and behind a share link for anyone who has it.
//!
//! Reads without scripts: pages of pairs are plain links that load anew, charts and tables are drawn on the server.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};

use super::number;
use crate::api;
use crate::cells::{Sharing, corpus_summary, data_summary, dropped_rows, integrity_sentence, model_name, train_result};
use crate::components::chart::LossChart;
use crate::components::facts::{fact, facts, hash, noted};
use crate::components::focus;
use crate::components::format::{counted, moment, whole};
use crate::components::frame::{Top, failed};
use crate::components::pair::pair_table;
use crate::components::scores::score_tables;
use crate::components::settings::settings_table;
use crate::components::theme::ThemeSwitch;
use spec::{
    EvaluationPoint, ModelOutput, OpenReport, OpenSharedReport, PairFilter, Provenance, Report, ReportPage,
    ReportQuery, Settings, StepCurve,
};

/// What the address asks for: filter, page (`all` is 0) and row.
fn report_query() -> Memo<ReportQuery> {
    let query = use_query_map();
    Memo::new(move |_| {
        query.with(|query| {
            let mut wanted = ReportQuery::default();
            for name in PairFilter::NAMES {
                if let Some(value) = query.get(name) {
                    wanted.filter.read_query(name, &value);
                }
            }
            wanted.page = match query.get("page").as_deref() {
                Some("all") => 0,
                Some(text) => text.parse().unwrap_or(1).max(1),
                None => 1,
            };
            wanted.row = query.get("row").and_then(|row| row.parse().ok());
            wanted
        })
    })
}

#[component]
pub fn OwnReport() -> impl IntoView {
    let params = use_params_map();
    let query = report_query();
    let run = move || params.with(|params| params.get("run"));
    let report = Resource::new(
        move || (run(), query.get()),
        |(run, query)| async move { api::call(OpenReport { run: number(run)?, query }).await },
    );
    view! {
        <Top/>
        <Suspense fallback=|| view! { <p class="loading">"Loading the report…"</p> }>
            {move || Suspend::new(async move {
                match (report.await, number(run())) {
                    (Ok(shown), Ok(run)) => view! { <Document shown run/> }.into_any(),
                    (Err(error), _) | (_, Err(error)) => failed(error, true).into_any(),
                }
            })}
        </Suspense>
    }
    .into_any()
}

/// Knows nothing but its report: no way to the notebook, no other data.
#[component]
pub fn SharedReport() -> impl IntoView {
    let params = use_params_map();
    let query = report_query();
    let report = Resource::new(
        move || (params.with(|params| params.get("token")).unwrap_or_default(), query.get()),
        |(token, query)| api::call(OpenSharedReport { token, query }),
    );
    view! {
        <header class="top">
            <span class="home"><span class="mark" aria-hidden="true">"↩"</span> "Backtranslate"</span>
            <div class="tools"><ThemeSwitch/></div>
        </header>
        <Suspense fallback=|| view! { <p class="loading">"Loading the report…"</p> }>
            {move || Suspend::new(async move {
                match report.await {
                    Ok(shown) => view! { <Document shown/> }.into_any(),
                    Err(error) => failed(error, false).into_any(),
                }
            })}
        </Suspense>
    }
    .into_any()
}

/// `run` is given to the owner only.
#[component]
fn Document(shown: ReportPage, #[prop(optional)] run: Option<i64>) -> impl IntoView {
    let ReportPage { report, pairs, offset, .. } = shown;
    let title = report.config.title.clone();
    let story = story(&report, pairs);
    let Report { created_ms, experiment, config, data, model, train, integrity, curve, evaluations, scores, .. } =
        report.clone();
    let dropped = dropped_rows("Dropped pairs by reason (first match)", &data.dropped, data.pairs);
    let notices = notices(&report);
    let named = {
        let files = [
            (report.data_config.file.clone(), report.data.source.name.clone()),
            (report.generate_config.file.clone(), report.corpus.source.name.clone()),
        ];
        move |field: &str, value: String| {
            let name = files.iter().find(|(id, name)| field == "file" && *id == value && !name.is_empty());
            name.map_or(value, |(_, name)| name.clone())
        }
    };
    Effect::new(focus::page_shown);
    let byline = format!("Snapshot of the experiment “{experiment}”, {}.", moment(created_ms));
    let has_summary = !config.summary.trim().is_empty();
    let summary = has_summary.then(|| view! { <div class="text summary">{config.summary}</div> });
    view! {
        <Title text=title.clone()/>
        <main id="main" class="report" tabindex="-1">
            <article>
                <h1>{title}</h1>
                <p class="byline">{byline}</p>
                {summary}
                {run.map(|run| view! { <Sharing run/> })}

                <h2>"What was done"</h2>
                <p>{story}</p>
                <p>
                    "In instruction backtranslation a model learns to predict the instruction that a given response "
                    "answers. Applied to texts without instructions, it turns them into training pairs "
                    "(Li et al., arXiv:2308.06259)."
                </p>

                <h2>"Quality of the generated instructions"</h2>
                {score_tables(&scores)}

                <h2>"Training"</h2>
                {loss_chart(curve, evaluations)}
                <p>
                    "The loss is the mean negative log-likelihood of the supervised tokens; lower is better. "
                    "The validation loss is measured on conversations that are not trained on."
                </p>
                {train_result(train)}
                <p>{integrity_sentence(&integrity)}</p>

                <h2>"Data"</h2>
                {data_summary(&data)}
                {dropped}

                // Reports of older versions say nothing of their corpus.
                {(!report.corpus.is_unknown()).then(|| view! { <h2>"Corpus"</h2> })}
                {corpus_summary(&report.corpus, pairs)}

                <h2 id="pairs">"Pairs"</h2>
                {pair_list(&report, pairs, offset, run.is_some())}

                <h2>"Settings"</h2>
                {model_facts(&model)}
                <details>
                    <summary>"Data"</summary>
                    {settings_table("Settings of the Data cell", report.data_config.values(), &named)}
                </details>
                <details>
                    <summary>"Train"</summary>
                    {settings_table("Settings of the Train cell", report.train_config.values(), &named)}
                </details>
                <details>
                    <summary>"Generate"</summary>
                    {settings_table("Settings of the Generate cell", report.generate_config.values(), &named)}
                </details>

                <h2>"Provenance"</h2>
                {provenance(report.provenance)}
                {notices}
            </article>
        </main>
    }
    .into_any()
}

fn loss_chart(curve: StepCurve, evaluations: Vec<EvaluationPoint>) -> AnyView {
    if curve.is_empty() {
        // A report of an older version, whose training is gone: its curve cannot be mended.
        let text = "The loss curve is not shown: this report was made by an older version, which kept only some of the \
                    steps of a long run, and its training is no longer on the server.";
        return view! { <p class="note">{text}</p> }.into_any();
    }
    view! { <LossChart curve=Signal::stored(curve) evaluations=Signal::stored(evaluations)/> }.into_any()
}

/// Licences and origins: what the author wrote, then what is known of the two files.
fn notices(report: &Report) -> AnyView {
    let mut list = vec![(None, report.config.data_notice.clone())];
    for source in [&report.data.source, &report.corpus.source] {
        list.push((Some(source.name.clone()), source.notice.clone()));
    }
    list.retain(|(_, notice)| !notice.trim().is_empty());
    list.dedup();
    (!list.is_empty())
        .then(|| {
            let items = list
                .into_iter()
                .map(|(file, notice)| {
                    let file = file.map(|file| view! { <p class="note">{file}</p> });
                    view! { <div>{file} <div class="text notice">{notice}</div></div> }
                })
                .collect_view();
            view! { <h2>"Data notice"</h2> {items} }
        })
        .into_any()
}

/// The whole run in a few sentences.
fn story(report: &Report, pairs: u64) -> String {
    let Report { data, model, train, train_config, generate_config, corpus, .. } = report;
    let way = if generate_config.temperature == 0.0 {
        "with greedy decoding".to_owned()
    } else {
        format!("at temperature {}", generate_config.temperature)
    };
    let of = |name: &str| if name.is_empty() { String::new() } else { format!(" of {name}") };
    format!(
        "{} were taken from {}{}. A LoRA adapter of rank {} on {} ({:.4} % trainable parameters) was trained on {} of \
         them for {} to predict the instruction from the response. It then generated an instruction for each of {}{}, \
         {way}.",
        counted(data.pairs, "pair"),
        counted(data.rows, "row"),
        of(&data.source.name),
        train_config.rank,
        model_name(model),
        train.trainable_percent,
        whole(data.train_pairs),
        counted(u64::from(train.steps), "step"),
        counted(pairs, "response"),
        of(&corpus.source.name),
    )
}

/// `all`: offers all pairs on one page.
/// `all`: with a link to all of them on one page, which only the owner may open.
fn pair_list(report: &Report, total: u64, offset: u64, all: bool) -> AnyView {
    let shown = report.pairs.len() as u64;
    let caption = match shown {
        0 => "No pairs on this page.".to_owned(),
        _ => {
            format!("{} to {} of {}; open one to read its response", offset + 1, offset + shown, counted(total, "pair"))
        }
    };
    let pages = total.div_ceil(ReportPage::PAIRS);
    // On the page with all of them none is current.
    let current = (shown < total).then_some(offset / ReportPage::PAIRS + 1);
    let links = (pages > 1).then(|| {
        let numbers = page_window(pages, current.unwrap_or(1))
            .into_iter()
            .map(|page| match page {
                Some(page) => {
                    let mark = (current == Some(page)).then_some("page");
                    let href = format!("?page={page}#pairs");
                    view! { <a href=href rel="external" aria-current=mark>{page}</a> " " }.into_any()
                }
                None => view! { <span aria-hidden="true">"…"</span> " " }.into_any(),
            })
            .collect_view();
        let mark = current.is_none().then_some("page");
        let all = all.then(|| {
            view! { <a href="?page=all#pairs" rel="external" aria-current=mark>"All on one page"</a> }
        });
        view! { <nav class="pager" aria-label="Pages of pairs">{numbers} {all}</nav> }
    });
    view! {
        {pair_table(&report.pairs, caption)}
        {links}
    }
    .into_any()
}

/// Page numbers to link: the first, the last, and those around the current one; None for what is left out between.
fn page_window(pages: u64, current: u64) -> Vec<Option<u64>> {
    let mut window = Vec::new();
    for page in (1..=pages).filter(|page| *page == 1 || *page == pages || page.abs_diff(current) <= 2) {
        if let Some(Some(before)) = window.last()
            && before + 1 < page
        {
            window.push(None);
        }
        window.push(Some(page));
    }
    window
}

fn model_facts(model: &ModelOutput) -> AnyView {
    facts(vec![
        fact("Base model", model_name(model)),
        fact("Architecture", model.architecture.clone()),
        fact("Parameters", whole(model.parameters)),
        noted("Stored as", model.stored_as.clone(), "computed in float32"),
    ])
}

fn provenance(of: Provenance) -> AnyView {
    let row = |name: &'static str, value: String| view! { <div><dt>{name}</dt><dd>{hash(value)}</dd></div> };
    view! {
        <p>{format!("Backtranslate {}, device {}. Hashes are sha256.", of.version, of.device)}</p>
        <dl class="facts hashes">
            {row("Data", of.data_sha256)}
            {row("Base model", of.model_sha256)}
            {row("Tokenizer", of.tokenizer_sha256)}
            {row("Template", of.template_sha256)}
            {row("Adapter", of.adapter_sha256)}
            {row("Corpus", of.corpus_sha256)}
            {row("This report", of.report_sha256)}
        </dl>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_many_pages_links_the_ends_and_the_neighbours() {
        let some = |pages: &[u64]| pages.iter().map(|page| (*page > 0).then_some(*page)).collect::<Vec<_>>();
        assert_eq!(page_window(3, 2), some(&[1, 2, 3]));
        assert_eq!(page_window(50, 1), some(&[1, 2, 3, 0, 50]));
        assert_eq!(page_window(50, 25), some(&[1, 0, 23, 24, 25, 26, 27, 0, 50]));
        assert_eq!(page_window(50, 50), some(&[1, 0, 48, 49, 50]));
    }
}
