//! Training an adapter: batches, loss, optimizer, schedule, checkpoints, exact resume.
//!
//! The loop is in `trainer`. Events go to a callback; a [`Control`] stops it.

mod batch;
mod checkpoint;
mod optimizer;
mod schedule;
mod trainer;

use std::path::Path;

use spec::{RunEvent, TrainConfig, TrainOutput};

use crate::Result;
use crate::control::Control;
use crate::data::Pair;
use crate::model::BaseModel;
use crate::template::Template;

/// What training leaves.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainOutcome {
    Done(TrainOutput),
    /// Stopped by its control, with a checkpoint after this step; there is no adapter yet.
    Stopped {
        step: u32,
    },
}

pub struct TrainJob<'a> {
    pub model: &'a BaseModel,
    pub template: &'a Template,
    pub train: &'a [Pair],
    pub validation: &'a [Pair],
    /// Validated.
    pub config: &'a TrainConfig,
    /// Run folder: `checkpoints/step-00000010/` and, when done, `adapter/` are written into it. If it holds a valid
    /// checkpoint of the same job, training resumes from the newest one, exactly.
    pub folder: &'a Path,
    /// Initial factors instead of random ones: a safetensors file with PEFT's tensor names.
    pub initial_factors: Option<&'a Path>,
}

/// Trains until done or stopped. With [`crate::Stop::Save`] it returns [`TrainOutcome::Stopped`]; with `Discard`,
/// [`crate::Error::Stopped`].
pub fn train(job: &TrainJob<'_>, control: &Control, on_event: &mut dyn FnMut(RunEvent)) -> Result<TrainOutcome> {
    trainer::Trainer::prepare(job, control, on_event)?.run()
}
