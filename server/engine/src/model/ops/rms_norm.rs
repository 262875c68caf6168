//! RMSNorm (Zhang, Sennrich, arXiv:1910.07467): `y = x / sqrt(mean(x²) + eps) * w`, over the features.

use burn::tensor::Tensor;

use super::extension;
use crate::device::Kernels;

/// x: [tokens, features], weight: [features] -> [tokens, features].
pub(crate) fn rms_norm(kernels: Kernels, x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    match kernels {
        Kernels::Fused => extension::rms_norm(x, weight, eps),
        Kernels::Composed => {
            let scale = inverse_rms(&x, eps);
            x * scale * weight.clone().unsqueeze()
        }
    }
}

/// `dx` + dL/dx, from x and dL/dy; the weight is frozen.
pub(crate) fn rms_norm_backward(
    kernels: Kernels,
    x: Tensor<2>,
    weight: &Tensor<1>,
    eps: f64,
    dy: Tensor<2>,
    dx: Tensor<2>,
) -> Tensor<2> {
    match kernels {
        Kernels::Fused => extension::rms_norm_backward(x, weight, eps, dy, dx),
        Kernels::Composed => dx + composed_backward(x, weight, eps, dy),
    }
}

fn composed_backward(x: Tensor<2>, weight: &Tensor<1>, eps: f64, dy: Tensor<2>) -> Tensor<2> {
    let features = x.dims()[1] as f64;
    let scale = inverse_rms(&x, eps); // [tokens, 1]
    let weighted = dy * weight.clone().unsqueeze(); // [tokens, features]
    let along = (weighted.clone() * x.clone()).sum_dim(1); // [tokens, 1]
    let cubed = scale.clone() * scale.clone() * scale.clone();
    weighted * scale - x * (along * cubed / features)
}

/// [tokens, 1]
fn inverse_rms(x: &Tensor<2>, eps: f64) -> Tensor<2> {
    ((x.clone() * x.clone()).mean_dim(1) + eps).sqrt().recip()
}
