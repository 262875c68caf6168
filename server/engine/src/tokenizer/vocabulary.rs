//! The vocabulary of a GGUF file: tokens, their types and the ids of the special ones, checked against one another.

use serde_json::{Map, Value, json};

use super::SpecialTokens;
use super::bounds::MAX_TOKEN;
use crate::Result;
use crate::model::gguf::Metadata;

/// `tokenizer.ggml.token_type`.
pub const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

pub struct GgufVocabulary<'a> {
    pub metadata: &'a Metadata,
    pub tokens: Vec<&'a str>,
    pub types: Vec<i32>,
}

impl<'a> GgufVocabulary<'a> {
    pub fn read(metadata: &'a Metadata, vocabulary: usize) -> Result<Self> {
        let key = "tokenizer.ggml.tokens";
        let texts = metadata.texts(key)?.ok_or_else(|| metadata.problem(key, "is missing"))?;
        if texts.len() == 0 || texts.len() > vocabulary {
            let problem = format!("has {} tokens; the model has {vocabulary} rows", texts.len());
            return Err(metadata.problem(key, problem));
        }
        if let Some(index) = texts.iter().position(|token| token.len() > MAX_TOKEN) {
            return Err(metadata.problem(key, format!("token {index} is longer than {MAX_TOKEN} bytes")));
        }
        let tokens: Vec<&str> = texts.iter().collect();
        let key = "tokenizer.ggml.token_type";
        let types = metadata.integers(key)?.unwrap_or_else(|| vec![NORMAL; tokens.len()]);
        if types.len() != tokens.len() {
            return Err(metadata.problem(key, format!("has {} items for {} tokens", types.len(), tokens.len())));
        }
        Ok(Self { metadata, tokens, types })
    }

    fn id(&self, key: &str) -> Result<Option<u32>> {
        let Some(id) = self.metadata.unsigned(key)? else { return Ok(None) };
        if id >= self.tokens.len() as u64 {
            return Err(self.metadata.problem(key, format!("is {id}; there are {} tokens", self.tokens.len())));
        }
        Ok(Some(id as u32))
    }

    /// sentencepiece's own ids if the file names none. A chat model ends its turns with another token than its texts.
    pub fn special_tokens(&self, adds_bos: bool) -> Result<SpecialTokens> {
        let is_sentencepiece = self.metadata.text("tokenizer.ggml.model")? == Some("llama");
        let customary = |id: u32| (is_sentencepiece && self.tokens.len() > 2).then_some(id);
        let key = "tokenizer.ggml.eos_token_id";
        let mut eos = vec![self.id(key)?.or(customary(2)).ok_or_else(|| self.metadata.problem(key, "is missing"))?];
        for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
            eos.extend(self.id(key)?);
        }
        Ok(SpecialTokens {
            bos: self.id("tokenizer.ggml.bos_token_id")?.or(customary(1)),
            eos,
            adds_bos: self.metadata.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(adds_bos),
        })
    }

    pub fn unknown(&self) -> Result<Option<&'a str>> {
        Ok(self.id("tokenizer.ggml.unknown_token_id")?.map(|id| self.tokens[id as usize]))
    }

    /// Text to id; of equal texts the first.
    pub fn vocabulary(&self) -> Map<String, Value> {
        let mut vocabulary = Map::new();
        for (id, token) in self.tokens.iter().enumerate().rev() {
            vocabulary.insert((*token).to_owned(), json!(id));
        }
        vocabulary
    }

    /// In the form of `added_tokens`: what is recognised as written, before anything else is done with a text.
    pub fn added(&self) -> Vec<Value> {
        let of_type = self.types.iter().zip(&self.tokens).enumerate();
        let added = of_type
            .filter(|(_, (kind, token))| matches!(**kind, UNKNOWN | CONTROL | USER_DEFINED) && !token.is_empty());
        added
            .map(|(id, (kind, token))| {
                json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": *kind != USER_DEFINED})
            })
            .collect()
    }
}
