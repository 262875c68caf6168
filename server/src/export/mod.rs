//! Pairs as files that people take away: which pairs, as which rows, in which type of file.
//!
//! Reads the store and writes to whatever it is given, pair by pair, so that memory does not grow with their number. Runs
//! nothing, and changes nothing.

mod card;
mod dataset;
mod facts;
mod parquet;
mod rows;
mod text;

use std::io::Write;

use serde::Serialize;
use spec::{AppError, CellConfig, CellKind, CurateConfig, ExportQuery, FileType, RowShape};

use crate::store::{PairSource, Store};
pub use dataset::to_file;
use facts::Facts;
use rows::{Column, Exported, Value};

type Result<T, E = AppError> = std::result::Result<T, E>;

/// An export that was asked for and can be written.
#[derive(Clone, Debug)]
pub struct Export {
    pub query: ExportQuery,
    source: PairSource,
    /// Whose pairs these are: a generate run, or a report's.
    run: i64,
    /// Decides where nobody did.
    curate: CurateConfig,
    /// Notes are for the owner.
    notes: bool,
    /// Of the report, else of the experiment.
    title: String,
    facts: Facts,
}

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Rows in the file.
    pub rows: u64,
    /// Pairs that the filter shows.
    pub pairs: u64,
    /// Of these pairs.
    pub kept: u64,
    pub edited: u64,
    /// Pairs whose record cannot be read; they are left out.
    pub unreadable: u64,
}

impl Export {
    /// Of a generate, curate or report run.
    pub fn of_run(store: &Store, run: i64, query: ExportQuery) -> Result<Self> {
        query.filter.check()?;
        let row = store.run(run)?;
        let (generate, curate) = match &row.config {
            CellConfig::Report(_) if store.has_report(run)? => return Self::of_report(store, run, query),
            CellConfig::Generate(_) => (run, CurateConfig::default()),
            CellConfig::Curate(config) => {
                row.check_readable()?;
                let input = row.inputs.iter().find(|input| input.kind == CellKind::Generate);
                (input.ok_or_else(|| without_pairs(run))?.run, config.clone())
            }
            _ => return Err(without_pairs(run)),
        };
        let generate = store.run(generate)?;
        Ok(Self {
            source: PairSource::Generated,
            run: generate.id,
            curate,
            notes: query.file != FileType::Dataset,
            title: store.experiment_name(row.experiment)?,
            facts: Facts::of_run(store, &generate)?,
            query,
        })
    }

    /// Of a frozen report, for its owner and for whoever has a link to it: never with notes.
    pub fn of_report(store: &Store, run: i64, query: ExportQuery) -> Result<Self> {
        query.filter.check()?;
        let report = store.report(run)?;
        Ok(Self {
            source: PairSource::Report,
            run,
            curate: report.curate.as_ref().map(|curate| curate.config.clone()).unwrap_or_default(),
            notes: false,
            title: report.config.title.clone(),
            facts: Facts::of_report(report),
            query,
        })
    }

    /// Without an ending, and without anything that a file system could take for more than a name.
    fn stem(&self) -> String {
        const MOST: usize = 80;
        let safe = |c: char| if c.is_alphanumeric() || " -_.,()+".contains(c) { c } else { '-' };
        let name: String = self.title.chars().map(safe).take(MOST).collect();
        let name = name.trim_matches(|c: char| c.is_whitespace() || c == '.' || c == '-');
        let shape = self.query.rows.as_str();
        if name.is_empty() { format!("pairs {shape}") } else { format!("{name} {shape}") }
    }

    pub fn file_name(&self) -> String {
        let ending = match self.query.file {
            FileType::Jsonl => "jsonl",
            FileType::Csv => "csv",
            FileType::Parquet => "parquet",
            FileType::Dataset => "tar.gz",
        };
        format!("{}.{ending}", self.stem())
    }

