//! An adapter belongs to one template, one tokenizer and one base model, and says so.

use std::fs;

use engine::lora::Adapter;
use engine::train::TrainJob;
use spec::{Projection, TrainConfig, TrainOutput};

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

/// 8 / sqrt(4) is 16 / 4: the same training, under either name.
#[test]
fn an_adapter_with_rank_stabilized_lora_is_trained_saved_and_read_with_that_scale() {
    let model = tiny();
    let template = short_template(&model.tokenizer);
    let plain = TrainConfig { rank: 4, alpha: 16.0, ..full_batch(vec![Projection::QProj, Projection::VProj], 3) };
    let stabilized = TrainConfig { alpha: 8.0, use_rslora: true, ..plain.clone() };
    let ids = model.tokenizer.encode("R: Boil the water.\nI: What").unwrap();
    let [plain, stabilized] = [plain, stabilized].map(|config| {
        let folder = tempfile::tempdir().unwrap();
        let (_, steps) = run(&TrainJob {
            model: &model,
            template: &template,
            train: &golden_pairs(),
            validation: &[],
            config: &config,
            folder: folder.path(),
            initial_factors: None,
        });
        let path = folder.path().join("adapter");
        let peft: serde_json::Value =
            serde_json::from_slice(&fs::read(path.join("adapter_config.json")).unwrap()).unwrap();
        assert_eq!(peft["use_rslora"], config.use_rslora);
        let logits = model.logits_with(&Adapter::load(&path, &model).unwrap(), &ids, 1).unwrap();
        (steps.iter().map(|step| step.loss.to_bits()).collect::<Vec<_>>(), logits)
    });
    assert_eq!(plain, stabilized);
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
