//! The server: the store, the queue, the service, HTTP, and the command line.

#![forbid(unsafe_code)]
// The types of whole pages nest deeply.
#![recursion_limit = "512"]
#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests need no durable writes"))]

mod adapter;
pub mod cli;
mod clock;
mod export;
pub mod http;
pub mod jobs;
pub mod models;
mod offline;
mod resources;
pub mod service;
pub mod settings;
mod store;
pub mod work;
