//! Experiments and their cells as pages show them, and what each kind of cell puts out.

use serde::{Deserialize, Serialize};

use crate::{CellConfig, CellKind, CurationCounts, RunState, RunView, ScoreSummary};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentSummary {
    pub id: i64,
    pub name: String,
    pub created_ms: i64,
    pub updated_ms: i64,
    /// Kind and state (None: never run) of each cell, in order.
    pub cells: Vec<(CellKind, Option<RunState>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// The shipped sample on the default model; a few minutes on a laptop.
    #[default]
    QuickStart,
    /// The 2024 report's settings, faults included, so that the difference can be seen.
    SeedRecipe,
    Empty,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notebook {
    pub id: i64,
    pub name: String,
    /// In order.
    pub cells: Vec<Cell>,
    /// Newest first.
    #[serde(default)]
    pub kept_reports: Vec<KeptReport>,
}

/// The report of a deleted cell, kept for as long as a share link to it is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReport {
    pub run: i64,
    pub title: String,
    /// Share links that are open.
    pub links: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub id: i64,
    /// Of the configuration; increases with every change.
    pub version: u64,
    /// What its form holds now.
    pub config: CellConfig,
    /// Its newest run, with that run's own configuration.
    pub run: Option<RunView>,
    /// Why the newest run no longer matches the form or the inputs; empty: it does (or there is none).
    pub stale: Vec<StaleReason>,
    /// A kind of input that is missing above it, if any.
    pub missing_input: Option<CellKind>,
    /// The newest run ended early, saved something, and still matches the form and the inputs: it can be resumed.
    #[serde(default)]
    pub can_resume: bool,
    /// What running the cell would replace or repeat; a page asks before it sends the command.
    #[serde(default)]
    pub discards: Option<Discards>,
}

/// Work of a cell's newest run that a new run does not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discards {
    /// Optimizer steps up to the newest checkpoint.
    Steps(u32),
    /// Generated pairs.
    Pairs(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StaleReason {
    /// A field of its own configuration differs: `learning_rate: 0.001 -> 0.0002`.
    Field { field: String, was: String, now: String },
    /// An input was changed or run again since.
    Input { kind: CellKind },
    /// A person decided on pairs, or edited them, since.
    Decisions,
}

/// A file of conversations, pairs or responses that cells can use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Made by the server.
    pub id: String,
    /// What its owner called it; shown, never used as a path.
    pub name: String,
    pub size_bytes: u64,
    pub added_ms: i64,
    /// Licence and origin, as far as the server knows them; reports that use the file carry it.
    #[serde(default)]
    pub notice: String,
}

/// A data file as a run read it: what its owner called it, and its notice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceFile {
    pub name: String,
    pub notice: String,
}

