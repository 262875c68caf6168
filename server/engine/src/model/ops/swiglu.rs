//! SwiGLU (Shazeer, arXiv:2002.05202): `silu(gate) * up`.

use burn::tensor::{Tensor, activation};

use super::extension;
use crate::device::Kernels;

/// gate, up: [tokens, ffn] -> [tokens, ffn].
pub(crate) fn swiglu(kernels: Kernels, gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    match kernels {
        Kernels::Fused => extension::swiglu(gate, up),
        Kernels::Composed => activation::silu(gate) * up,
    }
}

/// (dL/dgate, dL/dup) from the inputs and dL/dy.
pub(crate) fn swiglu_backward(
    kernels: Kernels,
    gate: Tensor<2>,
    up: Tensor<2>,
    dy: Tensor<2>,
) -> (Tensor<2>, Tensor<2>) {
    match kernels {
        Kernels::Fused => extension::swiglu_backward(gate, up, dy),
        Kernels::Composed => {
            let sigmoid = activation::sigmoid(gate.clone());
            let silu = gate * sigmoid.clone();
            // d silu = sigmoid * (1 + gate * (1 - sigmoid)) = sigmoid + silu * (1 - sigmoid)
            let slope = sigmoid.clone() + silu.clone() * (-sigmoid + 1.0);
            (dy.clone() * up * slope, dy * silu)
        }
    }
}
