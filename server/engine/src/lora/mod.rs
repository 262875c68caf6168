//! LoRA (Hu et al., arXiv:2106.09685): low-rank factors beside frozen projections, in PEFT's form
//! `y = W x + alpha / rank * B A drop(x)`.
//!
//! Owns what an adapter is and who it belongs to; the arithmetic is the model's, the optimizer is training's.

mod adapter;
mod factors;

use serde::{Deserialize, Serialize};

use crate::model::LlamaConfig;
use crate::{Error, Result};

pub use adapter::{Adapter, Lock};
pub(crate) use adapter::{read_factors, read_json, write_factors, write_json};
pub(crate) use factors::fresh;

/// The seven projections of a Llama layer, by HF's names.
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

impl Projection {
    pub const ALL: [Projection; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }

    /// Where it stands in a layer: `self_attn.q_proj`.
    pub(crate) fn path(self) -> String {
        let block = match self {
            Self::QProj | Self::KProj | Self::VProj | Self::OProj => "self_attn",
            Self::GateProj | Self::UpProj | Self::DownProj => "mlp",
        };
        format!("{block}.{}", self.as_str())
    }

    /// `[out, in]`
    pub(crate) fn shape(self, model: &LlamaConfig) -> [usize; 2] {
        let (hidden, ffn) = (model.hidden_size, model.intermediate_size);
        let (q, kv) = (model.num_attention_heads * model.head_dim, model.num_key_value_heads * model.head_dim);
        match self {
            Self::QProj => [q, hidden],
            Self::KProj | Self::VProj => [kv, hidden],
            Self::OProj => [hidden, q],
            Self::GateProj | Self::UpProj => [ffn, hidden],
            Self::DownProj => [hidden, ffn],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    pub rank: usize,
    pub alpha: f64,
    /// Of the adapter's input, 0..1.
    pub dropout: f64,
    /// Sorted, without repeats, not empty.
    pub targets: Vec<Projection>,
}

impl LoraConfig {
    /// Ranges of every field, by name.
    pub fn validate(&self) -> Result<()> {
        if !(1..=1024).contains(&self.rank) {
            return Err(Error::invalid("rank", self.rank, "1 to 1024"));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0 && self.alpha <= 1e6) {
            return Err(Error::invalid("alpha", self.alpha, "greater than 0 and at most 1000000"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::invalid("dropout", self.dropout, "at least 0 and below 1"));
        }
        if self.targets.is_empty() {
            return Err(Error::invalid("targets", "empty", "at least one projection"));
        }
        if !self.targets.is_sorted_by(|a, b| a < b) {
            return Err(Error::invalid("targets", format!("{:?}", self.targets), "sorted and without repeats"));
        }
        Ok(())
    }

    pub(crate) fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// Trainable parameters on a model of this shape: rank * (in + out) for each adapted projection.
    pub fn trainable(&self, model: &LlamaConfig) -> u64 {
        let per_layer: usize = self.targets.iter().map(|target| target.shape(model).iter().sum::<usize>()).sum();
        (model.num_hidden_layers * self.rank * per_layer) as u64
    }

    /// Of base + adapter, in percent, as PEFT prints it.
    pub fn trainable_percent(&self, model: &LlamaConfig) -> f64 {
        let trainable = self.trainable(model) as f64;
        100.0 * trainable / (trainable + model.parameters() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_recipe_on_tinyllama_trains_2252800_parameters() {
        let tinyllama = LlamaConfig {
            vocab_size: 32_000,
            hidden_size: 2048,
            intermediate_size: 5632,
            num_hidden_layers: 22,
            num_attention_heads: 32,
            num_key_value_heads: 4,
            head_dim: 64,
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            tie_word_embeddings: false,
        };
        let lora =
            LoraConfig { rank: 16, alpha: 32.0, dropout: 0.1, targets: vec![Projection::QProj, Projection::VProj] };
        assert_eq!(lora.trainable(&tinyllama), 2_252_800);
        assert_eq!(format!("{:.4}", lora.trainable_percent(&tinyllama)), "0.2044");
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let good = LoraConfig { rank: 4, alpha: 8.0, dropout: 0.0, targets: vec![Projection::QProj] };
        assert!(good.validate().is_ok());
        for (bad, field) in [
            (LoraConfig { rank: 0, ..good.clone() }, "rank"),
            (LoraConfig { alpha: f64::NAN, ..good.clone() }, "alpha"),
            (LoraConfig { dropout: 1.0, ..good.clone() }, "dropout"),
            (LoraConfig { targets: vec![], ..good.clone() }, "targets"),
            (LoraConfig { targets: vec![Projection::VProj, Projection::QProj], ..good }, "targets"),
        ] {
            assert!(bad.validate().unwrap_err().to_string().starts_with(field));
        }
    }
}
