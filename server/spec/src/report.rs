//! Generated pairs, their figures, and the report that freezes them.

use serde::{Deserialize, Serialize};

use crate::{
    Count, DataConfig, DataOutput, EvaluationPoint, GenerateConfig, ModelOutput, ReportConfig, StepCurve,
    TargetIntegrity, TrainConfig, TrainOutput,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratedPair {
    /// Row of the corpus, 0-based.
    pub index: u32,
    pub response: String,
    /// The instruction that a person wrote for this response, where the corpus has one.
    pub reference: Option<String>,
    /// The generated instruction, without its end marker.
    pub generated: String,
    pub tokens: u32,
    /// Ended by itself, not by the limit.
    pub ended: bool,
    /// Response tokens that were left out of a prompt that was too long.
    pub response_tokens_cut: u32,
    pub scores: PairScores,
}

/// Figures of one pair; how each is computed stands in docs/FORMATS.md.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairScores {
    pub words: u32,
    /// ROUGE-L F1 against the reference, 0..=1.
    pub rouge_l: Option<f64>,
    /// Longest run of words copied from the response.
    pub copied_run: u32,
    /// Share of the instruction's words that lie in fragments of the response, 0..=1.
    pub coverage: f64,
    /// Mean squared fragment length over the instruction's words.
    pub density: f64,
    /// Failure tags: `template_leak`, `echo`, `copied`, `not_an_instruction`, `empty`, `no_end`, `loop`.
    pub tags: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreSummary {
    pub pairs: u64,
    pub with_reference: u64,
    pub generated: TextFigures,
    /// The same figures of the references, where there are any.
    pub reference: Option<TextFigures>,
    /// Mean ROUGE-L F1 against the own reference, 0..=1.
    pub rouge_l: Option<f64>,
    /// Mean ROUGE-L F1 against another pair's reference: the floor below which a figure means nothing.
    pub rouge_l_shuffled: Option<f64>,
    /// How many pairs carry each failure tag.
    pub tags: Vec<Count>,
    pub without_tags: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TextFigures {
    pub median_words: f64,
    /// Share with a run of at least 8 words copied from the response, 0..=1.
    pub copied: f64,
    pub coverage: f64,
    pub density: f64,
    /// Distinct n-grams over all n-grams of all texts together, 0..=1.
    pub distinct_1: f64,
    pub distinct_2: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairsPage {
    /// Pairs that match the query, on all pages.
    pub total: u64,
    pub pairs: Vec<GeneratedPair>,
}

/// A frozen snapshot: nothing in it changes when the notebook does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub created_ms: i64,
    pub experiment: String,
    pub config: ReportConfig,
    pub data: DataOutput,
    pub data_config: DataConfig,
    pub model: ModelOutput,
    pub train: TrainOutput,
    pub train_config: TrainConfig,
    pub integrity: TargetIntegrity,
    /// All steps, in buckets. Empty in stored reports whose steps were thinned (named `steps`).
    #[serde(default, alias = "steps")]
    pub curve: StepCurve,
    pub evaluations: Vec<EvaluationPoint>,
    pub generate_config: GenerateConfig,
    pub scores: ScoreSummary,
    pub pairs: Vec<GeneratedPair>,
    pub provenance: Provenance,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Of this product.
    pub version: String,
    pub device: String,
    pub data_sha256: String,
    pub model_sha256: String,
    pub tokenizer_sha256: String,
    pub template_sha256: String,
    pub adapter_sha256: String,
    pub corpus_sha256: String,
    /// Of this report without this field.
    pub report_sha256: String,
}
