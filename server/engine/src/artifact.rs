//! Durable writes, and nothing else writes: temporary name, fsync, rename, fsync of the folder.
//!
//! A folder artifact (checkpoint, adapter) appears whole or not at all, with a manifest of hashes.

use std::path::Path;

use crate::Result;

/// Writes a file so that `path` holds either its old bytes or all of the new ones, also after a power cut.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let _ = (path, bytes);
    todo!()
}

/// Fills a folder by `fill(temporary_folder)`, writes `manifest.json` (file name -> size, sha256) into it and renames it to `path`.
/// An older folder of that name is replaced.
pub fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let _ = (path, fill);
    todo!()
}

/// Checks every file that the folder's manifest names; the sha256 of the manifest itself.
pub fn verify_folder(path: &Path) -> Result<String> {
    let _ = path;
    todo!()
}

/// Removes what a killed process left under temporary names in `folder`.
pub fn sweep(folder: &Path) -> Result<()> {
    let _ = folder;
    todo!()
}

/// sha256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let _ = bytes;
    todo!()
}

pub fn sha256_file(path: &Path) -> Result<String> {
    let _ = path;
    todo!()
}
