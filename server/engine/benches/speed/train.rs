//! Training steps through [`engine::train::train`]: dropout, optimizer and logging are in the time.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use engine::Control;
use engine::data::Pair;
use engine::device::Device;
use engine::measure::gemm_peak;
use engine::model::{BaseModel, LlamaConfig};
use engine::train::{TrainJob, TrainOutcome, train};
use serde_json::{Value, json};
use spec::{LossOn, RunEvent, Schedule, StepPoint, TrainConfig, TrainOutput, Truncation};

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
    /// Timed steps, after one that is not timed
    #[arg(long, default_value_t = 4)]
    steps: u32,
    #[arg(long, value_enum, default_value_t = Loss::All)]
    loss: Loss,
    /// Gradient checkpointing
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
    TrainConfig {
        max_seq_length: max_length as u32,
        loss_on,
        epochs: 10_000,
        max_steps: Some(steps),
        batch_size: batch as u32,
        gradient_accumulation_steps: 1,
        learning_rate: 5e-4,
        lr_scheduler: Schedule::Constant,
        warmup_steps: 0,
        save_steps: None,
        samples: 0,
        ..TrainConfig::default()
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
        config.gradient_checkpointing = self.recompute;
        let (steps, _) = timed(&model, &pairs, &config)?;
        ensure!(steps.iter().all(|step| step.tokens == (self.batch * self.seq) as u64), "sequences are not full");
        let mut found = report("train", &steps[1..]);
        // The last token of a sequence is a target alone.
        let gflop = gflop(&model.config, &vec![self.seq - 1; self.batch], steps[1].supervised_tokens as usize);
        let rate = gflop * found["tokens_per_s"].as_f64().unwrap_or_default() / (self.batch * self.seq) as f64;
        let peak = gemm_peak(device, &model.config, self.batch * self.seq);
        found["gflops"] = json!(rate);
        found["gemm_peak_gflops"] = json!(peak);
        found["fraction_of_peak"] = json!(rate / peak);
        Ok(found)
    }
}

/// Multiplications and additions, in 10^9, that a step cannot do without: the frozen projections forward and backward
/// to their inputs, the causal half of attention forward (2 products) and backward (5), and the head at supervised
/// positions.
fn gflop(config: &LlamaConfig, lengths: &[usize], supervised: usize) -> f64 {
    let tokens: usize = lengths.iter().sum();
    let (hidden, width) = (config.hidden_size, config.num_attention_heads * config.head_dim);
    let kv_width = config.num_key_value_heads * config.head_dim;
    let keys_and_values = 2 * hidden * kv_width;
    let rest = 2 * hidden * width + 3 * hidden * config.intermediate_size;
    let scores: usize = lengths.iter().map(|length| length * (length + 1) / 2).sum();
    // In the last layer only supervised positions need more than keys and values.
    let layers = config.num_hidden_layers;
    let projections = 4 * (tokens * keys_and_values * layers + (tokens * (layers - 1) + supervised) * rest);
    let attention = 2 * 7 * scores * width * layers;
    let head = 4 * supervised * hidden * config.vocab_size;
    1e-9 * (projections + attention + head) as f64
}

#[derive(Args)]
pub struct Flat {
    /// A small model: what is looked at is growth, not speed
    #[arg(long)]
    model: PathBuf,
    #[arg(long, default_value_t = 4000)]
    steps: u32,
}

impl Flat {
    /// Resident memory along many steps and epochs.
    pub fn run(self, device: &Device) -> Result<Value> {
        let model = load(&self.model, device)?;
        let pairs: Vec<Pair> =
            (0..32).map(|seed| text::pair(&text::words(6, seed), &text::words(10 + 3 * seed as usize, seed))).collect();
        let config = config(4, 256, LossOn::Target, self.steps);
        let mut resident = Vec::new();
        let steps = timed_with(&model, &pairs, &config, &mut |step| {
            if step.step.is_multiple_of((self.steps / 10).max(1)) {
                resident.push((step.step, engine::memory::resident_bytes() >> 10));
            }
        })?
        .0;
        // The first half fills what is kept from then on: the largest batch and the allocator's pages come by chance.
        let (first, last) = (resident[resident.len() / 2 - 1].1, resident[resident.len() - 1].1);
        Ok(json!({
            "work": "flat",
            "steps": steps.len(),
            "epochs": steps[steps.len() - 1].epoch,
            "growth_mb": (last as f64 - first as f64) / 1024.0,
            "resident_kb": resident,
        }))
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
            bail!("no instruction of at most 64 tokens")
        })
        .collect()
}

/// Every step of a training, and its outcome.
pub fn timed(model: &BaseModel, pairs: &[Pair], config: &TrainConfig) -> Result<(Vec<StepPoint>, TrainOutput)> {
    timed_with(model, pairs, config, &mut |_| {})
}

fn timed_with(
    model: &BaseModel,
    pairs: &[Pair],
    config: &TrainConfig,
    look: &mut dyn FnMut(&StepPoint),
) -> Result<(Vec<StepPoint>, TrainOutput)> {
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
        if let RunEvent::Step { step } = event {
            look(&step);
            steps.push(step);
        }
    })?;
    ensure!(steps.len() > 1, "one step alone says nothing: the first warms up");
    match outcome {
        TrainOutcome::Done(output) => Ok((steps, output)),
        TrainOutcome::Stopped { step } => bail!("training was stopped after step {step}"),
    }
}

pub fn report(work: &str, steps: &[StepPoint]) -> Value {
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
