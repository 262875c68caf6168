//! The `tokenizer.json` form, wherever it comes from: what of it is no Llama's is refused, the rest goes to the
//! `tokenizers` library. What must be known of it besides (its hash, its size) is taken from the form itself: the
//! library's own way to write a tokenizer prints to stdout when ids are missing.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::bounds::{self, MAX_TOKEN};
use super::malformed;
use crate::{Error, Result};

pub struct TokenizerJson {
    pub inner: tokenizers::Tokenizer,
    /// Of everything that decides about ids, written in one way.
    pub digest: Sha256,
    pub byte_level: bool,
    /// Different tokens, added ones among them.
    pub vocabulary: usize,
}

const MAX_ADDED: usize = 1 << 16;

impl TokenizerJson {
    /// `rows`: those of the embedding. Added tokens at or above are left out (some folders carry a padding token that
    /// the model never got a row for), words of the vocabulary there are refused.
    pub fn read(path: &Path, mut form: Value, rows: Option<usize>) -> Result<Self> {
        check(path, &form, rows)?;
        let empty = Vec::new();
        if let (Some(rows), Some(added)) = (rows, form.get_mut("added_tokens").and_then(Value::as_array_mut)) {
            added.retain(|token| token["id"].as_u64().is_none_or(|id| id < rows as u64));
        }
        let words = form["model"]["vocab"].as_object();
        let added = form["added_tokens"].as_array().unwrap_or(&empty);
        let is_new = |token: &&Value| {
            let text = token["content"].as_str().unwrap_or_default();
            words.is_none_or(|words| !words.contains_key(text))
        };
        let vocabulary = words.map_or(0, serde_json::Map::len) + added.iter().filter(is_new).count();
        let byte_level = has_byte_level(&form["decoder"]);
        let digest = digest(&form);
        // The crate unwraps in places that a strange file can reach; such a file must not take the process down.
        let parsed = std::panic::catch_unwind(|| serde_json::from_value::<tokenizers::Tokenizer>(form));
        let mut inner = match parsed {
            Ok(Ok(inner)) => inner,
            Ok(Err(error)) => return Err(malformed(path, "tokenizer", &error)),
            Err(_) => return Err(Error::malformed(path, "tokenizer", "contradicts itself")),
        };
        // Nothing here wants texts cut or filled up unasked.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| malformed(path, "truncation", &*error))?;
        Ok(Self { inner, digest, byte_level, vocabulary })
    }
}

fn check(path: &Path, form: &Value, rows: Option<usize>) -> Result<()> {
    let unsupported = |what: String, supported: &str| Err(Error::unsupported(path, what, supported));
    let model = &form["model"];
    let kind = model["type"].as_str().unwrap_or("BPE");
    if kind != "BPE" {
        return unsupported(format!("a tokenizer of type {kind:.40}"), "only BPE is");
    }
    if model["dropout"].as_f64().is_some_and(|dropout| dropout != 0.0) {
        return unsupported(format!("model.dropout {}", model["dropout"]), "equal texts must give equal ids");
    }
    bounds::check(path, form)?;
    let Some(words) = model["vocab"].as_object() else {
        return Err(Error::malformed(path, "model.vocab", "is missing"));
    };
    let limit = rows.unwrap_or(u32::MAX as usize) as u64;
    if let Some((word, id)) = words.iter().find(|(_, id)| id.as_u64().is_none_or(|id| id >= limit)) {
        let problem = format!("has id {id:.20}; it must be below {limit}");
        return Err(Error::malformed(path, format!("model.vocab {word:?}"), problem));
    }
    let added = form["added_tokens"].as_array().map_or(0, Vec::len);
    if added > MAX_ADDED {
        return Err(Error::malformed(path, "added_tokens", format!("are {added}; the limit is {MAX_ADDED}")));
    }
    let added = form["added_tokens"].as_array().into_iter().flatten().filter_map(|token| token["content"].as_str());
    if let Some(long) = words.keys().map(String::as_str).chain(added).find(|token| token.len() > MAX_TOKEN) {
        let problem = format!("has a token of {} bytes; the limit is {MAX_TOKEN}", long.len());
        return Err(Error::malformed(path, "model.vocab", problem));
    }
    Ok(())
}

/// Neither the order of keys shows, nor which of two ways to write merges was taken, nor whether a default is written.
fn digest(form: &Value) -> Sha256 {
    let mut digest = Sha256::new();
    let mut part = |name: &str, value: &Value| {
        if !value.is_null() && *value != Value::Bool(false) {
            digest.update(format!("{name} {value}\n"));
        }
    };
    for name in ["added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"] {
        part(name, &form[name]);
    }
    let Some(model) = form["model"].as_object() else { return digest };
    for (name, value) in model.iter().filter(|(name, _)| !matches!(name.as_str(), "vocab" | "merges" | "type")) {
        part(name, value);
    }
    for (word, id) in model.get("vocab").and_then(Value::as_object).into_iter().flatten() {
        digest.update(word.as_bytes());
        digest.update(format!("\0{id}\n"));
    }
    for merge in model.get("merges").and_then(Value::as_array).into_iter().flatten() {
        let pair = match merge.as_str() {
            Some(text) => text.split_once(' '),
            None => merge[0].as_str().zip(merge[1].as_str()),
        };
        let (left, right) = pair.unwrap_or_default();
        for text in [left, "\0", right, "\n"] {
            digest.update(text.as_bytes());
        }
    }
    digest
}

fn has_byte_level(decoder: &Value) -> bool {
    let is_byte_level = |decoder: &Value| decoder["type"] == "ByteLevel";
    is_byte_level(decoder) || decoder["decoders"].as_array().is_some_and(|all| all.iter().any(is_byte_level))
}
