//! What a training step of TinyLlama-1.1B's dimensions takes beside its weights. The weights are random: their own
//! cannot always be had, and memory does not depend on them.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use engine::device::Device;
use safetensors::tensor::{Dtype, View};
use serde_json::{Value, json};
use spec::LossOn;

use super::load;
use super::train::{config, fixed_pairs, report, timed};

#[derive(Args)]
pub struct Memory {
    /// Where the random model lies, or is written first (2.2 GB)
    #[arg(long)]
    folder: PathBuf,
    /// A base model's folder to take the tokenizer from
    #[arg(long)]
    tokenizer: PathBuf,
    #[arg(long, default_value_t = 4)]
    batch: usize,
    #[arg(long, default_value_t = 512)]
    seq: usize,
    /// Layers; TinyLlama has 22
    #[arg(long, default_value_t = 22)]
    layers: usize,
    #[arg(long)]
    recompute: bool,
}

impl Memory {
    pub fn run(self, device: &Device) -> Result<Value> {
        let folder = self.folder.join(format!("tinyllama-random-{}", self.layers));
        write_model(&folder, &self.tokenizer, self.layers)?;
        let model = load(&folder, device)?;
        let mut config = config(self.batch, self.seq, LossOn::All, 2);
        config.gradient_checkpointing = self.recompute;
        let pairs = fixed_pairs(&model, self.batch, self.seq)?;
        let (steps, outcome) = timed(&model, &pairs, &config)?;
        ensure!(steps[0].tokens == (self.batch * self.seq) as u64, "sequences are not full");
        let mut found = report("memory", &steps[1..]);
        found["weights_mb"] = json!((model.config.parameters() * 4) >> 20);
        found["trainable"] = json!(outcome.trainable);
        let beside = engine::memory::peak_bytes().saturating_sub(model.config.parameters() * 4);
        found["beside_weights_mb"] = json!(beside >> 20);
        found["recompute"] = json!(self.recompute);
        Ok(found)
    }
}

/// An HF folder of TinyLlama's shape in F16, once.
fn write_model(folder: &Path, tokenizer: &Path, layers: usize) -> Result<()> {
    let weights = folder.join("model.safetensors");
    if weights.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        let from = tokenizer.join(name);
        std::fs::copy(&from, folder.join(name)).with_context(|| from.display().to_string())?;
    }
    let (hidden, ffn, kv, vocabulary) = (2048, 5632, 256, 32_000);
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": vocabulary,
        "hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": 32,
        "num_key_value_heads": 4, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
    });
    std::fs::write(folder.join("config.json"), config.to_string())?;
    let mut tensors = vec![
        Random::new("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden]),
        Random::new("model.norm.weight".to_owned(), vec![hidden]),
        Random::new("lm_head.weight".to_owned(), vec![vocabulary, hidden]),
    ];
    for layer in 0..layers {
        let mut add = |name: &str, shape: &[usize]| {
            tensors.push(Random::new(format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
        };
        add("input_layernorm", &[hidden]);
        add("post_attention_layernorm", &[hidden]);
        add("self_attn.q_proj", &[hidden, hidden]);
        add("self_attn.k_proj", &[kv, hidden]);
        add("self_attn.v_proj", &[kv, hidden]);
        add("self_attn.o_proj", &[hidden, hidden]);
        add("mlp.gate_proj", &[ffn, hidden]);
        add("mlp.up_proj", &[ffn, hidden]);
        add("mlp.down_proj", &[hidden, ffn]);
    }
    // Written beside and renamed, so that a file that was cut off is never taken for a model.
    let partial = folder.join("model.partial");
    let named = tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor));
    safetensors::serialize_to_file(named, None, &partial)?;
    std::fs::rename(partial, weights)?;
    Ok(())
}

/// Values are made when they are written, so that the file never exists in memory.
struct Random {
    name: String,
    shape: Vec<usize>,
}

impl Random {
    fn new(name: String, shape: Vec<usize>) -> Self {
        Self { name, shape }
    }
}

impl View for Random {
    fn dtype(&self) -> Dtype {
        Dtype::F16
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.shape.iter().product();
        let norm = self.shape.len() == 1;
        let mut state = self.name.bytes().fold(1_u64, |state, byte| state.wrapping_mul(31) + u64::from(byte));
        let mut bytes = Vec::with_capacity(2 * values);
        for _ in 0..values {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let uniform = (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
            let value = if norm { 1.0 } else { 0.07 * uniform };
            bytes.extend(half::f16::from_f32(value).to_le_bytes());
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        2 * self.shape.iter().product::<usize>()
    }
}
