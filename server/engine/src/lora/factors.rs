//! Fresh factors: A Kaiming-uniform(a = sqrt 5), that is uniform in ±1/sqrt(in), and B zero, as PEFT starts them.

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;

use super::{LoraConfig, Placed as _};
use crate::model::LlamaConfig;
use crate::model::llama::LoraSet;
use crate::model::ops::Factors;
use crate::random::{Purpose, stream};

pub(crate) fn fresh(config: &LoraConfig, model: &LlamaConfig, seed: u64, device: &Device) -> LoraSet {
    let mut factors = std::collections::BTreeMap::new();
    for layer in 0..model.num_hidden_layers {
        for &projection in &config.targets {
            let [out, input] = projection.shape(model);
            let mut random = stream(seed, Purpose::LoraInit, layer as u64, projection as u64);
            let bound = 1.0 / (input as f32).sqrt();
            let a: Vec<f32> = (0..config.rank * input).map(|_| random.random_range(-bound..bound)).collect();
            let a = Tensor::from_data(TensorData::new(a, [config.rank, input]), device);
            factors.insert((layer, projection), Factors { a, b: Tensor::zeros([out, config.rank], device) });
        }
    }
    LoraSet { scale: config.scale(), factors }
}
