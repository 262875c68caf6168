//! A base model's files, opened and checked but not read whole: an HF folder or a GGUF file.

use std::path::Path;

use super::LlamaConfig;
use crate::Result;
use crate::tokenizer::Tokenizer;

/// Tensors are asked for by HF names (`model.layers.0.self_attn.q_proj.weight`) and come as f32 in row-major order, in
/// HF's rotate-half layout wherever they are stored.
pub struct ModelFiles {
    pub config: LlamaConfig,
    /// `Q4_1, Q8_0, F32`
    pub stored_as: String,
    pub size_bytes: u64,
    /// Of the weights' bytes and the configuration.
    pub sha256: String,
}

impl ModelFiles {
    /// An HF folder, a `.gguf` file, or a folder with exactly one `.gguf` file in it.
    pub fn open(path: &Path) -> Result<Self> {
        let _ = path;
        todo!()
    }

    pub fn tokenizer(&self) -> Result<Tokenizer> {
        todo!()
    }

    /// Reads one tensor; its stored shape must be `shape` (out features first, as HF stores them).
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let _ = (name, shape);
        todo!()
    }
}
