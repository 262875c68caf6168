//! `seed.jsonl`: pairs on disk, one JSON object a line.

use std::path::Path;

use super::Pair;
use super::field::{Problem, parse};
use super::rows::Rows;
use crate::{Error, Result, artifact};

/// As JSONL, durably.
pub fn write_pairs(path: &Path, pairs: &[Pair]) -> Result<()> {
    artifact::write_with(path, |writer| {
        for pair in pairs {
            serde_json::to_writer(&mut *writer, pair)?;
            writer.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// What [`write_pairs`] wrote. Strict, unlike [`super::prepare`]: a row that is not a pair means a damaged file.
pub fn read_pairs(path: &Path) -> Result<Vec<Pair>> {
    let mut rows = Rows::open(path)?;
    let mut pairs = Vec::new();
    while let Some(row) = rows.next()? {
        let pair = parse(&row)
            .map_err(|Problem { problem, .. }| Error::malformed(path, format!("line {}", row.line), problem))?;
        pairs.push(pair);
    }
    Ok(pairs)
}
