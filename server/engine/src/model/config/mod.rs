//! What a Llama is: its sizes, checked. Where they are written (HF's `config.json`, GGUF metadata) is the business of
//! [`huggingface`] and of `gguf`; nothing here reads a file or knows a weight's values.

use std::path::Path;

use crate::{Error, Result};

mod huggingface;

/// Field names and meanings as in transformers' `LlamaConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    pub tie_word_embeddings: bool,
}

/// Above these a file is taken for damaged or hostile, not for a bigger Llama than there has ever been.
pub(super) const MAX_VOCABULARY: usize = 1 << 20;
const MAX_HIDDEN: usize = 1 << 16;
const MAX_INTERMEDIATE: usize = 1 << 19;
const MAX_LAYERS: usize = 1024;
const MAX_HEADS: usize = 1024;
const MAX_HEAD_DIM: usize = 1024;
const MAX_POSITIONS: usize = 1 << 28;

impl LlamaConfig {
    /// Parameters of the base model; a tied head is counted once.
    pub fn parameters(&self) -> u64 {
        let [vocab, hidden, ffn, layers] =
            [self.vocab_size, self.hidden_size, self.intermediate_size, self.num_hidden_layers].map(|n| n as u64);
        let query = (self.num_attention_heads * self.head_dim) as u64;
        let key = (self.num_key_value_heads * self.head_dim) as u64;
        let attention = hidden * (2 * query + 2 * key);
        let layer = attention + 3 * hidden * ffn + 2 * hidden;
        let heads = if self.tie_word_embeddings { 1 } else { 2 };
        heads * vocab * hidden + layers * layer + hidden
    }

    /// Every tensor of this model by HF name, with its shape (out features first), in the order of computation.
    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let hidden = self.hidden_size;
        let query = self.num_attention_heads * self.head_dim;
        let key = self.num_key_value_heads * self.head_dim;
        let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_hidden_layers {
            let parts = [
                ("input_layernorm", vec![hidden]),
                ("self_attn.q_proj", vec![query, hidden]),
                ("self_attn.k_proj", vec![key, hidden]),
                ("self_attn.v_proj", vec![key, hidden]),
                ("self_attn.o_proj", vec![hidden, query]),
                ("post_attention_layernorm", vec![hidden]),
                ("mlp.gate_proj", vec![self.intermediate_size, hidden]),
                ("mlp.up_proj", vec![self.intermediate_size, hidden]),
                ("mlp.down_proj", vec![hidden, self.intermediate_size]),
            ];
            all.extend(parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape)));
        }
        all.push(("model.norm.weight".to_owned(), vec![hidden]));
        if !self.tie_word_embeddings {
            all.push(("lm_head.weight".to_owned(), vec![self.vocab_size, hidden]));
        }
        all
    }

    /// The sizes as they were read, if they make a Llama that can be computed. Errors name the field of `path`.
    pub(super) fn checked(self, path: &Path) -> Result<Self> {
        let sizes = [
            ("vocab_size", self.vocab_size, MAX_VOCABULARY),
            ("hidden_size", self.hidden_size, MAX_HIDDEN),
            ("intermediate_size", self.intermediate_size, MAX_INTERMEDIATE),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("num_attention_heads", self.num_attention_heads, MAX_HEADS),
            ("num_key_value_heads", self.num_key_value_heads, MAX_HEADS),
            ("head_dim", self.head_dim, MAX_HEAD_DIM),
            ("max_position_embeddings", self.max_position_embeddings, MAX_POSITIONS),
        ];
        for (field, value, limit) in sizes {
            if value == 0 || value > limit {
                return Err(Error::malformed(path, field, format!("is {value}; it must be 1 to {limit}")));
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let problem =
                format!("is {}, which does not divide {} heads", self.num_key_value_heads, self.num_attention_heads);
            return Err(Error::malformed(path, "num_key_value_heads", problem));
        }
        if !self.head_dim.is_multiple_of(2) {
            let problem = format!("is {}; rotary embedding needs an even number", self.head_dim);
            return Err(Error::malformed(path, "head_dim", problem));
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            let problem = format!("is {}; it must be above 0 and below 1", self.rms_norm_eps);
            return Err(Error::malformed(path, "rms_norm_eps", problem));
        }
        if !(self.rope_theta >= 1.0 && self.rope_theta <= 1e12) {
            let problem = format!("is {}; it must be 1 to 1e12", self.rope_theta);
            return Err(Error::malformed(path, "rope_theta", problem));
        }
        Ok(self)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Real dimensions, from facts published with the model.
    pub fn tinyllama() -> LlamaConfig {
        LlamaConfig {
            vocab_size: 32000,
            hidden_size: 2048,
            intermediate_size: 5632,
            num_hidden_layers: 22,
            num_attention_heads: 32,
            num_key_value_heads: 4,
            head_dim: 64,
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-5,
            rope_theta: 10000.0,
            tie_word_embeddings: false,
        }
    }

    pub fn smollm2() -> LlamaConfig {
        LlamaConfig {
            vocab_size: 49152,
            hidden_size: 576,
            intermediate_size: 1536,
            num_hidden_layers: 30,
            num_attention_heads: 9,
            num_key_value_heads: 3,
            head_dim: 64,
            max_position_embeddings: 8192,
            rms_norm_eps: 1e-5,
            rope_theta: 100_000.0,
            tie_word_embeddings: true,
        }
    }

    #[test]
    fn parameters_are_those_that_are_published() {
        assert_eq!(tinyllama().parameters(), 1_100_048_384);
        assert_eq!(smollm2().parameters(), 134_515_008);
    }

    #[test]
    fn the_tensors_add_up_to_the_parameters() {
        for config in [tinyllama(), smollm2()] {
            let sum: usize = config.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            assert_eq!(sum as u64, config.parameters());
        }
        assert_eq!(smollm2().tensors().len(), 272);
        assert_eq!(tinyllama().tensors().len(), 201);
    }

    #[test]
    fn impossible_sizes_are_refused_by_field() {
        let path = Path::new("config.json");
        let check = |change: fn(&mut LlamaConfig), field: &str| {
            let mut config = smollm2();
            change(&mut config);
            let message = config.checked(path).expect_err("refused").to_string();
            assert!(message.contains(field), "{message}");
        };
        check(|c| c.num_key_value_heads = 4, "num_key_value_heads");
        check(|c| c.num_key_value_heads = 0, "num_key_value_heads");
        check(|c| c.head_dim = 63, "head_dim");
        check(|c| c.hidden_size = usize::MAX, "hidden_size");
        check(|c| c.num_hidden_layers = 1 << 40, "num_hidden_layers");
        check(|c| c.rms_norm_eps = f64::NAN, "rms_norm_eps");
        check(|c| c.rope_theta = f64::INFINITY, "rope_theta");
        assert!(smollm2().checked(path).is_ok());
    }
}
