//! Conversations in, pairs out: formats, the pair rule, the split, `seed.jsonl`. Knows nothing of tokens or models.
//!
//! Files come from strangers. Every size is bounded before it is believed (the limits are in `rows` and `field`),
//! a malformed row is reported and the rest is kept, and whatever is left out is counted by reason.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use spec::MalformedRow;

use crate::Result;

mod corpus;
mod dialogue;
mod field;
mod format;
mod input;
mod lenient;
mod oasst;
mod rows;
mod rule;
mod scored;
mod seed;
mod split;

pub use corpus::{Corpus, CorpusRow, DroppedRow, read_corpus};
pub use format::Format;
pub use scored::{ScoredRow, ScoredRows, read_scored};
pub use seed::{json_line, read_pairs, write_pairs};
pub use split::{Split, split};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    pub instruction: String,
    pub response: String,
    /// Conversation tree that it came from: pairs of one tree are never on both sides of a split.
    #[serde(default)]
    pub tree: String,
    /// 0: the conversation's first exchange.
    #[serde(default)]
    pub turn: u32,
    /// Sum of both sides' quality, where there are labels.
    #[serde(default)]
    pub quality: Option<f64>,
}

/// Which exchanges become pairs. A row of LIMA, pairs or Alpaca form that lacks a language, a rank or a quality
/// passes the rule that asks for it; an OASST1 message that lacks one does not, for there its absence means that
/// nobody rated it.
#[derive(Clone, Debug)]
pub struct PairRule {
    /// None: any.
    pub language: Option<String>,
    pub best_reply_only: bool,
    /// Both sides' quality must be greater.
    pub quality_above: Option<f64>,
    /// Both sides must have more words (see [`crate::words::pieces`]).
    pub words_above: usize,
    pub first_turn_only: bool,
    /// The best so many by quality sum, ties by file order.
    pub limit: Option<usize>,
}

/// What a conversation file gave.
///
/// `dropped` counts, in the order in which they are looked at, an exchange for the first reason that it meets: what
/// OASST1 itself rejects (`deleted`, `tree_not_ready`, `failed_review`, `spam`, `synthetic`), `empty_text`,
/// `language`, `no_rank` and `not_best_reply`, `no_quality` and `quality`, `too_few_words`, `not_first_turn`,
/// `limit`. Rows and messages that made no exchange at all are counted too: `duplicate_id` (a later message with a
/// known id), `orphan` (its parent is not in the file), `cycle` (it descends from itself), `no_instruction` (an
/// assistant's message that answers no prompter), `unanswered` (a last turn without a reply) and `too_few_turns`.
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

/// Reads a file, a pipe or standard input (`-`), plain or gzip, and applies the rule. `format` None: detected from the
/// first rows.
///
/// Errors: a file that cannot be read, is none of the formats, or is beyond the limits of [`rows`]. A file whose every
/// exchange is dropped is no error here; [`split()`] refuses what is left of it.
pub fn prepare(path: &Path, format: Option<Format>, rule: &PairRule) -> Result<Prepared> {
    rule::check(rule)?;
    let mut rows = rows::Rows::open(path)?;
    let format = match format {
        Some(format) => format,
        None => format::detect(&mut rows)?,
    };
    let mut collector = rule::PairCollector::new(path, rule);
    let mut malformed = field::Malformed::default();
    match format {
        Format::OasstMessages => oasst::messages(&mut rows, &mut collector, &mut malformed)?,
        Format::OasstTrees => oasst::trees(&mut rows, &mut collector, &mut malformed)?,
        Format::Lima => dialogue::lima(&mut rows, &mut collector, &mut malformed)?,
        Format::Pairs => dialogue::pairs(&mut rows, dialogue::RESPONSE, &mut collector, &mut malformed)?,
        Format::Alpaca => dialogue::pairs(&mut rows, dialogue::OUTPUT, &mut collector, &mut malformed)?,
    }
    if rows.count() == 0 {
        return Err(format::no_rows(&rows));
    }
    let (pairs, dropped) = collector.finish();
    Ok(Prepared {
        format,
        rows: rows.count(),
        first_turn_pairs: pairs.iter().filter(|pair| pair.turn == 0).count() as u64,
        pairs,
        dropped,
        malformed_count: malformed.count,
        malformed: malformed.first,
        sha256: rows.sha256()?,
    })
}

#[cfg(test)]
mod tests;
