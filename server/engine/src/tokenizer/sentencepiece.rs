//! A GGUF's `llama` vocabulary (sentencepiece BPE: scored pieces, bytes for what has none) as `tokenizers`' BPE. A
//! piece's score is the rank of the merge that makes it, so every way to make a piece out of two becomes a merge.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::vocabulary::{GgufVocabulary, NORMAL};
use crate::{Error, Result};

/// Longer pieces are merged by no real vocabulary, and trying all their cuts would take long.
const MAX_PIECE: usize = 256;

pub fn form(words: &GgufVocabulary<'_>) -> Result<Value> {
    let metadata = words.metadata;
    let charsmap = "tokenizer.ggml.precompiled_charsmap";
    if metadata.contains(charsmap) {
        return Err(Error::unsupported(metadata.path(), charsmap, "only texts that are taken as they are"));
    }
    let key = "tokenizer.ggml.scores";
    let scores = metadata.floats(key)?.ok_or_else(|| metadata.problem(key, "is missing"))?;
    if scores.len() != words.tokens.len() {
        let problem = format!("has {} items for {} tokens", scores.len(), words.tokens.len());
        return Err(metadata.problem(key, problem));
    }
    if let Some(index) = scores.iter().position(|score| score.is_nan()) {
        return Err(metadata.problem(key, format!("item {index} is not a number")));
    }
    let unknown = words.unknown()?.or_else(|| words.tokens.first().copied());
    let to_mark = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let mut normalizers = vec![to_mark];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true) {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(json!({
        "version": "1.0",
        "added_tokens": words.added(),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": words.vocabulary(), "merges": merges(words, &scores)},
    }))
}

/// Best score first. Where scores are equal (runs of spaces), sentencepiece goes on at the left, which the longer piece
/// first comes to; of one piece's cuts, those with the earlier parts first.
fn merges<'a>(words: &GgufVocabulary<'a>, scores: &[f32]) -> Vec<(&'a str, &'a str)> {
    let is_piece = |id: &usize| words.types[*id] == NORMAL && words.tokens[*id].len() <= MAX_PIECE;
    let pieces: Vec<usize> = (0..words.tokens.len()).filter(is_piece).collect();
    let ids: HashMap<&str, usize> = pieces.iter().rev().map(|&id| (words.tokens[id], id)).collect();
    let mut found = Vec::new();
    for &id in &pieces {
        let piece = words.tokens[id];
        for (cut, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(cut);
            if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                found.push((id, left, right));
            }
        }
    }
    let length = |id: usize| words.tokens[id].len();
    found.sort_by(|a, b| {
        scores[b.0].total_cmp(&scores[a.0]).then_with(|| length(b.0).cmp(&length(a.0))).then_with(|| a.cmp(b))
    });
    found.into_iter().map(|(_, left, right)| (words.tokens[left], words.tokens[right])).collect()
}
