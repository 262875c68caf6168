//! Causal grouped-query attention in blocks of query rows, transposed: a block's scores are `[keys, BLOCK]`, queries side by side in
//! vectors, so that keys and values are read where they lie and a softmax runs down its column. Only keys that a
//! query may look at are computed, nothing of size length x length is kept, and backward makes the probabilities again.

use rayon::prelude::*;

use super::super::attention::Place;
use super::exp::exp;
use super::simd::{multiply_add, vectorised};
use super::tile::{LANES, Left, Right, rows};

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

/// Up to `BLOCK` queries of one sequence.
struct Block<'a> {
    span: Span<'a>,
    /// First of them within the sequence's queries.
    first: usize,
    rows: usize,
    out: &'a mut [f32],
}

#[derive(Default)]
struct Scratch {
    /// [head_dim, BLOCK]
    q: Vec<f32>,
    dy: Vec<f32>,
    /// [keys, BLOCK]
    p: Vec<f32>,
    ds: Vec<f32>,
    /// [head_dim, BLOCK]
    turned: Vec<f32>,
    /// [BLOCK, padded head_dim]
    q_rows: Vec<f32>,
    dy_rows: Vec<f32>,
}

/// q: [queries, heads * head_dim] in the order of the spans -> the same.
pub(super) fn forward(q: &[f32], spans: &[Span<'_>], shape: Shape) -> Vec<f32> {
    let mut out = vec![0.0; q.len()];
    let mut blocks = Vec::new();
    let mut singles = Vec::new();
    let mut rest = out.as_mut_slice();
    for &span in spans {
        if span.length == 1 {
            let (out, after) = rest.split_at_mut(shape.q_width);
            rest = after;
            singles.extend(out.chunks_exact_mut(shape.group * shape.head_dim).enumerate().map(|part| (span, part)));
            continue;
        }
        for first in (0..span.length).step_by(BLOCK) {
            let rows = BLOCK.min(span.length - first);
            let (out, after) = rest.split_at_mut(rows * shape.q_width);
            rest = after;
            blocks.push(Block { span, first, rows, out });
        }
    }
    // The longest first, so that no thread is left with one at the end.
    blocks.sort_by_key(|block| std::cmp::Reverse(block.span.past + block.first));
    blocks.into_par_iter().with_max_len(1).for_each_init(Scratch::default, |scratch, mut block| {
        for head in 0..shape.heads {
            forward_head(q, shape, head, scratch, &mut block);
        }
    });
    singles.into_par_iter().with_min_len(2).for_each_init(Vec::new, |scores, (span, (kv_head, out))| {
        one_query(q, span, shape, kv_head, scores, out);
    });
    out
}

/// A single query's heads of one key/value head, as in decoding: a block's strips would be empty but for one column.
fn one_query(q: &[f32], span: Span<'_>, shape: Shape, kv_head: usize, scores: &mut Vec<f32>, out: &mut [f32]) {
    let (dim, group, width) = (shape.head_dim, shape.group, span.kv_row);
    let seen = span.past + 1;
    let q = &q[span.queries * shape.q_width + kv_head * group * dim..][..group * dim];
    let (keys, values) = (&span.keys[kv_head * span.kv_head..], &span.values[kv_head * span.kv_head..]);
    scores.resize(group * seen, 0.0);
    vectorised(
        #[inline(always)]
        |fused| {
            for key in 0..seen {
                let features = &keys[key * width..][..dim];
                for (member, q) in q.chunks_exact(dim).enumerate() {
                    scores[member * seen + key] = dot(fused, q, features) * shape.scale();
                }
            }
            for scores in scores.chunks_exact_mut(seen) {
                softmax(scores);
            }
            for first in (0..dim - dim % LANES).step_by(LANES) {
                let left = Left { values: scores, row: seen, step: 1 };
                let right = Right { values: &values[first..], row: width };
                rows(fused, (group, seen), left, right, |member, sums| {
                    *lanes_mut(&mut out[member * dim + first..]) = *sums;
                });
            }
            for feature in dim - dim % LANES..dim {
                for (member, scores) in scores.chunks_exact(seen).enumerate() {
                    let along = scores.iter().enumerate().map(|(key, score)| score * values[key * width + feature]);
                    out[member * dim + feature] = along.sum();
                }
            }
        },
    );
}

#[inline(always)]
fn dot(fused: bool, a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] = multiply_add(fused, a[lane], b[lane], sums[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[inline(always)]
fn softmax(scores: &mut [f32]) {
    let largest = scores.iter().fold(f32::NEG_INFINITY, |largest, score| largest.max(*score));
    let mut sums = [0.0_f32; LANES];
    let (blocks, rest) = scores.as_chunks_mut::<LANES>();
    for block in blocks {
        for (score, sum) in block.iter_mut().zip(&mut sums) {
            *score = exp(*score - largest);
            *sum += *score;
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for score in rest {
        *score = exp(*score - largest);
        sum += *score;
    }
    let inverse = 1.0 / sum;
    for score in scores {
        *score *= inverse;
    }
}

fn forward_head(q: &[f32], shape: Shape, head: usize, scratch: &mut Scratch, block: &mut Block<'_>) {
    let dim = shape.head_dim;
    let (span, first, count) = (block.span, block.first, block.rows);
    let start = (span.queries + first) * shape.q_width + head * dim;
    turn(&q[start..], shape.q_width, dim, count, shape.scale(), &mut scratch.q);
    let past = span.past + first;
    let start_of_head = head / shape.group * span.kv_head;
    let keys = Left { values: &span.keys[start_of_head..], row: span.kv_row, step: 1 };
    let values = Left { values: &span.values[start_of_head..], row: 1, step: span.kv_row };
    scratch.p.resize((past + count) * BLOCK, 0.0);
    scratch.turned.resize(dim * BLOCK, 0.0);
    let (p, turned) = (scratch.p.as_mut_slice(), scratch.turned.as_mut_slice());
    let scaled = &scratch.q;
    vectorised(
        #[inline(always)]
        |fused| {
            for strip in strips(count) {
                let seen = (past + strip + LANES).min(past + count);
                let queries = Right { values: &scaled[strip..], row: BLOCK };
                rows(fused, (seen, dim), keys, queries, |key, scores| store(p, key, strip, scores));
                let inverse = causal_softmax(p, strip, past + strip, seen);
                let weights = Right { values: &p[strip..], row: BLOCK };
                rows(fused, (dim, seen), values, weights, |feature, sums| {
                    let mut out = *sums;
                    for lane in 0..LANES {
                        out[lane] *= inverse[lane];
                    }
                    store(turned, feature, strip, &out);
                });
            }
        },
    );
    for row in 0..count {
        let out = &mut block.out[row * shape.q_width + head * dim..][..dim];
        for (feature, out) in out.iter_mut().enumerate() {
            *out = turned[feature * BLOCK + row];
        }
    }
}

/// First columns of a block's strips of queries.
fn strips(rows: usize) -> impl Iterator<Item = usize> {
    (0..rows).step_by(LANES)
}

#[inline(always)]
fn store(into: &mut [f32], row: usize, column: usize, values: &[f32; LANES]) {
    *lanes_mut(&mut into[row * BLOCK + column..]) = *values;
}

/// The first of `values` as whole vectors.
#[inline(always)]
fn lanes(values: &[f32]) -> &[f32; LANES] {
    values.first_chunk().expect("a strip is whole")
}

#[inline(always)]
fn lanes_mut(values: &mut [f32]) -> &mut [f32; LANES] {
    values.first_chunk_mut().expect("a strip is whole")
}

/// Rows of `x` as columns of `[dim, BLOCK]`, times `scale`; columns that have no row are 0.
fn turn(x: &[f32], width: usize, dim: usize, rows: usize, scale: f32, into: &mut Vec<f32>) {
    into.clear();
    into.resize(dim * BLOCK, 0.0);
    for row in 0..rows {
        for (feature, value) in x[row * width..][..dim].iter().enumerate() {
            into[feature * BLOCK + row] = scale * value;
        }
    }
}

/// Turns one strip's scores into exp(score - largest) down each column; query `lane` sees keys `0..=first + lane` of the `seen`
/// that were computed, the others become 0. Gives the inverse of each column's sum.
#[inline(always)]
fn causal_softmax(p: &mut [f32], strip: usize, first: usize, seen: usize) -> [f32; LANES] {
    for key in first + 1..seen {
        for score in &mut p[key * BLOCK + strip..][..(key - first).min(LANES)] {
            *score = f32::NEG_INFINITY;
        }
    }
    let mut largest = [f32::NEG_INFINITY; LANES];
    for row in p.chunks_exact(BLOCK).take(seen) {
        let scores = lanes(&row[strip..]);
        for lane in 0..LANES {
            largest[lane] = if scores[lane] > largest[lane] { scores[lane] } else { largest[lane] };
        }
    }
    let mut sums = [0.0; LANES];
    for row in p.chunks_exact_mut(BLOCK).take(seen) {
        let scores = lanes_mut(&mut row[strip..]);
        for lane in 0..LANES {
            scores[lane] = exp(scores[lane] - largest[lane]);
        }
        for lane in 0..LANES {
            sums[lane] += scores[lane];
        }
    }
    sums.map(|sum| 1.0 / sum)
}

/// What backward is made from: forward's inputs and output, and dL/doutput.
#[derive(Clone, Copy)]
pub(super) struct Trace<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) y: &'a [f32],
    pub(super) dy: &'a [f32],
}

/// Gradients of one query head of one sequence, and its share of its key/value head's.
struct HeadGradients {
    dq: Vec<f32>, // [queries, head_dim]
    dk: Vec<f32>, // [keys that a query looks at, padded head_dim]
    dv: Vec<f32>,
}

/// [dq, dk, dv]
pub(super) fn backward(trace: Trace<'_>, places: &[Place], shape: Shape) -> [Vec<f32>; 3] {
    let spans = packed(trace.k, trace.v, places, shape);
    let mut tasks: Vec<(usize, usize)> =
        (0..spans.len()).flat_map(|span| (0..shape.heads).map(move |head| (span, head))).collect();
    // The longest first, so that no thread is left with one at the end.
    tasks.sort_by_key(|&(span, _)| std::cmp::Reverse(spans[span].length));
    let mut parts: Vec<((usize, usize), HeadGradients)> = tasks
        .into_par_iter()
        .with_max_len(1)
        .map_init(Scratch::default, |scratch, task| (task, backward_head(trace, shape, spans[task.0], task.1, scratch)))
        .collect();
    parts.sort_unstable_by_key(|(task, _)| *task);

    let (dim, padded) = (shape.head_dim, padded(shape.head_dim));
    let part = |span: usize, head: usize| &parts[span * shape.heads + head].1;
    let gather = |width: usize, counts: &[usize], write: &(dyn Fn(usize, usize, &mut [f32]) + Sync)| {
        let mut all = vec![0.0; counts.iter().sum::<usize>() * width];
        let numbers = counts.iter().enumerate().flat_map(|(number, &count)| (0..count).map(move |row| (number, row)));
        let rows: Vec<_> = numbers.zip(all.chunks_exact_mut(width)).collect();
        rows.into_par_iter().with_min_len(BLOCK).for_each(|((span, row), out)| write(span, row, out));
        all
    };
    let queries: Vec<usize> = places.iter().map(|place| place.queries).collect();
    let lengths: Vec<usize> = places.iter().map(|place| place.length).collect();
    let dq = gather(shape.q_width, &queries, &|span, row, out| {
        for (head, out) in out.chunks_exact_mut(dim).enumerate() {
            out.copy_from_slice(&part(span, head).dq[row * dim..][..dim]);
        }
    });
    // In the order of the heads, whichever was done first.
    let sum = |of: fn(&HeadGradients) -> &[f32]| {
        gather(shape.kv_width, &lengths, &|span, row, out| {
            if row >= spans[span].past + spans[span].length {
                return; // no query looks at it
            }
            for (kv_head, out) in out.chunks_exact_mut(dim).enumerate() {
                for member in 0..shape.group {
                    let share = &of(part(span, kv_head * shape.group + member))[row * padded..][..dim];
                    for (out, share) in out.iter_mut().zip(share) {
                        *out += share;
                    }
                }
            }
        })
    };
    [dq, sum(|part| &part.dk), sum(|part| &part.dv)]
}

/// The head's dimension as the columns of whole vectors.
fn padded(dim: usize) -> usize {
    dim.next_multiple_of(LANES)
}

fn backward_head(trace: Trace<'_>, shape: Shape, span: Span<'_>, head: usize, scratch: &mut Scratch) -> HeadGradients {
    let Trace { q, y, dy, .. } = trace;
    let (dim, padded, length) = (shape.head_dim, padded(shape.head_dim), span.length);
    let seen = span.past + length;
    let mut part =
        HeadGradients { dq: vec![0.0; length * dim], dk: vec![0.0; seen * padded], dv: vec![0.0; seen * padded] };
    let start_of_head = head / shape.group * span.kv_head;
    let by_key = |values| Left { values, row: span.kv_row, step: 1 };
    let (keys, values) = (by_key(&span.keys[start_of_head..]), by_key(&span.values[start_of_head..]));
    let keys_by_feature = Left { row: 1, step: span.kv_row, ..keys };
    for first in (0..length).step_by(BLOCK) {
        let count = BLOCK.min(length - first);
        let past = span.past + first;
        let width = past + count;
        let start = (span.queries + first) * shape.q_width + head * dim;
        turn(&q[start..], shape.q_width, dim, count, shape.scale(), &mut scratch.q);
        turn(&dy[start..], shape.q_width, dim, count, 1.0, &mut scratch.dy);
        pad(&q[start..], shape.q_width, dim, count, &mut scratch.q_rows);
        pad(&dy[start..], shape.q_width, dim, count, &mut scratch.dy_rows);
        scratch.p.resize(width * BLOCK, 0.0);
        scratch.ds.resize(width * BLOCK, 0.0);
        scratch.turned.resize(dim * BLOCK, 0.0);
        // The sum of p * dp over the keys is the product of the output's row and its gradient (Dao et al., arXiv:2205.14135).
        let mut along = [0.0; BLOCK];
        for (row, along) in along.iter_mut().enumerate().take(count) {
            let place = start + row * shape.q_width..start + row * shape.q_width + dim;
            *along = y[place.clone()].iter().zip(&dy[place]).map(|(y, dy)| y * dy).sum();
        }
        let scale = shape.scale();
        let Scratch { q: scaled, dy: dy_turned, p, ds, turned, q_rows, dy_rows } = scratch;
        vectorised(
            #[inline(always)]
            |fused| {
                for strip in strips(count) {
                    let seen = (past + strip + LANES).min(width);
                    let queries = Right { values: &scaled[strip..], row: BLOCK };
                    rows(fused, (seen, dim), keys, queries, |key, scores| store(p, key, strip, scores));
                    let inverse = causal_softmax(p, strip, past + strip, seen);
                    let along = lanes(&along[strip..]);
                    let gradients = Right { values: &dy_turned[strip..], row: BLOCK };
                    rows(fused, (seen, dim), values, gradients, |key, dp| {
                        let place = key * BLOCK + strip;
                        let (p, ds) = (lanes_mut(&mut p[place..]), lanes_mut(&mut ds[place..]));
                        for lane in 0..LANES {
                            p[lane] *= inverse[lane];
                            ds[lane] = p[lane] * (dp[lane] - along[lane]) * scale;
                        }
                    });
                    for key in seen..width {
                        store(p, key, strip, &[0.0; LANES]);
                        store(ds, key, strip, &[0.0; LANES]);
                    }
                    let weights = Right { values: &ds[strip..], row: BLOCK };
                    rows(fused, (dim, seen), keys_by_feature, weights, |feature, sums| {
                        store(turned, feature, strip, sums);
                    });
                }
                for column in (0..padded).step_by(LANES) {
                    for (weights, right, into) in [(&*p, &*dy_rows, &mut part.dv), (&*ds, &*q_rows, &mut part.dk)] {
                        let left = Left { values: weights, row: BLOCK, step: 1 };
                        let right = Right { values: &right[column..], row: padded };
                        rows(fused, (width, count), left, right, |key, sums| {
                            let into = lanes_mut(&mut into[key * padded + column..]);
                            for lane in 0..LANES {
                                into[lane] += sums[lane];
                            }
                        });
                    }
                }
            },
        );
        for row in 0..count {
            for (feature, dq) in part.dq[(first + row) * dim..][..dim].iter_mut().enumerate() {
                *dq = turned[feature * BLOCK + row];
            }
        }
    }
    part
}

/// Rows of `x` with their columns filled up to whole vectors: [rows, padded dim].
fn pad(x: &[f32], width: usize, dim: usize, rows: usize, into: &mut Vec<f32>) {
    let padded = padded(dim);
    into.clear();
    into.resize(rows * padded, 0.0);
    for row in 0..rows {
        into[row * padded..][..dim].copy_from_slice(&x[row * width..][..dim]);
    }
}
