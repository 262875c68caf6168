//! Frozen projections, and projections with a LoRA beside them: `y = x Wᵀ + s · drop(x) Aᵀ Bᵀ`.
//!
//! Shapes are HF's and PEFT's: W `[out, in]`, A `[rank, in]`, B `[out, rank]`. W gets no gradient.

use burn::tensor::{Tensor, TensorData};

use super::{Dropout, Int8Matrix, extension};
use crate::device::Kernels;

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

/// x: [tokens, in], weight: [out, in] -> x Wᵀ + `residual` (if any): [tokens, out].
pub(crate) fn linear(kernels: Kernels, x: Tensor<2>, weight: &Tensor<2>, residual: Option<Tensor<2>>) -> Tensor<2> {
    match kernels {
        Kernels::Fused => extension::linear(x, weight, residual),
        Kernels::Composed => sum(x.matmul(weight.clone().transpose()), residual),
    }
}

/// As [`linear`] for the few rows of a decoding step: a row's result does not depend on how many others there are.
pub(crate) fn linear_decode(
    kernels: Kernels,
    x: Tensor<2>,
    weight: &Tensor<2>,
    residual: Option<Tensor<2>>,
) -> Tensor<2> {
    match kernels {
        Kernels::Fused => sum(extension::linear_decode(x, weight), residual),
        Kernels::Composed => linear(kernels, x, weight, residual),
    }
}

/// A frozen weight in int8; None without fused kernels, or where `in` is not a multiple of the blocks.
pub(crate) fn quantize(kernels: Kernels, weight: &Tensor<2>) -> Option<Int8Matrix> {
    match kernels {
        Kernels::Fused => Int8Matrix::quantize(weight),
        Kernels::Composed => None,
    }
}

/// As [`linear_decode`] in int8, for any number of rows.
pub(crate) fn int8_linear(x: Tensor<2>, weight: &Int8Matrix, residual: Option<Tensor<2>>) -> Tensor<2> {
    sum(extension::int8_linear(x, weight), residual)
}

/// dy: [tokens, out] -> dL/dx + `dx` (if any): [tokens, in].
pub(crate) fn linear_backward(kernels: Kernels, dy: Tensor<2>, weight: &Tensor<2>, dx: Option<Tensor<2>>) -> Tensor<2> {
    match kernels {
        Kernels::Fused => extension::linear_backward(dy, weight, dx),
        Kernels::Composed => sum(dy.matmul(weight.clone()), dx),
    }
}

fn sum(x: Tensor<2>, addend: Option<Tensor<2>>) -> Tensor<2> {
    match addend {
        Some(addend) => addend + x,
        None => x,
    }
}

/// A LoRA beside a projection.
#[derive(Clone, Copy)]
pub(crate) struct Lora<'a> {
    pub(crate) kernels: Kernels,
    pub(crate) factors: &'a Factors,
    /// alpha / rank
    pub(crate) scale: f64,
    pub(crate) dropout: Dropout,
}

impl Lora<'_> {
    /// x: [tokens, in], y: [tokens, out] -> y + scale * drop(x) Aᵀ Bᵀ.
    pub(crate) fn add(&self, y: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        match self.kernels {
            Kernels::Fused => extension::lora(y, x, self),
            Kernels::Composed => {
                let low = drop(self.dropout, x).matmul(self.factors.a.clone().transpose()); // [tokens, rank]
                y + low.matmul(self.factors.b.clone().transpose()) * self.scale
            }
        }
    }

    /// dx plus the LoRA's part of dL/dx, and the factors' gradients. x: [tokens, in], dy: [tokens, out].
    pub(crate) fn backward(&self, dx: Tensor<2>, x: Tensor<2>, dy: Tensor<2>) -> (Tensor<2>, FactorGradients) {
        match self.kernels {
            Kernels::Fused => {
                let [dx, a, b] = extension::lora_backward(dx, x, dy, self);
                (dx, FactorGradients { a, b })
            }
            Kernels::Composed => self.composed_backward(dx, x, dy),
        }
    }

    fn composed_backward(&self, dx: Tensor<2>, x: Tensor<2>, dy: Tensor<2>) -> (Tensor<2>, FactorGradients) {
        let Factors { a, b } = self.factors;
        let dropped = drop(self.dropout, x);
        let low = dropped.clone().matmul(a.clone().transpose()); // [tokens, rank]
        let dlow = dy.clone().matmul(b.clone()) * self.scale; // [tokens, rank]
        let gradients =
            FactorGradients { a: dlow.clone().transpose().matmul(dropped), b: dy.transpose().matmul(low) * self.scale };
        (dx + drop(self.dropout, dlow.matmul(a.clone())), gradients)
    }
}

fn drop(dropout: Dropout, x: Tensor<2>) -> Tensor<2> {
    if dropout.rate == 0.0 {
        return x;
    }
    let shape = x.dims();
    let mask: Vec<f32> = (0..(shape[0] * shape[1]) as u32).map(|index| dropout.factor(index)).collect();
    let device = x.device();
    x * Tensor::from_data(TensorData::new(mask, shape), &device)
}