impl SourceFile {
    /// Of a run made before sources were kept.
    pub fn is_unknown(&self) -> bool {
        self.name.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelChoice {
    pub id: String,
    pub name: String,
    /// On this machine; where false, the model cell fetches it when it runs.
    pub present: bool,
    pub size_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemInfo {
    pub version: String,
    /// `flex`, `cuda:0`, …
    pub device: String,
    /// With the threads that compute, where it is the CPU.
    pub device_description: String,
    pub memory_bytes: u64,
    pub queued: u32,
    pub queue_limit: u32,
}

/// What a finished run leaves to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CellOutput {
    Data(DataOutput),
    Model(ModelOutput),
    Train(TrainOutput),
    Generate(GenerateOutput),
    Curate(CurateOutput),
    Report(ReportOutput),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Count {
    pub name: String,
    pub count: u64,
}

/// One bar of a histogram: `from <= value < to`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    pub from: f64,
    pub to: f64,
    pub count: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataOutput {
    /// The format that was read (`auto` resolved).
    pub format: String,
    /// Lines or rows read, malformed ones included.
    pub rows: u64,
    pub pairs: u64,
    pub first_turn_pairs: u64,
    pub train_pairs: u64,
    pub validation_pairs: u64,
    /// Conversation trees on each side of the split.
    pub train_trees: u64,
    pub validation_trees: u64,
    pub dropped: Vec<Count>,
    pub malformed_count: u64,
    /// The first of them.
    pub malformed: Vec<MalformedRow>,
    /// In words.
    pub instruction_lengths: Vec<Bin>,
    pub response_lengths: Vec<Bin>,
    pub examples: Vec<PairText>,
    pub sha256: String,
    #[serde(default, skip_serializing_if = "SourceFile::is_unknown")]
    pub source: SourceFile,
    /// Of the pair files that training reads, which checks them. Empty: not known, in runs of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub train_sha256: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub validation_sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MalformedRow {
    /// 1-based.
    pub line: u64,
    /// `text`, in a tree `prompt.replies[0].text`, in a JSON array `[3].text`; `row` if it is no single field.
    pub field: String,
    pub problem: String,
}

/// A row that could be read and was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedRow {
    /// In the file, 1-based.
    pub row: u64,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairText {
    pub instruction: String,
    pub response: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelOutput {
    pub id: String,
    /// As lists show it; empty in runs of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub architecture: String,
    pub parameters: u64,
    pub hidden_size: u32,
    pub layers: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub ffn_size: u32,
    pub vocabulary: u32,
    pub context: u32,
    pub tied_head: bool,
    /// As stored: "Q4_1, Q8_0, F32".
    pub stored_as: String,
    pub size_bytes: u64,
    pub sha256: String,
    pub tokenizer_sha256: String,
}

/// What encoding did to the training targets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetIntegrity {
    pub pairs: u64,
    /// Responses that were shortened so that the target fits.
    pub shortened: u64,
    /// Pairs left out since their target alone does not fit.
    pub dropped: u64,
    /// Pairs that lost target tokens (only with truncation `right`).
    pub targets_cut: u64,
    pub targets_lost: u64,
    pub tokens: u64,
    pub supervised_tokens: u64,
    /// How the first pairs look to the model.
    pub examples: Vec<Vec<MaskedToken>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskedToken {
    pub text: String,
    pub supervised: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainOutput {
    pub steps: u32,
    /// Of the last step, nats per supervised token; 0 if there was none.
    pub loss: f64,
    /// Before the first step, where there are validation pairs.
    pub validation_loss_before: Option<f64>,
    pub validation_loss: Option<f64>,
    pub trainable: u64,
    /// Of base + adapter, as PEFT counts.
    pub trainable_percent: f64,
    /// Of all sessions, like `seconds` and `tokens_per_s`.
    pub tokens: u64,
    /// Of the last session.
    pub seconds: f64,
    pub tokens_per_s: f64,
    /// The process's largest resident memory so far; 0 if the system does not report it.
    pub peak_memory_bytes: u64,
    pub adapter_sha256: String,
    pub template_sha256: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateOutput {
    pub pairs: u64,
    /// Of all sessions: a resumed run adds up.
    pub seconds: f64,
    /// Of all pairs, whichever session generated them.
    pub tokens: u64,
    /// While decoding, in the session that finished the run. 0: not known, in runs of earlier versions.
    #[serde(default)]
    pub tokens_per_s: f64,
    pub scores: Box<ScoreSummary>,
    #[serde(default)]
    pub corpus: CorpusSummary,
}

/// What reading a corpus gave; every row that has no pair is counted here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CorpusSummary {
    pub source: SourceFile,
    /// Rows read, malformed ones included.
    pub rows: u64,
    /// Rows left out, by reason.
    pub dropped: Vec<Count>,
    /// The first of them, those beyond the limit aside.
    pub dropped_rows: Vec<DroppedRow>,
    pub malformed_count: u64,
    /// The first of them.
    pub malformed: Vec<MalformedRow>,
    pub sha256: String,
}

impl CorpusSummary {
    /// Of a run made before corpora were summarised.
    pub fn is_unknown(&self) -> bool {
        self.sha256.is_empty()
    }
}

/// What a person's decisions and the cell's settings make of the generated pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurateOutput {
    pub counts: CurationCounts,
    /// Pairs that are kept: by a decision, or by the settings where there is none.
    pub kept: u64,
    /// Pairs without a decision that the settings drop.
    pub dropped_by_settings: u64,
    /// Of the decisions, edits and notes that were used.
    pub curation_sha256: String,
    /// Of `pairs.jsonl`, which reports read.
    pub pairs_sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportOutput {
    pub title: String,
    pub pairs: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareLink {
    pub id: i64,
    pub created_ms: i64,
    pub revoked: bool,
    /// `/r/TOKEN`; only in the answer that made the link, since only a hash of it is kept.
    pub path: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// Write a checkpoint first, so that it can be resumed exactly here.
    #[default]
    Save,
    /// Only what is saved already stays.
    Discard,
}
