//! Files of instructions that are to be scored: what `generate` writes, or the same from elsewhere.

use std::path::Path;

use spec::MalformedRow;

use super::dialogue::{self, Scored};
use super::field::Malformed;
use super::format::no_rows;
use super::rows::Rows;
use crate::Result;

/// An instruction with the response that it was written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredRow {
    /// In the file: the line, or the place in a JSON array; both count from 1.
    pub row: u64,
    pub response: String,
    pub generated: String,
    pub reference: Option<String>,
    /// Ended by its end marker; None if the row does not say.
    pub ended: Option<bool>,
}

#[derive(Clone, Debug)]
pub struct ScoredRows {
    pub rows: Vec<ScoredRow>,
    pub malformed_count: u64,
    /// The first 20.
    pub malformed: Vec<MalformedRow>,
    pub sha256: String,
}

/// Rows with `response` (or `output`) and `generated` (or `generated_instruction`, or `instruction` if there is
/// neither). The reference is `reference` or `original_instruction`, or `instruction` beside a generated text.
///
/// Errors: a file that cannot be read or holds no rows. A file of malformed rows alone is none.
pub fn read_scored(path: &Path) -> Result<ScoredRows> {
    let mut rows = Rows::open(path)?;
    let mut malformed = Malformed::default();
    let mut kept = Vec::new();
    while let Some(row) = rows.next()? {
        match dialogue::scored(&row) {
            Err(problem) => malformed.add(row.line, row.element, problem),
            Ok(Scored { response, generated, reference, ended }) => {
                kept.push(ScoredRow { row: row.number(), response, generated, reference, ended });
            }
        }
    }
    if rows.count() == 0 {
        return Err(no_rows(&rows));
    }
    Ok(ScoredRows { rows: kept, malformed_count: malformed.count, malformed: malformed.first, sha256: rows.sha256()? })
}
