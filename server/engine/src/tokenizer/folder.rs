//! A tokenizer from an HF folder: `tokenizer.json` and, for what begins and ends a text, the small files beside it.

use std::path::Path;

use serde_json::Value;

use super::{Ends, Tokenizer, parse};
use crate::model::read_small;
use crate::{Error, Result};

const MAX_TOKENIZER: u64 = 128 << 20;
const MAX_CONFIG: u64 = 16 << 20;
const MAX_ADDED: usize = 1 << 16;

impl Tokenizer {
    /// As [`Self::from_folder`], with no id at or above `limit`: added tokens there are left out (some folders carry a
    /// padding token that the model never got a row for), words of the vocabulary there are refused.
    pub(crate) fn from_folder_within(folder: &Path, limit: Option<usize>) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if !path.exists() && folder.join("tokenizer.model").exists() {
            return Err(Error::Unsupported {
                path: folder.join("tokenizer.model"),
                what: "a sentencepiece model alone".to_owned(),
                supported: "a tokenizer.json beside it is (transformers' save_pretrained writes one)".to_owned(),
            });
        }
        let mut form = read_json(&path, MAX_TOKENIZER)?;
        check_form(&path, &mut form, limit)?;
        let inner = parse(&path, form)?;
        let ends = Ends::beside(folder, &path, &inner, limit)?;
        Self::build(&path, inner, &ends)
    }
}

fn read_json(path: &Path, limit: u64) -> Result<Value> {
    serde_json::from_slice(&read_small(path, limit)?).map_err(|error| Error::malformed(path, "json", error.to_string()))
}

/// The same, or null where there is no such file.
fn read_json_if_there(path: &Path) -> Result<Value> {
    if path.exists() { read_json(path, MAX_CONFIG) } else { Ok(Value::Null) }
}

/// Refuses what is no Llama's tokenizer, before the library believes it.
pub(super) fn check_form(path: &Path, form: &mut Value, limit: Option<usize>) -> Result<()> {
    let unsupported = |what: String, supported: &str| {
        Err(Error::Unsupported { path: path.to_owned(), what, supported: supported.to_owned() })
    };
    let kind = form["model"]["type"].as_str().unwrap_or("BPE");
    if kind != "BPE" {
        return unsupported(format!("a tokenizer of type {kind:.40}"), "only BPE is");
    }
    if form["normalizer"].to_string().contains("\"Precompiled\"") {
        return unsupported("a normalizer of type Precompiled".to_owned(), "plain BPE without one is");
    }
    let Some(vocabulary) = form["model"]["vocab"].as_object() else {
        return Err(Error::malformed(path, "model.vocab", "is missing"));
    };
    for (token, id) in vocabulary {
        let id_is_fine = id.as_u64().is_some_and(|id| id < limit.unwrap_or(u32::MAX as usize) as u64);
        if !id_is_fine {
            let limit = limit.map_or(String::new(), |limit| format!("; the model has {limit} rows"));
            return Err(Error::malformed(path, format!("model.vocab {token:?}"), format!("has id {id:.20}{limit}")));
        }
    }
    let Some(added) = form.get_mut("added_tokens").and_then(Value::as_array_mut) else { return Ok(()) };
    if added.len() > MAX_ADDED {
        return Err(Error::malformed(path, "added_tokens", format!("are {}; the limit is {MAX_ADDED}", added.len())));
    }
    if let Some(limit) = limit {
        added.retain(|token| token["id"].as_u64().is_none_or(|id| id < limit as u64));
    }
    Ok(())
}

impl Ends {
    fn beside(folder: &Path, path: &Path, inner: &tokenizers::Tokenizer, limit: Option<usize>) -> Result<Self> {
        let tokenizer = read_json_if_there(&folder.join("tokenizer_config.json"))?;
        let generation = read_json_if_there(&folder.join("generation_config.json"))?;
        let model = read_json_if_there(&folder.join("config.json"))?;
        let find = |token: &str, id: &str| {
            let by_text = token_text(&tokenizer[token]).and_then(|text| inner.token_to_id(text));
            let known = |id: &u32| limit.is_none_or(|limit| (*id as usize) < limit) && inner.id_to_token(*id).is_some();
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
