//! Training an adapter: batches, loss, optimizer, schedule, checkpoints, exact resume.
//!
//! The loop is in `trainer`. Events go to a callback; a [`Control`] stops it.

mod batch;
mod checkpoint;
mod config;
mod event;
mod optimizer;
mod schedule;
mod trainer;

use std::path::Path;

use crate::Result;
use crate::control::Control;
use crate::data::Pair;
use crate::model::BaseModel;
use crate::template::Template;

pub use config::{LossOn, Schedule, TrainConfig};
pub use event::{Integrity, Step, TrainEvent, TrainOutcome};

/// [`TrainJob::keep_checkpoints`] where nobody chooses another number.
pub const KEEP_CHECKPOINTS: u32 = 2;

pub struct TrainJob<'a> {
    pub model: &'a BaseModel,
    pub template: &'a Template,
    pub train: &'a [Pair],
    pub validation: &'a [Pair],
    pub config: &'a TrainConfig,
    /// Run folder: `checkpoints/step-00000010/` and, when done, `adapter/` are written into it. If it holds a valid
    /// checkpoint of the same job, training resumes from the newest one, exactly.
    pub folder: &'a Path,
    /// How many of the newest checkpoints are kept, at least 1. The one with the lowest evaluation loss is kept
    /// besides.
    pub keep_checkpoints: u32,
    /// Initial factors instead of random ones: a safetensors file with PEFT's tensor names.
    pub initial_factors: Option<&'a Path>,
}

/// Trains until done or stopped. With [`crate::Stop::Save`] it returns an outcome with `stopped_at`; with `Discard`,
/// [`crate::Error::Stopped`].
pub fn train(job: &TrainJob<'_>, control: &Control, on_event: &mut dyn FnMut(TrainEvent)) -> Result<TrainOutcome> {
    job.config.validate()?;
    trainer::Trainer::prepare(job, control, on_event)?.run()
}
