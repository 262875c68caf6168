//! RMSNorm (Zhang, Sennrich, arXiv:1910.07467): `y = x / sqrt(mean(x²) + eps) * w`, over the features.

use burn::tensor::Tensor;

use super::cpu;

/// x: [tokens, features], weight: [features] -> [tokens, features].
pub(crate) fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    if cpu::applies(&x.device()) { cpu::rms_norm(x, weight, eps) } else { composed(x, weight, eps) }
}

pub(super) fn composed(x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    let scale = inverse_rms(&x, eps);
    x * scale * weight.clone().unsqueeze()
}

/// `into` + dL/dx, from x and dL/dy; the weight is frozen.
pub(crate) fn rms_norm_backward(
    x: Tensor<2>,
    weight: &Tensor<1>,
    eps: f64,
    dy: Tensor<2>,
    into: Tensor<2>,
) -> Tensor<2> {
    if cpu::applies(&x.device()) {
        cpu::rms_norm_backward(x, weight, eps, dy, into)
    } else {
        into + composed_backward(x, weight, eps, dy)
    }
}

pub(super) fn composed_backward(x: Tensor<2>, weight: &Tensor<1>, eps: f64, dy: Tensor<2>) -> Tensor<2> {
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
