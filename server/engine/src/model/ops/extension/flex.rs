//! The backend extension: from flex's tensors to slices and back.

use std::sync::{Arc, OnceLock};

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, backend_extension};
use burn::tensor::TensorData;
use kernels::attention::{self, Saved, Sequence, Shape};
use kernels::int8::{self, Int8Matrix};
use kernels::lora::{self, Lora};
use kernels::{Dropout, LayerCache, cross_entropy, elementwise};

use super::SharedCache;

#[backend_extension(Flex)]
pub(super) trait FusedOps: Backend {
    fn rms_norm_kernel(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
    fn rms_norm_backward_kernel(
        dx: FloatTensor<Self>,
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
        inverse: bool,
    ) -> FloatTensor<Self>;
    fn swiglu_kernel(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
    fn swiglu_backward_kernel(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn linear_kernel(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear_add_kernel(
        residual: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn linear_decode_kernel(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear_backward_kernel(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear_backward_add_kernel(
        dx: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// Returns `weight`, and its int8 form through `quantized`.
    fn int8_quantize_kernel(weight: FloatTensor<Self>, quantized: Arc<OnceLock<Arc<Int8Matrix>>>) -> FloatTensor<Self>;
    fn int8_linear_kernel(x: FloatTensor<Self>, weight: Arc<Int8Matrix>) -> FloatTensor<Self>;
    fn lora_kernel(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f64,
        dropout: Dropout,
    ) -> FloatTensor<Self>;
    fn lora_backward_kernel(
        dx: FloatTensor<Self>,
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f64,
        dropout: Dropout,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn attention_kernel(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        sequences: Vec<Sequence>,
        head_dim: usize,
    ) -> FloatTensor<Self>;
    fn attend_cached_kernel(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        caches: Vec<SharedCache>,
        new: Vec<usize>,
        head_dim: usize,
    ) -> FloatTensor<Self>;
    fn attention_backward_kernel(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        sequences: Vec<Sequence>,
        head_dim: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn head_loss_kernel(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: Vec<u32>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn head_losses_kernel(hidden: FloatTensor<Self>, weight: FloatTensor<Self>, targets: Vec<u32>)
    -> FloatTensor<Self>;
}

type Primitive = FloatTensor<Flex>;

/// A contiguous tensor; a view that is not contiguous is copied once.
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

    fn shape(&self) -> [usize; 2] {
        [self.rows(), self.columns()]
    }

    /// The tensor after `update`: in place if nothing else shares its memory, else in a copy.
    fn updated(mut self, update: impl FnOnce(&mut [f32])) -> Primitive {
        let (size, shape) = (self.values().len(), self.shape());
        if let Some(values) = self.0.try_storage_mut::<f32>().filter(|values| values.len() == size) {
            update(values);
            return self.0;
        }
        // By all threads: a layer's input, which backward needs, is what the layer's output is added to.
        let mut values = kernels::parallel_copy(self.values());
        update(&mut values);
        tensor(values, shape)
    }
}

fn tensor(values: Vec<f32>, shape: impl Into<Vec<usize>>) -> Primitive {
    Primitive::from_data(TensorData::new(values, shape.into()))
}

impl FusedOps for Flex {
    fn rms_norm_kernel(x: Primitive, weight: Primitive, eps: f64) -> Primitive {
        let (x, weight) = (Matrix::new(x), Matrix::new(weight));
        tensor(elementwise::rms_norm(x.values(), weight.values(), eps as f32), x.shape())
    }

    fn rms_norm_backward_kernel(dx: Primitive, x: Primitive, weight: Primitive, dy: Primitive, eps: f64) -> Primitive {
        let (x, weight, dy) = (Matrix::new(x), Matrix::new(weight), Matrix::new(dy));
        Matrix::new(dx).updated(|dx| {
            elementwise::rms_norm_backward_add(x.values(), weight.values(), dy.values(), eps as f32, dx);
        })
    }

    fn rope_kernel(x: Primitive, cos: Primitive, sin: Primitive, head_dim: usize, inverse: bool) -> Primitive {
        let (x, cos, sin) = (Matrix::new(x), Matrix::new(cos), Matrix::new(sin));
        let columns = x.columns();
        x.updated(|x| elementwise::rope(x, columns, cos.values(), sin.values(), head_dim, inverse))
    }

    fn swiglu_kernel(gate: Primitive, up: Primitive) -> Primitive {
        let (gate, up) = (Matrix::new(gate), Matrix::new(up));
        tensor(elementwise::swiglu(gate.values(), up.values(), gate.columns()), gate.shape())
    }

    fn swiglu_backward_kernel(gate: Primitive, up: Primitive, dy: Primitive) -> (Primitive, Primitive) {
        let (gate, up) = (Matrix::new(gate), Matrix::new(up));
        let mut dgate = Vec::new();
        let dup = Matrix::new(dy).updated(|dy| {
            dgate = elementwise::swiglu_backward(gate.values(), up.values(), dy, gate.columns());
        });
        (tensor(dgate, gate.shape()), dup)
    }

    fn linear_kernel(x: Primitive, weight: Primitive) -> Primitive {
        let (x, weight) = (Matrix::new(x), Matrix::new(weight));
        tensor(kernels::linear(x.values(), weight.values(), weight.columns(), None), [x.rows(), weight.rows()])
    }

    fn linear_add_kernel(residual: Primitive, x: Primitive, weight: Primitive) -> Primitive {
        let [residual, x, weight] = [residual, x, weight].map(Matrix::new);
        let y = kernels::linear(x.values(), weight.values(), weight.columns(), Some(residual.values()));
        tensor(y, residual.shape())
    }

    fn linear_decode_kernel(x: Primitive, weight: Primitive) -> Primitive {
        let (x, weight) = (Matrix::new(x), Matrix::new(weight));
        tensor(kernels::linear_decode(x.values(), weight.values(), weight.columns()), [x.rows(), weight.rows()])
    }

    fn linear_backward_kernel(dy: Primitive, weight: Primitive) -> Primitive {
        let (dy, weight) = (Matrix::new(dy), Matrix::new(weight));
        let dx = kernels::linear_backward(dy.values(), weight.values(), weight.columns());
        tensor(dx, [dy.rows(), weight.columns()])
    }

    fn linear_backward_add_kernel(dx: Primitive, dy: Primitive, weight: Primitive) -> Primitive {
        let (dy, weight) = (Matrix::new(dy), Matrix::new(weight));
        Matrix::new(dx).updated(|dx| kernels::linear_backward_add(dy.values(), weight.values(), weight.columns(), dx))
    }

    fn int8_quantize_kernel(weight: Primitive, quantized: Arc<OnceLock<Arc<Int8Matrix>>>) -> Primitive {
        let weight = Matrix::new(weight);
        quantized.get_or_init(|| Arc::new(Int8Matrix::new(weight.values(), weight.columns())));
        weight.0
    }

    fn int8_linear_kernel(x: Primitive, weight: Arc<Int8Matrix>) -> Primitive {
        let x = Matrix::new(x);
        tensor(int8::linear(x.values(), &weight), [x.rows(), weight.out()])
    }

    fn lora_kernel(y: Primitive, x: Primitive, a: Primitive, b: Primitive, scale: f64, dropout: Dropout) -> Primitive {
        let (x, a, b) = (Matrix::new(x), Matrix::new(a), Matrix::new(b));
        let lora = factors(&a, &b, scale, dropout);
        Matrix::new(y).updated(|y| lora::forward_add(y, x.values(), lora))
    }

    fn lora_backward_kernel(
        dx: Primitive,
        x: Primitive,
        dy: Primitive,
        a: Primitive,
        b: Primitive,
        scale: f64,
        dropout: Dropout,
    ) -> (Primitive, Primitive, Primitive) {
        let (x, dy, a, b) = (Matrix::new(x), Matrix::new(dy), Matrix::new(a), Matrix::new(b));
        let lora = factors(&a, &b, scale, dropout);
        let mut gradients = (Vec::new(), Vec::new());
        let dx = Matrix::new(dx).updated(|dx| gradients = lora::backward_add(dx, x.values(), dy.values(), lora));
        (dx, tensor(gradients.0, a.shape()), tensor(gradients.1, b.shape()))
    }

    fn attention_kernel(
        q: Primitive,
        k: Primitive,
        v: Primitive,
        sequences: Vec<Sequence>,
        head_dim: usize,
    ) -> Primitive {
        let (q, k, v) = (Matrix::new(q), Matrix::new(k), Matrix::new(v));
        let shape = Shape::new(q.columns(), k.columns(), head_dim);
        tensor(attention::forward(q.values(), k.values(), v.values(), &sequences, shape), q.shape())
    }

    fn attend_cached_kernel(
        q: Primitive,
        k: Primitive,
        v: Primitive,
        caches: Vec<SharedCache>,
        new: Vec<usize>,
        head_dim: usize,
    ) -> Primitive {
        let [q, k, v] = [q, k, v].map(Matrix::new);
        let shape = Shape::new(q.columns(), k.columns(), head_dim);
        let mut locked: Vec<_> = caches.iter().map(SharedCache::lock).collect();
        let mut caches: Vec<&mut LayerCache> = locked.iter_mut().map(|cache| &mut **cache).collect();
        tensor(kernels::attend_cached(q.values(), k.values(), v.values(), &mut caches, &new, shape), q.shape())
    }

    fn attention_backward_kernel(
        q: Primitive,
        k: Primitive,
        v: Primitive,
        y: Primitive,
        dy: Primitive,
        sequences: Vec<Sequence>,
        head_dim: usize,
    ) -> (Primitive, Primitive, Primitive) {
        let [q, k, v, y, dy] = [q, k, v, y, dy].map(Matrix::new);
        let shape = Shape::new(q.columns(), k.columns(), head_dim);
        let saved = Saved { q: q.values(), k: k.values(), v: v.values(), y: y.values(), dy: dy.values() };
        let [dq, dk, dv] = attention::backward(saved, &sequences, shape);
        (tensor(dq, q.shape()), tensor(dk, k.shape()), tensor(dv, v.shape()))
    }

    fn head_loss_kernel(hidden: Primitive, weight: Primitive, targets: Vec<u32>, scale: f64) -> (Primitive, Primitive) {
        let (hidden, weight) = (Matrix::new(hidden), Matrix::new(weight));
        let (losses, gradient) = cross_entropy::with_gradient(hidden.values(), weight.values(), &targets, scale as f32);
        (tensor(losses, [targets.len()]), tensor(gradient, hidden.shape()))
    }

    fn head_losses_kernel(hidden: Primitive, weight: Primitive, targets: Vec<u32>) -> Primitive {
        let (hidden, weight) = (Matrix::new(hidden), Matrix::new(weight));
        tensor(cross_entropy::losses(hidden.values(), weight.values(), &targets), [targets.len()])
    }
}

fn factors<'a>(a: &'a Matrix, b: &'a Matrix, scale: f64, dropout: Dropout) -> Lora<'a> {
    Lora { a: a.values(), b: b.values(), rank: a.rows(), scale: scale as f32, dropout }
}
