//! Frozen projections, and projections with a LoRA beside them: `y = x Wᵀ + s · drop(x) Aᵀ Bᵀ`.
//!
//! Shapes are HF's and PEFT's: W `[out, in]`, A `[rank, in]`, B `[out, rank]`. W gets no gradient.

use burn::tensor::{Tensor, TensorData};

use super::cpu;

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
    /// What the value at `place` of the tensor is multiplied by. The place is mixed with both halves of the seed by MurmurHash3's
    /// finaliser, in 32-bit steps of which eight or sixteen go side by side in a vector.
    #[inline(always)]
    pub(super) fn factor(self, place: u32) -> f32 {
        let keep = (1.0 / (1.0 - self.rate)) as f32;
        let threshold = (self.rate * f64::from(u32::MAX)) as u32;
        let (low, high) = (self.seed as u32, (self.seed >> 32) as u32);
        let mut draw = place.wrapping_mul(0x9e37_79b1) ^ low;
        draw = (draw ^ (draw >> 16)).wrapping_mul(0x85eb_ca6b) ^ high;
        draw = (draw ^ (draw >> 13)).wrapping_mul(0xc2b2_ae35);
        draw ^= draw >> 16;
        if draw < threshold { 0.0 } else { keep }
    }

    pub(super) fn composed(self, x: Tensor<2>) -> Tensor<2> {
        if self.rate == 0.0 {
            return x;
        }
        let shape = x.dims();
        let mask: Vec<f32> = (0..(shape[0] * shape[1]) as u32).map(|place| self.factor(place)).collect();
        let device = x.device();
        x * Tensor::from_data(TensorData::new(mask, shape), &device)
    }
}

/// x: [tokens, in], weight: [out, in] -> `into` (or nothing) + x Wᵀ: [tokens, out].
pub(crate) fn linear(x: Tensor<2>, weight: &Tensor<2>, into: Option<Tensor<2>>) -> Tensor<2> {
    if cpu::applies(&x.device()) {
        return cpu::linear(x, weight, false, into);
    }
    plus(x.matmul(weight.clone().transpose()), into)
}

/// As [`linear`] for the few rows of a decoding step: a row's result does not depend on how many others there are.
pub(crate) fn few_linear(x: Tensor<2>, weight: &Tensor<2>, into: Option<Tensor<2>>) -> Tensor<2> {
    if cpu::applies(&x.device()) {
        return plus(cpu::few_linear(x, weight), into);
    }
    linear(x, weight, into)
}

/// As [`few_linear`] in eight bits, for any number of rows.
pub(crate) fn int8_linear(x: Tensor<2>, weight: &cpu::Int8Matrix, into: Option<Tensor<2>>) -> Tensor<2> {
    plus(cpu::int8_linear(x, weight), into)
}

/// dy: [tokens, out] -> `into` (or nothing) + dL/dx: [tokens, in].
pub(crate) fn linear_backward(dy: Tensor<2>, weight: &Tensor<2>, into: Option<Tensor<2>>) -> Tensor<2> {
    if cpu::applies(&dy.device()) {
        return cpu::linear(dy, weight, true, into);
    }
    plus(dy.matmul(weight.clone()), into)
}

fn plus(x: Tensor<2>, into: Option<Tensor<2>>) -> Tensor<2> {
    match into {
        Some(into) => into + x,
        None => x,
    }
}

/// A LoRA beside a projection.
#[derive(Clone, Copy)]
pub(crate) struct Lora<'a> {
    pub(crate) factors: &'a Factors,
    /// alpha / rank
    pub(crate) scale: f64,
    pub(crate) dropout: Dropout,
}

impl Lora<'_> {
    /// x: [tokens, in], y: [tokens, out] -> y + scale * drop(x) Aᵀ Bᵀ.
    pub(crate) fn add(&self, y: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        if cpu::applies(&x.device()) { cpu::lora(y, x, self) } else { self.composed(y, x) }
    }

    pub(super) fn composed(&self, y: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        let low = self.dropout.composed(x).matmul(self.factors.a.clone().transpose()); // [tokens, rank]
        y + low.matmul(self.factors.b.clone().transpose()) * self.scale
    }

    /// dx, which the LoRA's part of dL/dx is added to, and the factors' gradients. x: [tokens, in], dy: [tokens, out].
    pub(crate) fn backward(&self, dx: Tensor<2>, x: Tensor<2>, dy: Tensor<2>) -> (Tensor<2>, FactorGradients) {
        if cpu::applies(&x.device()) {
            let [dx, a, b] = cpu::lora_backward(dx, x, dy, self);
            return (dx, FactorGradients { a, b });
        }
        self.composed_backward(dx, x, dy)
    }

    pub(super) fn composed_backward(&self, dx: Tensor<2>, x: Tensor<2>, dy: Tensor<2>) -> (Tensor<2>, FactorGradients) {
        let Factors { a, b } = self.factors;
        let dropped = self.dropout.composed(x);
        let low = dropped.clone().matmul(a.clone().transpose()); // [tokens, rank]
        let dlow = dy.clone().matmul(b.clone()) * self.scale; // [tokens, rank]
        let gradients =
            FactorGradients { a: dlow.clone().transpose().matmul(dropped), b: dy.transpose().matmul(low) * self.scale };
        (dx + self.dropout.composed(dlow.matmul(a.clone())), gradients)
    }
}
