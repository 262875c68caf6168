//! What a Llama is, from HF's `config.json` or GGUF metadata; anything the engine does not compute is refused by name.

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

impl LlamaConfig {
    /// Parameters of the base model; a tied head is counted once.
    pub fn parameters(&self) -> u64 {
        todo!()
    }
}
