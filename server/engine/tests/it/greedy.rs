//! Greedy continuations against transformers (`reference/greedy.py`), and the answers that are widely known.

use std::collections::BTreeMap;

use engine::Control;
use engine::generate::{GenerateEvent, GenerateRow, GeneratedRow, generate};
use engine::lora::Adapter;
use engine::model::BaseModel;
use engine::template::EncodedPrompt;
use serde::Deserialize;
use spec::GenerateConfig;

use crate::support::{golden, load, shared, smollm2_path, tiny};

#[derive(Deserialize)]
struct Case {
    prompt: String,
    prompt_ids: Vec<u32>,
    ids: Vec<u32>,
    text: String,
    ended: bool,
}

pub fn row(index: u32, ids: &[u32]) -> GenerateRow {
    GenerateRow { index, prompt: EncodedPrompt { ids: ids.to_vec(), response_tokens_cut: 0 } }
}

pub fn greedy(max_new_tokens: u32, batch_size: u32) -> GenerateConfig {
    GenerateConfig { max_new_tokens, batch_size, ..engine::generate::greedy() }
}

/// All rows, by index.
pub fn write(
    model: &BaseModel,
    adapter: Option<&Adapter>,
    rows: &[GenerateRow],
    config: &GenerateConfig,
) -> BTreeMap<u32, GeneratedRow> {
    let mut found = BTreeMap::new();
    let stop = [model.tokenizer.eos()];
    generate(model, adapter, rows, &stop, config, &Control::default(), &mut |event| {
        if let GenerateEvent::Row(row) = event {
            assert!(found.insert(row.index, row).is_none(), "a row came twice");
        }
    })
    .unwrap();
    assert_eq!(found.len(), rows.len());
    found
}

fn check(model: &BaseModel, name: &str, new: u32) {
    let mut file: BTreeMap<String, serde_json::Value> = golden("greedy.json");
    let cases: Vec<Case> = serde_json::from_value(file.remove(name).unwrap()).unwrap();
    let rows: Vec<GenerateRow> = (0..).zip(&cases).map(|(index, case)| row(index, &case.prompt_ids)).collect();
    for batch_size in [1, cases.len() as u32] {
        let found = write(model, None, &rows, &greedy(new, batch_size));
        for (case, row) in cases.iter().zip(found.values()) {
            assert_eq!(model.tokenizer.encode_with_bos(&case.prompt).unwrap(), case.prompt_ids);
            assert_eq!(row.ids, case.ids, "{name}, batch {batch_size}: {:?}", case.prompt);
            assert_eq!((row.text.as_str(), row.ended()), (case.text.as_str(), case.ended));
        }
    }
}

#[test]
fn a_tiny_llama_continues_as_in_transformers() {
    check(&tiny(), "tiny-llama", 24);
}

#[test]
fn stories260k_tells_of_lily() {
    let Some(path) = shared("models/stories260k") else { return };
    let model = load(&path);
    check(&model, "stories260k", 32);
    let told = &write(&model, None, &[row(0, &[1])], &greedy(40, 1))[&0];
    assert_eq!(told.ids[..7], [403, 407, 261, 378, 432, 383, 286]);
    let beginning = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park";
    assert!(told.text.trim_start().starts_with(beginning), "{:?}", told.text);
}

#[test]
fn smollm2_knows_the_capital_of_france() {
    let Some(path) = smollm2_path() else { return };
    let model = load(&path);
    check(&model, "smollm2", 24);
    let chat = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n";
    let ids = model.tokenizer.encode(chat).unwrap();
    let answer = &write(&model, None, &[row(0, &ids)], &greedy(24, 1))[&0];
    assert_eq!(answer.ids, [504, 3575, 282, 4649, 314, 7042, 30]);
    assert_eq!((answer.text.as_str(), answer.stopped_by), ("The capital of France is Paris.", Some(2)));
}
