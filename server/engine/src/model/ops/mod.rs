//! The operations of a Llama, each with its forward and its hand-written backward, on packed sequences.
//!
//! A batch is packed: the tokens of all its sequences stand one after another in `[tokens, features]`, without
//! padding, and only attention knows where one ends ([`Segments`]). Nothing here keeps a tape: what backward
//! needs is passed to it. Every operation is composed of ordinary tensor operations, so it runs on any
//! device; on flex a fused kernel (`cpu`) takes its place.

mod attention;
mod cache;
mod cpu;
mod head;
mod linear;
mod rms_norm;
mod rope;
mod swiglu;
#[cfg(test)]
mod tests;

pub(crate) use attention::{Segments, attention, attention_backward};
pub(crate) use cache::{RowCache, attend_cached};
pub(crate) use cpu::Int8Matrix;
pub(crate) use cpu::use_fused;
pub(crate) use head::{head_loss, target_log_probs};
pub(crate) use linear::{Dropout, FactorGradients, Factors, Lora, few_linear, int8_linear, linear, linear_backward};
pub(crate) use rms_norm::{rms_norm, rms_norm_backward};
pub(crate) use rope::Rope;
pub(crate) use swiglu::{swiglu, swiglu_backward};
