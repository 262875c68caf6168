//! `run` and `resume`: the whole pipeline without a browser, through the same service, store and folders as with one.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use spec::{AppError, Cell, CellKind, IdempotencyKey, Notebook, ResumeRun, RunAll, RunState, RunView};

use super::experiment::ExperimentFile;
use super::flags::{DataFolderFlag, DeviceFlag};
use super::follow::follow;
use super::output::{Output, excerpt};
use super::{Result, runtime};
use crate::service::Service;
use crate::settings::Settings;
use crate::work::report::REPORT;

#[derive(Debug, Args)]
#[command(after_help = "\
The file has the tables [experiment], [data], [model], [train], [generate], [curate] and [report]; examples/ holds commented files.
Paths in it are relative to it. Ctrl-C saves and stops; `backtranslate resume RUN` resumes. `backtranslate serve` on the
same data folder shows the experiment in a browser.")]
pub struct Run {
    /// The experiment file (TOML)
    experiment: PathBuf,
    #[command(flatten)]
    folder: DataFolderFlag,
    #[command(flatten)]
    device: DeviceFlag,
}

#[derive(Debug, Args)]
pub struct Resume {
    /// Number of the run, as printed by `run`
    run: i64,
    /// Only this run, not the cells after it
    #[arg(long)]
    only: bool,
    #[command(flatten)]
    folder: DataFolderFlag,
    #[command(flatten)]
    device: DeviceFlag,
}

impl Run {
    pub fn run(&self, output: &Output) -> Result<()> {
        let file = ExperimentFile::read(&self.experiment)?;
        let beside = self.experiment.parent().map(PathBuf::from).unwrap_or_default();
        with_service(&self.folder, &self.device, |service, runtime| {
            let cells = file.cells(&beside, service.resources())?;
            let experiment = service.create_from(&file.name, &cells)?;
            let notebook = runtime.block_on(async {
                let mut notices = service.subscribe();
                service.ask(RunAll { experiment, key: key()? }).await?;
                follow(service, experiment, &mut notices).await
            })?;
            conclude(output, service, &notebook, &self.folder)
        })
    }
}

impl Resume {
    pub fn run(&self, output: &Output) -> Result<()> {
        with_service(&self.folder, &self.device, |service, runtime| {
            let notebook = runtime.block_on(async {
                let mut notices = service.subscribe();
                let notebook = service.ask(ResumeRun { run: self.run, key: key()? }).await?;
                let experiment = notebook.id;
                let notebook = follow(service, experiment, &mut notices).await?;
                let resumed =
                    notebook.cells.iter().filter_map(|cell| cell.run.as_ref()).find(|run| run.run == self.run);
                let go_on =
                    !self.only && resumed.is_some_and(|run| run.state == RunState::Done) && !complete(&notebook);
                if !go_on {
                    return Ok(notebook);
                }
                service.ask(RunAll { experiment, key: key()? }).await?;
                follow(service, experiment, &mut notices).await
            })?;
            conclude(output, service, &notebook, &self.folder)
        })
    }
}

/// Opens the service, and closes it whatever happens: a run under way is saved.
pub(super) fn with_service(
    folder: &DataFolderFlag,
    device: &DeviceFlag,
    body: impl FnOnce(&Arc<Service>, &tokio::runtime::Runtime) -> Result<()>,
) -> Result<()> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let mut settings = Settings::new(&folder.data);
    settings.device.clone_from(&device.device);
    let service = Service::open(settings)?;
    let outcome = body(&service, &runtime);
    service.shutdown();
    outcome
}

fn key() -> Result<IdempotencyKey> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| AppError::internal(format!("no random bytes: {error}"), ""))?;
    engine::artifact::hex(&bytes).try_into()
}

fn runnable(notebook: &Notebook) -> impl Iterator<Item = &Cell> {
    notebook.cells.iter().filter(|cell| cell.config.kind() != CellKind::Note)
}

