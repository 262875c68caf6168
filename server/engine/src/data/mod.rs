//! Conversations in, pairs out: formats, the pair rule, the split, `seed.jsonl`. Knows nothing of tokens or models.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    pub instruction: String,
    pub response: String,
    /// Conversation tree that it came from: pairs of one tree never stand on both sides of a split.
    #[serde(default)]
    pub tree: String,
    /// 0: the conversation's first exchange.
    #[serde(default)]
    pub turn: u32,
    /// Sum of both sides' quality, where there are labels.
    #[serde(default)]
    pub quality: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OasstMessages,
    OasstTrees,
    Lima,
    Pairs,
    Alpaca,
}

#[derive(Clone, Debug)]
pub struct PairRule {
    /// None: any.
    pub language: Option<String>,
    pub best_reply_only: bool,
    /// Both sides' quality must be greater.
    pub quality_above: Option<f64>,
    /// Both sides must have more words.
    pub words_above: usize,
    pub first_turn_only: bool,
    /// The best so many by quality sum, ties by file order.
    pub limit: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedRow {
    /// 1-based.
    pub line: u64,
    pub field: String,
    pub problem: String,
}

/// What a conversation file gave.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub format: Format,
    /// Rows read, malformed ones included.
    pub rows: u64,
    pub pairs: Vec<Pair>,
    pub first_turn_pairs: u64,
    /// Reason -> exchanges (or rows) that were left out for it.
    pub dropped: BTreeMap<&'static str, u64>,
    pub malformed_count: u64,
    /// The first 20.
    pub malformed: Vec<MalformedRow>,
    pub sha256: String,
}

/// Reads a file (`.gz` too) and applies the rule. `format` None: told from the first rows.
pub fn prepare(path: &Path, format: Option<Format>, rule: &PairRule) -> Result<Prepared> {
    let _ = (path, format, rule);
    todo!()
}

pub struct Split {
    pub train: Vec<Pair>,
    pub validation: Vec<Pair>,
}

/// By conversation tree: a tree's side depends on the seed and its own id alone.
pub fn split(pairs: Vec<Pair>, validation_fraction: f64, seed: u64) -> Result<Split> {
    let _ = (pairs, validation_fraction, seed);
    todo!()
}

/// As JSONL, durably.
pub fn write_pairs(path: &Path, pairs: &[Pair]) -> Result<()> {
    let _ = (path, pairs);
    todo!()
}

/// What [`write_pairs`] wrote.
pub fn read_pairs(path: &Path) -> Result<Vec<Pair>> {
    let _ = path;
    todo!()
}

/// A response that is to get an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusRow {
    pub response: String,
    pub reference: Option<String>,
}

pub struct Corpus {
    pub rows: Vec<CorpusRow>,
    pub dropped: BTreeMap<&'static str, u64>,
    pub malformed_count: u64,
    pub malformed: Vec<MalformedRow>,
    pub sha256: String,
}

/// LIMA rows with exactly two turns, rows with `response` (and `instruction` as reference where it is), Alpaca form.
pub fn read_corpus(path: &Path, limit: Option<usize>) -> Result<Corpus> {
    let _ = (path, limit);
    todo!()
}
