//! Durable writes, and nothing else writes: temporary name, fsync, rename, fsync of the folder.
//!
//! A folder artifact (checkpoint, adapter) appears whole or not at all, with a manifest of hashes. Replacing a
//! folder takes two renames; a crash between them is undone by [`sweep`], which must run before the folder is read
//! and while nothing writes into it. What the files mean is their owners' matter.
#![expect(clippy::disallowed_methods, reason = "this module makes writes durable")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spec::ErrorCode;

use crate::file_kind::FileKind;
use crate::{Error, Result, source};

/// The manifest's name within a folder artifact: file name -> size and hash.
pub const MANIFEST: &str = "manifest.json";

/// A manifest beyond this size was not written by us.
const MOST_MANIFEST_BYTES: u64 = 1 << 20;
/// A write that is under way: ours, and those of temporary files that others make beside what they will become.
const TEMPORARY: &str = ".writing-";
const LEFTOVERS: [&str; 2] = [TEMPORARY, ".tmp-"];
/// A folder that is being replaced.
const REPLACED: &str = ".replaced-";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    size_bytes: u64,
    sha256: String,
}

/// Writes a file so that `path` holds either its old bytes or all of the new ones, also after a power cut.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |writer| writer.write_all(bytes))
}

/// As [`write()`], for a file that is written piece by piece.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut (dyn Write + Send)) -> std::io::Result<()>) -> Result<()> {
    let temporary = temporary_name(path)?;
    let guard = Remove(&temporary);
    let file = File::create_new(&temporary).map_err(Error::io(&temporary))?;
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    fill(&mut writer).map_err(Error::io(path))?;
    let file = writer.into_inner().map_err(|error| Error::io(path)(error.into_error()))?;
    file.sync_all().map_err(Error::io(path))?;
    drop(file);
    fs::rename(&temporary, path).map_err(Error::io(path))?;
    std::mem::forget(guard);
    sync_folder(parent(path))
}

/// Fills a folder by `fill(temporary_folder)`, writes `manifest.json` (file name -> size, sha256) into it and renames
/// it to `path`. An older folder of that name is replaced.
pub fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = temporary_name(path)?;
    let guard = Remove(&temporary);
    fs::create_dir(&temporary).map_err(Error::io(&temporary))?;
    fill(&temporary)?;

    let mut manifest = BTreeMap::new();
    seal(&temporary, "", &mut manifest)?;
    let json = serde_json::to_vec_pretty(&manifest).expect("a map of strings and numbers has a JSON form");
    write(&temporary.join(MANIFEST), &json)?;

    let replaced = sibling(path, REPLACED)?;
    if path.exists() {
        remove(&replaced)?;
        fs::rename(path, &replaced).map_err(Error::io(path))?;
    }
    fs::rename(&temporary, path).map_err(Error::io(path))?;
    std::mem::forget(guard);
    sync_folder(parent(path))?;
    remove(&replaced)
}

/// Creates a folder and makes its name durable; one that exists already is left as it is.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Ok(()) => sync_folder(parent(path)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::io(path)(error)),
    }
}

/// Gives a folder another name, durably; a folder that has this name is removed.
pub(crate) fn rename_folder(path: &Path, new: &Path) -> Result<()> {
    if new.exists() {
        remove_folder(new)?;
    }
    fs::rename(path, new).map_err(Error::io(new))?;
    sync_folder(parent(new))
}

/// Removes a folder artifact at once: a crash leaves all of it under its name, or none.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    let temporary = temporary_name(path)?;
    fs::rename(path, &temporary).map_err(Error::io(path))?;
    sync_folder(parent(path))?;
    remove(&temporary)
}

/// Checks every file that the folder's manifest names; the sha256 of the manifest itself. Whatever differs is `corrupt`; only a folder
/// without a manifest is not an artifact at all.
pub fn verify_folder(path: &Path) -> Result<String> {
    let found = check_manifest(path);
    if !path.join(MANIFEST).exists() {
        return found;
    }
    found.map_err(|error| match error.code() {
        ErrorCode::NotFound | ErrorCode::MalformedFile => {
            Error::Damaged { path: path.to_owned(), problem: error.to_string() }
        }
        _ => error,
    })
}

