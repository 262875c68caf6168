//! `runs` and `export`: what a data folder holds, and its pairs as files. Both read beside a server that runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use spec::{
    AppError, CellKind, DecisionFilter, ExportQuery, FileType, PairFilter, PairSort, RowShape, RunView, TagFilter,
};

use super::Result;
use super::files::check_output;
use super::flags::DataFolderFlag;
use super::output::{Output, Stdout, grouped};
use super::run::summary;
use crate::export::{self, Written, to_file};
use crate::store::Store;

#[derive(Debug, Args)]
#[command(after_help = "\
Each run has a number: `export RUN` takes the pairs of a generate, curate or report run away, `resume RUN` resumes one.
A server may be running on the same data folder.")]
pub struct Runs {
    #[command(flatten)]
    folder: DataFolderFlag,
}

#[derive(Debug, Args)]
#[command(
    after_help = EXPORT_HELP,
    group(ArgGroup::new("target").args(["output", "dataset"]).required(true)),
)]
pub struct Export {
    /// Number of a generate, curate or report run, as `runs` lists it
    run: i64,
    /// File to write; - for standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Folder to make, with a dataset card and the rows as Parquet
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    dataset: Option<PathBuf>,
    /// Columns of the rows
    #[arg(long, value_name = "SHAPE", default_value = RowShape::Pairs.as_str(), value_parser = shapes())]
    rows: RowShape,
    /// Type of the file; dataset: the folder that --dataset makes, as .tar.gz
    #[arg(long, value_name = "TYPE", default_value = FileType::Jsonl.as_str(), value_parser = types())]
    file: FileType,
    /// Only pairs that are kept, by a decision or by the settings of the curate cell
    #[arg(long)]
    kept: bool,
    /// Only pairs with this failure tag; any: with at least one, none: without
    #[arg(long, value_name = "TAG", value_parser = tags())]
    tag: Option<TagFilter>,
    /// Only pairs with this decision
    #[arg(long, value_name = "DECISION", value_parser = decisions())]
    decision: Option<DecisionFilter>,
    /// Only pairs whose text holds this, in any case
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Order of the rows
    #[arg(long, value_name = "ORDER", default_value = PairSort::Index.as_str(), value_parser = orders())]
    sort: PairSort,
    #[command(flatten)]
    folder: DataFolderFlag,
}

const EXPORT_HELP: &str = "\
Row shapes:
  pairs              instruction and response with all scores, tags, decision and note
  alpaca             instruction, input (empty), output
  sharegpt           conversations: a list of from (human, gpt) and value
  messages           messages: a list of role (user, assistant) and content
  prompt_completion  prompt (the instruction), completion (the response)
  preference         prompt (the response), chosen (the edited instruction), rejected (the generated one);
                     only of pairs with an edited instruction
Every row also has source_row, the row of the corpus file, and source_id. docs/FORMATS.md has the columns and their types.

The pairs of a curate run are those of its generate run with the decisions as they are now, and its settings for the
rest; those of a report are as it froze them. In CSV a text that a spreadsheet would compute (it begins with = + - @, a tab
or a carriage return) has an apostrophe before it. Nothing is run or changed; a server may be running on the data folder.

Examples:
  backtranslate runs
  backtranslate export 4 --rows alpaca --kept -o kept.jsonl
  backtranslate export 4 --file csv --decision edited -o - | head
  backtranslate export 6 --rows messages --dataset my-dataset/";

fn shapes() -> impl TypedValueParser<Value = RowShape> {
    named(RowShape::ALL.iter().copied(), RowShape::as_str)
}

fn types() -> impl TypedValueParser<Value = FileType> {
    named(FileType::ALL.iter().copied(), FileType::as_str)
}

fn orders() -> impl TypedValueParser<Value = PairSort> {
    named(PairSort::ALL.iter().copied(), PairSort::as_str)
}

fn tags() -> impl TypedValueParser<Value = TagFilter> {
    named(TagFilter::choices(), TagFilter::as_str)
}

fn decisions() -> impl TypedValueParser<Value = DecisionFilter> {
    named(DecisionFilter::ALL.iter().copied(), DecisionFilter::as_str)
}

/// One of these, by its spelling. The value without a spelling is what no flag means.
fn named<T: Copy + Send + Sync + 'static>(
    values: impl Iterator<Item = T>,
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let values: Vec<T> = values.filter(|value| !name(*value).is_empty()).collect();
    let names = values.iter().copied().map(name).collect::<Vec<_>>();
    PossibleValuesParser::new(names).try_map(move |text| {
        values.iter().copied().find(|value| name(*value) == text).ok_or_else(|| format!("there is no {text}"))
    })
}

