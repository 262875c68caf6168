//! A corpus: responses that are to get an instruction, with the instruction that a person wrote where there is one.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::field::Malformed;
use super::rows::Rows;
use super::{Format, MalformedRow, dialogue, format};
use crate::{Error, Result, artifact};

/// A response that is to get an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusRow {
    pub response: String,
    pub reference: Option<String>,
}

/// `dropped` has the reasons `not_two_turns` (LIMA), `empty_text` (a response of white space) and `limit`.
#[derive(Clone, Debug)]
pub struct Corpus {
    pub rows: Vec<CorpusRow>,
    pub dropped: BTreeMap<&'static str, u64>,
    pub malformed_count: u64,
    /// The first 20.
    pub malformed: Vec<MalformedRow>,
    pub sha256: String,
}

/// LIMA rows with exactly two turns, rows with `response` (and `instruction` as reference where it is), Alpaca form.
pub fn read_corpus(path: &Path, limit: Option<usize>) -> Result<Corpus> {
    let format = format::detect(path)?;
    if matches!(format, Format::OasstMessages | Format::OasstTrees) {
        return Err(Error::Unsupported {
            path: path.to_owned(),
            what: "OASST1 as a corpus of responses".to_owned(),
            supported: "LIMA rows, rows with `response` and Alpaca rows are; make pairs of it first and use those"
                .to_owned(),
        });
    }
    let mut rows = Rows::open(path)?;
    let mut malformed = Malformed::default();
    let mut dropped = BTreeMap::new();
    let mut kept = Vec::new();
    while let Some(row) = rows.next()? {
        let answer = match format {
            Format::Lima => dialogue::lima_answer(&row),
            Format::Alpaca => dialogue::alpaca_answer(&row).map(Some),
            _ => dialogue::pair_answer(&row).map(Some),
        };
        let reason = match answer {
            Err(problem) => {
                malformed.add(row.line, row.element, problem);
                continue;
            }
            Ok(None) => "not_two_turns",
            Ok(Some((response, _))) if response.trim().is_empty() => "empty_text",
            Ok(Some(_)) if limit.is_some_and(|limit| kept.len() >= limit) => "limit",
            Ok(Some((response, reference))) => {
                let reference = reference.filter(|reference| !reference.trim().is_empty());
                kept.push(CorpusRow { response, reference });
                continue;
            }
        };
        *dropped.entry(reason).or_default() += 1;
    }
    Ok(Corpus {
        rows: kept,
        dropped,
        malformed_count: malformed.count,
        malformed: malformed.first,
        sha256: artifact::sha256_file(path)?,
    })
}
