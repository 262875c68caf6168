//! What was saved is used: interrupted work is resumed, nothing is set aside unasked, and what changed on disk is
//! refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use server::service::Service;
use server::settings::Settings;
use server::work::Ended;
use spec::*;

use crate::support::{cell, fake, finished_report, open, run_of, wait_for, wait_until_done};

async fn run(service: &Service, cell: i64, retrain: bool) -> Result<Notebook, AppError> {
    service.ask(RunCell { cell, retrain, key: IdempotencyKey::default() }).await
}

async fn set(service: &Service, kind: CellKind, setting: &str, value: impl ToString) {
    let cell = cell(service, 1, kind).await;
    let changes = vec![(setting.to_owned(), value.to_string())];
    let save = SaveCell { cell: cell.id, changes, client: IdempotencyKey::default(), number: cell.version + 1 };
    service.ask(save).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_training_runs_again_once_the_person_confirmed_it() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    finished_report(&service).await;
    let train = cell(&service, 1, CellKind::Train).await;
    let generate = cell(&service, 1, CellKind::Generate).await.id;
    set(&service, CellKind::Train, "rank", 17).await;
    let refused = run(&service, generate, false).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NeedsRun);
    assert!(refused.message.contains("3 optimizer steps"), "{}", refused.message);
    assert_eq!(run_of(&service, CellKind::Train).await.run, train.run.unwrap().run, "nothing was queued");

    let notebook = run(&service, generate, true).await.unwrap();
    let queued = notebook.cells.iter().find(|cell| cell.id == generate).unwrap().run.as_ref().unwrap().run;
    wait_for(&service, queued, RunState::Done).await;
    let trained = cell(&service, 1, CellKind::Train).await;
    assert!(trained.stale.is_empty());
    assert_eq!(trained.run.unwrap().state, RunState::Done);
}

