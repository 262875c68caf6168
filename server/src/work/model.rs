//! The model cell: finds the base model (fetching it where it is absent), loads it and says what it is.

use spec::{CellOutput, ModelConfig, ModelOutput, RunEvent};

use super::{Ended, Result, RunContext, Session, phase, progress};
use crate::adapter;

pub(super) fn execute(
    session: &mut Session,
    context: &RunContext,
    config: &ModelConfig,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Ended> {
    let output = adapter::model_output(&config.model, load(session, &context.control, &config.model, emit)?);
    Ok(Ended::Done(CellOutput::Model(ModelOutput { name: session.resources.model_name(&config.model), ..output })))
}

/// The base model with this id, fetched and loaded where it is not here already.
pub(super) fn load<'s>(
    session: &'s mut Session,
    control: &engine::Control,
    id: &str,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<&'s engine::model::BaseModel> {
    let Session { resources, models } = session;
    if !resources.has_model(id) {
        phase(emit, "fetching the base model");
    }
    let path = resources.model(id, control, &mut progress(emit))?;
    models.model(&path, emit)
}

/// Refuses a base model whose files are no longer those that the model cell saw.
pub(super) fn check_unchanged(model: &engine::model::BaseModel, seen: &ModelOutput) -> Result<()> {
    if model.sha256 == seen.sha256 {
        return Ok(());
    }
    Err(spec::AppError::conflict(
        format!(
            "the base model {} has sha256 {} now, but had {} when the model cell ran",
            if seen.name.is_empty() { &seen.id } else { &seen.name },
            model.sha256,
            seen.sha256
        ),
        "Run the model cell again, and then what builds on it.",
    ))
}
