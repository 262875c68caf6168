//! What the process is started with, once parsed: where data lives, what computes, how much may wait.

use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything that the server keeps lies below this folder.
    pub data: PathBuf,
    /// `flex`, `cuda:0`, `vulkan:0`, ….
    pub device: String,
    /// Most runs that wait for their turn; beyond that a request is refused with `queue_full`.
    pub queue_limit: u32,
}

impl Settings {
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into(), device: "flex".to_owned(), queue_limit: 32 }
    }
}
