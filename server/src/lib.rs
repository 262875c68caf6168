//! The server's rooms.
pub mod adapter;
pub mod cli;
pub mod http;
pub mod jobs;
pub mod models;
pub mod resources;
pub mod service;
pub mod settings;
pub mod store;
pub mod work;
