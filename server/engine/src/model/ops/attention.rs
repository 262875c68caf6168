//! Causal grouped-query attention within each sequence of a packed batch.
//!
//! Each group of query heads shares a key/value head without copying it: the group's queries are stacked as rows,
//! `[kv_heads, group * length, head_dim]`. What is kept for backward is q, k, v and the output; the
//! probabilities are made again, so nothing of size length x length outlives a sequence's turn.

use burn::tensor::{Bool, Device, Tensor, TensorData, activation};

use super::cpu;

/// Where the sequences of a packed batch lie, with the causal masks that all layers share.
pub(crate) struct Segments {
    lengths: Vec<usize>,
    /// The queries of each sequence: the first one's place in it, and how many.
    queries: Vec<(usize, usize)>,
    /// Only where the composition is used: the fused kernel needs no masks.
    parts: Vec<Segment>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// One sequence of a packed batch: its tokens, and which of them ask.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) length: usize,
    pub(super) first: usize,
    pub(super) queries: usize,
}

struct Segment {
    start: usize,
    length: usize,
    /// First row of its queries, and how many.
    query_start: usize,
    queries: usize,
    masked: Tensor<3, Bool>, // [1, group * queries, length], true where a query may not look
}

impl Segments {
    pub(crate) fn new(lengths: &[usize], heads: usize, kv_heads: usize, head_dim: usize, device: &Device) -> Self {
        let queries = lengths.iter().map(|&length| (0, length)).collect();
        Self { lengths: lengths.to_vec(), queries, parts: Vec::new(), heads, kv_heads, head_dim }.made_for(device)
    }

    /// The same sequences with these queries alone, as (first, how many) of each.
    pub(crate) fn with_queries(&self, queries: Vec<(usize, usize)>, device: &Device) -> Self {
        let Self { lengths, heads, kv_heads, head_dim, .. } = self;
        let (lengths, parts) = (lengths.clone(), Vec::new());
        Self { lengths, queries, parts, heads: *heads, kv_heads: *kv_heads, head_dim: *head_dim }.made_for(device)
    }

    fn made_for(mut self, device: &Device) -> Self {
        if !cpu::applies(device) {
            self.parts = self.masked(device);
        }
        self
    }

    fn masked(&self, device: &Device) -> Vec<Segment> {
        let (mut start, mut query_start) = (0, 0);
        self.lengths
            .iter()
            .zip(&self.queries)
            .map(|(&length, &(first, queries))| {
                let mut masked = Vec::with_capacity(self.group() * queries * length);
                for row in 0..self.group() * queries {
                    let position = first + row % queries;
                    masked.extend((0..length).map(|other| other > position));
                }
                let masked = TensorData::new(masked, [1, self.group() * queries, length]);
                let part = Segment { start, length, query_start, queries, masked: Tensor::from_data(masked, device) };
                start += length;
                query_start += queries;
                part
            })
            .collect()
    }

    /// For the composition on a device that has a fused kernel too.
    #[cfg(test)]
    pub(super) fn with_masks(mut self, device: &Device) -> Self {
        self.parts = self.masked(device);
        self
    }

    fn places(&self) -> Vec<Place> {
        self.lengths
            .iter()
            .zip(&self.queries)
            .map(|(&length, &(first, queries))| Place { length, first, queries })
            .collect()
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
    if cpu::applies(&q.device()) {
        cpu::attention(q, k, v, segments.places(), segments.head_dim)
    } else {
        composed(q, k, v, segments)
    }
}

pub(super) fn composed(q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, segments: &Segments) -> Tensor<2> {
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
pub(crate) fn attention_backward(trace: [&Tensor<2>; 5], segments: &Segments) -> [Tensor<2>; 3] {
    let [q, k, v, _, dy] = trace;
    if cpu::applies(&q.device()) {
        cpu::attention_backward(trace, segments.places(), segments.head_dim)
    } else {
        composed_backward(q, k, v, dy, segments)
    }
}

pub(super) fn composed_backward(
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
