//! LoRA (Hu et al., arXiv:2106.09685): low-rank factors beside frozen projections, in PEFT's form.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::model::{BaseModel, LlamaConfig};
use crate::template::Template;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    QProj,
    KProj,
    VProj,
    OProj,
    GateProj,
    UpProj,
    DownProj,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    pub rank: usize,
    pub alpha: f64,
    pub dropout: f64,
    /// Sorted, without repeats, not empty.
    pub targets: Vec<Projection>,
}

impl LoraConfig {
    /// Trainable parameters on a model of this shape.
    pub fn trainable(&self, model: &LlamaConfig) -> u64 {
        let _ = model;
        todo!()
    }

    /// Of base + adapter, in percent, as PEFT prints it.
    pub fn trainable_percent(&self, model: &LlamaConfig) -> f64 {
        let trainable = self.trainable(model) as f64;
        100.0 * trainable / (trainable + model.parameters() as f64)
    }
}

/// Hashes of what an adapter was trained with; generation with anything else is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub template_sha256: String,
    pub tokenizer_sha256: String,
    pub base_model_sha256: String,
}

pub struct Adapter {
    pub config: LoraConfig,
    pub lock: Lock,
    pub sha256: String,
}

impl Adapter {
    /// A folder that training wrote.
    pub fn load(folder: &Path, model: &BaseModel) -> Result<Self> {
        let _ = (folder, model);
        todo!()
    }

    /// Refuses another template, tokenizer or base model, naming both sides.
    pub fn check(&self, model: &BaseModel, template: &Template) -> Result<()> {
        let _ = (model, template);
        todo!()
    }
}
