//! Where things lie in the repository.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;

/// The repository's root. Taken from cargo at run time, since a built xtask outlives a moved folder.
pub fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where cargo builds: `target`, unless the person's settings say otherwise.
pub fn target() -> Result<PathBuf> {
    let metadata = metadata(&["--no-deps"])?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata names no target_directory")?;
    Ok(PathBuf::from(folder))
}

/// What the server serves beside its pages: the built page, style and static files.
pub fn site() -> Result<PathBuf> {
    Ok(target()?.join("site"))
}

/// `cargo metadata` of the workspace.
pub fn metadata(arguments: &[&str]) -> Result<Value> {
    let mut cargo = command::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked"]).args(arguments).current_dir(root());
    serde_json::from_str(&command::stdout(&mut cargo)?).context("cargo metadata printed no JSON")
}
