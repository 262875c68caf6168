//! The program as a stranger uses it: the real binary on small files, and its downloads against a hub that misbehaves.
#![allow(clippy::unwrap_used)]

mod data;
mod generate;
mod hub;
mod model;
mod score;
mod support;
mod train;
mod usage;
