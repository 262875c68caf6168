//! Writing instructions for responses: batched decoding with a cache of keys and values, sampling, stop rules.
//!
//! Knows prompts as token ids only; templates, scores and files are others' matters.

mod decode;
mod sampler;

use serde::{Deserialize, Serialize};
use spec::GenerateConfig;

use crate::Result;
use crate::control::Control;
use crate::lora::Adapter;
use crate::model::BaseModel;
use crate::template::EncodedPrompt;

pub(crate) use decode::generate_with;

/// Greedy decoding: the most likely token, whatever the seed.
pub fn greedy() -> GenerateConfig {
    GenerateConfig { temperature: 0.0, top_p: 1.0, top_k: 0, ..GenerateConfig::default() }
}

/// One row to be written for. `index` names it in events and seeds its random stream.
#[derive(Clone, Debug)]
pub struct GenerateRow {
    pub index: u32,
    pub prompt: EncodedPrompt,
}

#[derive(Clone, Debug, PartialEq)]
pub enum GenerateEvent {
    /// Text that a row's first candidate grew by.
    Token { index: u32, text: String },
    /// All candidates of a row are finished.
    Row(GeneratedRow),
}

#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedRow {
    pub index: u32,
    /// Without the stop token.
    pub ids: Vec<u32>,
    pub text: String,
    /// The stop token that ended it; None where it ran to the limit.
    pub stopped_by: Option<u32>,
    pub response_tokens_cut: usize,
    /// Further candidates, in the order of their random streams; the first is above.
    pub others: Vec<GeneratedText>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratedText {
    /// As of the row.
    pub ids: Vec<u32>,
    pub text: String,
    pub stopped_by: Option<u32>,
}

impl GeneratedRow {
    /// Ended by a stop token rather than by the limit.
    pub fn ended(&self) -> bool {
        self.stopped_by.is_some()
    }
}

/// `config` is validated. Writes for every row; rows come as they finish. Stopped by `control`: [`crate::Error::Stopped`], what was given out
/// stays valid.
///
/// Each candidate of a row draws from a stream of its own, seeded by `config.seed`, the row's index and its number, so its text does not depend on which
/// rows are written beside it, but for the rounding of products whose number of rows differs (docs/FORMATS.md).
pub fn generate(
    model: &BaseModel,
    adapter: Option<&Adapter>,
    rows: &[GenerateRow],
    stop_ids: &[u32],
    config: &GenerateConfig,
    control: &Control,
    on_event: &mut dyn FnMut(GenerateEvent),
) -> Result<()> {
    let merged = adapter.map(|adapter| model.llama.merged(&adapter.set));
    let llama = merged.as_ref().unwrap_or(&model.llama);
    generate_with(model, llama, rows, stop_ids, config, control, on_event)
}
