//! The engine: Llama, LoRA, data, training, generation, scoring.
//!
//! burn lives here and only here. Nothing here knows of HTTP, tokio, Leptos or SQL: work is plain blocking
//! functions that take a [`Control`] to be stopped by and a callback to speak through.

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests need no durable writes"))]

pub mod artifact;
pub mod control;
pub mod data;
pub mod device;
mod error;
mod file_kind;
pub mod generate;
pub mod likelihood;
pub mod lora;
pub mod measure;
pub mod memory;
pub mod model;
mod random;
pub mod score;
mod source;
pub mod template;
pub mod threads;
pub mod tokenizer;
pub mod train;
pub mod words;

pub use control::{Control, Stop};
pub use error::{Error, Result};
