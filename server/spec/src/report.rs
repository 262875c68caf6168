//! Generated pairs, their figures, and the report that freezes them.

use serde::{Deserialize, Deserializer, Serialize};

use crate::setting::{Value as _, choices};
use crate::{
    CorpusSummary, CurateConfig, CurateOutput, Curation, DataConfig, DataOutput, EvaluationPoint, GenerateConfig,
    ModelOutput, RatingSummary, ReportConfig, StepCurve, TargetIntegrity, TrainConfig, TrainOutput,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratedPair {
    /// Position among the rows that were used, 0-based; names the pair's random stream.
    pub index: u32,
    /// Row of the corpus file, 1-based. None in pairs of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The row's own `id` and `url`, if it has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The row's own `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
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
    /// The row of the first earlier pair whose instruction, or response, this one's nearly equals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction_duplicate_of: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_duplicate_of: Option<u64>,
    /// Best first, as the cell ranks them: `generated` is the first of them. Empty where one instruction was generated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// What the base model without the adapter generated for this response, by the same settings. None: not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// None: not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likelihood: Option<Box<PairLikelihood>>,
    /// What a person decided; stored apart from the pair, and frozen with it into reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curation: Option<Curation>,
}

/// A pair that was generated anew from the files, weights, settings and seed of its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    pub index: u32,
    pub row: u64,
    /// As the run has it.
    pub generated: String,
    /// As it came out now.
    pub again: String,
}

impl Replayed {
    /// Pairs in one command.
    pub const MOST: usize = 64;

    pub fn is_identical(&self) -> bool {
        self.generated == self.again
    }
}

/// One of several instructions that were generated for a response.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub text: String,
    pub tokens: u32,
    /// Ended by itself, not by the limit.
    pub ended: bool,
    /// What it is ranked by, after failure tags; higher is better. Its meaning depends on `rank_by`.
    pub rank_score: f64,
    #[serde(deserialize_with = "known_tags")]
    pub tags: Vec<Tag>,
}

/// Whether instruction and response belong together, by the likelihoods of the base model without the adapter; each
/// beside what it is for the reference and for the instruction of another pair. docs/FORMATS.md has the formulas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairLikelihood {
    /// ln p(response | instruction) - ln p(response), in nats per response token.
    pub cycle: PerText,
    /// Pointwise mutual information: ln p(instruction | response) - ln p(instruction), in nats per instruction token.
    pub pmi: PerText,
    /// Place of the own response among the evaluated ones, by ln p(instruction | response); 1 is the best.
    pub rank: PerText,
    /// Among how many responses.
    pub ranked: u32,
    /// Mean grade from 1 to 5 by the probabilities of the digits.
    pub grade: PerText,
}

/// A value for the generated instruction, the reference and another pair's instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerText {
    pub generated: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<f64>,
    /// Another pair's generated instruction with this response. None with a single pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffled: Option<f64>,
    /// Another pair's reference with this response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_shuffled: Option<f64>,
}

/// Metrics of one pair; docs/FORMATS.md says how each is computed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairScores {
    pub words: u32,
    /// F1 against the reference, 0..=1 (Lin 2004, with equal weights for precision and recall).
    pub rouge_l: Option<f64>,
    /// Longest run of words copied from the response.
    pub copied_run: u32,
    /// Extractive coverage (Grusky et al., arXiv:1804.11283, section 3): share of the instruction's words that lie in fragments
    /// of the response, 0..=1.
    pub coverage: f64,
    /// Extractive density: sum of the squared fragment lengths over the instruction's words.
    pub density: f64,
    /// In [`Tag::ALL`]'s order.
    #[serde(deserialize_with = "known_tags")]
    pub tags: Vec<Tag>,
}

choices! {
    /// Failure tags: each a rule that a person can check by reading (docs/FORMATS.md has the rules). They mark what to look at; none is proof.
    Tag {
        /// The text contains a label or mark of a prompt: `Response:`, `Instruction:` (with a capital), `### Response`,
        /// `### Instruction`, an unfilled slot, or a chat mark such as `<|im_start|>` or `[INST]`.
        TemplateLeak "template_leak" "template leak",
        /// The text repeats what it was given: its first eight words (all, if it has four to seven) are the response's
        /// first, or the whole of it, at least four words, is in the response in one piece.
        Echo "echo" "prompt echo",
        /// A run of at least 8 words is in the response.
        Copied "copied" "copied",
        /// Nothing is asked: no question mark, no sentence that begins with a verb of request ("Describe ...") or as a
        /// question does ("How to ...", "Is there ..."), no such verb after a comma, no phrase such as "I want" or "please".
        /// The steps of a list are not considered. Texts mostly in other than Latin letters are not judged.
        NotAnInstruction "not_an_instruction" "not an instruction",
        /// No words.
        Empty "empty" "empty",
        /// Known to have been cut off by the token limit.
        NoEnd "no_end" "hit token limit",
        /// A block of 1 to 40 pieces (between white space) occurs three times or more in a row and fills at least 12
        /// pieces, or a line of four words or more occurs three times.
        Loop "loop" "repetition",
    }
}

/// Tags of a later version are passed over, so that its pairs stay readable.
fn known_tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Tag>, D::Error> {
    Ok(Vec::<String>::deserialize(deserializer)?.iter().filter_map(|name| Tag::read(name)).collect())
}

fn known_counts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TagCount>, D::Error> {
    let counts = Vec::<crate::Count>::deserialize(deserializer)?;
    Ok(counts.iter().filter_map(|count| Some(TagCount { tag: Tag::read(&count.name)?, count: count.count })).collect())
}

