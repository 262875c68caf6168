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
        CellConfig::Generate(GenerateConfig {
            limit: Some(3),
            max_new_tokens: 8,
            candidates: 2,
            evaluated_pairs: 2,
            ..GenerateConfig::default()
        }),
        CellConfig::Curate(CurateConfig { undecided_tagged: Decision::Keep, ..CurateConfig::default() }),
        CellConfig::Report(ReportConfig::default()),
    ];
    let experiment = service.create_from("Tiny", &cells).unwrap();
    let report = finished(&service, experiment).await;
    assert_eq!(report.pairs.len(), 3);
    assert_eq!(report.train.steps, 3);
    assert_eq!(report.curve.steps(), 3);
    assert_eq!(report.experiment, "Tiny");
    // The sample's responses are none of its training pairs'.
    assert_eq!(report.overlap, Some(Overlap { responses: 3, equal: 0, near: Some(0) }));
    assert_eq!(report.scores.rouge_l_interval.is_some(), report.scores.with_reference > 1);
    let curate = report.curate.unwrap();
    assert_eq!((curate.output.kept, curate.output.counts.undecided()), (3, 3));
    for (at, pair) in report.pairs.iter().enumerate() {
        assert_eq!((pair.candidates.len(), &pair.candidates[0].text), (2, &pair.generated));
        assert_eq!(
            (pair.baseline.is_some(), pair.likelihood.is_some()),
            (at < 2, at < 2),
            "the first two are evaluated"
        );
    }
    assert!(report.scores.near_duplicates.is_some());
    let likelihood = report.scores.likelihood.as_ref().unwrap();
    assert_eq!((likelihood.pairs, likelihood.ranked, likelihood.picked_out.shuffled.unwrap().mean), (2, 2, 0.5));
    assert_eq!(report.scores.baseline.as_ref().unwrap().pairs, 2);
    assert_eq!(report.ratings, None);
    let notebook = service.ask(GetNotebook { experiment }).await.unwrap();
    assert!(notebook.cells.iter().all(|cell| cell.stale.is_empty()));

    // What a person decides is in the next report and in what is trained on; the first report stays as it was.
    let run_of = |notebook: &Notebook, kind: CellKind| {
        let cell = notebook.cells.iter().find(|cell| cell.config.kind() == kind);
        cell.and_then(|cell| cell.run.as_ref()).unwrap().run
    };
    let generate = run_of(&notebook, CellKind::Generate);
    let replay = |indexes: Vec<u32>| service.ask(ReplayPairs { run: generate, indexes });
    let replayed = replay(vec![2, 0]).await.unwrap();
    assert_eq!(replayed.iter().map(|pair| pair.index).collect::<Vec<_>>(), [2, 0]);
    assert!(replayed.iter().all(Replayed::is_identical), "{replayed:?}");
    assert_eq!(replay(vec![]).await.unwrap_err().code, ErrorCode::InvalidSetting);
    assert_eq!(replay(vec![0; 65]).await.unwrap_err().code, ErrorCode::InvalidSetting);
    let part = |index: u32, part: CurationPart| CurationChange { index, part };
    let changes = vec![
        part(0, CurationPart::Decision(Some(Decision::Drop))),
        part(1, CurationPart::Instruction(Some("Explain this.".to_owned()))),
        part(1, CurationPart::Note("private".to_owned())),
    ];
    service.ask(CuratePairs { run: generate, changes }).await.unwrap();
    let grades = [Some(4), Some(2), None, Some(5)];
    service.ask(RateItem { run: generate, rater: "Ada".to_owned(), item: 0, grades }).await.unwrap();
    let second = finished(&service, experiment).await;
    let notebook = service.ask(GetNotebook { experiment }).await.unwrap();
    assert_eq!(run_of(&notebook, CellKind::Generate), generate, "nothing is generated again");
    assert!(notebook.cells.iter().all(|cell| cell.stale.is_empty()));
    let ratings = second.ratings.as_ref().unwrap();
    assert_eq!((ratings.raters, ratings.rated, ratings.texts.len()), (1, 1, 1));
    assert_eq!(ratings.texts[0].means.map(|mean| mean.map(|mean| mean.mean)), [Some(4.0), Some(2.0), None, Some(5.0)]);
    let curate = second.curate.unwrap();
    assert_eq!((curate.output.kept, curate.output.counts.drop, curate.output.counts.edited), (2, 1, 1));
    assert_eq!(second.pairs[0].decision(), Some(Decision::Drop));
    assert_eq!(second.pairs[1].instruction(), "Explain this.");
    assert!(second.pairs.iter().all(|pair| pair.curation.as_ref().is_none_or(|curation| curation.note.is_empty())));
    assert!(report.pairs.iter().all(|pair| pair.decision().is_none()));
    // What a replay would be computed from has changed: it is refused, not computed from something else.
    let adapter = service.run_folder(run_of(&notebook, CellKind::Train)).join("adapter/adapter_model.safetensors");
    let mut bytes = std::fs::read(&adapter).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&adapter, bytes).unwrap();
    let refused = service.ask(ReplayPairs { run: generate, indexes: vec![0] }).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Corrupt, "{refused:?}");
    let file = service.ask(AddKeptPairs { run: run_of(&notebook, CellKind::Curate) }).await.unwrap();
    assert_eq!(file.name, "Kept pairs of Tiny.jsonl");
    let text = std::fs::read_to_string(service.resources().file(&file.id).unwrap()).unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0]["instruction"], &rows[0]["response"]),
        (&"Explain this.".into(), &second.pairs[1].response.clone().into())
    );
    assert!(file.notice.contains("CC0"), "the licence of the corpus goes with it: {}", file.notice);
}

/// Runs everything; the report.
async fn finished(service: &Service, experiment: i64) -> Report {
    service.ask(RunAll { experiment, key: IdempotencyKey::default() }).await.unwrap();
    let begun = Instant::now();
    loop {
        let notebook = service.ask(GetNotebook { experiment }).await.unwrap();
        for run in notebook.cells.iter().filter_map(|cell| cell.run.as_ref()) {
            assert_ne!(run.state, RunState::Failed, "{}: {:?}", run.config.kind().as_str(), run.error);
        }
        let last = notebook.cells.last().unwrap().run.clone().unwrap();
        if last.state == RunState::Done {
            let query = ReportQuery { page: 0, ..ReportQuery::default() };
            return service.ask(OpenReport { run: last.run, query }).await.unwrap().report;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", last.state);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
