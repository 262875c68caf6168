//! `train`: an adapter from a file of pairs, into a folder. The same command again goes on where it was stopped.

use std::path::PathBuf;

use clap::Args;
use engine::data::{Format, Split};
use serde_json::json;
use spec::{
    AppError, DataConfig, DataOutput, LossOn, Projection, RunEvent, RunView, Schedule, TrainConfig, Truncation,
};

use super::experiment::ExperimentFile;
use super::flags::{DeviceFlag, NamedRule, OrNone, RuleFlags, TARGETS_HELP, model_path, or_none, projection, word};
use super::output::{Output, grouped};
use super::progress::{Progress, duration};
use super::{Result, interrupt};
use crate::adapter;
use crate::work::{self, Bench};

#[derive(Debug, Args)]
#[command(after_help = "\
The folder gets pairs (seed.jsonl, train.jsonl, validation.jsonl), checkpoints/ and, at the end, adapter/.
Ctrl-C saves a checkpoint; the same command again goes on from the newest one, exactly.
Files of ready pairs are taken as they are; conversations go through the rule `seed`, unless a rule is given.

Examples:
  backtranslate train --model smollm2-135m-instruct --data pairs.jsonl -o trained/ --epochs 1
  backtranslate train --model model/ --data oasst1.trees.jsonl -o trained/ --config examples/seed-recipe.toml --max-steps 50")]
