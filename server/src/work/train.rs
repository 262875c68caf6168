//! The train cell: pairs and a base model in; checkpoints and an adapter out.
//!
//! Resuming is not a mode: where the run's folder holds checkpoints of the same job, the engine goes on from the newest.

use std::path::Path;

use engine::Control;
use engine::data::Pair;
use engine::model::BaseModel;
use engine::template::Template;
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
    // Settings first: a refusal should not wait for a model to load.
    adapter::train_config(config)?;
    adapter::template(&config.template)?;
    let data = super::input(&context.inputs, CellKind::Data)?;
    let (_, model_config, model_output) = parts!(&context.inputs, Model);
    phase(emit, "reading the pairs");
    let train = engine::data::read_pairs(&data.folder.join(data::TRAIN)).map_err(adapter::error)?;
    let validation = engine::data::read_pairs(&data.folder.join(data::VALIDATION)).map_err(adapter::error)?;
    let base = model::load(session, &context.control, &model_config.model, emit)?;
    model::check_unchanged(base, model_output)?;
    Ok(match run(base, &train, &validation, config, &context.folder, &context.control, emit)? {
        Some(output) => Ended::Done(CellOutput::Train(output)),
        None => Ended::Stopped,
    })
}

/// Trains into `folder`; None where it was stopped after saving.
pub fn run(
    base: &BaseModel,
    train: &[Pair],
    validation: &[Pair],
    config: &TrainConfig,
    folder: &Path,
    control: &Control,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Option<TrainOutput>> {
    let engine_config = adapter::train_config(config)?;
    let template = Template::new(adapter::template(&config.template)?, &base.tokenizer).map_err(adapter::error)?;
    let job = engine::train::TrainJob {
        model: base,
        template: &template,
        train,
        validation,
        config: &engine_config,
        folder,
        keep_checkpoints: engine::train::KEEP_CHECKPOINTS,
        initial_factors: None,
    };
    let outcome =
        engine::train::train(&job, control, &mut |event| emit(adapter::train_event(event))).map_err(adapter::error)?;
    if outcome.stopped_at.is_some() {
        return Ok(None);
    }
    Ok(Some(adapter::train_output(outcome, template.sha256())))
}
