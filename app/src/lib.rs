//! The pages, the wire types, the server functions, and the port that a server implements.
//!
//! Compiles twice: to WebAssembly (`hydrate`) and natively (`ssr`). Knows nothing of burn, SQL or files.

#[cfg(feature = "ssr")]
pub mod backend;
pub mod wire;
