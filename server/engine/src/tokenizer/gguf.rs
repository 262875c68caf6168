//! The tokenizer that a GGUF file carries, put into the form of a `tokenizer.json`: byte-level BPE (`gpt2`) with the
//! pre-tokenizers that Llamas have, and sentencepiece BPE (`llama`). Others are refused by name.

use serde_json::{Value, json};

use super::vocabulary::GgufVocabulary;
use super::{Tokenizer, TokenizerJson, sentencepiece};
use crate::model::gguf::Metadata;
use crate::{Error, Result};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Tokenizer {
    /// `vocabulary`: the rows of the embedding, above which no id may be.
    pub(crate) fn from_gguf(metadata: &Metadata, vocabulary: usize) -> Result<Self> {
        let words = GgufVocabulary::read(metadata, vocabulary)?;
        let (json, adds_bos) = match metadata.text("tokenizer.ggml.model")? {
            Some("gpt2") => byte_level(&words)?,
            Some("llama") => (sentencepiece::form(&words)?, true),
            Some(other) => {
                let what = format!("tokenizer.ggml.model {other:.40}");
                return Err(Error::unsupported(metadata.path(), what, "gpt2 and llama are"));
            }
            None => return Err(metadata.problem("tokenizer.ggml.model", "is missing")),
        };
        let special = words.special_tokens(adds_bos)?;
        let json = TokenizerJson::read(metadata.path(), json, Some(vocabulary))?;
        Ok(Self::build(metadata.path(), json, special))
    }
}

/// GPT-2's kind of BPE, and whether BOS is added where the file does not say.
fn byte_level(words: &GgufVocabulary<'_>) -> Result<(Value, bool)> {
    let metadata = words.metadata;
    let name = metadata.text("tokenizer.ggml.pre")?.unwrap_or("default");
    let Some(splitting) = splitting(name) else {
        let what = format!("tokenizer.ggml.pre {name:.40}");
        return Err(Error::unsupported(
            metadata.path(),
            what,
            "smollm, llama-bpe, gpt-2, starcoder, qwen2 and default are",
        ));
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
