//! Where runs keep their artifacts: one folder per run, named by its number.

use std::path::{Path, PathBuf};

use spec::AppError;

#[derive(Clone, Debug)]
pub struct RunFolders {
    root: PathBuf,
}

impl RunFolders {
    pub fn open(data: &Path) -> Result<Self, AppError> {
        let root = data.join("runs");
        std::fs::create_dir_all(&root).map_err(|error| trouble(&root, &error))?;
        Ok(Self { root })
    }

    pub fn path(&self, run: i64) -> PathBuf {
        self.root.join(run.to_string())
    }

    /// The run's folder, made where it is absent; what an earlier process left half written is removed.
    pub fn prepare(&self, run: i64) -> Result<PathBuf, AppError> {
        let folder = self.path(run);
        std::fs::create_dir_all(&folder).map_err(|error| trouble(&folder, &error))?;
        engine::artifact::sweep(&folder).map_err(crate::adapter::error)?;
        Ok(folder)
    }

    /// Folders that cannot be removed now go at the next start.
    pub fn remove(&self, runs: &[i64]) {
        for run in runs {
            let folder = self.path(*run);
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(run, %error, "the folder of a deleted run could not be removed");
                }
                _ => {}
            }
        }
    }

    /// Removes folders whose runs were deleted while their folders could not be.
    pub fn sweep(&self, known: impl Fn(i64) -> bool) {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return };
        let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i64>().ok());
        let orphans: Vec<i64> = numbers.filter(|run| !known(*run)).collect();
        self.remove(&orphans);
    }
}

fn trouble(folder: &Path, error: &std::io::Error) -> AppError {
    AppError::internal(
        format!("The folder {} could not be made: {error}.", folder.display()),
        "Check that the data folder is writable and that the disk is not full.",
    )
}
