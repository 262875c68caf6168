//! Causal grouped-query attention within each sequence of a packed batch.
//!
//! Backward gets q, k, v and the output and recomputes the probabilities, so nothing of size length x length is kept.
//! In the composition, the queries of a group of heads that share a key/value head are stacked as rows, `[kv_heads,
//! group * length, head_dim]`, so that keys and values are not copied.

use burn::tensor::{Bool, Tensor, TensorData, activation};
use kernels::attention::Sequence;

use super::extension;
use crate::device::{Device, Kernels};

/// Where the sequences of a packed batch lie, and which of their tokens are queries.
pub(crate) struct Segments {
    sequences: Vec<Sequence>,
    /// With the causal masks that all layers share. Empty for the fused kernel, which needs none.
    parts: Vec<Segment>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    kernels: Kernels,
}

struct Segment {
    start: usize,
    length: usize,
    /// First row of its queries, and how many.
    query_start: usize,
    queries: usize,
    masked: Tensor<3, Bool>, // [1, group * queries, length], true where a query may not attend
}

impl Segments {
    /// Every token is a query.
    pub(crate) fn new(lengths: &[usize], heads: usize, kv_heads: usize, head_dim: usize, device: &Device) -> Self {
        let sequences = lengths.iter().map(|&length| Sequence { length, first_query: 0, queries: length }).collect();
        Self { sequences, parts: Vec::new(), heads, kv_heads, head_dim, kernels: device.kernels }.with_masks(device)
    }

    /// The same sequences with only these queries, as (first, how many) of each.
    pub(crate) fn with_queries(&self, queries: &[(usize, usize)], device: &Device) -> Self {
        let sequences = self
            .sequences
            .iter()
            .zip(queries)
            .map(|(sequence, &(first_query, queries))| Sequence { first_query, queries, ..*sequence })
            .collect();
        Self { sequences, parts: Vec::new(), ..*self }.with_masks(device)
    }

    fn with_masks(mut self, device: &Device) -> Self {
        if self.kernels == Kernels::Fused {
            return self;
        }
        let (mut start, mut query_start) = (0, 0);
        let part = |&Sequence { length, first_query, queries }: &Sequence| {
            let mut masked = Vec::with_capacity(self.group() * queries * length);
            for row in 0..self.group() * queries {
                let position = first_query + row % queries;
                masked.extend((0..length).map(|other| other > position));
            }
            let masked = TensorData::new(masked, [1, self.group() * queries, length]);
            let masked = Tensor::from_data(masked, &device.inner);
            let part = Segment { start, length, query_start, queries, masked };
            start += length;
            query_start += queries;
            part
        };
        self.parts = self.sequences.iter().map(part).collect();
        self
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn scale(&self) -> f64 {
        1.0 / (self.head_dim as f64).sqrt()
    }

    /// [all queries, heads * head_dim] -> this segment's [kv_heads, group * queries, head_dim].
    fn stack(&self, part: &Segment, x: &Tensor<2>) -> Tensor<3> {
        x.clone()
            .narrow(0, part.query_start, part.queries)
            .reshape([part.queries, self.kv_heads, self.group(), self.head_dim])
            .permute([1, 2, 0, 3])
            .reshape([self.kv_heads, self.group() * part.queries, self.head_dim])
    }

    /// The inverse of [`Self::stack`]: [queries, heads * head_dim].
    fn unstack(&self, part: &Segment, x: Tensor<3>) -> Tensor<2> {
        x.reshape([self.kv_heads, self.group(), part.queries, self.head_dim])
            .permute([2, 0, 1, 3])
            .reshape([part.queries, self.heads * self.head_dim])
    }

    /// [tokens, kv_heads * head_dim] -> this segment's [kv_heads, length, head_dim].
    fn split(&self, part: &Segment, x: &Tensor<2>) -> Tensor<3> {
        x.clone()
            .narrow(0, part.start, part.length)
            .reshape([part.length, self.kv_heads, self.head_dim])
            .permute([1, 0, 2])
    }

    fn unsplit(&self, part: &Segment, x: Tensor<3>) -> Tensor<2> {
        x.permute([1, 0, 2]).reshape([part.length, self.kv_heads * self.head_dim])
    }

    /// [kv_heads, group * length, length]
    fn probabilities(&self, part: &Segment, q: Tensor<3>, k: Tensor<3>) -> Tensor<3> {
        let scores = q.matmul(k.swap_dims(1, 2)) * self.scale();
        let masked = part.masked.clone().expand(scores.shape());
        activation::softmax(scores.mask_fill(masked, f32::NEG_INFINITY), 2)
    }
}

/// q: [queries, heads * head_dim], k and v: [tokens, kv_heads * head_dim], rotated -> [queries, heads * head_dim].
pub(crate) fn attention(q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, segments: &Segments) -> Tensor<2> {
    match segments.kernels {
        Kernels::Fused => extension::attention(q, k, v, segments.sequences.clone(), segments.head_dim),
        Kernels::Composed => composed(q, k, v, segments),
    }
}

fn composed(q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, segments: &Segments) -> Tensor<2> {
    let outputs = segments
        .parts
        .iter()
        .map(|part| {
            let probabilities = segments.probabilities(part, segments.stack(part, q), segments.split(part, k));
            segments.unstack(part, probabilities.matmul(segments.split(part, v)))
        })
        .collect();
    Tensor::cat(outputs, 0)
}

/// [dL/dq, dL/dk, dL/dv] from q, k, v, the output y, and dL/dy.
pub(crate) fn attention_backward(saved: [&Tensor<2>; 5], segments: &Segments) -> [Tensor<2>; 3] {
    let [q, k, v, _, dy] = saved;
    match segments.kernels {
        Kernels::Fused => extension::attention_backward(saved, segments.sequences.clone(), segments.head_dim),
        Kernels::Composed => composed_backward(q, k, v, dy, segments),
    }
}

fn composed_backward(
    q: &Tensor<2>,
    k: &Tensor<2>,
    v: &Tensor<2>,
    dy: &Tensor<2>,
    segments: &Segments,
) -> [Tensor<2>; 3] {
    let (mut dqs, mut dks, mut dvs) = (Vec::new(), Vec::new(), Vec::new());
    for part in &segments.parts {
        let (q, k, v) = (segments.stack(part, q), segments.split(part, k), segments.split(part, v));
        let dy = segments.stack(part, dy);
        let p = segments.probabilities(part, q.clone(), k.clone());
        let dv = p.clone().swap_dims(1, 2).matmul(dy.clone()); // [kv_heads, length, head_dim]
        let dp = dy.matmul(v.swap_dims(1, 2)); // [kv_heads, group * length, length]
        let along = (dp.clone() * p.clone()).sum_dim(2);
        let dscores = p * (dp - along) * segments.scale();
        let dq = dscores.clone().matmul(k);
        let dk = dscores.swap_dims(1, 2).matmul(q);
        dqs.push(segments.unstack(part, dq));
        dks.push(segments.unsplit(part, dk));
        dvs.push(segments.unsplit(part, dv));
    }
    [dqs, dks, dvs].map(|parts| Tensor::cat(parts, 0))
}