pub struct Train {
    /// A model folder, a GGUF file, or the id of a fetched model
    #[arg(long, value_name = "PATH")]
    model: String,
    /// Conversations or pairs
    #[arg(long = "data", value_name = "FILE")]
    file: PathBuf,
    /// The folder for checkpoints and adapter
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Take [data] and [train] of this experiment file; flags go before it
    #[arg(long, value_name = "TOML")]
    config: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceFlag,
    /// The data folder in which models are looked up by id
    #[arg(long, value_name = "DIR", default_value = "./data")]
    models_in: PathBuf,
    #[command(flatten)]
    rule: RuleFlags,
    #[command(flatten)]
    split: SplitFlags,
    #[command(flatten)]
    settings: TrainFlags,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Split")]
struct SplitFlags {
    /// Share of conversations held out for validation [default: 0.1]
    #[arg(long, value_name = "NUMBER")]
    validation_fraction: Option<f64>,
    #[arg(long, value_name = "N", help = "Seed of the split [default: 1]")]
    split_seed: Option<u64>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Training settings")]
struct TrainFlags {
    /// LoRA rank [default: 16]
    #[arg(long)]
    rank: Option<u32>,
    /// LoRA alpha [default: 32]
    #[arg(long)]
    alpha: Option<f64>,
    /// LoRA dropout [default: 0.1]
    #[arg(long)]
    dropout: Option<f64>,
    #[arg(long, value_delimiter = ',', value_parser = projection, help = TARGETS_HELP)]
    targets: Option<Vec<Projection>>,
    /// Template: what the model reads; holds {response} once
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Template: what it is to write; holds {instruction} once
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    /// Template: end marker: eos, none, or a text [default: eos]
    #[arg(long, value_name = "TEXT")]
    end: Option<String>,
    /// Longest training sequence in tokens [default: 512]
    #[arg(long, value_name = "N")]
    max_length: Option<u32>,
    /// response (it is shortened, targets stay whole) or right [default: response]
    #[arg(long, value_parser = word::<Truncation>)]
    truncation: Option<Truncation>,
    /// target or all [default: target]
    #[arg(long, value_parser = word::<LossOn>)]
    loss_on: Option<LossOn>,
    /// Passes over the pairs [default: 2]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Stop after so many optimizer steps, or `none`
    #[arg(long, value_name = "N", value_parser = or_none::<u32>)]
    max_steps: Option<OrNone<u32>>,
    /// Pairs per forward pass [default: 4]
    #[arg(long, value_name = "N")]
    batch_size: Option<u32>,
    /// Forward passes per optimizer step [default: 2]
    #[arg(long, value_name = "N")]
    accumulation: Option<u32>,
    /// Peak learning rate [default: 0.001]
    #[arg(long, value_name = "NUMBER")]
    learning_rate: Option<f64>,
    /// constant, linear or cosine [default: linear]
    #[arg(long, value_parser = word::<Schedule>)]
    schedule: Option<Schedule>,
    /// Steps of linear warm-up [default: 4]
    #[arg(long, value_name = "N")]
    warmup_steps: Option<u32>,
    /// AdamW's weight decay [default: 0.01]
    #[arg(long, value_name = "NUMBER")]
    weight_decay: Option<f64>,
    /// Largest global gradient norm; 0 turns clipping off [default: 1]
    #[arg(long, value_name = "NUMBER")]
    clip_norm: Option<f64>,
    /// Of everything random in training [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Validation loss every so many steps, or `none`
    #[arg(long, value_name = "N", value_parser = or_none::<u32>)]
    evaluate_every: Option<OrNone<u32>>,
    /// Checkpoint every so many steps, or `none` [default: 10]
    #[arg(long, value_name = "N", value_parser = or_none::<u32>)]
    checkpoint_every: Option<OrNone<u32>>,
    /// Validation pairs written for at each checkpoint [default: 2]
    #[arg(long, value_name = "N")]
    samples: Option<u32>,
    /// Compute each layer again in backward: the same numbers in less memory, more slowly
    #[arg(long)]
    recompute_layers: bool,
}

impl TrainFlags {
    fn over(self, mut config: TrainConfig) -> TrainConfig {
        fn set<T>(field: &mut T, flag: Option<T>) {
            if let Some(value) = flag {
                *field = value;
            }
        }
        set(&mut config.rank, self.rank);
        set(&mut config.alpha, self.alpha);
        set(&mut config.dropout, self.dropout);
        set(&mut config.targets, self.targets);
        if self.prompt.is_some() {
            // Another prompt is for both, unless the file said otherwise for generation.
            config.template.generation_prompt = None;
        }
        set(&mut config.template.prompt, self.prompt);
        set(&mut config.template.target, self.target);
        set(&mut config.template.end, self.end);
        set(&mut config.max_length, self.max_length);
        set(&mut config.truncation, self.truncation);
        set(&mut config.loss_on, self.loss_on);
        set(&mut config.epochs, self.epochs);
        set(&mut config.max_steps, self.max_steps.map(OrNone::into_option));
        set(&mut config.batch_size, self.batch_size);
        set(&mut config.accumulation, self.accumulation);
        set(&mut config.learning_rate, self.learning_rate);
        set(&mut config.schedule, self.schedule);
        set(&mut config.warmup_steps, self.warmup_steps);
        set(&mut config.weight_decay, self.weight_decay);
        set(&mut config.clip_norm, self.clip_norm);
        set(&mut config.seed, self.seed);
        set(&mut config.evaluate_every, self.evaluate_every.map(OrNone::into_option));
        set(&mut config.checkpoint_every, self.checkpoint_every.map(OrNone::into_option));
        set(&mut config.samples, self.samples);
        config.recompute_layers |= self.recompute_layers;
        config
    }
}

impl Train {
    pub fn run(&self, output: &Output) -> Result<()> {
        let (data, train) = self.configs()?;
        adapter::train_config(&train)?;
        adapter::template(&train.template)?;
        let path = model_path(&self.model, &self.models_in)?;
        std::fs::create_dir_all(&self.output)
            .map_err(|error| adapter::error(engine::Error::io(&self.output)(error)))?;

        let control = interrupt::control();
        let mut progress = Progress::new();
        // The fold of the run's log, as a page would hold it.
        let mut log = Log::new(&train);
        let mut emit = |event: RunEvent| {
            progress.event(&event);
            log.push(event);
        };
        let (data_output, split) = self.prepare(data, &mut emit)?;
        let mut bench = Bench::new(&self.device.device);
        let base = bench.model(&path, &mut emit)?;
        let outcome =
            work::train::run(base, &split.train, &split.validation, &train, &self.output, &control, &mut emit)?;
        drop(progress);
        let Some(trained) = outcome else {
            return Err(AppError::stopped(
                format!("training was stopped after step {}; a checkpoint was saved", log.last_step()),
                "The same command again goes on from there, exactly.",
            ));
        };
        let adapter_folder = self.output.join(work::train::ADAPTER);
        let answer = json!({
            "folder": self.output,
            "adapter": adapter_folder,
            "model": self.model,
            "data": data_output,
            "integrity": log.view.integrity,
            "steps": log.steps,
            "evaluations": log.view.evaluations,
            "output": trained,
        });
        output.answer(&answer, |text| {
            text.field("adapter", adapter_folder.display());
            text.field(
                "pairs",
                format_args!("{} to train on, {} to validate", data_output.train_pairs, data_output.validation_pairs),
            );
            text.field(
                "trainable",
                format_args!("{} ({:.4} %)", grouped(trained.trainable), trained.trainable_percent),
            );
            text.field("steps", trained.steps);
            text.field("loss", format_args!("{:.4} nats per supervised token", trained.loss));
            if let (Some(before), Some(after)) = (trained.validation_loss_before, trained.validation_loss) {
                text.field("validation loss", format_args!("{before:.4} -> {after:.4}"));
            }
            text.field("time", format_args!("{}, {:.0} tokens/s", duration(trained.seconds), trained.tokens_per_s));
        })
    }

