//! `generate`: instructions for a file of responses, or the continuation of one prompt.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use engine::generate::{GenerateEvent, GenerateRow, GeneratedRow};
use engine::lora::Adapter;
use engine::model::BaseModel;
use engine::template::{EncodedPrompt, Template};
use serde_json::json;
use spec::{GenerateConfig, RunEvent, TemplateConfig, WeightFormat};

use super::flags::{DataFolderFlag, DeviceFlag, model_path, word};
use super::model::{encode_prompt, read_text};
use super::output::{Output, excerpt};
use super::progress::Progress;
use super::{Result, interrupt};
use crate::adapter;
use crate::work::{self, Bench};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true), after_help = "\
--pairs takes LIMA rows with exactly two turns, rows with \"response\" (and \"instruction\" or \"reference\" where there is
one), or Alpaca-form JSON. With an adapter the template is the adapter's own; without one the default template is put
before the base model, as a baseline. --prompt-file is continued as it is; special tokens written in it are recognised.

token_ids hold the stop token, where one was produced; \"ended\" says whether one was.

Examples:
  backtranslate generate --model model/ --prompt-file prompt.txt --greedy --max-new 32
  backtranslate generate --model model/ --adapter trained/adapter --pairs lima.jsonl --limit 20 -o written.jsonl")]
pub struct Generate {
    /// A model folder, a GGUF file, or the id of a fetched model
    #[arg(long, value_name = "PATH")]
    model: String,
    /// An adapter folder that training wrote; it knows its template
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Responses to write an instruction for
    #[arg(long, value_name = "FILE", group = "what")]
    pairs: Option<PathBuf>,
    /// A prompt to continue
    #[arg(long, value_name = "FILE", group = "what")]
    prompt_file: Option<PathBuf>,
    /// Also write the pairs, scored, to this file as JSONL
    #[arg(short, long, value_name = "FILE", requires = "pairs")]
    output: Option<PathBuf>,
    /// Only the first so many rows of --pairs
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Always take the likeliest token: temperature 0
    #[arg(long, conflicts_with = "temperature")]
    greedy: bool,
    /// 0 is greedy
    #[arg(long, value_name = "NUMBER", default_value_t = GenerateConfig::default().temperature)]
    temperature: f64,
    /// Keep the likeliest tokens that hold so much probability
    #[arg(long, value_name = "NUMBER", default_value_t = GenerateConfig::default().top_p)]
    top_p: f64,
    /// Keep the likeliest so many tokens; 0 keeps all
    #[arg(long, value_name = "N", default_value_t = GenerateConfig::default().top_k)]
    top_k: u32,
    /// Makes tokens that stand already less likely; 1 is off
    #[arg(long, value_name = "NUMBER", default_value_t = GenerateConfig::default().repetition_penalty)]
    repetition_penalty: f64,
    /// Most new tokens per row
    #[arg(long, value_name = "N", alias = "max-new-tokens", default_value_t = GenerateConfig::default().max_new_tokens)]
    max_new: u32,
    /// Rows written side by side
    #[arg(long, value_name = "N", default_value_t = GenerateConfig::default().batch_size)]
    batch_size: u32,
    /// Same seed and settings, same text
    #[arg(long, value_name = "N", default_value_t = GenerateConfig::default().seed)]
    seed: u64,
    /// f32, or int8: products in eight bits, faster on a CPU (about twice where it has instructions for them), other texts of the same quality
    #[arg(long, value_parser = word::<WeightFormat>, default_value = "f32")]
    weights: WeightFormat,
    /// Longest sequence in tokens, prompt and instruction together, for --pairs [default: as in training]
    #[arg(long, value_name = "N")]
    max_length: Option<u32>,
    #[command(flatten)]
    device: DeviceFlag,
    #[command(flatten)]
    folder: DataFolderFlag,
}

impl Generate {
    pub fn run(&self, output: &Output) -> Result<()> {
        let config = GenerateConfig {
            file: String::new(),
            limit: self.limit,
            temperature: if self.greedy { 0.0 } else { self.temperature },
            top_p: self.top_p,
            top_k: self.top_k,
            repetition_penalty: self.repetition_penalty,
            max_new_tokens: self.max_new,
            batch_size: self.batch_size,
            seed: self.seed,
            weights: self.weights,
        };
        adapter::generate_config(&config)?;
        let path = model_path(&self.model, &self.folder.data)?;
        let mut bench = Bench::new(&self.device.device);
        let mut progress = Progress::new();
        let base = bench.model(&path, &mut |event| progress.event(&event))?;
        let lora = match &self.adapter {
            Some(folder) => Some(Adapter::load(folder, base).map_err(adapter::error)?),
            None => None,
        };
        let text = match &lora {
            Some(lora) => lora.template.clone(),
            None => adapter::template(&TemplateConfig::default())?,
        };
        let template = Template::new(text, &base.tokenizer).map_err(adapter::error)?;
        if let Some(lora) = &lora {
            lora.check(base, &template).map_err(adapter::error)?;
        }
        match (&self.pairs, &self.prompt_file) {
            (Some(file), _) => self.write_pairs(file, base, lora.as_ref(), &template, &config, progress, output),
            (None, Some(file)) => self.go_on(file, base, lora.as_ref(), &config, progress, output),
            (None, None) => Err(adapter::invalid("--pairs", "missing", "given, or --prompt-file")),
        }
    }

