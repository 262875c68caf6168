use std::fs;
use std::path::Path;

use super::*;
use crate::model::gguf::write::{Writer, mutants};

/// A Llama of two layers with four heads of four over two, small enough to be written out.
fn tiny(tied: bool) -> LlamaConfig {
    LlamaConfig {
        vocab_size: 6,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: tied,
    }
}

fn config_json(config: &LlamaConfig) -> String {
    serde_json::json!({
        "model_type": "llama", "vocab_size": config.vocab_size, "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size, "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads, "num_key_value_heads": config.num_key_value_heads,
        "max_position_embeddings": config.max_position_embeddings, "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta, "tie_word_embeddings": config.tie_word_embeddings,
    })
    .to_string()
}

/// Distinct numbers for a tensor of this name.
fn numbers(name: &str, shape: &[usize]) -> Vec<f32> {
    let start: u32 = name.bytes().map(u32::from).sum();
    (0..shape.iter().product::<usize>()).map(|n| start as f32 + n as f32 / 64.0).collect()
}

fn safetensors(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, shape) in tensors {
        let start = data.len();
        data.extend(numbers(name, shape).iter().flat_map(|n| n.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn gguf_of(config: &LlamaConfig) -> Writer {
    let mut writer = Writer::default();
    writer.text("general.architecture", "llama");
    writer.unsigned("llama.block_count", config.num_hidden_layers as u32);
    writer.unsigned("llama.context_length", config.max_position_embeddings as u32);
    writer.unsigned("llama.embedding_length", config.hidden_size as u32);
    writer.unsigned("llama.feed_forward_length", config.intermediate_size as u32);
    writer.unsigned("llama.attention.head_count", config.num_attention_heads as u32);
    writer.unsigned("llama.attention.head_count_kv", config.num_key_value_heads as u32);
    writer.float("llama.attention.layer_norm_rms_epsilon", config.rms_norm_eps as f32);
    writer.text("tokenizer.ggml.model", "gpt2");
    writer.text("tokenizer.ggml.pre", "smollm");
    writer.texts("tokenizer.ggml.tokens", &["<|end|>", "a", "b", "Ġ", "ab", "1"]);
    writer.integers("tokenizer.ggml.token_type", &[3, 1, 1, 1, 1, 1]);
    writer.texts("tokenizer.ggml.merges", &["a b"]);
    writer.unsigned("tokenizer.ggml.eos_token_id", 0);
    writer
}

/// `(GGUF name, HF name)`: HF's as the expected list has them.
fn gguf_name(name: &str) -> String {
    let name = match name {
        "model.embed_tokens.weight" => "token_embd.weight",
        "model.norm.weight" => "output_norm.weight",
        "lm_head.weight" => "output.weight",
        _ => name,
    };
    let changes = [
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.", "attn_"),
        ("mlp.", "ffn_"),
        ("_proj", ""),
    ];
    changes.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

fn write_gguf(config: &LlamaConfig) -> Writer {
    let mut writer = gguf_of(config);
    for (name, shape) in config.tensors() {
        writer.tensor(&gguf_name(&name), &shape, &numbers(&name, &shape));
    }
    writer
}

fn write_folder(folder: &Path, config: &LlamaConfig) {
    fs::write(folder.join("config.json"), config_json(config)).unwrap();
    fs::write(folder.join("model.safetensors"), safetensors(&config.tensors())).unwrap();
}

fn refused(path: &Path) -> Error {
    ModelFiles::open(path).map(|_| ()).expect_err("refused")
}

#[test]
fn a_folder_gives_its_tensors_by_name_and_shape() {
    let folder = tempfile::tempdir().unwrap();
    for tied in [true, false] {
        let config = tiny(tied);
        write_folder(folder.path(), &config);
        let files = ModelFiles::open(folder.path()).unwrap();
        assert_eq!(files.config, config);
        assert_eq!(files.stored_as, "F32");
        assert_eq!(inspect(folder.path()).unwrap(), config);
        for (name, shape) in config.tensors() {
            assert_eq!(files.tensor(&name, &shape).unwrap(), numbers(&name, &shape));
        }
        let message = files.tensor("model.norm.weight", &[15]).unwrap_err().to_string();
        assert!(message.contains("model.norm.weight") && message.contains("[16]"), "{message}");
        assert!(files.tensor("model.other.weight", &[15]).unwrap_err().to_string().contains("is missing"));
    }
}

#[test]
fn several_files_with_an_index_are_one_model() {
    let whole = tempfile::tempdir().unwrap();
    let parts = tempfile::tempdir().unwrap();
    let config = tiny(false);
    write_folder(whole.path(), &config);
    fs::write(parts.path().join("config.json"), config_json(&config)).unwrap();
    let tensors = config.tensors();
    let (first, second) = tensors.split_at(9);
    fs::write(parts.path().join("one.safetensors"), safetensors(first)).unwrap();
    fs::write(parts.path().join("two.safetensors"), safetensors(second)).unwrap();
    let index = |second_file: &str| {
        let names = first.iter().map(|t| (t.0.clone(), "one.safetensors".to_owned()));
        let map: HashMap<_, _> = names.chain(second.iter().map(|t| (t.0.clone(), second_file.to_owned()))).collect();
        let text = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
        fs::write(parts.path().join("model.safetensors.index.json"), text).unwrap();
    };
    index("two.safetensors");
    let [a, b] = [whole.path(), parts.path()].map(|path| ModelFiles::open(path).unwrap());
    for (name, shape) in &tensors {
        assert_eq!(a.tensor(name, shape).unwrap(), b.tensor(name, shape).unwrap());
    }
    for elsewhere in ["../two.safetensors", "/etc/two.safetensors", "sub/two.safetensors", "two.bin", ""] {
        index(elsewhere);
        assert!(refused(parts.path()).to_string().contains("weight_map"), "{elsewhere}");
    }
    index("three.safetensors");
    assert_eq!(refused(parts.path()).code(), spec::ErrorCode::NotFound);
}

#[test]
fn a_gguf_gives_the_same_numbers_in_halves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for tied in [true, false] {
        let config = tiny(tied);
        fs::write(&path, write_gguf(&config).bytes()).unwrap();
        let files = ModelFiles::open(folder.path()).unwrap();
        assert_eq!(files.config, config);
        for (name, shape) in config.tensors() {
            let stored = numbers(&name, &shape);
            let loaded = files.tensor(&name, &shape).unwrap();
            if name.contains("q_proj") || name.contains("k_proj") {
                // Row i of a head's first half was row 2i, row i of its second half 2i + 1.
                for (row, values) in loaded.chunks_exact(16).enumerate() {
                    let (head, within) = (row / 4, row % 4);
                    let source = head * 4 + [0, 2, 1, 3][within];
                    assert_eq!(values, &stored[source * 16..][..16], "{name}, row {row}");
                }
            } else {
                assert_eq!(loaded, stored, "{name}");
            }
        }
        let tokenizer = files.tokenizer().unwrap();
        assert_eq!(tokenizer.encode("ab 11<|end|>").unwrap(), [4, 3, 5, 5, 0]);
        assert_eq!(inspect(&path).unwrap(), config);
    }
}

#[test]
fn the_hash_tells_weights_and_configurations_apart() {
    let folder = tempfile::tempdir().unwrap();
    let hash = |config: &LlamaConfig| {
        write_folder(folder.path(), config);
        ModelFiles::open(folder.path()).unwrap().sha256
    };
    let config = tiny(true);
    let first = hash(&config);
    assert_eq!(first.len(), 64);
    assert_eq!(first, hash(&config));
    assert_ne!(first, hash(&LlamaConfig { rope_theta: 20_000.0, ..config }));
    assert_ne!(first, hash(&tiny(false)));
}

#[test]
fn what_is_missing_or_misshapen_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny(true);
    let mut tensors = config.tensors();
    write_folder(folder.path(), &config);
    let write = |tensors: &[(String, Vec<usize>)]| {
        fs::write(folder.path().join("model.safetensors"), safetensors(tensors)).unwrap();
        refused(folder.path()).to_string()
    };
    tensors[1].1 = vec![4, 4];
    let message = write(&tensors);
    assert!(message.contains("model.layers.0.input_layernorm.weight has shape [4, 4]") || message.contains("[4, 4]"));
    tensors.remove(1);
    assert!(write(&tensors).contains("tensor model.layers.0.input_layernorm.weight: is missing"));
    tensors.push(("model.layers.0.self_attn.q_proj.bias".to_owned(), vec![16]));
    assert!(write(&tensors).contains("q_proj.bias"));

    let mut gguf = write_gguf(&config);
    gguf.tensor("blk.0.attn_q.bias", &[16], &[0.0; 16]);
    let path = folder.path().join("model.gguf");
    fs::write(&path, gguf.bytes()).unwrap();
    assert!(refused(&path).to_string().contains("blk.0.attn_q.bias"));
    for (key, value) in [("llama.expert_count", 8), ("llama.rope.dimension_count", 2), ("split.count", 3)] {
        let mut gguf = write_gguf(&config);
        gguf.unsigned(key, value);
        fs::write(&path, gguf.bytes()).unwrap();
        assert!(refused(&path).to_string().contains(key));
        assert!(inspect(&path).is_err());
    }
}

#[test]
fn pickles_and_strangers_are_refused_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(refused(&folder.path().join("absent")).code(), spec::ErrorCode::NotFound);
    assert!(refused(folder.path()).to_string().contains("model.safetensors"));
    let pickle = folder.path().join("pytorch_model.bin");
    fs::write(&pickle, b"\x80\x02x").unwrap();
    for path in [&pickle, folder.path()] {
        let error = refused(path);
        assert_eq!(error.code(), spec::ErrorCode::Unsupported);
        assert!(error.to_string().contains("pickle") && error.to_string().contains("safetensors"), "{error}");
    }
    let nameless = folder.path().join("weights");
    fs::write(&nameless, b"PK\x03\x04....").unwrap();
    assert!(refused(&nameless).to_string().contains("pickle"));
    fs::write(&nameless, b"hello").unwrap();
    assert_eq!(refused(&nameless).code(), spec::ErrorCode::Unsupported);
    for name in ["a.gguf", "b.gguf"] {
        fs::write(folder.path().join(name), b"GGUF").unwrap();
    }
    assert!(refused(folder.path()).to_string().contains("2 .gguf files"));
    assert_eq!(refused(&folder.path().join("a.gguf")).code(), spec::ErrorCode::MalformedFile);
}

#[test]
fn names_without_their_prefix_are_a_llama_saved_without_its_head() {
    let folder = tempfile::tempdir().unwrap();
    for tied in [true, false] {
        let config = tiny(tied);
        fs::write(folder.path().join("config.json"), config_json(&config)).unwrap();
        let bare = |name: &str| name.strip_prefix("model.").unwrap_or(name).to_owned();
        let tensors: Vec<_> = config.tensors().into_iter().map(|(name, shape)| (bare(&name), shape)).collect();
        fs::write(folder.path().join("model.safetensors"), safetensors(&tensors)).unwrap();
        let files = ModelFiles::open(folder.path()).unwrap();
        for (name, shape) in config.tensors() {
            assert_eq!(files.tensor(&name, &shape).unwrap(), numbers(&bare(&name), &shape));
        }
        let others: Vec<_> = tensors.iter().map(|(name, shape)| (format!("gpt.{name}"), shape.clone())).collect();
        fs::write(folder.path().join("model.safetensors"), safetensors(&others)).unwrap();
        let message = refused(folder.path()).to_string();
        assert!(message.contains("model.embed_tokens.weight: is missing"), "{message}");
        assert!(message.contains("have other names, such as gpt."), "{message}");
    }
}

#[test]
fn a_file_that_is_not_the_weights_is_named_for_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny(true);
    write_folder(folder.path(), &config);
    let weights = folder.path().join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 1234\n";
    for (bytes, name, hint) in [
        (&pointer[..], "it is a Git LFS pointer, not the weights", "git lfs pull"),
        (b"<!doctype html><html>", "it is an HTML page", "web page"),
        (b"\x80\x02}q\0", "a pickle", "Convert"),
        (&whole[..5], "the file has 5 bytes only", "incomplete"),
        (&whole[..100], "bytes long; the file has 100", "incomplete"),
        (&whole[..whole.len() - 1], "bytes of data; the file has", "incomplete"),
        (b"some text that is none of it", "is it safetensors?", "replace"),
    ] {
        fs::write(&weights, bytes).unwrap();
        let error = refused(folder.path());
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.hint().contains(hint), "{error}: {}", error.hint());
    }
    fs::write(folder.path().join("config.json"), pointer).unwrap();
    for error in [refused(folder.path()), inspect(folder.path()).unwrap_err()] {
        assert!(error.to_string().contains("config.json") && error.hint().contains("git lfs pull"), "{error}");
    }

    let gguf = folder.path().join("model.gguf");
    fs::write(&gguf, pointer).unwrap();
    assert!(refused(&gguf).hint().contains("git lfs pull"));
    let whole = write_gguf(&config).bytes();
    for length in [30, whole.len() / 8, whole.len() - 40] {
        fs::write(&gguf, &whole[..length]).unwrap();
        assert!(refused(&gguf).hint().contains("incomplete"), "{length}: {}", refused(&gguf));
    }
    let file = File::options().write(true).open(&gguf).unwrap();
    fs::write(&gguf, &whole).unwrap();
    // Sparse: a terabyte that takes no space.
    file.set_len(1 << 40).unwrap();
    let started = std::time::Instant::now();
    assert!(refused(&gguf).to_string().contains("last tensor ends at"));
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
#[cfg(unix)]
fn a_pipe_in_a_models_place_is_refused_without_waiting_for_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &tiny(true));
    for name in ["config.json", "model.safetensors", "model.gguf"] {
        let path = folder.path().join(name);
        let _ = fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let whole = if name == "model.gguf" { &path } else { folder.path() };
        for error in [refused(whole), inspect(&path).unwrap_err()] {
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        write_folder(folder.path(), &tiny(true));
    }
}

