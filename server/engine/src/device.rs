//! Devices by name (`flex`, `cuda:0`, `vulkan:0`), probed before use. `flex:composed` is flex without the fused
//! kernels, for comparison.
//!
//! Nothing asks burn for a default device, which would prefer a GPU by compiled feature rather than by what the machine
//! has.

use burn::tensor::Tensor;

use crate::{Error, Result};

const COMPOSED: &str = "flex:composed";

/// How a device computes the operations of `model::ops`. A property of the device value: two open devices do not affect
/// each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// By the fused CPU kernels.
    Fused,
    /// By compositions of burn's tensor operations.
    Composed,
}

/// An opened device that has passed a test computation.
#[derive(Clone, Debug)]
pub struct Device {
    spec: String,
    pub(crate) inner: burn::tensor::Device,
    pub(crate) kernels: Kernels,
}

impl Device {
    /// Opens a device and multiplies two small matrices on it, so that a device that does not work fails here.
    pub fn open(spec: &str) -> Result<Self> {
        let (kind, index) = if spec == COMPOSED { ("flex", "0") } else { spec.split_once(':').unwrap_or((spec, "0")) };
        let index: usize =
            index.parse().map_err(|_| refuse(spec, "the part after ':' must be a number, as in cuda:0".to_owned()))?;
        let kernels = if kind == "flex" && spec != COMPOSED { Kernels::Fused } else { Kernels::Composed };
        let device = Self { spec: spec.to_owned(), inner: open(spec, kind, index)?, kernels };
        device.probe()?;
        Ok(device)
    }

    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// For people: "CPU, 2 threads, burn flex, fused kernels".
    pub fn description(&self) -> String {
        if self.is_cpu() {
            let how = match self.kernels {
                Kernels::Fused => "fused kernels",
                Kernels::Composed => "without fused kernels",
            };
            format!("CPU, {} threads, burn flex, {how}", rayon::current_num_threads())
        } else {
            format!("{} (burn)", self.spec)
        }
    }

    pub fn is_cpu(&self) -> bool {
        self.spec.starts_with("flex")
    }

    fn probe(&self) -> Result<()> {
        // burn panics if a driver is missing: treat it as "device unavailable".
        let inner = self.inner.clone();
        let product = std::panic::catch_unwind(move || {
            let a = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &inner);
            a.clone().matmul(a).into_data().try_to_vec::<f32>()
        });
        match product {
            Ok(Ok(values)) if values == [7.0, 10.0, 15.0, 22.0] => Ok(()),
            Ok(_) => Err(refuse(&self.spec, "a 2x2 matrix product is wrong".to_owned())),
            Err(_) => Err(refuse(&self.spec, "it is unavailable; is its driver installed?".to_owned())),
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

    #[test]
    fn opening_a_device_does_not_change_another_open_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        let load = |device: &Device| crate::model::BaseModel::load(&path, device, &mut |_, _| {}).unwrap();
        // Only the fused kernels have int8.
        let is_fused = |model: &crate::model::BaseModel| model.score_int8(&[vec![5, 6, 7]]).unwrap().is_some();
        let fused = load(&Device::open("flex").unwrap());
        let composed = load(&Device::open("flex:composed").unwrap());
        assert!(is_fused(&fused) && !is_fused(&composed));
        Device::open("flex").unwrap();
        assert!(is_fused(&fused) && !is_fused(&composed));
        assert!(composed.device.description().contains("without fused kernels"));
    }
}