    /// Flags over the file's tables, or over the defaults.
    fn configs(&self) -> Result<(DataConfig, TrainConfig)> {
        let (data, train) = match &self.config {
            Some(path) => {
                let file = ExperimentFile::read(path)?;
                (self.rule.over(file.data), file.train)
            }
            None => (self.rule.config(), TrainConfig::default()),
        };
        let data = DataConfig {
            validation_fraction: self.split.validation_fraction.unwrap_or(data.validation_fraction),
            split_seed: self.split.split_seed.unwrap_or(data.split_seed),
            ..data
        };
        Ok((data, self.settings.clone().over(train)))
    }

    fn prepare(&self, data: DataConfig, emit: &mut dyn FnMut(RunEvent)) -> Result<(DataOutput, Split)> {
        let mut data = data;
        if self.rule.is_default() && self.config.is_none() && self.holds_pairs()? {
            let all = RuleFlags { rule: Some(NamedRule::All), ..self.rule.clone() };
            data = all.over(data);
        }
        work::data::prepare(&self.file, &data, &self.output, emit)
    }

    /// Pairs that somebody chose already, rather than conversations to choose from?
    fn holds_pairs(&self) -> Result<bool> {
        let config = RuleFlags { rule: Some(NamedRule::All), ..self.rule.clone() }.config();
        let looked_at =
            engine::data::prepare(&self.file, adapter::format(config.format), &adapter::pair_rule(&config)?)
                .map_err(adapter::error)?;
        Ok(matches!(looked_at.format, Format::Pairs | Format::Alpaca))
    }
}

/// Events as the store would number them.
struct Log {
    view: RunView,
    /// Every step; the view keeps only their curve.
    steps: Vec<spec::StepPoint>,
}

impl Log {
    fn new(config: &TrainConfig) -> Self {
        Self { view: RunView::new(0, 0, spec::CellConfig::Train(config.clone()), 0), steps: Vec::new() }
    }

    fn push(&mut self, event: RunEvent) {
        if let RunEvent::Step { step } = &event {
            self.steps.push(*step);
        }
        let seq = self.view.seq + 1;
        self.view.apply(&spec::LoggedEvent { run: 0, seq, at_ms: 0, event });
    }

    fn last_step(&self) -> u32 {
        self.view.last_step.map_or(0, |step| step.step)
    }
}
