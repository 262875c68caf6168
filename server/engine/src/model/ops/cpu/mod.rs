//! The operations fused for the CPU: one pass over memory, all threads, vectorised, nothing of size length x length kept.
//!
//! Reached through burn's backend extension on flex; every other device uses the compositions beside this
//! folder, which are also what these are tested against. Tensors come in and go out contiguous and in f32.

mod attention;
mod elementwise;
mod exp;
mod simd;
mod thin;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchDevice, Flex, backend_extension};
use burn::tensor::{Device, Tensor, TensorData};

/// Rows that one task takes at a time in element-wise work.
const ROWS_PER_TASK: usize = 32;

#[backend_extension(Flex)]
pub(super) trait CpuKernels: Backend {
    fn rms_norm_kernel(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
    fn rms_norm_backward_kernel(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    fn rope_kernel(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        head_dim: usize,
        back: bool,
    ) -> FloatTensor<Self>;
    fn swiglu_kernel(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
    /// [2, tokens, ffn]: dgate, then dup.
    fn swiglu_backward_kernel(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn thin_linear_kernel(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    fn dropout_kernel(x: FloatTensor<Self>, rate: f64, seed: u64) -> FloatTensor<Self>;
    fn attention_kernel(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        lengths: Vec<usize>,
        head_dim: usize,
    ) -> FloatTensor<Self>;
    /// Flat: dq, then dk, then dv.
    fn attention_backward_kernel(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        lengths: Vec<usize>,
        head_dim: usize,
    ) -> FloatTensor<Self>;
}

type Primitive = FloatTensor<Flex>;

/// Its shape and its values; a view that is not contiguous is copied once.
struct Matrix(Primitive);

impl Matrix {
    fn new(tensor: Primitive) -> Self {
        Self(if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() })
    }

    fn values(&self) -> &[f32] {
        self.0.as_slice().expect("made contiguous above")
    }

    /// Length of the last dimension.
    fn columns(&self) -> usize {
        let shape = self.0.layout().shape();
        shape[shape.num_dims() - 1]
    }

    fn rows(&self) -> usize {
        self.values().len() / self.columns()
    }
}

fn tensor(values: Vec<f32>, shape: impl Into<Vec<usize>>) -> Primitive {
    Primitive::from_data(TensorData::new(values, shape.into()))
}

impl CpuKernels for Flex {
    fn rms_norm_kernel(x: Primitive, weight: Primitive, eps: f64) -> Primitive {
        let (x, weight) = (Matrix::new(x), Matrix::new(weight));
        tensor(elementwise::rms_norm(x.values(), weight.values(), eps as f32), [x.rows(), x.columns()])
    }

    fn rms_norm_backward_kernel(x: Primitive, weight: Primitive, dy: Primitive, eps: f64) -> Primitive {
        let (x, weight, dy) = (Matrix::new(x), Matrix::new(weight), Matrix::new(dy));
        let dx = elementwise::rms_norm_backward(x.values(), weight.values(), dy.values(), eps as f32);
        tensor(dx, [x.rows(), x.columns()])
    }

    fn rope_kernel(x: Primitive, cos: Primitive, sin: Primitive, head_dim: usize, back: bool) -> Primitive {
        let (x, cos, sin) = (Matrix::new(x), Matrix::new(cos), Matrix::new(sin));
        let y = elementwise::rope(x.values(), x.columns(), cos.values(), sin.values(), head_dim, back);
        tensor(y, [x.rows(), x.columns()])
    }

    fn swiglu_kernel(gate: Primitive, up: Primitive) -> Primitive {
        let (gate, up) = (Matrix::new(gate), Matrix::new(up));
        tensor(elementwise::swiglu(gate.values(), up.values(), gate.columns()), [gate.rows(), gate.columns()])
    }

    fn swiglu_backward_kernel(gate: Primitive, up: Primitive, dy: Primitive) -> Primitive {
        let (gate, up, dy) = (Matrix::new(gate), Matrix::new(up), Matrix::new(dy));
        let both = elementwise::swiglu_backward(gate.values(), up.values(), dy.values(), gate.columns());
        tensor(both, [2, gate.rows(), gate.columns()])
    }

    fn thin_linear_kernel(x: Primitive, weight: Primitive) -> Primitive {
        let (x, weight) = (Matrix::new(x), Matrix::new(weight));
        tensor(thin::linear(x.values(), weight.values(), x.columns()), [x.rows(), weight.rows()])
    }

    fn dropout_kernel(x: Primitive, rate: f64, seed: u64) -> Primitive {
        let x = Matrix::new(x);
        tensor(elementwise::dropout(x.values(), x.columns(), rate, seed), [x.rows(), x.columns()])
    }

    fn attention_kernel(q: Primitive, k: Primitive, v: Primitive, lengths: Vec<usize>, head_dim: usize) -> Primitive {
        let (q, k, v) = (Matrix::new(q), Matrix::new(k), Matrix::new(v));
        let shape = attention::Shape::new(q.columns(), k.columns(), head_dim);
        let y = attention::forward(q.values(), k.values(), v.values(), &lengths, shape);
        tensor(y, [q.rows(), q.columns()])
    }

    fn attention_backward_kernel(
        q: Primitive,
        k: Primitive,
        v: Primitive,
        dy: Primitive,
        lengths: Vec<usize>,
        head_dim: usize,
    ) -> Primitive {
        let (q, k, v, dy) = (Matrix::new(q), Matrix::new(k), Matrix::new(v), Matrix::new(dy));
        let shape = attention::Shape::new(q.columns(), k.columns(), head_dim);
        let flat = attention::backward(q.values(), k.values(), v.values(), dy.values(), &lengths, shape);
        let size = flat.len();
        tensor(flat, [size])
    }
}

/// Whether tensors of this device are flex's.
pub(super) fn applies(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

pub(super) fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::rms_norm_kernel(x.into_dispatch(), weight.clone().into_dispatch(), eps))
}

pub(super) fn rms_norm_backward(x: Tensor<2>, weight: &Tensor<1>, eps: f64, dy: Tensor<2>) -> Tensor<2> {
    let (x, weight, dy) = (x.into_dispatch(), weight.clone().into_dispatch(), dy.into_dispatch());
    Tensor::from_dispatch(Dispatch::rms_norm_backward_kernel(x, weight, dy, eps))
}

/// cos, sin: [tokens, 1, head_dim / 2].
pub(super) fn rope(x: Tensor<2>, cos: &Tensor<3>, sin: &Tensor<3>, head_dim: usize, back: bool) -> Tensor<2> {
    let (cos, sin) = (cos.clone().into_dispatch(), sin.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::rope_kernel(x.into_dispatch(), cos, sin, head_dim, back))
}

pub(super) fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::swiglu_kernel(gate.into_dispatch(), up.into_dispatch()))
}

pub(super) fn swiglu_backward(gate: Tensor<2>, up: Tensor<2>, dy: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let shape = gate.dims();
    let (gate, up, dy) = (gate.into_dispatch(), up.into_dispatch(), dy.into_dispatch());
    let both = Tensor::<3>::from_dispatch(Dispatch::swiglu_backward_kernel(gate, up, dy));
    (both.clone().narrow(0, 0, 1).reshape(shape), both.narrow(0, 1, 1).reshape(shape))
}

/// Whether [`thin_linear`] is the better way for so many rows.
pub(super) fn is_thin(rows: usize) -> bool {
    rows <= thin::MOST_ROWS
}

pub(super) fn thin_linear(x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::thin_linear_kernel(x.into_dispatch(), weight.clone().into_dispatch()))
}

pub(super) fn dropout(x: Tensor<2>, rate: f64, seed: u64) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::dropout_kernel(x.into_dispatch(), rate, seed))
}

pub(super) fn attention(q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, lengths: &[usize], head_dim: usize) -> Tensor<2> {
    let [q, k, v] = [q, k, v].map(|x| x.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::attention_kernel(q, k, v, lengths.to_vec(), head_dim))
}

pub(super) fn attention_backward(
    q: &Tensor<2>,
    k: &Tensor<2>,
    v: &Tensor<2>,
    dy: &Tensor<2>,
    lengths: &[usize],
    head_dim: usize,
) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
    let shapes = [q.dims(), k.dims(), v.dims()];
    let [q, k, v, dy] = [q, k, v, dy].map(|x| x.clone().into_dispatch());
    let lengths = lengths.to_vec();
    let flat = Tensor::<1>::from_dispatch(Dispatch::attention_backward_kernel(q, k, v, dy, lengths, head_dim));
    let mut start = 0;
    let [dq, dk, dv] = shapes.map(|shape| {
        let size = shape[0] * shape[1];
        let part = flat.clone().narrow(0, start, size).reshape(shape);
        start += size;
        part
    });
    (dq, dk, dv)
}
