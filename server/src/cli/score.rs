//! `score`: every figure of a file of generated instructions, and of each of its rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use engine::data::{ScoredRow, ScoredRows};
use engine::score::ScoreInput;
use serde_json::{Value, json};
use spec::PairScores;

use super::output::{Output, Text, excerpt};
use super::{Result, data, summary};
use crate::adapter;

/// Shown of scored rows.
const MAX_TABLE_ROWS: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = "\
Rows are JSON objects, one per line or in one array, with these fields:
  response               the text that the instruction is for (or: output)
  generated              the instruction to score (or: generated_instruction; or instruction, if there is neither)
  reference              optional: what a person wrote (or: original_instruction; or instruction, beside a generated one)
  ended                  optional: whether generation ended at a stop token (true) or at the token limit (false)

Words are lower-cased runs of letters, digits and underscores. ROUGE-L is F1 against the reference; compare it with the
shuffled floor (F1 against another row's reference). `copied` is the share of instructions with 8 or more words in a row
from the response.")]
pub struct Score {
    /// JSONL or one JSON array, as `generate -o` writes it
    file: PathBuf,
    /// Cut each generated text at the first occurrence of this text
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    cut_at: Option<String>,
    /// If a generated text contains this label (a leaked template), score only the paragraph after it
    #[arg(long, value_name = "TEXT", conflicts_with = "cut_at", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    behind: Option<String>,
    /// Seed of the pairing for the shuffled floor
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl Score {
    pub fn run(&self, output: &Output) -> Result<()> {
        let mut read = engine::data::read_scored(&self.file).map_err(adapter::error)?;
        for row in &mut read.rows {
            row.generated = self.part(&row.generated).to_owned();
        }
        if read.rows.is_empty() {
            return Err(adapter::error(engine::Error::Empty(nothing_to_score(&self.file, &read))));
        }
        let inputs: Vec<ScoreInput<'_>> = read.rows.iter().map(input).collect();
        let scores: Vec<PairScores> = inputs.iter().map(engine::score::score_pair).collect();
        let scored = engine::score::summarise(&inputs, &scores, self.seed);
        let answer = json!({
            "file": self.file,
            "summary": summary::json(&scored),
            "malformed_count": read.malformed_count,
            "malformed": read.malformed,
            "sha256": read.sha256,
            "rows": read.rows.iter().zip(&scores).enumerate().map(row_json).collect::<Vec<_>>(),
        });
        output.answer(&answer, |text| {
            summary::print(text, &scored);
            data::left_out(text, &BTreeMap::new(), read.malformed_count, &read.malformed);
            text.line("");
            table(text, &read.rows, &scores);
        })
    }

    /// What of a generated text is to be scored.
    fn part<'a>(&self, generated: &'a str) -> &'a str {
        if let Some((before, _)) = self.cut_at.as_deref().and_then(|text| generated.split_once(text)) {
            return before.trim_end();
        }
        match self.behind.as_deref().and_then(|label| generated.split_once(label)) {
            // The label may come again; what it is put before is the first paragraph.
            Some((_, behind)) => {
                let label = self.behind.as_deref().unwrap_or_default();
                let own = behind.split(label).next().unwrap_or_default().trim();
                own.split("\n\n").next().unwrap_or_default()
            }
            None => generated,
        }
    }
}

fn input(row: &ScoredRow) -> ScoreInput<'_> {
    ScoreInput {
        response: &row.response,
        generated: &row.generated,
        reference: row.reference.as_deref(),
        ended: row.ended,
    }
}

/// Among the rows that were scored, and in the file.
fn row_json((index, (row, scores)): (usize, (&ScoredRow, &PairScores))) -> Value {
    let mut value = json!(scores);
    value["index"] = json!(index);
    value["row"] = json!(row.row);
    value
}

/// The first rows, one line each.
fn table(text: &mut Text, rows: &[ScoredRow], scores: &[PairScores]) {
    let lines = rows.iter().zip(scores).take(MAX_TABLE_ROWS).map(|(row, scores)| {
        let tags: Vec<_> = scores.tags.iter().map(|tag| tag.as_str()).collect();
        vec![
            excerpt(&row.generated, 48),
            row.row.to_string(),
            scores.words.to_string(),
            scores.rouge_l.map_or_else(|| "-".to_owned(), |rouge| format!("{rouge:.3}")),
            scores.copied_run.to_string(),
            format!("{:.2}", scores.coverage),
            tags.join(" "),
        ]
    });
    text.table(&["generated", "row", "words", "ROUGE-L", "copied", "coverage", "tags"], &lines.collect::<Vec<_>>());
    if rows.len() > MAX_TABLE_ROWS {
        text.line(format_args!("… and {} more rows; --json prints all", rows.len() - MAX_TABLE_ROWS));
    }
}

fn nothing_to_score(file: &Path, read: &ScoredRows) -> String {
    let first = read
        .malformed
        .first()
        .map_or_else(String::new, |row| format!(": row {}: {}: {}", row.line, row.field, row.problem));
    format!("{} holds no row to score{first}", file.display())
}
