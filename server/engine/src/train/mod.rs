//! Training an adapter: batches, loss, optimizer, schedule, checkpoints, exact resume.

use std::path::Path;

use crate::control::Control;
use crate::data::Pair;
use crate::lora::LoraConfig;
use crate::model::BaseModel;
use crate::template::{Template, Truncation};
use crate::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    Constant,
    Linear,
    Cosine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossOn {
    Target,
    All,
}

/// Validated by [`train`] before anything is loaded or written; refusals name the field.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    pub lora: LoraConfig,
    pub max_length: usize,
    pub truncation: Truncation,
    pub loss_on: LossOn,
    pub epochs: u32,
    pub max_steps: Option<u32>,
    pub batch_size: usize,
    pub accumulation: usize,
    pub learning_rate: f64,
    pub schedule: Schedule,
    pub warmup_steps: u32,
    pub weight_decay: f64,
    pub clip_norm: f64,
    pub seed: u64,
    pub evaluate_every: Option<u32>,
    pub checkpoint_every: Option<u32>,
    pub samples: usize,
}

impl TrainConfig {
    /// Ranges of every field, by name. [`train`] calls it first; callers may, earlier.
    pub fn validate(&self) -> Result<()> {
        todo!()
    }
}

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

#[derive(Clone, Debug, PartialEq)]
pub enum TrainEvent {
    Phase(&'static str),
    Integrity(Integrity),
    /// Training goes on after this step (0: from the start).
    Resumed { step: u32 },
    Step(Step),
    Evaluation { step: u32, loss: f64, tokens: u64 },
    Checkpoint { step: u32, name: String },
    Sample { step: u32, index: usize, response: String, reference: String, generated: String },
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Integrity {
    pub pairs: u64,
    pub shortened: u64,
    pub dropped: u64,
    pub targets_cut: u64,
    pub targets_lost: u64,
    pub tokens: u64,
    pub supervised_tokens: u64,
    /// The first pairs, token by token: text, supervised.
    pub examples: Vec<Vec<(String, bool)>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub step: u32,
    pub steps: u32,
    pub epoch: f64,
    /// Nats per supervised token.
    pub loss: f64,
    pub learning_rate: f64,
    pub gradient_norm: f64,
    pub supervised_tokens: u64,
    /// Real tokens, padding left out.
    pub tokens: u64,
    pub tokens_per_s: f64,
    pub elapsed_s: f64,
    pub eta_s: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TrainOutcome {
    pub steps: u32,
    pub loss: f64,
    pub validation_loss_before: Option<f64>,
    pub validation_loss: Option<f64>,
    pub trainable: u64,
    pub trainable_percent: f64,
    pub tokens: u64,
    pub seconds: f64,
    pub peak_memory_bytes: u64,
    pub adapter_sha256: String,
    /// Stopped by its control after saving a checkpoint; there is no adapter yet.
    pub stopped_at: Option<u32>,
}

/// Trains until done or stopped. With [`crate::Stop::Save`] it returns an outcome with `stopped_at`; with `Discard`, [`crate::Error::Stopped`].
pub fn train(job: &TrainJob<'_>, control: &Control, on_event: &mut dyn FnMut(TrainEvent)) -> Result<TrainOutcome> {
    let _ = (job, control, on_event);
    todo!()
}
