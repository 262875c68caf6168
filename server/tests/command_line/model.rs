//! `model inspect`, `score` and `logits`.

use crate::support::{Folder, json, plain, shared, tiny_llama};

/// TinyLlama's real configuration, as its authors published it.
const TINYLLAMA: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
    "num_key_value_heads": 4, "vocab_size": 32000, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "rope_scaling": null, "tie_word_embeddings": false, "attention_bias": false,
    "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}"#;

#[test]
fn a_configuration_alone_tells_parameters_and_what_lora_trains() {
    let folder = Folder::new();
    let config = folder.write("config.json", TINYLLAMA);
    let found = json(&["model", "inspect", &config, "--rank", "16", "--targets", "q_proj,v_proj"]).ok();
    assert_eq!(found["parameters"], 1_100_048_384_u64);
    assert_eq!(found["trainable"], 2_252_800);
    assert!((found["trainable_percent"].as_f64().unwrap() - 0.2044).abs() < 5e-5);
    let people = plain(&["model", "inspect", &config]);
    assert!(people.stdout.contains("2,252,800 (0.2044 %)"), "{}", people.stdout);
}

#[test]
fn an_unsupported_configuration_is_refused_by_the_name_of_its_field() {
    let folder = Folder::new();
    let config =
        folder.write("config.json", &TINYLLAMA.replace("\"attention_bias\": false", "\"attention_bias\": true"));
    let error = json(&["model", "inspect", &config]).error("unsupported");
    assert!(error["message"].as_str().unwrap().contains("attention_bias"), "{error}");
    let wrong = json(&["model", "inspect", &config, "--targets", "lm_head"]);
    assert_eq!((wrong.status, wrong.json()["error"]["code"].as_str()), (2, Some("usage")));
    json(&["model", "inspect", "/nowhere"]).error("not_found");
}

#[test]
fn a_text_is_scored_and_its_logits_are_given() {
    let folder = Folder::new();
    let text = folder.write("text.txt", "Once upon a time there was a house.");
    let model = tiny_llama();
    let scored = json(&["model", "score", &model, "--text-file", &text]).ok();
    let ids = scored["token_ids"].as_array().unwrap();
    assert!(ids.len() > 2 && scored["mean_nll"].as_f64().unwrap() > 0.0);
    let first = json(&["model", "score", &model, "--text-file", &text, "--first", "3"]).ok();
    assert_eq!(first["token_ids"].as_array().unwrap()[..], ids[..3]);
    let logits = json(&["model", "logits", &model, "--text-file", &text, "--last", "2"]).ok();
    assert_eq!(logits["logits"].as_array().unwrap().len(), 2);
    assert_eq!(logits["positions"][1], ids.len() - 1);
    json(&["model", "logits", &model, "--text-file", &text, "--last", "100000"]).error("invalid_setting");
    json(&["model", "score", &model, "--text-file", &folder.write("empty.txt", "")]).error("invalid_setting");
}

#[test]
fn stories260k_scores_with_the_bos_that_its_tokenizer_adds() {
    let Some(model) = shared("models/stories260k") else { return };
    let folder = Folder::new();
    let text = folder.write("text.txt", "Once upon a time, there was a little girl named Lily.");
    let scored = json(&["model", "score", &model, "--text-file", &text]).ok();
    assert_eq!((scored["token_ids"][0].as_u64(), scored["bos"].as_bool()), (Some(1), Some(true)));
    assert!(scored["mean_nll"].as_f64().unwrap() < 1.5, "{scored}");
}
