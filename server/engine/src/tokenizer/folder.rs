//! A tokenizer from an HF folder: `tokenizer.json` and, for what begins and ends a text, the small files beside it.

use std::path::Path;

use serde_json::Value;

use super::{Ends, Form, Tokenizer};
use crate::model::read_small;
use crate::{Error, Result};

const MAX_TOKENIZER: u64 = 128 << 20;
const MAX_CONFIG: u64 = 16 << 20;

impl Tokenizer {
    /// As [`Self::from_folder`], for a model with so many rows in its embedding: see [`Form::read`].
    pub(crate) fn from_folder_within(folder: &Path, rows: Option<usize>) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if !path.exists() && folder.join("tokenizer.model").exists() {
            return Err(Error::Unsupported {
                path: folder.join("tokenizer.model"),
                what: "a sentencepiece model alone".to_owned(),
                supported: "a tokenizer.json beside it is (transformers' save_pretrained writes one)".to_owned(),
            });
        }
        let form = Form::read(&path, read_json(&path, MAX_TOKENIZER)?, rows)?;
        let ends = Ends::beside(folder, &path, &form.inner, rows)?;
        Ok(Self::build(&path, form, &ends))
    }
}

fn read_json(path: &Path, limit: u64) -> Result<Value> {
    serde_json::from_slice(&read_small(path, limit)?).map_err(|error| Error::malformed(path, "json", error.to_string()))
}

/// The same, or null where there is no such file.
fn read_json_if_there(path: &Path) -> Result<Value> {
    if path.exists() { read_json(path, MAX_CONFIG) } else { Ok(Value::Null) }
}

impl Ends {
    fn beside(folder: &Path, path: &Path, inner: &tokenizers::Tokenizer, rows: Option<usize>) -> Result<Self> {
        let tokenizer = read_json_if_there(&folder.join("tokenizer_config.json"))?;
        let generation = read_json_if_there(&folder.join("generation_config.json"))?;
        let model = read_json_if_there(&folder.join("config.json"))?;
        let find = |token: &str, id: &str| {
            let by_text = token_text(&tokenizer[token]).and_then(|text| inner.token_to_id(text));
            let known = |id: &u32| rows.is_none_or(|rows| (*id as usize) < rows) && inner.id_to_token(*id).is_some();
            by_text.or_else(|| [&generation, &model].into_iter().filter_map(|config| first_id(&config[id])).find(known))
        };
        let prepended = prepended(inner);
        let bos = find("bos_token", "bos_token_id").or(prepended);
        let customary = ["</s>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>"];
        let eos = find("eos_token", "eos_token_id")
            .or_else(|| customary.iter().find_map(|text| inner.token_to_id(text)))
            .ok_or_else(|| Error::malformed(path, "eos_token", "neither this nor the files beside it name one"))?;
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
fn first_id(value: &Value) -> Option<u32> {
    let id = value.as_u64().or_else(|| value.get(0).and_then(Value::as_u64))?;
    u32::try_from(id).ok()
}
