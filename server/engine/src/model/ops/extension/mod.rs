//! The fused operations: the kernels of the `kernels` crate on burn's tensors, through burn's backend extension for
//! flex.
//!
//! Only for tensors of a device whose [`crate::device::Kernels`] are `Fused`. Tensors come in and go out contiguous and
//! in f32; an operand that is added to is changed in place if nothing else shares it.

mod flex;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use kernels::attention::Sequence;
use kernels::{LayerCache, int8};

use super::Lora;
use flex::FusedOps;

pub(super) fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::rms_norm_kernel(x.into_dispatch(), weight.clone().into_dispatch(), eps))
}

/// `dx` + dL/dx
pub(super) fn rms_norm_backward(x: Tensor<2>, weight: &Tensor<1>, eps: f64, dy: Tensor<2>, dx: Tensor<2>) -> Tensor<2> {
    let (x, weight, dy) = (x.into_dispatch(), weight.clone().into_dispatch(), dy.into_dispatch());
    Tensor::from_dispatch(Dispatch::rms_norm_backward_kernel(dx.into_dispatch(), x, weight, dy, eps))
}

/// cos, sin: [tokens, 1, head_dim / 2].
pub(super) fn rope(x: Tensor<2>, cos: &Tensor<3>, sin: &Tensor<3>, head_dim: usize, inverse: bool) -> Tensor<2> {
    let (cos, sin) = (cos.clone().into_dispatch(), sin.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::rope_kernel(x.into_dispatch(), cos, sin, head_dim, inverse))
}

pub(super) fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::swiglu_kernel(gate.into_dispatch(), up.into_dispatch()))
}

/// (dgate, dup)
pub(super) fn swiglu_backward(gate: Tensor<2>, up: Tensor<2>, dy: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let (dgate, dup) = Dispatch::swiglu_backward_kernel(gate.into_dispatch(), up.into_dispatch(), dy.into_dispatch());
    (Tensor::from_dispatch(dgate), Tensor::from_dispatch(dup))
}

/// x Wᵀ + `residual`, if any.
pub(super) fn linear(x: Tensor<2>, weight: &Tensor<2>, residual: Option<Tensor<2>>) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.clone().into_dispatch());
    Tensor::from_dispatch(match residual {
        Some(residual) => Dispatch::linear_add_kernel(residual.into_dispatch(), x, weight),
        None => Dispatch::linear_kernel(x, weight),
    })
}

/// dy W + `dx`, if any.
pub(super) fn linear_backward(dy: Tensor<2>, weight: &Tensor<2>, dx: Option<Tensor<2>>) -> Tensor<2> {
    let (dy, weight) = (dy.into_dispatch(), weight.clone().into_dispatch());
    Tensor::from_dispatch(match dx {
        Some(dx) => Dispatch::linear_backward_add_kernel(dx.into_dispatch(), dy, weight),
        None => Dispatch::linear_backward_kernel(dy, weight),
    })
}

/// x Wᵀ for few rows.
pub(super) fn linear_decode(x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::linear_decode_kernel(x.into_dispatch(), weight.clone().into_dispatch()))
}

/// A frozen weight quantized to int8, shared.
#[derive(Clone)]
pub(crate) struct Int8Matrix(Arc<int8::Int8Matrix>);

impl Int8Matrix {
    /// None if the rows are not whole blocks.
    pub(super) fn quantize(weight: &Tensor<2>) -> Option<Self> {
        if !weight.dims()[1].is_multiple_of(int8::BLOCK) {
            return None;
        }
        // An extension returns tensors only; the matrix is returned through `quantized`.
        let quantized = Arc::new(OnceLock::new());
        let _ = Dispatch::int8_quantize_kernel(weight.clone().into_dispatch(), Arc::clone(&quantized));
        quantized.get().cloned().map(Self)
    }
}

/// x Wᵀ in int8.
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

pub(super) fn attention(
    q: &Tensor<2>,
    k: &Tensor<2>,
    v: &Tensor<2>,
    sequences: Vec<Sequence>,
    head_dim: usize,
) -> Tensor<2> {
    let [q, k, v] = [q, k, v].map(|x| x.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::attention_kernel(q, k, v, sequences, head_dim))
}

/// [q, k, v, y, dy] -> [dq, dk, dv]
pub(super) fn attention_backward(saved: [&Tensor<2>; 5], sequences: Vec<Sequence>, head_dim: usize) -> [Tensor<2>; 3] {
    let [q, k, v, y, dy] = saved.map(|x| x.clone().into_dispatch());
    let (dq, dk, dv) = Dispatch::attention_backward_kernel(q, k, v, y, dy, sequences, head_dim);
    [dq, dk, dv].map(Tensor::from_dispatch)
}

/// One layer's KV cache of one sequence. The extension takes it by value, so it is shared with the kernel while that
/// runs; nothing else locks it meanwhile.
#[derive(Clone)]
pub(super) struct SharedCache(Arc<Mutex<LayerCache>>);

impl SharedCache {
    pub(super) fn new(kv_heads: usize, capacity: usize, head_dim: usize) -> Self {
        Self(Arc::new(Mutex::new(LayerCache::new(kv_heads, capacity, head_dim))))
    }

    pub(super) fn copy_prefix(&self, other: &Self, tokens: usize) {
        self.lock().copy_prefix(&other.lock(), tokens);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LayerCache> {
        // A panic while it was locked ended the generation that it belongs to.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`super::attend_cached`]; one layer's cache of each sequence.
pub(super) fn attend_cached(
    q: &Tensor<2>,
    k: &Tensor<2>,
    v: &Tensor<2>,
    caches: Vec<SharedCache>,
    new: &[usize],
    head_dim: usize,
) -> Tensor<2> {
    let [q, k, v] = [q, k, v].map(|x| x.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::attend_cached_kernel(q, k, v, caches, new.to_vec(), head_dim))
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
