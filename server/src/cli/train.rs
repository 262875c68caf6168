//! `train`: trains an adapter on a file of pairs, into a folder. The same command resumes a training that was stopped.

use std::path::PathBuf;

use clap::Args;
use engine::data::{Format, Split};
use serde_json::json;
use spec::{AppError, DataConfig, DataOutput, RunEvent, RunView, TrainConfig};

use super::experiment::ExperimentFile;
use super::flags::{self, DeviceFlag, NamedRule, RuleFlags, SettingFlags, model_path};
use super::output::{Output, grouped};
use super::progress::{Progress, duration};
use super::{Result, interrupt};
use crate::adapter;
use crate::work::{self, ModelCache};

#[derive(Debug, Args)]
#[command(after_help = "\
The folder gets pairs (seed.jsonl, train.jsonl, validation.jsonl), checkpoints/ and, at the end, adapter/.
Ctrl-C saves a checkpoint; the same command resumes exactly from the newest one.
Files of pairs are used as they are; conversations go through the rule `seed`, unless a rule is given.

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
    /// Use [data] and [train] of this experiment file; flags override it
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
    split: SettingFlags<flags::Split>,
    #[command(flatten)]
    settings: SettingFlags<flags::Training>,
}

impl Train {
    pub fn run(&self, output: &Output) -> Result<()> {
        let (data, train) = self.configs()?;
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
        let mut models = ModelCache::new(&self.device.device);
        let base = models.model(&path, &mut emit)?;
        let outcome = work::train::run(base, &split, &train, &self.output, &control, &mut emit)?;
        drop(progress);
        let Some(trained) = outcome else {
            return Err(AppError::stopped(
                format!("training was stopped after step {}; a checkpoint was saved", log.last_step()),
                "The same command resumes exactly from there.",
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
        let (mut data, mut train) = match &self.config {
            Some(path) => {
                let file = ExperimentFile::read(path)?;
                (self.rule.over(file.data)?, file.train)
            }
            None => (self.rule.config()?, TrainConfig::default()),
        };
        self.split.apply(&mut data)?;
        if self.settings.is_given("template.prompt") {
            // Another prompt is for both, unless generation's is given too.
            train.template.generation_prompt = None;
        }
        self.settings.apply(&mut train)?;
        Ok((data, train))
    }

    fn prepare(&self, data: DataConfig, emit: &mut dyn FnMut(RunEvent)) -> Result<(DataOutput, Split)> {
        let mut data = data;
        if self.rule.is_default() && self.config.is_none() && self.holds_pairs()? {
            let all = RuleFlags { rule: Some(NamedRule::All), ..self.rule.clone() };
            data = all.over(data)?;
        }
        work::data::prepare(&self.file, &data, &self.output, emit)
    }

    /// Pairs that somebody chose already, rather than conversations to choose from?
    fn holds_pairs(&self) -> Result<bool> {
        let config = RuleFlags { rule: Some(NamedRule::All), ..self.rule.clone() }.config()?;
        let looked_at = engine::data::prepare(&self.file, adapter::format(config.format), &adapter::pair_rule(&config))
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
