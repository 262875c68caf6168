//! `generate`: prompts and pairs.

use serde_json::Value;

use crate::support::{Folder, json, plain, shared, tiny_llama};

#[test]
fn stories260k_tells_its_known_story() {
    let Some(model) = shared("models/stories260k") else { return };
    let folder = Folder::new();
    let prompt = folder.write("prompt.txt", "");
    let written = json(&["generate", "--model", &model, "--prompt-file", &prompt, "--greedy", "--max-new", "24"]).ok();
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
        let arguments = ["generate", "--model", &model, "--prompt-file", &prompt, "--seed", seed, "--max-new", "20"];
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
    let arguments = ["generate", "--model", &tiny_llama(), "--pairs", &pairs, "--max-new", "8", "-o", &out];
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
    let error =
        json(&["generate", "--model", &model, "--prompt-file", &prompt, "--top-p", "7"]).error("invalid_setting");
    assert!(error["message"].as_str().unwrap().contains("top_p"), "{error}");
    json(&["generate", "--model", &model, "--prompt-file", &prompt, "--max-new", "4000000000"])
        .error("invalid_setting");
    assert_eq!(plain(&["generate", "--model", &model]).status, 2);
}
