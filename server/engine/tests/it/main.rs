//! The engine from outside: against transformers' and PEFT's figures, and its promises of exactness.
//!
//! One binary, so that it links once. Golden files name the script in `reference/` that made them.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may panic and need no durable writes")]

mod adapter_lock;
mod generation;
mod gradients;
mod greedy;
mod logits;
mod lora;
mod resume;
mod support;
