//! `score`: the published figures, and files of any shape.

use crate::support::{Folder, json, plain, shared};

#[test]
fn the_published_output_has_the_published_faults() {
    let Some(file) = shared("published/chongchen1999_tinyllama_lima_instructions.json") else { return };
    let scored = json(&["score", &file]).ok();
    let summary = &scored["summary"];
    let near = |value: &serde_json::Value, expected: f64, tolerance: f64| {
        let value = value.as_f64().unwrap();
        assert!((value - expected).abs() <= tolerance, "{value} instead of {expected}");
    };
    assert_eq!((summary["pairs"].as_u64(), scored["rows"].as_array().unwrap().len()), (Some(243), 243));
    near(&summary["rouge_l"], 0.0896, 0.0005);
    near(&summary["rouge_l_shuffled"], 0.057, 0.01);
    near(&summary["generated"]["median_words"], 283.0, 0.5);
    near(&summary["reference"]["median_words"], 42.0, 0.5);
    near(&summary["generated"]["copied"], 0.62, 0.01);
    near(&summary["generated"]["distinct_2"], 0.331, 0.002);
    near(&json(&["score", &file, "--behind", "Response:"]).ok()["summary"]["rouge_l"], 0.1237, 0.0005);
    let cut = json(&["score", &file, "--cut-at", "Response:"]).ok();
    assert_eq!(cut["summary"]["tags"]["template_leak"], 0, "{}", cut["summary"]);
}

#[test]
fn files_are_read_as_data_files_are_whatever_their_encoding_and_one_bad_row_spoils_no_other() {
    let folder = Folder::new();
    let good =
        r#"{"response": "The sky is blue.", "generated": "What colour is the sky?", "reference": "Name its colour."}"#;
    let lines = format!("{good}\n{good}\n");
    let plain_rows = json(&["score", &folder.write("plain.jsonl", &lines)]).ok();
    let bom = json(&["score", &folder.write("bom.jsonl", &format!("\u{feff}{lines}"))]).ok();
    assert_eq!((&bom["summary"], &bom["rows"]), (&plain_rows["summary"], &plain_rows["rows"]));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, lines.as_bytes()).unwrap();
    std::fs::write(folder.root().join("rows.jsonl.gz"), gzip.finish().unwrap()).unwrap();
    assert_eq!(json(&["score", &folder.path("rows.jsonl.gz")]).ok()["rows"], plain_rows["rows"]);

    let array =
        format!("\n  [{good},\n {{\"response\": \"cut}},\n{{\"response\": [3], \"generated\": \"g\"}}, {good}]");
    let array = array.replace("\"cut}", "\"c\", cut}");
    let scored = json(&["score", &folder.write("array.json", &array)]).ok();
    assert_eq!(
        (scored["summary"]["pairs"].as_u64(), scored["malformed_count"].as_u64()),
        (Some(2), Some(2)),
        "{scored}"
    );
    let rows: Vec<_> = scored["rows"].as_array().unwrap().iter().map(|row| row["row"].as_u64()).collect();
    assert_eq!(rows, [Some(1), Some(4)]);
}

#[test]
fn people_get_a_table_and_a_file_without_rows_is_an_error() {
    let folder = Folder::new();
    let file = folder
        .write("rows.jsonl", "{\"response\": \"The sky is blue.\", \"generated\": \"What colour is the sky?\"}\n");
    let people = plain(&["score", &file]);
    assert_eq!(people.status, 0, "{}", people.stderr);
    assert!(people.stdout.contains("What colour is the sky?"));
    let error = json(&["score", &folder.write("none.jsonl", "{\"generated\": \"x\"}\n")]).error("empty");
    assert!(error["message"].as_str().unwrap().contains("response"), "{error}");
}
