//! KV cache of one sequence in one layer, head by head, so that attention reads each head's keys and values
//! contiguously.

use crate::attention::{Shape, Span, over_spans};

/// [kv_heads, capacity, head_dim] of keys and of values, of which the first `tokens` are filled.
pub struct LayerCache {
    keys: Vec<f32>,
    values: Vec<f32>,
    tokens: usize,
    kv_heads: usize,
    capacity: usize,
    head_dim: usize,
}

impl LayerCache {
    pub fn new(kv_heads: usize, capacity: usize, head_dim: usize) -> Self {
        let zeros = || vec![0.0; kv_heads * capacity * head_dim];
        Self { keys: zeros(), values: zeros(), tokens: 0, kv_heads, capacity, head_dim }
    }

    /// Replaces the content by the first `tokens` of another sequence.
    pub fn copy_prefix(&mut self, other: &Self, tokens: usize) {
        assert!(tokens <= other.tokens && tokens <= self.capacity, "a prefix of {tokens} tokens");
        let size = tokens * self.head_dim;
        for head in 0..self.kv_heads {
            let (to, from) = (head * self.capacity * self.head_dim, head * other.capacity * other.head_dim);
            self.keys[to..to + size].copy_from_slice(&other.keys[from..from + size]);
            self.values[to..to + size].copy_from_slice(&other.values[from..from + size]);
        }
        self.tokens = tokens;
    }

    /// Appends rows of [kv_heads * head_dim].
    fn push(&mut self, keys: &[f32], values: &[f32]) {
        let (dim, width) = (self.head_dim, self.kv_heads * self.head_dim);
        let new = keys.len() / width;
        assert!(self.tokens + new <= self.capacity, "{} + {new} tokens in a cache of {}", self.tokens, self.capacity);
        for (cache, rows) in [(&mut self.keys, keys), (&mut self.values, values)] {
            for (row, features) in rows.chunks_exact(width).enumerate() {
                for (head, features) in features.chunks_exact(dim).enumerate() {
                    let start = (head * self.capacity + self.tokens + row) * dim;
                    cache[start..start + dim].copy_from_slice(features);
                }
            }
        }
        self.tokens += new;
    }
}

/// Appends each sequence's new keys and values to its cache, then attends over everything that the cache holds.
///
/// k, v: [new tokens of all sequences, kv_heads * head_dim], `new[i]` of them for sequence i. q: [queries, heads *
/// head_dim], one for each new token, or one for each sequence: its last. -> [queries, heads * head_dim]
pub fn attend_cached(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    caches: &mut [&mut LayerCache],
    new: &[usize],
    shape: Shape,
) -> Vec<f32> {
    let only_last = q.len() == caches.len() * shape.q_width;
    let mut start = 0;
    for (cache, &new) in caches.iter_mut().zip(new) {
        let rows = start * shape.kv_width..(start + new) * shape.kv_width;
        cache.push(&k[rows.clone()], &v[rows]);
        start += new;
    }
    let mut query = 0;
    let spans: Vec<Span<'_>> = caches
        .iter()
        .zip(new)
        .map(|(cache, &new)| {
            let length = if only_last { 1 } else { new };
            query += length;
            Span {
                queries: query - length,
                length,
                past: cache.tokens - length,
                keys: &cache.keys,
                values: &cache.values,
                kv_head: cache.capacity * cache.head_dim,
                kv_row: cache.head_dim,
            }
        })
        .collect();
    over_spans(q, &spans, shape)
}
