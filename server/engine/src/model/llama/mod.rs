//! The Llama: weights on a device, forward and backward of a packed batch.
//!
//! Knows nothing of files, tokenizers, optimizers or sampling.

mod backward;
mod forward;
mod weights;

pub(crate) use backward::Gradients;
pub(crate) use forward::{DropoutSeed, Matmul, Pass};
pub(crate) use weights::{Int8Weights, Llama, LoraSet};