/// Generations stop after two pairs, until the gate is opened. Notes what each found done, and its earlier seconds.
fn stopping(gate: &fake::Gate, seen: &Arc<Mutex<Vec<(usize, f64)>>>) -> fake::Work {
    let (gate, seen) = (gate.clone(), Arc::clone(seen));
    Arc::new(move |context, emit| {
        if context.config.kind() == CellKind::Generate {
            seen.lock().unwrap().push((context.done_pairs.len(), context.earlier_s));
            if context.done_pairs.is_empty() {
                emit(RunEvent::Pair { pair: fake::pair(0) });
                std::thread::sleep(std::time::Duration::from_millis(50));
                emit(RunEvent::Pair { pair: fake::pair(1) });
                if !gate.wait(context) {
                    return Ok(Ended::Stopped);
                }
            }
        }
        Ok(fake::finish(context, emit))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_resumes_the_stopped_generation_above_it_and_adds_up_its_time() {
    let data = tempfile::tempdir().unwrap();
    let (gate, seen) = (fake::Gate::default(), Arc::default());
    let service = open(data.path(), stopping(&gate, &seen));
    let report = cell(&service, 1, CellKind::Report).await.id;
    run(&service, report, false).await.unwrap();
    let generation = run_of(&service, CellKind::Generate).await.run;
    wait_for(&service, generation, RunState::Running).await;
    crate::support::eventually("two pairs", async || {
        run_of(&service, CellKind::Generate).await.pairs.get(1).map(|_| ())
    })
    .await;
    service.ask(StopRun { run: generation, mode: StopMode::Save }).await.unwrap();
    wait_for(&service, generation, RunState::Stopped).await;
    let report_run = run_of(&service, CellKind::Report).await.run;
    wait_for(&service, report_run, RunState::Stopped).await;
    let stopped = cell(&service, 1, CellKind::Generate).await;
    assert_eq!((stopped.can_resume, stopped.discards), (true, Some(Discards::Pairs(2))));

    set(&service, CellKind::Generate, "temperature", 0.1).await;
    let changed = cell(&service, 1, CellKind::Generate).await;
    assert_eq!((changed.can_resume, changed.discards), (false, Some(Discards::Pairs(2))));
    assert_eq!(run(&service, report, false).await.unwrap_err().code, ErrorCode::NeedsRun);
    set(&service, CellKind::Generate, "temperature", 0.7).await;

    run(&service, report, false).await.unwrap();
    wait_until_done(&service, 1).await;
    assert_eq!(run_of(&service, CellKind::Generate).await.run, generation, "resumed, not started anew");
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.iter().map(|(done, _)| *done).collect::<Vec<_>>(), [0, 2]);
    assert!(seen[0].1 == 0.0 && seen[1].1 >= 0.05, "{seen:?}");
    let done = cell(&service, 1, CellKind::Generate).await;
    assert_eq!((done.can_resume, done.discards), (false, Some(Discards::Pairs(7))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_failed_with_nothing_saved_is_not_offered_to_be_resumed() {
    let data = tempfile::tempdir().unwrap();
    let work: fake::Work = Arc::new(|context, emit| match context.config.kind() {
        CellKind::Generate => Err(AppError::invalid_setting("top_k is wrong", "")),
        CellKind::Train => {
            emit(RunEvent::Checkpoint { step: 10, name: "step-00000010".to_owned() });
            Err(AppError::new(ErrorCode::NonFinite, "the loss is not finite", ""))
        }
        _ => Ok(fake::finish(context, emit)),
    });
    let service = open(data.path(), work);
    let train = cell(&service, 1, CellKind::Train).await.id;
    run(&service, train, false).await.unwrap();
    let failed = run_of(&service, CellKind::Train).await.run;
    wait_for(&service, failed, RunState::Failed).await;
    let failed = cell(&service, 1, CellKind::Train).await;
    assert_eq!((failed.can_resume, failed.discards), (false, Some(Discards::Steps(10))));
    let generate = cell(&service, 1, CellKind::Generate).await;
    assert_eq!((generate.can_resume, generate.discards), (false, None));
}

/// The engine on the tiny model, run up to a trained adapter; and the path of a file of the kind's newest run.
struct Trained {
    service: Arc<Service>,
    experiment: i64,
    _data: tempfile::TempDir,
}

impl Trained {
    async fn new() -> Self {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/tests/fixtures/tiny-llama");
        let data = tempfile::tempdir().unwrap();
        let service = Service::open(Settings::new(data.path())).unwrap();
        let model = service.resources().import_model(&fixture).unwrap();
        let texts = data.path().join("texts.jsonl");
        let rows = r#"{"response": "Boil the kettle first.", "id": "doc-1"}
{"response": "  "}
{"response": "Descale it with vinegar.", "id": "doc-3", "url": "https://example.org/3"}
"#;
        fs::write(&texts, rows).unwrap();
        let corpus = service.resources().import_file("my texts.jsonl", &texts).unwrap().id;
        let train =
            TrainConfig { epochs: 1, max_steps: Some(2), max_seq_length: 128, samples: 0, ..TrainConfig::default() };
        let cells = [
            CellConfig::Data(DataConfig::default()),
            CellConfig::Model(ModelConfig { model }),
            CellConfig::Train(train),
            CellConfig::Generate(GenerateConfig { file: corpus, max_new_tokens: 4, ..GenerateConfig::default() }),
            CellConfig::Report(ReportConfig::default()),
        ];
        let experiment = service.create_from("Tiny", &cells).unwrap();
        let trained = Self { service, experiment, _data: data };
        assert_eq!(trained.run(CellKind::Train).await.error, None);
        trained
    }

    /// How a new run of the cell of this kind ends.
    async fn run(&self, kind: CellKind) -> RunView {
        let id = cell(&self.service, self.experiment, kind).await.id;
        run(&self.service, id, true).await.unwrap();
        crate::support::eventually("the run's end", async || {
            let run = cell(&self.service, self.experiment, kind).await.run.unwrap();
            run.state.is_over().then_some(run)
        })
        .await
    }

    async fn file(&self, kind: CellKind, name: &str) -> PathBuf {
        let run = cell(&self.service, self.experiment, kind).await.run.unwrap().run;
        self.service.run_folder(run).join(name)
    }
}

/// Changes one letter of a text in the file, so that it can still be read; returns what it held.
fn flip(path: &Path) -> Vec<u8> {
    let before = fs::read(path).unwrap();
    let mut bytes = before.clone();
    let at = bytes.windows(4).position(|window| window == b" the").unwrap() + 1;
    // Another letter case.
    bytes[at] ^= 0x20;
    fs::write(path, bytes).unwrap();
    before
}

fn assert_corrupt(run: &RunView, file: &str, hint: &str) {
    let error = run.error.clone().unwrap_or_else(|| panic!("{file}: {:?} without an error", run.state));
    assert_eq!(error.code, ErrorCode::Corrupt, "{error}");
    assert!(error.message.contains(file) && error.message.contains("sha256"), "{error}");
    assert!(error.hint.contains(hint), "{}", error.hint);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_in_what_a_run_reads_is_refused_with_file_and_remedy() {
    let trained = Trained::new().await;
    for name in ["train.jsonl", "validation.jsonl"] {
        let path = trained.file(CellKind::Data, name).await;
        let before = flip(&path);
        assert_corrupt(&trained.run(CellKind::Train).await, name, "Run the data cell again");
        fs::write(path, before).unwrap();
    }
    assert_eq!(trained.run(CellKind::Train).await.error, None);

    // Weights and manifest changed together: whole in itself, and not what the run recorded.
    let adapter = trained.file(CellKind::Train, "adapter").await;
    let whole = tempfile::tempdir().unwrap();
    for file in fs::read_dir(&adapter).unwrap().flatten() {
        fs::copy(file.path(), whole.path().join(file.file_name())).unwrap();
    }
    engine::artifact::write_folder(&adapter, |folder| {
        for file in fs::read_dir(whole.path()).unwrap().flatten() {
            let mut bytes = fs::read(file.path()).unwrap();
            if file.file_name() == "adapter_model.safetensors" {
                *bytes.last_mut().unwrap() ^= 1;
            }
            if file.file_name() != "manifest.json" {
                engine::artifact::write(&folder.join(file.file_name()), &bytes)?;
            }
        }
        Ok(())
    })
    .unwrap();
    assert_corrupt(&trained.run(CellKind::Generate).await, "manifest.json", "Run the train cell again");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_a_corpus_is_a_pair_or_counted_and_pairs_lead_back_to_their_rows() {
    let trained = Trained::new().await;
    let CellConfig::Generate(config) = cell(&trained.service, trained.experiment, CellKind::Generate).await.config
    else {
        unreachable!()
    };
    let path = trained.service.resources().file(&config.file).unwrap();
    let before = flip(&path);
    assert_corrupt(&trained.run(CellKind::Generate).await, "my texts.jsonl", "Upload");
    fs::write(path, before).unwrap();

    let done = trained.run(CellKind::Generate).await;
    let Some(CellOutput::Generate(output)) = done.output else { panic!("{:?}", done.error) };
    assert_eq!((output.pairs, output.corpus.rows), (2, 3));
    assert_eq!(output.corpus.source, SourceFile { name: "my texts.jsonl".to_owned(), notice: String::new() });
    assert_eq!(output.corpus.dropped, [Count { name: "empty_text".to_owned(), count: 1 }]);
    assert_eq!(output.corpus.dropped_rows, [DroppedRow { row: 2, reason: "empty_text".to_owned() }]);
    assert!(output.seconds > 0.0 && output.tokens_per_s > 0.0, "{output:?}");

    let frozen = trained.run(CellKind::Report).await;
    assert_eq!(frozen.error, None);
    let report = trained
        .service
        .ask(OpenReport { run: frozen.run, query: ReportQuery { page: 0, ..Default::default() } })
        .await
        .unwrap()
        .report;
    let origins: Vec<_> =
        report.pairs.iter().map(|pair| (pair.row, pair.source_id.as_deref(), pair.url.as_deref())).collect();
    assert_eq!(origins, [(Some(1), Some("doc-1"), None), (Some(3), Some("doc-3"), Some("https://example.org/3"))]);
    assert_eq!(report.corpus, output.corpus);
    assert_eq!(report.provenance.corpus_sha256, output.corpus.sha256);
    // The sample's notice is that of the data file, and not of the corpus.
    assert!(report.data.source.notice.contains("CC0") && report.corpus.source.notice.is_empty());
    assert_eq!((report.config.data_notice.as_str(), report.model.name.as_str()), ("", "tiny-llama"));
}
