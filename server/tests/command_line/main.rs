//! The program as a stranger uses it: the real binary on small files, and its downloads against a hub that misbehaves.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may panic and need no durable writes")]

mod data;
mod export;
mod generate;
mod hub;
mod limits;
mod model;
mod score;
mod support;
mod train;
mod usage;
