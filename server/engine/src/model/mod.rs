//! A base model: configuration, weights, tokenizer. Loading is apart from computing.

use std::path::Path;

mod base;
mod config;
mod files;
pub(crate) mod gguf;
pub(crate) mod llama;
pub(crate) mod ops;
mod storage;

pub use base::BaseModel;
pub use config::LlamaConfig;
pub use files::ModelFiles;

/// Where loading stands, for progress: tensors done of all.
pub type LoadProgress<'a> = &'a mut dyn FnMut(u64, u64);

/// What can be said of a model without its weights: a folder, a `config.json` alone, or a GGUF file.
pub fn inspect(path: &Path) -> crate::Result<LlamaConfig> {
    files::inspect(path)
}
