//! Writing instructions for responses: batched decoding with a cache of keys and values, sampling, stop rules.

use crate::control::Control;
use crate::lora::Adapter;
use crate::model::BaseModel;
use crate::template::EncodedPrompt;
use crate::Result;

#[derive(Clone, Debug, PartialEq)]
pub struct GenerateConfig {
    /// 0 is greedy.
    pub temperature: f64,
    pub top_p: f64,
    /// 0 keeps every token.
    pub top_k: usize,
    pub repetition_penalty: f64,
    pub max_new_tokens: usize,
    pub batch_size: usize,
    pub seed: u64,
}

impl GenerateConfig {
    pub fn validate(&self) -> Result<()> {
        todo!()
    }
}

/// One row to be written for. `index` names it in events and seeds its random stream.
#[derive(Clone, Debug)]
pub struct GenerateRow {
    pub index: u32,
    pub prompt: EncodedPrompt,
}

#[derive(Clone, Debug, PartialEq)]
pub enum GenerateEvent {
    /// Text that a row grew by.
    Token { index: u32, text: String },
    Row(GeneratedRow),
}

#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedRow {
    pub index: u32,
    /// Without the stop token.
    pub ids: Vec<u32>,
    pub text: String,
    /// Ended by a stop token rather than by the limit.
    pub ended: bool,
    pub response_tokens_cut: usize,
}

/// Writes for every row; rows come as they finish. Stopped by `control`: [`crate::Error::Stopped`], what was given out stays valid.
pub fn generate(
    model: &BaseModel,
    adapter: Option<&Adapter>,
    rows: &[GenerateRow],
    stop_ids: &[u32],
    config: &GenerateConfig,
    control: &Control,
    on_event: &mut dyn FnMut(GenerateEvent),
) -> Result<()> {
    let _ = (model, adapter, rows, stop_ids, config, control, on_event);
    todo!()
}
