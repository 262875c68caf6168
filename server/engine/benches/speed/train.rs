//! Training steps through [`engine::train::train`]: dropout, optimizer and logging are in the time.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use engine::Control;
use engine::data::Pair;
use engine::device::Device;
use engine::lora::{LoraConfig, Projection};
use engine::model::BaseModel;
use engine::template::Truncation;
use engine::train::{LossOn, Schedule, Step, TrainConfig, TrainEvent, TrainJob, TrainOutcome, train};
use serde_json::{Value, json};

use super::{load, text};

#[derive(Args)]
pub struct Fixed {
    /// A base model: a folder or a GGUF file
    #[arg(long)]
    model: PathBuf,
    #[arg(long, default_value_t = 4)]
    batch: usize,
    #[arg(long, default_value_t = 512)]
    seq: usize,
    /// Timed steps; one more goes before them
    #[arg(long, default_value_t = 4)]
    steps: u32,
    #[arg(long, value_enum, default_value_t = Loss::All)]
    loss: Loss,
    /// Keep each layer's input alone and compute the layer again in backward
    #[arg(long)]
    recompute: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Loss {
    /// At every position but the first
    All,
    /// At the last 64 positions
    Last64,
}

#[derive(Args)]
pub struct Real {
    #[arg(long)]
    model: PathBuf,
    /// JSONL with `instruction` and `response`
    #[arg(long)]
    pairs: PathBuf,
    #[arg(long, default_value_t = 32)]
    limit: usize,
    #[arg(long, default_value_t = 4)]
    batch: usize,
    #[arg(long, default_value_t = 512)]
    max_length: usize,
    #[arg(long, value_enum, default_value_t = Loss::All)]
    loss: Loss,
}

/// The recipe's adapter, one micro-batch a step.
pub fn config(batch: usize, max_length: usize, loss_on: LossOn, steps: u32) -> TrainConfig {
    let targets = vec![Projection::QProj, Projection::VProj];
    TrainConfig {
        lora: LoraConfig { rank: 16, alpha: 32.0, dropout: 0.1, targets },
        max_length,
        truncation: Truncation::Response,
        loss_on,
        epochs: 10_000,
        max_steps: Some(steps),
        batch_size: batch,
        accumulation: 1,
        learning_rate: 5e-4,
        schedule: Schedule::Constant,
        warmup_steps: 0,
        weight_decay: 0.01,
        clip_norm: 1.0,
        seed: 1,
        evaluate_every: None,
        checkpoint_every: None,
        samples: 0,
        recompute_layers: false,
    }
}

impl Fixed {
    pub fn run(self, device: &Device) -> Result<Value> {
        let model = load(&self.model, device)?;
        let pairs = fixed_pairs(&model, self.batch, self.seq)?;
        let loss_on = match self.loss {
            Loss::All => LossOn::All,
            Loss::Last64 => LossOn::Target,
        };
        let mut config = config(self.batch, self.seq, loss_on, self.steps + 1);
        config.recompute_layers = self.recompute;
        let (steps, _) = timed(&model, &pairs, &config)?;
        ensure!(steps.iter().all(|step| step.tokens == (self.batch * self.seq) as u64), "sequences are not full");
        Ok(report("train", &steps[1..]))
    }
}

impl Real {
    pub fn run(self, device: &Device) -> Result<Value> {
        let model = load(&self.model, device)?;
        let rows = text::rows(&self.pairs)?;
        let pairs: Vec<Pair> = rows
            .iter()
            .take(self.limit)
            .map(|row| text::pair(text::field(row, "instruction"), text::field(row, "response")))
            .collect();
        let loss_on = match self.loss {
            Loss::All => LossOn::All,
            Loss::Last64 => LossOn::Target,
        };
        let steps = pairs.len().div_ceil(self.batch) as u32;
        let config = config(self.batch, self.max_length, loss_on, steps);
        let (steps, _) = timed(&model, &pairs, &config)?;
        Ok(report("pairs", &steps[1..]))
    }
}

/// Pairs that fill `seq` tokens exactly, of which the last 64 are the target.
pub fn fixed_pairs(model: &BaseModel, batch: usize, seq: usize) -> Result<Vec<Pair>> {
    let template = text::template(&model.tokenizer)?;
    let target = |pair: &Pair| -> Result<usize> {
        let encoded = template.encode_pair(&model.tokenizer, pair, 1 << 16, Truncation::Response)?;
        Ok(encoded.map_or(0, |encoded| encoded.ids.len() - encoded.prompt_len))
    };
    (0..batch as u64)
        .map(|seed| {
            let response = text::words(2 * seq, seed);
            let words: Vec<String> = (1..=64).map(|count| text::words(count, seed + 100)).collect();
            for instruction in words.iter().rev() {
                let pair = text::pair(instruction, &response);
                if target(&pair)? <= 64 {
                    return Ok(pair);
                }
            }
            anyhow::bail!("no instruction of at most 64 tokens")
        })
        .collect()
}

/// Every step of a training, and its outcome.
pub fn timed(model: &BaseModel, pairs: &[Pair], config: &TrainConfig) -> Result<(Vec<Step>, TrainOutcome)> {
    let template = text::template(&model.tokenizer)?;
    let folder = tempfile::tempdir()?;
    let job = TrainJob {
        model,
        template: &template,
        train: pairs,
        validation: &[],
        config,
        folder: folder.path(),
        initial_factors: None,
    };
    let mut steps = Vec::new();
    let outcome = train(&job, &Control::default(), &mut |event| {
        if let TrainEvent::Step(step) = event {
            steps.push(step);
        }
    })?;
    ensure!(steps.len() > 1, "one step alone says nothing: the first warms up");
    Ok((steps, outcome))
}

pub fn report(work: &str, steps: &[Step]) -> Value {
    let mut seconds: Vec<f64> = steps.iter().map(|step| step.tokens as f64 / step.tokens_per_s).collect();
    let tokens: u64 = steps.iter().map(|step| step.tokens).sum();
    let total: f64 = seconds.iter().sum();
    seconds.sort_by(f64::total_cmp);
    json!({
        "work": work,
        "steps": steps.len(),
        "tokens": tokens,
        "supervised_tokens": steps.iter().map(|step| step.supervised_tokens).sum::<u64>(),
        "median_step_s": seconds[seconds.len() / 2],
        "tokens_per_s": tokens as f64 / total,
        "loss": steps[steps.len() - 1].loss,
    })
}
