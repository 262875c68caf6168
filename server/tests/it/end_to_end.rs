//! The real engine behind the service, on the smallest model there is: every cell, from data to report.

use std::path::Path;
use std::time::{Duration, Instant};

use server::service::Service;
use server::settings::Settings;
use spec::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_engine_runs_an_experiment_from_data_to_report() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/tests/fixtures/tiny-llama");
    let data = tempfile::tempdir().unwrap();
    let service = Service::open(Settings::new(data.path())).unwrap();
    let model = service.resources().import_model(&fixture).unwrap();
    let cells = [
        CellConfig::Data(DataConfig::default()),
        CellConfig::Model(ModelConfig { model }),
        CellConfig::Train(TrainConfig {
            epochs: 1,
            max_steps: Some(3),
            max_seq_length: 256,
            samples: 1,
            ..TrainConfig::default()
        }),
        CellConfig::Generate(GenerateConfig { limit: Some(3), max_new_tokens: 8, ..GenerateConfig::default() }),
        CellConfig::Report(ReportConfig::default()),
    ];
    let experiment = service.create_from("Tiny", &cells).unwrap();
    service.ask(RunAll { experiment, key: IdempotencyKey::default() }).await.unwrap();
    let begun = Instant::now();
    let report = loop {
        let notebook = service.ask(GetNotebook { experiment }).await.unwrap();
        for run in notebook.cells.iter().filter_map(|cell| cell.run.as_ref()) {
            assert_ne!(run.state, RunState::Failed, "{}: {:?}", run.config.kind().as_str(), run.error);
        }
        let last = notebook.cells.last().unwrap().run.clone().unwrap();
        if last.state == RunState::Done {
            break service
                .ask(OpenReport { run: last.run, query: ReportQuery { page: 0, ..Default::default() } })
                .await
                .unwrap()
                .report;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", last.state);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(report.pairs.len(), 3);
    assert_eq!(report.train.steps, 3);
    assert_eq!(report.curve.steps(), 3);
    assert_eq!(report.experiment, "Tiny");
    // The sample's responses are none of its training pairs'.
    assert_eq!(report.overlap, Some(Overlap { responses: 3, equal: 0 }));
    assert_eq!(report.scores.rouge_l_interval.is_some(), report.scores.with_reference > 1);
    let notebook = service.ask(GetNotebook { experiment }).await.unwrap();
    assert!(notebook.cells.iter().all(|cell| cell.stale.is_empty()));
}
