//! Causal grouped-query attention in blocks of query rows, transposed: a block's scores are `[keys, BLOCK]`, queries side by side in
//! vectors, so that keys and values are read where they lie and a softmax runs down its column. Only keys that a
//! query may look at are computed, nothing of size length x length is kept, and backward makes the probabilities again.

mod backward;
mod forward;

use super::super::attention::Place;
use super::exp::exponentials;
use super::simd::{Level, multiply_add, transpose};
use super::tile::{LANES, Left, Right, lanes_mut, rows};
pub(super) use backward::{Trace, backward};
pub(super) use forward::forward;

/// Query rows whose scores are held at once.
const BLOCK: usize = 64;

#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) q_width: usize,
    pub(super) kv_width: usize,
    head_dim: usize,
    heads: usize,
    group: usize,
}

impl Shape {
    pub(super) fn new(q_width: usize, kv_width: usize, head_dim: usize) -> Self {
        Self { q_width, kv_width, head_dim, heads: q_width / head_dim, group: q_width / kv_width }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// The queries of one sequence, and the keys that they look at.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    /// First row of the queries.
    pub(super) queries: usize,
    pub(super) length: usize,
    /// Keys before the first query's own.
    pub(super) past: usize,
    /// From the sequence's first on: feature `i` of a key of head `h` at `h * kv_head + key * kv_row + i`.
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) kv_head: usize,
    pub(super) kv_row: usize,
}

/// Sequences one after another, each with its own keys.
pub(super) fn packed<'a>(keys: &'a [f32], values: &'a [f32], places: &[Place], shape: Shape) -> Vec<Span<'a>> {
    let (mut start, mut queries) = (0, 0);
    places
        .iter()
        .map(|place| {
            let rows = start * shape.kv_width..(start + place.length) * shape.kv_width;
            start += place.length;
            queries += place.queries;
            Span {
                queries: queries - place.queries,
                length: place.queries,
                past: place.first,
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

/// First queries and sizes of the blocks of `length` queries. One that is not full comes first, where the keys are fewest.
fn blocks(length: usize) -> impl Iterator<Item = (usize, usize)> {
    let part = length % BLOCK;
    (part > 0).then_some((0, part)).into_iter().chain((part..length).step_by(BLOCK).map(|first| (first, BLOCK)))
}

/// First columns of a block's strips of queries.
fn strips(rows: usize) -> impl Iterator<Item = usize> {
    (0..rows).step_by(LANES)
}

/// How many keys are computed for queries that see at most `seen` of `all`: in fours where there are so many, since a tile with fewer
/// rows takes as long.
fn tiled(seen: usize, all: usize) -> usize {
    seen.next_multiple_of(4).min(all)
}

#[inline(always)]
fn store(into: &mut [f32], row: usize, column: usize, values: &[f32; LANES]) {
    *lanes_mut(&mut into[row * BLOCK + column..]) = *values;
}

/// Rows of `x` as columns of `[dim, BLOCK]`, times `scale`; columns that have no row are 0.
#[inline(always)]
fn turn(level: Level, x: &[f32], width: usize, (rows, dim): (usize, usize), scale: f32, into: &mut Vec<f32>) {
    into.resize(dim * BLOCK, 0.0);
    if rows < BLOCK {
        into.fill(0.0);
    }
    transpose(level, (x, width), (rows, dim), scale, (into, BLOCK));
}

/// One strip of queries' scores with the first `seen` keys, as exp(score - largest) down each column of `p`, and the columns' sums. Query
/// `lane` sees keys `0..=first + lane`, the others become 0.
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
