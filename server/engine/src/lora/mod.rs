//! LoRA (Hu et al., arXiv:2106.09685): low-rank factors beside frozen projections, in PEFT's form
//! `y = W x + scale * B A drop(x)`, where the scale is `alpha / rank`, or `alpha / sqrt(rank)` with rank-stabilized LoRA.
//!
//! Owns what an adapter is and who it belongs to; the arithmetic is the model's, the optimizer is training's.

mod adapter;
mod factors;

use serde::{Deserialize, Serialize};
use spec::{Projection, Settings as _, TrainConfig};

use crate::Result;
use crate::model::LlamaConfig;

pub use adapter::{Adapter, Lock};
pub(crate) use adapter::{read_factors, read_json, write_factors, write_json};
pub(crate) use factors::fresh;

/// Of a linear layer in a block of the model.
pub(crate) trait Placed {
    /// `self_attn.q_proj`
    fn path(self) -> String;
    /// `[out, in]`
    fn shape(self, model: &LlamaConfig) -> [usize; 2];
}

impl Placed for Projection {
    fn path(self) -> String {
        let block = match self {
            Self::QProj | Self::KProj | Self::VProj | Self::OProj => "self_attn",
            Self::GateProj | Self::UpProj | Self::DownProj => "mlp",
        };
        format!("{block}.{}", self.as_str())
    }

    fn shape(self, model: &LlamaConfig) -> [usize; 2] {
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

/// The settings of an adapter, with the names that PEFT's `adapter_config.json` gives them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    #[serde(rename = "r")]
    pub rank: usize,
    #[serde(rename = "lora_alpha")]
    pub alpha: f64,
    /// Of the adapter's input.
    #[serde(rename = "lora_dropout")]
    pub dropout: f64,
    #[serde(rename = "target_modules")]
    pub targets: Vec<Projection>,
    #[serde(default)]
    pub use_rslora: bool,
}

impl From<&TrainConfig> for LoraConfig {
    fn from(config: &TrainConfig) -> Self {
        let mut targets = config.target_modules.clone();
        targets.sort_unstable();
        targets.dedup();
        Self {
            rank: config.rank as usize,
            alpha: config.alpha,
            dropout: config.dropout,
            targets,
            use_rslora: config.use_rslora,
        }
    }
}

impl LoraConfig {
    /// For a configuration that was read from a file: the ranges are those of the settings.
    pub(crate) fn validate(&self) -> Result<()> {
        let settings = TrainConfig {
            rank: u32::try_from(self.rank).unwrap_or(u32::MAX),
            alpha: self.alpha,
            dropout: self.dropout,
            target_modules: self.targets.clone(),
            ..TrainConfig::default()
        };
        Ok(settings.validate()?)
    }

    pub(crate) fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.use_rslora { rank.sqrt() } else { rank }
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
        let lora = LoraConfig::from(&TrainConfig::default());
        assert_eq!(lora.trainable(&tinyllama), 2_252_800);
        assert_eq!(format!("{:.4}", lora.trainable_percent(&tinyllama)), "0.2044");
    }

    #[test]
    fn rank_stabilized_lora_is_peft_s_use_rslora() {
        let config = TrainConfig { rank: 16, alpha: 32.0, use_rslora: true, ..TrainConfig::default() };
        assert_eq!(LoraConfig::from(&config).scale(), 8.0);
        assert_eq!(LoraConfig::from(&TrainConfig { use_rslora: false, ..config }).scale(), 2.0);
        let peft =
            r#"{"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["q_proj"], "use_rslora": true}"#;
        let read: LoraConfig = serde_json::from_str(peft).unwrap();
        assert_eq!(read.scale(), 4.0);
        let earlier: LoraConfig = serde_json::from_str(&peft.replace(", \"use_rslora\": true", "")).unwrap();
        assert_eq!(earlier.scale(), 2.0);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let good = LoraConfig::from(&TrainConfig::default());
        assert!(good.validate().is_ok());
        for (bad, field) in [
            (LoraConfig { rank: 0, ..good.clone() }, "rank"),
            (LoraConfig { alpha: f64::NAN, ..good.clone() }, "alpha"),
            (LoraConfig { dropout: 1.0, ..good.clone() }, "dropout"),
            (LoraConfig { targets: vec![], ..good }, "target_modules"),
        ] {
            assert!(bad.validate().unwrap_err().to_string().starts_with(field));
        }
    }
}