/// How many pairs carry a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TagCount {
    #[serde(rename = "name")]
    pub tag: Tag,
    pub count: u64,
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
    /// Shuffled baseline: mean ROUGE-L F1 against another pair's reference (a fixed derangement by a seed); None with fewer than two
    /// references.
    pub rouge_l_shuffled: Option<f64>,
    /// Of the mean `rouge_l`, within 0..=1. None with fewer than two references, and in summaries of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rouge_l_interval: Option<Interval>,
    /// Of the mean of what each pair's ROUGE-L against its own reference has beyond that against the other pair's. None
    /// where `rouge_l_interval` is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rouge_l_gain_interval: Option<Interval>,
    /// In [`Tag::ALL`]'s order, zeros included.
    #[serde(deserialize_with = "known_counts")]
    pub tags: Vec<TagCount>,
    pub without_tags: u64,
    /// None with fewer than [`LengthBand::FEWEST`] references.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_band: Option<LengthBand>,
    /// By the source that the rows name, the largest first. Empty where they do not name two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceSummary>,
    /// None: not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_duplicates: Option<NearDuplicates>,
    /// None: not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likelihood: Option<Box<LikelihoodSummary>>,
    /// None: not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Box<BaselineSummary>>,
}

/// How long references are, and how many generated instructions are as long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LengthBand {
    /// 5th and 95th percentile of the references' words (nearest rank).
    pub low: u32,
    pub high: u32,
    /// Share of the generated instructions within, 0..=1.
    pub inside: Mean,
}

impl LengthBand {
    pub const FEWEST: usize = 20;
}

/// Pairs whose rows name the same source; the name is empty for rows that name none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceSummary {
    pub name: String,
    pub pairs: u64,
    /// Share, 0..=1.
    pub without_tags: Mean,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rouge_l: Option<Mean>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pmi: Option<Mean>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle: Option<Mean>,
}

/// How many pairs have an instruction, or a response, that nearly equals an earlier pair's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearDuplicates {
    pub instructions: u64,
    pub responses: u64,
}

/// Means of [`PairLikelihood`] over the evaluated pairs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LikelihoodSummary {
    pub pairs: u64,
    /// Responses among which the own one was ranked; the fewest, where pairs differ.
    pub ranked: u64,
    pub cycle: MeansPerText,
    pub pmi: MeansPerText,
    /// Pick-out rate: share of instructions whose own response is the most likely one to have them, 0..=1. Chance is the mean of 1
    /// over the number of responses.
    pub picked_out: MeansPerText,
    /// None where it cannot be told whether grades mean anything: fewer than two references.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeSummary>,
}

/// Grades, and whether they may be shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgeSummary {
    /// Probability that a reference with its own response is graded higher than one with another pair's (area under the ROC
    /// curve).
    pub separation: Mean,
    pub grade: MeansPerText,
}

impl JudgeSummary {
    /// Grades are shown only where they tell references with their own response from shuffled ones: the whole interval is
    /// above chance.
    pub fn qualifies(&self) -> bool {
        self.separation.interval.is_some_and(|interval| interval.low > 0.5)
    }
}

/// The means of a [`PerText`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeansPerText {
    pub generated: Mean,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Mean>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffled: Option<Mean>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    pub mean: f64,
    /// None for fewer than two values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

/// The base model without the adapter and the generated instructions, on the same responses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BaselineSummary {
    pub pairs: u64,
    pub generated: BaselineFigures,
    pub baseline: BaselineFigures,
    /// Of the mean difference in ROUGE-L, generated minus baseline. None with fewer than two references.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rouge_l_gain: Option<Mean>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BaselineFigures {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rouge_l: Option<Mean>,
    pub without_tags: u64,
    /// As [`TextFigures::copied`].
    pub copied: f64,
    pub median_words: f64,
}

/// A 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TextFigures {
    /// Of the texts that are not empty (an empty one has no length; the `empty` tag counts it). The mean of the middle two if their
    /// number is even; 0 without texts.
    pub median_words: f64,
    /// Share with a run of at least 8 words copied from the response, 0..=1.
    pub copied: f64,
    /// Means over all texts; an empty one counts 0.
    pub coverage: f64,
    pub density: f64,
    /// Distinct n-grams over all n-grams, of all texts together (Li et al., arXiv:1510.03055); none spans two texts. Falls as there
    /// are more texts: only sets of like size compare.
    pub distinct_1: f64,
    pub distinct_2: f64,
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
    #[serde(default, skip_serializing_if = "CorpusSummary::is_unknown")]
    pub corpus: CorpusSummary,
    pub scores: ScoreSummary,
    /// None without a curate cell, and in reports of earlier versions: nobody decided on the pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curate: Option<CuratedReport>,
    /// As they were when the report was made. None: nobody rated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratings: Option<RatingSummary>,
    /// None: not measured, in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    pub pairs: Vec<GeneratedPair>,
    pub provenance: Provenance,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CuratedReport {
    pub config: CurateConfig,
    pub output: CurateOutput,
}

/// Corpus responses that the model was trained on. Responses are compared without regard to case and white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlap {
    /// Corpus responses that were compared.
    pub responses: u64,
    /// Those of them that equal a training response.
    pub equal: u64,
    /// Those of them that nearly equal one, the equal ones included. None: not measured, in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near: Option<u64>,
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
    /// Of this report's JSON without this field, keys sorted and without spaces.
    pub report_sha256: String,
}
