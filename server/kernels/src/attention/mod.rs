//! Causal grouped-query attention, computed as flash attention is: in blocks of query rows, transposed. A block's
//! scores are `[keys, BLOCK]` with queries along the SIMD lanes, so that keys and values are read in place and a
//! softmax runs down a column. Masked scores are not computed, nothing of size length x length is kept, and backward
//! recomputes the probabilities.

mod backward;
mod forward;

use crate::exp::exponentials;
use crate::simd::{Level, multiply_add, transpose};
use crate::tile::{LANES, Left, Right, lanes_mut, rows};
pub use backward::{Saved, backward};
pub(crate) use forward::over_spans;

/// One sequence of a packed batch: its number of tokens, and which of them are queries. The others are keys and values
/// only.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    pub length: usize,
    pub first_query: usize,
    pub queries: usize,
}

/// Query rows whose scores are held at once.
const BLOCK: usize = 64;

/// Widths of the rows of q (heads * head_dim) and of k and v (kv_heads * head_dim).
#[derive(Clone, Copy)]
pub struct Shape {
    pub(crate) q_width: usize,
    pub(crate) kv_width: usize,
    head_dim: usize,
    heads: usize,
    /// Query heads of each key/value head.
    group: usize,
}

impl Shape {
    pub fn new(q_width: usize, kv_width: usize, head_dim: usize) -> Self {
        assert!(
            q_width.is_multiple_of(kv_width) && kv_width.is_multiple_of(head_dim),
            "{q_width} and {kv_width} features in heads of {head_dim}"
        );
        Self { q_width, kv_width, head_dim, heads: q_width / head_dim, group: q_width / kv_width }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// The queries of one sequence, and the keys and values that they attend to.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a> {
    /// First row of the queries.
    pub(crate) queries: usize,
    /// Number of queries.
    pub(crate) length: usize,
    /// Number of keys before the first query's own.
    pub(crate) past: usize,
    /// From the sequence's first on: feature `i` of a key of head `h` at `h * kv_head + key * kv_row + i`.
    pub(crate) keys: &'a [f32],
    pub(crate) values: &'a [f32],
    pub(crate) kv_head: usize,
    pub(crate) kv_row: usize,
}

/// Attention within each sequence of a packed batch. q: [queries, heads * head_dim], k, v: [tokens, kv_heads *
/// head_dim] -> [queries, heads * head_dim].
pub fn forward(q: &[f32], k: &[f32], v: &[f32], sequences: &[Sequence], shape: Shape) -> Vec<f32> {
    over_spans(q, &packed(k, v, sequences, shape), shape)
}

/// The spans of a packed batch.
fn packed<'a>(keys: &'a [f32], values: &'a [f32], sequences: &[Sequence], shape: Shape) -> Vec<Span<'a>> {
    let (mut start, mut queries) = (0, 0);
    sequences
        .iter()
        .map(|sequence| {
            let rows = start * shape.kv_width..(start + sequence.length) * shape.kv_width;
            start += sequence.length;
            queries += sequence.queries;
            Span {
                queries: queries - sequence.queries,
                length: sequence.queries,
                past: sequence.first_query,
                keys: &keys[rows.clone()],
                values: &values[rows],
                kv_head: shape.head_dim,
                kv_row: shape.kv_width,
            }
        })
        .collect()
}

#[inline(always)]
fn dot(level: Level, a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] = multiply_add(level, a[lane], b[lane], sums[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// First queries and sizes of the blocks of `length` queries. A partial block comes first, where the keys are fewest.
fn blocks(length: usize) -> impl Iterator<Item = (usize, usize)> {
    let part = length % BLOCK;
    (part > 0).then_some((0, part)).into_iter().chain((part..length).step_by(BLOCK).map(|first| (first, BLOCK)))
}

/// First columns of a block's strips of `LANES` queries.
fn strips(rows: usize) -> impl Iterator<Item = usize> {
    (0..rows).step_by(LANES)
}

/// How many keys are computed for queries that attend to at most `seen` of `all`: a multiple of four if possible, since
/// a register tile with fewer rows takes as long.
fn tiled(seen: usize, all: usize) -> usize {
    seen.next_multiple_of(4).min(all)
}

#[inline(always)]
fn store(into: &mut [f32], row: usize, column: usize, values: &[f32; LANES]) {
    *lanes_mut(&mut into[row * BLOCK + column..]) = *values;
}

/// `scale` times the transpose of rows of `x`: [rows, dim] -> [dim, BLOCK], padded with zeros.
#[inline(always)]
fn transpose_block(
    level: Level,
    x: &[f32],
    width: usize,
    (rows, dim): (usize, usize),
    scale: f32,
    into: &mut Vec<f32>,
) {
    into.resize(dim * BLOCK, 0.0);
    if rows < BLOCK {
        into.fill(0.0);
    }
    transpose(level, (x, width), (rows, dim), scale, (into, BLOCK));
}

/// The scores of a strip of queries with the first `seen` keys, as exp(score - max) down each column of `p`; returns
/// the columns' sums. Query `lane` attends to keys `0..=first + lane`; the others become 0.
#[inline(always)]
fn exp_scores(
    level: Level,
    (seen, dim): (usize, usize),
    keys: Left<'_>,
    queries: Right<'_>,
    (p, strip): (&mut [f32], usize),
    first: usize,
) -> [f32; LANES] {
    rows(
        level,
        (seen, dim),
        keys,
        queries,
        #[inline(always)]
        |key, scores| store(p, key, strip, scores),
    );
    for key in first + 1..seen {
        for score in &mut p[key * BLOCK + strip..][..(key - first).min(LANES)] {
            *score = f32::NEG_INFINITY;
        }
    }
    let (_, sums) = exponentials(level, &mut p[..seen * BLOCK], (BLOCK, strip), [f32::NEG_INFINITY; LANES]);
    sums
}
