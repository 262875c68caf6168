//! SwiGLU (Shazeer, arXiv:2002.05202): `silu(gate) * up`.

use burn::tensor::{Tensor, activation};

use super::cpu;

/// gate, up: [tokens, ffn] -> [tokens, ffn].
pub(crate) fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    if cpu::applies(&gate.device()) { cpu::swiglu(gate, up) } else { composed(gate, up) }
}

pub(super) fn composed(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    activation::silu(gate) * up
}

/// (dL/dgate, dL/dup) from the inputs and dL/dy.
pub(crate) fn swiglu_backward(gate: Tensor<2>, up: Tensor<2>, dy: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    if cpu::applies(&gate.device()) { cpu::swiglu_backward(gate, up, dy) } else { composed_backward(&gate, &up, &dy) }
}

pub(super) fn composed_backward(gate: &Tensor<2>, up: &Tensor<2>, dy: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let sigmoid = activation::sigmoid(gate.clone());
    let silu = gate.clone() * sigmoid.clone();
    // d silu = sigmoid * (1 + gate * (1 - sigmoid)) = sigmoid + silu * (1 - sigmoid)
    let slope = sigmoid.clone() + silu.clone() * (-sigmoid + 1.0);
    (dy.clone() * up.clone() * slope, dy.clone() * silu)
}
