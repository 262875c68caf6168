//! The engine from outside: against transformers' and PEFT's figures, and its promises of exactness.
//!
//! One binary, so that it links once. Golden files name the script in `reference/` that made them.

// Helpers are outside of `#[test]` functions, where clippy does not see that this is a test.
#![allow(clippy::unwrap_used)]

mod adapter_lock;
mod generation;
mod gradients;
mod greedy;
mod logits;
mod lora;
mod resume;
mod support;
