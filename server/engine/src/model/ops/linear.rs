//! Frozen projections, and projections with a LoRA beside them: `y = x Wᵀ + s · drop(x) Aᵀ Bᵀ`.
//!
//! Shapes are HF's and PEFT's: W `[out, in]`, A `[rank, in]`, B `[out, rank]`. W gets no gradient.

use burn::tensor::{Tensor, TensorData};

use super::cpu;
use crate::random::mix;

/// A LoRA's factors on one projection.
#[derive(Clone)]
pub(crate) struct Factors {
    pub(crate) a: Tensor<2>, // [rank, in]
    pub(crate) b: Tensor<2>, // [out, rank]
}

pub(crate) struct FactorGradients {
    pub(crate) a: Tensor<2>,
    pub(crate) b: Tensor<2>,
}

/// Inverted dropout whose mask is a function of its seed, so that backward makes the same one again instead of keeping it.
#[derive(Clone, Copy)]
pub(crate) struct Dropout {
    pub(crate) rate: f64,
    pub(crate) seed: u64,
}

impl Dropout {
    fn apply(self, x: Tensor<2>) -> Tensor<2> {
        if self.rate == 0.0 {
            return x;
        }
        if cpu::applies(&x.device()) { cpu::dropout(x, self.rate, self.seed) } else { self.composed(x) }
    }

    pub(super) fn composed(self, x: Tensor<2>) -> Tensor<2> {
        let shape = x.dims();
        let keep = (1.0 / (1.0 - self.rate)) as f32;
        let threshold = (self.rate * f64::from(u32::MAX)) as u32;
        let size = shape[0] * shape[1];
        let mut mask = Vec::with_capacity(size + 1);
        // Two 32-bit draws from each mixed counter.
        for counter in 0..size.div_ceil(2) as u64 {
            let bits = mix(self.seed.wrapping_add(counter.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            mask.push(if (bits as u32) < threshold { 0.0 } else { keep });
            mask.push(if ((bits >> 32) as u32) < threshold { 0.0 } else { keep });
        }
        mask.truncate(size);
        let device = x.device();
        x * Tensor::from_data(TensorData::new(mask, shape), &device)
    }
}

/// x: [tokens, in], weight: [out, in] -> [tokens, out].
pub(crate) fn linear(x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    if cpu::applies(&x.device()) && cpu::is_thin(x.dims()[0]) {
        return cpu::thin_linear(x, weight);
    }
    x.matmul(weight.clone().transpose())
}

/// x: [tokens, in] -> [tokens, out].
pub(crate) fn lora_linear(
    x: Tensor<2>,
    weight: &Tensor<2>,
    factors: &Factors,
    scale: f64,
    dropout: Dropout,
) -> Tensor<2> {
    let low = dropout.apply(x.clone()).matmul(factors.a.clone().transpose()); // [tokens, rank]
    linear(x, weight) + low.matmul(factors.b.clone().transpose()) * scale
}

/// The LoRA's part of backward: its gradients, and what it adds to dL/dx.
pub(crate) fn lora_backward(
    x: Tensor<2>,
    dy: Tensor<2>,
    factors: &Factors,
    scale: f64,
    dropout: Dropout,
) -> (Tensor<2>, FactorGradients) {
    let dropped = dropout.apply(x);
    let low = dropped.clone().matmul(factors.a.clone().transpose()); // [tokens, rank]
    let dlow = dy.clone().matmul(factors.b.clone()) * scale; // [tokens, rank]
    let gradients =
        FactorGradients { a: dlow.clone().transpose().matmul(dropped), b: dy.transpose().matmul(low) * scale };
    (dropout.apply(dlow.matmul(factors.a.clone())), gradients)
}
