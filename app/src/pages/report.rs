//! A frozen report: for its owner, and behind a share link for anyone who has it.
//!
//! Reads without scripts: pages of pairs are plain links that load anew, charts and tables are drawn on the server.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};

use super::number;
use crate::api;
use crate::cells::{Sharing, data_summary, integrity_sentence, train_result};
use crate::components::chart::LossChart;
use crate::components::facts::{counts, fact, facts, hash, noted};
use crate::components::format::{counted, moment, whole};
use crate::components::frame::{Top, failed};
use crate::components::pair::pair_table;
use crate::components::scores::score_tables;
use crate::components::settings::settings_table;
use crate::components::theme::ThemeSwitch;
use spec::{
    EvaluationPoint, ModelOutput, OpenReport, OpenSharedReport, Provenance, Report, ReportPage, Settings, StepCurve,
};

/// 1-based; `all` is 0.
fn page_number() -> Memo<u32> {
    let query = use_query_map();
    Memo::new(move |_| {
        query.with(|query| match query.get("page").as_deref() {
            Some("all") => 0,
            Some(text) => text.parse().unwrap_or(1).max(1),
            None => 1,
        })
    })
}

#[component]
pub fn OwnReport() -> impl IntoView {
    let params = use_params_map();
    let page = page_number();
    let run = move || params.with(|params| params.get("run"));
    let report = Resource::new(
        move || (run(), page.get()),
        |(run, page)| async move { api::call(OpenReport { run: number(run)?, page }).await },
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
    let page = page_number();
    let report = Resource::new(
        move || (params.with(|params| params.get("token")).unwrap_or_default(), page.get()),
        |(token, page)| api::call(OpenSharedReport { token, page }),
    );
    view! {
        <header class="top"><span class="home"><span class="mark" aria-hidden="true">"↩"</span> "Backtranslate"</span> <nav aria-label="Page"><ThemeSwitch/></nav></header>
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
    let ReportPage { report, pairs, offset } = shown;
    let title = report.config.title.clone();
    let story = story(&report, pairs);
    let Report { created_ms, experiment, config, data, model, train, integrity, curve, evaluations, scores, .. } =
        report.clone();
    let dropped = data.dropped.iter().filter(|count| count.count > 0).cloned().collect::<Vec<_>>();
    view! {
        <Title text=title.clone()/>
        <main id="main" class="report">
            <article>
                <h1>{title}</h1>
                <p class="byline">{format!("Frozen {} from the experiment “{experiment}”.", moment(created_ms))}</p>
                {(!config.summary.trim().is_empty()).then(|| view! { <div class="text summary">{config.summary}</div> })}
                {run.map(|run| view! { <Sharing run/> })}

                <h2>"What was done"</h2>
                <p>{story}</p>
                <p>
                    "In instruction backtranslation a model learns to write the instruction that a given response answers. "
                    "Applied to good texts that nobody asked for, it turns them into training pairs (Li et al., arXiv:2308.06259)."
                </p>

                <h2>"Quality of the generated instructions"</h2>
                {score_tables(&scores)}

                <h2>"Training"</h2>
                {loss_chart(curve, evaluations)}
                <p>
                    "The loss is the mean negative log-likelihood of the supervised tokens; lower is better, and a fall in validation loss, "
                    "measured on conversations that training never saw, is what counts."
                </p>
                {train_result(train)}
                <p>{integrity_sentence(&integrity)}</p>

                <h2>"Data"</h2>
                {data_summary(&data)}
                {(!dropped.is_empty()).then(|| counts("Dropped, by the first reason that held", "Reason", dropped))}

                <h2>"Pairs"</h2>
                {pair_list(&report, pairs, offset, run.is_some())}

                <h2>"Settings"</h2>
                {model_facts(model)}
                <details><summary>"Data"</summary>{settings_table("Settings of the data", report.data_config.values())}</details>
                <details><summary>"Training"</summary>{settings_table("Settings of the training", report.train_config.values())}</details>
                <details><summary>"Generation"</summary>{settings_table("Settings of the generation", report.generate_config.values())}</details>

                <h2>"Provenance"</h2>
                {provenance(report.provenance)}
                {(!config.data_notice.trim().is_empty()).then(|| view! {
                    <h2>"Data notice"</h2>
                    <div class="text notice">{config.data_notice}</div>
                })}
            </article>
        </main>
    }
    .into_any()
}

fn loss_chart(curve: StepCurve, evaluations: Vec<EvaluationPoint>) -> AnyView {
    if curve.is_empty() {
        // A report of an older version, whose training is gone: its curve cannot be mended.
        let text = "The loss curve is not shown: this report was made by an older version, which kept only some of the steps \
                    of a long run, and its training is no longer on the server.";
        return view! { <p class="note">{text}</p> }.into_any();
    }
    view! { <LossChart curve=Signal::stored(curve) evaluations=Signal::stored(evaluations)/> }.into_any()
}

/// The whole run in a few sentences.
fn story(report: &Report, pairs: u64) -> String {
    let Report { data, model, train, train_config, generate_config, .. } = report;
    let way = if generate_config.temperature == 0.0 {
        "always taking the likeliest token".to_owned()
    } else {
        format!("at temperature {}", generate_config.temperature)
    };
    format!(
        "{} were taken from {}. An adapter of rank {} on {} ({:.4} % of its parameters) was trained on {} of them for {}, \
         to predict the instruction from the response. It then wrote an instruction for each of {}, {way}.",
        counted(data.pairs, "pair"),
        counted(data.rows, "row"),
        train_config.rank,
        model.id,
        train.trainable_percent,
        whole(data.train_pairs),
        counted(u64::from(train.steps), "step"),
        counted(pairs, "response"),
    )
}

/// `all`: offers all pairs on one page.
fn pair_list(report: &Report, total: u64, offset: u64, all: bool) -> AnyView {
    let shown = report.pairs.len() as u64;
    let caption = match shown {
        0 => "No pair on this page.".to_owned(),
        _ => format!("{} to {} of {}; open one to read it whole", offset + 1, offset + shown, counted(total, "pair")),
    };
    let pages = total.div_ceil(ReportPage::PAIRS);
    let links = (pages > 1).then(|| {
        let numbers = (1..=pages)
            .map(|page| {
                let current = shown <= ReportPage::PAIRS && offset == (page - 1) * ReportPage::PAIRS && shown < total;
                let mark = current.then_some("page");
                view! { <a href=format!("?page={page}") rel="external" aria-current=mark>{page}</a> " " }
            })
            .collect_view();
        view! {
            <nav class="pager" aria-label="Pages of pairs">{numbers} {all.then(|| view! { <a href="?page=all" rel="external">"all on one page"</a> })}</nav>
        }
    });
    view! {
        {pair_table(&report.pairs, caption)}
        {links}
    }
    .into_any()
}

fn model_facts(model: ModelOutput) -> AnyView {
    facts(vec![
        fact("Base model", model.id),
        fact("Architecture", model.architecture),
        fact("Parameters", whole(model.parameters)),
        noted("Stored as", model.stored_as, "computed in 32 bits"),
    ])
}

fn provenance(of: Provenance) -> AnyView {
    let row = |name: &'static str, value: String| view! { <div><dt>{name}</dt><dd>{hash(value)}</dd></div> };
    view! {
        <p>{format!("Backtranslate {}, on the device {}. Equal hashes mean equal bytes (sha256).", of.version, of.device)}</p>
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
