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
    /// Only where the composition is used: the fused kernel needs no masks.
    parts: Vec<Segment>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

struct Segment {
    start: usize,
    length: usize,
    masked: Tensor<3, Bool>, // [1, group * length, length], true where a query may not look
}

impl Segments {
    pub(crate) fn new(lengths: &[usize], heads: usize, kv_heads: usize, head_dim: usize, device: &Device) -> Self {
        let lengths = lengths.to_vec();
        let parts = if cpu::applies(device) { Vec::new() } else { Self::masked(&lengths, heads / kv_heads, device) };
        Self { lengths, parts, heads, kv_heads, head_dim }
    }

    fn masked(lengths: &[usize], group: usize, device: &Device) -> Vec<Segment> {
        let mut start = 0;
        lengths
            .iter()
            .map(|&length| {
                let mut masked = Vec::with_capacity(group * length * length);
                for row in 0..group * length {
                    let position = row % length;
                    masked.extend((0..length).map(|other| other > position));
                }
                let part = Segment {
                    start,
                    length,
                    masked: Tensor::from_data(TensorData::new(masked, [1, group * length, length]), device),
                };
                start += length;
                part
            })
            .collect()
    }

    /// For the composition on a device that has a fused kernel too.
    #[cfg(test)]
    pub(super) fn with_masks(mut self, device: &Device) -> Self {
        self.parts = Self::masked(&self.lengths, self.group(), device);
        self
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn scale(&self) -> f64 {
        1.0 / (self.head_dim as f64).sqrt()
    }

    /// [tokens, heads * head_dim] -> this segment's [kv_heads, group * length, head_dim].
    fn stack(&self, part: &Segment, x: &Tensor<2>) -> Tensor<3> {
        x.clone()
            .narrow(0, part.start, part.length)
            .reshape([part.length, self.kv_heads, self.group(), self.head_dim])
            .permute([1, 2, 0, 3])
            .reshape([self.kv_heads, self.group() * part.length, self.head_dim])
    }

    /// The inverse of [`Self::stack`]: [length, heads * head_dim].
    fn unstack(&self, part: &Segment, x: Tensor<3>) -> Tensor<2> {
        x.reshape([self.kv_heads, self.group(), part.length, self.head_dim])
            .permute([2, 0, 1, 3])
            .reshape([part.length, self.heads * self.head_dim])
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

/// q: [tokens, heads * head_dim], k and v: [tokens, kv_heads * head_dim], rotated -> [tokens, heads * head_dim].
pub(crate) fn attention(q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, segments: &Segments) -> Tensor<2> {
    if cpu::applies(&q.device()) {
        cpu::attention(q, k, v, &segments.lengths, segments.head_dim)
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
        cpu::attention_backward(trace, &segments.lengths, segments.head_dim)
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
