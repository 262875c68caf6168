//! The operations of a Llama, each with its forward and its hand-written backward, on packed sequences.
//!
//! A batch is packed: the tokens of all its sequences lie one after another in `[tokens, features]`, without padding,
//! and only attention knows where one ends ([`Segments`]). Nothing here keeps a tape: what backward needs is passed to
//! it. Every operation has a composition of burn's tensor operations, which runs on any device, and a fused kernel
//! (`extension`); the device's [`Kernels`] decide which of them runs.
//!
//! [`Kernels`]: crate::device::Kernels

mod attention;
mod extension;
mod head;
mod kv_cache;
mod linear;
mod rms_norm;
mod rope;
mod swiglu;
#[cfg(test)]
mod tests;

pub(crate) use attention::{Segments, attention, attention_backward};
pub(crate) use extension::Int8Matrix;
pub(crate) use head::{head_loss, target_log_probs};
pub(crate) use kernels::Dropout;
pub(crate) use kv_cache::{KvCache, attend_cached};
pub(crate) use linear::{
    FactorGradients, Factors, Lora, int8_linear, linear, linear_backward, linear_decode, quantize,
};
pub(crate) use rms_norm::{rms_norm, rms_norm_backward};
pub(crate) use rope::Rope;
pub(crate) use swiglu::{swiglu, swiglu_backward};
