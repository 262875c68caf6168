//! `generate`: prompts and pairs.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Folder, command, ignores_hangup, json, plain, shared, signal, tiny_llama};

#[test]
fn stories260k_tells_its_known_story() {
    let Some(model) = shared("models/stories260k") else { return };
    let folder = Folder::new();
    let prompt = folder.write("prompt.txt", "");
    let written =
        json(&["generate", "--model", &model, "--prompt-file", &prompt, "--greedy", "--max-new-tokens", "24"]).ok();
    let row = &written["rows"][0];
    let ids: Vec<u64> = row["token_ids"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    assert_eq!(ids[..7], [403, 407, 261, 378, 432, 383, 286]);
    assert!(row["text"].as_str().unwrap().contains("Once upon a time, there was a little girl"), "{row}");
    assert_eq!(row["ended"], false);
}

#[test]
fn the_same_seed_writes_the_same_text_and_another_another() {
    let folder = Folder::new();
    let prompt = folder.write("prompt.txt", "Once upon a time");
    let model = tiny_llama();
    let write = |seed: &str| {
        let arguments =
            ["generate", "--model", &model, "--prompt-file", &prompt, "--seed", seed, "--max-new-tokens", "20"];
        json(&arguments).ok()["rows"][0]["token_ids"].clone()
    };
    assert_eq!(write("7"), write("7"));
    assert_ne!(write("7"), write("8"));
}

#[test]
fn pairs_are_written_and_scored_without_an_adapter_too() {
    let folder = Folder::new();
    let pairs = folder.write(
        "responses.jsonl",
        "{\"response\": \"Blue.\", \"instruction\": \"Name a colour.\"}\n{\"response\": \"Two.\"}\n",
    );
    let out = folder.path("written.jsonl");
    let arguments = ["generate", "--model", &tiny_llama(), "--pairs", &pairs, "--max-new-tokens", "8", "-o", &out];
    let written = json(&arguments).ok();
    assert_eq!(written["rows"].as_array().unwrap().len(), 2);
    assert_eq!(written["rows"][0]["reference"], "Name a colour.");
    assert_eq!(written["scores"]["pairs"], 2);
    assert_eq!(json(&["score", &out]).ok()["summary"]["pairs"], 2);
}

#[test]
fn senseless_settings_are_refused_by_name() {
    let folder = Folder::new();
    let prompt = folder.write("prompt.txt", "Once");
    let model = tiny_llama();
    for (flag, value) in [("--top-p", "7"), ("--max-new-tokens", "4000000000")] {
        let message = json(&["generate", "--model", &model, "--prompt-file", &prompt, flag, value]).usage();
        assert!(message.contains(flag), "{message}");
    }
    assert_eq!(plain(&["generate", "--model", &model]).status, 2);
}

fn responses(count: usize) -> String {
    let texts = ["The sky is blue.", "Water boils at 100 degrees.", "Four and five make nine.", "A fox is an animal."];
    let row =
        |at: usize| serde_json::json!({ "response": format!("{at}: {}", texts[at % 4]), "instruction": "Say it." });
    (0..count).map(|at| format!("{}\n", row(at))).collect()
}

fn long_job(pairs: &str, out: &str) -> Vec<String> {
    ["generate", "--model", &tiny_llama(), "--pairs", pairs, "--max-new-tokens", "48", "--batch-size", "2", "-o", out]
        .map(str::to_owned)
        .to_vec()
}

/// Starts the job, waits until it has finished some rows, and sends the signal: exit status and stdout.
#[cfg(unix)]
fn interrupt(arguments: &[String], partial: &std::path::Path, name: &str) -> (Option<i32>, String) {
    let lines = || std::fs::read_to_string(partial).unwrap_or_default().lines().count();
    let before = lines();
    let started = command().arg("--json").args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = started.unwrap();
    let began = Instant::now();
    while lines() < before + 5 {
        assert!(began.elapsed() < Duration::from_secs(120), "no row was finished");
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be interrupted");
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(&child, name);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[cfg(unix)]
#[test]
fn rows_survive_every_kind_of_interruption_and_the_same_command_completes_the_same_file() {
    let folder = Folder::new();
    let pairs = folder.write("responses.jsonl", &responses(1200));
    let whole = folder.path("whole.jsonl");
    let arguments = long_job(&pairs, &whole);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let uninterrupted = json(&arguments).ok();
    assert_eq!(uninterrupted["state"], "done");

    let out = folder.path("out.jsonl");
    let (out_path, partial) = (folder.root().join("out.jsonl"), folder.root().join("out.jsonl.partial"));
    let arguments = long_job(&pairs, &out);
    let mut finished = 0;
    for name in ["KILL", "INT", "TERM", "HUP"] {
        if name == "HUP" && ignores_hangup() {
            continue;
        }
        let (status, stdout) = interrupt(&arguments, &partial, name);
        let rows = std::fs::read_to_string(&partial).unwrap().lines().count() - 1;
        assert!(rows > finished && rows < 1200, "{name}: {rows} rows after {finished}");
        finished = rows;
        if name == "KILL" {
            assert_eq!((status, out_path.exists()), (None, false));
            continue;
        }
        let answer: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{name}: {error}: {stdout}"));
        assert_eq!((status, answer["error"]["code"].as_str()), (Some(1), Some("stopped")), "{name}: {answer}");
        assert_eq!((answer["state"].as_str(), answer["rows"].as_array().unwrap().len()), (Some("stopped"), rows));
        assert!(answer["error"]["message"].as_str().unwrap().contains(&format!("after {rows} of 1,200")), "{answer}");
        // What is finished can be read from the output at once.
        assert_eq!(std::fs::read_to_string(&out_path).unwrap().lines().count(), rows);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let resumed = json(&arguments);
    assert!(resumed.stderr.contains(&format!("resuming: {finished} of 1200")), "{}", resumed.stderr);
    assert_eq!(resumed.ok()["rows"], uninterrupted["rows"]);
    assert!(std::fs::read(&out_path).unwrap() == std::fs::read(folder.root().join("whole.jsonl")).unwrap());
    assert!(!partial.exists());
}

#[cfg(unix)]
#[test]
fn an_interrupted_job_is_not_continued_by_another_one() {
    let folder = Folder::new();
    let pairs = folder.write("responses.jsonl", &responses(400));
    let out = folder.write("out.jsonl", "an older output\n");
    let partial = folder.root().join("out.jsonl.partial");
    let arguments = long_job(&pairs, &out);
    interrupt(&arguments, &partial, "INT");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "an older output\n");
    let with =
        |more: &[&str]| json(&arguments.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>());
    let error = with(&["--temperature", "0.5", "--seed", "9"]).error("conflict");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("temperature was 0.7 and is 0.5") && message.contains("seed was 1 and is 9"), "{message}");
    assert!(error["hint"].as_str().unwrap().contains("--overwrite"));
    folder.write("responses.jsonl", &responses(3));
    let error = with(&[]).error("conflict");
    assert!(error["message"].as_str().unwrap().contains("corpus_sha256"), "{error}");
    assert_eq!(with(&["--overwrite"]).ok()["rows"].as_array().unwrap().len(), 3);
    assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 3);
    assert!(!partial.exists());
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_the_model_is_read() {
    let folder = Folder::new();
    let pairs = folder.write("responses.jsonl", &responses(2));
    let model = folder.path("no-model");
    let inside = |name: &str| folder.path(name);
    for (out, code) in [
        (inside("nowhere/x.jsonl"), "not_found"),
        (folder.root().to_str().unwrap().to_owned(), "invalid_setting"),
        (inside("responses.jsonl/x.jsonl"), "not_found"),
    ] {
        // The model is not there either, but that is not what is reported.
        let error = json(&["generate", "--model", &model, "--pairs", &pairs, "-o", &out]).error(code);
        assert!(error["message"].as_str().unwrap().contains(&out), "{error}");
    }
    json(&["generate", "--model", &model, "--pairs", &pairs, "-o", &inside("x.jsonl")]).error("not_found");
    let names: Vec<_> = std::fs::read_dir(folder.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["responses.jsonl"]);
}

#[test]
fn rows_of_a_corpus_that_are_left_out_are_counted_with_their_reasons() {
    let folder = Folder::new();
    let rows = [
        r#"{"response": "Blue.", "id": 7, "url": "https://example.org/7"}"#,
        r#"{"response": "  "}"#,
        "nonsense",
        r#"{"response": [3]}"#,
        r#"{"response": "Two."}"#,
    ];
    let pairs = folder.write("responses.jsonl", &rows.join("\n"));
    let out = folder.path("written.jsonl");
    let arguments = ["generate", "--model", &tiny_llama(), "--pairs", &pairs, "--max-new-tokens", "4", "-o", &out];
    let answer = json(&arguments).ok();
    let corpus = &answer["corpus"];
    assert_eq!((corpus["responses"].as_u64(), corpus["malformed_count"].as_u64()), (Some(2), Some(2)), "{corpus}");
    assert_eq!(corpus["dropped"]["empty_text"], 1);
    let lines: Vec<_> = corpus["malformed"].as_array().unwrap().iter().map(|row| row["line"].clone()).collect();
    assert_eq!(lines, [3, 4]);
    assert_eq!((corpus["rows_read"].as_u64(), corpus["dropped_rows"][0]["row"].as_u64()), (Some(5), Some(2)));
    // Every generated row leads back to its row of the file.
    let rows = answer["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["row"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(5)]);
    assert_eq!((&rows[0]["source_id"], &rows[0]["url"]), (&Value::from("7"), &Value::from("https://example.org/7")));
    assert!(rows[1]["source_id"].is_null());
    let first: Value = serde_json::from_str(std::fs::read_to_string(&out).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["row"], &first["source_id"], &first["url"]),
        (&rows[0]["row"], &rows[0]["source_id"], &rows[0]["url"])
    );
    let people = plain(&arguments);
    assert!(people.stdout.contains("1 empty_text") && people.stdout.contains("line 3: row"), "{}", people.stdout);
}

#[test]
fn a_byte_order_mark_is_not_part_of_a_prompt() {
    let folder = Folder::new();
    let model = tiny_llama();
    let tokens = |file: &str| {
        let arguments = ["generate", "--model", &model, "--prompt-file", file, "--greedy", "--max-new-tokens", "1"];
        json(&arguments).ok()["rows"][0].clone()
    };
    let plain = tokens(&folder.write("plain.txt", "Hello"));
    assert_eq!(tokens(&folder.write("bom.txt", "\u{feff}Hello")), plain);
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain("Hello".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    std::fs::write(folder.root().join("utf16.txt"), utf16).unwrap();
    assert_eq!(tokens(&folder.path("utf16.txt")), plain);
}

#[test]
fn the_old_spelling_of_max_new_tokens_still_works() {
    let folder = Folder::new();
    let prompt = folder.write("prompt.txt", "Once");
    let arguments = ["generate", "--model", &tiny_llama(), "--prompt-file", &prompt, "--greedy", "--max-new", "2"];
    assert!(json(&arguments).ok()["rows"][0]["token_ids"].as_array().unwrap().len() <= 3);
    assert!(!plain(&["generate", "--help"]).stdout.contains("--max-new "));
}
