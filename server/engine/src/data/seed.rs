//! `seed.jsonl`: pairs on disk, one JSON object a line.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Pair;
use super::field::{Problem, parse};
use super::rows::Rows;
use crate::{Error, Result, artifact};

/// As JSONL, durably; the sha256 of the file, by which [`artifact::verify_file`] knows it again.
pub fn write_pairs(path: &Path, pairs: &[Pair]) -> Result<String> {
    let mut hash = Sha256::new();
    artifact::write_with(path, |writer| {
        for pair in pairs {
            let line = json_line(pair)?;
            hash.update(&line);
            writer.write_all(&line)?;
        }
        Ok(())
    })?;
    Ok(artifact::hex(&hash.finalize()))
}

/// One row of JSONL with its line break. What is a line break to some readers (U+0085, U+2028, U+2029) is escaped, so
/// that a row is one line to all of them.
pub fn json_line(row: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    row.serialize(&mut serde_json::Serializer::with_formatter(&mut line, OneLine))?;
    line.push(b'\n');
    Ok(line)
}

struct OneLine;

impl serde_json::ser::Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> std::io::Result<()> {
        let mut rest = fragment;
        while let Some(place) = rest.find(['\u{85}', '\u{2028}', '\u{2029}']) {
            let (before, behind) = rest.split_at(place);
            let mut letters = behind.chars();
            let separator = letters.next().map_or(0, u32::from);
            write!(writer, "{before}\\u{separator:04x}")?;
            rest = letters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
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
