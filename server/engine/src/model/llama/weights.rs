//! The frozen weights of a Llama and the LoRA factors beside them.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use spec::Projection;

use super::Matmul;
use crate::Result;
use crate::device::Device;
use crate::lora::Placed as _;
use crate::model::ops::{Factors, Int8Matrix, int8_linear, linear, linear_decode, quantize};
use crate::model::{LlamaConfig, LoadProgress, ModelFiles};

/// Cheap to clone: tensors are shared.
#[derive(Clone)]
pub(crate) struct Llama {
    pub(crate) config: LlamaConfig,
    pub(crate) embedding: Tensor<2>, // [vocabulary, hidden]
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Tensor<1>,
    /// The embedding itself where the head is tied.
    pub(crate) head: Tensor<2>, // [vocabulary, hidden]
    pub(crate) device: Device,
}

/// Projections are `[out, in]`, as HF stores them.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Tensor<1>,
    pub(crate) ffn_norm: Tensor<1>,
    /// In the order of [`Projection::ALL`].
    projections: [Tensor<2>; 7],
}

impl Layer {
    pub(crate) fn weight(&self, projection: Projection) -> &Tensor<2> {
        &self.projections[projection as usize]
    }
}

/// LoRA factors by layer and projection.
#[derive(Clone)]
pub(crate) struct LoraSet {
    /// alpha / rank
    pub(crate) scale: f64,
    pub(crate) factors: BTreeMap<(usize, Projection), Factors>,
}

/// The projections and the head, quantized to int8.
pub(crate) struct Int8Weights {
    /// In the order of [`Projection::ALL`].
    layers: Vec<Vec<Int8Matrix>>,
    head: Int8Matrix,
}

impl Int8Weights {
    /// None where the device has no fused kernels or the model's widths are not multiples of the blocks.
    pub(crate) fn of(llama: &Llama) -> Option<Self> {
        let quantize = |weight: &Tensor<2>| quantize(llama.device.kernels, weight);
        let layer = |layer: &Layer| layer.projections.iter().map(quantize).collect();
        let layers: Option<Vec<Vec<Int8Matrix>>> = llama.layers.iter().map(layer).collect();
        Some(Self { layers: layers?, head: quantize(&llama.head)? })
    }

    pub(crate) fn projection(&self, layer: usize, projection: Projection) -> &Int8Matrix {
        &self.layers[layer][projection as usize]
    }
}

impl Llama {
    /// hidden [rows, hidden] -> [rows, vocabulary].
    pub(crate) fn logits(&self, hidden: Tensor<2>, matmul: Matmul<'_>) -> Tensor<2> {
        match matmul {
            Matmul::Prefill => linear(self.device.kernels, hidden, &self.head, None),
            Matmul::Decode => linear_decode(self.device.kernels, hidden, &self.head, None),
            Matmul::Int8(weights) => int8_linear(hidden, &weights.head, None),
        }
    }

    pub(crate) fn load(files: &ModelFiles, device: &Device, progress: LoadProgress<'_>) -> Result<Self> {
        let config = files.config.clone();
        let hidden = config.hidden_size;
        let total = 3 + config.num_hidden_layers as u64 * 9 - u64::from(config.tie_word_embeddings);
        let mut done = 0;
        let mut read = |name: &str, shape: &[usize]| -> Result<Vec<f32>> {
            let values = files.tensor(name, shape)?;
            done += 1;
            progress(done, total);
            Ok(values)
        };
        let matrix =
            |values: Vec<f32>, shape: [usize; 2]| Tensor::from_data(TensorData::new(values, shape), &device.inner);
        let vector = |values: Vec<f32>| {
            let length = values.len();
            Tensor::from_data(TensorData::new(values, [length]), &device.inner)
        };

        let vocabulary = [config.vocab_size, hidden];
        let embedding: Tensor<2> = matrix(read("model.embed_tokens.weight", &vocabulary)?, vocabulary);
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for index in 0..config.num_hidden_layers {
            let prefix = format!("model.layers.{index}");
            let attention_norm = vector(read(&format!("{prefix}.input_layernorm.weight"), &[hidden])?);
            let ffn_norm = vector(read(&format!("{prefix}.post_attention_layernorm.weight"), &[hidden])?);
            let mut projections = Vec::with_capacity(7);
            for projection in Projection::ALL.iter().copied() {
                let shape = projection.shape(&config);
                let name = format!("{prefix}.{}.weight", projection.path());
                projections.push(matrix(read(&name, &shape)?, shape));
            }
            let projections = projections.try_into().expect("seven projections were pushed");
            layers.push(Layer { attention_norm, ffn_norm, projections });
        }
        let norm = vector(read("model.norm.weight", &[hidden])?);
        let head = if config.tie_word_embeddings {
            embedding.clone()
        } else {
            matrix(read("lm_head.weight", &vocabulary)?, vocabulary)
        };
        Ok(Self { config, embedding, layers, norm, head, device: device.clone() })
    }

    /// The same model with `W + scale * B A` in place of each adapted W.
    pub(crate) fn merged(&self, lora: &LoraSet) -> Self {
        let mut merged = self.clone();
        for ((layer, projection), factors) in &lora.factors {
            let weight = &mut merged.layers[*layer].projections[*projection as usize];
            *weight = weight.clone() + factors.b.clone().matmul(factors.a.clone()) * lora.scale;
        }
        merged
    }
}
