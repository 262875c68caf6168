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

    pub fn root(&self) -> &Path {
        &self.root
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

    /// Folders that cannot be removed now are removed at the next start. Returns the runs that have none any more.
    pub fn remove(&self, runs: &[i64]) -> Vec<i64> {
        let gone = |run: &i64| match std::fs::remove_dir_all(self.path(*run)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(run, %error, "the folder of a deleted run could not be removed");
                false
            }
            _ => true,
        };
        runs.iter().copied().filter(gone).collect()
    }

    /// Runs that have a folder, in order.
    pub fn runs(&self) -> Vec<i64> {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return Vec::new() };
        let number = |name: &str| name.parse::<i64>().ok().filter(|run| run.to_string() == name);
        let mut runs: Vec<i64> = entries.flatten().filter_map(|entry| number(entry.file_name().to_str()?)).collect();
        runs.sort_unstable();
        runs
    }

    /// Removes what killed processes left half written in any run's folder.
    pub fn sweep(&self) {
        for folder in self.runs().into_iter().map(|run| self.path(run)) {
            let swept = [&folder, &folder.join("checkpoints")];
            let swept = swept.into_iter().try_for_each(|it| engine::artifact::sweep(it).map(drop));
            if let Err(error) = swept {
                tracing::warn!(folder = %folder.display(), %error, "leftovers could not be removed");
            }
        }
    }
}

fn trouble(folder: &Path, error: &std::io::Error) -> AppError {
    AppError::io(
        format!("The folder {} cannot be created: {error}.", folder.display()),
        "Check that the data folder is writable and that the disk is not full.",
    )
}
