//! A data folder that version 0.1.0 left: a finished experiment whose report is shared, one whose base model has NaN
//! weights (its evaluation was stored with a loss of `null`), one whose training was killed, and an upload.

use std::path::Path;
use std::time::Duration;

use server::service::Service;
use server::settings::Settings;
use spec::*;
use tempfile::TempDir;

use crate::support::eventually;

const FOLDER: &[u8] = include_bytes!("../fixtures/data-folder-0.1.0.tar.gz");
const MODEL: &str = "local-43abe1c4d63d";
const FINISHED: i64 = 2;
const NOT_A_NUMBER: i64 = 3;
const KILLED: i64 = 4;
const TRAINING: i64 = 13;
const REPORT: i64 = 5;
const TOKEN: &str = "32c080cc4a4d22cab3d3630f7a36a563647951275661390897f2891dc4155924";

/// The base model is where this checkout has it.
fn unpacked() -> TempDir {
    let data = tempfile::tempdir().unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(FOLDER)).unpack(data.path()).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/tests/fixtures/tiny-llama");
    let entry = serde_json::json!({ "name": "model", "path": model });
    std::fs::write(data.path().join(format!("models/{MODEL}.json")), entry.to_string()).unwrap();
    data
}

async fn run_of(service: &Service, experiment: i64, kind: CellKind) -> RunView {
    let notebook = service.ask(GetNotebook { experiment }).await.unwrap();
    notebook.cells.into_iter().find(|cell| cell.config.kind() == kind).unwrap().run.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_that_version_0_1_0_stored_is_readable_and_nothing_is_stale() {
    let data = unpacked();
    let service = Service::open(Settings::new(data.path())).unwrap();
    let experiments = service.ask(OpenExperiments {}).await.unwrap().experiments;
    let names: Vec<&str> = experiments.iter().rev().map(|experiment| experiment.name.as_str()).collect();
    assert_eq!(names, ["Quick start", "Finished", "Not a number", "Interrupted"]);
    for experiment in [FINISHED, NOT_A_NUMBER, KILLED] {
        for cell in service.ask(GetNotebook { experiment }).await.unwrap().cells {
            assert!(cell.stale.is_empty(), "{:?}: {:?}", cell.config.kind(), cell.stale);
            let error = cell.run.and_then(|run| run.error);
            assert!(error.as_ref().is_none_or(|error| error.code != ErrorCode::Corrupt), "{error:?}");
        }
    }

    let notebook = service.ask(GetNotebook { experiment: FINISHED }).await.unwrap();
    for run in notebook.cells.iter().filter_map(|cell| cell.run.as_ref()) {
        assert_eq!((run.state, &run.error), (RunState::Done, &None));
        assert!(run.output.is_some(), "{:?}", run.config.kind());
    }
    let train = run_of(&service, FINISHED, CellKind::Train).await;
    assert_eq!(train.last_step.unwrap().step, 6);
    assert!(!train.evaluations.is_empty() && !train.samples.is_empty());
    let generate = run_of(&service, FINISHED, CellKind::Generate).await.run;
    let pairs = service.ask(ListPairs { query: PairsQuery { run: generate, ..PairsQuery::default() } }).await.unwrap();
    assert_eq!(pairs.total, 4);
    assert!(pairs.pairs.iter().all(|pair| !pair.response.contains("cannot be read")));

    let report = service
        .ask(OpenReport { run: REPORT, query: ReportQuery { page: 0, ..Default::default() } })
        .await
        .unwrap()
        .report;
    assert_eq!((report.config.title.as_str(), report.pairs.len()), ("A report of version 0.1.0", 4));
    assert_eq!(
        service.ask(OpenSharedReport { token: TOKEN.to_owned(), query: ReportQuery::default() }).await.unwrap().report,
        report
    );

    let failed = run_of(&service, NOT_A_NUMBER, CellKind::Train).await;
    assert_eq!((failed.state, failed.error.unwrap().code), (RunState::Failed, ErrorCode::NonFinite));
    let files = service.ask(ListFiles {}).await.unwrap();
    assert!(files.iter().any(|file| file.name == "my pairs.jsonl" && file.size_bytes == 124));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_training_that_was_killed_under_version_0_1_0_goes_on_from_its_checkpoint() {
    let data = unpacked();
    let service = Service::open(Settings::new(data.path())).unwrap();
    let view = run_of(&service, KILLED, CellKind::Train).await;
    assert_eq!((view.run, view.state), (TRAINING, RunState::Interrupted));
    let last = service.last_seq(TRAINING).unwrap();
    service.ask(RunAll { experiment: KILLED, key: IdempotencyKey::default() }).await.unwrap();
    let report = eventually("the report", async || {
        let notebook = service.ask(GetNotebook { experiment: KILLED }).await.unwrap();
        for run in notebook.cells.iter().filter_map(|cell| cell.run.as_ref()) {
            assert_ne!(run.state, RunState::Failed, "{:?}: {:?}", run.config.kind(), run.error);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let run = notebook.cells.last()?.run.clone()?;
        (run.state == RunState::Done).then_some(run.run)
    })
    .await;
    assert_eq!(
        service
            .ask(OpenReport { run: report, query: ReportQuery { page: 0, ..Default::default() } })
            .await
            .unwrap()
            .report
            .train
            .steps,
        300
    );
    let events = service.events(TRAINING, last, 10_000).unwrap();
    let steps: Vec<u32> = events
        .iter()
        .filter_map(|event| match &event.event {
            RunEvent::Step { step } => Some(step.step),
            _ => None,
        })
        .collect();
    assert_eq!(steps, (41..=300).collect::<Vec<_>>());
}
