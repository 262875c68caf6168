//! The train cell: pairs and a base model in; checkpoints and an adapter out.
//!
//! Resuming is not a mode: where the run's folder holds checkpoints of the same job, the engine goes on from the newest.

use std::path::Path;

use engine::Control;
use engine::data::{Pair, Split};
use engine::model::BaseModel;
use engine::template::Template;
use engine::train::TrainOutcome;
use spec::{CellKind, CellOutput, RunEvent, TrainConfig, TrainOutput};

use super::{Ended, Result, RunContext, Session, data, model, parts, phase};
use crate::adapter;

pub const ADAPTER: &str = "adapter";

pub(super) fn execute(
    session: &mut Session,
    context: &RunContext,
    config: &TrainConfig,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Ended> {
    let (data_input, _, data_output) = parts!(&context.inputs, Data);
    let (_, model_config, model_output) = parts!(&context.inputs, Model);
    phase(emit, "reading the pairs");
    let split = Split {
        train: read_pairs(&data_input.folder.join(data::TRAIN), &data_output.train_sha256)?,
        validation: read_pairs(&data_input.folder.join(data::VALIDATION), &data_output.validation_sha256)?,
    };
    let base = model::load(session, &context.control, &model_config.model, emit)?;
    model::check_unchanged(base, model_output)?;
    Ok(match run(base, &split, config, &context.folder, &context.control, emit)? {
        Some(output) => Ended::Done(CellOutput::Train(output)),
        None => Ended::Stopped,
    })
}

/// What the data cell wrote, unchanged.
fn read_pairs(path: &Path, sha256: &str) -> Result<Vec<Pair>> {
    super::check_file(path, sha256, CellKind::Data)?;
    engine::data::read_pairs(path).map_err(adapter::error)
}

/// Trains into `folder`; None where it was stopped after saving.
pub fn run(
    base: &BaseModel,
    split: &Split,
    config: &TrainConfig,
    folder: &Path,
    control: &Control,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Option<TrainOutput>> {
    let template = Template::new(config.template.clone(), &base.tokenizer).map_err(adapter::error)?;
    let job = engine::train::TrainJob {
        model: base,
        template: &template,
        train: &split.train,
        validation: &split.validation,
        config,
        folder,
        initial_factors: None,
    };
    let emit = &mut |event: RunEvent| {
        if let RunEvent::Warning { text } = &event {
            tracing::warn!("{text}");
        }
        emit(event);
    };
    match engine::train::train(&job, control, emit).map_err(adapter::error)? {
        TrainOutcome::Done(output) => Ok(Some(output)),
        TrainOutcome::Stopped { .. } => Ok(None),
    }
}
