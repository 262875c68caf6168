//! One layer's keys and values of one row in plain memory, head by head, so that attention goes through each in one stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::attention::{Shape, Span, forward};

/// Shared with the kernel while it runs; nobody else asks for it then, so the lock never waits.
#[derive(Clone)]
pub(crate) struct LayerCache(Arc<Mutex<Room>>);

/// [kv_heads, capacity, head_dim] of either, the first `tokens` of which are held.
struct Room {
    keys: Vec<f32>,
    values: Vec<f32>,
    tokens: usize,
    kv_heads: usize,
    capacity: usize,
    head_dim: usize,
}

impl LayerCache {
    pub(crate) fn new(kv_heads: usize, capacity: usize, head_dim: usize) -> Self {
        let room = || vec![0.0; kv_heads * capacity * head_dim];
        Self(Arc::new(Mutex::new(Room { keys: room(), values: room(), tokens: 0, kv_heads, capacity, head_dim })))
    }

    /// Takes over the first `tokens` of another row.
    pub(crate) fn take_prefix(&mut self, of: &Self, tokens: usize) {
        let (mut own, other) = (self.lock(), of.lock());
        let size = tokens * own.head_dim;
        for head in 0..own.kv_heads {
            let (to, from) = (head * own.capacity * own.head_dim, head * other.capacity * other.head_dim);
            own.keys[to..to + size].copy_from_slice(&other.keys[from..from + size]);
            own.values[to..to + size].copy_from_slice(&other.values[from..from + size]);
        }
        own.tokens = tokens;
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        // A panic in between ends the generation, and its cache with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Rows of [kv_heads * head_dim], behind those that are held.
    fn push(&mut self, keys: &[f32], values: &[f32]) {
        let (dim, width) = (self.head_dim, self.kv_heads * self.head_dim);
        for (room, rows) in [(&mut self.keys, keys), (&mut self.values, values)] {
            for (row, features) in rows.chunks_exact(width).enumerate() {
                for (head, features) in features.chunks_exact(dim).enumerate() {
                    let place = (head * self.capacity + self.tokens + row) * dim;
                    room[place..place + dim].copy_from_slice(features);
                }
            }
        }
        self.tokens += keys.len() / width;
    }
}

/// See `ops::attend_cached`.
pub(super) fn attend(q: &[f32], k: &[f32], v: &[f32], caches: &[LayerCache], new: &[usize], shape: Shape) -> Vec<f32> {
    let only_last = q.len() == caches.len() * shape.q_width;
    let (mut start, mut query) = (0, 0);
    let mut rows: Vec<MutexGuard<'_, Room>> = caches.iter().map(LayerCache::lock).collect();
    for (row, &new) in rows.iter_mut().zip(new) {
        let place = start * shape.kv_width..(start + new) * shape.kv_width;
        row.push(&k[place.clone()], &v[place]);
        start += new;
    }
    let spans: Vec<Span<'_>> = rows
        .iter()
        .zip(new)
        .map(|(row, &new)| {
            let length = if only_last { 1 } else { new };
            query += length;
            Span {
                queries: query - length,
                length,
                past: row.tokens - length,
                keys: &row.keys,
                values: &row.values,
                kv_head: row.capacity * row.head_dim,
                kv_row: row.head_dim,
            }
        })
        .collect();
    forward(q, &spans, shape)
}
