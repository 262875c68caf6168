//! The text around a response and an instruction, its end marker, and how a pair becomes token ids.
//!
//! Invariants: the prompt's ids are the same in training and in generation; with [`Truncation::Response`] a target
//! is never cut and ends in the end marker; text of the data never acts as a special token.

use serde::{Deserialize, Serialize};

use crate::tokenizer::Tokenizer;
use crate::{Result, data::Pair};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateText {
    /// Holds `{response}` once.
    pub prompt: String,
    /// Holds `{instruction}` once.
    pub target: String,
    pub end: EndMarker,
    /// None: generation uses `prompt`.
    pub generation_prompt: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndMarker {
    Eos,
    None,
    /// A literal text; where it is one special token, that token.
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    Response,
    Right,
}

/// A template made ready for one tokenizer.
pub struct Template {
    text: TemplateText,
    sha256: String,
    // compiled: segments of special ids and texts around the slot
}

/// One pair as the model reads it: `ids = prompt ++ target`, the target with its end marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPair {
    pub ids: Vec<u32>,
    /// Length of the prompt within `ids`.
    pub prompt_len: usize,
    pub response_tokens_cut: usize,
    pub target_tokens_cut: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPrompt {
    pub ids: Vec<u32>,
    pub response_tokens_cut: usize,
}

impl Template {
    /// Refuses a text without its slot, or with it twice, by field name.
    pub fn new(text: TemplateText, tokenizer: &Tokenizer) -> Result<Self> {
        let _ = (text, tokenizer);
        todo!()
    }

    /// None: the target alone (with the prompt's fixed part) does not fit into `max_length`; such a pair is dropped and counted.
    pub fn encode_pair(&self, tokenizer: &Tokenizer, pair: &Pair, max_length: usize, truncation: Truncation) -> Result<Option<EncodedPair>> {
        let _ = (tokenizer, pair, max_length, truncation);
        todo!()
    }

    /// The generation prompt in at most `max_prompt` tokens, shortened by the same rule as in training.
    pub fn encode_prompt(&self, tokenizer: &Tokenizer, response: &str, max_prompt: usize) -> Result<EncodedPrompt> {
        let _ = (tokenizer, response, max_prompt);
        todo!()
    }

    /// Ids that end a generated instruction: the end marker's, and always the tokenizer's EOS.
    pub fn stop_ids(&self) -> &[u32] {
        todo!()
    }

    /// The generated text cut where the template's own text begins to repeat, and trimmed: what follows the target's slot.
    pub fn extract<'a>(&self, generated: &'a str) -> &'a str {
        generated.trim()
    }

    pub fn text(&self) -> &TemplateText {
        &self.text
    }

    /// Of the template's canonical JSON.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}
