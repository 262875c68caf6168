//! Flags that several verbs share, and how their values are read.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::de::DeserializeOwned;
use spec::{AppError, DataConfig, DataFormat, Projection, Turns};

use super::Result;
use crate::models::{self, Source};

/// A word that the wire's types know: `any`, `oasst_trees`, `q_proj`; hyphens do as underscores.
pub fn word<T: DeserializeOwned>(text: &str) -> std::result::Result<T, String> {
    let word = text.trim().replace('-', "_");
    serde_json::from_value(serde_json::Value::String(word)).map_err(|error| error.to_string())
}

/// A number, or `none` to turn the setting off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OrNone<T> {
    None,
    Some(T),
}

impl<T> OrNone<T> {
    pub fn into_option(self) -> Option<T> {
        match self {
            Self::None => None,
            Self::Some(value) => Some(value),
        }
    }
}

pub fn or_none<T: std::str::FromStr>(text: &str) -> std::result::Result<OrNone<T>, String>
where
    T::Err: std::fmt::Display,
{
    if text == "none" {
        return Ok(OrNone::None);
    }
    text.parse().map(OrNone::Some).map_err(|error: T::Err| format!("{error}; give a number or `none`"))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NamedRule {
    /// As published: best-ranked English replies at any turn, quality above 0.6, more than 5 words, the best 3200
    #[default]
    Seed,
    /// The same, but only the first exchange of each conversation: what a data cell does by default
    FirstTurn,
    /// Best-ranked English replies at any turn, whatever their quality and length
    Rank0,
    /// Every exchange
    All,
}

impl NamedRule {
    pub fn name(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::FirstTurn => "first-turn",
            Self::Rank0 => "rank0",
            Self::All => "all",
        }
    }

    fn config(self) -> DataConfig {
        let first_turn = DataConfig::default();
        match self {
            Self::FirstTurn => first_turn,
            Self::Seed => DataConfig { turns: Turns::Any, ..first_turn },
            Self::Rank0 => {
                DataConfig { turns: Turns::Any, quality_above: None, words_above: 0, limit: None, ..first_turn }
            }
            Self::All => DataConfig {
                turns: Turns::Any,
                language: String::new(),
                best_reply_only: false,
                quality_above: None,
                words_above: 0,
                limit: None,
                ..first_turn
            },
        }
    }
}

/// Which exchanges become pairs: a named rule, and what differs from it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Pair rule")]
pub struct RuleFlags {
    /// Start from this rule [default: seed]
    #[arg(long, value_enum)]
    pub rule: Option<NamedRule>,
    /// auto, oasst_messages, oasst_trees, lima, pairs or alpaca [default: auto]
    #[arg(long, value_parser = word::<DataFormat>)]
    pub format: Option<DataFormat>,
    /// Language code that both sides must have, or `any`
    #[arg(long, value_name = "CODE")]
    pub language: Option<String>,
    /// Keep only the reply that people ranked first
    #[arg(long, value_name = "BOOL")]
    pub best_reply_only: Option<bool>,
    /// Both sides' quality must be greater than this, or `none`
    #[arg(long, value_name = "NUMBER", value_parser = or_none::<f64>)]
    pub quality_above: Option<OrNone<f64>>,
    /// Both sides must have more words than this
    #[arg(long, value_name = "N")]
    pub words_above: Option<u32>,
    /// first (only the first exchange of a conversation) or any
    #[arg(long, value_parser = word::<Turns>)]
    pub turns: Option<Turns>,
    /// Keep only the best so many pairs by quality, or `none`
    #[arg(long, value_name = "N", value_parser = or_none::<u32>)]
    pub limit: Option<OrNone<u32>>,
}

impl RuleFlags {
    pub fn is_default(&self) -> bool {
        self.rule.is_none()
            && self.language.is_none()
            && self.best_reply_only.is_none()
            && self.quality_above.is_none()
            && self.words_above.is_none()
            && self.turns.is_none()
            && self.limit.is_none()
    }

    /// The rule on its own, from [`NamedRule::Seed`] where none is named.
    pub fn config(&self) -> DataConfig {
        self.over(self.rule.unwrap_or_default().config())
    }

    /// These flags over a configuration from elsewhere.
    pub fn over(&self, config: DataConfig) -> DataConfig {
        let config = match self.rule {
            Some(rule) => DataConfig {
                file: config.file,
                validation_fraction: config.validation_fraction,
                split_seed: config.split_seed,
                ..rule.config()
            },
            None => config,
        };
        let language = match self.language.as_deref() {
            Some("any") => String::new(),
            Some(code) => code.to_owned(),
            None => config.language,
        };
        DataConfig {
            format: self.format.unwrap_or(config.format),
            language,
            best_reply_only: self.best_reply_only.unwrap_or(config.best_reply_only),
            quality_above: self.quality_above.map_or(config.quality_above, OrNone::into_option),
            words_above: self.words_above.unwrap_or(config.words_above),
            turns: self.turns.unwrap_or(config.turns),
            limit: self.limit.map_or(config.limit, OrNone::into_option),
            ..config
        }
    }
}

#[derive(Clone, Debug, Args)]
pub struct DeviceFlag {
    /// What computes: flex (the CPU), cuda:0, vulkan:0
    #[arg(long, default_value = "flex")]
    pub device: String,
}

#[derive(Clone, Debug, Args)]
pub struct DataFolderFlag {
    /// Where experiments, models and reports are kept
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data: PathBuf,
}

/// A base model on this machine: a path, or the id of one that was fetched into the data folder.
pub fn model_path(model: &str, data: &Path) -> Result<PathBuf> {
    let path = Path::new(model);
    if path.exists() {
        return Ok(path.to_owned());
    }
    let source = Source::of(model);
    if let Some(folder) = source.as_ref().and_then(|source| models::present(&data.join("models"), source)) {
        return Ok(folder);
    }
    let hint = match source {
        Some(_) => format!("If it is a model's id, fetch it first: backtranslate model fetch {model}"),
        None => format!("Give a model folder, a GGUF file, or an id such as {}.", models::DEFAULT),
    };
    Err(AppError::not_found(format!("there is no model at {model}"), hint))
}

pub const TARGETS_HELP: &str =
    "Comma-separated projections: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj";

pub fn projection(text: &str) -> std::result::Result<Projection, String> {
    word(text)
}
