//! Where everything comes from: files and licences, which rows were used, overlap, hashes, and how to check them.

use leptos::prelude::*;

use super::Place;
use crate::cells::{corpus_summary, dropped_rows};
use crate::components::format::{counted, whole};
use spec::{Group, Overlap, Report, Settings, SourceFile};

pub fn provenance(report: &Report, pairs: u64, place: &Place) -> AnyView {
    let notice = report.config.data_notice.clone();
    let notice = (!notice.trim().is_empty()).then(|| {
        view! { <h3>"Data notice"</h3> <div class="text notice">{notice}</div> }
    });
    view! {
        <h2 id="provenance">"Provenance"</h2>
        <p>{format!("Backtranslate {}, device {}.", report.provenance.version, report.provenance.device)}</p>
        <h3>"Training data"</h3>
        {source(&report.data.source)}
        <p>{data_selection(report)}</p>
        {dropped_rows("Dropped pairs by reason (first match)", &report.data.dropped, report.data.pairs)}
        <h3>"Corpus of responses"</h3>
        {source(&report.corpus.source)}
        <p>{corpus_selection(report)}</p>
        {corpus_summary(&report.corpus, pairs)}
        <p>{overlap(report.overlap)}</p>
        {notice}
        <h3>"Hashes"</h3>
        {hashes(report)}
        {verification(place)}
    }
    .into_any()
}

/// Name and licence of a file.
fn source(of: &SourceFile) -> AnyView {
    if of.is_unknown() {
        return view! { <p class="note">"The file's name is not known: a report of an earlier version."</p> }
            .into_any();
    }
    let licence = match of.notice.trim() {
        "" => view! { <p class="note">"Licence: not stated."</p> }.into_any(),
        notice => view! { <div class="text notice">{notice.to_owned()}</div> }.into_any(),
    };
    view! { <p>"File: " <strong>{of.name.clone()}</strong></p> {licence} }.into_any()
}

/// The pair rule in words.
fn data_selection(report: &Report) -> String {
    let rule = report
        .data_config
        .values()
        .into_iter()
        .filter(|(setting, value)| setting.group == Group::PairRule && !value.is_empty())
        .map(|(setting, value)| format!("{}: {value}", setting.label))
        .collect::<Vec<_>>()
        .join("; ");
    let most = report.data_config.limit;
    let most = most.map_or_else(String::new, |most| format!("; at most {}", counted(u64::from(most), "pair")));
    format!(
        "The pair rule kept {} of {} ({rule}{most}); {} to train on, {} to validate.",
        counted(report.data.pairs, "pair"),
        counted(report.data.rows, "row"),
        whole(report.data.train_pairs),
        whole(report.data.validation_pairs),
    )
}

fn corpus_selection(report: &Report) -> String {
    match report.generate_config.limit {
        Some(limit) => {
            format!("Selected: the first {} of the file that hold a response.", counted(u64::from(limit), "row"))
        }
        None => "Selected: all rows of the file that hold a response.".to_owned(),
    }
}

fn overlap(overlap: Option<Overlap>) -> String {
    match overlap {
        Some(Overlap { responses, equal, near }) => format!(
            "Overlap: {} of {} equal a training response, without regard to case and white space{}{}.",
            whole(equal),
            counted(responses, "corpus response"),
            near.map_or_else(String::new, |near| format!(", and {} nearly equal one (MinHash)", whole(near))),
            if equal + near.unwrap_or(0) > 0 { "; the model has seen the human instruction of those" } else { "" }
        ),
        None => "Overlap of corpus and training data: not measured.".to_owned(),
    }
}

fn hashes(report: &Report) -> AnyView {
    let of = &report.provenance;
    let row = |name: &'static str, value: &String| {
        let value = if value.is_empty() { "not known".to_owned() } else { value.clone() };
        view! { <div><dt>{name}</dt><dd><code>{value}</code></dd></div> }
    };
    view! {
        <dl class="hashes">
            {row("Data file", &of.data_sha256)}
            {row("Base model", &of.model_sha256)}
            {row("Tokenizer", &of.tokenizer_sha256)}
            {row("Template", &of.template_sha256)}
            {row("Adapter", &of.adapter_sha256)}
            {row("Corpus file", &of.corpus_sha256)}
            {row("This report", &of.report_sha256)}
        </dl>
    }
    .into_any()
}

fn verification(place: &Place) -> AnyView {
    let links = place.download("report.json").zip(place.download("offline.html")).map(|(json, html)| {
        view! {
            <p class="downloads">
                <a class="button" href=json rel="external" download="">"Download report.json"</a> " "
                <a class="button" href=html rel="external" download="">"Download as one HTML file"</a>
            </p>
        }
    });
    let replay = match place {
        Place::Own(run) => format!("backtranslate replay {run}"),
        Place::Shared(_) | Place::Offline => "backtranslate replay RUN".to_owned(),
    };
    view! {
        {links}
        <p>
            "How to replay: " <code>{replay}</code> ", on the data folder of the run, generates the pairs anew from the same files, \
             weights, settings and seed, each checked by its hash, and says whether the texts are identical."
        </p>
        <p>
            "How to verify: hashes are sha256. That of a file is what "
            <code>"sha256sum FILE"</code> " prints. That of this report is of its report.json without "
            <code>"provenance.report_sha256"</code> ", with sorted keys and no spaces; "
            <code>"backtranslate report --verify report.json"</code> " computes and compares it."
        </p>
    }
    .into_any()
}
