//! What can be set about training, and the ranges that are accepted.

use serde::{Deserialize, Serialize};

use crate::lora::LoraConfig;
use crate::template::Truncation;
use crate::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    Constant,
    /// From the learning rate down to 0 over the steps after warm-up.
    Linear,
    /// Half a cosine from the learning rate to 0.
    Cosine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossOn {
    /// The instruction and its end marker.
    Target,
    /// Every token but the first.
    All,
}

/// Validated by [`super::train`] before anything is written; refusals name the field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Largest global gradient norm; 0: no clipping.
    pub clip_norm: f64,
    pub seed: u64,
    pub evaluate_every: Option<u32>,
    pub checkpoint_every: Option<u32>,
    pub samples: usize,
    /// Keep each layer's input alone and compute the layer again in backward: the same numbers in less memory, more
    /// slowly. No part of what a checkpoint is bound to, so a run may be resumed with more or less memory.
    #[serde(skip)]
    pub recompute_layers: bool,
}

impl TrainConfig {
    /// Ranges of every field, by name. [`super::train`] calls it first; callers may, earlier.
    pub fn validate(&self) -> Result<()> {
        self.lora.validate()?;
        whole("max_length", self.max_length as u64, 8, 1 << 20)?;
        whole("epochs", u64::from(self.epochs), 1, 10_000)?;
        whole("batch_size", self.batch_size as u64, 1, 4096)?;
        whole("accumulation", self.accumulation as u64, 1, 4096)?;
        whole("samples", self.samples as u64, 0, 64)?;
        whole("warmup_steps", u64::from(self.warmup_steps), 0, 1_000_000)?;
        for (field, every) in [
            ("max_steps", self.max_steps),
            ("evaluate_every", self.evaluate_every),
            ("checkpoint_every", self.checkpoint_every),
        ] {
            if let Some(every) = every {
                whole(field, u64::from(every), 1, 10_000_000)?;
            }
        }
        number("learning_rate", self.learning_rate, 1.0)?;
        number("weight_decay", self.weight_decay, 1.0)?;
        number("clip_norm", self.clip_norm, 1e6)
    }
}

fn whole(field: &'static str, value: u64, least: u64, most: u64) -> Result<()> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(Error::invalid(field, value, format!("{least} to {most}")))
    }
}

fn number(field: &'static str, value: f64, most: f64) -> Result<()> {
    if value.is_finite() && (0.0..=most).contains(&value) {
        Ok(())
    } else {
        Err(Error::invalid(field, value, format!("a number from 0 to {most}")))
    }
}
