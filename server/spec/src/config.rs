//! Cell configurations: every setting with its default, range, label and help, each declared once.
//!
//! Reading stored data tolerates unknown fields and earlier spellings. Input of a person goes through [`Settings::set`], which
//! refuses unknown keys and values out of range.

use serde::{Deserialize, Deserializer, Serialize};

use crate::setting::*;
use crate::{AppError, Decision, GeneratedPair};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellKind {
    Data,
    Model,
    Train,
    Generate,
    Curate,
    Report,
    Note,
}

impl CellKind {
    pub const ALL: [CellKind; 7] =
        [Self::Data, Self::Model, Self::Train, Self::Generate, Self::Curate, Self::Report, Self::Note];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Model => "model",
            Self::Train => "train",
            Self::Generate => "generate",
            Self::Curate => "curate",
            Self::Report => "report",
            Self::Note => "note",
        }
    }

    /// The kinds of cell that are needed above this one: its inputs are the nearest of each.
    pub fn inputs(self) -> &'static [CellKind] {
        match self {
            Self::Data | Self::Model | Self::Note => &[],
            Self::Train => &[Self::Data, Self::Model],
            Self::Generate => &[Self::Model, Self::Train],
            Self::Curate => &[Self::Generate],
            Self::Report => &[Self::Data, Self::Model, Self::Train, Self::Generate],
        }
    }

    /// The kinds of cell that are used where there is one above, of the same inputs.
    pub fn optional_inputs(self) -> &'static [CellKind] {
        if self == Self::Report { &[Self::Curate] } else { &[] }
    }

    /// The settings of a cell of this kind.
    pub fn settings(self) -> &'static [Setting] {
        match self {
            Self::Data => DataConfig::SETTINGS,
            Self::Model => ModelConfig::SETTINGS,
            Self::Train => TrainConfig::SETTINGS,
            Self::Generate => GenerateConfig::SETTINGS,
            Self::Curate => CurateConfig::SETTINGS,
            Self::Report => ReportConfig::SETTINGS,
            Self::Note => NoteConfig::SETTINGS,
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
    Curate(CurateConfig),
    Report(ReportConfig),
    Note(NoteConfig),
}

/// The configuration of whichever kind it is.
macro_rules! each {
    ($config:expr, $part:ident => $body:expr) => {
        match $config {
            CellConfig::Data($part) => $body,
            CellConfig::Model($part) => $body,
            CellConfig::Train($part) => $body,
            CellConfig::Generate($part) => $body,
            CellConfig::Curate($part) => $body,
            CellConfig::Report($part) => $body,
            CellConfig::Note($part) => $body,
        }
    };
}

impl CellConfig {
    pub fn kind(&self) -> CellKind {
        match self {
            Self::Data(_) => CellKind::Data,
            Self::Model(_) => CellKind::Model,
            Self::Train(_) => CellKind::Train,
            Self::Generate(_) => CellKind::Generate,
            Self::Curate(_) => CellKind::Curate,
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
            CellKind::Curate => Self::Curate(CurateConfig::default()),
            CellKind::Report => Self::Report(ReportConfig::default()),
            CellKind::Note => Self::Note(NoteConfig::default()),
        }
    }

    /// As [`Settings::get`].
    pub fn get(&self, key: &str) -> Option<String> {
        each!(self, part => part.get(key))
    }

    /// As [`Settings::set`].
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), AppError> {
        each!(self, part => part.set(key, text))
    }

    /// As [`Settings::values`].
    pub fn values(&self) -> Vec<(&'static Setting, String)> {
        each!(self, part => part.values())
    }

    /// As [`Settings::validate`].
    pub fn validate(&self) -> Result<(), AppError> {
        each!(self, part => part.validate())
    }
}

choices! {
    DataFormat {
        /// Detected from the file's first rows.
        Auto "auto" "Auto-detect",
        OasstMessages "oasst_messages" "OASST1, one message per line",
        OasstTrees "oasst_trees" "OASST1, one tree per line",
        Lima "lima" "LIMA",
        Pairs "pairs" "Pairs (instruction, response)",
        Alpaca "alpaca" "Alpaca",
    }
}