/// Some file systems wait for the disk when a file is overwritten in place, not when it is new.
fn write_anew(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

#[test]
fn mutants_of_a_whole_model_give_errors_and_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny(true);
    let path = folder.path().join("model.gguf");
    for mutant in mutants(&write_gguf(&config).bytes(), 1500) {
        write_anew(&path, &mutant);
        if let Ok(files) = ModelFiles::open(&path) {
            let _ = files.tokenizer();
            for (name, shape) in files.config.tensors() {
                let _ = files.tensor(&name, &shape).unwrap();
            }
        }
    }
    write_folder(folder.path(), &config);
    for mutant in mutants(config_json(&config).as_bytes(), 1500) {
        let _ = LlamaConfig::from_json(&path, &mutant);
    }
    for mutant in mutants(&safetensors(&config.tensors()), 500) {
        write_anew(&folder.path().join("model.safetensors"), &mutant);
        let _ = ModelFiles::open(folder.path());
    }
}

/// The default model, where `backtranslate model fetch` has put it.
#[test]
fn smollm2_is_loaded_as_published() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/models/smollm2-135m-instruct");
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let files = ModelFiles::open(&path).unwrap();
    assert_eq!(files.config, super::super::config::tests::smollm2());
    assert_eq!(files.stored_as, "Q4_1, Q8_0, F32");
    assert_eq!(files.size_bytes, 98_362_432);
    assert!(files.sha256.starts_with("b179c952"), "{}", files.sha256);
    for (name, shape) in files.config.tensors() {
        let values = files.tensor(&name, &shape).unwrap();
        assert!(values.iter().all(|value| value.is_finite()), "{name}");
    }
}

#[test]
fn stories260k_is_loaded_as_published() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("../shared"));
    let Some(path) = shared.map(|folder| folder.join("data/models/stories260k")).find(|path| path.is_dir()) else {
        eprintln!("skipped: ../shared/data/models/stories260k is not here");
        return;
    };
    let files = ModelFiles::open(&path).unwrap();
    assert_eq!(files.config.parameters(), 260_032);
    assert_eq!(inspect(&path.join("config.json")).unwrap(), files.config);
    let tokenizer = files.tokenizer().unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(1), 2, true));
    assert_eq!(tokenizer.decode(&[1, 403, 407, 261, 378, 432, 383, 286]).unwrap(), "Once upon a time, there was");
}
