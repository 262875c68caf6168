//! No code: see `Cargo.toml`, whose feature lists are this package's whole purpose.
