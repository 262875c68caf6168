//! The report cell: freezes pairs, metrics and provenance into `report.json`, under a hash of its own.

use std::collections::HashSet;

use serde_json::Value;
use spec::{
    AppError, CellKind, CellOutput, CuratedReport, DataOutput, GenerateConfig, GenerateOutput, GeneratedPair, Overlap,
    Provenance, Report, ReportConfig, ReportOutput, RunEvent,
};

use super::data::TRAIN;
use super::duplicates::{self, NearDuplicateIndex};
use super::{Ended, Input, Result, RunContext, Session, check_file, curate, parts, phase, ratings};
use crate::adapter;
use crate::clock::now_ms;

pub const REPORT: &str = "report.json";

pub(super) fn execute(
    session: &mut Session,
    context: &RunContext,
    config: &ReportConfig,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Ended> {
    phase(emit, "freezing the report");
    let (data_input, data_config, data) = parts!(&context.inputs, Data);
    let (_, _, model) = parts!(&context.inputs, Model);
    let (train_input, train_config, train) = parts!(&context.inputs, Train);
    let (generate_input, generate_config, generate) = parts!(&context.inputs, Generate);
    let (curate, mut pairs) = curated(context, generate_input)?;
    pairs.sort_by_key(|pair| pair.index);
    let overlap = overlap(data_input, data, &pairs);
    let mut report = Report {
        created_ms: now_ms(),
        experiment: context.experiment.clone(),
        config: without_former_texts(config),
        data: data.clone(),
        data_config: data_config.clone(),
        model: model.clone(),
        train: train.clone(),
        train_config: train_config.clone(),
        integrity: train_input.view.integrity.clone().unwrap_or_default(),
        curve: train_input.view.curve.frozen(),
        evaluations: train_input.view.evaluations.clone(),
        generate_config: generate_config.clone(),
        corpus: generate.corpus.clone(),
        scores: (*generate.scores).clone(),
        curate,
        ratings: ratings::summary(&generate_input.pairs, &generate_input.ratings),
        overlap,
        pairs,
        provenance: Provenance {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: session.models.device()?.description(),
            data_sha256: data.sha256.clone(),
            model_sha256: model.sha256.clone(),
            tokenizer_sha256: model.tokenizer_sha256.clone(),
            template_sha256: train.template_sha256.clone(),
            adapter_sha256: train.adapter_sha256.clone(),
            corpus_sha256: corpus_sha256(session, generate, generate_config)?,
            report_sha256: String::new(),
        },
    };
    report.provenance.report_sha256 = report_sha256(serde_json::to_value(&report).map_err(internal)?);
    let text = serde_json::to_vec_pretty(&report).map_err(internal)?;
    engine::artifact::write(&context.folder.join(REPORT), &text).map_err(adapter::error)?;
    Ok(Ended::Done(CellOutput::Report(ReportOutput { title: config.title.clone(), pairs: report.pairs.len() as u64 })))
}

/// The pairs with what was decided on them, where there is a curate cell; else as they were generated.
fn curated(context: &RunContext, generate: &Input) -> Result<(Option<CuratedReport>, Vec<GeneratedPair>)> {
    if !context.inputs.iter().any(|input| input.kind == CellKind::Curate) {
        let plain = |pair: &GeneratedPair| GeneratedPair { curation: None, ..pair.clone() };
        return Ok((None, generate.pairs.iter().map(plain).collect()));
    }
    let (input, config, output) = parts!(&context.inputs, Curate);
    let pairs = curate::read_pairs(&input.folder, &output.pairs_sha256)?;
    Ok((Some(CuratedReport { config: config.clone(), output: output.clone() }), pairs))
}

/// How many of the responses are among those that the model was trained on. None where the training pairs are no longer
/// as the data cell wrote them: the report can be made without.
fn overlap(input: &Input, data: &DataOutput, pairs: &[GeneratedPair]) -> Option<Overlap> {
    let path = input.folder.join(TRAIN);
    let trained = check_file(&path, &data.train_sha256, CellKind::Data)
        .and_then(|()| engine::data::read_pairs(&path).map_err(adapter::error));
    match trained {
        Ok(trained) => Some(overlap_of(trained.iter().map(|pair| pair.response.as_str()), pairs)),
        Err(error) => {
            tracing::warn!(file = %path.display(), error = error.message, "the overlap of corpus and training data is not measured");
            None
        }
    }
}

fn overlap_of<'a>(trained: impl Iterator<Item = &'a str>, pairs: &[GeneratedPair]) -> Overlap {
    let mut equal: HashSet<String> = HashSet::new();
    let mut like = NearDuplicateIndex::new(duplicates::RESPONSES);
    for (number, response) in (0..).zip(trained) {
        equal.insert(normalised(response));
        like.find_and_add(number, response);
    }
    let mut overlap = Overlap { responses: pairs.len() as u64, equal: 0, near: Some(0) };
    for pair in pairs {
        let is_equal = equal.contains(&normalised(&pair.response));
        overlap.equal += u64::from(is_equal);
        let is_near = is_equal || like.find(&pair.response).is_some();
        overlap.near = overlap.near.map(|near| near + u64::from(is_near));
    }
    overlap
}

