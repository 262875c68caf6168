//! The operations fused for the CPU: one pass over memory, all threads, vectorised, nothing of size length x length kept.
//!
//! Reached through burn's backend extension on flex; every other device uses the compositions beside this
//! folder, which are also what these are tested against. Tensors come in and go out contiguous and in f32; what
//! is added to is changed in place where nobody else holds it.

mod attention;
mod cache;
mod elementwise;
mod exp;
mod extension;
mod head;
mod int8;
mod linear;
mod panels;
mod product;
mod simd;
mod thin;
mod tile;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::{Device, Tensor};

use super::Lora;
use super::attention::Place;
use extension::CpuKernels;

/// Whether flex uses these kernels. For the whole process, since burn's flex device carries no settings of its own.
static FUSED: AtomicBool = AtomicBool::new(true);

/// Turns the kernels on or off; off, flex computes the compositions as every other device does.
pub(crate) fn use_fused(fused: bool) {
    FUSED.store(fused, Ordering::Relaxed);
}

/// Whether tensors of this device are for these kernels.
pub(super) fn applies(device: &Device) -> bool {
    FUSED.load(Ordering::Relaxed) && matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

pub(super) fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::rms_norm_kernel(x.into_dispatch(), weight.clone().into_dispatch(), eps))
}

pub(super) fn rms_norm_backward(
    x: Tensor<2>,
    weight: &Tensor<1>,
    eps: f64,
    dy: Tensor<2>,
    into: Tensor<2>,
) -> Tensor<2> {
    let (x, weight, dy) = (x.into_dispatch(), weight.clone().into_dispatch(), dy.into_dispatch());
    Tensor::from_dispatch(Dispatch::rms_norm_backward_kernel(into.into_dispatch(), x, weight, dy, eps))
}

/// cos, sin: [tokens, 1, head_dim / 2].
pub(super) fn rope(x: Tensor<2>, cos: &Tensor<3>, sin: &Tensor<3>, head_dim: usize, back: bool) -> Tensor<2> {
    let (cos, sin) = (cos.clone().into_dispatch(), sin.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::rope_kernel(x.into_dispatch(), cos, sin, head_dim, back))
}

pub(super) fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::swiglu_kernel(gate.into_dispatch(), up.into_dispatch()))
}

/// (dgate, dup)
pub(super) fn swiglu_backward(gate: Tensor<2>, up: Tensor<2>, dy: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let (dgate, dup) = Dispatch::swiglu_backward_kernel(gate.into_dispatch(), up.into_dispatch(), dy.into_dispatch());
    (Tensor::from_dispatch(dgate), Tensor::from_dispatch(dup))
}

/// `into` (or nothing) + x Wᵀ; with `back`, + x W.
pub(super) fn linear(x: Tensor<2>, weight: &Tensor<2>, back: bool, into: Option<Tensor<2>>) -> Tensor<2> {
    let (x, weight, into) = (x.into_dispatch(), weight.clone().into_dispatch(), into.map(Tensor::into_dispatch));
    Tensor::from_dispatch(match into {
        Some(into) => Dispatch::linear_sum_kernel(into, x, weight, back),
        None => Dispatch::linear_kernel(x, weight, back),
    })
}

/// x Wᵀ for few rows.
pub(super) fn few_linear(x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::few_linear_kernel(x.into_dispatch(), weight.clone().into_dispatch()))
}

/// A frozen weight in eight bits, shared.
#[derive(Clone)]
pub(crate) struct Int8Matrix(Arc<int8::Int8Matrix>);

impl Int8Matrix {
    /// None where the device is not for these kernels, or the rows are not whole blocks.
    pub(crate) fn of(weight: &Tensor<2>) -> Option<Self> {
        let columns = weight.dims()[1];
        if !applies(&weight.device()) || !columns.is_multiple_of(int8::BLOCK) {
            return None;
        }
        // The extension gives tensors back and nothing else; the matrix comes beside it.
        let made = Arc::new(OnceLock::new());
        let _ = Dispatch::int8_kernel(weight.clone().into_dispatch(), Arc::clone(&made));
        made.get().cloned().map(Self)
    }
}

/// x Wᵀ in eight bits.
pub(super) fn int8_linear(x: Tensor<2>, weight: &Int8Matrix) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::int8_linear_kernel(x.into_dispatch(), weight.0.clone()))
}

/// y + scale * drop(x) Aᵀ Bᵀ
pub(super) fn lora(y: Tensor<2>, x: Tensor<2>, lora: &Lora<'_>) -> Tensor<2> {
    let [a, b] = [&lora.factors.a, &lora.factors.b].map(|factor| factor.clone().into_dispatch());
    let (y, x) = (y.into_dispatch(), x.into_dispatch());
    Tensor::from_dispatch(Dispatch::lora_kernel(y, x, a, b, lora.scale, lora.dropout))
}

/// (dx + the LoRA's part of dL/dx, dA, dB)
pub(super) fn lora_backward(dx: Tensor<2>, x: Tensor<2>, dy: Tensor<2>, lora: &Lora<'_>) -> [Tensor<2>; 3] {
    let [a, b] = [&lora.factors.a, &lora.factors.b].map(|factor| factor.clone().into_dispatch());
    let (dx, x, dy) = (dx.into_dispatch(), x.into_dispatch(), dy.into_dispatch());
    let (dx, da, db) = Dispatch::lora_backward_kernel(dx, x, dy, a, b, lora.scale, lora.dropout);
    [dx, da, db].map(Tensor::from_dispatch)
}

pub(super) fn attention(q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, places: Vec<Place>, head_dim: usize) -> Tensor<2> {
    let [q, k, v] = [q, k, v].map(|x| x.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::attention_kernel(q, k, v, places, head_dim))
}

pub(crate) use cache::LayerCache;

/// See [`super::attend_cached`]; one layer's cache of each row.
pub(super) fn attend_cached(
    q: &Tensor<2>,
    k: &Tensor<2>,
    v: &Tensor<2>,
    caches: &[LayerCache],
    new: &[usize],
    head_dim: usize,
) -> Tensor<2> {
    let [q, k, v] = [q, k, v].map(|x| x.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::attend_cached_kernel(q, k, v, caches.to_vec(), new.to_vec(), head_dim))
}

/// [q, k, v, y, dy] -> [dq, dk, dv]
pub(super) fn attention_backward(trace: [&Tensor<2>; 5], places: Vec<Place>, head_dim: usize) -> [Tensor<2>; 3] {
    let [q, k, v, y, dy] = trace.map(|x| x.clone().into_dispatch());
    let (dq, dk, dv) = Dispatch::attention_backward_kernel(q, k, v, y, dy, places, head_dim);
    [dq, dk, dv].map(Tensor::from_dispatch)
}

/// Loss of each position in nats, and the gradient of `scale` times their sum.
pub(super) fn head_loss(hidden: &Tensor<2>, weight: &Tensor<2>, targets: &[u32], scale: f64) -> (Tensor<1>, Tensor<2>) {
    let [hidden, weight] = [hidden, weight].map(|x| x.clone().into_dispatch());
    let (losses, gradient) = Dispatch::head_loss_kernel(hidden, weight, targets.to_vec(), scale);
    (Tensor::from_dispatch(losses), Tensor::from_dispatch(gradient))
}

/// Loss of each position in nats.
pub(super) fn head_losses(hidden: &Tensor<2>, weight: &Tensor<2>, targets: &[u32]) -> Tensor<1> {
    let [hidden, weight] = [hidden, weight].map(|x| x.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::head_losses_kernel(hidden, weight, targets.to_vec()))
}
