//! Training an adapter: batches, loss, optimizer, schedule, checkpoints, exact resume.
//!
//! The loop is in `trainer`, and reads top to bottom. Nothing here knows who watches: it speaks through a callback and is
//! stopped through a [`Control`].

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

pub struct TrainJob<'a> {
    pub model: &'a BaseModel,
    pub template: &'a Template,
    pub train: &'a [Pair],
    pub validation: &'a [Pair],
    pub config: &'a TrainConfig,
    /// Run folder: `checkpoints/step-00000010/` and, when done, `adapter/` appear in it. Where it holds a valid checkpoint of the
    /// same job, training goes on from the newest one, exactly.
    pub folder: &'a Path,
    /// Factors to start from instead of fresh ones: a safetensors file with PEFT's tensor names.
    pub initial_factors: Option<&'a Path>,
}

/// Trains until done or stopped. With [`crate::Stop::Save`] it returns an outcome with `stopped_at`; with `Discard`, [`crate::Error::Stopped`].
pub fn train(job: &TrainJob<'_>, control: &Control, on_event: &mut dyn FnMut(TrainEvent)) -> Result<TrainOutcome> {
    job.config.validate()?;
    trainer::Trainer::prepare(job, control, on_event)?.run()
}