choices! {
    Turns {
        /// Only a conversation's first exchange (the paper's rule).
        First "first" "First exchange only",
        Any "any" "Any exchange",
    }
}

settings! {
    /// The pair rule: which exchanges of a conversation file become (instruction, response) pairs.
    DataConfig "" {
        file: String = "sample-pairs".to_owned(), Primary, file(), "Data file",
            "Conversations or pairs as JSONL or JSON, optionally compressed with gzip.";
        limit: Option<u32> = Some(3200), Primary, whole(1, 10_000_000), "Max pairs",
            "Maximum number of pairs to keep, those with the highest quality labels first. Empty: all pairs.";
        format: DataFormat = DataFormat::Auto, PairRule, choice(DataFormat::CHOICES), "Format",
            "How the rows of the file are laid out.";
        turns: Turns = Turns::First, PairRule, choice(Turns::CHOICES), "Turns",
            "Which exchanges of a conversation become pairs. The paper uses only the first.";
        language: String = "en".to_owned(), PairRule, line(35).off("any"), "Language",
            "Language code that instruction and response must have, such as en. Empty: any language. OASST1 messages without a language are dropped; rows of other formats without one are kept.";
        best_reply_only: bool = true, PairRule, toggle(), "Top-ranked reply only",
            "Keep only the reply that annotators ranked first (rank 0). OASST1 replies without a rank are dropped; rows of other formats without one are kept.";
        quality_above: Option<f64> = Some(0.6), PairRule, number(0.0, 1.0), "Min quality (exclusive)",
            "The quality labels of instruction and response must be greater than this. Empty: no check. OASST1 messages without labels are dropped; rows of other formats without labels are kept.";
        words_above: u32 = 5, PairRule, whole(0, 1_000_000), "Min words (exclusive)",
            "Instruction and response must each have more words than this.";
        validation_split ["validation_fraction"]: f64 = 0.1, Split, number(0.0, 0.9), "Validation split",
            "Fraction of conversations held out for the evaluation loss. Whole conversation trees are held out, so no conversation is on both sides.";
        split_seed: u64 = 1, Split, whole(0, u64::MAX), "Split seed",
            "Seed of the random split. The same seed gives the same split.";
    }
}

settings! {
    ModelConfig "" {
        model: String = "smollm2-135m-instruct".to_owned(), Primary, model(), "Base model",
            "A model of the Llama architecture. Its weights are never changed: training adds an adapter.";
    }
}

choices! {
    /// The seven linear layers of a Llama block, by their Hugging Face names.
    Projection {
        QProj "q_proj" "q_proj",
        KProj "k_proj" "k_proj",
        VProj "v_proj" "v_proj",
        OProj "o_proj" "o_proj",
        GateProj "gate_proj" "gate_proj",
        UpProj "up_proj" "up_proj",
        DownProj "down_proj" "down_proj",
    }
}

/// What ends a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndMarker {
    /// The tokenizer's EOS token.
    Eos,
    None,
    /// A literal text; where it is one token, that token. Generation stops at single tokens only, so a text of several
    /// ordinary ones is followed by EOS in training.
    Text(String),
}

impl From<&str> for EndMarker {
    fn from(text: &str) -> Self {
        match text {
            "eos" => Self::Eos,
            "none" => Self::None,
            text => Self::Text(text.to_owned()),
        }
    }
}

/// Reads `{"text": "…"}` as it is written, and a plain text as earlier versions wrote it.
impl<'de> Deserialize<'de> for EndMarker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored {
            Plain(String),
            Tagged { text: String },
        }
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Plain(text) => text.as_str().into(),
            Stored::Tagged { text } => Self::Text(text),
        })
    }
}

