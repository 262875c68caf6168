//! The Llama: weights on a device, and the way of a packed batch through them.
//!
//! Owns the layer's arithmetic, forward and backward; knows nothing of files, tokenizers, optimizers or sampling.

mod backward;
mod forward;
mod weights;

pub(crate) use backward::Gradients;
pub(crate) use forward::{DropoutSeed, Pass, Products};
pub(crate) use weights::{Int8Weights, Llama, LoraSet};
