//! `report`: a frozen report as one HTML file, and whether a report.json is as it was frozen.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use spec::AppError;

use super::Result;
use super::files::check_output;
use super::flags::DataFolderFlag;
use super::output::Output;
use crate::work::report::report_sha256;
use crate::{adapter, offline};

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("what").required(true).args(["html", "verify"])),
    after_help = "\
The HTML file holds all pairs, and opens from the disk: filter, sort, search and links to rows work without a server and
without a network. Reports are read from the data folder, which a running server may be using.

Examples:
  backtranslate report 5 --html report.html
  backtranslate report --verify report.json"
)]
pub struct Report {
    /// Number of the report's run, as printed by `run`, and in the address of its page
    #[arg(required_unless_present = "verify", conflicts_with = "verify")]
    run: Option<i64>,
    /// Write the report to this file
    #[arg(long, value_name = "FILE", requires = "run")]
    html: Option<PathBuf>,
    /// Compare a downloaded report.json with the sha256 that it states
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
    #[command(flatten)]
    folder: DataFolderFlag,
}

impl Report {
    pub fn run(&self, output: &Output) -> Result<()> {
        match (self.run, &self.html, &self.verify) {
            (Some(run), Some(file), _) => self.write(output, run, file),
            (_, _, Some(file)) => verify(output, file),
            _ => Err(AppError::usage("Nothing is asked for.", "Give a run and --html FILE, or --verify FILE.")),
        }
    }

    fn write(&self, output: &Output, run: i64, file: &Path) -> Result<()> {
        check_output(file)?;
        let folder = self.folder.data.join("runs").join(run.to_string());
        let report = offline::parse(&offline::read(&folder)?)?;
        let (title, pairs) = (report.config.title.clone(), report.pairs.len());
        let html = offline::html(report);
        engine::artifact::write(file, html.as_bytes()).map_err(adapter::error)?;
        let answer = json!({ "run": run, "title": title, "pairs": pairs, "html": file, "bytes": html.len() });
        output.answer(&answer, |text| {
            text.field("report", format_args!("\"{title}\", {pairs} pairs"));
            text.field("written to", format_args!("{} ({} bytes)", file.display(), html.len()));
        })
    }
}

fn verify(output: &Output, file: &Path) -> Result<()> {
    let malformed = |problem: String| {
        AppError::malformed_file(
            format!("{}: {problem}", file.display()),
            "Give a report.json, as a report's page offers it.",
        )
    };
    let bytes = std::fs::read(file).map_err(|error| adapter::error(engine::Error::io(file)(error)))?;
    let report: Value = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
    let stated = report.pointer("/provenance/report_sha256").and_then(Value::as_str);
    let stated = stated.ok_or_else(|| malformed("it has no provenance.report_sha256".to_owned()))?.to_owned();
    let found = report_sha256(report);
    if found != stated {
        return Err(AppError::corrupt(
            format!("{}: its sha256 is {found}, but it states {stated}", file.display()),
            "The file was changed since the report was frozen. Download it again.",
        ));
    }
    output.answer(&json!({ "file": file, "sha256": found, "verified": true }), |text| {
        text.field("as it was frozen", file.display());
        text.field("sha256", &found);
    })
}