/// In lower case, with single spaces.
fn normalised(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Texts that presets of earlier versions put into report cells. They describe the sample files and the untouched
/// preset only, and stayed when other files were chosen.
const FORMER_SUMMARIES: [&str; 2] = [
    "A first run on the shipped sample: what a small model learns from some hundred pairs.",
    "The settings of the 2024 report, faults included.",
];
const FORMER_NOTICE: &str = "Sample pairs and responses written for this project, given to the public domain (CC0).";

/// The report's settings without the texts that nobody wrote for it; files carry their own notices.
fn without_former_texts(config: &ReportConfig) -> ReportConfig {
    let mut config = config.clone();
    if FORMER_SUMMARIES.contains(&config.summary.as_str()) {
        config.summary.clear();
    }
    if config.data_notice == FORMER_NOTICE {
        config.data_notice.clear();
    }
    config
}

/// Of the file that was read; runs of earlier versions did not keep it.
fn corpus_sha256(session: &Session, generate: &GenerateOutput, config: &GenerateConfig) -> Result<String> {
    if !generate.corpus.is_unknown() {
        return Ok(generate.corpus.sha256.clone());
    }
    engine::artifact::sha256_file(&session.resources.file(&config.file)?).map_err(adapter::error)
}

/// Of the report as JSON without `provenance.report_sha256`: keys sorted, as `serde_json` does, and no spaces. Reports
/// of other versions have other fields, so a stored one is checked as it was stored.
pub fn report_sha256(mut report: Value) -> String {
    if let Some(provenance) = report.get_mut("provenance").and_then(Value::as_object_mut) {
        provenance.remove("report_sha256");
    }
    engine::artifact::sha256(report.to_string().as_bytes())
}

// By value since it is a `map_err` argument.
#[expect(clippy::needless_pass_by_value)]
fn internal(error: serde_json::Error) -> AppError {
    AppError::internal(format!("the report cannot be written as JSON: {error}"), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reports_hash_is_that_of_its_sorted_json_without_the_hash() {
        let stored: Value = serde_json::from_str(
            r#"{"title": "x", "provenance": {"version": "1", "report_sha256": "…"}, "created_ms": 5, "losses": [1.0, 0.5]}"#,
        )
        .unwrap();
        let text = r#"{"created_ms":5,"losses":[1.0,0.5],"provenance":{"version":"1"},"title":"x"}"#;
        assert_eq!(report_sha256(stored), engine::artifact::sha256(text.as_bytes()));
    }

    #[test]
    fn frozen_numbers_are_read_back_as_they_were_hashed() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let numbers = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        });
        let frozen: Vec<f64> = numbers.take(100_000).collect();
        let text = serde_json::to_string(&frozen).unwrap();
        let stored: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(stored.to_string(), text);
        assert_eq!(serde_json::from_str::<Vec<f64>>(&text).unwrap(), frozen);
    }

    #[test]
    fn responses_that_were_trained_on_are_counted_whatever_their_case_and_spaces() {
        let pair = |response: &str| GeneratedPair { response: response.to_owned(), ..GeneratedPair::default() };
        let long = "The sky is blue because the air scatters short waves of light more than long ones, on clear days";
        let pairs = [
            pair("The  sky\nis blue. "),
            pair("The sky is grey."),
            pair("the SKY is blue."),
            pair(&format!("{long} above all.")),
        ];
        let trained = ["The sky is blue.", "Grass is green.", long];
        assert_eq!(overlap_of(trained.into_iter(), &pairs), Overlap { responses: 4, equal: 2, near: Some(3) });
    }

    #[test]
    fn texts_of_earlier_presets_are_left_out_and_own_texts_stay() {
        let config = |summary: &str, notice: &str| ReportConfig {
            title: "Mine".to_owned(),
            summary: summary.to_owned(),
            data_notice: notice.to_owned(),
        };
        assert_eq!(without_former_texts(&config(FORMER_SUMMARIES[0], FORMER_NOTICE)), config("", ""));
        assert_eq!(without_former_texts(&config("About LIMA.", "CC BY-NC-SA")), config("About LIMA.", "CC BY-NC-SA"));
    }
}
