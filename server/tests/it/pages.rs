//! Rendered pages: each answers under load, and no text of a person, a file or a model becomes markup.

use serde_json::{Value, json};
use server::work::Ended;
use spec::*;
use tokio::task::JoinSet;

use crate::support::{Server, eventually, fake, finished_report, run_of};

/// Within the length of a name.
const HOSTILE: &str = "</title></textarea></script><meta http-equiv=refresh content='0;url=//evil'>\
                       <h1 id=injected>&lt;b</h1><img src=x onerror=alert(1)><script>alert(1)</script>\"'";

/// Markup that HOSTILE leaves behind where it is not escaped.
const TRACES: [&str; 5] = ["<meta http-equiv", "<h1 id=injected", "<img src=x", "<script>alert", "</textarea></script"];

/// Fields of JSON that hold spellings of ours, not texts.
const SPELLED: [&str; 11] = [
    "type",
    "kind",
    "format",
    "turns",
    "lr_scheduler",
    "loss_on",
    "truncation",
    "weights",
    "rank_by",
    "target_modules",
    "created_ms",
];

fn poison(value: &mut Value) {
    match value {
        Value::String(text) => *text = HOSTILE.to_owned(),
        Value::Array(items) => items.iter_mut().for_each(poison),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut().filter(|(name, _)| !SPELLED.contains(&name.as_str())) {
                // The prompt and target of a template must hold their place.
                match name.as_str() {
                    "prompt" => *value = json!(format!("{HOSTILE}{{response}}")),
                    "target" => *value = json!(format!("{{instruction}}{HOSTILE}")),
                    _ => poison(value),
                }
            }
        }
        _ => {}
    }
}

fn poisoned<T: serde::Serialize + serde::de::DeserializeOwned>(of: &T) -> T {
    let mut value = serde_json::to_value(of).unwrap();
    poison(&mut value);
    serde_json::from_value(value).unwrap()
}

fn output(kind: CellKind) -> CellOutput {
    let mut output = fake::output(kind);
    match &mut output {
        CellOutput::Data(data) => {
            data.dropped = vec![Count { name: "x".to_owned(), count: 3 }];
            data.malformed_count = 1;
            data.malformed = vec![MalformedRow { line: 1, field: "x".to_owned(), problem: "x".to_owned() }];
            data.examples = vec![PairText { instruction: "x".to_owned(), response: "x".to_owned() }];
            data.format = HOSTILE.to_owned();
        }
        CellOutput::Generate(generate) => {
            generate.scores.pairs = 1;
            generate.scores.tags = vec![TagCount { tag: Tag::Loop, count: 1 }];
        }
        _ => {}
    }
    poisoned(&output)
}