impl Value for EndMarker {
    fn show(&self) -> String {
        match self {
            Self::Eos => "eos".to_owned(),
            Self::None => "none".to_owned(),
            Self::Text(text) => text.clone(),
        }
    }
    fn read(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

pub const RESPONSE_SLOT: &str = "{response}";
pub const INSTRUCTION_SLOT: &str = "{instruction}";

settings! {
    /// The text around a response and an instruction.
    TemplateConfig "template." {
        prompt: String = "### Response:\n{response}\n\n### Instruction:\n".to_owned(), Template, slotted(RESPONSE_SLOT, INSTRUCTION_SLOT), "Prompt template",
            "The text that the model reads. Must contain {response} exactly once.";
        target: String = INSTRUCTION_SLOT.to_owned(), Template, slotted(INSTRUCTION_SLOT, RESPONSE_SLOT), "Target template",
            "The text that the model learns to write. Must contain {instruction} exactly once.";
        end: EndMarker = EndMarker::Eos, Template, visible(MAX_TEMPLATE_BYTES), "EOS token",
            "What ends every target: eos for the tokenizer's EOS token, none, or a literal text.";
        generation_prompt: Option<String> = None, Template, slotted(RESPONSE_SLOT, INSTRUCTION_SLOT), "Generation prompt template",
            "A prompt template for generation that differs from the one for training, as in the 2024 recipe. Empty: the same as in training.";
    }
}

impl TemplateConfig {
    /// The 2024 report's templates: one for training, another for generation, and no EOS token.
    pub fn seed_recipe() -> Self {
        Self {
            prompt: "Instruction: {response}\n\nResponse:".to_owned(),
            target: " {instruction}\n\n".to_owned(),
            end: EndMarker::None,
            generation_prompt: Some("Response: {response}\n\nInstruction:".to_owned()),
        }
    }
}

choices! {
    /// How the learning rate changes after warmup.
    Schedule {
        /// Down to 0 over the remaining steps.
        Linear "linear" "Linear",
        /// Half a cosine, down to 0.
        Cosine "cosine" "Cosine",
        Constant "constant" "Constant",
    }
}

choices! {
    LossOn {
        /// The instruction and its end marker.
        Target "target" "Completion only",
        /// Every token but the first, as in the 2024 recipe.
        All "all" "Full sequence",
    }
}

choices! {
    Truncation {
        /// The response loses tokens at its end; the target and the template's own text stay whole.
        Response "response" "Shorten the response",
        /// Whatever lies beyond the limit is cut, the target first, as in the 2024 recipe.
        Right "right" "Truncate right",
    }
}

settings! {
    TrainConfig "" {
        epochs ["num_train_epochs"]: u32 = 2, Primary, whole(1, 10_000), "Epochs",
            "Number of passes over the training pairs.";
        learning_rate: f64 = 1e-3, Primary, number(0.0, 1.0), "Learning rate",
            "Peak learning rate of AdamW.";
        batch_size: u32 = 4, Primary, whole(1, 4096), "Batch size",
            "Pairs per forward pass. A larger batch needs more memory.";
        max_seq_length ["max_length"]: u32 = 512, Primary, whole(8, 1 << 20), "Max sequence length",
            "Maximum number of tokens of a training sequence: prompt, response and instruction together.";
        rank: u32 = 16, Primary, whole(1, 1024), "LoRA rank (r)",
            "Rank of the low-rank factors. A higher rank has more capacity and needs more memory.";
        alpha: f64 = 32.0, Lora, above(0.0, 1e6), "LoRA alpha",
            "The update is scaled by alpha / r, or by alpha / sqrt(r) with rank-stabilized LoRA.";
        use_rslora: bool = false, Lora, toggle(), "Rank-stabilized LoRA",
            "Scale the update by alpha / sqrt(r) instead of alpha / r (Kalajdzievski, arXiv:2312.03732), which keeps it from shrinking as the rank grows.";
        dropout: f64 = 0.1, Lora, below(0.0, 1.0), "LoRA dropout",
            "Probability that an input of the adapter is set to zero in a training step.";
        target_modules ["targets"]: Vec<Projection> = vec![Projection::QProj, Projection::VProj], Lora, set(Projection::CHOICES), "Target modules",
            "Linear layers that get an adapter.";
        max_steps: Option<u32> = None, Optimizer, whole(1, 10_000_000), "Max steps",
            "Maximum number of optimizer steps. Empty: as many as the epochs need.";
        lr_scheduler ["schedule"]: Schedule = Schedule::Linear, Optimizer, choice(Schedule::CHOICES), "LR scheduler",
            "How the learning rate changes after warmup. Linear and cosine decay to 0.";
        warmup_steps: u32 = 4, Optimizer, whole(0, 1_000_000), "Warmup steps",
            "Optimizer steps during which the learning rate rises linearly from 0.";
        weight_decay: f64 = 0.01, Optimizer, number(0.0, 1.0), "Weight decay",
            "Decoupled weight decay of AdamW.";
        max_grad_norm ["clip_norm"]: f64 = 1.0, Optimizer, number(0.0, 1e6), "Max gradient norm",
            "Gradient clipping: gradients are scaled down to at most this global norm. 0 disables clipping.";
        seed: u64 = 1, Optimizer, whole(0, u64::MAX), "Seed",
            "Seeds shuffling, dropout and the initialization of the LoRA factors.";
        gradient_accumulation_steps ["accumulation"]: u32 = 2, Batching, whole(1, 4096), "Gradient accumulation steps",
            "Forward passes per optimizer step. The effective batch size is the batch size times this.";
        truncation: Truncation = Truncation::Response, Batching, choice(Truncation::CHOICES), "Truncation",
            "What to cut when a pair exceeds the max sequence length. Truncating right (as in the 2024 recipe) can cut the instruction.";
        gradient_checkpointing ["recompute_layers"]: bool = false, Batching, toggle().same_results(), "Gradient checkpointing",
            "Recompute activations in the backward pass: the same results with about a quarter of the activation memory, more slowly.";
        loss_on: LossOn = LossOn::Target, Template, choice(LossOn::CHOICES), "Train on",
            "Tokens with a loss: the instruction and its EOS token, or the full sequence (as in the 2024 recipe).";
        eval_steps ["evaluate_every"]: Option<u32> = None, Evaluation, whole(1, 10_000_000), "Eval steps",
            "Optimizer steps between measurements of the evaluation loss. It is always measured before the first step and after each epoch. Empty: only then.";
        save_steps ["checkpoint_every"]: Option<u32> = Some(10), Evaluation, whole(1, 10_000_000), "Save steps",
            "Optimizer steps between checkpoints. One is always saved after each epoch. Empty: only then.";
        keep_checkpoints: u32 = 2, Evaluation, whole(1, 1_000_000).same_results(), "Checkpoints to keep",
            "Number of the most recent checkpoints to keep, besides the one with the lowest evaluation loss. Older ones are deleted.";
        samples: u32 = 2, Evaluation, whole(0, 64), "Sample generations per checkpoint",
            "Validation pairs whose instruction is generated at each checkpoint.";
        .. template: TemplateConfig;
    }
}

choices! {
    /// The precision in which the linear layers and the LM head compute.
    WeightFormat {
        F32 "f32" "float32",
        /// Blocks of 32 values with a scale each, for weights and activations. On the CPU's fused kernels, for models whose widths are
        /// multiples of 32.
        Int8 "int8" "int8 quantized",
    }
}

choices! {
    RankBy {
        /// By the mean ROUGE-L F1 against the other candidates (minimum Bayes risk decoding; Kumar & Byrne 2004).
        Agreement "agreement" "Agreement (MBR)",
        /// By the base model's likelihoods: PMI plus cycle score, minus copies.
        Likelihood "likelihood" "Likelihood (PMI + cycle)",
    }
}

settings! {
    GenerateConfig "" {
        file: String = "sample-responses".to_owned(), Primary, file(), "Corpus",
            "Responses to write instructions for: LIMA, pairs or Alpaca, as JSONL or JSON.";
        limit: Option<u32> = None, Primary, whole(1, 10_000_000), "Max rows",
            "Maximum number of responses; the first rows of the file are used. Empty: all rows.";
        temperature: f64 = 0.7, Primary, number(0.0, 10.0), "Temperature",
            "Sampling temperature. 0 is greedy decoding; higher values give more varied text.";
        max_new_tokens ["max_new"]: u32 = 64, Primary, whole(1, 1 << 16), "Max new tokens",
            "Maximum number of tokens per instruction. An instruction that has not ended by then is cut off and tagged.";
        batch_size: u32 = 16, Primary, whole(1, 1024), "Batch size",
            "Instructions generated at the same time.";
        candidates: u32 = 1, Candidates, whole(1, 64), "Candidates per response",
            "Number of instructions generated for each response; the one that ranks first becomes the pair. More than 1 needs a temperature above 0.";
        rank_by: RankBy = RankBy::Agreement, Candidates, choice(RankBy::CHOICES), "Rank candidates by",
            "Candidates without a failure tag come first. Agreement: mean ROUGE-L against the other candidates. Likelihood: how much response and instruction raise each other's likelihood under the base model, minus copying; about one more reading of the response for each candidate.";
        evaluated_pairs: u32 = 20, Candidates, whole(0, 10_000_000), "Evaluated pairs",
            "Number of pairs, from the first row on, for which the base model without the adapter is asked too: it generates a baseline instruction, and its likelihoods say whether instruction and response belong together. 0: none.";
        top_p: f64 = 0.9, Sampling, above(0.0, 1.0), "Top-p",
            "Nucleus sampling: sample from the smallest set of tokens whose probabilities sum to at least p. 1 disables it.";
        top_k: u32 = 50, Sampling, whole(0, 1_000_000), "Top-k",
            "Sample from the k most likely tokens. 0 disables it.";
        repetition_penalty: f64 = 1.0, Sampling, number(0.1, 10.0), "Repetition penalty",
            "Values above 1 penalize tokens that the prompt or the generated text contains already. 1 disables it.";
        seed: u64 = 1, Sampling, whole(0, u64::MAX), "Seed",
            "Each row samples from its own random stream, derived from this seed.";
        weights: WeightFormat = WeightFormat::F32, Sampling, choice(WeightFormat::CHOICES), "Precision",
            "int8 quantization is faster on a CPU, about twice where the CPU has instructions for it. Outputs differ slightly; quality is on par.";
    }
}

settings! {
    /// What becomes of pairs that a person has not decided on. A decision always wins.
    CurateConfig "" {
        undecided: Decision = Decision::Keep, Primary, choice(Decision::CHOICES), "Undecided pairs",
            "Whether pairs without a decision and without a failure tag are kept.";
        undecided_tagged: Decision = Decision::Drop, Primary, choice(Decision::CHOICES), "Undecided pairs with a failure tag",
            "Whether pairs without a decision that carry a failure tag are kept. A pair whose instruction was edited counts as one without.";
    }
}

impl CurateConfig {
    /// Whether a pair is kept.
    pub fn keeps(&self, pair: &GeneratedPair) -> bool {
        self.keeps_with(pair.decision(), pair.is_tagged())
    }

    /// Whether a pair with this decision is kept.
    pub fn keeps_with(&self, decision: Option<Decision>, tagged: bool) -> bool {
        let usual = if tagged { self.undecided_tagged } else { self.undecided };
        decision.unwrap_or(usual) == Decision::Keep
    }
}

settings! {
    ReportConfig "" {
        title: String = "Instruction backtranslation".to_owned(), Primary, line(200), "Title",
            "Heading of the report.";
        summary: String = String::new(), Primary, text(1 << 16), "Summary",
            "What the author wants readers to know, as plain text.";
        data_notice: String = String::new(), Primary, text(1 << 16), "Data notice",
            "Licence and origin of the data, included in every copy of the report.";
    }
}

settings! {
    NoteConfig "" {
        text: String = String::new(), Primary, text(1 << 17), "Text",
            "Plain text.";
    }
}

#[cfg(test)]
mod tests;
