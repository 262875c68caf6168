//! Logits and likelihoods against transformers (`reference/logits.py`).

use std::collections::BTreeMap;
use std::fs;

use engine::model::BaseModel;
use serde::Deserialize;

use crate::support::{fixture, golden, load, shared, smollm2_path, tiny, tiny_tied};

const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Model {
    /// Which of a position's logits are in the file.
    indices: Vec<usize>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    nll: Option<f64>,
    /// The last positions, at most three.
    last: Vec<Position>,
}

#[derive(Deserialize)]
struct Position {
    argmax: usize,
    mean: f64,
    std: f64,
    logsumexp: f64,
    at: Vec<f64>,
}

fn reference(name: &str) -> Model {
    let mut file: BTreeMap<String, serde_json::Value> = golden("logits.json");
    serde_json::from_value(file.remove(name).unwrap()).unwrap()
}

fn check(model: &BaseModel, name: &str) {
    let reference = reference(name);
    let mut worst: f64 = 0.0;
    for case in &reference.cases {
        assert_eq!(model.tokenizer.encode_with_bos(&case.text).unwrap(), case.ids, "{name}: {:?}", case.text);
        let logits = model.logits(&case.ids, case.last.len()).unwrap();
        assert_eq!(logits.len(), case.last.len());
        for (ours, theirs) in logits.iter().zip(&case.last) {
            let found = describe(ours, &reference.indices);
            assert_eq!(ours.len(), model.config.vocab_size);
            assert_eq!(found.argmax, theirs.argmax, "{name}: {:?}", case.text);
            let pairs = found.at.iter().zip(&theirs.at).chain([
                (&found.mean, &theirs.mean),
                (&found.std, &theirs.std),
                (&found.logsumexp, &theirs.logsumexp),
            ]);
            for (ours, theirs) in pairs {
                worst = worst.max((ours - theirs).abs());
            }
        }
        if let Some(nll) = case.nll {
            worst = worst.max((model.score(&case.ids).unwrap() - nll).abs());
        }
        assert!(worst < TOLERANCE, "{name}: {:?}: {worst:e}", case.text);
    }
    eprintln!("{name}: {} texts, largest difference {worst:.1e}", reference.cases.len());
}

fn describe(logits: &[f32], indices: &[usize]) -> Position {
    let logits: Vec<f64> = logits.iter().copied().map(f64::from).collect();
    let count = logits.len() as f64;
    let mean = logits.iter().sum::<f64>() / count;
    let largest = logits.iter().copied().fold(f64::MIN, f64::max);
    Position {
        argmax: logits.iter().position(|&logit| logit == largest).unwrap(),
        mean,
        std: (logits.iter().map(|logit| (logit - mean).powi(2)).sum::<f64>() / count).sqrt(),
        logsumexp: largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln(),
        at: indices.iter().map(|&index| logits[index]).collect(),
    }
}

#[test]
fn a_tiny_llama_with_grouped_queries_and_a_head_of_its_own_agrees_with_transformers() {
    check(&tiny(), "tiny-llama");
}

#[test]
fn a_tied_head_agrees_with_transformers() {
    check(&tiny_tied(), "tiny-llama-tied");
}

#[test]
fn a_quantised_gguf_agrees_with_what_transformers_reads_in_it() {
    check(&load(&fixture("tiny-llama.gguf")), "tiny-llama-gguf");
}

#[test]
fn a_gguf_is_the_model_that_it_was_written_from_but_for_its_rounding() {
    let (folder, gguf) = (tiny(), load(&fixture("tiny-llama.gguf")));
    let ids = folder.tokenizer.encode("Why is the sky blue?").unwrap();
    assert_eq!(gguf.tokenizer.encode("Why is the sky blue?").unwrap(), ids);
    // Four bits in half of the weights; rows of q and k in the wrong order would be off by units of nats.
    let (exact, rounded) = (folder.score(&ids).unwrap(), gguf.score(&ids).unwrap());
    assert!((exact - rounded).abs() < 0.3, "{exact} against {rounded}");
    assert_ne!(exact, rounded);
    assert_ne!(folder.sha256, gguf.sha256);
}

#[test]
fn stories260k_agrees_with_transformers() {
    if let Some(path) = shared("models/stories260k") {
        check(&load(&path), "stories260k");
    }
}

#[test]
fn smollm2_from_its_gguf_agrees_with_transformers() {
    if let Some(path) = smollm2_path() {
        check(&load(&path), "smollm2");
    }
}

#[test]
fn smollm2_reads_real_text_with_the_known_likelihood() {
    let (Some(path), Some(lima)) = (smollm2_path(), shared("lima/lima_330.jsonl")) else { return };
    let model = load(&path);
    assert_eq!(model.config.parameters(), 134_515_008);
    let rows = fs::read_to_string(lima).unwrap();
    let row: serde_json::Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    let ids = model.tokenizer.encode(row["conversations"][1].as_str().unwrap()).unwrap();
    let nll = model.score(&ids[..128]).unwrap();
    assert!((nll - 3.31).abs() < 0.01, "{nll}");
}

#[test]
fn requests_that_the_model_cannot_answer_are_refused_with_their_limit() {
    let model = tiny();
    for (ids, last, part) in [
        (vec![], 1, "1"),
        (vec![5, 6], 3, "2"),
        (vec![5, 6], 0, "2"),
        (vec![5, 322], 1, "322"),
        (vec![5; 2049], 1, "2048"),
    ] {
        let error = model.logits(&ids, last).unwrap_err();
        assert_eq!(error.code(), spec::ErrorCode::InvalidSetting);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(model.score(&[5]).is_err());
}
