//! `data inspect` and `data prepare`.

use crate::support::{Folder, json, plain, shared};

#[test]
fn the_published_figures_come_out_of_the_published_file() {
    let Some(file) = shared("oasst1/oasst1_en_validation.messages.jsonl") else { return };
    let rank0 = json(&["data", "inspect", &file, "--rule", "rank0"]).ok();
    assert_eq!((rank0["pairs"].as_u64(), rank0["rows"].as_u64()), (Some(418), Some(2022)));
    let seed = json(&["data", "inspect", &file, "--rule", "seed"]).ok();
    assert_eq!((seed["pairs"].as_u64(), seed["first_turn_pairs"].as_u64()), (Some(160), Some(69)));
    // The same file gives the same pairs as in a data cell.
    assert_eq!(json(&["data", "inspect", &file]).ok()["pairs"], 69);
    assert_eq!(json(&["data", "inspect", &file, "--rule", "first-turn"]).ok()["pairs"], 69);
    let by_flags = ["--rule", "rank0", "--quality-above", "0.6", "--words-above", "5", "--turns", "first"];
    assert_eq!(json(&[&["data", "inspect", file.as_str()][..], &by_flags].concat()).ok()["pairs"], 69);
}

#[test]
fn a_malformed_line_is_named_and_the_rest_is_kept() {
    let folder = Folder::new();
    let good =
        r#"{"instruction": "Say hello to everyone in this room.", "response": "Hello to everyone in this nice room!"}"#;
    let file = folder.write("pairs.jsonl", &format!("{good}\nnonsense\n{good}\n"));
    let found = json(&["data", "inspect", &file, "--rule", "all"]).ok();
    assert_eq!((found["format"].as_str(), found["pairs"].as_u64()), (Some("pairs"), Some(2)));
    assert_eq!((found["malformed_count"].as_u64(), found["malformed"][0]["line"].as_u64()), (Some(1), Some(2)));
    let people = plain(&["data", "inspect", &file, "--rule", "all"]);
    assert!(people.stdout.contains("line 2"), "{}", people.stdout);
}

#[test]
fn prepared_pairs_can_be_read_again() {
    let folder = Folder::new();
    let file = folder.write("pairs.jsonl", &crate::support::pairs(5));
    let seed = folder.path("seed.jsonl");
    let prepared = json(&["data", "prepare", &file, "-o", &seed]).ok();
    assert_eq!(prepared["pairs"], 5);
    assert_eq!(std::fs::read_to_string(&seed).unwrap().lines().count(), 5);
    assert_eq!(json(&["data", "inspect", &seed]).ok()["pairs"], 5);
}

#[test]
fn a_missing_file_and_a_senseless_rule_are_errors_with_a_code() {
    json(&["data", "inspect", "/nowhere.jsonl"]).error("not_found");
    let folder = Folder::new();
    let file = folder.write("pairs.jsonl", &crate::support::pairs(1));
    assert!(json(&["data", "inspect", &file, "--limit", "0"]).usage().contains("--limit"));
    json(&["data", "prepare", &file, "-o", &folder.path("x"), "--words-above", "5000"]).error("empty");
    assert!(!folder.root().join("x").exists());
    // The output is checked before the file is read.
    json(&["data", "prepare", "/nowhere.jsonl", "-o", folder.root().to_str().unwrap()]).error("invalid_setting");
}
