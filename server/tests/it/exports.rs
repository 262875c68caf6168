//! Pairs as files: who gets them, which they are, and that other programs read them.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::{Value, json};
use server::service::Service;
use server::work::Ended;
use spec::*;

use crate::support::{Server, fake, finished_report, run_of, wait_for};

const NOTE: &str = "a note to myself";
const EDITED: &str = "Describe text 2, in the words of a person.";
const FORMULA: &str = "=HYPERLINK(\"http://evil.example\";\"A1\")";
const AWKWARD: &str = "line one\r\nline \"two\", with\ta tab\u{2028}and 東京 👍";

/// Of pair 1 a formula was generated; the response of pair 2 has all that a file type could trip over.
fn awkward() -> fake::Work {
    Arc::new(|assignment, emit| {
        if assignment.config.kind() != CellKind::Generate {
            return Ok(fake::finish(assignment, emit));
        }
        for index in 0..fake::PAIRS {
            let mut pair = fake::pair(index);
            pair.row = Some(u64::from(index) * 10 + 3);
            pair.source_id = (index != 0).then(|| format!("doc-{index}"));
            match index {
                1 => pair.generated = FORMULA.to_owned(),
                2 => pair.response = AWKWARD.to_owned(),
                3 => pair.url = Some("@cmd".to_owned()),
                _ => {}
            }
            emit(RunEvent::Pair { pair });
        }
        Ok(Ended::Done(fake::output(CellKind::Generate)))
    })
}

struct Exports {
    server: Server,
    cookie: String,
    generate: i64,
    curate: i64,
    report: i64,
    token: String,
}

/// Pair 2 is edited and has a note, pair 4 is dropped, pair 5, which has failure tags, is kept.
async fn curate(service: &Service, run: i64) {
    let change = |index, part| CurationChange { index, part };
    let changes = vec![
        change(2, CurationPart::Instruction(Some(EDITED.to_owned()))),
        change(2, CurationPart::Note(NOTE.to_owned())),
        change(4, CurationPart::Decision(Some(Decision::Drop))),
        change(5, CurationPart::Decision(Some(Decision::Keep))),
    ];
    service.ask(CuratePairs { run, changes }).await.unwrap();
}

async fn exports() -> Exports {
    let server = Server::start_with(awkward(), |_| {}).await;
    let service = &server.service;
    finished_report(service).await;
    let generate = run_of(service, CellKind::Generate).await.run;
    curate(service, generate).await;
    let cells = service.ask(GetNotebook { experiment: 1 }).await.unwrap().cells;
    let cell = |kind| cells.iter().find(|cell| cell.config.kind() == kind).unwrap().id;
    // Pairs with a failure tag are kept here, unless a person dropped them.
    let changes = vec![("undecided_tagged".to_owned(), "keep".to_owned())];
    let save = SaveCell { cell: cell(CellKind::Curate), changes, client: IdempotencyKey::default(), number: 1 };
    service.ask(save).await.unwrap();
    service
        .ask(RunCell { cell: cell(CellKind::Report), retrain: false, key: IdempotencyKey::default() })
        .await
        .unwrap();
    let (curate, report) = (run_of(service, CellKind::Curate).await.run, run_of(service, CellKind::Report).await.run);
    wait_for(service, curate, RunState::Done).await;
    wait_for(service, report, RunState::Done).await;
    let link = service.ask(ShareReport { run: report }).await.unwrap().path.unwrap();
    let token = link.strip_prefix("/r/").unwrap().to_owned();
    let cookie = server.cookie().await;
    Exports { server, cookie, generate, curate, report, token }
}

impl Exports {
    /// As the owner.
    async fn get(&self, path: &str) -> crate::support::Answer {
        self.server.get(path).header("Cookie", &self.cookie).send().await
    }

