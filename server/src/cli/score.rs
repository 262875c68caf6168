//! `score`: every figure of a file of instructions, and of each of its rows.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use engine::score::ScoreInput;
use serde_json::{Map, Value, json};
use spec::{MalformedRow, ScoreSummary, TextFigures};

use super::Result;
use super::output::{Output, Text, excerpt, grouped};
use crate::adapter;

const MOST_BYTES: u64 = 512 << 20;
/// Shown of malformed rows.
const MOST_SHOWN: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = "\
Rows are JSON objects, one per line or in one array, with these fields:
  response               the text that the instruction is for (or: output)
  generated              the instruction to score (or: generated_instruction; or instruction, where there is neither)
  reference              what a person wrote, optional (or: original_instruction; or instruction, beside a generated one)
  ended                  optional: whether the writer ended by itself (true) or ran to its limit (false)

Words are lower-cased runs of letters, digits and underscores. ROUGE-L is F1 against the reference, to be read beside its
shuffled floor; `copied` is the share with 8 or more words in a row from the response.")]
pub struct Score {
    /// JSONL or one JSON array, as `generate -o` writes it
    file: PathBuf,
    /// Cut each generated text where this text first stands
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    cut_at: Option<String>,
    /// Where this label stands in a generated text, score the paragraph behind it: a template that leaked
    #[arg(long, value_name = "TEXT", conflicts_with = "cut_at", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    behind: Option<String>,
    /// Seed of the shuffled floor's pairing
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

struct Row {
    response: String,
    generated: String,
    reference: Option<String>,
    ended: Option<bool>,
}

#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    malformed_count: u64,
    malformed: Vec<MalformedRow>,
}

impl Score {
    pub fn run(&self, output: &Output) -> Result<()> {
        let mut read = read(&self.file)?;
        for row in &mut read.rows {
            row.generated = self.part(&row.generated).to_owned();
        }
        if read.rows.is_empty() {
            let first = read
                .malformed
                .first()
                .map_or_else(String::new, |row| format!(": row {}: {}: {}", row.line, row.field, row.problem));
            return Err(adapter::error(engine::Error::Empty(format!(
                "{} holds no row to score{first}",
                self.file.display()
            ))));
        }
        let inputs: Vec<ScoreInput<'_>> = read
            .rows
            .iter()
            .map(|row| ScoreInput {
                response: &row.response,
                generated: &row.generated,
                reference: row.reference.as_deref(),
                ended: row.ended,
            })
            .collect();
        let scores: Vec<_> = inputs.iter().map(engine::score::score_pair).collect();
        let summary = engine::score::summarise(&inputs, &scores, self.seed);
        let rows: Vec<Value> = scores
            .iter()
            .enumerate()
            .map(|(index, scores)| {
                let mut row = json!(scores);
                row["index"] = json!(index);
                row
            })
            .collect();
        let answer = json!({
            "file": self.file,
            "summary": summary_json(&summary),
            "malformed_count": read.malformed_count,
            "malformed": read.malformed,
            "rows": rows,
        });
        output.answer(&answer, |text| {
            show(text, &summary);
            if read.malformed_count > 0 {
                text.field("rows that are malformed", grouped(read.malformed_count));
                for row in &read.malformed {
                    text.line(format_args!("  row {}: {}: {}", row.line, row.field, row.problem));
                }
            }
            text.line("");
            let table: Vec<Vec<String>> = read
                .rows
                .iter()
                .zip(&scores)
                .enumerate()
                .take(20)
                .map(|(index, (row, scores))| {
                    let tags: Vec<_> = scores.tags.iter().map(|tag| tag.as_str()).collect();
                    vec![
                        excerpt(&row.generated, 48),
                        index.to_string(),
                        scores.words.to_string(),
                        scores.rouge_l.map_or_else(|| "-".to_owned(), |rouge| format!("{rouge:.3}")),
                        scores.copied_run.to_string(),
                        format!("{:.2}", scores.coverage),
                        tags.join(" "),
                    ]
                })
                .collect();
            text.table(&["generated", "row", "words", "ROUGE-L", "copied", "coverage", "tags"], &table);
            if read.rows.len() > table.len() {
                text.line(format_args!("… and {} more rows; --json prints all", read.rows.len() - table.len()));
            }
        })
    }
}

