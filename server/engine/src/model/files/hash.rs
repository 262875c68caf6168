//! Hashes that name a base model.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::model::LlamaConfig;
use crate::{Error, Result};

/// Of all bytes of a file, in lower-case hexadecimal.
pub fn of_file(path: &Path, mut file: &File) -> Result<String> {
    file.rewind().map_err(Error::io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(hasher)),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(path)(error)),
        }
    }
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
    hex(hasher)
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
