//! The kernels as burn's backend extension: from flex's tensors to slices and back.

use std::sync::{Arc, OnceLock};

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, backend_extension};
use burn::tensor::TensorData;
use rayon::prelude::*;

use super::super::Dropout;
use super::super::attention::Place;
use super::cache::{self, LayerCache};
use super::int8::{self, Int8Matrix};
use super::product::filled;
use super::{attention, elementwise, head, linear, panels, thin};

#[backend_extension(Flex)]
pub(super) trait CpuKernels: Backend {
    fn rms_norm_kernel(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
    fn rms_norm_backward_kernel(
        into: FloatTensor<Self>,
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
    fn swiglu_backward_kernel(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn linear_kernel(x: FloatTensor<Self>, weight: FloatTensor<Self>, back: bool) -> FloatTensor<Self>;
    fn few_linear_kernel(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gives `weight` back and puts its form in eight bits into `made`.
    fn int8_kernel(weight: FloatTensor<Self>, made: Arc<OnceLock<Arc<Int8Matrix>>>) -> FloatTensor<Self>;
    fn int8_linear_kernel(x: FloatTensor<Self>, weight: Arc<Int8Matrix>) -> FloatTensor<Self>;
    fn linear_sum_kernel(
        into: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        back: bool,
    ) -> FloatTensor<Self>;
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
        places: Vec<Place>,
        head_dim: usize,
    ) -> FloatTensor<Self>;
    fn attend_cached_kernel(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        caches: Vec<LayerCache>,
        new: Vec<usize>,
        head_dim: usize,
    ) -> FloatTensor<Self>;
    fn attention_backward_kernel(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        places: Vec<Place>,
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

    fn shape(&self) -> [usize; 2] {
        [self.rows(), self.columns()]
    }

    /// The tensor after `change`: in its own memory where nobody else holds it, else in a copy.
    fn changed(mut self, change: impl FnOnce(&mut [f32])) -> Primitive {
        let (size, shape) = (self.values().len(), self.shape());
        if let Some(values) = self.0.try_storage_mut::<f32>().filter(|values| values.len() == size) {
            change(values);
            return self.0;
        }
        let mut values = copied(self.values());
        change(&mut values);
        tensor(values, shape)
    }
}

fn tensor(values: Vec<f32>, shape: impl Into<Vec<usize>>) -> Primitive {
    Primitive::from_data(TensorData::new(values, shape.into()))
}

/// A copy made by all threads: a layer's input, which stays in the trace, is what the layer's output begins with.
fn copied(values: &[f32]) -> Vec<f32> {
    const TASK: usize = 1 << 15;
    filled(values.len(), |out| {
        out.par_chunks_mut(TASK).zip(values.par_chunks(TASK)).for_each(|(out, values)| {
            out.write_copy_of_slice(values);
        });
    })
}

impl CpuKernels for Flex {
    fn rms_norm_kernel(x: Primitive, weight: Primitive, eps: f64) -> Primitive {
        let (x, weight) = (Matrix::new(x), Matrix::new(weight));
        tensor(elementwise::rms_norm(x.values(), weight.values(), eps as f32), x.shape())
    }

    fn rms_norm_backward_kernel(
        into: Primitive,
        x: Primitive,
        weight: Primitive,
        dy: Primitive,
        eps: f64,
    ) -> Primitive {
        let (x, weight, dy) = (Matrix::new(x), Matrix::new(weight), Matrix::new(dy));
        Matrix::new(into).changed(|into| {
            elementwise::rms_norm_backward(x.values(), weight.values(), dy.values(), eps as f32, into);
        })
    }

    fn rope_kernel(x: Primitive, cos: Primitive, sin: Primitive, head_dim: usize, back: bool) -> Primitive {
        let (x, cos, sin) = (Matrix::new(x), Matrix::new(cos), Matrix::new(sin));
        let columns = x.columns();
        x.changed(|x| elementwise::rope(x, columns, cos.values(), sin.values(), head_dim, back))
    }

    fn swiglu_kernel(gate: Primitive, up: Primitive) -> Primitive {
        let (gate, up) = (Matrix::new(gate), Matrix::new(up));
        tensor(elementwise::swiglu(gate.values(), up.values(), gate.columns()), gate.shape())
    }

    fn swiglu_backward_kernel(gate: Primitive, up: Primitive, dy: Primitive) -> (Primitive, Primitive) {
        let (gate, up) = (Matrix::new(gate), Matrix::new(up));
        let mut dgate = Vec::new();
        let dup = Matrix::new(dy).changed(|dy| {
            dgate = elementwise::swiglu_backward(gate.values(), up.values(), dy, gate.columns());
        });
        (tensor(dgate, gate.shape()), dup)
    }

    fn linear_kernel(x: Primitive, weight: Primitive, back: bool) -> Primitive {
        let (x, weight) = (Matrix::new(x), Matrix::new(weight));
        let (rows, out) = (x.rows(), if back { weight.columns() } else { weight.rows() });
        let values = if back {
            linear::backward(x.values(), (weight.values(), weight.columns()))
        } else {
            panels::linear(x.values(), weight.values(), weight.columns(), None)
        };
        tensor(values, [rows, out])
    }

    fn few_linear_kernel(x: Primitive, weight: Primitive) -> Primitive {
        let (x, weight) = (Matrix::new(x), Matrix::new(weight));
        tensor(thin::linear(x.values(), weight.values(), weight.columns()), [x.rows(), weight.rows()])
    }

    fn int8_kernel(weight: Primitive, made: Arc<OnceLock<Arc<Int8Matrix>>>) -> Primitive {
        let weight = Matrix::new(weight);
        made.get_or_init(|| Arc::new(Int8Matrix::new(weight.values(), weight.columns())));
        weight.0
    }

    fn int8_linear_kernel(x: Primitive, weight: Arc<Int8Matrix>) -> Primitive {
        let x = Matrix::new(x);
        tensor(int8::linear(x.values(), &weight), [x.rows(), weight.out()])
    }

    fn linear_sum_kernel(into: Primitive, x: Primitive, weight: Primitive, back: bool) -> Primitive {
        let (x, weight) = (Matrix::new(x), Matrix::new(weight));
        let into = Matrix::new(into);
        if back {
            let weight = (weight.values(), weight.columns());
            return into.changed(|into| linear::backward_sum(x.values(), weight, into));
        }
        let shape = into.shape();
        tensor(panels::linear(x.values(), weight.values(), weight.columns(), Some(into.values())), shape)
    }

    fn lora_kernel(y: Primitive, x: Primitive, a: Primitive, b: Primitive, scale: f64, dropout: Dropout) -> Primitive {
        let (x, a, b) = (Matrix::new(x), Matrix::new(a), Matrix::new(b));
        let lora = factors(&a, &b, scale, dropout);
        Matrix::new(y).changed(|y| linear::lora(y, x.values(), lora))
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
        let dx = Matrix::new(dx).changed(|dx| gradients = linear::lora_backward(dx, x.values(), dy.values(), lora));
        (dx, tensor(gradients.0, a.shape()), tensor(gradients.1, b.shape()))
    }

    fn attention_kernel(q: Primitive, k: Primitive, v: Primitive, places: Vec<Place>, head_dim: usize) -> Primitive {
        let (q, k, v) = (Matrix::new(q), Matrix::new(k), Matrix::new(v));
        let shape = attention::Shape::new(q.columns(), k.columns(), head_dim);
        let spans = attention::packed(k.values(), v.values(), &places, shape);
        tensor(attention::forward(q.values(), &spans, shape), q.shape())
    }

    fn attend_cached_kernel(
        q: Primitive,
        k: Primitive,
        v: Primitive,
        caches: Vec<LayerCache>,
        new: Vec<usize>,
        head_dim: usize,
    ) -> Primitive {
        let [q, k, v] = [q, k, v].map(Matrix::new);
        let shape = attention::Shape::new(q.columns(), k.columns(), head_dim);
        tensor(cache::attend(q.values(), k.values(), v.values(), &caches, &new, shape), q.shape())
    }

    fn attention_backward_kernel(
        q: Primitive,
        k: Primitive,
        v: Primitive,
        y: Primitive,
        dy: Primitive,
        places: Vec<Place>,
        head_dim: usize,
    ) -> (Primitive, Primitive, Primitive) {
        let [q, k, v, y, dy] = [q, k, v, y, dy].map(Matrix::new);
        let shape = attention::Shape::new(q.columns(), k.columns(), head_dim);
        let trace = attention::Trace { q: q.values(), k: k.values(), v: v.values(), y: y.values(), dy: dy.values() };
        let [dq, dk, dv] = attention::backward(trace, &places, shape);
        (tensor(dq, q.shape()), tensor(dk, k.shape()), tensor(dv, v.shape()))
    }

    fn head_loss_kernel(hidden: Primitive, weight: Primitive, targets: Vec<u32>, scale: f64) -> (Primitive, Primitive) {
        let (hidden, weight) = (Matrix::new(hidden), Matrix::new(weight));
        let (losses, gradient) = head::loss(hidden.values(), weight.values(), &targets, scale as f32);
        (tensor(losses, [targets.len()]), tensor(gradient, hidden.shape()))
    }

    fn head_losses_kernel(hidden: Primitive, weight: Primitive, targets: Vec<u32>) -> Primitive {
        let (hidden, weight) = (Matrix::new(hidden), Matrix::new(weight));
        tensor(head::losses(hidden.values(), weight.values(), &targets), [targets.len()])
    }
}

fn factors<'a>(a: &'a Matrix, b: &'a Matrix, scale: f64, dropout: Dropout) -> linear::Lora<'a> {
    linear::Lora { a: a.values(), b: b.values(), rank: a.rows(), scale: scale as f32, dropout }
}