    async fn rows(&self, path: &str) -> Vec<Value> {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        rows(&answer.body)
    }
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn column<'a>(rows: &'a [Value], name: &str) -> Vec<&'a Value> {
    rows.iter().map(|row| &row[name]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_shape_has_its_columns_and_leads_back_to_the_row_of_the_file() {
    let it = exports().await;
    let run = format!("/download/{}", it.generate);
    let pairs = it.rows(&run).await;
    assert_eq!(column(&pairs, "source_row"), [3, 13, 23, 33, 43, 53, 63]);
    assert_eq!(
        pairs[2],
        json!({
            "source_row": 23, "source_id": "doc-2", "url": null, "instruction": EDITED, "response": AWKWARD,
            "generated": "Write text 2", "reference": "Reference 2", "decision": null, "kept": true, "tokens": 4,
            "ended": true, "rouge_l": 0.2, "copied_run": 2, "coverage": 0.5, "density": 1.0, "tags": [], "note": NOTE,
            "baseline": null, "cycle": null, "pmi": null, "own_rank": null
        })
    );
    assert_eq!((&pairs[0]["source_id"], &pairs[1]["tags"]), (&Value::Null, &json!(["echo", "no_end"])));

    let response = "Response number 6 about Ärger.";
    for (shape, row) in [
        ("alpaca", json!({"instruction": "Write text 6", "input": "", "output": response})),
        (
            "sharegpt",
            json!({"conversations": [{"from": "human", "value": "Write text 6"}, {"from": "gpt", "value": response}]}),
        ),
        (
            "messages",
            json!({"messages": [{"role": "user", "content": "Write text 6"}, {"role": "assistant", "content": response}]}),
        ),
        ("prompt_completion", json!({"prompt": "Write text 6", "completion": response})),
    ] {
        let mut expected = row;
        expected["source_row"] = json!(63);
        expected["source_id"] = json!("doc-6");
        let rows = it.rows(&format!("{run}?rows={shape}")).await;
        assert_eq!((rows.len(), &rows[6]), (7, &expected), "{shape}");
    }
    let preference = it.rows(&format!("{run}?rows=preference")).await;
    let expected = json!({"source_row": 23, "source_id": "doc-2", "prompt": AWKWARD, "chosen": EDITED, "rejected": "Write text 2"});
    let candidates = json!({"source_row": 43, "source_id": "doc-4", "prompt": pairs[4]["response"], "chosen": "Write text 4", "rejected": "Write another text 4"});
    assert_eq!(preference, [expected, candidates], "an edit, and candidates that ranked first and last");
    it.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn filters_and_decisions_choose_the_rows() {
    let it = exports().await;
    let sources = async |path: String| -> Vec<u64> {
        let rows = it.rows(&path).await;
        rows.iter().map(|row| (row["source_row"].as_u64().unwrap() - 3) / 10).collect()
    };
    let (generate, curate, report) = (it.generate, it.curate, it.report);
    for (path, indexes) in [
        // As a curate cell with its defaults would: untagged or kept, and not dropped.
        (format!("/download/{generate}?kept=1"), vec![0, 2, 5, 6]),
        (format!("/download/{curate}"), vec![0, 1, 2, 3, 4, 5, 6]),
        (format!("/download/{curate}?kept=1"), vec![0, 1, 2, 3, 5, 6]),
        (format!("/download/{report}"), vec![0, 1, 2, 3, 4, 5, 6]),
        (format!("/download/{generate}?tag=echo"), vec![1, 3, 5]),
        (format!("/download/{generate}?tag=none&decision=drop"), vec![4]),
        (format!("/download/{generate}?decision=edited&rows=alpaca"), vec![2]),
        (format!("/download/{generate}?text=in+the+WORDS%20of"), vec![2]),
        (format!("/download/{generate}?sort=copied_descending&tag=any"), vec![5, 3, 1]),
        (format!("/download/{generate}?text=nowhere"), vec![]),
    ] {
        assert_eq!(sources(path.clone()).await, indexes, "{path}");
    }
    let nothing = it.get(&format!("/download/{generate}?text=nowhere&file=csv&rows=alpaca")).await;
    assert_eq!(nothing.body, "source_row,source_id,instruction,input,output\r\n");
    it.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_the_owner_gets_a_run_and_whoever_has_a_link_gets_its_report_without_notes() {
    let it = exports().await;
    for path in [format!("/download/{}", it.generate), format!("/download/{}?rows=alpaca", it.report)] {
        let guest = it.server.get(&path).send().await;
        assert_eq!((guest.status, guest.code()), (401, "unauthorised".to_owned()), "{path}");
        assert!(!guest.body.contains("Write text"), "{path}");
    }
    let address = format!("/r/{}/download", it.token);
    let shared = it.server.get(&address).send().await;
    assert_eq!(shared.status, 200, "{}", shared.body);
    assert_eq!(rows(&shared.body).len(), 7);
    let own = it.get(&format!("/download/{}", it.generate)).await;
    assert!(own.body.contains(NOTE) && !shared.body.contains("note"), "{}", shared.body);
    for (name, value) in [
        ("content-type", "application/jsonl"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(shared.header(name), Some(value));
    }
    let dataset = it.server.get(&format!("{address}?file=dataset")).send().await;
    assert_eq!((dataset.status, dataset.header("content-type")), (200, Some("application/gzip")));

    let unknown = it.server.get(&format!("/r/{}", "0".repeat(64))).send().await;
    let share = it.server.service.ask(ListShares { run: it.report }).await.unwrap()[0].id;
    it.server.service.ask(RevokeShare { share }).await.unwrap();
    for wrong in [it.token.as_str(), "x", "", "a/b", "..", &it.token.to_uppercase(), &it.token[1..]] {
        let refused = it.server.get(&format!("/r/{wrong}/download?rows=alpaca")).send().await;
        assert_eq!((refused.status, &refused.body), (404, &unknown.body), "{wrong}");
    }
    it.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_cannot_be_exported_is_refused_with_what_can() {
    let it = exports().await;
    let train = run_of(&it.server.service, CellKind::Train).await.run;
    for (path, status, hint) in [
        (format!("/download/{train}"), 404, "Generate"),
        ("/download/4711".to_owned(), 404, ""),
        ("/download/x".to_owned(), 404, "number"),
        (format!("/download/{}?rows=xml", it.generate), 422, "alpaca"),
        (format!("/download/{}?file=docx", it.generate), 422, "parquet"),
    ] {
        let refused = it.get(&path).await;
        assert_eq!(refused.status, status, "{path}: {}", refused.body);
        let error: AppError = serde_json::from_str(&refused.body).unwrap();
        assert!(error.hint.contains(hint), "{path}: {error:?}");
        assert_eq!(refused.header("content-disposition"), None);
    }
    let posted = it.server.post(&format!("/download/{}", it.generate), "").header("Cookie", &it.cookie).send().await;
    assert_eq!(posted.status, 405);
    it.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_spreadsheet_finds_no_formula_in_a_csv_and_numbers_stay_numbers() {
    let it = exports().await;
    let answer = it.get(&format!("/download/{}?file=csv", it.generate)).await;
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    let mut reader = csv::Reader::from_reader(answer.bytes.as_slice());
    let names = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.unwrap()).collect();
    let cell = |row: usize, name: &str| {
        rows[row].get(names.iter().position(|known| known == name).unwrap()).unwrap().to_owned()
    };
    assert_eq!(rows.len(), 7);
    assert_eq!(cell(1, "instruction"), format!("'{FORMULA}"));
    assert_eq!(cell(3, "url"), "'@cmd");
    assert_eq!(cell(2, "response"), AWKWARD);
    assert_eq!((cell(1, "tags").as_str(), cell(0, "decision").as_str()), (r#"["echo","no_end"]"#, ""));
    assert_eq!((cell(2, "rouge_l").as_str(), cell(2, "kept").as_str()), ("0.2", "true"));
    for cell in rows.iter().flat_map(|row| row.iter()) {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell:?}");
    }
    it.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_is_named_after_its_experiment_whatever_that_is_called() {
    let it = exports().await;
    let name = "../\"Zürich\"; x=\\ \u{202e}gpj.exe".to_owned();
    it.server.service.ask(RenameExperiment { experiment: 1, name }).await.unwrap();
    let answer = it.get(&format!("/download/{}?rows=alpaca&file=parquet", it.generate)).await;
    assert_eq!(answer.header("content-type"), Some("application/vnd.apache.parquet"));
    assert_eq!(
        answer.header("content-disposition"),
        Some(
            "attachment; filename=\"Z_rich-- x-- -gpj.exe alpaca.parquet\"; \
             filename*=UTF-8''Z%C3%BCrich--%20x--%20-gpj.exe%20alpaca.parquet"
        )
    );
    assert_eq!(answer.bytes[..4], *b"PAR1");
    it.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_notebook_offers_the_download_as_a_plain_form() {
    let it = exports().await;
    let page = it.get("/experiments/1").await.body;
    let form = page.split("<form").find(|form| form.contains("Download")).unwrap();
    for part in [&format!("action=\"/download/{}\"", it.generate), "method=\"get\"", "name=\"rows\"", "name=\"file\""] {
        assert!(form.contains(part), "{part} is not in {form}");
    }
    it.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dataset_has_a_card_that_says_where_it_comes_from() {
    let it = exports().await;
    let answer = it.get(&format!("/download/{}?file=dataset&rows=alpaca&kept=1", it.curate)).await;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(answer.bytes.as_slice()));
    let mut files = std::collections::BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), bytes);
    }
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let folder = "Quick start alpaca";
    assert_eq!(names, [format!("{folder}/README.md"), format!("{folder}/data/train-00000-of-00001.parquet")]);
    let card = String::from_utf8(files[names[0]].clone()).unwrap();
    assert!(card.starts_with("---\npretty_name: \"Quick start\"\n"), "{card}");
    for part in [
        "license: other\n",
        "- n<1K\n",
        "- text-generation\n",
        "path: data/train-*.parquet\n---\n",
        "| rows in this dataset | 6 |",
        "| dropped of them | 1 |",
        "with an instruction that a person edited | 1 |",
        "base model: tiny",
        "adapter (LoRA): sha256 `a`",
        "`temperature`",
        "Failure tags find formal faults, not wrong content.",
    ] {
        assert!(card.contains(part), "{part} is not in\n{card}");
    }
    assert!(!card.contains(NOTE));
    it.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn other_programs_read_every_shape_in_every_type_alike() {
    let it = exports().await;
    let folder = tempfile::tempdir().unwrap();
    for shape in RowShape::ALL {
        for file in FileType::ALL {
            let path = format!("/download/{}?rows={}&file={}", it.generate, shape.as_str(), file.as_str());
            let answer = it.get(&path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            if *file == FileType::Dataset {
                let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(answer.bytes.as_slice()));
                archive.unpack(folder.path().join("datasets")).unwrap();
            } else {
                let name = format!("{}.{}", shape.as_str(), file.as_str());
                std::fs::write(folder.path().join(name), &answer.bytes).unwrap();
            }
        }
    }
    it.server.stop().await;
    check(folder.path());
}

/// Where Python with pandas and pyarrow is there.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn check(folder: &Path) {
    let found = Command::new("python3").args(["-c", "import pandas, pyarrow"]).output();
    if !found.is_ok_and(|found| found.status.success()) {
        println!("skipped: python3 with pandas and pyarrow is not here");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../end2end/exports/check.py");
    let checked = Command::new("python3").arg(script).arg(folder).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}\n{}", String::from_utf8_lossy(&checked.stderr));
    println!("{said}");
}

fn run_program(data: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_backtranslate"));
    program.args(arguments).args(["--data", data.to_str().unwrap()]).env_remove("RUST_LOG").output().unwrap()
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_command_line_exports_beside_a_running_server_and_after_it() {
    let it = exports().await;
    let (generate, curate) = (it.generate.to_string(), it.curate.to_string());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let data = it.server.data.path().to_owned();
    let listed = answer(&run_program(&data, &["--json", "runs"]));
    let listed = listed["runs"].as_array().unwrap();
    let of_generate = listed.iter().find(|run| run["run"] == it.generate).unwrap();
    assert_eq!(
        (&of_generate["kind"], &of_generate["state"], &of_generate["name"]),
        (&json!("generate"), &json!("done"), &json!("Quick start"))
    );
    assert!(of_generate["result"].as_str().unwrap().starts_with("7 pairs"), "{of_generate}");

    let own = it.get(&format!("/download/{generate}")).await.body;
    let written = path("pairs.jsonl");
    let told = answer(&run_program(&data, &["--json", "export", &generate, "-o", &written]));
    assert_eq!(told["written"], json!({"rows": 7, "pairs": 7, "kept": 4, "edited": 1, "unreadable": 0}));
    assert_eq!(std::fs::read_to_string(&written).unwrap(), own);

    let stdout = run_program(&data, &["export", &curate, "--kept", "--rows", "alpaca", "--tag", "echo", "-o", "-"]);
    let printed = String::from_utf8(stdout.stdout).unwrap();
    assert_eq!(column(&rows(&printed), "source_row"), [13, 33, 53]);

    let _data = it.server.stop().await;
    let people = run_program(&data, &["runs"]);
    assert!(String::from_utf8_lossy(&people.stdout).contains("Quick start"));
    let dataset = path("dataset");
    let told = answer(&run_program(&data, &["--json", "export", &curate, "--rows", "messages", "--dataset", &dataset]));
    assert_eq!((&told["file"], &told["written"]["rows"]), (&json!("dataset"), &json!(7)));
    let names = |folder: &Path| {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(Path::new(&dataset)), ["README.md", "data"]);
    assert_eq!(names(&Path::new(&dataset).join("data")), ["train-00000-of-00001.parquet"]);
    let again = run_program(&data, &["--json", "export", &curate, "--dataset", &dataset]);
    let refused: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((again.status.code(), &refused["error"]["code"]), (Some(1), &json!("conflict")));
    let nothing = run_program(&data, &["--json", "export", "4711", "-o", &path("none.jsonl")]);
    let refused: Value = serde_json::from_slice(&nothing.stdout).unwrap();
    assert_eq!(refused["error"]["code"], "not_found");
    assert!(!folder.path().join("none.jsonl").exists());
}
