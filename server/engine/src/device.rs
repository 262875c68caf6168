//! Devices by name (`flex`, `cuda:0`, `vulkan:0`), probed before use.

use crate::{Error, Result};

#[derive(Clone, Debug)]
pub struct Device {
    spec: String,
    pub(crate) inner: burn::tensor::Device,
}

impl Device {
    /// Opens a device and runs one small product on it, so that what does not work fails here.
    pub fn open(spec: &str) -> Result<Self> {
        let _ = spec;
        todo!()
    }

    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// For people: "CPU, 2 threads (burn flex)".
    pub fn description(&self) -> String {
        todo!()
    }
}