impl Runs {
    pub fn run(&self, output: &Output) -> Result<()> {
        let store = open(&self.folder.data)?;
        let names: HashMap<i64, String> =
            store.experiments()?.into_iter().map(|experiment| (experiment.id, experiment.name)).collect();
        let mut runs = Vec::new();
        for row in store.all_runs()? {
            let view = store.view(&row)?;
            runs.push((names.get(&row.experiment).cloned().unwrap_or_default(), row.experiment, view));
        }
        let answer: Vec<Value> =
            runs.iter().map(|(name, experiment, view)| run_json(name, *experiment, view)).collect();
        output.answer(&json!({ "data": self.folder.data, "runs": answer }), |text| {
            let rows: Vec<Vec<String>> = runs.iter().map(|(name, _, view)| run_row(name, view)).collect();
            if rows.is_empty() {
                text.line(format_args!("No cell was run yet in {}.", self.folder.data.display()));
            } else {
                text.table(&["run", "cell", "state", "started", "experiment", "result"], &rows);
            }
        })
    }
}

fn run_json(experiment: &str, id: i64, view: &RunView) -> Value {
    json!({
        "run": view.run,
        "experiment": id,
        "name": experiment,
        "kind": view.config.kind(),
        "state": view.state,
        "created_ms": view.created_ms,
        "ended_ms": view.ended_ms,
        "has_pairs": matches!(view.config.kind(), CellKind::Generate | CellKind::Curate | CellKind::Report),
        "result": summary(view),
    })
}

fn run_row(experiment: &str, view: &RunView) -> Vec<String> {
    vec![
        view.run.to_string(),
        view.config.kind().as_str().to_owned(),
        view.state.as_str().to_owned(),
        app::moment(view.created_ms),
        super::output::excerpt(experiment, 32),
        summary(view),
    ]
}

impl Export {
    pub fn run(&self, output: &Output) -> Result<()> {
        let to_stdout = self.output.as_deref() == Some(Path::new("-"));
        if to_stdout && output.is_json() {
            return Err(AppError::usage(
                "--json and -o - both write to standard output",
                "Leave --json out, or write to a file with -o FILE.",
            ));
        }
        if let Some(file) = self.output.as_deref().filter(|_| !to_stdout) {
            check_output(file)?;
        }
        let store = open(&self.folder.data)?;
        let export = export::Export::of_run(&store, self.run, self.query())?;
        let (written, path) = match (&self.dataset, &self.output) {
            (Some(folder), _) => (export.write_folder(&store, folder)?, folder),
            (None, Some(_)) if to_stdout => {
                let mut stdout = Stdout::new();
                return match export.write(&store, &mut stdout) {
                    // A reader that closed the pipe has what it wanted.
                    Err(_) if stdout.is_closed() => Ok(()),
                    written => written.map(drop),
                };
            }
            (None, Some(file)) => (to_file(file, |out| export.write(&store, out))?, file),
            (None, None) => return Err(AppError::usage("neither -o nor --dataset is given", "Give one of them.")),
        };
        self.conclude(output, &export, written, path)
    }

    fn query(&self) -> ExportQuery {
        let filter = PairFilter {
            tag: self.tag.unwrap_or_default(),
            decision: self.decision.unwrap_or(DecisionFilter::All),
            text: self.text.clone().unwrap_or_default(),
            sort: self.sort,
        };
        let file = if self.dataset.is_some() { FileType::Dataset } else { self.file };
        ExportQuery { rows: self.rows, file, kept_only: self.kept, filter }
    }

    fn conclude(&self, output: &Output, export: &export::Export, written: Written, path: &Path) -> Result<()> {
        let answer = json!({
            "run": self.run,
            "rows": export.query.rows,
            "file": export.query.file,
            "path": path,
            "written": written,
        });
        output.answer(&answer, |text| {
            text.field("written to", path.display());
            text.field("rows", grouped(written.rows));
            text.field("pairs selected", grouped(written.pairs));
            text.field("kept of them", grouped(written.kept));
            text.field("edited", grouped(written.edited));
            if written.unreadable > 0 {
                text.field("unreadable, left out", grouped(written.unreadable));
            }
            if written.rows == 0 && export.query.rows == RowShape::Preference {
                text.line("Only pairs with an edited instruction have a preference row; none was selected.");
            }
        })
    }
}

fn open(data: &Path) -> Result<Store> {
    Ok(Store::open_to_read(&data.join("backtranslate.sqlite"))?)
}