/// Says hostile things wherever an engine can say something.
fn hostile() -> fake::Work {
    std::sync::Arc::new(|assignment, emit| {
        let kind = assignment.config.kind();
        emit(RunEvent::Phase { text: HOSTILE.to_owned() });
        match kind {
            CellKind::Train => {
                let token = MaskedToken { text: HOSTILE.to_owned(), supervised: true };
                let integrity = TargetIntegrity { pairs: 1, examples: vec![vec![token]], ..Default::default() };
                emit(RunEvent::Integrity { integrity });
                emit(fake::step(1));
                emit(RunEvent::Checkpoint { step: 1, name: HOSTILE.to_owned() });
                let sample = SampleText {
                    step: 1,
                    index: 0,
                    response: HOSTILE.to_owned(),
                    reference: HOSTILE.to_owned(),
                    generated: HOSTILE.to_owned(),
                };
                let SampleText { step, index, response, reference, generated } = sample;
                emit(RunEvent::Sample { step, index, response, reference, generated });
            }
            CellKind::Generate => {
                for index in 0..fake::PAIRS {
                    let mut pair = poisoned(&fake::pair(index));
                    pair.reference = Some(HOSTILE.to_owned());
                    pair.scores.tags = vec![Tag::Loop];
                    emit(RunEvent::Pair { pair });
                }
            }
            CellKind::Report => {
                fake::finish(assignment, emit);
                let path = assignment.folder.join("report.json");
                let mut report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                report["data"]["dropped"] = json!([{ "name": "x", "count": 3 }]);
                report["scores"]["tags"] = json!([{ "name": "x", "count": 1 }]);
                report["scores"]["pairs"] = json!(1);
                report["config"]["summary"] = json!("x");
                report["config"]["data_notice"] = json!("x");
                poison(&mut report);
                std::fs::write(&path, report.to_string()).unwrap();
            }
            CellKind::Model if assignment.experiment == "fails" => {
                return Err(AppError::internal(HOSTILE, HOSTILE));
            }
            _ => {}
        }
        Ok(Ended::Done(output(kind)))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_text_becomes_markup_on_any_page() {
    let server = Server::start_with(hostile(), |_| {}).await;
    let cookie = server.cookie().await;
    let name: String = HOSTILE.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let upload = server.post(&format!("/upload?name={name}"), "{}").header("Cookie", &cookie).send().await;
    assert_eq!(upload.status, 200, "{}", upload.body);
    let cells: Vec<CellConfig> = [
        CellConfig::Note(NoteConfig { text: HOSTILE.to_owned() }),
        CellConfig::Data(DataConfig::default()),
        CellConfig::Model(ModelConfig::default()),
        CellConfig::Train(TrainConfig {
            template: TemplateConfig { generation_prompt: Some(HOSTILE.to_owned()), ..TemplateConfig::default() },
            ..TrainConfig::default()
        }),
        CellConfig::Generate(GenerateConfig::default()),
        CellConfig::Report(ReportConfig::default()),
    ]
    .iter()
    .map(poisoned)
    .collect();
    let experiment = server.service.create_from(HOSTILE, &cells).unwrap();
    server.service.ask(RunAll { experiment, key: IdempotencyKey::default() }).await.unwrap();
    let runs = eventually("all runs over", async || {
        let runs: Vec<RunView> = server
            .service
            .ask(GetNotebook { experiment })
            .await
            .unwrap()
            .cells
            .into_iter()
            .filter_map(|cell| cell.run)
            .collect();
        (runs.len() == 5 && runs.iter().all(|run| run.state.is_over())).then_some(runs)
    })
    .await;
    assert!(
        runs.iter().all(|run| run.state == RunState::Done),
        "{:?}",
        runs.iter().map(|run| &run.error).collect::<Vec<_>>()
    );
    let report = runs[4].run;
    let link = server.service.ask(ShareReport { run: report }).await.unwrap().path.unwrap();

    let fails = server.service.create_from("fails", &cells).unwrap();
    server.service.ask(RunAll { experiment: fails, key: IdempotencyKey::default() }).await.unwrap();
    eventually("a failed run", async || {
        let cells = server.service.ask(GetNotebook { experiment: fails }).await.unwrap().cells;
        cells.iter().any(|cell| cell.run.as_ref().is_some_and(|run| run.state == RunState::Failed)).then_some(())
    })
    .await;
    // A form that was changed since says so, with both values.
    let data = cells.iter().position(|cell| cell.kind() == CellKind::Data).unwrap();
    let cell = server.service.ask(GetNotebook { experiment }).await.unwrap().cells.swap_remove(data);
    let changes = vec![("file".to_owned(), format!("{HOSTILE}2"))];
    let client = IdempotencyKey::default();
    server.service.ask(SaveCell { cell: cell.id, changes, client, number: 1 }).await.unwrap();

    let pages = [
        "/".to_owned(),
        format!("/experiments/{experiment}"),
        format!("/experiments/{fails}"),
        format!("/experiments/{}", name),
        format!("/reports/{report}"),
        format!("/reports/{report}?page=all"),
        format!("/reports/{report}?text={name}&row=1"),
        format!("/reports/{name}"),
        format!("/r/{name}"),
        format!("/{name}"),
        link,
    ];
    for path in pages {
        let page = server.get(&path).header("Cookie", &cookie).send().await;
        assert!(page.body.contains("</html>"), "{path} {}: {}", page.status, page.body);
        for trace in TRACES {
            assert!(!page.body.contains(trace), "{path} holds {trace}: {}", page.body);
        }
        assert_eq!(page.body.matches("<title>").count(), 1, "{path}");
    }
    // The report of a deleted cell is listed while its link is open.
    let cells = server.service.ask(GetNotebook { experiment }).await.unwrap().cells;
    let cell = cells.iter().find(|cell| cell.config.kind() == CellKind::Report).unwrap().id;
    server.service.ask(DeleteCell { cell }).await.unwrap();
    let notebook = server.get(&format!("/experiments/{experiment}")).header("Cookie", &cookie).send().await;
    assert!(
        notebook.body.contains("Reports of deleted cells") && !TRACES.iter().any(|trace| notebook.body.contains(trace))
    );
    let title = notebook.body.split("<title>").nth(1).unwrap().split("</title>").next().unwrap();
    assert!(title.starts_with("&lt;/title&gt;") && title.contains("&amp;lt;b"), "escaped once: {title}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_thousand_page_loads_forty_at_a_time_are_all_answered() {
    const LOADS: usize = 2_000;
    const AT_ONCE: usize = 40;
    let server = Server::start().await;
    let cookie = server.cookie().await;
    let report = finished_report(&server.service).await;
    let train = run_of(&server.service, CellKind::Train).await;
    assert_eq!(train.state, RunState::Done);
    // Mostly the notebook, whose head once read a signal that was disposed.
    let report = format!("/reports/{report}");
    let paths = ["/experiments/1", "/experiments/1", "/experiments/1", "/", report.as_str()];
    let mut loads = JoinSet::new();
    for number in 0..LOADS {
        if loads.len() == AT_ONCE {
            loads.join_next().await.unwrap().unwrap();
        }
        let path = paths[number % paths.len()].to_owned();
        let request = server.get(&path).header("Cookie", &cookie);
        loads.spawn(async move {
            let page = request.send().await;
            assert_eq!(page.status, 200, "{path}");
            assert!(page.body.contains("</html>"), "{path} came back cut off");
            if path.starts_with("/experiments") {
                assert!(page.body.contains("<title>Quick start · Backtranslate</title>"), "{path} has no title");
            }
        });
    }
    while let Some(load) = loads.join_next().await {
        load.unwrap();
    }
    server.stop().await;
}
