//! A tokenizer from an HF folder: `tokenizer.json` and, for what begins and ends a text, the small files beside it.

use std::path::Path;

use serde_json::Value;

use super::{SpecialTokens, Tokenizer, TokenizerJson};
use crate::{Error, Result, source};

const MAX_TOKENIZER: u64 = 128 << 20;
const MAX_CONFIG: u64 = 16 << 20;

impl Tokenizer {
    /// As [`Self::from_folder`], for a model whose embedding has this many rows: see [`TokenizerJson::read`].
    pub(crate) fn from_folder_within(folder: &Path, rows: Option<usize>) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if !path.exists() && folder.join("tokenizer.model").exists() {
            let supported = "a tokenizer.json beside it is (transformers' save_pretrained writes one)";
            let model = folder.join("tokenizer.model");
            return Err(Error::unsupported(model, "a sentencepiece model alone", supported));
        }
        let json = TokenizerJson::read(&path, source::read_json(&path, MAX_TOKENIZER)?, rows)?;
        let special = SpecialTokens::beside(folder, &path, &json.inner, rows)?;
        Ok(Self::build(&path, json, special))
    }
}

/// Null if there is no such file.
fn read_json_if_there(path: &Path) -> Result<Value> {
    if path.exists() { source::read_json(path, MAX_CONFIG) } else { Ok(Value::Null) }
}

impl SpecialTokens {
    fn beside(folder: &Path, path: &Path, inner: &tokenizers::Tokenizer, rows: Option<usize>) -> Result<Self> {
        let tokenizer = read_json_if_there(&folder.join("tokenizer_config.json"))?;
        let generation = read_json_if_there(&folder.join("generation_config.json"))?;
        let model = read_json_if_there(&folder.join("config.json"))?;
        let known = |id: &u32| rows.is_none_or(|rows| (*id as usize) < rows) && inner.id_to_token(*id).is_some();
        // By the tokenizer's own word first, then as the configurations list them.
        let all = |token: &str, key: &str| -> Vec<u32> {
            let own = token_text(&tokenizer[token]).and_then(|text| inner.token_to_id(text));
            let listed = [&generation, &model].into_iter().flat_map(|config| ids(&config[key]));
            own.into_iter().chain(listed).filter(known).collect()
        };
        let prepended = prepended(inner);
        let bos = all("bos_token", "bos_token_id").first().copied().or(prepended);
        let customary = ["</s>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>"];
        let mut eos = all("eos_token", "eos_token_id");
        if eos.is_empty() {
            eos.extend(customary.iter().find_map(|text| inner.token_to_id(text)));
        }
        if eos.is_empty() {
            return Err(Error::malformed(path, "eos_token", "neither this nor the files beside it name one"));
        }
        let adds_bos = tokenizer["add_bos_token"].as_bool().unwrap_or(prepended.is_some());
        Ok(Self { bos, eos, adds_bos })
    }
}

/// The token that the post-processor puts in front of a text, if it does.
fn prepended(inner: &tokenizers::Tokenizer) -> Option<u32> {
    let with = inner.encode_fast("a", true).ok()?;
    let without = inner.encode_fast("a", false).ok()?;
    let first = *with.get_ids().first()?;
    (without.get_ids().first() != Some(&first)).then_some(first)
}

/// `"</s>"` or `{"content": "</s>", …}`.
fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

/// `2` or `[2, 32000]`.
fn ids(value: &Value) -> impl Iterator<Item = u32> {
    let listed = value.as_array().into_iter().flatten();
    std::iter::once(value).chain(listed).filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok())
}
