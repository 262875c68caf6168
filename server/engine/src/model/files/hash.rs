//! Hashes that name a base model.

use std::fs::File;
use std::io::Seek;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::model::LlamaConfig;
use crate::{Error, Result, artifact};

/// Of all bytes of a file, in lower-case hexadecimal.
pub fn of_file(path: &Path, mut file: &File) -> Result<String> {
    file.rewind().map_err(Error::io(path))?;
    artifact::sha256_reader(file).map_err(Error::io(path))
}

/// Of a configuration and the hashes of the files that hold its weights, in their order. Depends on what the
/// configuration says, not on how its file is written.
pub fn of_model(config: &LlamaConfig, weights: &[String]) -> String {
    let LlamaConfig {
        vocab_size,
        hidden_size,
        intermediate_size,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        max_position_embeddings,
        rms_norm_eps,
        rope_theta,
        tie_word_embeddings,
    } = config;
    let mut hasher = Sha256::new();
    hasher.update(format!(
        "llama {vocab_size} {hidden_size} {intermediate_size} {num_hidden_layers} {num_attention_heads} \
         {num_key_value_heads} {head_dim} {max_position_embeddings} {rms_norm_eps:e} {rope_theta:e} \
         {tie_word_embeddings}\n"
    ));
    for hash in weights {
        hasher.update(hash);
        hasher.update("\n");
    }
    artifact::hex(&hasher.finalize())
}