    /// One prompt as it is, stopped by EOS.
    fn go_on(
        &self,
        file: &Path,
        base: &BaseModel,
        lora: Option<&Adapter>,
        config: &GenerateConfig,
        mut progress: Progress,
        output: &Output,
    ) -> Result<()> {
        let ids = encode_prompt(base, &read_text(file)?)?;
        let context = base.config.max_position_embeddings;
        if ids.len() + config.max_new_tokens as usize > context {
            return Err(adapter::invalid(
                "--max-new",
                config.max_new_tokens,
                &format!(
                    "at most {} after this prompt of {} tokens, since the context is {context}",
                    context.saturating_sub(ids.len()),
                    ids.len()
                ),
            ));
        }
        let prompt_tokens = ids.len();
        let rows = [GenerateRow { index: 0, prompt: EncodedPrompt { ids, response_tokens_cut: 0 } }];
        let mut written: Option<GeneratedRow> = None;
        let mut tokens = 0;
        engine::generate::generate(
            base,
            lora,
            &rows,
            base.tokenizer.eos_ids(),
            &adapter::generate_config(config)?,
            &interrupt::control(),
            &mut |event| match event {
                GenerateEvent::Token { .. } => {
                    tokens += 1;
                    progress.count("writing", tokens, u64::from(config.max_new_tokens));
                }
                GenerateEvent::Row(row) => written = Some(row),
            },
        )
        .map_err(adapter::error)?;
        drop(progress);
        let Some(row) = written else {
            return Err(adapter::error(engine::Error::Empty("the model wrote nothing".to_owned())));
        };
        let answer = json!({
            "model": self.model,
            "adapter": self.adapter,
            "rows": [{
                "index": 0,
                "prompt_tokens": prompt_tokens,
                "token_ids": with_stop(&row),
                "text": row.text,
                "ended": row.ended(),
            }],
        });
        output.answer(&answer, |text| text.line(&row.text))
    }

    #[expect(clippy::too_many_arguments)] // one call, and each is what its name says
    fn write_pairs(
        &self,
        file: &Path,
        base: &BaseModel,
        lora: Option<&Adapter>,
        template: &Template,
        config: &GenerateConfig,
        mut progress: Progress,
        output: &Output,
    ) -> Result<()> {
        let corpus = work::generate::corpus(file, config.limit)?;
        let max_length = match (self.max_length, lora) {
            (Some(length), _) => length,
            (None, Some(lora)) => adapter::whole(lora.max_length),
            (None, None) => spec::TrainConfig::default().max_length,
        };
        let job = work::generate::Job { base, lora, template, max_length, config };
        let mut written = Vec::new();
        let mut pairs = Vec::new();
        work::generate::run(
            &job,
            &corpus,
            &mut pairs,
            &mut |row| written.push(row.clone()),
            &interrupt::control(),
            &mut |event: RunEvent| progress.event(&event),
        )?;
        drop(progress);
        pairs.sort_by_key(|pair| pair.index);
        written.sort_by_key(|row: &GeneratedRow| row.index);
        if let Some(target) = &self.output {
            work::generate::write_pairs(target, &pairs)?;
        }
        let scores = work::generate::summary(&pairs);
        let rows: Vec<_> = pairs
            .iter()
            .zip(&written)
            .map(|(pair, row)| {
                json!({
                    "index": pair.index,
                    "token_ids": with_stop(row),
                    "text": row.text,
                    "generated": pair.generated,
                    "ended": pair.ended,
                    "response_tokens_cut": pair.response_tokens_cut,
                    "response": pair.response,
                    "reference": pair.reference,
                    "scores": pair.scores,
                })
            })
            .collect();
        let answer = json!({
            "model": self.model,
            "adapter": self.adapter,
            "template_sha256": template.sha256(),
            "output": self.output,
            "scores": super::score::summary_json(&scores),
            "rows": rows,
        });
        output.answer(&answer, |text| {
            for pair in &pairs {
                text.line(format_args!("{:>4}  {}", pair.index, excerpt(&pair.generated, 150)));
            }
            text.line("");
            super::score::show(text, &scores);
            if let Some(target) = &self.output {
                text.field("written to", target.display());
            }
        })
    }
}

fn with_stop(row: &GeneratedRow) -> Vec<u32> {
    row.ids.iter().copied().chain(row.stopped_by).collect()
}
