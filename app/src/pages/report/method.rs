//! How it was made: the story, figures, training, data, corpus, settings.

use leptos::prelude::*;

use crate::cells::{data_summary, integrity_sentence, model_name, train_result};
use crate::components::chart::LossChart;
use crate::components::facts::{fact, facts, noted};
use crate::components::format::{counted, whole};
use crate::components::ratings::rating_tables;
use crate::components::scores::score_tables;
use crate::components::settings::settings_table;
use spec::{EvaluationPoint, ModelOutput, Report, Setting, Settings, StepCurve};

pub fn method(report: &Report, pairs: u64) -> AnyView {
    // Reports of older versions say nothing of their corpus.
    let corpus = (!report.corpus.is_unknown()).then(|| {
        let text = format!(
            "{} read from {}; {} got an instruction. Provenance says what became of the others.",
            counted(report.corpus.rows, "row"),
            report.corpus.source.name,
            whole(pairs)
        );
        view! { <h3>"Corpus"</h3> <p>{text}</p> }
    });
    view! {
        <h2 id="method">"Method"</h2>
        <p>{story(report, pairs)}</p>
        <p>
            "In instruction backtranslation a model learns to predict the instruction that a given response "
            "answers. Applied to texts without instructions, it turns them into training pairs "
            "(Li et al., "
            <a href="https://arxiv.org/abs/2308.06259" rel="external noreferrer">"arXiv:2308.06259"</a> ")."
        </p>
        <h3 id="metrics">"Metrics"</h3>
        {score_tables(&report.scores)}
        {report.ratings.as_ref().map(|ratings| view! { <h3>"Ratings by people"</h3> {rating_tables(ratings)} })}
        <h3>"Training"</h3>
        {loss_chart(report.curve.clone(), report.evaluations.clone())}
        <p>
            "The loss is the mean negative log-likelihood of the supervised tokens; lower is better. "
            "The validation loss is measured on conversations that are not trained on."
        </p>
        {train_result(report.train.clone())}
        <p>{integrity_sentence(&report.integrity)}</p>
        <h3>"Data"</h3>
        {data_summary(&report.data)}
        {corpus}
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

pub fn settings(report: &Report) -> AnyView {
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
    let table = |title: &'static str, caption: &'static str, values: Vec<(&'static Setting, String)>| {
        view! { <details><summary>{title}</summary>{settings_table(caption, values, &named)}</details> }
    };
    let curate =
        report.curate.as_ref().map(|curate| table("Curate", "Settings of the Curate cell", curate.config.values()));
    view! {
        <h2 id="settings">"Settings"</h2>
        {model_facts(&report.model)}
        {table("Data", "Settings of the Data cell", report.data_config.values())}
        {table("Train", "Settings of the Train cell", report.train_config.values())}
        {table("Generate", "Settings of the Generate cell", report.generate_config.values())}
        {curate}
    }
    .into_any()
}

fn model_facts(model: &ModelOutput) -> AnyView {
    facts(vec![
        fact("Base model", model_name(model)),
        fact("Architecture", model.architecture.clone()),
        fact("Parameters", whole(model.parameters)),
        noted("Stored as", model.stored_as.clone(), "computed in float32"),
    ])
}
