//! What is kept between runs: the opened device and the base model that was loaded last.
//!
//! Lives on the one thread that computes.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use engine::device::Device;
use engine::model::BaseModel;
use spec::RunEvent;

use super::{Result, phase, progress};
use crate::adapter;

pub struct ModelCache {
    spec: String,
    device: Option<Device>,
    loaded: Option<Loaded>,
}

struct Loaded {
    path: PathBuf,
    stamp: Stamp,
    model: BaseModel,
}

/// Name, size and time of each file: tells a changed model from the loaded one without reading it.
type Stamp = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl ModelCache {
    /// Nothing is opened until it is needed.
    pub fn new(spec: impl Into<String>) -> Self {
        Self { spec: spec.into(), device: None, loaded: None }
    }

    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// Opened and probed at first use, on the thread that computes.
    pub fn device(&mut self) -> Result<&Device> {
        if self.device.is_none() {
            crate::jobs::join_rayon_pool();
            self.device = Some(Device::open(&self.spec).map_err(adapter::error)?);
        }
        Ok(self.device.as_ref().expect("it was opened just above"))
    }

    /// The base model at this path, loaded unless it is the one that is loaded already.
    pub fn model(&mut self, path: &Path, emit: &mut dyn FnMut(RunEvent)) -> Result<&BaseModel> {
        let stamp = stamp(path);
        let here = self.loaded.as_ref().is_some_and(|loaded| loaded.path == path && loaded.stamp == stamp);
        if !here {
            // The old one is dropped first, so that two are never in memory.
            self.loaded = None;
            let device = self.device()?.clone();
            phase(emit, "reading the base model");
            let model = BaseModel::load(path, &device, &mut progress(emit)).map_err(adapter::error)?;
            self.loaded = Some(Loaded { path: path.to_owned(), stamp, model });
        }
        Ok(&self.loaded.as_ref().expect("it was loaded just above").model)
    }
}

fn stamp(path: &Path) -> Stamp {
    let mut files: Vec<PathBuf> = match std::fs::read_dir(path) {
        Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
        Err(_) => vec![path.to_owned()],
    };
    files.sort();
    files
        .into_iter()
        .filter_map(|file| {
            let metadata = std::fs::metadata(&file).ok()?;
            Some((file, metadata.len(), metadata.modified().ok()))
        })
        .collect()
}
