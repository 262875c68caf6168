//! The KV cache of one generated row, per layer, allocated once; and attention over it.

use burn::tensor::{Bool, Tensor, TensorData, activation};

use super::extension::{self, SharedCache};
use crate::device::{Device, Kernels};
use crate::model::LlamaConfig;

pub(crate) struct KvCache {
    layers: Layers,
    /// Tokens that all layers hold.
    length: usize,
    shape: Shape,
}

#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

enum Layers {
    Fused(Vec<SharedCache>),
    /// Keys and values, [kv_heads, capacity, head_dim].
    Composed(Vec<(Tensor<3>, Tensor<3>)>),
}

impl KvCache {
    pub(crate) fn new(config: &LlamaConfig, capacity: usize, device: &Device) -> Self {
        let shape = Shape {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        };
        let layers = 0..config.num_hidden_layers;
        let layers = match device.kernels {
            Kernels::Fused => {
                Layers::Fused(layers.map(|_| SharedCache::new(shape.kv_heads, capacity, shape.head_dim)).collect())
            }
            Kernels::Composed => {
                let zeros = || Tensor::zeros([shape.kv_heads, capacity, shape.head_dim], &device.inner);
                Layers::Composed(layers.map(|_| (zeros(), zeros())).collect())
            }
        };
        Self { layers, length: 0, shape }
    }

    /// Tokens held.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Counts tokens once all layers hold them.
    pub(crate) fn advance(&mut self, new: usize) {
        self.length += new;
    }

    /// Copies the first `tokens` of another row: a prefix that rows share is prefilled once.
    pub(crate) fn copy_prefix(&mut self, of: &Self, tokens: usize) {
        match (&mut self.layers, &of.layers) {
            (Layers::Fused(layers), Layers::Fused(others)) => {
                layers.iter().zip(others).for_each(|(layer, other)| layer.copy_prefix(other, tokens));
            }
            (Layers::Composed(layers), Layers::Composed(others)) => {
                for ((keys, values), (other_keys, other_values)) in layers.iter_mut().zip(others) {
                    for (cache, other) in [(keys, other_keys), (values, other_values)] {
                        assign(cache, 0, other.clone().narrow(1, 0, tokens));
                    }
                }
            }
            _ => unreachable!("rows of one generation are on one device"),
        }
        self.length = tokens;
    }
}

/// Appends each row's new keys and values to one layer of its cache, then attends over everything that the cache holds.
///
/// k, v: [new tokens of all rows, kv_heads * head_dim], `new[i]` of them for row i. q: [queries, heads * head_dim], one
/// for each new token, or one for each row: its last. -> [queries, heads * head_dim]
pub(crate) fn attend_cached(
    caches: &mut [&mut KvCache],
    layer: usize,
    q: &Tensor<2>,
    k: &Tensor<2>,
    v: &Tensor<2>,
    new: &[usize],
) -> Tensor<2> {
    let only_last = q.dims()[0] == caches.len();
    let fused: Vec<SharedCache> = caches
        .iter()
        .filter_map(|cache| match &cache.layers {
            Layers::Fused(layers) => Some(layers[layer].clone()),
            Layers::Composed(_) => None,
        })
        .collect();
    if fused.len() == caches.len() {
        return extension::attend_cached(q, k, v, fused, new, caches[0].shape.head_dim);
    }
    let (mut contexts, mut start, mut query) = (Vec::with_capacity(caches.len()), 0, 0);
    for (cache, &new) in caches.iter_mut().zip(new) {
        let queries = if only_last { 1 } else { new };
        let (keys, values) = cache.push(layer, k.clone().narrow(0, start, new), v.clone().narrow(0, start, new));
        contexts.push(cache.shape.attend(q.clone().narrow(0, query, queries), keys, values));
        start += new;
        query += queries;
    }
    Tensor::cat(contexts, 0)
}

impl KvCache {
    /// Keys and values of all tokens, the new ones included: [kv_heads, length, head_dim].
    fn push(&mut self, layer: usize, keys: Tensor<2>, values: Tensor<2>) -> (Tensor<3>, Tensor<3>) {
        let Layers::Composed(layers) = &mut self.layers else {
            unreachable!("rows of one generation are on one device")
        };
        let new = keys.dims()[0];
        let split = |x: Tensor<2>| x.reshape([new, self.shape.kv_heads, self.shape.head_dim]).permute([1, 0, 2]);
        let (cached_keys, cached_values) = &mut layers[layer];
        assign(cached_keys, self.length, split(keys));
        assign(cached_values, self.length, split(values));
        let all = |cached: &Tensor<3>| cached.clone().narrow(1, 0, self.length + new);
        (all(cached_keys), all(cached_values))
    }
}

/// Writes `part` after the first `start` tokens of `cache`.
fn assign(cache: &mut Tensor<3>, start: usize, part: Tensor<3>) {
    let [kv_heads, new, head_dim] = part.dims();
    // Taken out and put back, so that the assignment finds the tensor unshared and writes in place.
    let taken = std::mem::replace(cache, Tensor::empty([1, 1, 1], &part.device()));
    *cache = taken.slice_assign([0..kv_heads, start..start + new, 0..head_dim], part);
}

impl Shape {
    /// The last queries of a row over all its keys. q: [queries, heads * head_dim], keys, values: [kv_heads, length,
    /// head_dim].
    fn attend(&self, q: Tensor<2>, keys: Tensor<3>, values: Tensor<3>) -> Tensor<2> {
        let (queries, length, device) = (q.dims()[0], keys.dims()[1], q.device());
        let group = self.heads / self.kv_heads;
        let q = q.reshape([queries, self.kv_heads, group, self.head_dim]).permute([1, 2, 0, 3]).reshape([
            self.kv_heads,
            group * queries,
            self.head_dim,
        ]);
        let mut scores = q.matmul(keys.swap_dims(1, 2)) / (self.head_dim as f64).sqrt();
        if queries > 1 {
            let past = length - queries;
            let masked: Vec<bool> =
                (0..group * queries).flat_map(|row| (0..length).map(move |key| key > past + row % queries)).collect();
            let masked = Tensor::<3, Bool>::from_data(TensorData::new(masked, [1, group * queries, length]), &device);
            scores = scores.clone().mask_fill(masked.expand(scores.shape()), f32::NEG_INFINITY);
        }
        activation::softmax(scores, 2)
            .matmul(values)
            .reshape([self.kv_heads, group, queries, self.head_dim])
            .permute([2, 0, 1, 3])
            .reshape([queries, self.heads * self.head_dim])
    }
}