fn complete(notebook: &Notebook) -> bool {
    runnable(notebook)
        .all(|cell| cell.stale.is_empty() && cell.run.as_ref().is_some_and(|run| run.state == RunState::Done))
}

/// The results and the path of the report, or which run did not finish and how to resume it.
fn conclude(output: &Output, service: &Service, notebook: &Notebook, folder: &DataFolderFlag) -> Result<()> {
    let unfinished = runnable(notebook)
        .filter_map(|cell| cell.run.as_ref())
        .find(|run| run.state.is_over() && run.state != RunState::Done);
    if let Some(run) = unfinished {
        return Err(not_finished(run, folder));
    }
    let data = folder.data.display();
    let report = runnable(notebook)
        .filter(|cell| cell.config.kind() == CellKind::Report)
        .find_map(|cell| cell.run.as_ref().filter(|run| run.state == RunState::Done));
    let report_file = report.map(|run| service.run_folder(run.run).join(REPORT));
    let cells: Vec<Value> = runnable(notebook)
        .map(|cell| {
            let run = cell.run.as_ref();
            json!({
                "kind": cell.config.kind(),
                "run": run.map(|run| run.run),
                "state": run.map(|run| run.state),
                "folder": run.map(|run| service.run_folder(run.run)),
                "output": run.and_then(|run| run.output.as_ref()),
            })
        })
        .collect();
    let answer = json!({
        "experiment": notebook.id,
        "name": notebook.name,
        "cells": cells,
        "report": report_file,
        "report_page": report.map(|run| format!("/reports/{}", run.run)),
    });
    output.answer(&answer, |text| {
        text.field("experiment", format_args!("{} ({})", notebook.name, notebook.id));
        for run in runnable(notebook).filter_map(|cell| cell.run.as_ref()) {
            text.field(run.config.kind().as_str(), format_args!("run {}: {}", run.run, summary(run)));
        }
        if let (Some(run), Some(file)) = (report, &report_file) {
            text.field("report", file.display());
            text.line(format_args!(
                "To read or share it, run `backtranslate serve --data {data}` and open /reports/{}",
                run.run
            ));
        }
    })
}

fn not_finished(run: &RunView, folder: &DataFolderFlag) -> AppError {
    let kind = run.config.kind().as_str();
    let resume = format!("backtranslate resume {} --data {}", run.run, folder.data.display());
    match &run.error {
        Some(error) => AppError::new(
            error.code,
            format!("{kind} (run {}): {}", run.run, error.message),
            format!("{} To resume it: {resume}", error.hint).trim_start(),
        ),
        None => AppError::new(
            if run.state == RunState::Interrupted { spec::ErrorCode::Interrupted } else { spec::ErrorCode::Stopped },
            format!("{kind} (run {}) is {}", run.run, run.state.as_str()),
            format!("To resume it: {resume}"),
        ),
    }
}

/// What a run made, in a few words.
pub(super) fn summary(run: &RunView) -> String {
    use spec::CellOutput;
    match &run.output {
        Some(CellOutput::Data(data)) => {
            format!("{} pairs to train on, {} to validate", data.train_pairs, data.validation_pairs)
        }
        Some(CellOutput::Model(model)) => {
            format!("{}, {} parameters", model.id, super::output::grouped(model.parameters))
        }
        Some(CellOutput::Train(train)) => match (train.validation_loss_before, train.validation_loss) {
            (Some(before), Some(after)) => format!("{} steps, validation loss {before:.3} -> {after:.3}", train.steps),
            _ => format!("{} steps, loss {:.3}", train.steps, train.loss),
        },
        Some(CellOutput::Generate(generate)) => {
            format!("{} pairs, {} without failure tags", generate.pairs, generate.scores.without_tags)
        }
        Some(CellOutput::Curate(curate)) => format!("{} of {} pairs kept", curate.kept, curate.counts.pairs),
        Some(CellOutput::Report(report)) => format!("\"{}\", {} pairs", excerpt(&report.title, 60), report.pairs),
        None => run.state.as_str().to_owned(),
    }
}
