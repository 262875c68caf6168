//! An adapter belongs to one template, one tokenizer and one base model, and says so.

use std::fs;

use engine::lora::Adapter;
use engine::train::TrainJob;
use spec::{Projection, TrainOutput};

use crate::lora::run;
use crate::support::{fixture, full_batch, golden_pairs, load, short_template, template, tiny, tiny_tied};

fn trained(folder: &std::path::Path) -> TrainOutput {
    let model = tiny();
    let (outcome, _) = run(&TrainJob {
        model: &model,
        template: &short_template(&model.tokenizer),
        train: &golden_pairs(),
        validation: &[],
        config: &full_batch(vec![Projection::VProj], 1),
        folder,
        initial_factors: None,
    });
    outcome
}

#[test]
fn an_adapter_is_refused_with_anything_but_what_it_was_trained_with() {
    let (model, folder) = (tiny(), tempfile::tempdir().unwrap());
    let outcome = trained(folder.path());
    let path = folder.path().join("adapter");
    let adapter = Adapter::load(&path, &model).unwrap();
    assert_eq!(adapter.sha256, outcome.adapter_sha256);

    let same = short_template(&model.tokenizer);
    adapter.check(&model, &same).unwrap();

    let other = template("Response: {response}\nI: ", "{instruction}", &model.tokenizer);
    let error = adapter.check(&model, &other).unwrap_err();
    assert_eq!(error.code(), spec::ErrorCode::TemplateLock);
    let message = error.to_string();
    assert!(message.contains("template"), "{message}");
    assert!(message.contains(same.sha256()) && message.contains(other.sha256()), "both sides: {message}");

    for (other, what) in [(tiny_tied(), "base model"), (load(&fixture("tiny-llama.gguf")), "t")] {
        let error = adapter.check(&other, &short_template(&other.tokenizer)).unwrap_err();
        assert_eq!(error.code(), spec::ErrorCode::TemplateLock);
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains(&model.sha256[..12]) || what == "t", "{error}");
    }
}

#[test]
fn an_adapter_whose_bytes_changed_on_disk_is_refused() {
    let (model, folder) = (tiny(), tempfile::tempdir().unwrap());
    trained(folder.path());
    let weights = folder.path().join("adapter/adapter_model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert_eq!(Adapter::load(&folder.path().join("adapter"), &model).err().unwrap().code(), spec::ErrorCode::Corrupt);
}