    pub fn content_type(&self) -> &'static str {
        match self.query.file {
            FileType::Jsonl => "application/jsonl",
            FileType::Csv => "text/csv; charset=utf-8",
            FileType::Parquet => "application/vnd.apache.parquet",
            FileType::Dataset => "application/gzip",
        }
    }

    /// Writes the file. Blocks.
    pub fn write<W: Write + Send>(&self, store: &Store, out: W) -> Result<Written> {
        match self.query.file {
            FileType::Dataset => dataset::archive(self, store, out),
            file => self.write_rows(store, file, out),
        }
    }

    fn write_rows<W: Write + Send>(&self, store: &Store, file: FileType, out: W) -> Result<Written> {
        let columns = rows::columns(self.query.rows, self.notes);
        let mut writer = row_writer(file, &columns, out).map_err(unwritable)?;
        let mut written = Written::default();
        store.visit_pairs(self.source, self.run, &self.query.filter, |pair| {
            let Ok(pair) = pair else {
                written.unreadable += 1;
                return Ok(());
            };
            let kept = self.curate.keeps(&pair);
            written.pairs += 1;
            written.kept += u64::from(kept);
            written.edited += u64::from(pair.is_edited());
            if (self.query.kept_only && !kept) || !rows::has_row(self.query.rows, &pair) {
                return Ok(());
            }
            let row = Exported { pair: &pair, kept };
            let values: Vec<Value<'_>> = columns.iter().map(|column| column.value(&row)).collect();
            written.rows += 1;
            writer.row(&values).map_err(unwritable)
        })?;
        writer.finish().map_err(unwritable)?;
        if written.unreadable > 0 {
            tracing::warn!(
                run = self.run,
                pairs = written.unreadable,
                "pairs that cannot be read were left out of an export"
            );
        }
        Ok(written)
    }

    /// Writes the dataset as a folder: a card, and the rows as Parquet. Refuses a folder that holds something.
    pub fn write_folder(&self, store: &Store, folder: &std::path::Path) -> Result<Written> {
        dataset::folder(self, store, folder)
    }
}

/// Takes rows of one shape, and makes a file of them.
trait RowWriter {
    fn row(&mut self, values: &[Value<'_>]) -> std::io::Result<()>;
    fn finish(self: Box<Self>) -> std::io::Result<()>;
}

fn row_writer<'a, W: Write + Send + 'a>(
    file: FileType,
    columns: &[&Column],
    out: W,
) -> std::io::Result<Box<dyn RowWriter + 'a>> {
    Ok(match file {
        FileType::Jsonl => Box::new(text::Jsonl::new(columns, out)),
        FileType::Csv => Box::new(text::Csv::new(columns, out)?),
        FileType::Parquet | FileType::Dataset => Box::new(parquet::Parquet::new(columns, out)?),
    })
}

// By value since it is a `map_err` argument.
#[expect(clippy::needless_pass_by_value)]
fn unwritable(error: std::io::Error) -> AppError {
    AppError::io(format!("The export cannot be written: {error}."), "Free some disk space, or write elsewhere.")
}

fn without_pairs(run: i64) -> AppError {
    AppError::not_found(
        format!("Run {run} has no pairs to export."),
        "Export a run of a Generate, Curate or Report cell; `backtranslate runs` lists them.",
    )
}

/// What the rows of a shape are, in a sentence.
fn meaning(shape: RowShape) -> &'static str {
    match shape {
        RowShape::Pairs => {
            "Each row is a pair of instruction and response, with its scores and what was decided on it."
        }
        RowShape::Alpaca => "Each row has an `instruction`, an empty `input`, and the response as `output`.",
        RowShape::Sharegpt => "Each row has `conversations`: the instruction (`human`), then the response (`gpt`).",
        RowShape::Messages => "Each row has `messages`: the instruction (`user`), then the response (`assistant`).",
        RowShape::PromptCompletion => "Each row has the instruction as `prompt` and the response as `completion`.",
        RowShape::Preference => {
            "Each row has the response as `prompt`. Where a person wrote or picked another instruction, that is `chosen` and \
             the generated one `rejected`; otherwise the candidate that ranked first is `chosen` and the one that ranked \
             last `rejected`."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(title: &str) -> String {
        let export = Export {
            query: ExportQuery { rows: RowShape::Alpaca, ..ExportQuery::default() },
            source: PairSource::Report,
            run: 1,
            curate: CurateConfig::default(),
            notes: false,
            title: title.to_owned(),
            facts: Facts::default(),
        };
        export.file_name()
    }

    #[test]
    fn a_file_name_is_one_name_whatever_the_title_is() {
        for (title, name) in [
            ("Quick start", "Quick start alpaca.jsonl"),
            ("../../etc/passwd", "etc-passwd alpaca.jsonl"),
            ("a\"b\r\nc\u{202e}d", "a-b--c-d alpaca.jsonl"),
            ("..", "pairs alpaca.jsonl"),
            ("Zürich, 東京", "Zürich, 東京 alpaca.jsonl"),
        ] {
            assert_eq!(named(title), name, "{title:?}");
        }
        assert!(named(&"ä".repeat(5_000)).chars().count() < 100);
    }
}
