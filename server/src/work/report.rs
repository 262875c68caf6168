//! The report cell: freezes pairs, figures and provenance into `report.json`, under a hash of its own.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use spec::{AppError, CellOutput, Provenance, Report, ReportConfig, ReportOutput, RunEvent};

use super::{Ended, Result, RunContext, Session, parts, phase};
use crate::adapter;

pub const REPORT: &str = "report.json";

pub(super) fn execute(
    session: &mut Session,
    context: &RunContext,
    config: &ReportConfig,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Ended> {
    phase(emit, "freezing the report");
    let (_, data_config, data) = parts!(&context.inputs, Data);
    let (_, _, model) = parts!(&context.inputs, Model);
    let (train_input, train_config, train) = parts!(&context.inputs, Train);
    let (generate_input, generate_config, generate) = parts!(&context.inputs, Generate);
    let corpus = session.resources.file(&generate_config.file)?;
    let mut report = Report {
        created_ms: now_ms(),
        experiment: context.experiment.clone(),
        config: config.clone(),
        data: data.clone(),
        data_config: data_config.clone(),
        model: model.clone(),
        train: train.clone(),
        train_config: train_config.clone(),
        integrity: train_input.view.integrity.clone().unwrap_or_default(),
        curve: train_input.view.curve.frozen(),
        evaluations: train_input.view.evaluations.clone(),
        generate_config: generate_config.clone(),
        scores: generate.scores.clone(),
        pairs: generate_input.pairs.clone(),
        provenance: Provenance {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: session.models.device()?.description(),
            data_sha256: data.sha256.clone(),
            model_sha256: model.sha256.clone(),
            tokenizer_sha256: model.tokenizer_sha256.clone(),
            template_sha256: train.template_sha256.clone(),
            adapter_sha256: train.adapter_sha256.clone(),
            corpus_sha256: engine::artifact::sha256_file(&corpus).map_err(adapter::error)?,
            report_sha256: String::new(),
        },
    };
    report.pairs.sort_by_key(|pair| pair.index);
    report.provenance.report_sha256 = report_sha256(&report)?;
    let text = serde_json::to_vec_pretty(&report).map_err(internal)?;
    engine::artifact::write(&context.folder.join(REPORT), &text).map_err(adapter::error)?;
    Ok(Ended::Done(CellOutput::Report(ReportOutput { title: config.title.clone(), pairs: report.pairs.len() as u64 })))
}

/// Of the report's canonical form: JSON without `provenance.report_sha256`, keys sorted, no white space.
pub fn report_sha256(report: &Report) -> Result<String> {
    let mut value = serde_json::to_value(report).map_err(internal)?;
    if let Some(provenance) = value.get_mut("provenance").and_then(Value::as_object_mut) {
        provenance.remove("report_sha256");
    }
    let mut text = String::new();
    write_canonical(&value, &mut text)?;
    Ok(engine::artifact::sha256(text.as_bytes()))
}

fn write_canonical(value: &Value, text: &mut String) -> Result<()> {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|a, b| a.0.cmp(b.0));
            text.push('{');
            for (at, (name, value)) in fields.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(name).map_err(internal)?);
                text.push(':');
                write_canonical(value, text)?;
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write_canonical(item, text)?;
            }
            text.push(']');
        }
        other => text.push_str(&serde_json::to_string(other).map_err(internal)?),
    }
    Ok(())
}

// By value since it is a `map_err` argument.
#[expect(clippy::needless_pass_by_value)]
fn internal(error: serde_json::Error) -> AppError {
    AppError::internal(format!("the report cannot be written as JSON: {error}"), "")
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