impl Score {
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

/// The wire's summary, with tags as one object.
pub fn summary_json(summary: &ScoreSummary) -> Value {
    let mut value = json!(summary);
    let tags: Map<String, Value> =
        summary.tags.iter().map(|tag| (tag.tag.as_str().to_owned(), json!(tag.count))).collect();
    value["tags"] = Value::Object(tags);
    value
}

pub fn show(text: &mut Text, summary: &ScoreSummary) {
    text.field("pairs", format_args!("{} ({} with a reference)", summary.pairs, summary.with_reference));
    if let Some(rouge) = summary.rouge_l {
        let floor = summary.rouge_l_shuffled.map_or_else(String::new, |floor| format!("   shuffled floor {floor:.4}"));
        text.field("ROUGE-L F1", format_args!("{rouge:.4}{floor}"));
    }
    figures(text, "generated", &summary.generated);
    if let Some(reference) = &summary.reference {
        figures(text, "reference", reference);
    }
    let tags: Vec<String> = summary
        .tags
        .iter()
        .filter(|tag| tag.count > 0)
        .map(|tag| format!("{} {}", tag.count, tag.tag.as_str()))
        .collect();
    text.field("without failure tags", format_args!("{}   {}", summary.without_tags, tags.join(", ")));
}

fn figures(text: &mut Text, label: &str, figures: &TextFigures) {
    text.field(
        label,
        format_args!(
            "median {} words, copied {:.1} %, coverage {:.3}, density {:.2}, distinct-1 {:.3}, distinct-2 {:.3}",
            figures.median_words,
            100.0 * figures.copied,
            figures.coverage,
            figures.density,
            figures.distinct_1,
            figures.distinct_2
        ),
    );
}

fn read(path: &Path) -> Result<Rows> {
    let io = |error| adapter::error(engine::Error::io(path)(error));
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if size > MOST_BYTES {
        return Err(adapter::error(engine::Error::malformed(
            path,
            "size",
            format!("{size} bytes; at most {MOST_BYTES} are read"),
        )));
    }
    let mut reader = BufReader::new(file.take(MOST_BYTES));
    let mut rows = Rows::default();
    let start = first_byte(&mut reader).map_err(io)?;
    if start == Some(b'[') {
        let values: Vec<Value> = serde_json::from_reader(reader).map_err(|error| {
            adapter::error(engine::Error::malformed(path, format!("line {}", error.line()), error.to_string()))
        })?;
        for (at, value) in values.into_iter().enumerate() {
            rows.push(at as u64 + 1, Ok(value));
        }
        return Ok(rows);
    }
    for (at, line) in reader.split(b'\n').enumerate() {
        let line = line.map_err(io)?;
        if !line.iter().all(u8::is_ascii_whitespace) {
            rows.push(at as u64 + 1, serde_json::from_slice(&line));
        }
    }
    Ok(rows)
}

/// The first byte that is not white space, which stays to be read.
fn first_byte(reader: &mut impl std::io::BufRead) -> std::io::Result<Option<u8>> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        match buffer.iter().position(|byte| !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(byte)) {
            Some(at) => {
                let byte = buffer[at];
                // Line numbers of JSONL count from the file's start, so only an array's lead is skipped.
                if byte == b'[' {
                    reader.consume(at);
                }
                return Ok(Some(byte));
            }
            None => {
                let all = buffer.len();
                reader.consume(all);
            }
        }
    }
}

impl Rows {
    fn push(&mut self, line: u64, value: serde_json::Result<Value>) {
        let row = match value {
            Ok(value) => row(&value),
            Err(error) => Err(("row", format!("it is not JSON: {error}"))),
        };
        match row {
            Ok(row) => self.rows.push(row),
            Err((field, problem)) => {
                self.malformed_count += 1;
                if self.malformed.len() < MOST_SHOWN {
                    self.malformed.push(MalformedRow { line, field: field.to_owned(), problem });
                }
            }
        }
    }
}

fn row(value: &Value) -> std::result::Result<Row, (&'static str, String)> {
    let Some(fields) = value.as_object() else { return Err(("row", "it is not an object".to_owned())) };
    let text = |names: &[&'static str]| -> std::result::Result<Option<String>, (&'static str, String)> {
        for name in names {
            match fields.get(*name) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => return Ok(Some(text.clone())),
                Some(_) => return Err((*name, "it is not a text".to_owned())),
            }
        }
        Ok(None)
    };
    let missing = |field: &'static str| (field, "it is missing".to_owned());
    let response = text(&["response", "output"])?.ok_or_else(|| missing("response"))?;
    let written = text(&["generated", "generated_instruction"])?;
    let reference = text(&["reference", "original_instruction"])?;
    let instruction = text(&["instruction"])?;
    let (generated, reference) = match written {
        Some(generated) => (generated, reference.or(instruction)),
        None => (instruction.ok_or_else(|| missing("generated"))?, reference),
    };
    Ok(Row { response, generated, reference, ended: fields.get("ended").and_then(Value::as_bool) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_name_the_same_fields() {
        for text in [
            r#"{"response": "r", "generated": "g", "reference": "o"}"#,
            r#"{"response": "r", "generated_instruction": "g", "original_instruction": "o"}"#,
            r#"{"output": "r", "generated": "g", "instruction": "o"}"#,
        ] {
            let row = row(&serde_json::from_str(text).unwrap()).unwrap();
            assert_eq!(
                (row.response.as_str(), row.generated.as_str(), row.reference.as_deref()),
                ("r", "g", Some("o"))
            );
        }
        let alone = row(&json!({ "response": "r", "instruction": "g" })).unwrap();
        assert_eq!((alone.generated.as_str(), alone.reference), ("g", None));
    }

    #[test]
    fn a_malformed_row_is_named_by_line_and_field_and_the_rest_is_kept() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "\n{\"response\": \"r\", \"generated\": \"g\"}\nnonsense\n{\"generated\": \"g\"}\n",
        )
        .unwrap();
        let rows = read(file.path()).unwrap();
        assert_eq!((rows.rows.len(), rows.malformed_count), (1, 2));
        assert_eq!(
            rows.malformed.iter().map(|row| (row.line, row.field.as_str())).collect::<Vec<_>>(),
            [(3, "row"), (4, "response")]
        );
    }

    #[test]
    fn an_array_is_read_whatever_white_space_precedes_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\n  [{\"response\": \"r\", \"generated\": \"g\"}]\n").unwrap();
        assert_eq!(read(file.path()).unwrap().rows.len(), 1);
    }
}
