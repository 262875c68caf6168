//! A corpus: responses that are to get an instruction, with the instruction that a person wrote if there is one.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use spec::MalformedRow;

use super::dialogue::{self, Answer};
use super::field::Malformed;
use super::rows::Rows;
use super::{Format, format};
use crate::{Error, Result};

const MOST_EXAMPLES: usize = 20;

/// A response that is to get an instruction, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusRow {
    /// In the file: the line, or the place in a JSON array; both count from 1.
    pub row: u64,
    /// The row's `source_id` or `id`.
    pub source_id: Option<String>,
    pub url: Option<String>,
    /// The row's `source`: rows of one source are summed up apart.
    pub source: Option<String>,
    pub response: String,
    pub reference: Option<String>,
}

/// A row that could be read and was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedRow {
    pub row: u64,
    pub reason: &'static str,
}

/// `dropped` has the reasons `not_two_turns` (LIMA), `empty_text` (a response of white space) and `limit`.
#[derive(Clone, Debug)]
pub struct Corpus {
    pub rows: Vec<CorpusRow>,
    /// All that were read: those kept, dropped and malformed.
    pub rows_read: u64,
    pub dropped: BTreeMap<&'static str, u64>,
    /// The first 20, those beyond the limit aside.
    pub dropped_rows: Vec<DroppedRow>,
    pub malformed_count: u64,
    /// The first 20.
    pub malformed: Vec<MalformedRow>,
    pub sha256: String,
}

/// LIMA rows with exactly two turns, rows with `response` or `output`. The reference is the row's `reference`, else its
/// `instruction`.
pub fn read_corpus(path: &Path, limit: Option<usize>) -> Result<Corpus> {
    let mut rows = Rows::open(path)?;
    let format = format::detect(&mut rows)?;
    if matches!(format, Format::OasstMessages | Format::OasstTrees) {
        let supported = "LIMA rows, rows with `response` and Alpaca rows are";
        return Err(Error::unsupported(path, "OASST1 as a corpus of responses", supported)
            .with_hint("Make pairs of it first (`data prepare`) and use those."));
    }
    let mut malformed = Malformed::default();
    let mut dropped = BTreeMap::new();
    let mut dropped_rows = Vec::new();
    let mut kept = Vec::new();
    while let Some(row) = rows.next()? {
        let answer = match format {
            Format::Lima => dialogue::lima_answer(&row),
            Format::Alpaca => dialogue::pair_answer(&row, dialogue::OUTPUT).map(Some),
            _ => dialogue::pair_answer(&row, dialogue::RESPONSE).map(Some),
        };
        let number = row.number();
        let reason = match answer {
            Err(problem) => {
                malformed.add(row.line, row.element, problem);
                continue;
            }
            Ok(None) => "not_two_turns",
            Ok(Some(answer)) if answer.response.trim().is_empty() => "empty_text",
            Ok(Some(_)) if limit.is_some_and(|limit| kept.len() >= limit) => "limit",
            Ok(Some(Answer { response, reference, source_id, url, source })) => {
                kept.push(CorpusRow { row: number, source_id, url, source, response, reference });
                continue;
            }
        };
        *dropped.entry(reason).or_default() += 1;
        if reason != "limit" && dropped_rows.len() < MOST_EXAMPLES {
            dropped_rows.push(DroppedRow { row: number, reason });
        }
    }
    Ok(Corpus {
        rows: kept,
        rows_read: rows.count(),
        dropped,
        dropped_rows,
        malformed_count: malformed.count,
        malformed: malformed.first,
        sha256: rows.sha256()?,
    })
}
