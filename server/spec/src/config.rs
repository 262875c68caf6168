//! Cell configurations: what a person sets, as the page edits it and as an experiment's TOML spells it.
//!
//! These are file-shaped: every field has a default, nothing is validated here. The server's adapter
//! turns each into the engine's validated form and refuses what it does not accept, by field name.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellKind {
    Data,
    Model,
    Train,
    Generate,
    Report,
    Note,
}

impl CellKind {
    pub const ALL: [CellKind; 6] = [Self::Data, Self::Model, Self::Train, Self::Generate, Self::Report, Self::Note];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Model => "model",
            Self::Train => "train",
            Self::Generate => "generate",
            Self::Report => "report",
            Self::Note => "note",
        }
    }

    /// The kinds of cell that must stand above this one: its inputs are the nearest of each.
    pub fn inputs(self) -> &'static [CellKind] {
        match self {
            Self::Data | Self::Model | Self::Note => &[],
            Self::Train => &[Self::Data, Self::Model],
            Self::Generate => &[Self::Model, Self::Train],
            Self::Report => &[Self::Data, Self::Model, Self::Train, Self::Generate],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CellConfig {
    Data(DataConfig),
    Model(ModelConfig),
    Train(TrainConfig),
    Generate(GenerateConfig),
    Report(ReportConfig),
    Note(NoteConfig),
}

impl CellConfig {
    pub fn kind(&self) -> CellKind {
        match self {
            Self::Data(_) => CellKind::Data,
            Self::Model(_) => CellKind::Model,
            Self::Train(_) => CellKind::Train,
            Self::Generate(_) => CellKind::Generate,
            Self::Report(_) => CellKind::Report,
            Self::Note(_) => CellKind::Note,
        }
    }

    pub fn default_of(kind: CellKind) -> Self {
        match kind {
            CellKind::Data => Self::Data(DataConfig::default()),
            CellKind::Model => Self::Model(ModelConfig::default()),
            CellKind::Train => Self::Train(TrainConfig::default()),
            CellKind::Generate => Self::Generate(GenerateConfig::default()),
            CellKind::Report => Self::Report(ReportConfig::default()),
            CellKind::Note => Self::Note(NoteConfig::default()),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// Told from the file's first rows.
    #[default]
    Auto,
    OasstMessages,
    OasstTrees,
    Lima,
    Pairs,
    Alpaca,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turns {
    /// Only a conversation's first exchange (the paper's rule).
    #[default]
    First,
    /// Any exchange.
    Any,
}

/// The pair rule: which exchanges of a conversation file become (instruction, response) pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Id of a file that the server knows (`sample-pairs`, or an upload's id); in a TOML file, a path.
    pub file: String,
    pub format: DataFormat,
    /// Language code that both sides must have; empty for any. Rows without a language pass.
    pub language: String,
    /// Keep only the reply that people ranked first (`rank == 0`); rows without a rank pass.
    pub best_reply_only: bool,
    /// Both sides' `quality` label must be greater than this; rows without labels pass. None: no check.
    pub quality_above: Option<f64>,
    /// Both sides must have more words than this.
    pub words_above: u32,
    pub turns: Turns,
    /// Keep the best so many pairs (by the sum of quality); None: all.
    pub limit: Option<u32>,
    /// Share of conversation trees that are held out for validation.
    pub validation_fraction: f64,
    pub split_seed: u64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            file: "sample-pairs".to_owned(),
            format: DataFormat::Auto,
            language: "en".to_owned(),
            best_reply_only: true,
            quality_above: Some(0.6),
            words_above: 5,
            turns: Turns::First,
            limit: Some(3200),
            validation_fraction: 0.1,
            split_seed: 1,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Id of a base model that the server knows; in a TOML file, an id or a path to a folder or a GGUF file.
    pub model: String,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self { model: "smollm2-135m-instruct".to_owned() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    QProj,
    KProj,
    VProj,
    OProj,
    GateProj,
    UpProj,
    DownProj,
}

impl Projection {
    pub const ALL: [Projection; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }
}

/// The text around a response and an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemplateConfig {
    /// What the model reads; holds `{response}` once.
    pub prompt: String,
    /// What the model is to write; holds `{instruction}` once.
    pub target: String,
    /// The end marker: `eos` for the tokenizer's own, `none`, or a literal text.
    pub end: String,
    /// The prompt used for generation where it differs from training, as in the 2024 recipe. None: the same.
    pub generation_prompt: Option<String>,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        Self {
            prompt: "### Response:\n{response}\n\n### Instruction:\n".to_owned(),
            target: "{instruction}".to_owned(),
            end: "eos".to_owned(),
            generation_prompt: None,
        }
    }
}

impl TemplateConfig {
    /// The 2024 report's templates: one for training, another for generation, and no end marker.
    pub fn seed_recipe() -> Self {
        Self {
            prompt: "Instruction: {response}\n\nResponse:".to_owned(),
            target: " {instruction}\n\n".to_owned(),
            end: "none".to_owned(),
            generation_prompt: Some("Response: {response}\n\nInstruction:".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    Constant,
    #[default]
    Linear,
    Cosine,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossOn {
    /// The instruction and its end marker.
    #[default]
    Target,
    /// Every token, as the 2024 recipe did.
    All,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// Too long: the response gives way, the target stays whole.
    #[default]
    Response,
    /// Too long: whatever lies beyond the limit is cut, as the 2024 recipe did.
    Right,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    pub rank: u32,
    pub alpha: f64,
    pub dropout: f64,
    pub targets: Vec<Projection>,
    pub template: TemplateConfig,
    /// Longest training sequence, in tokens.
    pub max_length: u32,
    pub truncation: Truncation,
    pub loss_on: LossOn,
    pub epochs: u32,
    /// Stop after so many optimizer steps, whatever the epochs say.
    pub max_steps: Option<u32>,
    /// Pairs per forward pass.
    pub batch_size: u32,
    /// Forward passes per optimizer step.
    pub accumulation: u32,
    pub learning_rate: f64,
    pub schedule: Schedule,
    pub warmup_steps: u32,
    pub weight_decay: f64,
    /// Largest global gradient norm; 0 turns clipping off.
    pub clip_norm: f64,
    pub seed: u64,
    /// Validation loss every so many steps; it is always measured before the first step and after each epoch.
    pub evaluate_every: Option<u32>,
    /// Checkpoint every so many steps; there is always one after each epoch.
    pub checkpoint_every: Option<u32>,
    /// Validation pairs whose instruction is generated at each checkpoint.
    pub samples: u32,
    /// Compute each layer again in backward: the same numbers in a quarter of the memory beside the weights, more slowly.
    pub recompute_layers: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            dropout: 0.1,
            targets: vec![Projection::QProj, Projection::VProj],
            template: TemplateConfig::default(),
            max_length: 512,
            truncation: Truncation::Response,
            loss_on: LossOn::Target,
            epochs: 2,
            max_steps: None,
            batch_size: 4,
            accumulation: 2,
            learning_rate: 1e-3,
            schedule: Schedule::Linear,
            warmup_steps: 4,
            weight_decay: 0.01,
            clip_norm: 1.0,
            seed: 1,
            evaluate_every: None,
            checkpoint_every: Some(10),
            samples: 2,
            recompute_layers: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerateConfig {
    /// Id of the corpus of responses (`sample-responses`, or an upload's id); in a TOML file, a path.
    pub file: String,
    /// Only the first so many rows.
    pub limit: Option<u32>,
    /// 0 is greedy.
    pub temperature: f64,
    pub top_p: f64,
    /// 0 keeps every token.
    pub top_k: u32,
    pub repetition_penalty: f64,
    pub max_new_tokens: u32,
    pub batch_size: u32,
    pub seed: u64,
    pub weights: WeightFormat,
}

/// The form of the weights that projections and the head are computed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightFormat {
    #[default]
    F32,
    Int8,
}

impl Default for GenerateConfig {
    fn default() -> Self {
        Self {
            file: "sample-responses".to_owned(),
            limit: None,
            temperature: 0.7,
            top_p: 0.9,
            top_k: 50,
            repetition_penalty: 1.0,
            max_new_tokens: 64,
            batch_size: 16,
            seed: 1,
            weights: WeightFormat::F32,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportConfig {
    pub title: String,
    /// What the author wants its reader to know; plain text.
    pub summary: String,
    /// Licence and origin of the data, carried with every copy.
    pub data_notice: String,
}

impl Default for ReportConfig {
    fn default() -> Self {
        Self { title: "Instruction backtranslation".to_owned(), summary: String::new(), data_notice: String::new() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoteConfig {
    pub text: String,
}
