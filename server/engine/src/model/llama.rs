//! The Llama itself.

use std::path::Path;

use super::{LlamaConfig, LoadProgress};
use crate::device::Device;
use crate::tokenizer::Tokenizer;
use crate::Result;

pub struct BaseModel {
    pub config: LlamaConfig,
    pub tokenizer: Tokenizer,
    pub sha256: String,
    pub stored_as: String,
    pub size_bytes: u64,
}

impl BaseModel {
    pub fn load(path: &Path, device: &Device, progress: LoadProgress<'_>) -> Result<Self> {
        let _ = (path, device, progress);
        todo!()
    }

    /// Logits at the last `last` positions of one sequence: `[last][vocab]`.
    pub fn logits(&self, ids: &[u32], last: usize) -> Result<Vec<Vec<f32>>> {
        let _ = (ids, last);
        todo!()
    }

    /// Mean negative log-likelihood of `ids[1..]` given what precedes each, in nats.
    pub fn score(&self, ids: &[u32]) -> Result<f64> {
        let _ = ids;
        todo!()
    }
}
