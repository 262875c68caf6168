//! Devices by name (`flex`, `cuda:0`, `vulkan:0`), probed before use. `flex:composed` is flex without the fused kernels, to
//! compare with.
//!
//! The name is chosen once, at start; nothing asks burn for a default device, which would prefer a GPU by
//! compiled feature rather than by what is in the machine.

use burn::tensor::Tensor;

use crate::{Error, Result};

const COMPOSED: &str = "flex:composed";

/// An opened device that has shown that it computes.
#[derive(Clone, Debug)]
pub struct Device {
    spec: String,
    pub(crate) inner: burn::tensor::Device,
}

impl Device {
    /// Opens a device and runs one small product on it, so that what does not work fails here.
    pub fn open(spec: &str) -> Result<Self> {
        let (kind, index) = if spec == COMPOSED { ("flex", "0") } else { spec.split_once(':').unwrap_or((spec, "0")) };
        let index: usize =
            index.parse().map_err(|_| refuse(spec, "the part behind ':' must be a number, as in cuda:0".to_owned()))?;
        let device = Self { spec: spec.to_owned(), inner: open(spec, kind, index)? };
        device.probe()?;
        if kind == "flex" {
            crate::model::ops::use_fused(spec != COMPOSED);
        }
        Ok(device)
    }

    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// For people: "CPU, 2 threads, burn flex, fused kernels".
    pub fn description(&self) -> String {
        if self.is_cpu() {
            let how = if self.spec == COMPOSED { "without fused kernels" } else { "fused kernels" };
            format!("CPU, {} threads, burn flex, {how}", rayon::current_num_threads())
        } else {
            format!("{} (burn)", self.spec)
        }
    }

    pub fn is_cpu(&self) -> bool {
        self.spec == "flex" || self.spec == COMPOSED
    }

    fn probe(&self) -> Result<()> {
        // A driver that is absent panics inside burn; here that is an answer, not a crash.
        let inner = self.inner.clone();
        let product = std::panic::catch_unwind(move || {
            let a = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &inner);
            a.clone().matmul(a).into_data().try_to_vec::<f32>()
        });
        match product {
            Ok(Ok(values)) if values == [7.0, 10.0, 15.0, 22.0] => Ok(()),
            Ok(_) => Err(refuse(&self.spec, "a 2x2 product came out wrong".to_owned())),
            Err(_) => Err(refuse(&self.spec, "it does not answer; is its driver installed?".to_owned())),
        }
    }
}

fn open(spec: &str, kind: &str, index: usize) -> Result<burn::tensor::Device> {
    match kind {
        "flex" if index == 0 => Ok(burn::tensor::Device::flex()),
        "cuda" if !cfg!(feature = "cuda") => Err(lacks(spec, kind)),
        "vulkan" if !cfg!(feature = "vulkan") => Err(lacks(spec, kind)),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(burn::tensor::Device::cuda(index)),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(burn::tensor::Device::vulkan(burn::tensor::DeviceKind::DiscreteGpu(index))),
        _ => Err(refuse(spec, "unknown; devices are flex, flex:composed, cuda:N, vulkan:N".to_owned())),
    }
}

fn lacks(spec: &str, kind: &str) -> Error {
    refuse(spec, format!("this build has no {kind}; build with `--features {kind}`, or use flex"))
}

fn refuse(spec: &str, problem: String) -> Error {
    Error::Device { spec: spec.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_opens_and_an_unknown_device_is_refused_by_name() {
        assert_eq!(Device::open("flex").unwrap().spec(), "flex");
        let error = Device::open("tpu:3").unwrap_err();
        assert_eq!(error.code(), spec::ErrorCode::Device);
        assert!(error.to_string().contains("tpu:3"), "{error}");
        if !cfg!(feature = "cuda") {
            let error = Device::open("cuda:0").unwrap_err();
            assert!(error.to_string().contains("--features cuda"), "{error}");
        }
        assert!(Device::open("flex:x").is_err());
    }
}
