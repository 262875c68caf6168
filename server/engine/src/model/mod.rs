//! A base model: configuration, weights, tokenizer. Loading is apart from computing.

use std::path::Path;

mod config;
mod files;
mod llama;

pub use config::LlamaConfig;
pub use files::ModelFiles;
pub use llama::BaseModel;

/// Where loading stands, for progress: tensors done of all.
pub type LoadProgress<'a> = &'a mut dyn FnMut(u64, u64);

/// What can be said of a model without its weights: a folder, a `config.json` alone, or a GGUF file.
pub fn inspect(path: &Path) -> crate::Result<LlamaConfig> {
    let _ = path;
    todo!()
}