fn check_manifest(path: &Path) -> Result<String> {
    let manifest_path = path.join(MANIFEST);
    let size_bytes = fs::metadata(&manifest_path).map_err(Error::io(&manifest_path))?.len();
    if size_bytes > MOST_MANIFEST_BYTES {
        let problem = format!("it has {size_bytes} bytes; a manifest has at most {MOST_MANIFEST_BYTES}");
        return Err(Error::malformed(&manifest_path, "size", problem));
    }
    let bytes = fs::read(&manifest_path).map_err(Error::io(&manifest_path))?;
    let manifest: BTreeMap<String, Entry> = serde_json::from_slice(&bytes)
        .map_err(|error| Error::malformed(&manifest_path, format!("line {}", error.line()), error.to_string()))?;
    for (name, entry) in &manifest {
        if !is_plain(name) {
            return Err(Error::malformed(
                &manifest_path,
                format!("{name:?}"),
                "it is not the name of a file in this folder",
            ));
        }
        let file = path.join(name);
        let found_bytes = fs::metadata(&file).map_err(Error::io(&file))?.len();
        if found_bytes != entry.size_bytes {
            let (opened, _) = source::open_regular(&file)?;
            if let Some(kind @ FileKind::GitLfsPointer) = FileKind::of(&source::head(&file, &opened)?) {
                return Err(kind.error(&file, "the file that was saved", ""));
            }
            let problem = format!("it has {found_bytes} bytes, but its manifest says {}", entry.size_bytes);
            return Err(Error::malformed(&file, "size", problem));
        }
        let found = sha256_file(&file)?;
        if found != entry.sha256 {
            return Err(Error::Corrupt { path: file, expected: entry.sha256.clone(), found });
        }
    }
    Ok(sha256(&bytes))
}

/// Refuses a file whose bytes are not those of which `sha256` was kept.
pub fn verify_file(path: &Path, sha256: &str) -> Result<()> {
    let found = sha256_file(path)?;
    if found == sha256 {
        return Ok(());
    }
    Err(Error::Corrupt { path: path.to_owned(), expected: sha256.to_owned(), found })
}

/// Removes what killed processes left under temporary names in `folder` and the folders below it, and puts back a
/// folder whose replacement was cut off half-way; how many were put right. Nothing may be written there meanwhile. A
/// `folder` that is not there holds nothing to sweep. One that cannot be swept does not keep the others from it; the
/// first error is returned.
pub fn sweep(folder: &Path) -> Result<usize> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::io(folder)(error)),
    };
    let mut swept = Ok(0);
    for entry in entries {
        let found = entry.map_err(Error::io(folder)).and_then(|entry| sweep_entry(folder, &entry));
        swept = match (swept, found) {
            (Ok(before), Ok(more)) => Ok(before + more),
            (Err(first), _) => Err(first),
            (Ok(_), Err(error)) => Err(error),
        };
    }
    if matches!(swept, Ok(1..)) {
        sync_folder(folder)?;
    }
    swept
}

fn sweep_entry(folder: &Path, entry: &fs::DirEntry) -> Result<usize> {
    let path = entry.path();
    let name = entry.file_name();
    let name = name.to_string_lossy();
    if LEFTOVERS.iter().any(|start| name.starts_with(start)) {
        return remove(&path).map(|()| 1);
    }
    if let Some(original) = name.strip_prefix(REPLACED) {
        let original = folder.join(original);
        if original.exists() {
            remove(&path)?;
        } else {
            fs::rename(&path, &original).map_err(Error::io(&original))?;
        }
        return Ok(1);
    }
    // Links are not followed.
    if entry.file_type().map_err(Error::io(&path))?.is_dir() { sweep(&path) } else { Ok(0) }
}

/// sha256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn sha256_file(path: &Path) -> Result<String> {
    let (file, _) = source::open_regular(path)?;
    sha256_reader(&file).map_err(Error::io(path))
}

/// Of all bytes that a reader gives.
pub fn sha256_reader(mut reader: impl Read) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]].map(char::from);
    bytes.iter().flat_map(digits).collect()
}

/// Hashes every file under `folder` into `manifest` and makes files and folders durable.
fn seal(folder: &Path, prefix: &str, manifest: &mut BTreeMap<String, Entry>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let path = entry.path();
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(Error::malformed(&path, "name", "it is not UTF-8"));
        };
        let name = format!("{prefix}{name}");
        let kind = entry.file_type().map_err(Error::io(&path))?;
        if kind.is_dir() {
            seal(&path, &format!("{name}/"), manifest)?;
        } else if kind.is_file() {
            let size_bytes = entry.metadata().map_err(Error::io(&path))?.len();
            File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io(&path))?;
            manifest.insert(name, Entry { size_bytes, sha256: sha256_file(&path)? });
        } else {
            return Err(Error::malformed(&path, "kind", "only files and folders can be part of an artifact"));
        }
    }
    sync_folder(folder)
}

/// A relative path that stays within its folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|component| matches!(component, Component::Normal(_)))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sibling(path: &Path, prefix: &str) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(Error::malformed(path, "name", "it does not end in a file name"));
    };
    let mut sibling = std::ffi::OsString::from(prefix);
    sibling.push(name);
    Ok(path.with_file_name(sibling))
}

fn temporary_name(path: &Path) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    sibling(path, &format!("{TEMPORARY}{}-{count}-", std::process::id()))
}

fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Only Unix can make a rename durable through its folder; elsewhere the rename itself must do.
fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) { File::open(folder).and_then(|file| file.sync_all()).map_err(Error::io(folder)) } else { Ok(()) }
}

/// Removes what a failed write left; forgotten once the write is complete.
struct Remove<'a>(&'a Path);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        // The write's own error is already on its way to the caller; `sweep` gets what stays.
        let _ = remove(self.0);
    }
}

#[cfg(test)]
mod tests;
