//! The tokenizer that a GGUF file carries, put into the form of a `tokenizer.json`: byte-level BPE (`gpt2`) with the
//! pre-tokenizers that Llamas have, and sentencepiece BPE (`llama`). Others are refused by name.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Ends, Form, Tokenizer, sentencepiece};
use crate::model::gguf::Metadata;
use crate::{Error, Result};

/// `tokenizer.ggml.token_type`.
pub(super) const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// Above any token of a real vocabulary, which has runs of spaces and dashes as its longest.
const MAX_TOKEN: usize = 1 << 12;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Tokens, their types and the ids of the ends, checked against one another.
pub(super) struct Words<'a> {
    pub metadata: &'a Metadata,
    pub tokens: Vec<&'a str>,
    pub types: Vec<i32>,
}

impl Tokenizer {
    /// `vocabulary`: the rows of the embedding, above which no id may be.
    pub(crate) fn from_gguf(metadata: &Metadata, vocabulary: usize) -> Result<Self> {
        let words = Words::read(metadata, vocabulary)?;
        let (form, adds_bos) = match metadata.text("tokenizer.ggml.model")? {
            Some("gpt2") => byte_level(&words)?,
            Some("llama") => (sentencepiece::form(&words)?, true),
            Some(other) => {
                let what = format!("tokenizer.ggml.model {other:.40}");
                return Err(unsupported(metadata.path(), what, "gpt2 and llama are"));
            }
            None => return Err(metadata.problem("tokenizer.ggml.model", "is missing")),
        };
        let ends = words.ends(adds_bos)?;
        let form = Form::read(metadata.path(), form, Some(vocabulary))?;
        Ok(Self::build(metadata.path(), form, &ends))
    }
}

impl<'a> Words<'a> {
    fn read(metadata: &'a Metadata, vocabulary: usize) -> Result<Self> {
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

    /// sentencepiece's own ids where the file names none.
    fn ends(&self, adds_bos: bool) -> Result<Ends> {
        let is_sentencepiece = self.metadata.text("tokenizer.ggml.model")? == Some("llama");
        let customary = |id: u32| (is_sentencepiece && self.tokens.len() > 2).then_some(id);
        let eos = "tokenizer.ggml.eos_token_id";
        Ok(Ends {
            bos: self.id("tokenizer.ggml.bos_token_id")?.or(customary(1)),
            eos: self.id(eos)?.or(customary(2)).ok_or_else(|| self.metadata.problem(eos, "is missing"))?,
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

/// GPT-2's kind of BPE, and whether BOS is added where the file does not say.
fn byte_level(words: &Words<'_>) -> Result<(Value, bool)> {
    let metadata = words.metadata;
    let name = metadata.text("tokenizer.ggml.pre")?.unwrap_or("default");
    let Some(splitting) = splitting(name) else {
        let what = format!("tokenizer.ggml.pre {name:.40}");
        return Err(unsupported(metadata.path(), what, "smollm, llama-bpe, gpt-2, starcoder, qwen2 and default are"));
    };
    let is_llama3 = is_llama3(name);
    let key = "tokenizer.ggml.merges";
    let merges = metadata.texts(key)?.ok_or_else(|| metadata.problem(key, "is missing"))?;
    let merges: Vec<Value> = merges
        .iter()
        .enumerate()
        .map(|(index, merge)| {
            // A token may begin with a space, but has none further on.
            let space = merge.char_indices().skip(1).find(|(_, letter)| *letter == ' ');
            match space {
                Some((at, _)) => Ok(json!([&merge[..at], &merge[at + 1..]])),
                None => Err(metadata.problem(key, format!("item {index} is not two tokens"))),
            }
        })
        .collect::<Result<_>>()?;
    let form = json!({
        "version": "1.0",
        "added_tokens": words.added(),
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splitting},
        "post_processor": null,
        "decoder": byte_level_part(true),
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": is_llama3,
            "vocab": words.vocabulary(), "merges": merges},
    });
    Ok((form, is_llama3))
}

fn is_llama3(name: &str) -> bool {
    matches!(name, "llama-bpe" | "llama3" | "llama-v3")
}

/// How llama.cpp's named pre-tokenizers cut a text into words, as `tokenizers`' parts.
fn splitting(name: &str) -> Option<Vec<Value>> {
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    Some(match name {
        "gpt-2" | "gpt2" | "mpt" | "olmo" | "jais" => vec![byte_level_part(true)],
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => {
            vec![json!({"type": "Digits", "individual_digits": true}), byte_level_part(true)]
        }
        "qwen2" => vec![split(&LLAMA3.replace("{1,3}", "")), byte_level_part(false)],
        "default" => {
            let patterns = [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"];
            patterns.iter().map(|pattern| split(pattern)).chain([byte_level_part(false)]).collect()
        }
        _ if is_llama3(name) => vec![split(LLAMA3), byte_level_part(false)],
        _ => return None,
    })
}

/// `words`: cut at GPT-2's pattern before bytes become letters.
fn byte_level_part(words: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": words})
}

pub(super) fn unsupported(path: &Path, what: impl Into<String>, supported: &str) -> Error {
    Error::Unsupported { path: path.to_owned(), what: what.into(), supported: supported.to_owned() }
}
